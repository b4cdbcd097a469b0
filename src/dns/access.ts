// Who asks, and what may that one learn: the names of what it may reach, less those that its profile denies. What it may
// reach says the same evaluator that explains packets, asked whether any packet at all would pass. Its answers are kept, for
// a policy of thousands of peers is slow to ask.

import { compareIps, type IpAddress, renderIp } from '../address/ip.ts';
import { contains, type IpPrefix } from '../address/prefix.ts';
import { MOST_PORT, renderTraffic, type Traffic } from '../address/traffic.ts';
import { Evaluator } from '../policy/evaluate.ts';
import type { AccessRow, Policy, PolicyPeer, Profile, Site, Target } from '../policy/model.ts';
import type { NamePattern, NamePolicy } from '../policy/names.ts';
import type { OverlayName } from './zone.ts';

/** Whose tunnel a question came through; `self`: this host asks. */
export type Asker =
  | { readonly kind: 'self' }
  | { readonly kind: 'peer'; readonly peer: PolicyPeer; readonly source: IpAddress };

/** What is remembered of one policy: some 100 bytes each. */
const REMEMBERED_LIMIT = 20_000;
/** RFC 3692: for experiments, so no row names it by chance. */
const UNNAMED_PROTOCOL = 253;

/** The rows that can allow or deny something to one subject. */
interface Rows {
  readonly granted: readonly Extent[];
  readonly denied: readonly Extent[];
}

/** What a row speaks of: these destinations or, with null, any; this traffic or, without any, all. */
interface Extent {
  readonly at: readonly IpPrefix[] | null;
  readonly traffic: readonly Traffic[];
}

export class Access {
  readonly #policy: Policy;
  readonly #names: NamePolicy;
  readonly #evaluator: Evaluator;
  readonly #byAddress = new Map<string, PolicyPeer>();
  /** The longest first. */
  readonly #routes: readonly { readonly prefix: IpPrefix; readonly peer: PolicyPeer }[];
  readonly #remembered = new Map<string, boolean>();

  /** @param hostAddresses what this host has beside its overlay addresses */
  constructor(policy: Policy, names: NamePolicy, hostAddresses: readonly IpAddress[]) {
    this.#policy = policy;
    this.#names = names;
    this.#evaluator = new Evaluator(policy, hostAddresses);
    for (const peer of policy.peers) {
      for (const address of peer.addresses) this.#byAddress.set(renderIp(address), peer);
    }
    this.#routes = policy.peers
      .flatMap((peer) => peer.routes.map((prefix) => ({ prefix, peer })))
      .toSorted((a, b) => b.prefix.length - a.prefix.length);
  }

  /**
   * Who asks from this address, or null for a stranger. That a packet from it came through the tunnel of this very peer is
   * the core's promise: it lets nothing else in.
   */
  askerAt(source: IpAddress): Asker | null {
    if (this.#policy.addresses.some(({ address }) => compareIps(address, source) === 0))
      return { kind: 'self' };
    const peer = this.#peerAt(source);
    return peer === null ? null : { kind: 'peer', peer, source };
  }

  /** Whether the asker's profile denies a name, in lower case, whatever it leads to. */
  isDenied(asker: Asker, name: string): boolean {
    const profile = this.#profileOf(asker);
    const patterns = profile === null ? [] : (this.#names.denied.get(profile.id) ?? []);
    return patterns.some((pattern) => isOf(pattern, name));
  }

  /** Whether the asker may know that there is such a name, and what it leads to. */
  mayLearn(asker: Asker, { name, addresses, traffic }: OverlayName): boolean {
    return !this.isDenied(asker, name) && addresses.some((one) => this.mayReach(asker, one, traffic));
  }

  /** None for a site, whatever the profile of the peer that carries it. */
  #profileOf(asker: Asker): Profile | null {
    if (asker.kind === 'self' || this.#siteOf(asker) !== null) return null;
    return this.#policy.profiles.find(({ id }) => id === asker.peer.profile) ?? null;
  }

  /** Whether any packet of the asker to this address would pass, or of this traffic where it is given. */
  mayReach(asker: Asker, destination: IpAddress, traffic: readonly Traffic[] | null = null): boolean {
    // Packets of a peer to itself never come here, but it may know its own name.
    if (asker.kind === 'self' || this.#peerAt(destination) === asker.peer) return true;
    const of = traffic?.map(renderTraffic).join() ?? '';
    const key = `${renderIp(asker.source)} ${renderIp(destination)} ${of}`;
    const remembered = this.#remembered.get(key);
    if (remembered !== undefined) return remembered;
    const edges = trafficEdges(this.#rowsOf(asker), traffic);
    const isReachable = edges.some((one) => this.#passes(asker, destination, one));
    if (this.#remembered.size >= REMEMBERED_LIMIT) this.#remembered.clear();
    this.#remembered.set(key, isReachable);
    return isReachable;
  }

  /** Whether any packet of the asker to an address of these networks would pass. */
  mayReachSome(asker: Asker, networks: readonly IpPrefix[]): boolean {
    if (asker.kind === 'self') return true;
    const edges = addressEdges(this.#rowsOf(asker), networks);
    return edges.some((address) => this.mayReach(asker, address));
  }

  #peerAt(address: IpAddress): PolicyPeer | null {
    const known = this.#byAddress.get(renderIp(address));
    return known ?? this.#routes.find(({ prefix }) => contains(prefix, address))?.peer ?? null;
  }

  #siteOf({ peer, source }: Asker & { kind: 'peer' }): Site | null {
    const isIn = ({ peer: name, subnets }: Site): boolean =>
      name === peer.name && subnets.some((subnet) => contains(subnet, source));
    return this.#policy.sites.find(isIn) ?? null;
  }

  /** Through the asker's tunnel, and where the destination is behind another one, through that. */
  #passes(
    { peer, source }: Asker & { kind: 'peer' },
    destination: IpAddress,
    traffic: TrafficPoint,
  ): boolean {
    const packet = { source, destination, ...traffic };
    const judge = (leg: 'in' | 'out', name: string): boolean =>
      this.#evaluator.judge({ leg, peer: name, packet }).verdict === 'allow';
    if (!judge('in', peer.name)) return false;
    const next = this.#peerAt(destination);
    return next === null || judge('out', next.name);
  }

  #rowsOf(asker: Asker & { kind: 'peer' }): Rows {
    const { services, inbound } = this.#policy;
    const site = this.#siteOf(asker);
    const profile = this.#profileOf(asker);
    const extentOf = ({ to, traffic }: AccessRow): Extent[] => {
      const service = to.kind === 'service' ? services.find(({ id }) => id === to.name) : undefined;
      const at = this.#placesOf(to);
      return service === undefined
        ? [{ at, traffic }]
        : [
            { at, traffic },
            { at, traffic: service.traffic },
          ];
    };
    const refs = site === null ? (profile?.services ?? []) : site.inbound;
    const named = refs.flatMap(({ service }) => services.filter(({ id }) => id === service));
    const rows = site === null ? [...asker.peer.allow, ...(profile?.allow ?? [])] : [];
    return {
      granted: [
        ...named.map((service) => ({ at: service.addresses.map(hostOf), traffic: service.traffic })),
        ...rows.flatMap(extentOf),
        ...inbound.map(({ traffic }) => ({ at: null, traffic })),
      ],
      denied: (site === null ? [...asker.peer.deny, ...(profile?.deny ?? [])] : []).flatMap(extentOf),
    };
  }

  #placesOf(to: Target): readonly IpPrefix[] | null {
    switch (to.kind) {
      case 'prefix':
        return [to.prefix];
      case 'service':
        return this.#policy.services.find(({ id }) => id === to.name)?.addresses.map(hostOf) ?? [];
      case 'peer':
        return this.#policy.peers.find(({ name }) => name === to.name)?.addresses.map(hostOf) ?? [];
      case 'site':
        return this.#policy.sites.find(({ peer }) => peer === to.name)?.subnets ?? [];
      case 'self':
      case 'internet':
      case 'any':
        return null;
      default:
        return to satisfies never;
    }
  }
}

function isOf({ name, isBelow }: NamePattern, asked: string): boolean {
  if (!isBelow) return asked === name;
  return name === '' || asked.endsWith(`.${name}`);
}

interface TrafficPoint {
  readonly protocol: number;
  readonly port: number;
}

/**
 * Protocols and ports to try. What is allowed is a union of ranges less a union of ranges: if there is any of it, then
 * also where a range that allows begins, or right behind one that denies; or, of given traffic, where that begins.
 */
function trafficEdges({ granted, denied }: Rows, wanted: readonly Traffic[] | null): TrafficPoint[] {
  const begins = granted.flatMap(({ traffic }) =>
    traffic.map(({ protocol, first }) => ({ protocol, port: first })),
  );
  const ends = denied.flatMap(({ traffic }) =>
    traffic.flatMap(({ protocol, last }) => (last < MOST_PORT ? [{ protocol, port: last + 1 }] : [])),
  );
  const protocols = new Set([...begins, ...ends].map(({ protocol }) => protocol).concat(UNNAMED_PROTOCOL));
  const edges = [...begins, ...ends, ...Array.from(protocols, (protocol) => ({ protocol, port: 0 }))];
  if (wanted === null) return edges;
  const isWanted = ({ protocol, port }: TrafficPoint): boolean =>
    wanted.some((one) => one.protocol === protocol && one.first <= port && port <= one.last);
  return [...wanted.map(({ protocol, first }) => ({ protocol, port: first })), ...edges.filter(isWanted)];
}

/** Addresses of these networks to try, chosen as `trafficEdges` does. */
function addressEdges({ granted, denied }: Rows, networks: readonly IpPrefix[]): IpAddress[] {
  const begins = [...networks, ...granted.flatMap(({ at }) => at ?? [])].map(({ address }) => address);
  const ends = denied.flatMap(({ at }) => (at ?? []).flatMap((prefix) => addressAfter(prefix) ?? []));
  return [...begins, ...ends].filter((address) => networks.some((network) => contains(network, address)));
}

/** The first address behind a network, or null where it is the last. */
function addressAfter({ address, length }: IpPrefix): IpAddress | null {
  const bytes = address.bytes.slice();
  for (let bit = length - 1; bit >= 0; bit--) {
    const mask = 0x80 >> (bit & 7);
    const byte = bytes[bit >> 3] ?? 0;
    bytes[bit >> 3] = byte ^ mask;
    if ((byte & mask) === 0) return { version: address.version, bytes };
  }
  return null;
}

function hostOf(address: IpAddress): IpPrefix {
  return { address, length: address.version === 4 ? 32 : 128 };
}
