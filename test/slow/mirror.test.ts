// Thousands of packets under random policies, one put in force as a change of the last: the rules of the host judge as the
// evaluator does, also of flows that are older than the policy, both ways, and of those that the host translates.

import { describe, expect, test } from 'vitest';
import { askHost } from '../support/ask-host.ts';

test('nft judges twenty thousand packets as the evaluator does', async () => {
  const { cases, difference } = await askHost({
    backend: 'nft',
    policies: 60,
    packets: 300,
    seed: 2_026,
    breaks: 'nothing',
  });
  expect(difference).toBeNull();
  expect(cases).toBeGreaterThan(20_000);
}, 180_000);

describe.concurrent('by iptables', () => {
  const BACKENDS = ['iptables-nft', 'iptables-legacy'] as const;

  test.each(BACKENDS)(
    '%s judges nine thousand packets as the evaluator does',
    async (backend) => {
      const { cases, difference } = await askHost({
        backend,
        policies: 25,
        packets: 300,
        seed: 2_026,
        breaks: 'nothing',
      });
      expect(difference).toBeNull();
      expect(cases).toBeGreaterThan(9_000);
    },
    180_000,
  );

  const spoiled = BACKENDS.flatMap((backend) =>
    (['a rule', 'an answer'] as const).map((breaks) => ({ backend, breaks })),
  );
  test.each(spoiled)(
    '$backend is found out where $breaks is spoiled',
    async (one) => {
      const { difference } = await askHost({ ...one, policies: 3, packets: 150, seed: 7 });
      expect(difference).toMatch(/in .*, which should be .*; out true, which should be false/);
    },
    60_000,
  );
});
