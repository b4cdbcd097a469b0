// Who may reach what: for each who and each what the exact traffic that passes. Ports are asked in the intervals that the
// rows of the policy cut them into, so that one question speaks for all of an interval.

import type { IpAddress } from '../address/ip.ts';
import { renderPrefix } from '../address/prefix.ts';
import { ICMP, ICMPV6, MOST_PORT, renderTraffic, TCP, type Traffic, UDP } from '../address/traffic.ts';
import type { Evaluator } from './evaluate.ts';
import type { AccessRow, Policy } from './model.ts';
import { type End, endOf, hostIn, pathOf } from './path.ts';

export interface Matrix {
  readonly rows: readonly End[];
  readonly columns: readonly Column[];
  /** By row, then by column. */
  readonly cells: readonly (readonly Cell[])[];
}

export interface Column {
  readonly end: End;
  /** What is asked: the traffic of a service; null: anything. */
  readonly traffic: readonly Traffic[] | null;
}

export interface Cell {
  /** own: no tunnel is between the two, or they are one. */
  readonly kind: 'all' | 'some' | 'none' | 'own';
  /** What passes in any version of IP, as text, as a row of the policy would say it. */
  readonly traffic: readonly string[];
  /** Not the same passes in both versions. */
  readonly differs: boolean;
  /** By which peer it goes on, of what passes to the internet through a tunnel: that of a `route_via`. Else null. */
  readonly via: string | null;
}

/** A protocol that no row names stands for all of those: one set aside for experiments (RFC 3692). */
const OTHER_PROTOCOL = 253;

/** Who can be asked about: peers, sites, this node. */
export function rowsOf(policy: Policy): End[] {
  return endsOf(policy, [...carriers(policy), 'self']);
}

/** What they may want: this node, services, peers, sites, the internet, and networks that only rows know. */
export function columnsOf(policy: Policy): Column[] {
  const whole = (end: End): Column => ({ end, traffic: null });
  return [
    ...endsOf(policy, ['self']).map(whole),
    ...policy.services.map(({ id, addresses, traffic }) => ({
      end: { name: id, addresses, peer: null },
      traffic,
    })),
    ...endsOf(policy, [...carriers(policy), 'internet']).map(whole),
    ...namedNetworks(policy).map(whole),
  ];
}

/** Judges every cell: rows times columns times intervals. */
export function matrixOf(
  policy: Policy,
  evaluator: Evaluator,
  rows: readonly End[],
  columns: readonly Column[],
): Matrix {
  const anything = intervalsOf(policy);
  const cells = rows.map((row) =>
    columns.map(({ end, traffic }) => cellOf(evaluator, row, end, traffic ?? anything)),
  );
  return { rows, columns, cells };
}

/** How many flows {@link matrixOf} judges for one row, at most: what it costs. */
export function questionCount(policy: Policy, columns: readonly Column[]): number {
  const anything = intervalsOf(policy).length;
  return 2 * columns.reduce((sum, { traffic }) => sum + (traffic?.length ?? anything), 0);
}

/** Peers and sites. A peer that has no address beside its site is shown as the site only. */
function carriers({ peers, sites }: Policy): string[] {
  const hasSite = (name: string): boolean => sites.some(({ peer }) => peer === name);
  const shown = peers.filter(({ name, addresses }) => addresses.length > 0 || !hasSite(name));
  return [...shown.map(({ name }) => name), ...sites.map(({ peer }) => `site:${peer}`)];
}

function endsOf(policy: Policy, names: readonly string[]): End[] {
  return names.flatMap((name) => endOf(policy, name) ?? []).filter(({ addresses }) => addresses.length > 0);
}

/** What was asked in one version of IP, and what of it passes. */
interface Answer {
  readonly asked: readonly Traffic[];
  readonly passes: readonly Traffic[];
  readonly via: string | null;
}

function cellOf(evaluator: Evaluator, from: End, to: End, questions: readonly Traffic[]): Cell {
  const answers = ([4, 6] as const).map((version) => answerOf(evaluator, from, to, version, questions));
  const judged = answers.filter((answer) => answer !== null);
  const passes = merged(judged.flatMap((answer) => answer.passes));
  if (judged.length === 0 || from.name === to.name)
    return { kind: 'own', traffic: [], differs: false, via: null };
  const isAll = judged.every((answer) => answer.passes.length === answer.asked.length);
  const [first, second] = judged.map((answer) => textsOf(merged(answer.passes)).toSorted().join());
  const differs = second !== undefined && first !== second;
  const kind = isAll ? 'all' : passes.length === 0 ? 'none' : 'some';
  const via = judged.find((answer) => answer.via !== null)?.via ?? null;
  return { kind, traffic: textsOf(passes), differs, via };
}

/** null if the two have no address of the version, or no tunnel is between them. */
function answerOf(
  evaluator: Evaluator,
  from: End,
  to: End,
  version: 4 | 6,
  questions: readonly Traffic[],
): Answer | null {
  const source = addressOf(from, version);
  const destination = addressOf(to, version);
  if (source === undefined || destination === undefined) return null;
  const asked = questions.filter(({ protocol }) => isOfVersion(protocol, version));
  const paths = asked.map(({ protocol, first, last }) => {
    const port = first === 0 && last === MOST_PORT ? null : first;
    return pathOf(evaluator, from, { source, destination, protocol, port });
  });
  if (paths.every(({ steps }) => steps.length === 0)) return null;
  const passing = paths.filter(({ verdict }) => verdict === 'allow');
  const leaving = passing.flatMap(({ steps }) => steps).find(({ crossing }) => crossing.leg === 'out');
  const via = evaluator.isInternet(destination) ? (leaving?.crossing.peer ?? null) : null;
  return { asked, passes: asked.filter((_, i) => paths[i]?.verdict === 'allow'), via };
}

function addressOf(end: End, version: 4 | 6): IpAddress | undefined {
  return end.addresses.find((address) => address.version === version);
}

function isOfVersion(protocol: number, version: 4 | 6): boolean {
  return protocol !== (version === 4 ? ICMPV6 : ICMP);
}

/** The traffic of every row, cut where any of them begins or ends, with what lies between and beyond. */
function intervalsOf(policy: Policy): Traffic[] {
  const named = trafficOf(policy);
  const protocols = new Set([
    TCP,
    UDP,
    ICMP,
    ICMPV6,
    OTHER_PROTOCOL,
    ...named.map(({ protocol }) => protocol),
  ]);
  return [...protocols]
    .toSorted((a, b) => a - b)
    .flatMap((protocol) => {
      const [least, most] = rangeOf(protocol, named);
      const begins = named
        .filter((one) => one.protocol === protocol)
        .flatMap(({ first, last }) => [first, last + 1])
        .filter((begin) => begin > least && begin <= most);
      const sorted = [...new Set([least, ...begins])].toSorted((a, b) => a - b);
      return sorted.map((first, i) => ({ protocol, first, last: (sorted[i + 1] ?? most + 1) - 1 }));
    });
}

/** The ports or types of a protocol that rows tell apart. */
function rangeOf(protocol: number, named: readonly Traffic[]): readonly [least: number, most: number] {
  if (protocol === ICMP || protocol === ICMPV6) return [0, 255];
  const hasPorts = named.some(
    (one) => one.protocol === protocol && (one.first !== 0 || one.last !== MOST_PORT),
  );
  return protocol === TCP || protocol === UDP || hasPorts ? [1, MOST_PORT] : [0, MOST_PORT];
}

function trafficOf({ peers, profiles, services, sites, inbound }: Policy): Traffic[] {
  const rows = [
    ...peers.flatMap((peer) => [...peer.allow, ...peer.deny, ...peer.reachableFrom]),
    ...profiles.flatMap((profile) => [...profile.allow, ...profile.deny]),
    ...services,
    ...sites.flatMap(({ outbound }) => (typeof outbound === 'string' ? [] : outbound)),
    ...inbound,
  ];
  return rows.flatMap(({ traffic }) => traffic);
}

/** Destinations that only rows know, each by its first address. */
function namedNetworks(policy: Policy): End[] {
  const { peers, profiles } = policy;
  const rows: readonly AccessRow[] = [...peers, ...profiles].flatMap(({ allow, deny }) => [
    ...allow,
    ...deny,
  ]);
  const ends = rows.flatMap(({ to }): [string, End][] => {
    if (to.kind !== 'prefix' || to.prefix.length === 0) return [];
    const address = hostIn(policy, to.prefix);
    const name = renderPrefix(to.prefix);
    return [[name, { name, addresses: [address], peer: null }]];
  });
  return [...new Map(ends).values()];
}

/** As rows say it: a whole protocol by its name, and what ICMP and ICMPv6 share once. */
function textsOf(traffic: readonly Traffic[]): string[] {
  const texts = traffic.map((one) => {
    const [least, most] = rangeOf(one.protocol, traffic);
    const isWhole = one.first <= least && one.last >= most;
    if (one.protocol === OTHER_PROTOCOL) return 'other protocols';
    if (isWhole && one.protocol === ICMP) return 'icmp';
    return renderTraffic(isWhole ? { ...one, first: 0, last: MOST_PORT } : one).replace(/^icmpv6/, 'icmp');
  });
  return [...new Set(texts)];
}

/** Neighbouring intervals as one. */
function merged(all: readonly Traffic[]): Traffic[] {
  const result: Traffic[] = [];
  for (const one of all.toSorted((a, b) => a.protocol - b.protocol || a.first - b.first)) {
    const last = result.at(-1);
    if (last !== undefined && last.protocol === one.protocol && one.first <= last.last + 1) {
      result[result.length - 1] = { ...last, last: Math.max(last.last, one.last) };
    } else result.push(one);
  }
  return result;
}
