// How long a property is tried: some runs in `npm test`, and as long as FUZZ_SECONDS says in `npm run fuzz`.

import type { Parameters } from 'fast-check';

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 0);
const ENDLESS = 2 ** 31 - 1; // the time ends it

/** Of one of `share` properties that are tried one after the other. */
export function runs<T>(numRuns: number, share: number): Parameters<T> {
  if (SECONDS === 0) return { numRuns };
  return {
    numRuns: ENDLESS,
    interruptAfterTimeLimit: (SECONDS * 1_000) / share,
    markInterruptAsFailure: false,
  };
}

/** For the test around it. */
export const FUZZ_TIMEOUT_MS = SECONDS * 1_000 + 30_000;
