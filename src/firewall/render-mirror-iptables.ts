// The peers' policy once more, as chains of iptables: twin of render-mirror.ts, of the same decisions (mirror.ts). Pure.
//
//   mangle PREROUTING   POLI  from the tunnel     answers → POLIB      before DNAT: addresses are as in the tunnel
//   mangle POSTROUTING  POLO  into the tunnel     answers → POLOB      before SNAT: conntrack says what they will be
//
// Where nft has sets these are trees of chains, descended by the bits of an address. From there on each chain is gone to, so
// that RETURN lets a packet on to the rules of others, and whoever falls off the end is dropped; a chain that is jumped to
// only drops. Chains but for a few are called by a digest of what they say: the same is there once, and when one peer
// changes, those on the way to it change and no others.
//
// What nft sees after the translation of sources, iptables cannot:
//
//   answers of a flow whose destination was changed   their source is still the backend: asked by conntrack's original tuple
//   a flow whose source was changed                   its source by the reply tuple; of its first packet, which has none yet,
//                                                     by our own rows of `nat`: POLN. Rows of others are not known here

import type { IpAddress } from '../address/ip.ts';
import { comparePrefixes, contains, hostPrefix, type IpPrefix, renderPrefix } from '../address/prefix.ts';
import { ICMP, TCP, UDP } from '../address/traffic.ts';
import type { Compilation } from '../policy/compile.ts';
import type { CompiledRule, CompiledSubject } from '../policy/compiled.ts';
import type { HostPolicy } from '../policy/host.ts';
import { coverOf, FLAT_LIMIT, split } from './address-tree.ts';
import { type HostFacts, reducePrefixes, type Version } from './facts.ts';
import { fnv1a } from './fnv.ts';
import {
  endings,
  type IptablesChain,
  type IptablesRule,
  plain,
  product,
  Speller,
  words,
} from './iptables-chains.ts';
import { answerTypes, hasTypes, isDeny, MIRROR_COUNTER, MirroredPolicy, type PeerClass } from './mirror.ts';
import { natChains } from './nat-chains.ts';
import { isHost, ofVersion, type Rule, renderNetwork } from './rule.ts';

/** What a mirror consists of, beside the rest of the table `mangle`. */
export interface MirrorChains {
  readonly chains: readonly IptablesChain[];
  readonly jumps: readonly { readonly hook: string; readonly chain: string }[];
}

/** The mirror of a policy in one version; `prefix`: how names of chains begin. */
export function renderMirrorChains(
  compilation: Compilation,
  policy: HostPolicy,
  facts: HostFacts,
  version: Version,
  prefix: string,
): MirrorChains {
  return new ChainWriter(compilation, policy, facts, version, prefix).render();
}

/** What must fit: words, and what conntrack must say of the flow. */
interface Match {
  readonly words: string;
  readonly tracked: string;
}

const ANY: Match = { words: '', tracked: '' };

/** How a packet says what its flow is: in its own fields, or by conntrack. */
interface Way {
  readonly name: 'there' | 'back' | 'asked';
  /** Of the source of the flow. */
  readonly source: '-s' | '-d';
  /** Of its destination; null: conntrack's original tuple. */
  readonly destination: '-d' | '-s' | null;
}

/** In the direction in which the flow was opened. */
const THERE: Way = { name: 'there', source: '-s', destination: '-d' };
/** Answers. */
const BACK: Way = { name: 'back', source: '-d', destination: '-s' };
/** Answers into the tunnel of a flow whose destination was changed: what was asked for. */
const ASKED: Way = { name: 'asked', source: '-d', destination: null };

/** What becomes of a network: rules without the match of the network itself. */
interface Entry {
  readonly prefix: IpPrefix;
  readonly rules: readonly string[];
}

/** Rules of a subject that stand in a leaf, each with its source; more are a chain of their own. */
const MOST_INLINE = 5;

class ChainWriter {
  readonly #policy: MirroredPolicy;
  readonly #hostPolicy: HostPolicy;
  readonly #facts: HostFacts;
  readonly #version: Version;
  readonly #prefix: string;
  readonly #chains = new Map<string, readonly string[]>();
  /** By what they are of: chains that many subjects go to. */
  readonly #shared = new Map<string, string | null>();
  /** Of all subjects, by network, those that are peers; `''`: all of them. */
  readonly #members = new Map<string, IpPrefix[]>();
  readonly #own: readonly IpAddress[];

  constructor(
    compilation: Compilation,
    policy: HostPolicy,
    facts: HostFacts,
    version: Version,
    prefix: string,
  ) {
    this.#policy = new MirroredPolicy(compilation);
    this.#hostPolicy = policy;
    this.#facts = facts;
    this.#version = version;
    this.#prefix = prefix;
    const own = new Map([...facts.ownAddresses, ...facts.local].map((one) => [one.bytes.join(), one]));
    this.#own = ofVersion([...own.values()], version).toSorted((a, b) => Buffer.compare(a.bytes, b.bytes));
    for (const [, { isPeer, addresses, networks }] of this.#policy.subjects) {
      if (!isPeer) continue;
      for (const address of addresses.filter((one) => this.#isOurs(one) && isHost(one))) {
        for (const name of ['', ...networks]) this.#membersOf(name).push(address);
      }
    }
  }

  render(): MirrorChains {
    const { interface: tunnel } = this.#facts;
    const icmp = `-p ${this.#version === 4 ? 'icmp' : 'ipv6-icmp'}`;
    const begin = (interfaceMatch: string, back: string): string[] => [
      `! ${interfaceMatch} -j RETURN`,
      `${icmp} -m conntrack --ctstate RELATED -j RETURN`,
      `-m conntrack --ctdir REPLY -g ${this.#name(back)}`,
    ];
    const { self, outside } = this.#policy;
    for (const [way, suffix] of [[THERE, ''] as const, [BACK, 'B'] as const]) {
      this.#put(`POLS${suffix}`, this.#judge(way, self));
      this.#put(`POLX${suffix}`, this.#judge(way, outside));
    }
    const [there, back, asked] = [this.#lookup(THERE), this.#lookup(BACK), this.#lookup(ASKED)];
    this.#put('POLI', [...begin(`-i ${tunnel}`, 'POLIB'), ...there]);
    this.#put('POLIB', [`-m addrtype --dst-type LOCAL -g ${this.#name('POLSB')}`, ...back]);
    this.#put('POLH', [`-m addrtype --src-type LOCAL -g ${this.#name('POLS')}`, ...there]);
    this.#put('POLO', [...begin(`-o ${tunnel}`, 'POLOB'), ...this.#translated()]);
    this.#put('POLOB', [`-m conntrack --ctstate DNAT -g ${this.#chain(asked)}`, ...back]);
    const drop: IptablesRule = {
      text: `-m comment --comment "${MIRROR_COUNTER}" -j DROP`,
      counter: MIRROR_COUNTER,
    };
    return {
      chains: [
        { name: this.#name('POLD'), rules: [drop] },
        ...[...this.#chains].map(([name, rules]) => ({ name, rules: rules.map(plain) })),
      ],
      jumps: [
        { hook: 'PREROUTING', chain: this.#name('POLI') },
        { hook: 'POSTROUTING', chain: this.#name('POLO') },
      ],
    };
  }

  /** Whose the source of a packet into the tunnel is, where NAT changes it. */
  #translated(): string[] {
    const own = this.#own.map(
      (address) => `-m conntrack --ctrepldst ${renderNetwork(hostPrefix(address))} -g ${this.#name('POLS')}`,
    );
    const isOutside = `-g ${this.#name('POLX')}`;
    const rules = [`-m conntrack --ctstate SNAT -g ${this.#chain([...own, isOutside])}`];
    const rows = this.#ownNat();
    if (rows.length > 0) {
      this.#put('POLN', [...rows, `-g ${this.#name('POLH')}`]);
      rules.push(`-m conntrack --ctstate NEW -g ${this.#name('POLN')}`);
    }
    return [...rules, `-g ${this.#name('POLH')}`];
  }

  /** Our own rows that change the source of what goes into the tunnel, and who it is from then on. */
  #ownNat(): string[] {
    const { interface: tunnel } = this.#facts;
    const speller = new Speller(this.#hostPolicy, this.#facts, this.#version);
    const rules =
      natChains(this.#hostPolicy, this.#facts).find(({ name }) => name === 'nat_post')?.rules ?? [];
    const concerned = rules.filter(
      ({ outInterface }) =>
        outInterface === undefined || outInterface.names.includes(tunnel) !== outInterface.isNot,
    );
    if (concerned.every(({ verdict }) => verdict.kind === 'accept')) return [];
    return concerned.flatMap(({ outInterface: _, ...rule }) =>
      speller
        .spell(rule)
        .flatMap(({ sources, destinations }) =>
          product(sources, destinations).flatMap((begin) =>
            endings(begin, rule, `-g ${this.#name(this.#whoBecomes(rule))}`),
          ),
        )
        .map(({ text }) => text),
    );
  }

  #whoBecomes({ verdict }: Rule): string {
    if (verdict.kind === 'accept') return 'POLH';
    if (verdict.kind !== 'snat') return 'POLS';
    const { address } = verdict;
    return this.#own.some((own) => own.bytes.join() === address.bytes.join()) ? 'POLS' : 'POLX';
  }

  /** Who opened the flow, and on to what that may. */
  #lookup(way: Way): string[] {
    const { all, exits } = this.#policy.owners();
    const subjects = new Map(
      this.#policy.subjects.map(([name, subject]) => [name, this.#subject(way, name, subject)] as const),
    );
    const entries = all
      .filter(({ prefix }) => this.#isOurs(prefix))
      .map(({ prefix, owner }): Entry => ({ prefix, rules: subjects.get(owner) ?? [this.#dropped] }));
    const fallback = [
      // Of those nobody knows, what goes into the tunnel is from outside, and what comes back from there is answered to it.
      ...(way === THERE ? [`-o ${this.#facts.interface} -g ${this.#name('POLX')}`] : []),
      ...(way === BACK ? [`! -o ${this.#facts.interface} -g ${this.#name('POLXB')}`] : []),
      ...exits
        .filter(({ prefix }) => this.#isOurs(prefix))
        .map(({ prefix, owner }) => {
          const rules = subjects.get(owner) ?? [this.#dropped];
          return words(this.#source(way, prefix).words, `-g ${this.#chain(rules)}`);
        }),
      this.#dropped,
    ];
    const nested = this.#nest(
      way,
      entries.toSorted((a, b) => comparePrefixes(a.prefix, b.prefix)),
    );
    return this.#tree(nested, (prefix) => this.#source(way, prefix), [`-g ${this.#chain(fallback)}`]);
  }

  /** Networks with others inside go on to these first: the longest prefix counts. */
  #nest(way: Way, sorted: readonly Entry[]): Entry[] {
    const outer: { readonly entry: Entry; readonly inner: Entry[] }[] = [];
    for (const entry of sorted) {
      const last = outer.at(-1);
      if (last !== undefined && contains(last.entry.prefix, entry.prefix.address)) last.inner.push(entry);
      else outer.push({ entry, inner: [] });
    }
    return outer.map(({ entry: { prefix, rules }, inner }): Entry => {
      if (inner.length === 0) return { prefix, rules: this.#inline(way, rules) };
      const rest = [`-g ${this.#chain(rules)}`];
      const tree = this.#tree(this.#nest(way, inner), (one) => this.#source(way, one), rest);
      return { prefix, rules: [`-g ${this.#chain(tree)}`] };
    });
  }

  /** Rules as they may stand beside a match of their source: not those that have one already. */
  #inline(way: Way, rules: readonly string[]): readonly string[] {
    const hasSource = rules.some((rule) => rule.startsWith(`${way.source} `));
    return rules.length > MOST_INLINE || hasSource ? [`-g ${this.#chain(rules)}`] : rules;
  }

  #subject(way: Way, name: string, subject: CompiledSubject): string[] {
    if (!subject.isPeer) return this.#judge(way, this.#policy.rulesOf(subject));
    const { own, kind } = this.#policy.partsOf(name, subject);
    const internet = own.filter((rule) => !isDeny(rule) && rule.to === 'internet');
    const kindDeny = this.#once(`deny ${way.name} ${kind.name}`, () => this.#kindDeny(way, kind));
    const key = internet.length === 0 ? `allow ${way.name} ${kind.name}` : null;
    const kindAllow = this.#once(key, () => this.#kindAllow(way, kind, internet));
    return [
      ...this.#denials(way, own),
      ...(kindDeny === null ? [] : [`-j ${kindDeny}`]),
      ...this.#grants(way, own).flatMap(({ match, rule }) => this.#grant(way, match, rule)),
      `-g ${kindAllow}`,
    ];
  }

  #once(key: string | null, rulesOf: () => readonly string[]): string | null {
    const known = key === null ? undefined : this.#shared.get(key);
    if (known !== undefined) return known;
    const rules = rulesOf();
    const name = rules.length === 0 ? null : this.#chain(rules);
    if (key !== null) this.#shared.set(key, name);
    return name;
  }

  /** The rules of who has no networks and no profile. */
  #judge(way: Way, rules: readonly CompiledRule[]): string[] {
    const internet = rules.filter((rule) => !isDeny(rule) && rule.to === 'internet');
    return [...this.#denials(way, rules), ...this.#allow(way, rules, this.#internet(way, internet, false))];
  }

  /** What only drops, and is jumped to. */
  #kindDeny(way: Way, { rules, subject }: PeerClass): string[] {
    const strict = subject.networks.filter((network) => this.#policy.isStrict(network));
    const others = this.#policy.subjects.flatMap(([, { networks }]) => networks);
    const foes =
      strict.length > 0
        ? subtractHosts(
            this.#membersOf(''),
            strict.flatMap((network) => this.#membersOf(network)),
          )
        : [...new Set(others)]
            .filter((network) => this.#policy.isStrict(network))
            .flatMap((network) => this.#membersOf(network));
    const entries = reducePrefixes(foes, this.#version).map((prefix) => ({ prefix, rules: [this.#dropped] }));
    return [
      ...this.#denials(way, rules),
      ...this.#tree(entries, (prefix) => this.#destination(way, prefix), []),
    ];
  }

  #kindAllow(way: Way, { rules, subject, hasInternet }: PeerClass, more: readonly CompiledRule[]): string[] {
    const internet = [...rules.filter((rule) => !isDeny(rule) && rule.to === 'internet'), ...more];
    const { networks, reachesMembers, reachesPeers, reachesNode } = subject;
    const fellows = [...(reachesMembers ? networks : []), ...(reachesPeers === null ? [] : [''])];
    const members = fellows.flatMap((network) => this.#membersOf(network));
    const entries = reducePrefixes(members, this.#version).map((prefix) => ({
      prefix,
      rules: ['-j RETURN'],
    }));
    const last = this.#internet(way, internet, hasInternet);
    const rest = entries.length > FLAT_LIMIT && last.length > 1 ? [`-g ${this.#chain(last)}`] : last;
    return this.#allow(way, rules, [
      ...(reachesNode === null ? [] : this.#local(way).map((match) => render(match, '-j RETURN'))),
      ...this.#tree(entries, (prefix) => this.#destination(way, prefix), rest),
    ]);
  }

  /** Rows that grant, but those of the internet, and what is asked then. */
  #allow(way: Way, rules: readonly CompiledRule[], last: readonly string[]): string[] {
    const grants = this.#grants(way, rules);
    const toHosts = grants.filter(({ rule: { to } }) => typeof to !== 'string' && isHost(to));
    if (toHosts.length <= FLAT_LIMIT) {
      return [...grants.flatMap(({ match, rule }) => this.#grant(way, match, rule)), ...last];
    }
    const byHost = Map.groupBy(toHosts, ({ rule: { to } }) =>
      typeof to === 'string' ? '' : renderPrefix(to),
    );
    const entries = [...byHost.values()].flatMap((ofHost): Entry[] => {
      const [first] = ofHost;
      if (first === undefined || typeof first.rule.to === 'string') return [];
      return [{ prefix: first.rule.to, rules: ofHost.map(({ match }) => render(match, '-j RETURN')) }];
    });
    const rest = last.length > 1 ? [`-g ${this.#chain(last)}`] : last;
    const sorted = entries.toSorted((a, b) => comparePrefixes(a.prefix, b.prefix));
    return [
      ...grants
        .filter((one) => !toHosts.includes(one))
        .flatMap(({ match, rule }) => this.#grant(way, match, rule)),
      ...this.#tree(sorted, (prefix) => this.#destination(way, prefix), rest),
    ];
  }

  /** Rows that grant something of this version, but the internet; `match`: of all but the destination. */
  #grants(
    way: Way,
    rules: readonly CompiledRule[],
  ): { readonly match: Match; readonly rule: CompiledRule }[] {
    return rules
      .filter((rule) => !isDeny(rule) && rule.to !== 'internet')
      .flatMap((rule) => this.#conditions(way, rule).map((match) => ({ match, rule })));
  }

  #grant(way: Way, match: Match, rule: CompiledRule): string[] {
    return this.#objects(way, rule).map((object) => render(both(match, object), '-j RETURN'));
  }

  #denials(way: Way, rules: readonly CompiledRule[]): string[] {
    return rules
      .filter(isDeny)
      .flatMap((rule) =>
        this.#conditions(way, rule).flatMap((match) =>
          rule.to === 'internet'
            ? [render(match, `-j ${this.#chain(this.#withoutInternet(way))}`)]
            : this.#objects(way, rule).map((object) => render(both(match, object), this.#dropped)),
        ),
      );
  }

  /** At the end: what is not the internet is dropped, and of the internet what no row is about. */
  #internet(way: Way, rows: readonly CompiledRule[], hasAll: boolean): string[] {
    const granted = hasAll
      ? ['-j RETURN']
      : rows.flatMap((rule) => this.#conditions(way, rule).map((match) => render(match, '-j RETURN')));
    if (granted.length === 0) return [this.#dropped];
    const special = this.#special(way, [this.#dropped], []);
    return [`-j ${this.#chain(special)}`, ...granted, ...(hasAll ? [] : [this.#dropped])];
  }

  /** Drops the internet; jumped to. */
  #withoutInternet(way: Way): string[] {
    return this.#special(way, ['-j RETURN'], [this.#dropped]);
  }

  /** What becomes of destinations that are not the internet, and of those that are. */
  #special(way: Way, rules: readonly string[], others: readonly string[]): string[] {
    const entries = reducePrefixes(this.#policy.notInternet, this.#version).map((prefix) => ({
      prefix,
      rules,
    }));
    return [
      ...this.#local(way).flatMap((match) => rules.map((rule) => render(match, rule))),
      ...this.#tree(entries, (prefix) => this.#destination(way, prefix), others),
    ];
  }

  /** What of a rule concerns source and traffic; none where no packet of this version and way can fit. */
  #conditions(way: Way, rule: CompiledRule): Match[] {
    const { from } = rule;
    if (from !== undefined && !this.#isOurs(from)) return [];
    const source = from === undefined ? ANY : this.#source(way, from);
    return trafficMatches(rule, way, this.#version).map((traffic) => both(source, traffic));
  }

  /** What of a rule concerns the destination. INVARIANT: not the internet. */
  #objects(way: Way, { to }: CompiledRule): Match[] {
    if (to === 'any') return [ANY];
    if (to === 'self') return this.#local(way);
    return typeof to === 'string' || !this.#isOurs(to) ? [] : [this.#destination(way, to)];
  }

  #source({ source }: Way, prefix: IpPrefix): Match {
    return prefix.length === 0 ? ANY : { words: `${source} ${renderNetwork(prefix)}`, tracked: '' };
  }

  #destination({ destination }: Way, prefix: IpPrefix): Match {
    if (prefix.length === 0) return ANY;
    const network = renderNetwork(prefix);
    return destination === null
      ? { words: '', tracked: `--ctorigdst ${network}` }
      : { words: `${destination} ${network}`, tracked: '' };
  }

  /** That the destination is an address of this host. The kernel can be asked of those in the packet only. */
  #local({ destination }: Way): Match[] {
    if (destination === null) return this.#own.map((own) => this.#destination(ASKED, hostPrefix(own)));
    return [
      { words: `-m addrtype ${destination === '-d' ? '--dst-type' : '--src-type'} LOCAL`, tracked: '' },
    ];
  }

  /** Sorted entries that do not overlap, as rules; what fits none goes on to `fallback`, or returns. */
  #tree(
    entries: readonly Entry[],
    matchOf: (prefix: IpPrefix) => Match,
    fallback: readonly string[],
  ): string[] {
    const leaf = ({ prefix, rules }: Entry): string[] => rules.map((rule) => render(matchOf(prefix), rule));
    const grow = (group: readonly Entry[]): string[] => {
      if (group.length <= FLAT_LIMIT) return [...group.flatMap(leaf), ...fallback];
      const branches = split(group).flatMap((part) => {
        const [only] = part;
        if (part.length === 1 && only !== undefined) return leaf(only);
        return [render(matchOf(coverOf(part)), `-g ${this.#chain(grow(part))}`)];
      });
      return [...branches, ...fallback];
    };
    return grow(joined(entries));
  }

  #isOurs({ address }: IpPrefix): boolean {
    return address.version === this.#version;
  }

  #membersOf(network: string): IpPrefix[] {
    const members = this.#members.get(network) ?? [];
    this.#members.set(network, members);
    return members;
  }

  get #dropped(): string {
    return `-g ${this.#name('POLD')}`;
  }

  #name(suffix: string): string {
    return `${this.#prefix}${suffix}`;
  }

  #put(suffix: string, rules: readonly string[]): void {
    this.#chains.set(this.#name(suffix), rules);
  }

  /** The chain that says this. INVARIANT: its name has a letter no other of ours begins with, and nine in all. */
  #chain(rules: readonly string[]): string {
    const text = rules.join('\n');
    for (let attempt = 0; ; attempt++) {
      const digest = fnv1a(`${attempt}\n${text}`).toString(16).padStart(8, '0');
      const name = this.#name(`p${digest}`);
      const there = this.#chains.get(name);
      if (there !== undefined && there.join('\n') !== text) continue;
      if (there === undefined) this.#chains.set(name, rules);
      return name;
    }
  }
}

function both(a: Match, b: Match): Match {
  return { words: words(a.words, b.words), tracked: words(a.tracked, b.tracked) };
}

function render({ words: own, tracked }: Match, rule: string): string {
  return words(own, tracked === '' ? '' : `-m conntrack ${tracked}`, rule);
}

/** Alternatives; none where no packet can fit. */
function trafficMatches(rule: CompiledRule, { name, destination }: Way, version: Version): Match[] {
  const { protocol, ports } = rule;
  if (protocol === undefined) return [ANY];
  // To iptables 0 is all of them; behind the headers of IPv6 there is none of this number.
  if (protocol === 0) return version === 4 ? [{ words: '-m u32 --u32 6&0xff=0', tracked: '' }] : [];
  const match = `-p ${PROTOCOL_NAMES[protocol] ?? protocol}`;
  if (ports === undefined) return [{ words: match, tracked: '' }];
  // Types of the other version's ICMP, which nobody sends, it does not read: a row of them denies all, or grants nothing.
  const isForeign = hasTypes(rule) && (protocol === ICMP) !== (version === 4);
  if (isForeign) return isDeny(rule) ? [{ words: match, tracked: '' }] : [];
  const [first, last] = ports;
  if (hasTypes(rule)) {
    if (destination === null) {
      // Conntrack has the type in the upper byte of the port, and its code in the lower.
      const [low, high] = [first << 8, (Math.min(last, 255) << 8) | 0xff];
      return [{ words: match, tracked: `--ctorigdstport ${low}:${high}` }];
    }
    const flag = protocol === ICMP ? '-m icmp --icmp-type' : '-m icmp6 --icmpv6-type';
    return typesOf(rule, name).map((type) => ({ words: `${match} ${flag} ${type}`, tracked: '' }));
  }
  const range = first === last ? `${first}` : `${first}:${last}`;
  if (destination === null) return [{ words: match, tracked: `--ctorigdstport ${range}` }];
  const field = destination === '-d' ? '--dport' : '--sport';
  const isPlain = protocol === TCP || protocol === UDP;
  return [
    { words: `${match} ${isPlain ? `${field} ${range}` : `-m multiport ${field}s ${range}`}`, tracked: '' },
  ];
}

/** As iptables-save has them; ICMP of the other version has a number only. */
const PROTOCOL_NAMES: Readonly<Record<number, string>> = { [TCP]: 'tcp', [UDP]: 'udp' };

function typesOf(rule: CompiledRule, way: Way['name']): number[] {
  if (way === 'back') return answerTypes(rule);
  const [first, last] = rule.ports ?? [0, 255];
  return Array.from({ length: Math.min(last, 255) - first + 1 }, (_, i) => first + i);
}

function subtractHosts(all: readonly IpPrefix[], some: readonly IpPrefix[]): IpPrefix[] {
  const keys = new Set(some.map(renderPrefix));
  return all.filter((one) => !keys.has(renderPrefix(one)));
}

/** Neighbours of which the same becomes are one network. Takes and gives sorted entries that do not overlap. */
function joined(entries: readonly Entry[]): Entry[] {
  const stack: Entry[] = [];
  for (const entry of entries) {
    let last = entry;
    for (let before = stack.at(-1); before !== undefined; before = stack.at(-1)) {
      const cover = coverOf([before, last]);
      const isPair =
        before.prefix.length === last.prefix.length &&
        cover.length === last.prefix.length - 1 &&
        before.rules.join('\n') === last.rules.join('\n');
      if (!isPair) break;
      stack.pop();
      last = { prefix: cover, rules: last.rules };
    }
    stack.push(last);
  }
  return stack;
}
