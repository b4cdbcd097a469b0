// The way of a flow through the tunnels of this node: in from one peer, out to another, each judged. For who asks by names:
// `explain` and `policy matrix`.

import { bitsOf, compareIps, type IpAddress, parseIp, renderIp } from '../address/ip.ts';
import type { IpPrefix } from '../address/prefix.ts';
import { STAGES, type Stage } from './compiled.ts';
import type { Crossing, Evaluator, FlowStart, Judgement, Subject } from './evaluate.ts';
import type { Policy, Rule } from './model.ts';

/** One end of a flow, by the name it was given. */
export interface End {
  readonly name: string;
  /** One or more; those of both versions where it has both. */
  readonly addresses: readonly IpAddress[];
  /** The peer that carries it, where the name says so; else its address does. */
  readonly peer: string | null;
}

/** A crossing, what was said of it, and what each stage said up to the one that decided. */
export interface Step {
  readonly crossing: Crossing;
  readonly judgement: Judgement;
  readonly trace: readonly TraceEntry[];
}

export interface TraceEntry {
  readonly stage: Stage;
  /** The row by which it decided, or null. */
  readonly rule: Rule | null;
}

/** What becomes of a flow from one address to another. */
export interface Path {
  readonly packet: FlowStart;
  readonly verdict: 'allow' | 'deny';
  /** In packet order; none if the flow uses no tunnel, which the policy does not judge. */
  readonly steps: readonly Step[];
}

/** Addresses of the internet that stand for all others: of public resolvers. */
export const INTERNET: readonly IpAddress[] = ['9.9.9.9', '2620:fe::fe'].flatMap((text) => {
  const parsed = parseIp(text);
  return parsed.ok ? [parsed.value] : [];
});

/**
 * Reads an end: `self`, the name of a peer or service, `site:NAME`, `internet`, or an address. Null if it is none of them. Of
 * a site, and of a peer without addresses of its own, an address of each of its networks stands for all.
 */
export function endOf(policy: Policy, text: string): End | null {
  const { peers, services, sites } = policy;
  if (text === 'self') {
    return { name: text, addresses: policy.addresses.map(({ address }) => address), peer: null };
  }
  if (text === 'internet') return { name: text, addresses: INTERNET, peer: null };
  const address = parseIp(text);
  if (address.ok) return { name: renderIp(address.value), addresses: [address.value], peer: null };
  const site = sites.find(({ peer }) => text === `site:${peer}`);
  if (site !== undefined)
    return { name: text, addresses: site.subnets.map((subnet) => hostIn(policy, subnet)), peer: site.peer };
  const service = services.find(({ id }) => id === text);
  if (service !== undefined) return { name: text, addresses: service.addresses, peer: null };
  const peer = peers.find(({ name }) => name === text);
  if (peer === undefined) return null;
  const { addresses, routes } = peer;
  return {
    name: text,
    addresses: addresses.length > 0 ? addresses : routes.map((route) => hostIn(policy, route)),
    peer: text,
  };
}

/** The first address of a network that a host can have and no peer has itself; for want of one the first. */
export function hostIn(policy: Policy, { address, length }: IpPrefix): IpAddress {
  if (length === bitsOf(address.version)) return address;
  const taken = policy.peers.flatMap((peer) => peer.addresses);
  const isFree = (host: IpAddress): boolean => taken.every((one) => compareIps(one, host) !== 0);
  const last = address.bytes.length - 1;
  const hostBits = Math.min(8, 8 * address.bytes.length - length);
  const hosts = Array.from({ length: 2 ** hostBits - 1 }, (_, i): IpAddress => {
    const bytes = address.bytes.slice();
    bytes[last] = (bytes[last] ?? 0) + i + 1;
    return { version: address.version, bytes };
  });
  return hosts.find(isFree) ?? address;
}

/**
 * Where a flow crosses tunnels, judged, up to where it is denied. It leaves by the tunnel that its destination is routed to;
 * to the internet, by that of the site which its peer is routed via, if there is one.
 */
export function pathOf(evaluator: Evaluator, from: End, packet: FlowStart): Path {
  const steps: Step[] = [];
  const isOwnSource = from.peer === null && evaluator.isOwn(packet.source);
  const entry = isOwnSource ? null : (from.peer ?? evaluator.routeOf(packet.source)?.name ?? null);
  if (entry !== null) steps.push(stepOf(evaluator, { leg: 'in', peer: entry, packet }));
  const isDenied = (): boolean => steps.at(-1)?.judgement.verdict === 'deny';
  const exit = isDenied() ? null : exitOf(evaluator, steps[0]?.judgement.subject, packet);
  if (exit !== null) steps.push(stepOf(evaluator, { leg: 'out', peer: exit, packet }));
  return { packet, steps, verdict: isDenied() ? 'deny' : 'allow' };
}

function exitOf(
  evaluator: Evaluator,
  subject: Subject | undefined,
  { destination }: FlowStart,
): string | null {
  if (evaluator.isOwn(destination)) return null;
  const via = subject?.kind === 'peer' ? subject.peer.routeVia : null;
  if (via !== null && evaluator.isInternet(destination)) return via.site;
  return evaluator.routeOf(destination)?.name ?? null;
}

function stepOf(evaluator: Evaluator, crossing: Crossing): Step {
  const judgement = evaluator.judge(crossing);
  return {
    crossing,
    judgement,
    /** Worked out when it is asked for: a matrix has millions of steps. */
    get trace() {
      const considered = STAGES.slice(0, STAGES.indexOf(judgement.stage) + 1);
      return considered.map((stage) => ({
        stage,
        rule: evaluator.decidingRule(stage, judgement.subject, crossing),
      }));
    },
  };
}
