// Timing of what takes nanoseconds: long enough to be told from the clock, several times over, one thing in turn with the other.
// Knows nothing of what it times.

import { quantile, type Spread } from './result.ts';

/** One measurement, unless the caller says otherwise: long beside the clock's step, short beside the patience of a reader. */
const MEASURE_NS = 100_000_000;
const WARM_MS = 700;

/** Does something `count` times. */
export type Work = (count: number) => void;

/**
 * Nanoseconds of CPU time that one of `count` takes. CPU time, as `openssl speed` has it: what else the machine does meanwhile
 * is not counted.
 */
export function timeOf(work: Work, count: number): number {
  const began = process.cpuUsage();
  work(count);
  const { user, system } = process.cpuUsage(began);
  return ((user + system) * 1000) / count;
}

/** How many times `work` fills one measurement. At least 1. */
export function countFor(work: Work, measureNs = MEASURE_NS): number {
  let count = 1;
  for (;;) {
    const ns = timeOf(work, count) * count;
    if (ns * 4 > measureNs) return Math.max(1, Math.round((count * measureNs) / ns));
    count *= 4;
  }
}

/**
 * Repeats `work` until V8 has replaced the code it began with: it starts to run wasm at once, compiled in haste, and compiles
 * again in the background what runs often.
 */
export function warmUp(work: () => void, milliseconds = WARM_MS): void {
  const end = performance.now() + milliseconds;
  do work();
  while (performance.now() < end);
}

/** Median and spread of at least one number. */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    minimum: sorted[0] ?? Number.NaN,
    median: quantile(sorted, 0.5),
    maximum: sorted.at(-1) ?? Number.NaN,
  };
}

export function medianOf(values: readonly number[]): number {
  return spread(values).median;
}

/** What tells whoever waits how far it is: `done` of `total`, and what is measured now. */
export type Progress = (done: number, total: number, what: string) => void;
