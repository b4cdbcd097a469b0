// Rules in the terms of rule.ts as rules of iptables: one for each alternative, and where these are many a tree of chains.

import { renderIp } from '../address/ip.ts';
import { type IpPrefix, parsePrefix, renderPrefix } from '../address/prefix.ts';
import type { HostPolicy } from '../policy/host.ts';
import { coverOf, FLAT_LIMIT, type Placed, split } from './address-tree.ts';
import { processNames } from './chains.ts';
import { type HostFacts, reducePrefixes, type Version } from './facts.ts';
import { targetPorts } from './nat-chains.ts';
import {
  type AddressMatch,
  type InterfaceMatch,
  ofVersion,
  oneOfNetworks,
  type Rule,
  renderNetwork,
  type Verdict,
} from './rule.ts';

export interface IptablesRule {
  /** From the first match on, without `-A CHAIN`. */
  readonly text: string;
  /** Which counter it belongs to; the counters of all rules of one name add up. */
  readonly counter: string | null;
}

export interface IptablesChain {
  readonly name: string;
  readonly rules: readonly IptablesRule[];
}

/** A chain while it is written. */
export interface Draft {
  readonly name: string;
  readonly rules: IptablesRule[];
}

/** A rule whose addresses are alternatives, `''` for any. */
export interface Spelled {
  readonly rule: Rule;
  readonly sources: readonly string[];
  readonly destinations: readonly string[];
}

/** What of rules concerns one version of IP. */
export class Speller {
  readonly #policy: HostPolicy;
  readonly #facts: HostFacts;
  readonly #version: Version;

  constructor(policy: HostPolicy, facts: HostFacts, version: Version) {
    this.#policy = policy;
    this.#facts = facts;
    this.#version = version;
  }

  /** A rule with its alternatives written out; none where it has nothing of this version. */
  spell(rule: Rule): Spelled[] {
    if (rule.version !== undefined && rule.version !== this.#version) return [];
    const { verdict } = rule;
    const isMap = verdict.kind === 'map';
    const mapped = isMap ? { [verdict.field]: oneOfNetworks([renderNetwork(verdict.from)]) } : {};
    const { source, destination }: Pick<Rule, 'source' | 'destination'> = { ...rule, ...mapped };
    const [sources, destinations] = [this.#addresses(source, '-s'), this.#addresses(destination, '-d')];
    return sources === null || destinations === null ? [] : [{ rule, sources, destinations }];
  }

  #addresses(match: AddressMatch | undefined, flag: '-s' | '-d'): string[] | null {
    if (match === undefined) return [''];
    if (match.kind === 'networks' && match.isNot) return match.networks.map((one) => `! ${flag} ${one}`);
    const networks = this.#networks(match);
    return networks.length === 0 ? null : networks.map((one) => `${flag} ${one}`);
  }

  #networks(match: AddressMatch): readonly string[] {
    switch (match.kind) {
      case 'networks':
        return match.networks;
      case 'overlay':
        return reducePrefixes(this.#facts.overlay, this.#version).map(renderNetwork);
      case 'name': {
        const name = processNames(this.#policy)[match.index] ?? '';
        return ofVersion(this.#facts.resolved.get(name) ?? [], this.#version)
          .map(renderIp)
          .sort();
      }
      default:
        return match satisfies never;
    }
  }
}

/** A chain of ours with those that it needs beside it. */
export class ChainRenderer {
  readonly all: Draft[] = [];
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  add(): Draft {
    const number = this.all.length === 0 ? '' : `${this.all.length}`;
    const draft: Draft = { name: `${this.#name}${number}`, rules: [] };
    this.all.push(draft);
    return draft;
  }

  render({ rule, sources, destinations }: Spelled, chain: Draft): void {
    const excluded = [...excludedOf(rule.inInterface, '-i'), ...excludedOf(rule.outInterface, '-o')];
    if (excluded.length <= 1) {
      const not = excluded.map((match) => `! ${match}`).join('');
      this.#renderAlternatives({ rule, sources, destinations }, not, chain);
      return;
    }
    // One rule can say "not" of one interface only. INVARIANT: none that accepts is here, where RETURN would leave too little.
    const sub = this.add();
    sub.rules.push(...excluded.map((match) => plain(`${match} -j RETURN`)));
    chain.rules.push(plain(`-j ${sub.name}`));
    this.#renderAlternatives({ rule, sources, destinations }, '', sub);
  }

  #renderAlternatives({ rule, sources, destinations }: Spelled, not: string, chain: Draft): void {
    const interfaces = product(included(rule.inInterface, '-i'), included(rule.outInterface, '-o'));
    for (const match of interfaces) {
      const begin = words(not, match);
      const [most, others] =
        sources.length > destinations.length ? [sources, destinations] : [destinations, sources];
      if (most.length <= FLAT_LIMIT || rule.verdict.kind === 'accept') {
        chain.rules.push(...product([begin], sources, destinations).flatMap((one) => endings(one, rule)));
        continue;
      }
      // The rule stands at the leaves: a packet is compared with some dozens of thousands of addresses.
      const top = this.add();
      chain.rules.push(plain(words(begin, `-j ${top.name}`)));
      this.#grow(most, top, (address) => product([address], others).flatMap((one) => endings(one, rule)));
    }
  }

  /** A miss in a chain that was gone to returns to where the tree was jumped to. */
  #grow(addresses: readonly string[], chain: Draft, leaf: (address: string) => IptablesRule[]): void {
    const [flag = ''] = addresses[0]?.split(' ') ?? [];
    const prefixes = addresses.flatMap((text) => prefixOf(text.slice(flag.length + 1)));
    const { version } = prefixes[0]?.address ?? {};
    const descend = (group: readonly Placed[], into: Draft): void => {
      for (const part of group.length <= FLAT_LIMIT ? group.map((one) => [one]) : split(group)) {
        const [only] = part;
        if (part.length === 1 && only !== undefined) {
          into.rules.push(...leaf(`${flag} ${renderNetwork(only.prefix)}`));
          continue;
        }
        const sub = this.add();
        into.rules.push(plain(`${flag} ${renderPrefix(coverOf(part))} -g ${sub.name}`));
        descend(part, sub);
      }
    };
    if (version === undefined) return;
    const sorted = reducePrefixes(prefixes, version).map((prefix) => ({ prefix }));
    descend(sorted, chain);
  }
}

export function plain(text: string): IptablesRule {
  return { text, counter: null };
}

export function words(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' ');
}

/** Each combination of one of each. */
export function product(...lists: readonly (readonly string[])[]): string[] {
  return lists.reduce<string[]>(
    (all, list) => all.flatMap((one) => list.map((other) => words(one, other))),
    [''],
  );
}

function included(match: InterfaceMatch | undefined, flag: '-i' | '-o'): string[] {
  return match === undefined || match.isNot ? [''] : match.names.map((name) => `${flag} ${name}`);
}

function excludedOf(match: InterfaceMatch | undefined, flag: '-i' | '-o'): string[] {
  return match?.isNot === true ? match.names.map((name) => `${flag} ${name}`) : [];
}

/** A rule from its protocol on, for each range of its ports; `target`: what becomes of the packet. */
export function endings(
  begin: string,
  rule: Rule,
  target = renderVerdict(rule.verdict, rule),
): IptablesRule[] {
  const { flow, notUsers, notCgroups, counter = null } = rule;
  const ports = rule.ports?.map(({ first, last }) => (first === last ? `${first}` : `${first}:${last}`));
  const protocol = rule.protocol === undefined ? '' : `-p ${rule.protocol}`;
  // Without --socket-exists a packet of no socket would be one of none of these users.
  const users = notUsers?.map(
    (user, i) => `-m owner ${i === 0 ? '--socket-exists ' : ''}! --uid-owner ${user}`,
  );
  const cgroups = notCgroups?.map(({ path }) => `-m cgroup ! --path "${path.replaceAll('\\', '\\\\')}"`);
  // What the kernel compares is in no listing: a rule about another cgroup of the same path is another rule.
  const ids = notCgroups?.map(({ id }) => id).join(' ') ?? '';
  const rest = [
    flow === undefined ? '' : `-m conntrack ${flow === 'reply' ? '--ctdir REPLY' : '--ctstate DNAT'}`,
    rule.sourceIsLocal === undefined ? '' : `-m addrtype ${rule.sourceIsLocal ? '' : '! '}--src-type LOCAL`,
    rule.destinationIsLocal === true ? '-m addrtype --dst-type LOCAL' : '',
    ...(users ?? []),
    ...(cgroups === undefined ? [] : ['-m owner --socket-exists', ...cgroups]),
    ids === '' ? '' : `-m comment --comment "cgroup ${ids}"`,
    counter === null ? '' : `-m comment --comment "${counter}"`,
    target,
  ];
  const each = ports?.map((port) => `${protocol} --dport ${port}`) ?? [protocol];
  return each.map((port) => ({ text: words(begin, port, ...rest), counter }));
}

function renderVerdict(verdict: Verdict, { protocol }: Rule): string {
  switch (verdict.kind) {
    case 'accept':
      return '-j RETURN';
    case 'drop':
      return '-j DROP';
    case 'reject':
      return protocol === 'tcp' ? '-j REJECT --reject-with tcp-reset' : '-j REJECT';
    case 'zone':
      return `-j CT --zone-orig ${verdict.zone}`;
    case 'snat':
      return `-j SNAT --to-source ${renderIp(verdict.address)}`;
    case 'dnat':
      return `-j DNAT --to-destination ${renderTarget(verdict)}`;
    case 'map':
      return `-j NETMAP --to ${renderPrefix(verdict.to)}`;
    case 'masquerade':
      return '-j MASQUERADE';
    case 'clamp-mss':
      return '-p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu';
    default:
      return verdict satisfies never;
  }
}

/** Of a range, iptables is told with which port it begins, so that the others follow in step. */
function renderTarget({ address, ports: step }: Extract<Verdict, { kind: 'dnat' }>): string {
  const target = renderIp(address);
  if (step === null) return target;
  const { first, last } = targetPorts(step);
  const host = address.version === 6 ? `[${target}]` : target;
  if (first === last) return `${host}:${first}`;
  return step.ports.first === step.to ? target : `${host}:${first}-${last}/${step.ports.first}`;
}

function prefixOf(text: string): IpPrefix[] {
  const parsed = parsePrefix(text);
  return parsed.ok ? [parsed.value] : [];
}
