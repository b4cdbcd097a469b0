// What a run of the benchmark records, and what is compared of it: read by run.ts and by whoever prints a result later.

import { type Circumstances, median } from './accounting.ts';

export type Sample = {
  readonly round: number;
  readonly peer: string;
  readonly bytes: number;
  readonly seconds: number;
  readonly gigabitsPerSecond: number;
  readonly pingMedianMs: number;
  /** Cores at work while there were only pings: by both ends, and by everything else that shares the machine. */
  readonly busyCoresWhenIdle: { readonly own: number; readonly others: number };
  readonly cpuSeconds: { readonly left: number; readonly right: number; readonly machine: number };
  readonly cpuSecondsPerGigabyte: number;
  readonly peakMemoryBytes: { readonly left: number; readonly right: number };
  /** UDP payloads and headers that left the sender's veth during the stream. */
  readonly underlayBytes: number;
};

export type Result = Circumstances & {
  readonly mtu: number;
  readonly rounds: number;
  readonly streamSeconds: number;
  readonly pings: { readonly count: number; readonly intervalMs: number };
  readonly versions: Readonly<Record<string, string>>;
  readonly samples: readonly Sample[];
};

/** What is compared, and which way is better. */
export const METRICS: readonly {
  readonly title: string;
  readonly better: 'more' | 'less';
  readonly digits: number;
  value(sample: Sample): number;
}[] = [
  { title: 'TCP, Gbit/s', better: 'more', digits: 2, value: (sample) => sample.gigabitsPerSecond },
  { title: 'ping, ms', better: 'less', digits: 3, value: (sample) => sample.pingMedianMs },
  { title: 'CPU s per GB', better: 'less', digits: 2, value: (sample) => sample.cpuSecondsPerGigabyte },
  {
    title: 'peak memory, MiB',
    better: 'less',
    digits: 1,
    value: ({ peakMemoryBytes: { left, right } }) => Math.max(left, right) / 1024 / 1024,
  },
];

/** What `peer` scored in each round, in order. */
export function scores(result: Result, metric: (typeof METRICS)[number], peer: string): number[] {
  return result.samples
    .filter((sample) => sample.peer === peer)
    .sort((a, b) => a.round - b.round)
    .map(metric.value);
}

/** The median of the ratios round by round: rounds lie next to each other in time, so each is compared with its neighbour. */
export function ratio(result: Result, metric: (typeof METRICS)[number], own: string, other: string): number {
  const others = scores(result, metric, other);
  return median(scores(result, metric, own).map((mine, index) => mine / (others[index] ?? Number.NaN)));
}
