// Thousands of packets under random policies, one put in force as a change of the last: the rules of the host judge as the
// evaluator does, also of flows that are older than the policy, both ways.

import { expect, test } from 'vitest';
import { askHost } from '../support/ask-host.ts';

test.each(['nft'] as const)(
  '%s judges twenty thousand packets as the evaluator does',
  async (backend) => {
    const { cases, difference } = await askHost({
      backend,
      policies: 60,
      packets: 300,
      seed: 2_026,
      breaks: 'nothing',
    });
    expect(difference).toBeNull();
    expect(cases).toBeGreaterThan(20_000);
  },
  180_000,
);
