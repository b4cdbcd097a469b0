// `ringfence bench --policy` as a user runs it: pairs without a policy and with three, all up at once, in turns.

import { execa } from 'execa';
import { expect, test } from 'vitest';
import { resultSchema } from '../../src/bench/result.ts';
import { RINGFENCE } from '../support/node-process.ts';

test('each program has a value of each metric in each round, and no other is first', async () => {
  const args = ['bench', '--policy', '--rounds', '2', '--only', 'cpu,udp64.delivered', '--no-save', '--json'];
  const { stdout, stderr } = await execa(RINGFENCE, args, { env: { NO_COLOR: '1' }, timeout: 170_000 });
  const { peers, samples, settings } = resultSchema.parse(JSON.parse(stdout));
  const names = ['ringfence', 'ringfence-10', 'ringfence-1000', 'ringfence-100000'];
  expect(peers.map(({ name }) => name)).toEqual(names);
  expect(settings).toEqual({ rounds: 2, seconds: 1, mtus: [1420] });
  expect(samples.map(({ round, metric, peer }) => `${round} ${metric} ${peer}`)).toEqual(
    [names, names.toReversed()].flatMap((turn, index) =>
      ['cpu.per-gb', 'udp64.delivered'].flatMap((metric) =>
        turn.map((peer) => `${index + 1} ${metric} ${peer}`),
      ),
    ),
  );
  for (const { metric, value } of samples) expect(value, metric).toBeGreaterThan(0);
  expect(stderr).toContain('round 2, ringfence-100000, ringfence-1000, ringfence-10, ringfence, MTU 1420');
});
