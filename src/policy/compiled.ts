// The compiled form of a policy: what the core's filter is given. It stands between the model (which knows profiles, sites and
// services) and the packet (which knows addresses, protocols and ports). `encode.ts` writes it as bytes, its twin
// `wasm/core/src/filter/` reads and enforces it; `compile.ts` makes it from the model.
//
// It consists of parts with names of their own, and a part refers to others by name only: when one peer changes, its
// parts change and no other. Names are any text; the encoder gives them numbers. Choose names that a change elsewhere in the
// document leaves alone (`peers.alice`, never a line number), or a small change becomes a large one, though no wrong one.
//
// How a new flow is judged, on one leg (in: authenticated from a peer, out: routed to a peer):
//
//   who opens it   leg in: `outside`, if the source is internet and the destination that of a subject whose `exit` this peer
//                  is; else the peer's `subject`, or of its `sites` the one with the longest prefix that holds the source
//                  leg out: `self` for an own address, else the subject with the longest prefix, of its `addresses` or
//                  `behind`, that holds the source, else `outside`
//   1 deny         the first deny rule that fits                                                     → deny
//   2 isolation    subject and object are two overlay peers (`isPeer`), and one of them is in a strict network that the
//                  other is not in: first the subject's networks in their order, then the object's    → deny
//   3 grant        the first allow rule that fits                                                    → allow
//   4 network      object is this node, and the subject has `reachesNode`; or an overlay peer: the first network of the
//                  subject that it shares, if `reachesMembers`; else `reachesPeers`                  → allow
//   5 internet     the object is internet, and the subject has `internet`                            → allow
//   6 default                                                                                        → deny
//
// "First" is the order of the subject's `ruleSets`, then the order in the set: it only chooses which rule is named.
// The object is the destination address: this node if it is an own address, else the subject whose `addresses` hold it by
// the longest prefix, else nobody. It is *internet* when it is no own address and lies in none of `notInternet`.
// Replies are never judged: they pass by the flow they belong to, and every live flow is judged again when the policy changes.

import type { IpPrefix } from '../address/prefix.ts';

/**
 * The name of a rule: what a decision, a counter and the drop log refer to. The same row of the document keeps its name
 * as long as it can (its path, such as `peers.alice.allow[0]`); many compiled rules may carry the name of one row.
 */
export type RuleName = string;

/** Where a packet is judged: on its way in from a peer, or out to one. */
export type Leg = 'in' | 'out';

/** What decided, in the order of judgement. */
export const STAGES = ['deny', 'isolation', 'grant', 'network', 'internet', 'default'] as const;
export type Stage = (typeof STAGES)[number];

/** The same with what denies beside the judgement: `quota`, the peer's is used up. */
export const DECIDERS = [...STAGES, 'quota'] as const;
export type Decider = (typeof DECIDERS)[number];

/** What comes of a flow, and why. `rule` is null where no row of the document decided: at the stage `default`. */
export interface Decision {
  readonly verdict: 'allow' | 'deny';
  readonly stage: Stage;
  readonly rule: RuleName | null;
}

/**
 * One row a packet can fit. All that it says must hold.
 * INVARIANT: `ports` only beside a `protocol` that has any: TCP 6, UDP 17, DCCP 33, SCTP 132, UDP-Lite 136, or ICMP 1
 * and ICMPv6 58, where it is the range of types. `from` and `to` are of one version when both are prefixes.
 */
export interface CompiledRule {
  readonly rule: RuleName;
  readonly action: 'allow' | 'deny';
  readonly legs: readonly Leg[];
  /** The destination. `self`: an own address of this host; `internet`: as above; `any`: either version. */
  readonly to: IpPrefix | 'any' | 'self' | 'internet';
  /** The source; absent = any. */
  readonly from?: IpPrefix;
  /** By number; absent = any. Of a packet with IPv6 extension headers, what follows them. */
  readonly protocol?: number;
  /** Destination ports or ICMP types, both ends included; absent = any. */
  readonly ports?: readonly [first: number, last: number];
}

/** A network of members. */
export interface CompiledNetwork {
  /** Named where membership decides: by stage 2 if it is strict, by stage 4. */
  readonly rule: RuleName;
  readonly isStrict: boolean;
}

/** Somebody who opens flows and to whom flows are opened: a peer, a site, this node, or the rest. */
export interface CompiledSubject {
  /** Names of {@link CompiledPolicy.ruleSets}, in the order in which `explain` looks. */
  readonly ruleSets: readonly string[];
  /**
   * What it is by address: who a packet on leg out is from, and whom a packet is to. No two subjects have the same prefix,
   * one inside another is fine. Empty for `self`, whose addresses the node tells the core, and `outside`.
   */
  readonly addresses: readonly IpPrefix[];
  /**
   * The networks behind a peer: a packet on leg out from one is from the peer, but a packet to one is not to the peer, for
   * being its fellow member opens no LAN. Together with `addresses`, no two subjects have the same prefix.
   */
  readonly behind: readonly IpPrefix[];
  /** Whether it is an overlay peer: isolation and membership are between those. Not so for a site, `self`, `outside`. */
  readonly isPeer: boolean;
  /** Names of {@link CompiledPolicy.networks} it is a member of. */
  readonly networks: readonly string[];
  /** Whether it may open flows to those who share a network with it. */
  readonly reachesMembers: boolean;
  /** The row by which it may open flows to all overlay peers; null = none. */
  readonly reachesPeers: RuleName | null;
  /** The row by which it may open flows to this node; null = only what rules grant. */
  readonly reachesNode: RuleName | null;
  /** The row by which it may use the internet; null = not. */
  readonly internet: RuleName | null;
  /** The name, in {@link CompiledPolicy.peers}, of the peer that its flows to the internet leave by; null = by this host. */
  readonly exit: string | null;
}

/** Who speaks through a tunnel. A peer that has none of these has no grants: what it sends is denied at stage 6. */
export interface CompiledPeer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Who it is. */
  readonly subject: string;
  /** Who it is with a source in one of these: the sites it carries. No prefix twice. */
  readonly sites: readonly { readonly prefix: IpPrefix; readonly subject: string }[];
  /** Of its tunnel, whoever is behind it; null = none. */
  readonly limits: CompiledLimits | null;
}

/** Rates are bytes of IP packets per second. */
export interface CompiledLimits {
  /** From the peer, and to it; null = as fast as can be. */
  readonly up: number | null;
  readonly down: number | null;
  /** Past its quota nothing passes, or so much a second each way. How much is left, the core is told as an allowance. */
  readonly quota: { readonly rule: RuleName; readonly over: 'deny' | number } | null;
}

/** Bytes of both directions that a peer may use after the lane's start, by the name of its part. */
export type Allowances = ReadonlyMap<string, bigint>;

/** The subject that is this node, and the one that is everybody no other subject's addresses hold. Both are always there. */
export const SELF = 'self';
export const OUTSIDE = 'outside';

/** A whole policy. INVARIANT: every name that a part refers to is there; `subjects` has {@link SELF} and {@link OUTSIDE}. */
export interface CompiledPolicy {
  /** What a denied packet is answered with: silence, or a TCP reset and ICMP's "administratively prohibited". */
  readonly denial: 'drop' | 'reject';
  /** Rules by the name of their set. A set may serve many subjects: a profile's is there once. */
  readonly ruleSets: ReadonlyMap<string, readonly CompiledRule[]>;
  readonly networks: ReadonlyMap<string, CompiledNetwork>;
  readonly subjects: ReadonlyMap<string, CompiledSubject>;
  /** By any name that is theirs alone. No public key twice. */
  readonly peers: ReadonlyMap<string, CompiledPeer>;
  /** The rule set by whose rows flows are counted, the services; null = by none. */
  readonly services: string | null;
  /** Destinations that are not the internet: private and special networks, the overlay's own. */
  readonly notInternet: readonly IpPrefix[];
}
