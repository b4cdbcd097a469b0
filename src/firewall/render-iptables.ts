// The host's rules as chains of iptables and ip6tables, `RF-NETWORK-…`, for `iptables-restore --noflush`. Pure: the same
// policy and facts give the same text. Twin of render-nft.ts; what the rules say is chains.ts.
//
//   raw     PREROUTING  LEAK, ZONE    OUTPUT  ZONEO
//   mangle  INPUT  PORT   FORWARD  MSS   POSTROUTING  LEAKO
//   filter  OUTPUT  USER
//   nat     PREROUTING  DNAT   OUTPUT  DNATO   POSTROUTING  SNAT
//
// Drops stand in raw and mangle, where an ACCEPT that somebody puts above ours in filter does not reach them; only REJECT
// works in filter alone. iptables has no sets: what would be one with many elements is a tree of chains.

import { renderIp } from '../address/ip.ts';
import { type IpPrefix, networkOf, parsePrefix, renderPrefix } from '../address/prefix.ts';
import type { HostPolicy } from '../policy/host.ts';
import { chainsOf, countersOf, processNames } from './chains.ts';
import { type HostFacts, reducePrefixes, type Version } from './facts.ts';
import { targetPorts } from './nat-chains.ts';
import {
  type AddressMatch,
  type ChainName,
  type InterfaceMatch,
  ofVersion,
  oneOfNetworks,
  type Rule,
  renderNetwork,
  type Verdict,
} from './rule.ts';

/**
 * In the order in which they are committed, each at once but not together. A zone comes after the DNAT that is to happen in
 * it: a datagram in between would be tracked there as not translated, and so would all that follow it.
 */
export const IPTABLES_TABLES = ['mangle', 'nat', 'raw', 'filter'] as const;
export type IptablesTableName = (typeof IPTABLES_TABLES)[number];

export interface IptablesRule {
  /** From the first match on, without `-A CHAIN`. */
  readonly text: string;
  /** Which counter it belongs to; the counters of all rules of one name add up. */
  readonly counter: string | null;
}

export interface IptablesChain {
  readonly name: string;
  readonly rules: readonly IptablesRule[];
}

export interface IptablesTable {
  readonly chains: readonly IptablesChain[];
  /** Which chains the kernel's are to begin with, in this order. */
  readonly jumps: readonly { readonly hook: string; readonly chain: string }[];
}

export type IptablesTables = Readonly<Record<IptablesTableName, IptablesTable>>;

export interface IptablesRuleset {
  readonly network: string;
  readonly counters: readonly string[];
  readonly tables: Readonly<Record<Version, IptablesTables>>;
}

interface Place {
  readonly table: IptablesTableName;
  readonly hook: string;
  readonly suffix: string;
}

/** INVARIANT: with the network's 15 letters and a number no name of a chain is longer than the 28 that iptables takes. */
const PLACES: Readonly<Record<ChainName, Place>> = {
  leak_in: { table: 'raw', hook: 'PREROUTING', suffix: 'LEAK' },
  zone_in: { table: 'raw', hook: 'PREROUTING', suffix: 'ZONE' },
  zone_out: { table: 'raw', hook: 'OUTPUT', suffix: 'ZONEO' },
  inbound: { table: 'mangle', hook: 'INPUT', suffix: 'PORT' },
  mss: { table: 'mangle', hook: 'FORWARD', suffix: 'MSS' },
  leak_out: { table: 'mangle', hook: 'POSTROUTING', suffix: 'LEAKO' },
  process: { table: 'filter', hook: 'OUTPUT', suffix: 'USER' },
  nat_in: { table: 'nat', hook: 'PREROUTING', suffix: 'DNAT' },
  nat_out: { table: 'nat', hook: 'OUTPUT', suffix: 'DNATO' },
  nat_post: { table: 'nat', hook: 'POSTROUTING', suffix: 'SNAT' },
};

/** So many alternatives are rules one below the other; more are a tree, each chain of which has no more. */
const FLAT_LIMIT = 16;

/** How names of chains of a network begin. Those of its openings begin like that, too. */
export function chainPrefix(network: string): string {
  return `RF-${network}-`;
}

export function renderIptables(policy: HostPolicy, facts: HostFacts): IptablesRuleset {
  const counters = countersOf(chainsOf(policy, facts));
  const tables = {
    4: new TableRenderer(policy, facts, 4).render(),
    6: new TableRenderer(policy, facts, 6).render(),
  };
  return { network: policy.network, counters, tables };
}

/** A chain while it is written. */
interface Draft {
  readonly name: string;
  readonly rules: IptablesRule[];
}

class TableRenderer {
  readonly #policy: HostPolicy;
  readonly #facts: HostFacts;
  readonly #version: Version;

  constructor(policy: HostPolicy, facts: HostFacts, version: Version) {
    this.#policy = policy;
    this.#facts = facts;
    this.#version = version;
  }

  render(): IptablesTables {
    const tables = { raw: emptyTable(), mangle: emptyTable(), filter: emptyTable(), nat: emptyTable() };
    for (const { name, rules } of chainsOf(this.#policy, this.#facts)) {
      const { table, hook, suffix } = PLACES[name];
      const chains = new ChainRenderer(`${chainPrefix(this.#policy.network)}${suffix}`);
      const first = chains.add();
      for (const rule of rules.flatMap((one) => this.#spell(one))) chains.render(rule, first);
      if (first.rules.length === 0) continue;
      tables[table].chains.push(...chains.all);
      tables[table].jumps.push({ hook, chain: first.name });
    }
    return tables;
  }

  /** A rule with its alternatives written out; none where it has nothing of this version. */
  #spell(rule: Rule): Spelled[] {
    if (rule.version !== undefined && rule.version !== this.#version) return [];
    const { verdict } = rule;
    const isMap = verdict.kind === 'map';
    const mapped = isMap ? { [verdict.field]: oneOfNetworks([renderNetwork(verdict.from)]) } : {};
    const { source, destination }: Pick<Rule, 'source' | 'destination'> = { ...rule, ...mapped };
    const [sources, destinations] = [this.#addresses(source, '-s'), this.#addresses(destination, '-d')];
    return sources === null || destinations === null ? [] : [{ rule, sources, destinations }];
  }

  #addresses(match: AddressMatch | undefined, flag: '-s' | '-d'): string[] | null {
    if (match === undefined) return [''];
    if (match.kind === 'networks' && match.isNot) return match.networks.map((one) => `! ${flag} ${one}`);
    const networks = this.#networks(match);
    return networks.length === 0 ? null : networks.map((one) => `${flag} ${one}`);
  }

  #networks(match: AddressMatch): readonly string[] {
    switch (match.kind) {
      case 'networks':
        return match.networks;
      case 'overlay':
        return reducePrefixes(this.#facts.overlay, this.#version).map(renderNetwork);
      case 'name': {
        const name = processNames(this.#policy)[match.index] ?? '';
        return ofVersion(this.#facts.resolved.get(name) ?? [], this.#version)
          .map(renderIp)
          .sort();
      }
      default:
        return match satisfies never;
    }
  }
}

/** A rule whose addresses are alternatives, `''` for any. */
interface Spelled {
  readonly rule: Rule;
  readonly sources: readonly string[];
  readonly destinations: readonly string[];
}

/** A chain of ours with those that it needs beside it. */
class ChainRenderer {
  readonly all: Draft[] = [];
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  add(): Draft {
    const number = this.all.length === 0 ? '' : `${this.all.length}`;
    const draft: Draft = { name: `${this.#name}${number}`, rules: [] };
    this.all.push(draft);
    return draft;
  }

  render({ rule, sources, destinations }: Spelled, chain: Draft): void {
    const excluded = [...excludedOf(rule.inInterface, '-i'), ...excludedOf(rule.outInterface, '-o')];
    if (excluded.length <= 1) {
      const not = excluded.map((match) => `! ${match}`).join('');
      this.#renderAlternatives({ rule, sources, destinations }, not, chain);
      return;
    }
    // One rule can say "not" of one interface only. INVARIANT: none that accepts is here, where RETURN would leave too little.
    const sub = this.add();
    sub.rules.push(...excluded.map((match) => plain(`${match} -j RETURN`)));
    chain.rules.push(plain(`-j ${sub.name}`));
    this.#renderAlternatives({ rule, sources, destinations }, '', sub);
  }

  #renderAlternatives({ rule, sources, destinations }: Spelled, not: string, chain: Draft): void {
    const interfaces = product(included(rule.inInterface, '-i'), included(rule.outInterface, '-o'));
    for (const match of interfaces) {
      const begin = words(not, match);
      const [most, others] =
        sources.length > destinations.length ? [sources, destinations] : [destinations, sources];
      if (most.length <= FLAT_LIMIT || rule.verdict.kind === 'accept') {
        chain.rules.push(...product([begin], sources, destinations).flatMap((one) => endings(one, rule)));
        continue;
      }
      // The rule stands at the leaves: a packet is compared with some dozens of thousands of addresses.
      const top = this.add();
      chain.rules.push(plain(words(begin, `-j ${top.name}`)));
      this.#grow(most, top, (address) => product([address], others).flatMap((one) => endings(one, rule)));
    }
  }

  /** A miss in a chain that was gone to returns to where the tree was jumped to. */
  #grow(addresses: readonly string[], chain: Draft, leaf: (address: string) => IptablesRule[]): void {
    const [flag = ''] = addresses[0]?.split(' ') ?? [];
    const prefixes = addresses.flatMap((text) => prefixOf(text.slice(flag.length + 1)));
    const { version } = prefixes[0]?.address ?? {};
    const descend = (group: readonly IpPrefix[], into: Draft): void => {
      for (const part of group.length <= FLAT_LIMIT ? group.map((one) => [one]) : split(group)) {
        const [only] = part;
        if (part.length === 1 && only !== undefined) {
          into.rules.push(...leaf(`${flag} ${renderNetwork(only)}`));
          continue;
        }
        const sub = this.add();
        into.rules.push(plain(`${flag} ${renderPrefix(coverOf(part))} -g ${sub.name}`));
        descend(part, sub);
      }
    };
    if (version !== undefined) descend(reducePrefixes(prefixes, version), chain);
  }
}

function emptyTable(): { chains: IptablesChain[]; jumps: { hook: string; chain: string }[] } {
  return { chains: [], jumps: [] };
}

function plain(text: string): IptablesRule {
  return { text, counter: null };
}

function words(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' ');
}

/** Each combination of one of each. */
function product(...lists: readonly (readonly string[])[]): string[] {
  return lists.reduce<string[]>(
    (all, list) => all.flatMap((one) => list.map((other) => words(one, other))),
    [''],
  );
}

function included(match: InterfaceMatch | undefined, flag: '-i' | '-o'): string[] {
  return match === undefined || match.isNot ? [''] : match.names.map((name) => `${flag} ${name}`);
}

function excludedOf(match: InterfaceMatch | undefined, flag: '-i' | '-o'): string[] {
  return match?.isNot === true ? match.names.map((name) => `${flag} ${name}`) : [];
}

/** A rule from its protocol on, for each range of its ports. */
function endings(begin: string, rule: Rule): IptablesRule[] {
  const { flow, notUsers, notCgroups, counter = null } = rule;
  const ports = rule.ports?.map(({ first, last }) => (first === last ? `${first}` : `${first}:${last}`));
  const protocol = rule.protocol === undefined ? '' : `-p ${rule.protocol}`;
  // Without --socket-exists a packet of no socket would be one of none of these users.
  const users = notUsers?.map(
    (user, i) => `-m owner ${i === 0 ? '--socket-exists ' : ''}! --uid-owner ${user}`,
  );
  const cgroups = notCgroups?.map(({ path }) => `-m cgroup ! --path "${path.replaceAll('\\', '\\\\')}"`);
  // What the kernel compares is in no listing: a rule about another cgroup of the same path is another rule.
  const ids = notCgroups?.map(({ id }) => id).join(' ') ?? '';
  const rest = [
    flow === undefined ? '' : `-m conntrack ${flow === 'reply' ? '--ctdir REPLY' : '--ctstate DNAT'}`,
    rule.sourceIsLocal === undefined ? '' : `-m addrtype ${rule.sourceIsLocal ? '' : '! '}--src-type LOCAL`,
    rule.destinationIsLocal === true ? '-m addrtype --dst-type LOCAL' : '',
    ...(users ?? []),
    ...(cgroups === undefined ? [] : ['-m owner --socket-exists', ...cgroups]),
    ids === '' ? '' : `-m comment --comment "cgroup ${ids}"`,
    counter === null ? '' : `-m comment --comment "${counter}"`,
    renderVerdict(rule.verdict, rule),
  ];
  const each = ports?.map((port) => `${protocol} --dport ${port}`) ?? [protocol];
  return each.map((port) => ({ text: words(begin, port, ...rest), counter }));
}

function renderVerdict(verdict: Verdict, { protocol }: Rule): string {
  switch (verdict.kind) {
    case 'accept':
      return '-j RETURN';
    case 'drop':
      return '-j DROP';
    case 'reject':
      return protocol === 'tcp' ? '-j REJECT --reject-with tcp-reset' : '-j REJECT';
    case 'zone':
      return `-j CT --zone-orig ${verdict.zone}`;
    case 'snat':
      return `-j SNAT --to-source ${renderIp(verdict.address)}`;
    case 'dnat':
      return `-j DNAT --to-destination ${renderTarget(verdict)}`;
    case 'map':
      return `-j NETMAP --to ${renderPrefix(verdict.to)}`;
    case 'masquerade':
      return '-j MASQUERADE';
    case 'clamp-mss':
      return '-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu';
    default:
      return verdict satisfies never;
  }
}

/** Of a range, iptables is told with which port it begins, so that the others follow in step. */
function renderTarget({ address, ports: step }: Extract<Verdict, { kind: 'dnat' }>): string {
  const target = renderIp(address);
  if (step === null) return target;
  const { first, last } = targetPorts(step);
  const host = address.version === 6 ? `[${target}]` : target;
  if (first === last) return `${host}:${first}`;
  return step.ports.first === step.to ? target : `${host}:${first}-${last}/${step.ports.first}`;
}

function prefixOf(text: string): IpPrefix[] {
  const parsed = parsePrefix(text);
  return parsed.ok ? [parsed.value] : [];
}

/** Sorted networks that do not overlap → so many groups of neighbours as a chain takes, as even as their bits allow. */
function split(sorted: readonly IpPrefix[]): (readonly IpPrefix[])[] {
  const groups: (readonly IpPrefix[])[] = [sorted];
  while (groups.length < FLAT_LIMIT) {
    const largest = groups.reduce(
      (most, { length }, i) => (length > (groups[most]?.length ?? 0) ? i : most),
      0,
    );
    const group = groups[largest] ?? [];
    if (group.length <= 1) break;
    const bit = coverOf(group).length;
    const second = group.findIndex(({ address }) => bitOf(address.bytes, bit) === 1);
    groups.splice(largest, 1, group.slice(0, second), group.slice(second));
  }
  return groups;
}

/** The smallest network of all of a sorted group. */
function coverOf(group: readonly IpPrefix[]): IpPrefix {
  const [first, last] = [group[0], group.at(-1)];
  if (first === undefined || last === undefined) throw new RangeError('an empty group has no network');
  let length = 0;
  while (
    length < Math.min(first.length, last.length) &&
    bitOf(first.address.bytes, length) === bitOf(last.address.bytes, length)
  ) {
    length += 1;
  }
  return networkOf({ address: first.address, prefixLength: length });
}

function bitOf(bytes: Uint8Array, index: number): number {
  return ((bytes[index >> 3] ?? 0) >> (7 - (index & 7))) & 1;
}
