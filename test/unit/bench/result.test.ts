// What is computed of a result, and what a result must look like to be read.

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  CURRENT_VERSION,
  METRICS,
  medianInterval,
  pairedRatios,
  placesOf,
  quantile,
  type Result,
  resultSchema,
  scoresOf,
  spreadOf,
  standingOf,
} from '../../../src/bench/result.ts';

const result: Result = {
  version: CURRENT_VERSION,
  date: '2026-11-22T07:02:22.214Z',
  commit: 'unknown',
  clean: false,
  command: 'ringfence bench',
  machine: { cpu: 'a CPU', cores: 2, memoryBytes: 1e9, kernel: '6.12' },
  settings: { rounds: 3, seconds: 1, mtus: [9000, 1420] },
  peers: [
    { name: 'ringfence', version: '1', offloads: ['tso'] },
    { name: 'other', version: '2', offloads: [] },
  ],
  samples: [
    { round: 2, peer: 'ringfence', mtu: 1420, metric: 'tcp1.up', value: 3 },
    { round: 1, peer: 'ringfence', mtu: 1420, metric: 'tcp1.up', value: 2 },
    { round: 3, peer: 'ringfence', mtu: 1420, metric: 'tcp1.up', value: 8 },
    { round: 1, peer: 'other', mtu: 1420, metric: 'tcp1.up', value: 1 },
    { round: 2, peer: 'other', mtu: 1420, metric: 'tcp1.up', value: 2 },
    { round: 1, peer: 'ringfence', mtu: 9000, metric: 'tcp1.up', value: 5 },
    { round: 1, peer: 'ringfence', mtu: null, metric: 'start', value: 400 },
    { round: 1, peer: 'other', mtu: null, metric: 'start', value: 0 },
  ],
  notes: [],
};
const [tcp] = METRICS;
const start = METRICS.find((metric) => metric.id === 'start') ?? tcp;

describe('figures', () => {
  test('places stand in the order of the metrics, then of the MTUs asked for', () => {
    expect(placesOf(result)).toEqual([
      { metric: tcp, mtu: 9000 },
      { metric: tcp, mtu: 1420 },
      { metric: start, mtu: null },
    ]);
  });

  test('scores stand in the order of the rounds', () => {
    const scores = scoresOf(result, 'ringfence', { metric: tcp, mtu: 1420 });
    expect([...scores]).toEqual([
      [1, 2],
      [2, 3],
      [3, 8],
    ]);
    expect(scoresOf(result, 'nobody', { metric: tcp, mtu: 1420 }).size).toBe(0);
  });

  test('ratios pair the rounds that both have, and divide by nothing', () => {
    expect(pairedRatios(result, 'ringfence', 'other', { metric: tcp, mtu: 1420 })).toEqual([2, 1.5]);
    expect(pairedRatios(result, 'ringfence', 'other', { metric: tcp, mtu: 9000 })).toEqual([]);
    expect(pairedRatios(result, 'ringfence', 'other', { metric: start, mtu: null })).toEqual([]);
  });

  test.each([
    { values: [], spread: null },
    { values: [4], spread: { minimum: 4, median: 4, maximum: 4 } },
    { values: [9, 1, 10], spread: { minimum: 1, median: 9, maximum: 10 } },
    { values: [10, 1, 2, 9], spread: { minimum: 1, median: 5.5, maximum: 10 } },
  ])('the spread of $values', ({ values, spread }) => expect(spreadOf(values)).toEqual(spread));

  test.each([
    [0, 10],
    [0.5, 30],
    [0.99, 49.6],
    [1, 50],
  ])('the quantile %d', (fraction, value) =>
    expect(quantile([10, 20, 30, 40, 50], fraction)).toBeCloseTo(value),
  );
});

describe('the schema', () => {
  test('reads what was written', () => {
    expect(resultSchema.parse(JSON.parse(JSON.stringify(result)))).toEqual(result);
  });

  const kept = new URL('../../../bench/results/', import.meta.url);
  test.each(readdirSync(kept))('reads bench/results/%s', (name) => {
    const parsed = resultSchema.safeParse(JSON.parse(readFileSync(new URL(name, kept), 'utf8')));
    expect(parsed.error?.issues).toBeUndefined();
  });

  test('metrics have names of their own', () => {
    expect(new Set(METRICS.map((metric) => metric.id)).size).toBe(METRICS.length);
  });

  const sample = result.samples[0];
  test.each([
    { name: 'another version', value: { ...result, version: 0 } },
    { name: 'no peers', value: { ...result, peers: [] } },
    { name: 'an unknown metric', value: { ...result, samples: [{ ...sample, metric: 'speed' }] } },
    { name: 'a negative value', value: { ...result, samples: [{ ...sample, value: -1 }] } },
    { name: 'a value that is no number', value: { ...result, samples: [{ ...sample, value: null }] } },
    { name: 'round 0', value: { ...result, samples: [{ ...sample, round: 0 }] } },
    { name: 'a date that is none', value: { ...result, date: 'yesterday' } },
    { name: 'something else', value: [] },
  ])('refuses $name', ({ value }) => expect(resultSchema.safeParse(value).success).toBe(false));
});

test.each([
  ['three rounds agree', [1.1, 1.2, 1.3], 'better', 'worse'],
  ['three rounds agree', [0.9, 0.8, 0.7], 'worse', 'better'],
  ['one of three does not', [1.1, 0.9, 1.3], 'undecided', 'undecided'],
  ['one of three is even', [1.1, 1, 1.3], 'undecided', 'undecided'],
  ['one of six does not', [1.1, 0.9, 1.3, 1.2, 1.1, 1.1], 'undecided', 'undecided'],
  ['one of nine does not', [1.1, 0.9, 1.3, 1.2, 1.1, 1.1, 1.2, 1.3, 1.4], 'better', 'worse'],
  ['two are too few', [1.1, 1.2], 'undecided', 'undecided'],
  ['none', [], 'undecided', 'undecided'],
])('the standing: %s %j', (_, ratios, whereMoreIsBetter, whereLessIsBetter) => {
  expect(standingOf({ ...tcp, better: 'more' }, ratios)).toBe(whereMoreIsBetter);
  expect(standingOf({ ...tcp, better: 'less' }, ratios)).toBe(whereLessIsBetter);
});

// Tables of the sign test: Dixon and Massey, Introduction to Statistical Analysis, A-10.
test.each([
  [6, 1],
  [8, 1],
  [9, 2],
  [20, 6],
  [50, 18],
  [100, 40],
])('the interval of the median of %i numbers begins at the %ith', (count, place) => {
  const values = Array.from({ length: count }, (_, index) => count - index);
  expect(medianInterval(values)).toEqual({ low: place, high: count + 1 - place });
});

test('of five numbers no interval is certain enough', () => {
  expect(medianInterval([1, 2, 3, 4, 5])).toBe(null);
});
