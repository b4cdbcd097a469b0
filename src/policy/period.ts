// The periods of quotas: when they begin and end, and how much of a quota is used, whatever the host's clock does. Periods
// are of the calendar in UTC, so that they are the same on every host and none is longer or shorter by an hour.
//
// What is used is what was counted since the period began: its *mark* is the total of that moment. A period has one mark,
// and so one quota, however often the clock goes back into it or forth; and a clock that goes back to before all marks makes
// no new one: the period goes on that was last.

import type { Quota } from './model.ts';

type Period = Quota['period'];

/** What was counted in all when a period began. */
export interface Mark {
  /** When that was, in milliseconds since 1970. */
  readonly startMs: number;
  readonly bytes: bigint;
}

const DAY_MS = 86_400_000;
/** 1970 began on a Thursday; weeks begin on Monday. */
const FIRST_MONDAY_MS = 4 * DAY_MS;
/** So many periods are remembered, for a clock that is set wrong and right again. */
const MOST_MARKS = 4;

/** When the period began that is now. */
export function periodStart(period: Period, nowMs: number): number {
  const now = new Date(nowMs);
  switch (period) {
    case 'day':
      return Math.floor(nowMs / DAY_MS) * DAY_MS;
    case 'week':
      return FIRST_MONDAY_MS + Math.floor((nowMs - FIRST_MONDAY_MS) / (7 * DAY_MS)) * 7 * DAY_MS;
    case 'month':
      return Date.UTC(now.getUTCFullYear(), now.getUTCMonth());
    default:
      return period satisfies never;
  }
}

/** When a period ends that began then. */
export function periodEnd(period: Period, startMs: number): number {
  const start = new Date(startMs);
  if (period === 'month') return Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1);
  return startMs + (period === 'day' ? 1 : 7) * DAY_MS;
}

/** The marks with that of the present period first, which is made now if it is new. `totalBytes` is what is counted in all. */
export function markPeriod(
  marks: readonly Mark[],
  period: Period,
  nowMs: number,
  totalBytes: bigint,
): readonly [Mark, ...Mark[]] {
  const startMs = periodStart(period, nowMs);
  const [last, ...rest] = marks;
  if (last === undefined) return [{ startMs, bytes: totalBytes }];
  if (last.startMs === startMs || marks.every((mark) => startMs < mark.startMs)) return [last, ...rest];
  const known = marks.find((mark) => mark.startMs === startMs) ?? { startMs, bytes: totalBytes };
  const others = marks.filter((mark) => mark.startMs !== startMs);
  return [known, ...others.slice(0, MOST_MARKS - 1)];
}
