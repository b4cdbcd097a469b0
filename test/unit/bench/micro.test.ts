// The small benchmarks run, with counts too small to say anything, and their results have the shape that `--json` promises.

import { describe, expect, test } from 'vitest';
import { measureAead } from '../../../src/bench/aead.ts';
import { CORE_SHAPES, clockOf, measureCore } from '../../../src/bench/core.ts';
import { measureRoutes } from '../../../src/bench/routes.ts';

const positive = expect.toSatisfy((value: unknown) => typeof value === 'number' && value > 0);
const spread = { minimum: positive, median: positive, maximum: positive };

describe('bench aead', () => {
  test('has each figure by size, for sealing and for opening', async () => {
    const steps: number[] = [];
    const result = await measureAead({ rounds: 1, sizes: [1420], measureNs: 5_000_000, warmMs: 0 }, (done) =>
      steps.push(done),
    );
    const figures = {
      wasmGBps: { 1420: positive },
      opensslGBps: { 1420: positive },
      ratio: { 1420: positive },
    };
    expect(result).toMatchObject({ ...figures, open: figures, rounds: 1 });
    expect(result.rows.map(({ direction, bytes }) => [direction, bytes])).toEqual([
      ['seal', 1420],
      ['open', 1420],
    ]);
    expect(steps).toEqual([0, 1]);
  });
});

describe('bench core', () => {
  const result = measureCore({ rounds: 1, batches: 2, shapes: CORE_SHAPES, warmMs: 0 }, () => undefined);

  test('has both walks of every packet', () => {
    expect(result.packets.map(({ name }) => name)).toEqual(CORE_SHAPES);
    for (const { outbound, inbound } of result.packets) {
      for (const walk of [outbound, inbound]) {
        expect(walk).toMatchObject({ nsPerPacket: spread, gigabitsPerSecond: positive });
      }
    }
  });

  test('its stages add up to the whole', () => {
    for (const { outbound, inbound } of result.packets) {
      for (const { stages, nsPerPacket } of [outbound, inbound]) {
        expect(stages.reduce((sum, { ns }) => sum + ns, 0)).toBeCloseTo(nsPerPacket.median, 3);
      }
    }
  });

  test('takes the clock rate from /proc/cpuinfo, where it is', () => {
    expect(clockOf('model name\t: x\ncpu MHz\t\t: 2596.134\ncpu MHz\t\t: 1\n')).toBeCloseTo(2.596134);
    expect(clockOf('processor\t: 0\nBogoMIPS\t: 50.00\n')).toBeNull();
  });
});

test('bench routes has a row for each size, and finds a peer for every address', () => {
  const result = measureRoutes({ rounds: 1, counts: [10, 300], lookups: 500, warmMs: 0 }, () => undefined);
  expect(result).toMatchObject({ rounds: 1, lookups: 500, ratio: positive });
  expect(result.rows).toMatchObject([
    {
      prefixes: 10,
      leastNs: positive,
      ns: spread,
      insertNs: positive,
      moveNs: positive,
      bytesPerPrefix: null,
    },
    { prefixes: 300, ns: spread },
  ]);
});
