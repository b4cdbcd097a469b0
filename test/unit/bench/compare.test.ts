// Two results beside each other: noise is not called a regression, and a slower machine is not called a slower program.

import { describe, expect, test } from 'vitest';
import { compareResults } from '../../../src/bench/compare.ts';
import { CURRENT_VERSION, type Result } from '../../../src/bench/result.ts';
import { renderComparison } from '../../../src/cli/bench-text.ts';

interface Values {
  readonly own: readonly number[];
  readonly other?: readonly number[];
  readonly metric?: string;
  readonly otherVersion?: string;
  readonly seconds?: number;
}

function result({ own, other, metric = 'tcp1.up', otherVersion = '2', seconds = 3 }: Values): Result {
  const samples = (peer: string, values: readonly number[]) =>
    values.map((value, index) => ({ round: index + 1, peer, mtu: 1420, metric, value }));
  return {
    version: CURRENT_VERSION,
    date: '2026-11-22T07:02:22.214Z',
    commit: 'unknown',
    clean: false,
    command: 'ringfence bench',
    machine: { cpu: 'a CPU', cores: 2, memoryBytes: 1e9, kernel: '6.12' },
    settings: { rounds: own.length, seconds, mtus: [1420] },
    peers: [
      { name: 'ringfence', version: '1', offloads: [] },
      ...(other === undefined ? [] : [{ name: 'other', version: otherVersion, offloads: [] }]),
    ],
    samples: [...samples('ringfence', own), ...samples('other', other ?? [])],
    notes: [],
  };
}

describe('the verdict', () => {
  test.each([
    {
      name: 'every value is less',
      metric: 'tcp1.up',
      before: [10, 11, 12],
      after: [7, 8, 9],
      verdict: 'worse',
    },
    {
      name: 'every value is more',
      metric: 'tcp1.up',
      before: [7, 8, 9],
      after: [10, 11, 12],
      verdict: 'better',
    },
    { name: 'less is better', metric: 'start', before: [10, 11, 12], after: [7, 8, 9], verdict: 'better' },
    { name: 'more is worse', metric: 'start', before: [7, 8, 9], after: [10, 11, 12], verdict: 'worse' },
    { name: 'the values overlap', metric: 'tcp1.up', before: [8, 11, 12], after: [7, 7, 9], verdict: 'same' },
    { name: 'they touch', metric: 'tcp1.up', before: [9, 11, 12], after: [7, 7, 9], verdict: 'same' },
    { name: 'two rounds only', metric: 'tcp1.up', before: [11, 12], after: [7, 8, 9], verdict: 'unknown' },
  ])('$verdict: $name', ({ metric, before, after, verdict }) => {
    const { changes, reference } = compareResults(
      result({ own: before, metric }),
      result({ own: after, metric }),
    );
    expect(reference).toBeNull();
    expect(changes.map((change) => change.verdict)).toEqual([verdict]);
  });

  test('a machine half as fast, for both peers alike, changes nothing', () => {
    const before = result({ own: [10, 11, 12], other: [5, 5.5, 6] });
    const after = result({ own: [5, 5.5, 6], other: [2.5, 2.75, 3] });
    const { reference, changes } = compareResults(before, after);
    expect(reference).toBe('other');
    expect(changes).toMatchObject([
      { verdict: 'same', factor: 1, before: { median: 2 }, after: { median: 2 } },
    ]);
  });

  test('another version of the other peer is no reference', () => {
    const before = result({ own: [10, 11, 12], other: [5, 5, 5] });
    const after = result({ own: [5, 5, 5], other: [2, 2, 2], otherVersion: '3' });
    expect(compareResults(before, after)).toMatchObject({ reference: null, changes: [{ verdict: 'worse' }] });
  });

  test('what only one of them measured is left out', () => {
    const before = result({ own: [1, 2, 3], metric: 'start' });
    expect(compareResults(before, result({ own: [1, 2, 3] })).changes).toEqual([]);
  });
});

test('other settings and machines are said', () => {
  const before = result({ own: [1, 2, 3], seconds: 10 });
  const after = { ...result({ own: [1, 2, 3] }), machine: { ...before.machine, kernel: '6.18' } };
  const { warnings } = compareResults(before, after);
  expect(warnings).toEqual([expect.stringContaining('Linux 6.18'), expect.stringContaining('10 s before')]);
});

test('the text says what got worse first, and by how much', () => {
  const before = result({ own: [10, 11, 12] });
  const text = renderComparison(compareResults(before, result({ own: [7, 8, 9] })), 'old.json');
  expect(text.split('\n').slice(0, 2)).toEqual([
    'Compared with old.json (values):',
    '  slower  TCP, 1 stream, MTU 1420  11.00 (10.00…12.00)  → 8.00 (7.00…9.00)  -27 %',
  ]);
});
