// The rules that a self-test has on the host while it lasts, in an nft table of their own. They know the probes by what their
// packets carry (probe-packet.ts, the twin), count them on their way, and end them after everybody else has judged: what
// comes to the end of its hook has been let through by all, and no further than that it goes. So nobody who listens
// sees a probe, conntrack never confirms its flow, and nothing leaves the host.
//
//   prerouting, output   first of all: counted; answers of those who reject a probe are dropped
//   input, postrouting   last of all: counted if it is where it was to arrive, and dropped in any case
//
// A table that traces has more steps between, after each table of iptables: legacy iptables is not traced, but between which two
// steps a packet was lost says by which of its tables.

import { type IpAddress, renderIp } from '../address/ip.ts';
import type { Protocol } from '../policy/host.ts';
import { FAMILY } from './render-nft-parts.ts';
import type { NftChain, Ruleset } from './ruleset.ts';

/** Where a probe is to arrive: at this host, beyond it, or beyond it from here. */
export type Way = 'in' | 'through' | 'out';

/** Its place in the list is its index. */
export interface RenderedProbe {
  readonly way: Way;
  readonly protocol: Protocol;
  /** With what destination it is to arrive, once everybody has translated it; null: any. */
  readonly arrival: { readonly address: IpAddress; readonly port: number } | null;
}

export interface ProbeTable {
  readonly table: string;
  /** As the packets have it. */
  readonly run: number;
  readonly probes: readonly RenderedProbe[];
  /** Whether nft tells of each rule that a probe meets, and every step counts. */
  readonly isTraced: boolean;
}

/** The lowest and the highest priority there is, next to the one by which conntrack confirms (nf_conntrack: INT_MAX). */
const FIRST = -2_147_483_648;
const LAST = 2_147_483_646;

export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

/** A place where probes are counted. */
export interface Step {
  readonly hook: Hook;
  readonly priority: number;
  /** What stands between the step before and this one, beside rules of nft: a chain of iptables, or the kernel's routes. */
  readonly after: { readonly table: string; readonly chain: string } | 'routes' | null;
}

/** The tables of iptables of a hook, by the priority right after them (include/uapi/linux/netfilter_ipv4.h). */
function iptablesSteps(hook: 'prerouting' | 'input' | 'forward' | 'output', first: Step): Step[] {
  const chain = hook.toUpperCase();
  const step = (table: string, priority: number): Step => ({ hook, priority, after: { table, chain } });
  const early = hook === 'prerouting' || hook === 'output';
  return [
    first,
    ...(early ? [step('raw', -299)] : []),
    step('mangle', -149),
    ...(hook === 'prerouting' ? [] : [step('filter', 1), step('security', 51)]),
  ];
}

const BEGIN_IN: Step = { hook: 'prerouting', priority: FIRST, after: null };
const BEGIN_OUT: Step = { hook: 'output', priority: FIRST, after: null };
const PREROUTING = iptablesSteps('prerouting', BEGIN_IN);
const END_IN: Step = { hook: 'input', priority: LAST, after: null };
const END_OUT: Step = {
  hook: 'postrouting',
  priority: LAST,
  after: { table: 'mangle', chain: 'POSTROUTING' },
};

/** Every step of a way, in its order. */
export const STEPS: Readonly<Record<Way, readonly Step[]>> = {
  in: [...PREROUTING, ...iptablesSteps('input', { hook: 'input', priority: FIRST, after: 'routes' }), END_IN],
  through: [
    ...PREROUTING,
    ...iptablesSteps('forward', { hook: 'forward', priority: FIRST, after: 'routes' }),
    END_OUT,
  ],
  out: [...iptablesSteps('output', BEGIN_OUT), END_OUT],
};

const ENDS: readonly Step[] = [END_IN, END_OUT];
const BEGINS: readonly Step[] = [BEGIN_IN, BEGIN_OUT];

/** What the counter of a probe at a step is called. */
export function probeCounter({ hook, priority }: Step, index: number): string {
  return `rf_${hook}_${priority < 0 ? 'm' : ''}${Math.abs(priority)}_${index}`;
}

/** The table, for {@link renderScript}. */
export function renderProbeTable({ table, run, probes, isTraced }: ProbeTable): Ruleset {
  const all = new Map<string, Step>();
  for (const step of [...BEGINS, ...ENDS, ...(isTraced ? Object.values(STEPS).flat() : [])]) {
    all.set(chainName(step), step);
  }
  const steps = [...all.values()];
  const counts = (step: Step): number[] =>
    [...probes.keys()].filter((i) => STEPS[probes[i]?.way ?? 'in'].some((one) => isSame(one, step)));
  const chains = steps.flatMap((step): NftChain[] => [
    { name: `${chainName(step)}_known`, hook: null, rules: knownRules(step, counts(step), probes, isTraced) },
    {
      name: chainName(step),
      hook: `filter hook ${step.hook} priority ${step.priority}`,
      rules: [...(isSame(step, BEGIN_OUT) ? answerRules(run) : []), ...entryRules(step, run)],
    },
  ]);
  const counters = steps.flatMap((step) => counts(step).map((i) => probeCounter(step, i)));
  return { table, counters, sets: [], chains };
}

function chainName({ hook, priority }: Step): string {
  return `rf_${hook}_${priority < 0 ? 'm' : ''}${Math.abs(priority)}`;
}

function isSame(a: Step, b: Step): boolean {
  return a.hook === b.hook && a.priority === b.priority;
}

function entryRules(step: Step, run: number): string[] {
  const to = `goto ${chainName(step)}_known`;
  return [`meta l4proto tcp @th,32,32 ${run} ${to}`, `meta l4proto udp @th,64,32 ${run} ${to}`];
}

function knownRules(
  step: Step,
  indices: readonly number[],
  probes: readonly RenderedProbe[],
  isTraced: boolean,
): string[] {
  const isEnd = ENDS.some((one) => isSame(one, step));
  const traces = isTraced && BEGINS.some((one) => isSame(one, step));
  const rules = indices.map((i) => {
    const { protocol = 'tcp', arrival = null } = probes[i] ?? {};
    const known = protocol === 'tcp' ? `meta l4proto tcp @th,64,32 ${i}` : `meta l4proto udp @th,96,32 ${i}`;
    const arrived =
      isEnd && arrival !== null
        ? ` ${FAMILY[arrival.address.version]} daddr ${renderIp(arrival.address)} ${protocol} dport ${arrival.port}`
        : '';
    return `${known}${arrived} counter name "${probeCounter(step, i)}"`;
  });
  return [...(traces ? ['meta nftrace set 1'] : []), ...rules, ...(isEnd ? ['drop'] : [])];
}

/**
 * What a rule answers that rejects a probe: a reset that acknowledges the SYN (RFC 9293 §3.5.2), or an ICMP error with the
 * probe in it, 8 bytes and its IP header further on.
 */
function answerRules(run: number): string[] {
  const acknowledged = (run + 1) % 2 ** 32;
  const icmp = (name: string, header: number): string[] =>
    [4, 8].map((at) => `meta l4proto ${name} @th,${(8 + header + at) * 8},32 ${run} drop`);
  return [
    `meta l4proto tcp @th,64,32 ${acknowledged} tcp flags & rst == rst drop`,
    ...icmp('icmp', 20),
    ...icmp('ipv6-icmp', 40),
  ];
}
