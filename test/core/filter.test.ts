// The core's filter against the reference evaluator. A hundred thousand of these cases are in test/slow/.

import { expect, test } from 'vitest';
import type { Policy } from '../../src/policy/model.ts';
import { judgeAlike, passAlike } from '../support/differential.ts';
import { FUZZ_TIMEOUT_MS, runs } from '../support/fuzzing.ts';

test('evaluator and core judge alike', { timeout: FUZZ_TIMEOUT_MS }, () => {
  expect(judgeAlike(runs(100, 2), 16)).toBeGreaterThan(1_000);
});

test('flows pass and end as the policies say', { timeout: FUZZ_TIMEOUT_MS }, () => {
  expect(passAlike(runs(4, 2), 200)).toBeGreaterThan(500);
});

test('one row that one of them does not know is found', () => {
  const faults: readonly ((policy: Policy) => Policy)[] = [
    (policy) => ({ ...policy, peers: policy.peers.map((peer) => ({ ...peer, deny: peer.deny.slice(1) })) }),
    (policy) => ({ ...policy, inbound: policy.inbound.slice(1) }),
    (policy) => ({
      ...policy,
      networks: policy.networks.map((network) => ({ ...network, isStrict: false })),
    }),
  ];
  for (const fault of faults) {
    expect(() => judgeAlike({ numRuns: 1_000, endOnFailure: true }, 16, fault)).toThrow(/^Property failed/);
  }
});
