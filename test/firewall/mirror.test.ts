// The mirror of the policy in the host's rules, met by packets: a sample of what test/slow/mirror.test.ts does at length.

import { describe, expect, test } from 'vitest';
import { askHost } from '../support/ask-host.ts';

describe.concurrent('rules of the host that mirror the policy', () => {
  test.each(['nft', 'iptables-nft', 'iptables-legacy'] as const)(
    'by %s let through what the evaluator allows, and nothing else',
    async (backend) => {
      const { cases, difference } = await askHost({
        backend,
        policies: 3,
        packets: 150,
        seed: 7,
        breaks: 'nothing',
      });
      expect(difference).toBeNull();
      expect(cases).toBeGreaterThan(400);
    },
  );

  test.each(['a rule', 'an answer'] as const)('are found out where %s is spoiled', async (breaks) => {
    const { difference } = await askHost({ backend: 'nft', policies: 3, packets: 150, seed: 7, breaks });
    expect(difference).toMatch(/in .*, which should be .*; out true, which should be false/);
  });
});
