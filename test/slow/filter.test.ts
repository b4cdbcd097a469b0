// A hundred thousand packets under random policies, judged by the evaluator and by the core; and as many with flows.

import { expect, test } from 'vitest';
import { judgeAlike, passAlike } from '../support/differential.ts';

const CASES = 100_000;

test('evaluator and core judge a hundred thousand packets alike', () => {
  expect(judgeAlike({ numRuns: CASES / 16 }, 16)).toBeGreaterThanOrEqual(CASES);
});

test('and let the same datagrams pass while policies change', () => {
  expect(passAlike({ numRuns: 200 }, 400)).toBeGreaterThanOrEqual(CASES);
});
