// In which order a run measures what, and how long it says that takes.

import { expect, test } from 'vitest';
import type { Program } from '../../../src/bench/implementation.ts';
import {
  estimateSeconds,
  LONE_LOADS,
  loadsOf,
  METRIC_IDS,
  PAIR_LOADS,
  type Plan,
  tasksOf,
} from '../../../src/bench/plan.ts';

const program = (name: string): Program => ({
  name,
  version: '1',
  kind: 'uapi',
  command: [],
  environment: {},
});
const plan: Plan = {
  rounds: 2,
  seconds: 3,
  mtus: [1420, 9000],
  metrics: METRIC_IDS,
  programs: [program('ours'), program('theirs')],
};
const order = (of: Plan): string[] =>
  tasksOf(of).map(
    ({ round, mtu, programs }) => `${round} ${mtu} ${programs.map(({ name }) => name).join(' ')}`,
  );

test('rounds alternate, and every other one runs the other way', () => {
  expect(order(plan)).toEqual([
    '1 1420 ours',
    '1 1420 theirs',
    '1 9000 ours',
    '1 9000 theirs',
    '1 null ours',
    '1 null theirs',
    '2 1420 theirs',
    '2 1420 ours',
    '2 9000 theirs',
    '2 9000 ours',
    '2 null theirs',
    '2 null ours',
  ]);
});

test('pairs that take turns are up for all rounds of an MTU, and each goes first as often as any other', () => {
  const programs = ['a', 'b', 'c'].map(program);
  const of = { ...plan, programs, takesTurns: true, rounds: 6, mtus: [1420], metrics: ['tcp1.up'] } as const;
  expect(order(of)).toEqual([
    '1 1420 a b c',
    '2 1420 c b a',
    '3 1420 b c a',
    '4 1420 a c b',
    '5 1420 c a b',
    '6 1420 b a c',
  ]);
  const lone = order({ ...of, rounds: 1, mtus: [1420, 9000], metrics: ['tcp1.up', 'start'] });
  expect(lone).toEqual(['1 1420 a b c', '1 9000 a b c', '1 null a', '1 null b', '1 null c']);
});

test('what no metric asks for is left out', () => {
  expect(order({ ...plan, rounds: 1, metrics: ['start'] })).toEqual(['1 null ours', '1 null theirs']);
  expect(order({ ...plan, rounds: 1, metrics: ['tcp1.up'], mtus: [9000] })).toEqual([
    '1 9000 ours',
    '1 9000 theirs',
  ]);
});

test('memory under load has a load also when nothing else is asked for', () => {
  const loads = (...metrics: Plan['metrics']) => {
    const of = { ...plan, metrics };
    const [task] = tasksOf(of);
    return task && loadsOf(of, task);
  };
  expect(loads('memory.load')).toEqual([PAIR_LOADS.tcpUp, PAIR_LOADS.memory]);
  expect(loads('memory.load', 'start')).toEqual([PAIR_LOADS.tcpUp, PAIR_LOADS.memory]);
  expect(loads('memory.load', 'udp64.loss')).toEqual([PAIR_LOADS.udp64, PAIR_LOADS.memory]);
});

test('every metric comes of one load', () => {
  const measured = [...Object.values(PAIR_LOADS), ...Object.values(LONE_LOADS)].flatMap(
    (load) => load.metrics,
  );
  expect(measured.toSorted()).toEqual(METRIC_IDS.toSorted());
});

test('twice the rounds take twice as long', () => {
  const once = { ...plan, rounds: 1 };
  expect(estimateSeconds(plan, tasksOf(plan))).toBe(2 * estimateSeconds(once, tasksOf(once)));
  expect(estimateSeconds(plan, [])).toBe(0);
});
