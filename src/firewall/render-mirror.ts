// The peers' policy once more, in nft: what the core's filter would let through by mistake still meets it on its way through
// this host, before DNAT and after the translation of sources, which is how the core sees the same packets. It is made of the
// compiled form, as the core's is, and every packet of a flow is judged, answers by the flow they belong to: what is revoked
// ends at once. docs/policy.md says what is judged, and how.
//
//   prerouting  -110 rf_policy_in    from the tunnel; conntrack says which packets are answers, and those go to …/back
//   postrouting  110 rf_policy_out   into the tunnel
//
//   rf_who4, rf_net4     address or network → the chain of who has it, for flows that it opens
//   rf_class_…           what peers of one profile and the same networks have in common; in it the sets, keyed by source
//   rf_peer_NAME         rows of one peer that fit no set: those that deny, or speak of networks, ranges and types
//   rf_grant4, rf_host4  source . destination (. protocol . port): the other rows of peers
//
// A change of one peer changes elements, and at most a chain of its own (ruleset.ts).

import { renderIp } from '../address/ip.ts';
import type { IpPrefix } from '../address/prefix.ts';
import { ICMP, ICMPV6 } from '../address/traffic.ts';
import type { Compilation } from '../policy/compile.ts';
import type { CompiledRule, CompiledSubject } from '../policy/compiled.ts';
import { reducePrefixes, VERSIONS, type Version } from './facts.ts';
import {
  answerTypes,
  groupsOf,
  hasTypes,
  isDeny,
  MIRROR_COUNTER,
  MirroredPolicy,
  type Owned,
  type PeerClass,
} from './mirror.ts';
import { FAMILY, oneOf } from './render-nft-parts.ts';
import { isHost, renderNetwork } from './rule.ts';
import type { NftChain, NftSet } from './ruleset.ts';

const DROP = `counter name "${MIRROR_COUNTER}" drop`;
/** A row with so many ports at most becomes elements of a set; with more, a rule. */
const MOST_ELEMENTS = 64;

/** Packets in the direction in which a flow was opened, and answers: there all ends are the other way round. */
interface Direction {
  /** Of the names of chains: a slash is in no name of the document. */
  readonly suffix: '' | '/back';
  readonly source: 'saddr' | 'daddr';
  readonly destination: 'saddr' | 'daddr';
  readonly port: 'dport' | 'sport';
}

const THERE: Direction = { suffix: '', source: 'saddr', destination: 'daddr', port: 'dport' };
const BACK: Direction = { suffix: '/back', source: 'daddr', destination: 'saddr', port: 'sport' };

/** What a mirror consists of, beside the rest of the table. */
export interface Mirror {
  readonly counters: readonly string[];
  readonly sets: readonly NftSet[];
  readonly chains: readonly NftChain[];
}

/** The mirror of a policy, for the tunnel of this name. */
export function renderMirror(compilation: Compilation, tunnel: string): Mirror {
  return new MirrorRenderer(compilation, tunnel).render();
}

class MirrorRenderer {
  readonly #policy: MirroredPolicy;
  readonly #tunnel: string;
  readonly #sets = new Map<string, Elements>();
  readonly #chains: NftChain[] = [];

  constructor(compilation: Compilation, tunnel: string) {
    this.#policy = new MirroredPolicy(compilation);
    this.#tunnel = tunnel;
  }

  render(): Mirror {
    const { subjects, notInternet, self, outside } = this.#policy;
    const chains = new Map(subjects.map(([name, subject]) => [name, this.#addSubject(name, subject)]));
    this.#addOwners(chains);
    for (const version of VERSIONS) {
      this.#add(
        `rf_special${version}`,
        { kind: 'set', type: addressType(version), isInterval: true },
        reducePrefixes(notInternet, version).map(renderNetwork),
      );
    }
    // Last, for what is in the sets is known now.
    for (const one of this.#policy.classes) this.#addClass(one);
    this.#addBoth('rf_self', (way) => [...this.#lines(self, way), DROP], false);
    const rest = this.#withoutReach(outside);
    this.#addBoth(
      'rf_outside',
      (way) => [...this.#reachLookups(way), ...this.#lines(rest, way), DROP],
      false,
    );
    this.#addBase();
    return {
      counters: [MIRROR_COUNTER],
      sets: [...this.#sets].map(([name, { frame, elements }]) => ({
        name,
        ...frame,
        elements: [...elements],
      })),
      chains: this.#chains,
    };
  }

  /** Puts what is a subject's alone into sets and chains. Returns the chain that its flows go to. */
  #addSubject(name: string, subject: CompiledSubject): string {
    if (!subject.isPeer) {
      const rules = this.#policy.rulesOf(subject);
      return this.#addBoth(chainName(name), (way) => [...this.#lines(rules, way), DROP], true);
    }
    const { own, kind } = this.#policy.partsOf(name, subject);
    const sources = this.#policy.sourcesOf(name, subject);
    const rest = own.filter((rule) => !this.#addElements(rule, sources));
    this.#addMember(subject);
    if (rest.length === 0) return kind.name;
    return this.#addBoth(
      chainName(name),
      (way) => [
        ...this.#lines(rest.filter(isDeny), way),
        `jump ${kind.name}_deny${way.suffix}`,
        ...this.#lines(
          rest.filter((rule) => !isDeny(rule)),
          way,
        ),
        `goto ${kind.name}${way.suffix}`,
      ],
      true,
    );
  }

  /** Whether a row says no more than who, to whom, and which ports, and so has become elements. */
  #addElements(rule: CompiledRule, sources: readonly IpPrefix[] | null): boolean {
    const { to } = rule;
    const ports = portElements(rule);
    if (sources === null || ports === null || typeof to === 'string' || !isHost(to)) return false;
    const { version } = to.address;
    for (const source of sources.filter(({ address }) => address.version === version)) {
      const ends = `${renderIp(source.address)} . ${renderIp(to.address)}`;
      if (ports.length === 0) this.#add(`rf_host${version}`, setOf(pairType(version)), [ends]);
      else
        this.#add(
          `rf_grant${version}`,
          setOf(pairType(version, 'inet_proto', 'inet_service')),
          ports.map((port) => `${ends} . ${port}`),
        );
    }
    return true;
  }

  /** Rows about flows from outside to one address: elements. Returns those that are not. */
  #withoutReach(rules: readonly CompiledRule[]): CompiledRule[] {
    return rules.filter((rule) => {
      const { to } = rule;
      const ports = portElements(rule);
      if (ports === null || typeof to === 'string' || !isHost(to)) return true;
      const { version } = to.address;
      const address = renderIp(to.address);
      if (ports.length === 0) this.#add(`rf_reached${version}`, setOf(addressType(version)), [address]);
      else
        this.#add(
          `rf_reach${version}`,
          setOf(`${addressType(version)} . inet_proto . inet_service`),
          ports.map((port) => `${address} . ${port}`),
        );
      return false;
    });
  }

  #addClass({ name, rules, subject, hasInternet }: PeerClass): void {
    this.#addBoth(
      `${name}_deny`,
      (way) => [...this.#lines(rules.filter(isDeny), way), ...this.#isolation(subject, way)],
      false,
    );
    this.#addBoth(
      name,
      (way) => [
        `jump ${name}_deny${way.suffix}`,
        ...this.#grantLookups(way),
        ...this.#lines(
          rules.filter((rule) => !isDeny(rule)),
          way,
        ),
        ...this.#membership(subject, way),
        ...(hasInternet ? VERSIONS.map((version) => `${internetMatch(version, way)} accept`) : []),
        DROP,
      ],
      true,
    );
  }

  /** Peers are to each other what their networks say. */
  #addMember({ addresses, networks }: CompiledSubject): void {
    for (const { address, length } of addresses) {
      if (!isHost({ address, length })) continue;
      const { version } = address;
      const add = (set: string): void => this.#add(set, setOf(addressType(version)), [renderIp(address)]);
      if (this.#policy.needsPeers) add(`rf_peers${version}`);
      for (const network of networks) {
        add(membersSet(network, version));
        if (this.#policy.isStrict(network)) add(`rf_strict${version}`);
      }
    }
  }

  #isolation({ networks }: CompiledSubject, { destination }: Direction): string[] {
    const own = networks.filter((network) => this.#policy.isStrict(network));
    return VERSIONS.flatMap((version) => {
      const object = `${FAMILY[version]} ${destination}`;
      if (own.length === 0) return this.#has(`rf_strict${version}`, (set) => `${object} @${set} ${DROP}`);
      return this.#has(`rf_peers${version}`, (set) => {
        const others = own.flatMap((network) =>
          this.#has(membersSet(network, version), (members) => `${object} != @${members}`),
        );
        return [`${object} @${set}`, ...others, DROP].join(' ');
      });
    });
  }

  #membership(subject: CompiledSubject, { destination }: Direction): string[] {
    const { networks, reachesNode, reachesMembers, reachesPeers } = subject;
    const sets = VERSIONS.flatMap((version) => [
      ...(reachesMembers ? networks.map((network) => [membersSet(network, version), version] as const) : []),
      ...(reachesPeers === null ? [] : [[`rf_peers${version}`, version] as const]),
    ]);
    return [
      ...(reachesNode === null ? [] : [`fib ${destination} type local accept`]),
      ...sets.flatMap(([set, version]) =>
        this.#has(set, () => `${FAMILY[version]} ${destination} @${set} accept`),
      ),
    ];
  }

  /** Whose each address is, and to which chain that leads. */
  #addOwners(chains: ReadonlyMap<string, string>): void {
    const add = (map: string, isInterval: boolean, { prefix, owner }: Owned): void => {
      const { version } = prefix.address;
      const frame: Frame = { kind: 'map', type: `${addressType(version)} : verdict`, isInterval };
      this.#add(`${map}${version}`, frame, [`${renderNetwork(prefix)} : goto ${chains.get(owner) ?? ''}`]);
    };
    const { hosts, networks, exits } = this.#policy.owners();
    for (const one of hosts) add('rf_who', false, one);
    for (const one of networks) add('rf_net', true, one);
    for (const one of exits) add('rf_exit', true, one);
  }

  #addBase(): void {
    const begin = (field: 'iifname' | 'oifname', back: string): string[] => [
      `${field} != "${this.#tunnel}" accept`,
      `ct state related meta l4proto { ${ICMP}, ${ICMPV6} } accept`,
      `ct direction reply goto ${back}`,
    ];
    const who = (way: Direction, ...maps: readonly string[]): string[] =>
      maps.flatMap((map) =>
        VERSIONS.flatMap((version) =>
          this.#has(`${map}${version}`, (name) => `${FAMILY[version]} ${way.source} vmap @${name}`),
        ),
      );
    const fromPeers = (way: Direction): string[] => [...who(way, 'rf_who', 'rf_net', 'rf_exit'), DROP];
    const fromHere = (way: Direction): string[] => [
      `fib ${way.source} type local goto rf_self${way.suffix}`,
      ...who(way, 'rf_who', 'rf_net'),
      `goto rf_outside${way.suffix}`,
    ];
    this.#chains.push(
      { name: 'rf_policy_in/back', hook: null, rules: fromHere(BACK) },
      { name: 'rf_policy_out/back', hook: null, rules: fromPeers(BACK) },
      {
        name: 'rf_policy_in',
        hook: 'filter hook prerouting priority -110',
        rules: [...begin('iifname', 'rf_policy_in/back'), ...fromPeers(THERE)],
      },
      {
        name: 'rf_policy_out',
        hook: 'filter hook postrouting priority 110',
        rules: [...begin('oifname', 'rf_policy_out/back'), ...fromHere(THERE)],
      },
    );
  }

  #grantLookups(way: Direction): string[] {
    return VERSIONS.flatMap((version) => {
      const ends = `${FAMILY[version]} ${way.source} . ${FAMILY[version]} ${way.destination}`;
      return [
        ...this.#has(`rf_grant${version}`, (set) => `${ends} . meta l4proto . th ${way.port} @${set} accept`),
        ...this.#has(`rf_host${version}`, (set) => `${ends} @${set} accept`),
      ];
    });
  }

  #reachLookups(way: Direction): string[] {
    return VERSIONS.flatMap((version) => {
      const object = `${FAMILY[version]} ${way.destination}`;
      return [
        ...this.#has(
          `rf_reach${version}`,
          (set) => `${object} . meta l4proto . th ${way.port} @${set} accept`,
        ),
        ...this.#has(`rf_reached${version}`, (set) => `${object} @${set} accept`),
      ];
    });
  }

  /** Rules as lines of nft: those that differ in their destination only share one. */
  #lines(rules: readonly CompiledRule[], way: Direction): string[] {
    return groupsOf(rules).flatMap((group) => {
      const [rule] = group;
      const traffic = trafficMatch(rule, way);
      if (traffic === null) return [];
      const verdict = isDeny(rule) ? DROP : 'accept';
      return this.#ends(group, rule.from ?? null, way).map((ends) =>
        [ends, traffic, verdict].filter((part) => part !== '').join(' '),
      );
    });
  }

  /** The matches of source and destination, one of which must fit; empty for any packet. */
  #ends(group: readonly CompiledRule[], from: IpPrefix | null, way: Direction): string[] {
    const versions = from === null ? VERSIONS : [from.address.version];
    const source = from === null ? '' : networkMatch(way.source, [from]);
    const symbols = new Set(group.map(({ to }) => (typeof to === 'string' ? to : null)));
    const networks = group.flatMap(({ to }) => (typeof to === 'string' ? [] : [to]));
    const destinations = [
      ...(symbols.has('any') ? [''] : []),
      ...(symbols.has('self') ? [`fib ${way.destination} type local`] : []),
      ...(symbols.has('internet') ? versions.map((version) => internetMatch(version, way)) : []),
      ...versions.flatMap((version) => {
        const list = reducePrefixes(networks, version);
        return list.length === 0 ? [] : [networkMatch(way.destination, list)];
      }),
    ];
    return destinations.map((one) => [source, one].filter((part) => part !== '').join(' '));
  }

  /** Adds a chain for each direction. `isEntry`: flows are led to it by their addresses, and answers go on to its twin. */
  #addBoth(name: string, linesOf: (way: Direction) => readonly string[], isEntry: boolean): string {
    const toTwin = isEntry ? [`ct direction reply goto ${name}${BACK.suffix}`] : [];
    this.#chains.push(
      { name: `${name}${BACK.suffix}`, hook: null, rules: linesOf(BACK) },
      { name, hook: null, rules: [...toTwin, ...linesOf(THERE)] },
    );
    return name;
  }

  #add(name: string, frame: Frame, elements: readonly string[]): void {
    let set = this.#sets.get(name);
    if (set === undefined) {
      set = { frame, elements: new Set() };
      this.#sets.set(name, set);
    }
    for (const element of elements) set.elements.add(element);
  }

  /** What `use` makes of a set, if there is one of the name. */
  #has(name: string, use: (name: string) => string): string[] {
    return this.#sets.has(name) ? [use(name)] : [];
  }
}

type Frame = Omit<NftSet, 'name' | 'elements'>;

/** A set that is still being filled. */
interface Elements {
  readonly frame: Frame;
  readonly elements: Set<string>;
}

function addressType(version: Version): string {
  return `ipv${version}_addr`;
}

/** Two addresses, and more. */
function pairType(version: Version, ...more: readonly string[]): string {
  return [addressType(version), addressType(version), ...more].join(' . ');
}

function setOf(type: string): Frame {
  return { kind: 'set', type, isInterval: false };
}

function membersSet(network: string, version: Version): string {
  return `rf_members_${network}_${version}`;
}

/** Names of subjects have a slash before the name in the document, which nft takes as it is. */
function chainName(subject: string): string {
  return `rf_${subject.replace('peers/', 'peer_').replace('sites/', 'site_')}`;
}

/** Protocols with ports, as elements; empty for any traffic; null where a rule says something else than this. */
function portElements(rule: CompiledRule): readonly string[] | null {
  const { action, from, protocol, ports } = rule;
  if (action === 'deny' || from !== undefined) return null;
  if (protocol === undefined) return [];
  if (ports === undefined || hasTypes(rule)) return null;
  const [first, last] = ports;
  if (last - first >= MOST_ELEMENTS) return null;
  return Array.from({ length: last - first + 1 }, (_, i) => `${protocol} . ${first + i}`);
}

/** The match of protocol and ports; empty for any, null where no answer can be of this. */
function trafficMatch(rule: CompiledRule, { port, suffix }: Direction): string | null {
  const { protocol, ports } = rule;
  if (protocol === undefined) return '';
  const match = `meta l4proto ${protocol}`;
  if (ports === undefined) return match;
  const [first, last] = ports;
  if (!hasTypes(rule)) return `${match} th ${port} ${first === last ? first : `${first}-${last}`}`;
  if (suffix === '') return `${match} @th,0,8 ${first === last ? first : `${first}-${Math.min(last, 255)}`}`;
  const types = answerTypes(rule);
  return types.length === 0 ? null : `${match} @th,0,8 ${oneOf(types.map(String))}`;
}

/** INVARIANT: all of one version, none in another. */
function networkMatch(field: Direction['source'], networks: readonly IpPrefix[]): string {
  const version = networks[0]?.address.version ?? 4;
  if (networks.some(({ length }) => length === 0)) return `meta nfproto ipv${version}`;
  return `${FAMILY[version]} ${field} ${oneOf(networks.map(renderNetwork))}`;
}

function internetMatch(version: Version, { destination }: Direction): string {
  return `${FAMILY[version]} ${destination} != @rf_special${version} fib ${destination} type != local`;
}
