// What a run measures, in which order, and about how long that takes. Plain data: the plan is handed into the namespaces.

import type { Program } from './implementation.ts';
import { METRICS } from './result.ts';

export type MetricId = (typeof METRICS)[number]['id'];

export interface Plan {
  readonly rounds: number;
  /** Of each stream and flood. */
  readonly seconds: number;
  readonly mtus: readonly number[];
  readonly metrics: readonly MetricId[];
  /** Ours first. */
  readonly programs: readonly Program[];
  /**
   * Pairs of all programs are up at once and take turns, load by load: what is compared lies seconds apart, which tells small
   * differences. For programs whose idle ends cost nothing.
   */
  readonly takesTurns?: boolean;
}

/** What is measured without a pause: a pair of ends at one MTU, or one end alone; of one program, or of all in turns. */
export interface Task {
  readonly round: number;
  readonly programs: readonly Program[];
  /** Null for an end alone. */
  readonly mtu: number | null;
}

/** A kind of load on a pair, and the metrics that come of it. */
export interface Load {
  readonly name: string;
  readonly metrics: readonly MetricId[];
  /** About, beside what it takes to start. */
  seconds(plan: Plan): number;
}

export const PING_COUNT = 200;
export const PING_INTERVAL_MS = 10;

const streamSeconds = ({ seconds }: Plan): number => seconds + 1;

/** In the order in which they are measured: the idle tunnel first, and memory when everything has been through it. */
export const PAIR_LOADS = {
  idle: {
    name: 'ping, idle',
    metrics: ['ping.idle.p50', 'ping.idle.p99'],
    seconds: () => (PING_COUNT * PING_INTERVAL_MS) / 1000,
  },
  tcpUp: { name: 'TCP, 1 stream', metrics: ['tcp1.up', 'cpu.per-gb'], seconds: streamSeconds },
  tcpDown: { name: 'TCP, 1 stream back', metrics: ['tcp1.down'], seconds: streamSeconds },
  tcp8Up: { name: 'TCP, 8 streams', metrics: ['tcp8.up'], seconds: streamSeconds },
  tcp8Down: { name: 'TCP, 8 streams back', metrics: ['tcp8.down'], seconds: streamSeconds },
  loaded: {
    name: 'ping, under TCP load',
    metrics: ['ping.load.p50', 'ping.load.p99'],
    seconds: streamSeconds,
  },
  udp64: { name: 'UDP, 64 bytes', metrics: ['udp64.delivered', 'udp64.loss'], seconds: streamSeconds },
  udp1200: {
    name: 'UDP, 1200 bytes',
    metrics: ['udp1200.delivered', 'udp1200.loss'],
    seconds: streamSeconds,
  },
  memory: { name: 'memory', metrics: ['memory.load'], seconds: () => 0 },
} as const satisfies Readonly<Record<string, Load>>;

export const LONE_LOADS = {
  handshakes: { name: 'handshakes', metrics: ['handshakes'], seconds: ({ seconds }) => seconds + 4 },
  start: { name: 'start, 1 peer', metrics: ['start'], seconds: () => 1 },
  start1000: { name: 'start, 1000 peers', metrics: ['start.1000', 'memory.1000'], seconds: () => 2 },
} as const satisfies Readonly<Record<string, Load>>;

/** To start a pair and stop it. */
const PAIR_SECONDS = 2;

/** What counts as load where memory under load is asked for. */
const STREAMS: readonly Load[] = Object.values(PAIR_LOADS).filter(
  (load) => load !== PAIR_LOADS.idle && load !== PAIR_LOADS.memory,
);

function isWanted(plan: Plan, load: Load): boolean {
  const isAsked = (one: Load): boolean => one.metrics.some((id) => plan.metrics.includes(id));
  if (isAsked(load)) return true;
  // Memory under load comes with the other metrics; asked for without them, it still needs a load.
  return load === PAIR_LOADS.tcpUp && isAsked(PAIR_LOADS.memory) && !STREAMS.some(isAsked);
}

export function loadsOf(plan: Plan, task: Task): readonly Load[] {
  const loads: readonly Load[] = Object.values(task.mtu === null ? LONE_LOADS : PAIR_LOADS);
  return loads.filter((load) => isWanted(plan, load));
}

/**
 * Every task in order. Rounds alternate between the programs, so that a machine that slows down slows all of them, and every
 * other round runs the other way, so that none profits from being first. Pairs that take turns come first, MTU by MTU.
 */
export function tasksOf(plan: Plan): readonly Task[] {
  const rounds = Array.from({ length: plan.rounds }, (_, index) => index + 1);
  const apart = (round: number, mtu: number | null): Task[] =>
    (round % 2 === 1 ? plan.programs : plan.programs.toReversed()).map((program) => ({
      round,
      programs: [program],
      mtu,
    }));
  const tasks =
    plan.takesTurns === true
      ? [
          ...plan.mtus.flatMap((mtu) =>
            rounds.map((round) => ({ round, programs: turnsOf(plan, round), mtu })),
          ),
          ...rounds.flatMap((round) => apart(round, null)),
        ]
      : rounds.flatMap((round) => [...plan.mtus, null].flatMap((mtu) => apart(round, mtu)));
  return tasks.filter((task) => loadsOf(plan, task).length > 0);
}

/** Each is first as often as any other, and has the others before it as often as behind it. */
function turnsOf({ programs }: Plan, round: number): readonly Program[] {
  const first = Math.floor((round - 1) / 2) % programs.length;
  const turned = [...programs.slice(first), ...programs.slice(0, first)];
  return round % 2 === 1 ? turned : turned.toReversed();
}

export function estimateSeconds(plan: Plan, tasks: readonly Task[]): number {
  const one = (task: Task): number => {
    const loads = loadsOf(plan, task).reduce((sum, load) => sum + load.seconds(plan), 0);
    // Pairs that take turns start once, and are warmed up by a round that does not count.
    const isFirst = plan.takesTurns !== true || task.round === 1;
    const start = task.mtu === null || !isFirst ? 0 : PAIR_SECONDS + (plan.takesTurns === true ? loads : 0);
    return (start + loads) * task.programs.length;
  };
  return tasks.reduce((sum, task) => sum + one(task), 0);
}

/** The ids of all metrics, in the order of tables. */
export const METRIC_IDS: readonly MetricId[] = METRICS.map((metric) => metric.id);
