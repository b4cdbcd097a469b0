// A default route through a tunnel: a table of its own that everything but the tunnel's marked datagrams goes by, and the
// rules beside it (wg-quick(8), "the new default route"). For wg-quick files and for nodes; either finds what the other made.

import { type IpAddress, renderIp } from '../address/ip.ts';
import {
  guardTable,
  renderIptablesGuard,
  renderIptablesRemoval,
  renderNftGuard,
} from '../firewall/render-default-route.ts';
import { type Host, tolerate } from './wg-quick/host.ts';

/** The first table, and mark, that is tried for a default route. */
const FIRST_TABLE = 51_820;
const SUPPRESS = ['table', 'main', 'suppress_prefixlength', '0'];

export type Version = 4 | 6;

export interface DefaultRoute {
  /** The tunnel. */
  readonly name: string;
  readonly version: Version;
  /** Its own addresses, of this version. */
  readonly addresses: readonly IpAddress[];
  /** What its datagrams are marked with; also the number of the table. */
  readonly mark: number;
}

/**
 * Sends everything through the tunnel that no other route has. Its sockets carry the mark already.
 * @throws NodeError `ERR_NODE_HOST_COMMAND`; what was done until then, {@link removeDefaultRoute} takes back
 */
export async function addDefaultRoute(host: Host, route: DefaultRoute): Promise<void> {
  const { name, version } = route;
  const [family, table] = [`-${version}`, String(route.mark)];
  const all = version === 4 ? '0.0.0.0/0' : '::/0';
  await host.run('ip', [family, 'route', 'add', all, 'dev', name, 'table', table]);
  await host.batch(family, [
    ['rule', 'add', 'not', 'fwmark', table, 'table', table],
    ['rule', 'add', ...SUPPRESS],
  ]);
  if (version === 4) await host.run('sysctl', ['-q', 'net.ipv4.conf.all.src_valid_mark=1']);
  await setGuard(host, route);
}

/** Takes back the rules of a default route; the route itself goes with the interface, unless that stays. */
export async function removeDefaultRoute(
  host: Host,
  { name, version, mark }: Pick<DefaultRoute, 'name' | 'version' | 'mark'>,
): Promise<void> {
  const [family, table] = [`-${version}`, String(mark)];
  const rules = await host.read('ip', [family, 'rule', 'show']);
  if (new RegExp(`lookup ${table}\\b`).test(rules)) {
    // Of the second, one stands for each tunnel with a default route: ours goes, another's stays. They come and go together,
    // so that the first tells of both, whenever somebody was killed.
    const ours = [
      ['rule', 'delete', 'table', table],
      ['rule', 'delete', ...SUPPRESS],
    ];
    await tolerate(host, host.batch(family, ours));
  }
  if ((await host.read('ip', [family, 'route', 'show', 'table', table, 'dev', name])) !== '')
    await tolerate(host, host.run('ip', [family, 'route', 'delete', 'default', 'dev', name, 'table', table]));
}

/** The rules beside a default route, in the place of former ones, at once where nft holds them. */
export async function setGuard(host: Host, route: DefaultRoute): Promise<void> {
  const { name, version } = route;
  const guard = { interface: name, version, addresses: route.addresses, mark: route.mark };
  if (await host.has('nft')) {
    const table = `table ${nftFamily(version)} ${guardTable(name)}`;
    await host.run('nft', ['-f', '-'], `add ${table}\ndelete ${table}\n${renderNftGuard(guard)}`);
    return;
  }
  await removeIptablesGuard(host, name, version);
  await host.run(`${iptablesOf(version)}-restore`, ['--noflush'], renderIptablesGuard(guard));
}

/** Removes the rules beside a default route, whichever back end holds them; nothing happens where there are none. */
export async function removeGuard(host: Host, name: string, version: Version): Promise<void> {
  const table = `table ${nftFamily(version)} ${guardTable(name)}`;
  const tables = (await host.read('nft', ['list', 'tables'])).split('\n');
  if (tables.includes(table)) await tolerate(host, host.run('nft', ['-f', '-'], `delete ${table}\n`));
  await removeIptablesGuard(host, name, version);
}

async function removeIptablesGuard(host: Host, name: string, version: Version): Promise<void> {
  const iptables = iptablesOf(version);
  const removal = renderIptablesRemoval(await host.read(`${iptables}-save`, []), name);
  if (removal !== null) await tolerate(host, host.run(`${iptables}-restore`, ['--noflush'], removal));
}

/** A table that nobody uses, whose number is free as a mark as well. */
export async function freeTable(host: Host): Promise<number> {
  const isEmpty = async (table: number): Promise<boolean> => {
    const show = (family: string) => host.read('ip', [family, 'route', 'show', 'table', String(table)]);
    return (await show('-4')) === '' && (await show('-6')) === '';
  };
  let table = FIRST_TABLE;
  while (!(await isEmpty(table))) table += 1;
  return table;
}

/** What the guard depends on, as text. */
export function renderGuarded({ version, addresses }: Pick<DefaultRoute, 'version' | 'addresses'>): string {
  return `${version}: ${addresses.map(renderIp).join(', ')}`;
}

function nftFamily(version: Version): string {
  return version === 4 ? 'ip' : 'ip6';
}

function iptablesOf(version: Version): string {
  return version === 4 ? 'iptables' : 'ip6tables';
}
