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
//   rf_grant4_6          source . destination . port: the other rows of peers, of version 4 and protocol 6
//   rf_host4             source . destination: those of any protocol
//
// A change of one peer changes elements, and at most a chain of its own (ruleset.ts).

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
  type PeerClass,
  type PeerParts,
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
  return new MirrorRenderer(new MirroredPolicy(compilation), tunnel).render();
}

/** What one peer puts into sets and chains. */
interface PeerText {
  /** What it was made from beside the subject. */
  readonly own: readonly CompiledRule[];
  readonly context: string;
  /** The chain that its flows go to. */
  readonly chain: string;
  readonly sets: readonly (readonly [name: string, frame: Frame, elements: readonly string[]])[];
  readonly chains: readonly NftChain[];
}

/** Of peers that a reload leaves as they are: what thousands of them put there is the work of a change of one. */
const TEXTS = new WeakMap<CompiledSubject, PeerText>();

class MirrorRenderer {
  readonly #policy: MirroredPolicy;
  readonly #tunnel: string;
  readonly #sets = new Map<string, Elements>();
  readonly #chains: NftChain[] = [];

  constructor(policy: MirroredPolicy, tunnel: string) {
    this.#policy = policy;
    this.#tunnel = tunnel;
  }

  render(): Mirror {
    const { subjects, notInternet, self, outside } = this.#policy;
    const chains = new Map(subjects.map(([name, subject]) => [name, this.#addSubject(name, subject)]));
    this.#addNetworks(chains);
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
      sets: [...this.#sets].map(([name, { frame, elements }]) => ({ name, ...frame, elements })),
      chains: this.#chains,
    };
  }

  /** Puts what is a subject's alone into sets and chains. Returns the chain that its flows go to. */
  #addSubject(name: string, subject: CompiledSubject): string {
    if (!subject.isPeer) {
      const rules = this.#policy.rulesOf(subject);
      const chain = this.#addBoth(chainName(name), (way) => [...this.#lines(rules, way), DROP], true);
      this.#addHosts(subject, chain);
      return chain;
    }
    const parts = this.#policy.partsOf(name, subject);
    const sources = this.#policy.sourcesOf(name, subject);
    const strict = subject.networks.map((network) => this.#policy.isStrict(network)).join();
    const context = `${name} ${parts.kind.name} ${sources !== null} ${this.#policy.needsPeers} ${strict}`;
    let text = TEXTS.get(subject);
    if (text?.own !== parts.own || text.context !== context) {
      const alone = new MirrorRenderer(this.#policy, this.#tunnel);
      const chain = alone.#addPeer(name, subject, parts, sources);
      const sets = [...alone.#sets].map(([set, { frame, elements }]) => {
        return [set, frame, [...new Set(elements)]] as const;
      });
      text = { own: parts.own, context, chain, sets, chains: alone.#chains };
      TEXTS.set(subject, text);
    }
    // No other peer has elements of the same addresses.
    for (const [set, frame, elements] of text.sets) this.#add(set, frame, elements);
    this.#chains.push(...text.chains);
    return text.chain;
  }

  #addPeer(
    name: string,
    subject: CompiledSubject,
    { own, kind }: PeerParts,
    sources: readonly IpPrefix[] | null,
  ): string {
    const rest = own.filter((rule) => !this.#addElements(rule, sources));
    this.#addMember(subject);
    const chain = rest.length === 0 ? kind.name : chainName(name);
    this.#addHosts(subject, chain);
    if (rest.length === 0) return chain;
    return this.#addBoth(
      chain,
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
      const ends = `${renderNetwork(source)} . ${renderNetwork(to)}`;
      if (ports.length === 0) this.#add(`rf_host${version}`, setOf(pairType(version)), [ends]);
      else
        this.#add(
          `${grantSets(version)}${rule.protocol}`,
          setOf(pairType(version, 'inet_service')),
          ports.map((port) => `${ends} . ${port}`),
        );
    }
    return true;
  }

  /** Rows about flows from outside to one address: elements. Returns those that are not. */
  #withoutReach(rules: readonly CompiledRule[]): CompiledRule[] {
    const [reach, reached] = [new Set<string>(), new Set<string>()];
    const others = rules.filter((rule) => {
      const { to } = rule;
      const ports = portElements(rule);
      if (ports === null || typeof to === 'string' || !isHost(to)) return true;
      const address = renderNetwork(to);
      if (ports.length === 0) reached.add(address);
      for (const port of ports) reach.add(`${address} . ${rule.protocol} . ${port}`);
      return false;
    });
    for (const version of VERSIONS) {
      const ofVersion = (elements: ReadonlySet<string>): string[] =>
        [...elements].filter((element) => element.includes(':') === (version === 6));
      const type = addressType(version);
      this.#add(`rf_reached${version}`, setOf(type), ofVersion(reached));
      this.#add(`rf_reach${version}`, setOf(`${type} . inet_proto . inet_service`), ofVersion(reach));
    }
    return others;
  }

  #addClass({ name, rules, subject, hasInternet }: PeerClass): void {
    const denied = (way: Direction): string[] => [
      ...this.#lines(rules.filter(isDeny), way),
      ...this.#isolation(subject, way),
    ];
    this.#addBoth(`${name}_deny`, denied, false);
    this.#addBoth(
      name,
      (way) => [
        ...denied(way), // a jump would cost every packet
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
    for (const prefix of addresses.filter(isHost)) {
      const { version } = prefix.address;
      const add = (set: string): void => this.#add(set, setOf(addressType(version)), [renderNetwork(prefix)]);
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
  #addHosts({ addresses, behind }: CompiledSubject, chain: string): void {
    for (const prefix of [...addresses, ...behind]) {
      if (isHost(prefix)) this.#addOwner('rf_who', false, prefix, chain);
    }
  }

  /** The same of networks, which may lie inside each other. */
  #addNetworks(chains: ReadonlyMap<string, string>): void {
    const { networks, exits } = this.#policy.owners();
    for (const { prefix, owner } of networks) this.#addOwner('rf_net', true, prefix, chains.get(owner) ?? '');
    for (const { prefix, owner } of exits) this.#addOwner('rf_exit', true, prefix, chains.get(owner) ?? '');
  }

  #addOwner(map: string, isInterval: boolean, prefix: IpPrefix, chain: string): void {
    const { version } = prefix.address;
    const frame: Frame = { kind: 'map', type: `${addressType(version)} : verdict`, isInterval };
    this.#add(`${map}${version}`, frame, [`${renderNetwork(prefix)} : goto ${chain}`]);
  }

  #addBase(): void {
    const begin = (field: 'iifname' | 'oifname', back: string): string[] => [
      `${field} != "${this.#tunnel}" accept`,
      `meta l4proto { ${ICMP}, ${ICMPV6} } ct state related accept`,
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
      const prefix = grantSets(version);
      const grants = [...this.#sets.keys()].filter((name) => name.startsWith(prefix)).sort();
      return [
        ...grants.map((set) => {
          const protocol = set.slice(prefix.length);
          return `meta l4proto ${protocol} ${ends} . th ${way.port} @${set} accept`;
        }),
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
    if (elements.length === 0) return;
    let set = this.#sets.get(name);
    if (set === undefined) {
      set = { frame, elements: [] };
      this.#sets.set(name, set);
    }
    for (const element of elements) set.elements.push(element);
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
  readonly elements: string[];
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

/** How the names of sets by source, destination and port begin; a protocol follows. With it in the key they load slower. */
function grantSets(version: Version): string {
  return `rf_grant${version}_`;
}

function membersSet(network: string, version: Version): string {
  return `rf_members_${network}_${version}`;
}

/** Names of subjects have a slash before the name in the document, which nft takes as it is. */
function chainName(subject: string): string {
  return `rf_${subject.replace('peers/', 'peer_').replace('sites/', 'site_')}`;
}

/** The ports of a rule; empty for any traffic; null where it says something else than one protocol and ports. */
function portElements(rule: CompiledRule): readonly number[] | null {
  const { action, from, protocol, ports } = rule;
  if (action === 'deny' || from !== undefined) return null;
  if (protocol === undefined) return [];
  if (ports === undefined || hasTypes(rule)) return null;
  const [first, last] = ports;
  if (last - first >= MOST_ELEMENTS) return null;
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
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
