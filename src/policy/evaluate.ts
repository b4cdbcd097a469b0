// The reference evaluator: what becomes of the first packet of a flow, and by which row. It goes through the model as
// docs/policy.md goes through the verdict, one function per stage. Who has a name or an address is looked up in tables, for
// there are thousands; the rows of whoever is asked about are gone through one by one. It judges the model, never the compiled
// form: the core, which gets the compiled form, is tested against it.

import { compareIps, type IpAddress } from '../address/ip.ts';
import { contains, hostPrefix, type IpPrefix, isExitRoute } from '../address/prefix.ts';
import { MOST_PORT, type Traffic } from '../address/traffic.ts';
import { type Leg, STAGES, type Stage } from './compiled.ts';
import { notInternet } from './internet.ts';
import {
  type AccessRow,
  type InboundRow,
  type Network,
  type Policy,
  type PolicyPeer,
  type Profile,
  type Rule,
  type Service,
  type Site,
  selfRule,
  type Target,
} from './model.ts';
import { PrefixTable } from './prefix-table.ts';

/** The first packet of a flow, as rules see it. */
export interface FlowStart {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  /** The destination port, or the ICMP type; null where the protocol has none. */
  readonly port: number | null;
}

/** One crossing of a tunnel. */
export interface Crossing {
  /** in: authenticated from the peer. out: about to be sent to the peer. */
  readonly leg: Leg;
  readonly peer: string;
  readonly packet: FlowStart;
}

/** Who opens a flow. */
export type Subject =
  | { readonly kind: 'peer'; readonly peer: PolicyPeer }
  | { readonly kind: 'site'; readonly site: Site }
  /** This node itself. */
  | { readonly kind: 'self' }
  /** The networks of this host, and whoever comes through them. */
  | { readonly kind: 'outside' };

export interface Judgement {
  readonly verdict: 'allow' | 'deny';
  readonly stage: Stage;
  /** The row that decides; at the stage `default` the section itself. */
  readonly rule: Rule;
  readonly subject: Subject;
}

/** Judges by one policy on a host with these addresses, beside those that the policy gives to this node. */
export class Evaluator {
  readonly #policy: Policy;
  readonly #own: PrefixTable<true>;
  readonly #notInternet: PrefixTable<true>;
  readonly #peers: ReadonlyMap<string, PolicyPeer>;
  readonly #services: ReadonlyMap<string, Service>;
  readonly #profiles: ReadonlyMap<string, Profile>;
  readonly #sites: ReadonlyMap<string, Site>;
  /** By the name of the member, in the order of the document. */
  readonly #networks: ReadonlyMap<string, readonly Network[]>;
  /** Who a source is, where the tunnel does not say it. */
  readonly #subjects: PrefixTable<Subject>;
  readonly #routes: PrefixTable<PolicyPeer>;
  /** By their own addresses, not by networks behind them. */
  readonly #atAddress: PrefixTable<PolicyPeer>;
  /** Peers that grant something to those outside, in the order of the document. */
  readonly #reachable: readonly PolicyPeer[];

  constructor(policy: Policy, hostAddresses: readonly IpAddress[]) {
    const { peers, services, profiles, sites, networks, addresses } = policy;
    this.#policy = policy;
    const own = [...addresses.map(({ address }) => address), ...hostAddresses];
    this.#own = new PrefixTable(own.map((address) => [hostPrefix(address), true]));
    this.#notInternet = new PrefixTable(notInternet(policy).map((prefix) => [prefix, true]));
    this.#peers = new Map(peers.map((peer) => [peer.name, peer]));
    this.#services = new Map(services.map((service) => [service.id, service]));
    this.#profiles = new Map(profiles.map((profile) => [profile.id, profile]));
    this.#sites = new Map(sites.map((site) => [site.peer, site]));
    this.#networks = networksByMember(networks);
    this.#subjects = new PrefixTable([...sites.flatMap(prefixesOfSite), ...peers.flatMap(prefixesOfPeer)]);
    this.#routes = new PrefixTable(
      peers.flatMap((peer) => prefixesOf(peer).map((prefix) => [prefix, peer] as const)),
    );
    this.#atAddress = new PrefixTable(
      peers.flatMap((peer) => peer.addresses.map((address) => [hostPrefix(address), peer] as const)),
    );
    this.#reachable = peers.filter(({ reachableFrom }) => reachableFrom.length > 0);
  }

  /** The verdict: the first stage that decides. */
  judge(crossing: Crossing): Judgement {
    const subject = this.subjectOf(crossing);
    for (const stage of STAGES) {
      const rule = this.decidingRule(stage, subject, crossing);
      if (rule !== null) return { verdict: verdictOf(stage), stage, rule, subject };
    }
    throw new TypeError('the last stage decides everything');
  }

  /** The row by which a stage decides, or null if it leaves the packet to the next. */
  decidingRule(stage: Stage, subject: Subject, { leg, packet }: Crossing): Rule | null {
    switch (stage) {
      case 'deny':
        return this.#denyRows(subject).find((row) => this.#fits(row, packet)) ?? null;
      case 'isolation':
        return this.#isolation(subject, packet);
      case 'grant':
        return this.#grant(subject, leg, packet);
      case 'network':
        return this.#membership(subject, packet);
      case 'internet':
        return this.isInternet(packet.destination) ? (this.#profileOf(subject)?.internet ?? null) : null;
      case 'default':
        return this.#policy.rule;
      default:
        return stage satisfies never;
    }
  }

  /**
   * On leg in the tunnel says who it is, and the source chooses among what that peer is. On leg out the source alone says
   * it. The longest prefix counts; of equal ones the subnet of a site before the same network among the routes of its peer.
   * What comes from the internet to somebody who uses it through this very peer is from outside: it may answer, and opens nothing.
   */
  subjectOf({ leg, peer, packet }: Crossing): Subject {
    const { source, destination } = packet;
    if (leg === 'out') return this.#subjectAt(source);
    const user = this.isInternet(source) ? this.#subjectAt(destination) : null;
    if (user?.kind === 'peer' && user.peer.routeVia?.site === peer) return { kind: 'outside' };
    const one = this.#peer(peer);
    const site = this.#sites.get(peer);
    const own = new PrefixTable([
      ...(site === undefined ? [] : prefixesOfSite(site)),
      ...prefixesOfPeer(one),
    ]);
    return own.find(source) ?? { kind: 'peer', peer: one };
  }

  /** Whose an address is. */
  #subjectAt(address: IpAddress): Subject {
    if (this.isOwn(address)) return { kind: 'self' };
    return this.#subjects.find(address) ?? { kind: 'outside' };
  }

  /** The peer whose tunnel a destination is routed into, or null. */
  routeOf(destination: IpAddress): PolicyPeer | null {
    return this.#routes.find(destination);
  }

  isOwn(address: IpAddress): boolean {
    return this.#own.find(address) !== null;
  }

  /** Not this host, and in no network that is special or that the policy knows. */
  isInternet(address: IpAddress): boolean {
    return !this.isOwn(address) && this.#notInternet.find(address) === null;
  }

  /** Stage 1: the peer's own rows, then those of its profile. */
  #denyRows(subject: Subject): readonly AccessRow[] {
    if (subject.kind !== 'peer') return [];
    return [...subject.peer.deny, ...(this.#profileOf(subject)?.deny ?? [])];
  }

  /** Stage 2: a strict network that one of two peers is in, and the other is not. */
  #isolation(subject: Subject, { destination }: FlowStart): Network | null {
    const object = this.#peerAt(destination);
    if (subject.kind !== 'peer' || object === null) return null;
    const splits = (inside: PolicyPeer, outside: PolicyPeer): Network | undefined =>
      this.#networksOf(inside).find((network) => network.isStrict && !this.#isMember(outside, network));
    return splits(subject.peer, object) ?? splits(object, subject.peer) ?? null;
  }

  /** Stage 3: the first row that grants it. */
  #grant(subject: Subject, leg: Leg, packet: FlowStart): Rule | null {
    switch (subject.kind) {
      case 'peer':
        return this.#peerGrant(subject.peer, packet) ?? this.#inboundGrant(subject, leg, packet);
      case 'site':
        return this.#siteGrant(subject.site, packet) ?? this.#inboundGrant(subject, leg, packet);
      case 'self':
        return this.#outboundGrant(packet) ?? this.#selfGrant(packet);
      case 'outside':
        return leg === 'in' ? null : (this.#outboundGrant(packet) ?? this.#reachGrant(packet));
      default:
        return subject satisfies never;
    }
  }

  /** What the peer itself may, then what its profile gives it, then the internet of a site. */
  #peerGrant(peer: PolicyPeer, packet: FlowStart): Rule | null {
    const profile = this.#profileOf({ kind: 'peer', peer });
    const own = peer.allow.find((row) => this.#fits(row, packet));
    const service = profile?.services.find(({ service: id }) => this.#isService(id, packet));
    const shared = profile?.allow.find((row) => this.#fits(row, packet));
    const exit = this.isInternet(packet.destination) ? peer.routeVia : null;
    return own ?? service ?? shared ?? exit;
  }

  #siteGrant(site: Site, packet: FlowStart): Rule | null {
    const service = site.inbound.find(({ service: id }) => this.#isService(id, packet));
    const exit = this.isInternet(packet.destination) ? site.providesExit : null;
    return service ?? exit;
  }

  /** What peers and sites may open to this node. */
  #inboundGrant(subject: Subject, leg: Leg, packet: FlowStart): Rule | null {
    if (leg === 'out' || !this.isOwn(packet.destination)) return null;
    const isFrom = (from: InboundRow['from'][number]): boolean => {
      if (from.kind === 'prefix') return contains(from.prefix, packet.source);
      if (from.kind === 'site') return subject.kind === 'site' && subject.site.peer === from.name;
      return from.kind !== 'lan';
    };
    const fits = (row: InboundRow): boolean => row.from.some(isFrom) && fitsTraffic(row.traffic, packet);
    return this.#policy.inbound.find(fits) ?? null;
  }

  /** What this host and those outside may open at sites. */
  #outboundGrant(packet: FlowStart): Rule | null {
    for (const { subnets, outbound, outboundRule } of this.#policy.sites) {
      if (!isIn(packet.destination, subnets) || outbound === 'none') continue;
      if (outbound === 'any') return outboundRule;
      const row = outbound.find(
        ({ to, traffic }) => contains(to, packet.destination) && fitsTraffic(traffic, packet),
      );
      if (row !== undefined) return row;
    }
    return null;
  }

  /** This node opens what it likes, but not at sites: of those `outbound` says it. */
  #selfGrant({ destination }: FlowStart): Rule | null {
    const isSite = this.#policy.sites.some(({ subnets }) => isIn(destination, subnets));
    return isSite ? null : selfRule(this.#policy);
  }

  #reachGrant(packet: FlowStart): Rule | null {
    for (const peer of this.#reachable) {
      if (!isIn(packet.destination, prefixesOf(peer))) continue;
      const row = peer.reachableFrom.find(
        ({ from, traffic }) =>
          (from === 'any' || contains(from, packet.source)) && fitsTraffic(traffic, packet),
      );
      if (row !== undefined) return row;
    }
    return null;
  }

  /** Stage 4: a member reaches this node, and who shares a network with it; some profiles reach every peer. */
  #membership(subject: Subject, { destination }: FlowStart): Rule | null {
    if (subject.kind !== 'peer') return null;
    const networks = this.#networksOf(subject.peer);
    if (this.isOwn(destination)) return networks[0] ?? null;
    const object = this.#peerAt(destination);
    if (object === null) return null;
    const profile = this.#profileOf(subject);
    const shared = networks.find((network) => this.#isMember(object, network));
    if (shared !== undefined && profile?.peers !== 'none') return shared;
    return profile?.peers === 'all' ? profile.peersRule : null;
  }

  /** Whether a row of `allow` or `deny` fits: all its selectors. */
  #fits({ from, to, traffic }: AccessRow, packet: FlowStart): boolean {
    return (
      (from === null || contains(from, packet.source)) &&
      this.#isTo(to, packet) &&
      fitsTraffic(traffic, packet)
    );
  }

  #isTo(to: Target, packet: FlowStart): boolean {
    const { destination } = packet;
    switch (to.kind) {
      case 'prefix':
        return contains(to.prefix, destination);
      case 'service':
        return this.#isService(to.name, packet);
      case 'peer':
        return isOneOf(destination, this.#peer(to.name).addresses);
      case 'site':
        return isIn(destination, this.#sites.get(to.name)?.subnets ?? []);
      case 'self':
        return this.isOwn(destination);
      case 'internet':
        return this.isInternet(destination);
      case 'any':
        return true;
      default:
        return to satisfies never;
    }
  }

  #isService(id: string, packet: FlowStart): boolean {
    const service = this.#services.get(id);
    if (service === undefined) return false;
    return isOneOf(packet.destination, service.addresses) && fitsTraffic(service.traffic, packet);
  }

  #profileOf(subject: Subject): Profile | null {
    if (subject.kind !== 'peer' || subject.peer.profile === null) return null;
    return this.#profiles.get(subject.peer.profile) ?? null;
  }

  #networksOf({ name }: PolicyPeer): readonly Network[] {
    return this.#networks.get(name) ?? [];
  }

  #isMember(peer: PolicyPeer, network: Network): boolean {
    return this.#networksOf(peer).includes(network);
  }

  /** INVARIANT: the document was checked, every name in it is there. */
  #peer(name: string): PolicyPeer {
    const peer = this.#peers.get(name);
    if (peer === undefined) throw new RangeError(`no peer ${name} in the policy`);
    return peer;
  }

  /** The peer that has this address itself, not in a network behind it. */
  #peerAt(address: IpAddress): PolicyPeer | null {
    if (this.isOwn(address)) return null;
    return this.#atAddress.find(address);
  }
}

function verdictOf(stage: Stage): Judgement['verdict'] {
  return stage === 'deny' || stage === 'isolation' || stage === 'default' ? 'deny' : 'allow';
}

/** One entry fits, or there is none. What has no port fits only what means all of a protocol. */
function fitsTraffic(traffic: readonly Traffic[], { protocol, port }: FlowStart): boolean {
  const fits = (entry: Traffic): boolean => {
    if (entry.protocol !== protocol) return false;
    if (port === null) return entry.first === 0 && entry.last === MOST_PORT;
    return entry.first <= port && port <= entry.last;
  };
  return traffic.length === 0 || traffic.some(fits);
}

function isIn(address: IpAddress, prefixes: readonly IpPrefix[]): boolean {
  return prefixes.some((prefix) => contains(prefix, address));
}

function isOneOf(address: IpAddress, addresses: readonly IpAddress[]): boolean {
  return addresses.some((one) => compareIps(one, address) === 0);
}

/** Everything that is routed to a peer. */
function prefixesOf({ addresses, routes }: PolicyPeer): readonly IpPrefix[] {
  return [...addresses.map(hostPrefix), ...routes];
}

type Owned = readonly [prefix: IpPrefix, subject: Subject];

function prefixesOfSite(site: Site): Owned[] {
  return site.subnets.map((subnet): Owned => [subnet, { kind: 'site', site }]);
}

/** A way to the internet is none: who comes from there is not the peer. */
function prefixesOfPeer(peer: PolicyPeer): Owned[] {
  const prefixes = prefixesOf(peer).filter((prefix) => !isExitRoute(prefix));
  return prefixes.map((prefix): Owned => [prefix, { kind: 'peer', peer }]);
}

function networksByMember(networks: readonly Network[]): ReadonlyMap<string, readonly Network[]> {
  const byMember = new Map<string, Network[]>();
  for (const network of networks) {
    for (const member of network.members) byMember.set(member, [...(byMember.get(member) ?? []), network]);
  }
  return byMember;
}
