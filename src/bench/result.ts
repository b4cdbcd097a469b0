// A result of the benchmark: its schema, what is measured, and what is computed of it. Results are read back, also those of
// other machines and versions, so they are judged like any foreign input. Measures nothing, prints nothing.

import { z } from 'zod';

/** What one number of a result says. `id` is what `--only` takes and what a sample carries. */
export interface Metric {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
  /** Behind the decimal point, where a person reads it. */
  readonly digits: number;
  /** Metrics of one group share a table heading and a plot. */
  readonly group: MetricGroup;
  /** Measured at each MTU, or once for all of them: then a sample's `mtu` is null. */
  readonly perMtu: boolean;
}

/** The groups and their titles, in the order of every table and page. */
export const METRIC_GROUPS = {
  tcp: 'TCP throughput',
  cpu: 'CPU time',
  udp: 'UDP delivered',
  loss: 'UDP loss when offered more than passes',
  ping: 'Round trip',
  handshakes: 'Handshakes',
  memory: 'Memory',
  start: 'Start',
} as const;

export type MetricGroup = keyof typeof METRIC_GROUPS;

const row = (
  id: string,
  title: string,
  unit: string,
  better: Metric['better'],
  digits: number,
  group: MetricGroup,
  perMtu = true,
): Metric => ({ id, title, unit, better, digits, group, perMtu });

/** Everything that can be measured, in the order of tables. Append only; a changed meaning is a new id. */
export const METRICS = [
  row('tcp1.up', 'TCP, 1 stream', 'Gbit/s', 'more', 2, 'tcp'),
  row('tcp1.down', 'TCP, 1 stream, other direction', 'Gbit/s', 'more', 2, 'tcp'),
  row('tcp8.up', 'TCP, 8 streams', 'Gbit/s', 'more', 2, 'tcp'),
  row('tcp8.down', 'TCP, 8 streams, other direction', 'Gbit/s', 'more', 2, 'tcp'),
  row('cpu.per-gb', 'CPU of both ends, 1 TCP stream', 's/GB', 'less', 2, 'cpu'),
  row('udp64.delivered', 'UDP, 64 bytes, delivered', 'kpps', 'more', 1, 'udp'),
  row('udp64.loss', 'UDP, 64 bytes, lost', '%', 'less', 1, 'loss'),
  row('udp1200.delivered', 'UDP, 1200 bytes, delivered', 'kpps', 'more', 1, 'udp'),
  row('udp1200.loss', 'UDP, 1200 bytes, lost', '%', 'less', 1, 'loss'),
  row('ping.idle.p50', 'ping, idle, median', 'ms', 'less', 3, 'ping'),
  row('ping.idle.p99', 'ping, idle, 99 of 100', 'ms', 'less', 3, 'ping'),
  row('ping.load.p50', 'ping, under TCP load, median', 'ms', 'less', 2, 'ping'),
  row('ping.load.p99', 'ping, under TCP load, 99 of 100', 'ms', 'less', 2, 'ping'),
  row('memory.load', 'peak memory under load, larger end', 'MiB', 'less', 1, 'memory'),
  row('handshakes', 'handshakes answered', '1/s', 'more', 0, 'handshakes', false),
  row('start', 'start to ready, 1 peer', 'ms', 'less', 0, 'start', false),
  row('start.1000', 'start to ready, 1000 peers', 'ms', 'less', 0, 'start', false),
  row('memory.1000', 'memory then, 1000 peers', 'MiB', 'less', 1, 'memory', false),
] as const satisfies readonly Metric[];

const METRIC_IDS: ReadonlySet<string> = new Set(METRICS.map((metric) => metric.id));

/** Of this file's format: raised when what is written now could not be read then. */
const RESULT_VERSION = 1;

const text = z.string().max(10_000);
const amount = z.number().nonnegative();
const mtuSchema = z.int().min(576).max(65_535);

const peerSchema = z.object({
  name: text.min(1),
  version: text,
  /** Those in effect, as the program itself says; empty where it does not say. */
  offloads: z.array(text).max(100).readonly(),
});

const sampleSchema = z.object({
  /** From 1 on. Samples of one round lie next to each other in time. */
  round: z.int().min(1),
  peer: text,
  /** Of the overlay; null where the metric does not depend on it. */
  mtu: mtuSchema.nullable(),
  metric: text.refine((id) => METRIC_IDS.has(id), 'no metric that this version knows'),
  /** In the unit of the metric. */
  value: amount,
});

/** What is stored in `bench/results/` and by `--json`. The first peer is ours: ratios are of it to the others. */
export const resultSchema = z
  .object({
    version: z.literal(RESULT_VERSION),
    date: z.iso.datetime(),
    /** The full id, or `unknown` outside of a checkout. */
    commit: text,
    /** Whether the checkout held nothing but the commit. */
    clean: z.boolean(),
    /** What repeats the run. */
    command: text,
    machine: z.object({ cpu: text, cores: z.int().min(1), memoryBytes: amount, kernel: text }),
    settings: z.object({
      rounds: z.int().min(1),
      /** Of each stream. */
      seconds: z.number().positive(),
      mtus: z.array(mtuSchema).max(100).readonly(),
    }),
    peers: z.array(peerSchema).min(1).max(100).readonly(),
    samples: z.array(sampleSchema).max(1_000_000).readonly(),
    /** What was not measured and why, and what makes a number doubtful: sentences for a reader. */
    notes: z.array(text).max(10_000).readonly(),
  })
  .readonly();

export type Result = z.infer<typeof resultSchema>;
export type Sample = Result['samples'][number];
export type ResultPeer = Result['peers'][number];

/** The version that {@link resultSchema} accepts, for whoever makes a result. */
export const CURRENT_VERSION: Result['version'] = RESULT_VERSION;

/** One cell of a table: a metric at an MTU, null where it does not depend on it. */
export interface Place {
  readonly metric: Metric;
  readonly mtu: number | null;
}

/** Every place that has a sample, in the order of {@link METRICS}, and by MTU as the settings have them. */
export function placesOf(result: Result): Place[] {
  const measured = new Set(result.samples.map((sample) => `${sample.metric} ${sample.mtu}`));
  return METRICS.flatMap((metric) =>
    [null, ...result.settings.mtus]
      .filter((mtu) => measured.has(`${metric.id} ${mtu}`))
      .map((mtu) => ({ metric, mtu })),
  );
}

/** What a peer scored at a place, by round: a peer may be missing in a round. */
export function scoresOf(result: Result, peer: string, { metric, mtu }: Place): ReadonlyMap<number, number> {
  return new Map(
    result.samples
      .filter((sample) => sample.peer === peer && sample.metric === metric.id && sample.mtu === mtu)
      .sort((a, b) => a.round - b.round)
      .map((sample) => [sample.round, sample.value]),
  );
}

/** Of at least one number. */
export interface Spread {
  readonly minimum: number;
  readonly median: number;
  readonly maximum: number;
}

/** Median and spread of numbers, or null of none. */
export function spreadOf(values: Iterable<number>): Spread | null {
  const sorted = [...values].sort((a, b) => a - b);
  const [minimum] = sorted;
  const maximum = sorted.at(-1);
  if (minimum === undefined || maximum === undefined) return null;
  return { minimum, median: quantile(sorted, 0.5), maximum };
}

/** Linear between the two nearest of `sorted`, which has at least one number. `fraction` from 0 to 1. */
export function quantile(sorted: readonly number[], fraction: number): number {
  const at = (sorted.length - 1) * fraction;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

/**
 * `own` divided by `other` in each round that has both, in order: what lies next to each other in time is compared, so a
 * machine that slows down halfway does not decide. Rounds in which `other` scored 0 are left out.
 */
export function pairedRatios(result: Result, own: string, other: string, place: Place): number[] {
  const others = scoresOf(result, other, place);
  return [...scoresOf(result, own, place)].flatMap(([round, mine]) => {
    const theirs = others.get(round);
    return theirs === undefined || theirs === 0 ? [] : [mine / theirs];
  });
}

/** Fewer rounds do not show how much they vary. */
const ROUNDS_TO_JUDGE = 3;

/** How sure {@link medianInterval} is, and from how many numbers on it can be: of five, all lie on one side in one case of sixteen. */
const CERTAINTY = 0.95;
const NUMBERS_OF_INTERVAL = 6;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/**
 * Where the median of all that could have been measured lies, with a certainty of 95 % and whatever their distribution: between
 * two of the numbers, as far from both ends as chance allows (David and Nagaraja, Order Statistics, 2003, §7.1). Null of
 * fewer than six numbers.
 */
export function medianInterval(values: readonly number[]): Interval | null {
  const count = values.length;
  if (count < NUMBERS_OF_INTERVAL) return null;
  const sorted = values.toSorted((a, b) => a - b);
  // How probable it is that so many of the numbers, or fewer, lie below the median.
  let [probability, sum, below] = [0.5 ** count, 0.5 ** count, 0];
  for (;;) {
    probability *= (count - below) / (below + 1);
    if (2 * (sum + probability) > 1 - CERTAINTY) break;
    sum += probability;
    below += 1;
  }
  return { low: sorted[below] ?? Number.NaN, high: sorted[count - 1 - below] ?? Number.NaN };
}

/**
 * How ours compares: decided only where there are rounds enough to say and all of them agree, or, of six and more, where the
 * interval of their median has no 1 in it.
 */
export type Standing = 'better' | 'worse' | 'undecided';

/** Judges {@link pairedRatios}. */
export function standingOf({ better }: Metric, ratios: readonly number[]): Standing {
  const interval = medianInterval(ratios) ?? { low: Math.min(...ratios), high: Math.max(...ratios) };
  if (ratios.length < ROUNDS_TO_JUDGE || (interval.low <= 1 && interval.high >= 1)) return 'undecided';
  return interval.low > 1 === (better === 'more') ? 'better' : 'worse';
}
