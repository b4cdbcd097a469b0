// A rule of the host before it is text: what must fit, and what becomes of the packet. What is to be decided is decided in
// these terms, once (chains.ts, nat-chains.ts); render-nft.ts and render-iptables.ts only say it, each in its program's words.

import { bitsOf, type IpAddress, renderIp } from '../address/ip.ts';
import { type IpPrefix, renderPrefix } from '../address/prefix.ts';
import type { PortRange, Protocol } from '../policy/host.ts';
import type { InboundSource } from '../policy/model.ts';
import type { Cgroup } from './cgroups.ts';
import { type HostFacts, PRIVATE_NETWORKS, reducePrefixes, type Version } from './facts.ts';

/** The chains of a host, in the order in which a packet meets them. */
export const CHAIN_NAMES = [
  'leak_in',
  'zone_in',
  'nat_in',
  'mss',
  'inbound',
  'zone_out',
  'nat_out',
  'process',
  'leak_out',
  'nat_post',
] as const;
export type ChainName = (typeof CHAIN_NAMES)[number];

/** What no rule of a chain drops or translates goes on as if the chain were not there. */
export interface RuleChain {
  readonly name: ChainName;
  readonly rules: readonly Rule[];
}

/** What must fit, all of it; what is not there fits anything. */
export interface Match {
  /** Absent: both. Always there with addresses. */
  readonly version?: Version;
  readonly inInterface?: InterfaceMatch;
  readonly outInterface?: InterfaceMatch;
  /** `reply`: against the direction in which the flow began; `translated`: of a flow whose destination was changed. */
  readonly flow?: 'reply' | 'translated';
  /** Whether the source is an address of this host. */
  readonly sourceIsLocal?: boolean;
  readonly source?: AddressMatch;
  readonly destinationIsLocal?: true;
  readonly destination?: AddressMatch;
  readonly protocol?: Protocol;
  /** Of the destination; never without a protocol. One of them must fit. */
  readonly ports?: readonly PortRange[];
  /** The socket that sent it belongs to none of these users. What no socket sent does not fit. */
  readonly notUsers?: readonly (number | string)[];
  /** The socket that sent it was made in or below none of these cgroups. What no socket sent does not fit. */
  readonly notCgroups?: readonly Cgroup[];
}

export interface Rule extends Match {
  /** Counts what fits. */
  readonly counter?: string;
  readonly verdict: Verdict;
}

export interface InterfaceMatch {
  /** One of them, or with `isNot` none. */
  readonly names: readonly string[];
  readonly isNot: boolean;
}

export type AddressMatch =
  /** One of these addresses or networks, as text, or with `isNot` none. */
  | { readonly kind: 'networks'; readonly networks: readonly string[]; readonly isNot: boolean }
  /** An address of the overlay. */
  | { readonly kind: 'overlay' }
  /** What a name resolves to: an index of {@link processNames}. */
  | { readonly kind: 'name'; readonly index: number };

export type Verdict =
  /** Nothing more of this chain. */
  | { readonly kind: 'accept' }
  | { readonly kind: 'drop' }
  /** The sender is told. */
  | { readonly kind: 'reject' }
  /** The flow is tracked in this conntrack zone. */
  | { readonly kind: 'zone'; readonly zone: number }
  /** `ports`: the destination's, which become those from `to` on in step. */
  | { readonly kind: 'dnat'; readonly address: IpAddress; readonly ports: PortStep | null }
  | { readonly kind: 'snat'; readonly address: IpAddress }
  /** Each address of one network becomes that at the same place of the other; what is not of it does not fit. */
  | {
      readonly kind: 'map';
      readonly field: 'source' | 'destination';
      readonly from: IpPrefix;
      readonly to: IpPrefix;
    }
  | { readonly kind: 'masquerade' }
  /** The MSS of a TCP connection is lowered to what the route carries. */
  | { readonly kind: 'clamp-mss' };

export interface PortStep {
  readonly ports: PortRange;
  readonly to: number;
}

export const ACCEPT: Verdict = { kind: 'accept' };
export const DROP: Verdict = { kind: 'drop' };
export const MASQUERADE: Verdict = { kind: 'masquerade' };

export function only(...names: readonly string[]): InterfaceMatch {
  return { names, isNot: false };
}

export function anyBut(...names: readonly string[]): InterfaceMatch {
  return { names, isNot: true };
}

/** The tunnel and the loopback, which the guards let pass. */
export function inside({ interface: tunnel }: HostFacts): readonly [string, string] {
  return ['lo', tunnel];
}

export function oneOfNetworks(networks: readonly string[]): AddressMatch {
  return { kind: 'networks', networks, isNot: false };
}

/** The texts of addresses, which a reload leaves as they are: of thousands of peers they are most of the work. */
const TEXTS = new WeakMap<IpAddress, string>();

/** A host's prefix as the address alone, which is how nft lists it. */
export function renderNetwork(prefix: IpPrefix): string {
  if (!isHost(prefix)) return renderPrefix(prefix);
  let text = TEXTS.get(prefix.address);
  if (text === undefined) {
    text = renderIp(prefix.address);
    TEXTS.set(prefix.address, text);
  }
  return text;
}

export function isHost({ address, length }: IpPrefix): boolean {
  return length === bitsOf(address.version);
}

/** Sorted and joined where they touch: an nft set takes no overlaps. */
export function mergePorts(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before === undefined || range.first > before.last + 1) merged.push(range);
    else merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
  }
  return merged;
}

export function ofVersion(addresses: readonly IpAddress[], version: Version): IpAddress[] {
  return addresses.filter((address) => address.version === version);
}

/** Where packets come from: the interface, the addresses. */
export type SourceMatch = Pick<Match, 'version' | 'inInterface' | 'source'>;

/**
 * The matches of several sources, one of which must fit. A source that has nothing of `version` has none; without `version`
 * there is one for each that it has addresses of.
 */
export function sourceMatches(
  sources: readonly InboundSource[],
  versions: readonly Version[],
  facts: HostFacts,
): SourceMatch[] {
  if (sources.some(({ kind }) => kind === 'any')) return [{}];
  const matches = new Map<string, SourceMatch>();
  for (const version of versions) {
    for (const source of sources) {
      const match = sourceMatch(source, version, facts);
      if (match !== null) matches.set(JSON.stringify(match), match);
    }
  }
  return [...matches.values()];
}

/** null where the source has nothing of this version. */
function sourceMatch(source: InboundSource, version: Version, facts: HostFacts): SourceMatch | null {
  const tunnel = facts.interface;
  switch (source.kind) {
    case 'any':
      return {};
    case 'overlay':
      return { inInterface: only(tunnel) };
    case 'lan': {
      const networks = PRIVATE_NETWORKS[version].split(', ');
      return { version, inInterface: anyBut(tunnel), source: oneOfNetworks(networks) };
    }
    case 'site': {
      const subnets = reducePrefixes(facts.sites.get(source.name) ?? [], version).map(renderNetwork);
      if (subnets.length === 0) return null;
      return { version, inInterface: only(tunnel), source: oneOfNetworks(subnets) };
    }
    case 'prefix':
      return source.prefix.address.version === version
        ? { version, source: oneOfNetworks([renderNetwork(source.prefix)]) }
        : null;
    default:
      return source satisfies never;
  }
}
