// The policy of a running node: compiled from its file, given to the device whole or not at all, and kept fresh about the
// host's own addresses. What the core denies is told in the log, and in the status by the row that decided.

import { renderIp } from '../address/ip.ts';
import { comparePrefixes, hostPrefix, type IpPrefix, renderPrefix } from '../address/prefix.ts';
import type { NodeConfig } from '../config/schema.ts';
import type { DeniedStatus, ExitStatus, PolicyStatus, RequestHandlers } from '../control/target.ts';
import { messageOf } from '../errors.ts';
import type { LaneFilter, LanePackets } from '../lane/messages.ts';
import type { Log } from '../log.ts';
import { type Compilation, compile } from '../policy/compile.ts';
import { DECIDERS } from '../policy/compiled.ts';
import type { Policy } from '../policy/model.ts';
import type { Accounts } from './accounts.ts';
import type { Device } from './device.ts';
import { Followers } from './followers.ts';
import { hostPrefixes } from './host-addresses.ts';
import type { HostNetwork } from './host-network.ts';
import type { Metering } from './metering.ts';
import type { PreparedPart, ReloadPart } from './reload.ts';

/** The log of the core is fetched, and what it has counted is written down, this often. */
const LOOK_MS = 2_000;

/** What a device begins with. */
export interface StartingPolicy {
  readonly compilation: Compilation | null;
  readonly ownAddresses: readonly IpPrefix[];
}

export function startingPolicy(config: NodeConfig): StartingPolicy {
  return { compilation: compilationOf(config, null), ownAddresses: ownAddresses(config) };
}

function compilationOf({ firewall }: NodeConfig, former: Compilation | null): Compilation | null {
  return firewall === null ? null : compile(firewall.policy, former);
}

/** Every address of this host, in order: those that it has, and those that the file gives it. */
function ownAddresses(config: NodeConfig): IpPrefix[] {
  const configured = config.interface.addresses.map(({ address }) => hostPrefix(address));
  const sorted = [...hostPrefixes(), ...configured].sort(comparePrefixes);
  return sorted.filter((one, i) => i === 0 || comparePrefixes(one, sorted[i - 1] ?? one) !== 0);
}

/** Names of peers, for what is told of them, and the device's numbers of them. */
export interface PeerNames {
  readonly nameOf: (peer: number) => string | null;
  readonly peerOf: (name: string) => number | undefined;
}

/** Those of `all` that are not among `others`, as text. */
function without(all: readonly IpPrefix[], others: readonly IpPrefix[]): string[] {
  const known = new Set(others.map(renderPrefix));
  return all.map(renderPrefix).filter((text) => !known.has(text));
}

function exitsOf({ peers, sites }: Policy): ExitStatus[] {
  const usersOf = (exit: string): string[] =>
    peers.filter(({ routeVia }) => routeVia?.site === exit).map(({ name }) => name);
  const exits = sites.map(({ peer }) => ({ peer, users: usersOf(peer) }));
  return exits.filter(({ users }) => users.length > 0);
}

/** What a filter tells and is told beside the policy. */
export interface FilterParts {
  readonly device: Device;
  readonly accounts: Accounts;
  readonly metering: Metering;
  readonly names: PeerNames;
  readonly network: HostNetwork;
  readonly log: Log;
}

export class NodeFilter implements ReloadPart, AsyncDisposable {
  readonly #device: Device;
  readonly #accounts: Accounts;
  readonly #metering: Metering;
  readonly #log: Log;
  readonly #names: PeerNames;
  readonly #followers: Followers;
  readonly #timer: NodeJS.Timeout;
  #config: NodeConfig;
  #compilation: Compilation | null;
  /** What the device was last told that this host is itself. */
  #own: readonly IpPrefix[];

  constructor(config: NodeConfig, starting: StartingPolicy, parts: FilterParts) {
    const { device, accounts, metering, names, network, log } = parts;
    this.#device = device;
    this.#accounts = accounts;
    this.#metering = metering;
    this.#config = config;
    this.#compilation = starting.compilation;
    this.#own = starting.ownAddresses;
    this.#names = names;
    this.#log = log;
    this.#timer = setInterval(() => void this.#look(), LOOK_MS).unref();
    const node = {
      peerOf: names.peerOf,
      hasPolicy: () => this.#compilation !== null,
      placeOf: (rule: string) => this.#placeOf(rule),
      onPackets: (packets: LanePackets) => this.#heed(packets),
    };
    this.#followers = new Followers(device, node, log);
    network.add(() => this.#follow());
  }

  get requests(): RequestHandlers {
    return this.#followers.requests;
  }

  /** Before the device stops: what it has counted is written down. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#followers[Symbol.dispose]();
    await this.#metering.finish();
  }

  async prepare(from: NodeConfig, to: NodeConfig): Promise<PreparedPart> {
    const former = this.#compilation;
    const next = compilationOf(to, former);
    return {
      commit: () => this.#set(to, next),
      rollBack: () => this.#set(from, former),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  async #set(config: NodeConfig, compilation: Compilation | null): Promise<void> {
    await this.#metering.change(config);
    this.#own = ownAddresses(config);
    await this.#device.setOwnAddresses(this.#own);
    await this.#device.setPolicy(compilation?.policy ?? null, () => this.#metering.allowances());
    this.#config = config;
    this.#compilation = compilation;
  }

  /** null: the file has no section `firewall`, and everything passes. */
  async status(): Promise<PolicyStatus | null> {
    const compilation = this.#compilation;
    if (compilation === null) return null;
    const filter = await this.#device.filter();
    if (filter === undefined) return { state: 'restarting' };
    this.#heed(filter);
    await this.#metering.collect();
    const { generation, rules, flows, mostFlows, evicted } = filter.status;
    return {
      state: 'enforced',
      generation,
      rules,
      flows,
      mostFlows,
      evictedFlows: String(evicted),
      exits: exitsOf(compilation.model),
      denied: this.#denied(filter),
      accounts: this.#accounts.peers(compilation.model),
      services: this.#accounts.services(compilation.model),
    };
  }

  #denied(filter: LaneFilter): DeniedStatus[] {
    return this.#device
      .deniedPackets(filter)
      .map(({ peer, rule, stage, packets, bytes }) => ({
        peer: this.#names.nameOf(peer),
        rule,
        place: rule === null ? null : this.#placeOf(rule),
        stage,
        packets: String(packets),
        bytes: String(bytes),
      }))
      .sort((a, b) => Number(BigInt(b.packets) - BigInt(a.packets)));
  }

  #placeOf(rule: string): string | null {
    const place = this.#compilation?.places.get(rule);
    return place === undefined ? null : `${place.file}:${place.line}:${place.column}`;
  }

  /** The host's network has changed, or may have: addresses that are its own are not the internet. */
  async #follow(): Promise<void> {
    if (this.#compilation === null) return;
    try {
      const [before, now] = [this.#own, ownAddresses(this.#config)];
      this.#own = now;
      await this.#device.setOwnAddresses(now);
      const [come, gone] = [without(now, before), without(before, now)];
      if (come.length + gone.length > 0)
        this.#log.debug('the addresses of this host have changed', { come, gone });
    } catch (error) {
      this.#log.warn(`the filter was not told of this host's addresses: ${messageOf(error)}`);
    }
  }

  async #look(): Promise<void> {
    if (this.#compilation === null) return;
    try {
      const filter = await this.#device.filter();
      if (filter !== undefined) this.#heed(filter);
      await this.#metering.keep();
    } catch (error) {
      this.#log.warn(`the filter was not kept fresh: ${messageOf(error)}`);
    }
  }

  #heed(packets: LanePackets): void {
    this.#followers.heed(packets);
    this.#logDrops(packets);
  }

  /** A sample: at most 50 packets a second are in the core's log, beside those of peers that are followed. */
  #logDrops({ log }: LanePackets): void {
    for (const entry of log) {
      if (entry.isAllowed || this.#followers.isFollowed(entry.peer)) continue;
      const rule = this.#device.ruleName(entry.rule);
      const ends = [entry.source, entry.destination].map((bytes) =>
        bytes.length === 0 ? '?' : renderIp({ version: bytes.length === 4 ? 4 : 6, bytes }),
      );
      const why = entry.reason ?? `${DECIDERS[entry.stage ?? -1]}${rule === null ? '' : `, ${rule}`}`;
      const peer = this.#names.nameOf(entry.peer) ?? 'a peer that is gone';
      const way = entry.leg === 'in' ? 'from' : 'to';
      this.#log.debug(
        `denied ${way} ${peer}: ${ends.join(' → ')}, protocol ${entry.protocol}, port ${entry.port}: ${why}`,
        { place: rule === null ? null : this.#placeOf(rule), skipped: entry.skipped },
      );
    }
  }
}
