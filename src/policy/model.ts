// The policy of one node as plain data: who it knows, what each may reach. Names are kept, and every row knows its place in
// the file. `evaluate.ts` judges packets by it, `compile.ts` makes of it what the core gets; docs/policy.md is its manual.

import type { IpAddress } from '../address/ip.ts';
import type { IpInterface, IpPrefix } from '../address/prefix.ts';
import type { Traffic } from '../address/traffic.ts';

/** Where a row stands. Lines and columns count from 1. */
export interface RulePlace {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** What decides: `explain`, the drop log and the counters call it by these two. */
export interface Rule {
  /** The path of its key, as in `peers.alice.allow[0]`. */
  readonly name: string;
  readonly place: RulePlace;
}

export interface Policy {
  /** What becomes of a packet that no row allows: `reject` tells its sender. */
  readonly action: 'drop' | 'reject';
  /** The section itself: the rule that is named where no row fits. */
  readonly rule: Rule;
  /** This node's own addresses in the overlay, each with its network. */
  readonly addresses: readonly IpInterface[];
  /** In file order; names are unique, as are those of services, profiles and networks. */
  readonly peers: readonly PolicyPeer[];
  readonly services: readonly Service[];
  readonly profiles: readonly Profile[];
  readonly networks: readonly Network[];
  /** At most one per peer. */
  readonly sites: readonly Site[];
  /** What may reach this node itself. */
  readonly inbound: readonly InboundRow[];
}

export interface PolicyPeer {
  readonly name: string;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly rule: Rule;
  readonly addresses: readonly IpAddress[];
  /** Networks behind it; its site's subnets lie in them. */
  readonly routes: readonly IpPrefix[];
  readonly profile: string | null;
  readonly allow: readonly AccessRow[];
  readonly deny: readonly AccessRow[];
  /** Who beyond the overlay may open flows to its addresses and routes. */
  readonly reachableFrom: readonly ReachRow[];
  readonly routeVia: SiteRef | null;
}

/** A name of a site, and where it is written. */
export interface SiteRef extends Rule {
  readonly site: string;
}

/** What a subject may, or may not, reach. All selectors must fit. */
export interface AccessRow extends Rule {
  readonly to: Target;
  /** null: any source of the subject. */
  readonly from: IpPrefix | null;
  /** One of them must fit; empty: anything. */
  readonly traffic: readonly Traffic[];
}

/** Sources beyond the overlay. */
export interface ReachRow extends Rule {
  readonly from: IpPrefix | 'any';
  readonly traffic: readonly Traffic[];
}

export type Target =
  | { readonly kind: 'prefix'; readonly prefix: IpPrefix }
  /** Its addresses with its traffic. */
  | { readonly kind: 'service'; readonly name: string }
  /** Its addresses, not what is behind it. */
  | { readonly kind: 'peer'; readonly name: string }
  /** Its subnets. */
  | { readonly kind: 'site'; readonly name: string }
  /** Every address of this host. */
  | { readonly kind: 'self' }
  | { readonly kind: 'internet' }
  | { readonly kind: 'any' };

/** Exact: these addresses, this traffic. A service is never `internet`, whatever its address. */
export interface Service extends Rule {
  /** What other rows call it. */
  readonly id: string;
  /** At least one. */
  readonly addresses: readonly IpAddress[];
  /** At least one. */
  readonly traffic: readonly Traffic[];
  /** Its name in the overlay's DNS, or null. */
  readonly dnsName: string | null;
}

/** What many peers have in common. */
export interface Profile extends Rule {
  readonly id: string;
  /** The key that grants the internet, or null. */
  readonly internet: Rule | null;
  /** Names of services. */
  readonly services: readonly ServiceRef[];
  /** Which peers it may open flows to: nobody, the members of its networks, or everybody that no strict network shuts off. */
  readonly peers: 'none' | 'network' | 'all';
  readonly peersRule: Rule;
  readonly allow: readonly AccessRow[];
  readonly deny: readonly AccessRow[];
  /** null: not limited. */
  readonly rate: Rate | null;
  readonly quota: Quota | null;
}

/** A name of a service, and where it is written. */
export interface ServiceRef extends Rule {
  readonly service: string;
}

/** Bytes per second from the peer (up) and to it (down); null: not limited. */
export interface Rate {
  readonly up: number | null;
  readonly down: number | null;
}

export interface Quota extends Rule {
  readonly bytes: number;
  readonly period: 'day' | 'week' | 'month';
  /** Past it: nothing passes, or so many bytes per second each way. */
  readonly over: 'deny' | number;
}

/**
 * Peers that belong together: they reach each other and this node itself. Those of a strict one reach no other peer and are
 * reached by none, whatever other rows grant.
 */
export interface Network extends Rule {
  readonly id: string;
  readonly isStrict: boolean;
  /** Names of peers, each once. A peer is in one strict network at most. */
  readonly members: readonly string[];
}

/** A network behind one peer with rights of its own: a packet of that peer from these subnets is the site's, not the peer's. */
export interface Site extends Rule {
  /** The peer that carries it. */
  readonly peer: string;
  /** At least one; they lie in the routes of the peer, and in no other site. */
  readonly subnets: readonly IpPrefix[];
  /** Services of ours that it may use. */
  readonly inbound: readonly ServiceRef[];
  /** What this host and networks beyond the overlay may open there. Peers need rows of their own. */
  readonly outbound: 'any' | 'none' | readonly OutboundRow[];
  readonly outboundRule: Rule;
  /** It may use our internet. */
  readonly providesExit: Rule | null;
  /** Peers of ours may use its internet, by `route_via`. */
  readonly consumesExit: boolean;
  /** Names under `domain` are asked of `server`. */
  readonly dns: SiteDns | null;
}

export interface SiteDns {
  readonly domain: string;
  readonly server: IpAddress;
}

export interface OutboundRow extends Rule {
  readonly to: IpPrefix;
  readonly traffic: readonly Traffic[];
}

/** What may reach this node itself through a tunnel. */
export interface InboundRow extends Rule {
  /** One of them must fit. */
  readonly from: readonly InboundSource[];
  readonly traffic: readonly Traffic[];
}

/** `overlay`: peers and sites; `lan`: the host's other interfaces, never a tunnel; `any`: both. */
export type InboundSource =
  | { readonly kind: 'overlay' | 'lan' | 'any' }
  | { readonly kind: 'site'; readonly name: string }
  | { readonly kind: 'prefix'; readonly prefix: IpPrefix };

/** What stands for the row by which this node may open flows: there is none to write. */
export function selfRule({ rule }: Pick<Policy, 'rule'>): Rule {
  return { name: 'self', place: rule.place };
}

/** Every rule of a policy, once: what the core names in a decision or a counter, and where it is written. */
export function rulesOf({ rule, peers, profiles, networks, sites, services, inbound }: Policy): Rule[] {
  return [
    rule,
    ...peers.flatMap((peer) => [
      peer.rule,
      ...peer.allow,
      ...peer.deny,
      ...peer.reachableFrom,
      ...(peer.routeVia === null ? [] : [peer.routeVia]),
    ]),
    ...profiles.flatMap((profile) => [
      profile,
      profile.peersRule,
      ...profile.services,
      ...profile.allow,
      ...profile.deny,
      ...(profile.internet === null ? [] : [profile.internet]),
      ...(profile.quota === null ? [] : [profile.quota]),
    ]),
    ...networks,
    ...sites.flatMap((site) => [
      site,
      site.outboundRule,
      ...site.inbound,
      ...(typeof site.outbound === 'string' ? [] : site.outbound),
      ...(site.providesExit === null ? [] : [site.providesExit]),
    ]),
    ...services,
    ...inbound,
    selfRule({ rule }),
  ];
}
