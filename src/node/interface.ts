// The tunnel interface as the host sees it: addresses, MTU, routes, through `ip`. All of it hangs on the interface,
// so when the TUN descriptor closes, also by kill -9, the kernel takes it back whole.

import { existsSync, readFileSync } from 'node:fs';
import { execa } from 'execa';
import { type IpAddress, renderIp } from '../address/ip.ts';
import {
  contains,
  hostPrefix,
  type IpPrefix,
  networkOf,
  renderInterface,
  renderPrefix,
} from '../address/prefix.ts';
import { LEAST_IPV6_MTU } from '../config/checks.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import { NodeError } from '../errors.ts';

/** IPv6 (40) + UDP (8) + WireGuard (32). */
const OVERHEAD_BYTES = 80;
const ETHERNET_MTU = 1500;
/** The default of 500 is too short for bursts of a fast stream. */
const QUEUE_PACKETS = 1000;
const COMMAND_TIMEOUT_MS = 10_000;

export interface InterfaceSetup {
  readonly mtu: number;
  /** What could not be done and does not matter enough to stop: one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * The MTU of the way to the peers, less what a message adds: the least over all endpoints with a known address, else of
 * the default route, else Ethernet's.
 */
export async function tunnelMtu(config: NodeConfig, endpoints: readonly IpAddress[]): Promise<number> {
  if (config.interface.mtu !== 'auto') return config.interface.mtu;
  const least = config.interface.addresses.some(({ address }) => address.version === 6)
    ? LEAST_IPV6_MTU
    : 576;
  return Math.max(await wayMtu(endpoints), least);
}

/** What the ways to some endpoints leave for a packet inside the tunnel, the least of them. */
export async function wayMtu(endpoints: readonly IpAddress[]): Promise<number> {
  const targets = [...new Set(endpoints.map(renderIp))];
  const known = (await Promise.all(targets.map(routeMtu))).filter((mtu) => mtu !== undefined);
  const way = known.length > 0 ? Math.min(...known) : ((await defaultRouteMtu()) ?? ETHERNET_MTU);
  return way - OVERHEAD_BYTES;
}

/**
 * Gives the interface its addresses, MTU and routes, and brings it up.
 * @throws NodeError `ERR_NODE_INTERFACE` with what `ip` said
 */
export async function setUpInterface(name: string, config: NodeConfig, mtu: number): Promise<InterfaceSetup> {
  const warnings: string[] = [];
  const hasIpv6 = ipv6Works(name);
  const usable = (version: 4 | 6): boolean => version === 4 || hasIpv6;
  const addresses = config.interface.addresses.filter(({ address }) => usable(address.version));
  if (addresses.length < config.interface.addresses.length) {
    warnings.push(`IPv6 is switched off for ${name}: its IPv6 addresses and routes are left out`);
  }
  if (hasIpv6 && mtu < LEAST_IPV6_MTU) {
    warnings.push(`MTU ${mtu} is below ${LEAST_IPV6_MTU}: the interface carries no IPv6`);
  }
  const routes = neededRoutes(config).filter(({ address }) => usable(address.version));
  const lines = [
    ...addresses.map((entry) => {
      const dad = entry.address.version === 6 ? ' nodad' : '';
      return `address add ${renderInterface(entry)} dev ${name}${dad}`;
    }),
    `link set dev ${name} mtu ${mtu} txqueuelen ${QUEUE_PACKETS} up`,
    ...routes.map((route) => `route add ${renderPrefix(route)} dev ${name}`),
  ];
  await runBatch(lines);
  return { mtu, warnings };
}

/**
 * What the peers have beyond the networks of our own addresses: those routes come with the addresses. A spoke whose hub
 * has the whole network behind it names one that is there already, and IPv4 refuses to have it twice.
 */
function neededRoutes(config: NodeConfig): IpPrefix[] {
  const connected = config.interface.addresses.map(networkOf);
  const isConnected = ({ address, length }: IpPrefix): boolean =>
    connected.some((network) => length >= network.length && contains(network, address));
  return config.peers.flatMap(allowedIps).filter((prefix) => !isConnected(prefix));
}

/** What a peer may send from and is sent to: its own addresses, and the networks behind it. */
export function allowedIps(peer: PeerConfig): IpPrefix[] {
  return [...peer.addresses.map(hostPrefix), ...peer.routes];
}

/** Asked of the interface: a host may have IPv6 and switch it off for what is new (`net.ipv6.conf.default`). */
function ipv6Works(name: string): boolean {
  const flag = `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`;
  return existsSync(flag) && readFileSync(flag, 'utf8').trim() === '0';
}

/** One `ip` process for all lines; it stops at the first that fails and names it. */
async function runBatch(lines: readonly string[]): Promise<void> {
  const result = await execa('ip', ['-batch', '-'], {
    input: `${lines.join('\n')}\n`,
    timeout: COMMAND_TIMEOUT_MS,
    reject: false,
  });
  if (!result.failed) return;
  if (result.code === 'ENOENT') throw noIpCommand();
  const failed = /Command failed -:(\d+)/.exec(result.stderr)?.[1];
  const line = failed === undefined ? undefined : lines[Number(failed) - 1];
  const said =
    result.stderr.split('\n').find((text) => text.trim() !== '') ?? result.shortMessage ?? 'it failed';
  throw new NodeError('ERR_NODE_INTERFACE', `\`ip ${line ?? '-batch -'}\` failed: ${said}`, {
    hint: line?.startsWith('route')
      ? 'another interface has this route: remove it there, or take it out of the peer'
      : undefined,
  });
}

function noIpCommand(): NodeError {
  return new NodeError('ERR_NODE_INTERFACE', 'the command `ip` is not installed', {
    hint: 'install iproute2, for example: apt-get install iproute2',
  });
}

interface Route {
  readonly dev?: string;
  readonly metrics?: readonly { readonly mtu?: number }[];
}

async function routeMtu(target: string): Promise<number | undefined> {
  return mtuOf(await ipJson<Route>(['route', 'get', target]));
}

async function defaultRouteMtu(): Promise<number | undefined> {
  const families = await Promise.all(
    ['-4', '-6'].map((family) => ipJson<Route>([family, 'route', 'show', 'default'])),
  );
  const mtus = (await Promise.all(families.map(mtuOf))).filter((mtu) => mtu !== undefined);
  return mtus.length > 0 ? Math.min(...mtus) : undefined;
}

/** The MTU a route states, else that of its device. */
async function mtuOf(routes: readonly Route[]): Promise<number | undefined> {
  const [route] = routes;
  const stated = route?.metrics?.find(({ mtu }) => mtu !== undefined)?.mtu;
  if (stated !== undefined || route?.dev === undefined) return stated;
  const [link] = await ipJson<{ readonly mtu?: number }>(['link', 'show', 'dev', route.dev]);
  return link?.mtu;
}

/** What `ip -json` says; nothing when it refuses, as for an unreachable target. */
async function ipJson<T>(args: readonly string[]): Promise<T[]> {
  const result = await execa('ip', ['-json', ...args], { timeout: COMMAND_TIMEOUT_MS, reject: false });
  if (result.code === 'ENOENT') throw noIpCommand();
  if (result.failed || result.stdout.trim() === '') return [];
  return JSON.parse(result.stdout) as T[];
}
