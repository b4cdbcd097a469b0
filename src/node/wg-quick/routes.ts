// Routes to the peers, and the default route: a table of its own that everything but the tunnel's marked datagrams
// goes by, and the rules beside it (wg-quick(8), "the new default route").

import { type IpPrefix, renderPrefix } from '../../address/prefix.ts';
import type { QuickConfig } from '../../config/wg-quick.ts';
import {
  guardTable,
  renderIptablesGuard,
  renderIptablesRemoval,
  renderNftGuard,
} from '../../firewall/render-default-route.ts';
import { setMark } from './device.ts';
import { type Host, tolerate } from './host.ts';

/** The first table, and mark, that is tried for a default route. */
const FIRST_TABLE = 51_820;
const SUPPRESS = ['table', 'main', 'suppress_prefixlength', '0'];

type Version = 4 | 6;

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
    else if (prefix.length === 0) mark = await addDefaultRoute(host, config, prefix, mark);
    else if (!(await isRouted(host, name, prefix))) await host.run('ip', [family, 'route', 'add', ...route]);
  }
}

/** Takes back the rules of a default route. The routes themselves go with the interface. */
export async function removeDefaultRoutes(host: Host, config: QuickConfig, mark: number): Promise<void> {
  if (config.table !== 'auto' || mark === 0) return;
  for (const version of defaultVersions(config)) {
    const family = familyOption(version);
    const rules = await host.read('ip', [family, 'rule', 'show']);
    if (!new RegExp(`lookup ${mark}\\b`).test(rules)) continue;
    await tolerate(host, host.run('ip', [family, 'rule', 'delete', 'table', String(mark)]));
    // One of these stands for each tunnel with a default route: ours goes, another's stays.
    await tolerate(host, host.run('ip', [family, 'rule', 'delete', ...SUPPRESS]));
  }
}

/** Removes the rules beside a default route, whichever back end holds them; nothing happens where there are none. */
export async function removeGuards(host: Host, name: string): Promise<void> {
  const tables = (await host.read('nft', ['list', 'tables'])).split('\n');
  const own = tables.filter((line) => line.endsWith(` ${guardTable(name)}`));
  if (own.length > 0) {
    await tolerate(host, host.run('nft', ['-f', '-'], own.map((line) => `delete ${line}\n`).join('')));
  }
  for (const iptables of ['iptables', 'ip6tables']) {
    const removal = renderIptablesRemoval(await host.read(`${iptables}-save`, []), name);
    if (removal !== null) await tolerate(host, host.run(`${iptables}-restore`, ['--noflush'], removal));
  }
}

/** @returns the mark, which is also the number of the table */
async function addDefaultRoute(
  host: Host,
  config: QuickConfig,
  prefix: IpPrefix,
  known: number,
): Promise<number> {
  const { name } = config;
  const mark = known === 0 ? await freeTable(host) : known;
  if (known === 0) {
    host.say(`[#] wg set ${name} fwmark ${mark}`);
    await setMark(name, mark);
  }
  const { version } = prefix.address;
  const family = familyOption(version);
  await host.run('ip', [family, 'route', 'add', renderPrefix(prefix), 'dev', name, 'table', String(mark)]);
  await host.run('ip', [family, 'rule', 'add', 'not', 'fwmark', String(mark), 'table', String(mark)]);
  await host.run('ip', [family, 'rule', 'add', ...SUPPRESS]);
  if (version === 4) await host.run('sysctl', ['-q', 'net.ipv4.conf.all.src_valid_mark=1']);
  await addGuard(host, config, version, mark);
  return mark;
}

async function addGuard(host: Host, config: QuickConfig, version: Version, mark: number): Promise<void> {
  const addresses = config.addresses
    .map(({ address }) => address)
    .filter((address) => address.version === version);
  const guard = { interface: config.name, version, addresses, mark };
  if (await host.has('nft')) await host.run('nft', ['-f', '-'], renderNftGuard(guard));
  else
    await host.run(
      version === 4 ? 'iptables-restore' : 'ip6tables-restore',
      ['--noflush'],
      renderIptablesGuard(guard),
    );
}

async function freeTable(host: Host): Promise<number> {
  const isEmpty = async (table: number): Promise<boolean> => {
    const show = (family: string) => host.read('ip', [family, 'route', 'show', 'table', String(table)]);
    return (await show('-4')) === '' && (await show('-6')) === '';
  };
  let table = FIRST_TABLE;
  while (!(await isEmpty(table))) table += 1;
  return table;
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
