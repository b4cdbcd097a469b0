// The model → the compiled form, which the core's filter is given. Names become addresses; profiles, networks and sites stay
// parts of their own, so that what many peers share is there once, and a change of one peer changes its parts only.

import { hostPrefix, type IpPrefix, isExitRoute, packPrefix } from '../address/prefix.ts';
import { commonTraffic, MOST_PORT, type Traffic } from '../address/traffic.ts';
import {
  type CompiledLimits,
  type CompiledNetwork,
  type CompiledPeer,
  type CompiledPolicy,
  type CompiledRule,
  type CompiledSubject,
  type Leg,
  OUTSIDE,
  type RuleName,
  SELF,
} from './compiled.ts';
import { notInternet } from './internet.ts';
import {
  type AccessRow,
  type InboundRow,
  type Network,
  type Policy,
  type PolicyPeer,
  type Profile,
  type Rule,
  type RulePlace,
  rulesOf,
  type Service,
  type ServiceRef,
  type Site,
  selfRule,
  type Target,
} from './model.ts';
import { type PeerChanges, peerChanges } from './peer-changes.ts';
import { subtractPrefixes } from './subtract.ts';

/** A policy for the core, and where the row behind each name it gives back stands. */
export interface Compilation {
  readonly model: Policy;
  readonly policy: CompiledPolicy;
  readonly places: ReadonlyMap<RuleName, RulePlace>;
}

/**
 * Only for a document without problems: a name that is not there is a mistake of the caller. With what an earlier document
 * became, and where only peers changed, the parts of all others are the same objects: the core is not told of them again.
 */
export function compile(model: Policy, former: Compilation | null = null): Compilation {
  const changes = former === null ? null : peerChanges(former.model, model);
  const policy =
    former === null || changes === null
      ? new Compiler(model, null).whole()
      : new Compiler(model, former.policy).changed(former.policy, changes);
  let places: ReadonlyMap<RuleName, RulePlace> | null = null;
  return {
    model,
    policy,
    /** Made when it is first asked for: a change has not to wait for it. */
    get places() {
      places ??= new Map(rulesOf(model).map(({ name, place }) => [name, place]));
      return places;
    },
  };
}

/** The rule set by which flows are counted. */
const SERVICES = 'services';
const BOTH_LEGS: readonly Leg[] = ['in', 'out'];
const IN: readonly Leg[] = ['in'];
const OUT: readonly Leg[] = ['out'];
const EVERYTHING: readonly IpPrefix[] = [
  { address: { version: 4, bytes: new Uint8Array(4) }, length: 0 },
  { address: { version: 6, bytes: new Uint8Array(16) }, length: 0 },
];

/** A destination with the traffic that it brings along; empty: any. */
interface Destination {
  readonly to: CompiledRule['to'];
  readonly traffic: readonly Traffic[];
}

/** What a rule says beside where it leads. */
interface RuleHead {
  readonly rule: Rule;
  readonly action: CompiledRule['action'];
  readonly legs: readonly Leg[];
  readonly from: IpPrefix | null;
}

class Compiler {
  readonly #policy: Policy;
  readonly #peers: ReadonlyMap<string, PolicyPeer>;
  readonly #services: ReadonlyMap<string, Service>;
  readonly #profiles: ReadonlyMap<string, Profile>;
  readonly #sites: ReadonlyMap<string, Site>;
  readonly #networksOf = new Map<string, Network[]>();
  readonly #ruleSets: Map<string, readonly CompiledRule[]>;
  readonly #subjects: Map<string, CompiledSubject>;
  readonly #compiledPeers: Map<string, CompiledPeer>;

  /** Begins with the parts of `former`, where there are some. */
  constructor(policy: Policy, former: CompiledPolicy | null) {
    this.#policy = policy;
    this.#ruleSets = new Map(former?.ruleSets);
    this.#subjects = new Map(former?.subjects);
    this.#compiledPeers = new Map(former?.peers);
    this.#peers = new Map(policy.peers.map((peer) => [peer.name, peer]));
    this.#services = new Map(policy.services.map((service) => [service.id, service]));
    this.#profiles = new Map(policy.profiles.map((profile) => [profile.id, profile]));
    this.#sites = new Map(policy.sites.map((site) => [site.peer, site]));
    for (const network of policy.networks) {
      for (const member of network.members) {
        const networks = this.#networksOf.get(member);
        if (networks === undefined) this.#networksOf.set(member, [network]);
        else networks.push(network);
      }
    }
  }

  /** What differs from `former`, whose parts it began with, put in its place. */
  changed(former: CompiledPolicy, { gone, changed, areAddresses }: PeerChanges): CompiledPolicy {
    for (const name of [...gone, ...changed.map((peer) => peer.name)]) this.#removePeer(name);
    for (const peer of changed) this.#addPeer(peer);
    this.#addOutside();
    return {
      denial: this.#policy.action,
      ruleSets: this.#ruleSets,
      networks: former.networks,
      subjects: this.#subjects,
      peers: this.#compiledPeers,
      services: former.services,
      notInternet: areAddresses ? former.notInternet : distinct(notInternet(this.#policy)),
    };
  }

  whole(): CompiledPolicy {
    const { action, profiles, networks, services, sites, peers, inbound } = this.#policy;
    for (const profile of profiles) this.#addProfile(profile);
    const general = inbound.filter(({ from }) => from.some(({ kind }) => kind !== 'site' && kind !== 'lan'));
    this.#addRuleSet(
      'inbound',
      general.flatMap((row) => this.#inboundRules(row, null)),
    );
    for (const site of sites) this.#addSite(site);
    for (const peer of peers) this.#addPeer(peer);
    this.#addRuleSet(
      SERVICES,
      services.flatMap((service) => this.#rulesOfService(service, service)),
    );
    this.#addSelf();
    this.#addOutside();
    const compiledNetworks = networks.map((network): [string, CompiledNetwork] => [
      network.id,
      { rule: network.name, isStrict: network.isStrict },
    ]);
    return {
      denial: action,
      ruleSets: this.#ruleSets,
      networks: new Map(compiledNetworks),
      subjects: this.#subjects,
      peers: this.#compiledPeers,
      services: this.#ruleSets.has(SERVICES) ? SERVICES : null,
      notInternet: distinct(notInternet(this.#policy)),
    };
  }

  #addProfile(profile: Profile): void {
    this.#addRuleSet(profileSet(profile.id), [
      ...this.#accessRules(profile.deny, 'deny'),
      ...this.#serviceRules(profile.services),
      ...this.#accessRules(profile.allow, 'allow'),
    ]);
  }

  #addSite(site: Site): void {
    const name = siteSubject(site.peer);
    const exit = site.providesExit;
    const outbound = `${name}/outbound`;
    const inbound = `${name}/inbound`;
    this.#addRuleSet(name, [
      ...this.#serviceRules(site.inbound),
      ...(exit === null ? [] : rulesFor(allow(exit, BOTH_LEGS), { to: 'internet', traffic: [] }, [])),
    ]);
    this.#addRuleSet(outbound, this.#outboundRules(site));
    this.#addRuleSet(
      inbound,
      this.#policy.inbound.flatMap((row) => this.#inboundRules(row, site.peer)),
    );
    this.#subjects.set(name, {
      ruleSets: this.#existing(name, inbound),
      addresses: site.subnets,
      behind: [],
      isPeer: false,
      networks: [],
      reachesMembers: false,
      reachesPeers: null,
      reachesNode: null,
      internet: null,
      exit: null,
    });
  }

  #removePeer(name: string): void {
    for (const set of [peerSubject(name), viaSet(name), reachSet(name)]) this.#ruleSets.delete(set);
    this.#subjects.delete(peerSubject(name));
    this.#compiledPeers.delete(name);
  }

  #addPeer(peer: PolicyPeer): void {
    const name = peerSubject(peer.name);
    const via = viaSet(peer.name);
    const profile = peer.profile === null ? null : (this.#profiles.get(peer.profile) ?? null);
    this.#addRuleSet(name, [
      ...this.#accessRules(peer.deny, 'deny'),
      ...this.#accessRules(peer.allow, 'allow'),
    ]);
    if (peer.routeVia !== null) {
      this.#addRuleSet(via, rulesFor(allow(peer.routeVia, BOTH_LEGS), { to: 'internet', traffic: [] }, []));
    }
    const networks = this.#networksOf.get(peer.name) ?? [];
    const subnets = this.#sites.get(peer.name)?.subnets ?? [];
    const isSubnet = (prefix: IpPrefix): boolean => subnets.some((subnet) => isSame(subnet, prefix));
    const addresses = peer.addresses.map(hostPrefix);
    const routes = peer.routes.filter((route) => !isSubnet(route) && !isExitRoute(route));
    this.#subjects.set(name, {
      ruleSets: this.#existing(name, ...(profile === null ? [] : [profileSet(profile.id)]), via, 'inbound'),
      addresses: addresses.filter((address) => !isSubnet(address)),
      behind: routes.filter((route) => !addresses.some((address) => isSame(address, route))),
      isPeer: true,
      networks: networks.map(({ id }) => id),
      reachesMembers: profile?.peers !== 'none',
      reachesPeers: profile?.peers === 'all' ? profile.peersRule.name : null,
      reachesNode: networks[0] === undefined ? null : networks[0].name,
      internet: profile === null || profile.internet === null ? null : profile.internet.name,
      exit: peer.routeVia?.site ?? null,
    });
    this.#compiledPeers.set(peer.name, {
      publicKey: peer.publicKey,
      subject: name,
      sites: subnets.length === 0 ? [] : this.#carried(name, peer.name, subnets, [...addresses, ...routes]),
      limits: profile === null ? null : limitsOf(profile),
    });
    this.#addRuleSet(reachSet(peer.name), this.#reachRules(peer));
  }

  /** Of what a peer carries: the subnets of its site, and what within them is the peer again. */
  #carried(
    subject: string,
    peer: string,
    subnets: readonly IpPrefix[],
    own: readonly IpPrefix[],
  ): CompiledPeer['sites'] {
    const site = subnets.map((prefix) => ({ prefix, subject: siteSubject(peer) }));
    const again = own.filter((prefix) => !subnets.some((subnet) => isSame(subnet, prefix)));
    return [...site, ...distinct(again).map((prefix) => ({ prefix, subject }))];
  }

  /** This node opens what it likes, but for the sites: there, what their `outbound` says. */
  #addSelf(): void {
    const subnets = this.#policy.sites.flatMap((site) => site.subnets);
    const head = allow(selfRule(this.#policy), OUT);
    const destinations = subnets.length === 0 ? (['any'] as const) : subtractPrefixes(EVERYTHING, subnets);
    this.#addRuleSet(
      SELF,
      destinations.flatMap((to) => rulesFor(head, { to, traffic: [] }, [])),
    );
    this.#subjects.set(SELF, nobody(this.#existing(...this.#outboundSets(), SELF)));
  }

  #addOutside(): void {
    const reach = this.#policy.peers.filter(({ reachableFrom }) => reachableFrom.length > 0);
    const sets = this.#existing(...this.#outboundSets(), ...reach.map(({ name }) => reachSet(name)));
    this.#subjects.set(OUTSIDE, nobody(sets));
  }

  #outboundSets(): string[] {
    return this.#policy.sites.map(({ peer }) => `${siteSubject(peer)}/outbound`);
  }

  #outboundRules({ subnets, outbound, outboundRule }: Site): CompiledRule[] {
    if (outbound === 'none') return [];
    if (outbound === 'any') {
      return subnets.flatMap((to) => rulesFor(allow(outboundRule, OUT), { to, traffic: [] }, []));
    }
    return outbound.flatMap((row) => rulesFor(allow(row, OUT), { to: row.to, traffic: [] }, row.traffic));
  }

  #reachRules(peer: PolicyPeer): CompiledRule[] {
    const destinations = [...peer.addresses.map(hostPrefix), ...peer.routes];
    return peer.reachableFrom.flatMap((row) => {
      const head = { ...allow(row, OUT), from: row.from === 'any' ? null : row.from };
      return destinations.flatMap((to) => rulesFor(head, { to, traffic: [] }, row.traffic));
    });
  }

  /** The rules of a row of `host.inbound` for a site, or for every peer. */
  #inboundRules(row: InboundRow, site: string | null): CompiledRule[] {
    const froms = row.from.flatMap((from): (IpPrefix | null)[] => {
      if (from.kind === 'prefix') return [from.prefix];
      if (from.kind === 'lan') return [];
      return from.kind !== 'site' || from.name === site ? [null] : [];
    });
    return froms.flatMap((from) =>
      rulesFor({ ...allow(row, IN), from }, { to: 'self', traffic: [] }, row.traffic),
    );
  }

  #serviceRules(refs: readonly ServiceRef[]): CompiledRule[] {
    return refs.flatMap((ref) => this.#rulesOfService(ref, named(this.#services, ref.service)));
  }

  #rulesOfService(rule: Rule, { addresses, traffic }: Service): CompiledRule[] {
    return addresses.flatMap((address) =>
      rulesFor(allow(rule, BOTH_LEGS), { to: hostPrefix(address), traffic }, []),
    );
  }

  #accessRules(rows: readonly AccessRow[], action: CompiledRule['action']): CompiledRule[] {
    const rules: CompiledRule[] = []; // filled in place: a policy has tens of thousands of these rows
    for (const row of rows) {
      for (const destination of this.#destinations(row.to)) {
        addRules(rules, { rule: row, action, legs: BOTH_LEGS, from: row.from }, destination, row.traffic);
      }
    }
    return rules;
  }

  #destinations(to: Target): readonly Destination[] {
    switch (to.kind) {
      case 'prefix':
        return [{ to: to.prefix, traffic: [] }];
      case 'service': {
        const { addresses, traffic } = named(this.#services, to.name);
        return addresses.map((address) => ({ to: hostPrefix(address), traffic }));
      }
      case 'peer':
        return named(this.#peers, to.name).addresses.map((one) => ({ to: hostPrefix(one), traffic: [] }));
      case 'site':
        return named(this.#sites, to.name).subnets.map((subnet) => ({ to: subnet, traffic: [] }));
      case 'self':
      case 'internet':
      case 'any':
        return [{ to: to.kind, traffic: [] }];
      default:
        return to satisfies never;
    }
  }

  /** Sets without rules are left out. */
  #addRuleSet(name: string, rules: readonly CompiledRule[]): void {
    if (rules.length > 0) this.#ruleSets.set(name, rules);
  }

  #existing(...names: readonly string[]): string[] {
    return names.filter((name) => this.#ruleSets.has(name));
  }
}

function rulesFor(head: RuleHead, destination: Destination, traffic: readonly Traffic[]): CompiledRule[] {
  const rules: CompiledRule[] = [];
  addRules(rules, head, destination, traffic);
  return rules;
}

/** Adds a rule for each kind of traffic that a row and its destination have in common; none where the versions differ. */
function addRules(
  rules: CompiledRule[],
  { rule, action, legs, from }: RuleHead,
  { to, traffic }: Destination,
  own: readonly Traffic[],
): void {
  if (from !== null && typeof to !== 'string' && from.address.version !== to.address.version) return;
  const plain = { rule: rule.name, action, legs, to };
  const head = from === null ? plain : { ...plain, from };
  const common = bothTraffic(traffic, own);
  if (common === null) {
    rules.push(head);
    return;
  }
  for (const { protocol, first, last } of common) {
    const isAll = first === 0 && last === MOST_PORT;
    rules.push(isAll ? { ...head, protocol } : { ...head, protocol, ports: [first, last] });
  }
}

/** The traffic in both lists, of which an empty one means any; null: any. */
function bothTraffic(a: readonly Traffic[], b: readonly Traffic[]): readonly Traffic[] | null {
  if (a.length === 0) return b.length === 0 ? null : b;
  return b.length === 0 ? a : a.flatMap((one) => b.flatMap((two) => commonTraffic(one, two) ?? []));
}

function allow(rule: Rule, legs: readonly Leg[]): RuleHead {
  return { rule, action: 'allow', legs, from: null };
}

/** A subject that has rules only. */
export function nobody(ruleSets: readonly string[]): CompiledSubject {
  return {
    ruleSets,
    addresses: [],
    behind: [],
    isPeer: false,
    networks: [],
    reachesMembers: false,
    reachesPeers: null,
    reachesNode: null,
    internet: null,
    exit: null,
  };
}

function limitsOf({ rate, quota }: Profile): CompiledLimits | null {
  if (rate === null && quota === null) return null;
  return {
    up: rate?.up ?? null,
    down: rate?.down ?? null,
    quota: quota && { rule: quota.name, over: quota.over },
  };
}

// Names of parts: a slash divides them, for no name of the document has one.

function profileSet(id: string): string {
  return `profiles/${id}`;
}

function siteSubject(peer: string): string {
  return `sites/${peer}`;
}

function peerSubject(name: string): string {
  return `peers/${name}`;
}

function viaSet(peer: string): string {
  return `${peerSubject(peer)}/route_via`;
}

function reachSet(peer: string): string {
  return `${peerSubject(peer)}/reachable_from`;
}

function isSame(a: IpPrefix, b: IpPrefix): boolean {
  return packPrefix(a) === packPrefix(b);
}

function distinct(prefixes: readonly IpPrefix[]): IpPrefix[] {
  return [...new Map(prefixes.map((prefix) => [packPrefix(prefix), prefix])).values()];
}

function named<T>(all: ReadonlyMap<string, T>, name: string): T {
  const one = all.get(name);
  if (one === undefined) throw new RangeError(`${name} is not in the policy`);
  return one;
}
