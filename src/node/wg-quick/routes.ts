// Routes to the peers of a wg-quick file; default routes are default-route.ts.

import { type IpPrefix, renderPrefix } from '../../address/prefix.ts';
import type { QuickConfig } from '../../config/wg-quick.ts';
import {
  addDefaultRoute,
  freeTable,
  removeDefaultRoute,
  removeGuard,
  type Version,
} from '../default-route.ts';
import { setMark } from './device.ts';
import type { Host } from './host.ts';

/** The routes of all allowed IPs, the longest prefixes first: a default route comes when the others stand. */
export async function addRoutes(host: Host, config: QuickConfig): Promise<void> {
  const { name, table } = config;
  if (table === 'off') return;
  const prefixes = config.peers.flatMap(({ allowedIps }) => allowedIps);
  let mark = config.fwmark;
  for (const prefix of prefixes.toSorted((a, b) => b.length - a.length)) {
    const family = familyOption(prefix.address.version);
    const route = [renderPrefix(prefix), 'dev', name];
    if (table !== 'auto') await host.run('ip', [family, 'route', 'add', ...route, 'table', table.name]);
    else if (prefix.length === 0) mark = await addMarkedRoute(host, config, prefix.address.version, mark);
    else if (!(await isRouted(host, name, prefix))) await host.run('ip', [family, 'route', 'add', ...route]);
  }
}

/** Takes back the rules of a default route. The routes themselves go with the interface. */
export async function removeDefaultRoutes(host: Host, config: QuickConfig, mark: number): Promise<void> {
  if (config.table !== 'auto' || mark === 0) return;
  for (const version of defaultVersions(config)) {
    await removeDefaultRoute(host, { name: config.name, version, mark });
  }
}

/** Removes the rules beside a default route, whichever back end holds them; nothing happens where there are none. */
export async function removeGuards(host: Host, name: string): Promise<void> {
  for (const version of [4, 6] as const) await removeGuard(host, name, version);
}

/** @returns the mark, which is also the number of the table */
async function addMarkedRoute(
  host: Host,
  config: QuickConfig,
  version: Version,
  known: number,
): Promise<number> {
  const { name } = config;
  const mark = known === 0 ? await freeTable(host) : known;
  if (known === 0) {
    host.say(`[#] wg set ${name} fwmark ${mark}`);
    await setMark(name, mark);
  }
  const addresses = config.addresses
    .map(({ address }) => address)
    .filter((address) => address.version === version);
  await addDefaultRoute(host, { name, version, addresses, mark });
  return mark;
}

/** Whether the interface leads there already, as it does to the networks of its own addresses. */
async function isRouted(host: Host, name: string, prefix: IpPrefix): Promise<boolean> {
  const family = familyOption(prefix.address.version);
  return (
    (await host.read('ip', [family, 'route', 'show', 'dev', name, 'match', renderPrefix(prefix)])) !== ''
  );
}

function defaultVersions(config: QuickConfig): Set<Version> {
  const defaults = config.peers.flatMap(({ allowedIps }) => allowedIps).filter(({ length }) => length === 0);
  return new Set(defaults.map(({ address }) => address.version));
}

function familyOption(version: Version): string {
  return version === 4 ? '-4' : '-6';
}
