// The host's rules as one nft table of our own, `inet rf_NETWORK`. Pure: the same policy and facts give the same text.
// What each chain hooks to, in the order in which a packet meets them:
//
//   prerouting  -305 rf_leak_in    overlay addresses that come in the clear are dropped: before Docker's raw rules
//               -300 rf_zone_in    published flows get a conntrack zone of their row
//               -101 rf_nat_in     published ports, 1:1
//   forward     -150 rf_mss        both ways through the tunnel
//   input         -5 rf_inbound    ports that only their sources reach
//   output      -300 rf_zone_out, -101 rf_nat_out: the same for this host's own packets; -1 rf_process: only these users
//   postrouting   90 rf_leak_out   overlay addresses that would leave in the clear are dropped
//                 99 rf_nat_post   1:1, SNAT, hairpin, masquerade
//
// What the rules say is chains.ts; its twin in the words of iptables is render-iptables.ts.

import { renderIp } from '../address/ip.ts';
import type { HostPolicy } from '../policy/host.ts';
import type { Cgroup } from './cgroups.ts';
import { chainsOf, countersOf, processNames } from './chains.ts';
import { type HostFacts, reducePrefixes, VERSIONS, type Version } from './facts.ts';
import { renderMirror } from './render-mirror.ts';
import { FAMILY, oneOf, renderPorts } from './render-nft-parts.ts';
import {
  type AddressMatch,
  type ChainName,
  type InterfaceMatch,
  isHost,
  ofVersion,
  type Rule,
  type RuleChain,
  renderNetwork,
  type Verdict,
} from './rule.ts';
import type { NftChain, NftSet, Ruleset } from './ruleset.ts';

const HOOKS: Readonly<Record<ChainName, string>> = {
  leak_in: 'filter hook prerouting priority -305',
  zone_in: 'filter hook prerouting priority -300',
  nat_in: 'nat hook prerouting priority -101',
  mss: 'filter hook forward priority -150',
  inbound: 'filter hook input priority -5',
  zone_out: 'filter hook output priority -300',
  nat_out: 'nat hook output priority -101',
  process: 'filter hook output priority -1',
  leak_out: 'filter hook postrouting priority 90',
  nat_post: 'nat hook postrouting priority 99',
};

/** The name of the table, in family `inet`. */
export function tableName(network: string): string {
  return `rf_${network}`;
}

/** What stands in the comment of each rule of ours in chains of others. */
export function ruleComment(network: string): string {
  return `rf:${network}`;
}

export function renderNft(policy: HostPolicy, facts: HostFacts): Ruleset {
  const chains = chainsOf(policy, facts);
  const overlay = overlaySets(facts);
  const names = new Set(overlay.map(({ name }) => name));
  const cgroups = new CgroupChains();
  const rendered = chains.map((one) => nftChain(one, names, cgroups));
  const mirror = facts.mirrored === null ? null : renderMirror(facts.mirrored, facts.interface);
  return {
    table: tableName(policy.network),
    counters: [...countersOf(chains), ...(mirror?.counters ?? [])].sort(),
    sets: [...overlay, ...resolvedSets(policy, facts), ...(mirror?.sets ?? [])],
    chains: [...cgroups.all, ...rendered, ...(mirror?.chains ?? [])],
  };
}

function addressSet(
  name: string,
  version: Version,
  isInterval: boolean,
  elements: readonly string[],
): NftSet {
  return { name, kind: 'set', type: `ipv${version}_addr`, isInterval, elements };
}

/**
 * Networks, and the addresses of peers beyond them: those are many where there are any, and a set without intervals takes half
 * the time to load. There is none of a version without such peers.
 */
function overlaySets({ overlay }: HostFacts): NftSet[] {
  return VERSIONS.flatMap((version) => {
    const reduced = reducePrefixes(overlay, version);
    const [hosts, networks] = [reduced.filter(isHost), reduced.filter((prefix) => !isHost(prefix))];
    const remote = addressSet(remoteSet(version), version, false, hosts.map(renderNetwork));
    return [
      addressSet(`rf_overlay${version}`, version, true, networks.map(renderNetwork)),
      ...(hosts.length === 0 ? [] : [remote]),
    ];
  });
}

function remoteSet(version: Version): string {
  return `rf_remote${version}`;
}

/** The set of what a name resolves to. */
function resolvedSet(index: number, version: Version): string {
  return `rf_name${index}_${version}`;
}

function resolvedSets(policy: HostPolicy, { resolved }: HostFacts): NftSet[] {
  return processNames(policy).flatMap((name, i) =>
    VERSIONS.map((version) => {
      const addresses = ofVersion(resolved.get(name) ?? [], version).map(renderIp);
      return addressSet(resolvedSet(i, version), version, false, addresses.sort());
    }),
  );
}

/** A rule about the overlay is one for each of its sets. */
function nftChain({ name, rules }: RuleChain, sets: ReadonlySet<string>, cgroups: CgroupChains): NftChain {
  const lines = rules.flatMap(byInterface).flatMap((rule) => {
    const { version = 4, source, destination } = rule;
    const isOverlay = source?.kind === 'overlay' || destination?.kind === 'overlay';
    const overlays = [`rf_overlay${version}`, ...(isOverlay ? [remoteSet(version)] : [])];
    return overlays.filter((set) => sets.has(set)).map((set) => renderRule(rule, set, cgroups));
  });
  return { name: `rf_${name}`, hook: HOOKS[name], rules: lines };
}

/**
 * Chains that rules about cgroups lead to: who is in one returns from it. "Not in" cannot be said in one rule, for a socket
 * that is not as deep in the hierarchy as the cgroup fits neither `==` nor `!=`: the root's would pass.
 */
class CgroupChains {
  readonly #chains = new Map<string, NftChain>();

  get all(): readonly NftChain[] {
    return [...this.#chains.values()];
  }

  /** What the rule says is done at the end of the chain whose name this returns. */
  nameFor(rule: Rule, cgroups: readonly Cgroup[]): string {
    const permitted = cgroups.map(
      ({ nftPath, level, id }) => `socket cgroupv2 level ${level} "${nftPath}" return comment "cgroup ${id}"`,
    );
    const rules = [...permitted, `${FROM_SOCKET} ${renderEnd(rule)}`];
    const key = rules.join('\n');
    const chain = this.#chains.get(key) ?? { name: `rf_cgroup${this.#chains.size}`, hook: null, rules };
    this.#chains.set(key, chain);
    return chain.name;
  }
}

/** No user has this number: it fits what a socket of any sent, and nothing that no socket did. */
const FROM_SOCKET = 'meta skuid != 4294967295';

/** What accepts all of some interfaces is met by most packets: names are compared faster than they are looked for in a set. */
function byInterface(rule: Rule): Rule[] {
  const { inInterface, outInterface, verdict, ...others } = rule;
  const match = inInterface ?? outInterface;
  if (match === undefined || match.isNot || verdict.kind !== 'accept' || Object.keys(others).length > 0) {
    return [rule];
  }
  // The tunnel, which comes after the loopback.
  return match.names.toReversed().map((name) => {
    const one = { names: [name], isNot: false };
    return inInterface === undefined ? { verdict, outInterface: one } : { verdict, inInterface: one };
  });
}

function renderRule(rule: Rule, overlaySet: string, cgroups: CgroupChains): string {
  const { version, inInterface, outInterface, source, destination, protocol, ports, notUsers, notCgroups } =
    rule;
  // Addresses and maps say which version they are of.
  const isOfOneVersion = version !== undefined && rule.verdict.kind !== 'map';
  const needsVersion = isOfOneVersion && source === undefined && destination === undefined;
  return [
    ...(inInterface === undefined ? [] : [`iifname ${renderInterfaces(inInterface)}`]),
    ...(outInterface === undefined ? [] : [`oifname ${renderInterfaces(outInterface)}`]),
    ...(needsVersion ? [`meta nfproto ipv${version}`] : []),
    ...(rule.flow === undefined ? [] : [rule.flow === 'reply' ? 'ct direction reply' : 'ct status dnat']),
    ...(source === undefined ? [] : [renderAddresses('saddr', source, version, overlaySet)]),
    ...(destination === undefined ? [] : [renderAddresses('daddr', destination, version, overlaySet)]),
    ...(ports === undefined ? [] : [`${protocol} dport ${oneOf(ports.map(renderPorts))}`]),
    // A look into the routes costs more than what is in the packet.
    ...(rule.sourceIsLocal === undefined ? [] : [`fib saddr type ${rule.sourceIsLocal ? '' : '!= '}local`]),
    ...(rule.destinationIsLocal === true ? ['fib daddr type local'] : []),
    ...(notUsers === undefined ? [] : [`meta skuid != { ${notUsers.map(renderUser).join(', ')} }`]),
    notCgroups === undefined ? renderEnd(rule) : `jump ${cgroups.nameFor(rule, notCgroups)}`,
  ].join(' ');
}

function renderEnd(rule: Rule): string {
  const verdict = renderVerdict(rule.verdict, rule);
  return rule.counter === undefined ? verdict : `counter name "${rule.counter}" ${verdict}`;
}

function renderInterfaces({ names, isNot }: InterfaceMatch): string {
  return `${isNot ? '!= ' : ''}${oneOf(names.map((name) => `"${name}"`))}`;
}

function renderAddresses(
  field: 'saddr' | 'daddr',
  match: AddressMatch,
  version: Version | undefined,
  overlaySet: string,
): string {
  const word = version === undefined ? '' : `${FAMILY[version]} ${field}`;
  switch (match.kind) {
    case 'networks':
      return `${word} ${match.isNot ? '!= ' : ''}${oneOf(match.networks)}`;
    case 'overlay':
      return `${word} @${overlaySet}`;
    case 'name':
      return version === undefined ? '' : `${word} @${resolvedSet(match.index, version)}`;
    default:
      return match satisfies never;
  }
}

function renderUser(user: number | string): string {
  return typeof user === 'number' ? `${user}` : `"${user}"`;
}

function renderVerdict(verdict: Verdict, { protocol }: Rule): string {
  switch (verdict.kind) {
    case 'accept':
    case 'drop':
    case 'masquerade':
      return verdict.kind;
    case 'reject':
      return protocol === 'tcp' ? 'reject with tcp reset' : 'reject';
    case 'zone':
      return `ct original zone set ${verdict.zone}`;
    case 'snat':
      return `snat ${FAMILY[verdict.address.version]} to ${renderIp(verdict.address)}`;
    case 'dnat':
      return renderDnat(verdict, protocol);
    case 'map': {
      const { field, from, to } = verdict;
      const family = FAMILY[from.address.version];
      const [verb, key] = field === 'source' ? ['snat', 'saddr'] : ['dnat', 'daddr'];
      return `${verb} ${family} prefix to ${family} ${key} map { ${renderNetwork(from)} : ${renderNetwork(to)} }`;
    }
    case 'clamp-mss':
      return 'tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu';
    default:
      return verdict satisfies never;
  }
}

function renderDnat(
  { address, ports: step }: Extract<Verdict, { kind: 'dnat' }>,
  protocol: Rule['protocol'],
): string {
  const target = renderIp(address);
  const verb = `dnat ${FAMILY[address.version]} to`;
  if (step === null) return `${verb} ${target}`;
  const { ports, to } = step;
  if (ports.first === ports.last) return `${verb} ${address.version === 6 ? `[${target}]` : target}:${to}`;
  if (ports.first === to) return `${verb} ${target}`;
  const count = ports.last - ports.first + 1;
  const elements = Array.from({ length: count }, (_, i) => `${ports.first + i} : ${target} . ${to + i}`);
  return `${verb} ${protocol} dport map { ${elements.join(', ')} }`;
}
