// Periods of quotas, and what a clock that is set may do to them.

import { describe, expect, test } from 'vitest';
import { type Mark, markPeriod, periodEnd, periodStart } from '../../../src/policy/period.ts';

const at = (text: string): number => Date.parse(text);

describe('a period', () => {
  test.each([
    ['day', '2026-11-22T23:59:59Z', '2026-11-22T00:00:00Z', '2026-11-23T00:00:00Z'],
    ['week', '2026-11-22T23:59:59Z', '2026-11-16T00:00:00Z', '2026-11-23T00:00:00Z'],
    ['week', '2026-11-23T00:00:00Z', '2026-11-23T00:00:00Z', '2026-11-30T00:00:00Z'],
    ['month', '2026-12-31T12:00:00Z', '2026-12-01T00:00:00Z', '2027-01-01T00:00:00Z'],
    ['month', '2028-02-29T00:00:00Z', '2028-02-01T00:00:00Z', '2028-03-01T00:00:00Z'],
    ['week', '1970-01-02T00:00:00Z', '1969-12-29T00:00:00Z', '1970-01-05T00:00:00Z'],
  ] as const)('of a %s around %s', (period, now, start, end) => {
    expect(periodStart(period, at(now))).toBe(at(start));
    expect(periodEnd(period, at(start))).toBe(at(end));
  });
});

describe('what is used', () => {
  /** Goes through these times, with a hundred bytes used before each; what is used of the period at each. */
  const usedAt = (times: readonly string[]): bigint[] => {
    let marks: readonly Mark[] = [];
    return times.map((time, i) => {
      const total = BigInt(100 * i);
      marks = markPeriod(marks, 'month', at(`${time}T00:00:00Z`), total);
      return total - (marks[0]?.bytes ?? 0n);
    });
  };

  test('begins anew with the period', () => {
    expect(usedAt(['2026-11-01', '2026-11-30', '2026-12-01', '2027-01-15'])).toEqual([0n, 100n, 0n, 0n]);
  });

  test('is not given twice by a clock that goes back, and comes right again', () => {
    const times = ['2026-11-20', '2026-12-02', '2026-11-20', '2026-12-03', '2026-11-21', '2026-12-04'];
    expect(usedAt(times)).toEqual([0n, 0n, 200n, 200n, 400n, 400n]);
  });

  test('goes on for a clock that was never set', () => {
    expect(usedAt(['2026-11-20', '1970-01-01', '1971-05-01', '2026-11-21'])).toEqual([0n, 100n, 200n, 300n]);
  });

  test('outlives a clock that goes far ahead', () => {
    expect(usedAt(['2026-11-20', '2040-01-01', '2026-11-21', '2026-12-01'])).toEqual([0n, 0n, 200n, 0n]);
  });
});
