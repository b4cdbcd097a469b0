// The tunnel interface as the host sees it: addresses, MTU, routes, through `ip`. All of it hangs on the interface,
// so when the TUN descriptor closes, also by kill -9, the kernel takes it back whole.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { execa } from 'execa';
import { type IpAddress, renderIp } from '../address/ip.ts';
import {
  contains,
  hostPrefix,
  type IpInterface,
  type IpPrefix,
  networkOf,
  renderInterface,
  renderPrefix,
} from '../address/prefix.ts';
import { LEAST_IPV6_MTU } from '../config/checks.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import { NodeError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { PreparedPart, ReloadPart } from './reload.ts';

/** IPv6 (40) + UDP (8) + WireGuard (32). */
const OVERHEAD_BYTES = 80;
const ETHERNET_MTU = 1500;
/** The default of 500 is too short for bursts of a fast stream. */
const QUEUE_PACKETS = 1000;
const COMMAND_TIMEOUT_MS = 10_000;

/**
 * The MTU of the way to the peers, less what a message adds: the least over all endpoints with a known address, else of
 * the default route, else Ethernet's.
 * @param mark what the tunnel's own datagrams are marked with
 */
export async function tunnelMtu(config: NodeConfig, mark = 0): Promise<number> {
  if (config.interface.mtu !== 'auto') return config.interface.mtu;
  const endpoints = endpointsOf(config);
  const least = config.interface.addresses.some(({ address }) => address.version === 6)
    ? LEAST_IPV6_MTU
    : 576;
  return Math.max(await wayMtu(endpoints, mark), least);
}

function endpointsOf({ peers }: NodeConfig): IpAddress[] {
  return peers.flatMap((peer) =>
    peer.endpoints.flatMap((endpoint) => (endpoint.kind === 'address' ? [endpoint.address] : [])),
  );
}

/** What {@link tunnelMtu} looks at: the same text, the same MTU. */
function waysOf(config: NodeConfig): string {
  const versions = config.interface.addresses.map(({ address }) => address.version);
  return [config.interface.mtu, ...new Set(versions), ...endpointsOf(config).map(renderIp)].join();
}

/** What the ways to some endpoints leave for a packet inside the tunnel, the least of them. */
export async function wayMtu(endpoints: readonly IpAddress[], mark = 0): Promise<number> {
  const targets = [...new Set(endpoints.map(renderIp))];
  const ways = await mtusOf(await routesTo(targets, mark));
  const known = ways.length > 0 ? ways : await mtusOf(await defaultRoutes());
  return (known.length > 0 ? Math.min(...known) : ETHERNET_MTU) - OVERHEAD_BYTES;
}

/** What an interface is to have, of what the host can give it. */
interface Layout {
  readonly addresses: readonly IpInterface[];
  readonly mtu: number;
  /** Each as `ip route` takes it behind its verb. */
  readonly routes: readonly string[];
}

/** A line for `ip -batch`, and the one that takes it back. */
interface Step {
  readonly line: string;
  readonly undo: string;
}

/** The interface of a node, once it has its addresses, MTU and routes. */
export class TunnelInterface implements ReloadPart {
  readonly #name: string;
  readonly #log: Log;
  readonly #mark: () => number;
  #layout: Layout;

  private constructor(name: string, log: Log, mark: () => number, layout: Layout) {
    this.#name = name;
    this.#log = log;
    this.#mark = mark;
    this.#layout = layout;
  }

  /**
   * Gives the interface its addresses, MTU and routes, and brings it up.
   * @param mark what the tunnel's own datagrams are marked with at the time
   * @throws NodeError `ERR_NODE_INTERFACE` with what `ip` said
   */
  static async setUp(
    config: NodeConfig,
    mtu: number,
    log: Log,
    mark: () => number,
  ): Promise<TunnelInterface> {
    const { name } = config.interface;
    keepSecondaries(name);
    const layout = layoutOf(config, mtu, log);
    const { addresses, routes } = layout;
    const { failure } = await runBatch([
      ...addresses.map((address) => addressLine('add', address, name)),
      `link set dev ${name} mtu ${mtu} txqueuelen ${QUEUE_PACKETS} up`,
      ...routes.map((route) => routeLine('add', route)),
    ]);
    if (failure !== null) throw failure;
    return new TunnelInterface(name, log, mark, layout);
  }

  /** What is new comes by {@link PreparedPart.commit}, at once or not at all; what is no more goes at the end. */
  async prepare(from: NodeConfig, to: NodeConfig): Promise<PreparedPart> {
    const former = this.#layout;
    const mtu = waysOf(from) === waysOf(to) ? former.mtu : await tunnelMtu(to, this.#mark());
    const layout = layoutOf(to, mtu, this.#log);
    const steps = this.#stepsTo(layout);
    return {
      commit: async () => {
        const { done, failure } = await runBatch(steps.map(({ line }) => line));
        if (failure !== null) {
          await this.#take(back(steps.slice(0, done)));
          throw failure;
        }
        this.#layout = layout;
      },
      rollBack: async () => {
        this.#layout = former;
        await this.#take(back(steps));
      },
      [Symbol.asyncDispose]: async () => {
        if (this.#layout === layout) await this.#take(this.#remains(former));
      },
    };
  }

  /** What a change begins with: all that can fail. */
  #stepsTo({ addresses, mtu, routes }: Layout): Step[] {
    const name = this.#name;
    const former = this.#layout;
    const added = difference(addresses, former.addresses, renderInterface);
    // One IPv6 address has one prefix length: another takes its place.
    const replaced = former.addresses.filter(
      (one) =>
        one.address.version === 6 && added.some((other) => renderIp(other.address) === renderIp(one.address)),
    );
    return [
      ...replaced.map((one) => both('delete', one, name)),
      ...added.map((one) => both('add', one, name)),
      ...(mtu === former.mtu
        ? []
        : [{ line: `link set dev ${name} mtu ${mtu}`, undo: `link set dev ${name} mtu ${former.mtu}` }]),
      ...difference(routes, former.routes, String).map((route) => ({
        line: routeLine('add', route),
        undo: routeLine('delete', route),
      })),
    ];
  }

  /** What a change ends with: what only `former` had goes, in an order in which nothing else goes with it. */
  #remains(former: Layout): string[] {
    const name = this.#name;
    const { addresses, routes } = this.#layout;
    const present = new Set(addresses.map(({ address }) => renderIp(address)));
    const gone = difference(former.addresses, addresses, renderInterface).filter(
      ({ address }) => address.version === 4 || !present.has(renderIp(address)),
    );
    const takesOthers = gone.some(({ address }) => address.version === 4) && !keepsSecondaries(name);
    return [
      ...difference(former.routes, routes, String).map((route) => routeLine('delete', route)),
      ...gone.map((address) => addressLine('delete', address, name)),
      ...(takesOthers
        ? [
            ...addresses.map((address) => addressLine('replace', address, name)),
            ...routes.map((route) => routeLine('replace', route)),
          ]
        : []),
    ];
  }

  /** Runs what must not fail: a line that does is logged, and the others go on. */
  async #take(lines: readonly string[]): Promise<void> {
    const { failure } = await runBatch(lines, ['-force']);
    if (failure !== null) this.#log.warn(failure.message);
  }
}

function layoutOf(config: NodeConfig, mtu: number, log: Log): Layout {
  const { name } = config.interface;
  const hasIpv6 = ipv6Works(name);
  const usable = (version: 4 | 6): boolean => version === 4 || hasIpv6;
  const addresses = config.interface.addresses.filter(({ address }) => usable(address.version));
  if (addresses.length < config.interface.addresses.length) {
    log.warn(`IPv6 is switched off for ${name}: its IPv6 addresses and routes are left out`);
  }
  if (hasIpv6 && mtu < LEAST_IPV6_MTU) {
    log.warn(`MTU ${mtu} is below ${LEAST_IPV6_MTU}: the interface carries no IPv6`);
  }
  return { addresses, mtu, routes: neededRoutes(config, usable) };
}

type Verb = 'add' | 'delete' | 'replace';

function addressLine(verb: Verb, address: IpInterface, name: string): string {
  const dad = address.address.version === 6 && verb !== 'delete' ? ' nodad' : '';
  return `address ${verb} ${renderInterface(address)} dev ${name}${dad}`;
}

function routeLine(verb: Verb, route: string): string {
  return `route ${verb} ${route}`;
}

function both(verb: 'add' | 'delete', address: IpInterface, name: string): Step {
  const other = verb === 'add' ? 'delete' : 'add';
  return { line: addressLine(verb, address, name), undo: addressLine(other, address, name) };
}

function back(steps: readonly Step[]): string[] {
  return steps.map(({ undo }) => undo).reverse();
}

/** Those of `all` that are not among `others`. */
function difference<T>(all: readonly T[], others: readonly T[], render: (one: T) => string): T[] {
  const known = new Set(others.map(render));
  return all.filter((one) => !known.has(render(one)));
}

/**
 * Without it, Linux takes the other addresses of a network away with the first one. Where it cannot be set, as in a
 * container whose /proc/sys is read-only, they are put back.
 */
function keepSecondaries(name: string): void {
  try {
    writeFileSync(secondariesFlag(name), '1');
  } catch {
    // asked for again where it matters
  }
}

function keepsSecondaries(name: string): boolean {
  return readFileSync(secondariesFlag(name), 'utf8').trim() === '1';
}

function secondariesFlag(name: string): string {
  return `/proc/sys/net/ipv4/conf/${name}/promote_secondaries`;
}

/**
 * What the peers have beyond the networks of our own addresses: those routes come with the addresses. A spoke whose hub
 * has the whole network behind it names one that is there already, and IPv4 refuses to have it twice. A table of the file's
 * choice has them all; default routes without one are default-routes.ts.
 */
function neededRoutes(config: NodeConfig, isUsable: (version: 4 | 6) => boolean): string[] {
  const { name, table, addresses } = config.interface;
  if (table === 'off') return [];
  const connected = addresses.map(networkOf);
  const isConnected = ({ address, length }: IpPrefix): boolean =>
    connected.some((network) => length >= network.length && contains(network, address));
  const isNeeded = (prefix: IpPrefix): boolean =>
    isUsable(prefix.address.version) && (table !== 'auto' || (prefix.length > 0 && !isConnected(prefix)));
  const suffix = table === 'auto' ? '' : ` table ${table}`;
  return config.peers.flatMap((peer) => {
    const metric = peer.metric === null ? '' : ` metric ${peer.metric}`;
    return allowedIps(peer)
      .filter(isNeeded)
      .map((prefix) => `${renderPrefix(prefix)} dev ${name}${metric}${suffix}`);
  });
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

/**
 * One `ip` process for all lines. It stops at the first that fails, unless `options` has `-force`, and says how many were
 * done before and why it failed.
 */
async function runBatch(
  lines: readonly string[],
  options: readonly string[] = [],
): Promise<{ done: number; failure: NodeError | null }> {
  if (lines.length === 0) return { done: 0, failure: null };
  const result = await execa('ip', [...options, '-batch', '-'], {
    input: `${lines.join('\n')}\n`,
    timeout: COMMAND_TIMEOUT_MS,
    reject: false,
  });
  if (!result.failed) return { done: lines.length, failure: null };
  if (result.code === 'ENOENT') return { done: 0, failure: noIpCommand() };
  const failed = /Command failed -:(\d+)/.exec(result.stderr)?.[1];
  const done = failed === undefined ? 0 : Number(failed) - 1;
  const line = failed === undefined ? undefined : lines[done];
  const said =
    result.stderr.split('\n').find((text) => text.trim() !== '') ?? result.shortMessage ?? 'it failed';
  const failure = new NodeError('ERR_NODE_INTERFACE', `\`ip ${line ?? '-batch -'}\` failed: ${said}`, {
    hint: line?.startsWith('route add')
      ? 'another interface has this route: remove it there, or take it out of the peer'
      : undefined,
  });
  return { done, failure };
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

/** The routes to those of the addresses that have one: one `ip` process for all. */
async function routesTo(targets: readonly string[], mark: number): Promise<Route[]> {
  const marked = mark === 0 ? '' : ` mark ${mark}`;
  if (targets.length === 0) return [];
  const answers = await ipJson(
    ['-force', '-batch', '-'],
    targets.map((target) => `route get ${target}${marked}`),
  );
  return answers.flatMap((answer) => answer as Route[]);
}

async function defaultRoutes(): Promise<Route[]> {
  const families = await Promise.all(
    ['-4', '-6'].map((family) => ipJson([family, 'route', 'show', 'default'])),
  );
  return families.flat().flatMap((answer) => (answer as Route[]).slice(0, 1));
}

/** The MTU that each route states, else that of its device. */
async function mtusOf(routes: readonly Route[]): Promise<number[]> {
  const statedOf = ({ metrics }: Route): number | undefined =>
    metrics?.find(({ mtu }) => mtu !== undefined)?.mtu;
  const links = routes.some((route) => statedOf(route) === undefined) ? await linkMtus() : new Map();
  return routes.flatMap((route) => statedOf(route) ?? links.get(route.dev) ?? []);
}

async function linkMtus(): Promise<Map<string | undefined, number>> {
  const links = (await ipJson(['link', 'show'])).flat() as { ifname: string; mtu: number }[];
  return new Map(links.map(({ ifname, mtu }) => [ifname, mtu]));
}

/** What `ip -json` says, an answer for each line of a batch; nothing where it refuses, as for an unreachable target. */
async function ipJson(args: readonly string[], lines: readonly string[] = []): Promise<unknown[]> {
  const result = await execa('ip', ['-json', ...args], {
    input: lines.map((line) => `${line}\n`).join(''),
    timeout: COMMAND_TIMEOUT_MS,
    reject: false,
  });
  if (result.code === 'ENOENT') throw noIpCommand();
  return result.stdout
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as unknown);
}
