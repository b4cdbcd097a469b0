// The peers' policy once more, for the rules of the host: what is decided, before it is said in words of nft (render-mirror.ts)
// or of iptables. It is made of the compiled form, as the core's is. docs/policy.md says what is judged, and how.

import { comparePrefixes, contains, type IpPrefix, isExitRoute } from '../address/prefix.ts';
import { ICMP, ICMPV6 } from '../address/traffic.ts';
import type { Compilation } from '../policy/compile.ts';
import {
  type CompiledPolicy,
  type CompiledRule,
  type CompiledSubject,
  OUTSIDE,
  SELF,
} from '../policy/compiled.ts';
import { subtractPrefixes } from '../policy/subtract.ts';
import { fnv1a } from './fnv.ts';
import { isHost, renderNetwork } from './rule.ts';

/** What counts the packets that the mirror drops. */
export const MIRROR_COUNTER = 'rf_policy';

/** A network, and the subject that has it. */
export interface Owned {
  readonly prefix: IpPrefix;
  readonly owner: string;
}

/** Whose each address is. Networks of one list do not overlap; of several lists that have an address the first counts. */
export interface Owners {
  /** Hosts and networks as they are, one in another: the longest prefix counts. */
  readonly all: readonly Owned[];
  readonly hosts: readonly Owned[];
  readonly networks: readonly Owned[];
  /** Ways to the internet: what comes from there through the tunnel of a peer is the peer's. */
  readonly exits: readonly Owned[];
}

/** What peers with the same profile and networks have in common. */
export interface PeerClass {
  /** The same for the same content, unless two differ and their digests do not. */
  readonly name: string;
  readonly rules: readonly CompiledRule[];
  /** One of them. */
  readonly subject: CompiledSubject;
  readonly hasInternet: boolean;
}

/** What a peer has alone, and what with others. */
export interface PeerParts {
  readonly own: readonly CompiledRule[];
  readonly kind: PeerClass;
}

/** What {@link MirroredPolicy.partsOf} found out about a subject, and the rule sets that it was found from. */
interface KnownParts {
  readonly name: string;
  readonly sets: readonly (readonly [string, readonly CompiledRule[] | undefined])[];
  readonly own: readonly CompiledRule[];
  readonly classKey: string;
  readonly hasInternet: boolean;
}

/** Of subjects that a reload leaves as they are. */
const KNOWN = new WeakMap<CompiledSubject, KnownParts>();

export class MirroredPolicy {
  readonly #policy: CompiledPolicy;
  readonly #exits: readonly Owned[];
  readonly #classes = new Map<string, PeerClass>();
  readonly #classNames = new Set<string>();
  /** Whether any rule asks if an address is a peer's. */
  readonly needsPeers: boolean;

  constructor({ policy, model }: Compilation) {
    this.#policy = policy;
    this.#exits = model.peers.flatMap(({ name, routes }) =>
      routes.length === 0
        ? []
        : routes
            .filter(isExitRoute)
            .map((prefix): Owned => ({ prefix, owner: policy.peers.get(name)?.subject ?? OUTSIDE })),
    );
    this.needsPeers =
      [...policy.networks.values()].some(({ isStrict }) => isStrict) ||
      [...policy.subjects.values()].some(({ reachesPeers }) => reachesPeers !== null);
  }

  /** Peers and sites. */
  get subjects(): (readonly [string, CompiledSubject])[] {
    return [...this.#policy.subjects].filter(([name]) => name !== SELF && name !== OUTSIDE);
  }

  get self(): readonly CompiledRule[] {
    return this.rulesOf(this.#policy.subjects.get(SELF));
  }

  get outside(): readonly CompiledRule[] {
    return this.rulesOf(this.#policy.subjects.get(OUTSIDE));
  }

  get notInternet(): readonly IpPrefix[] {
    return this.#policy.notInternet;
  }

  /** Those of all peers so far asked for, {@link partsOf}. */
  get classes(): readonly PeerClass[] {
    return [...this.#classes.values()];
  }

  isStrict(network: string): boolean {
    return this.#policy.networks.get(network)?.isStrict === true;
  }

  rulesOf(subject: CompiledSubject | undefined, isWanted = (_set: string): boolean => true): CompiledRule[] {
    return (subject?.ruleSets ?? []).filter(isWanted).flatMap((set) => this.#policy.ruleSets.get(set) ?? []);
  }

  /** Of a subject that is a peer. That all of the internet is allowed becomes part of its class. */
  partsOf(name: string, subject: CompiledSubject): PeerParts {
    let known = KNOWN.get(subject);
    if (known === undefined || !this.#isCurrent(known, name)) {
      known = this.#findParts(name, subject);
      KNOWN.set(subject, known);
    }
    return { own: known.own, kind: this.#classOf(subject, known) };
  }

  #isCurrent({ name, sets }: KnownParts, now: string): boolean {
    return name === now && sets.every(([set, rules]) => this.#policy.ruleSets.get(set) === rules);
  }

  #findParts(name: string, subject: CompiledSubject): KnownParts {
    const sets = subject.ruleSets.filter((set) => isOwn(set, name));
    const all = sets.flatMap((set) => this.#policy.ruleSets.get(set) ?? []);
    const { networks, reachesMembers, reachesPeers, reachesNode, internet } = subject;
    const hasInternet = internet !== null || all.some(isAllInternet);
    const classKey = JSON.stringify([
      subject.ruleSets.filter((set) => !isOwn(set, name)),
      networks,
      [reachesMembers, reachesPeers !== null, reachesNode !== null, hasInternet],
    ]);
    return {
      name,
      sets: sets.map((set) => [set, this.#policy.ruleSets.get(set)] as const),
      own: all.filter((rule) => !isAllInternet(rule)),
      classKey,
      hasInternet,
    };
  }

  /** The sources of a peer, where they are addresses; null where there are networks behind it. */
  sourcesOf(name: string, { addresses, behind }: CompiledSubject): readonly IpPrefix[] | null {
    const all = [...addresses, ...behind];
    return all.every(isHost) && this.#exits.every(({ owner }) => owner !== name) ? all : null;
  }

  owners(): Owners {
    const all: Owned[] = [];
    for (const [owner, { addresses, behind }] of this.#policy.subjects) {
      for (const prefix of addresses) all.push({ prefix, owner });
      for (const prefix of behind) all.push({ prefix, owner });
    }
    return {
      all,
      hosts: all.filter(({ prefix }) => isHost(prefix)),
      networks: disjoint(all.filter(({ prefix }) => !isHost(prefix))),
      exits: disjoint(this.#exits),
    };
  }

  #classOf(subject: CompiledSubject, { name: peer, classKey, hasInternet }: KnownParts): PeerClass {
    const known = this.#classes.get(classKey);
    if (known !== undefined) return known;
    let name = `rf_class_${fnv1a(classKey).toString(16)}`;
    while (this.#classNames.has(name)) name += '_';
    this.#classNames.add(name);
    const rules = this.rulesOf(subject, (set) => !isOwn(set, peer));
    const made = { name, rules, subject, hasInternet };
    this.#classes.set(classKey, made);
    return made;
  }
}

/** Whether a rule set is that of one subject alone. */
function isOwn(set: string, subject: string): boolean {
  return set === subject || set.startsWith(`${subject}/`);
}

/** Types of ICMP that ask, and what conntrack takes for their answers (net/netfilter/nf_conntrack_proto_icmp.c, …v6.c). */
const ANSWERS: Readonly<Record<number, ReadonlyMap<number, number>>> = {
  [ICMP]: new Map([
    [8, 0],
    [13, 14],
    [15, 16],
    [17, 18],
  ]),
  [ICMPV6]: new Map([
    [128, 129],
    [139, 140],
  ]),
};

/** Whether what a rule has for ports are types. */
export function hasTypes({ protocol }: CompiledRule): boolean {
  return protocol !== undefined && protocol in ANSWERS;
}

/** The types of the answers to what a rule is about; none where nothing of it has answers. */
export function answerTypes({ protocol, ports }: CompiledRule): number[] {
  const [first, last] = ports ?? [0, 255];
  return [...(ANSWERS[protocol ?? -1] ?? [])]
    .filter(([type]) => first <= type && type <= last)
    .map(([, answer]) => answer);
}

export function isDeny({ action }: CompiledRule): boolean {
  return action === 'deny';
}

/** Whether all a rule says is that the internet is allowed, as a profile says it. */
function isAllInternet({ action, to, from, protocol }: CompiledRule): boolean {
  return action === 'allow' && to === 'internet' && from === undefined && protocol === undefined;
}

/** Rules that differ in their destination only, in their order. */
export function groupsOf(rules: readonly CompiledRule[]): (readonly [CompiledRule, ...CompiledRule[]])[] {
  const groups = Map.groupBy(rules, ({ action, from, protocol, ports }) =>
    JSON.stringify([action, from === undefined ? null : renderNetwork(from), protocol, ports]),
  );
  return [...groups.values()].flatMap(([first, ...others]) =>
    first === undefined ? [] : [[first, ...others] as const],
  );
}

/** The same owners by networks that do not overlap: each without those inside it. */
function disjoint(owned: readonly Owned[]): Owned[] {
  const inside: { readonly owned: Owned; readonly prefixes: IpPrefix[] }[] = [];
  const open: (typeof inside)[number][] = [];
  for (const one of owned.toSorted((a, b) => comparePrefixes(a.prefix, b.prefix))) {
    while (open.length > 0 && !contains(open.at(-1)?.owned.prefix ?? one.prefix, one.prefix.address))
      open.pop();
    open.at(-1)?.prefixes.push(one.prefix);
    const entry = { owned: one, prefixes: [] };
    inside.push(entry);
    open.push(entry);
  }
  return inside.flatMap(({ owned: { prefix, owner }, prefixes }) =>
    subtractPrefixes([prefix], prefixes).map((rest) => ({ prefix: rest, owner })),
  );
}
