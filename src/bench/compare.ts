// Two results of the same kind of run: what got better or worse, and what is only noise. Pure.

import {
  type Place,
  pairedRatios,
  placesOf,
  type Result,
  type Spread,
  scoresOf,
  spreadOf,
} from './result.ts';

/** Fewer say nothing about how far values spread by themselves. */
const LEAST_ROUNDS = 3;

/**
 * `better` and `worse` only where no value of one result lies among those of the other; `same` where some do; `unknown`
 * where one result has fewer than three rounds.
 */
export type Verdict = 'better' | 'worse' | 'same' | 'unknown';

export interface Change {
  readonly place: Place;
  readonly before: Spread;
  readonly after: Spread;
  /** The median after ÷ the median before; null where that was 0. */
  readonly factor: number | null;
  readonly verdict: Verdict;
}

export interface Comparison {
  /**
   * Whom both results have measured beside ours, in the same version: then what is compared are ratios to it, round by
   * round, which a machine that was slower on one day leaves as they are. Null: plain values are compared.
   */
  readonly reference: string | null;
  /** Places that both results have. */
  readonly changes: readonly Change[];
  /** Why a difference may come from elsewhere: other machines, other settings. */
  readonly warnings: readonly string[];
}

export function compareResults(before: Result, after: Result): Comparison {
  const reference = commonPeer(before, after);
  const changes = placesOf(after).flatMap((place) => {
    const old = valuesAt(before, place, reference);
    const now = valuesAt(after, place, reference);
    const [oldSpread, newSpread] = [spreadOf(old), spreadOf(now)];
    if (oldSpread === null || newSpread === null) return [];
    const isKnown = Math.min(old.length, now.length) >= LEAST_ROUNDS;
    return [
      {
        place,
        before: oldSpread,
        after: newSpread,
        factor: oldSpread.median === 0 ? null : newSpread.median / oldSpread.median,
        verdict: isKnown ? judge(place, oldSpread, newSpread) : ('unknown' as const),
      },
    ];
  });
  return { reference, changes, warnings: warningsOf(before, after) };
}

function commonPeer(before: Result, after: Result): string | null {
  const [, ...others] = after.peers;
  const common = others.find(({ name, version }) =>
    before.peers.some((peer) => peer.name === name && peer.version === version),
  );
  return common?.name ?? null;
}

function valuesAt(result: Result, place: Place, reference: string | null): number[] {
  const [own] = result.peers;
  if (own === undefined) return [];
  return reference === null
    ? [...scoresOf(result, own.name, place).values()]
    : pairedRatios(result, own.name, reference, place);
}

function judge({ metric }: Place, before: Spread, after: Spread): Verdict {
  const isMore = after.minimum > before.maximum;
  const isLess = after.maximum < before.minimum;
  if (!isMore && !isLess) return 'same';
  return isMore === (metric.better === 'more') ? 'better' : 'worse';
}

function warningsOf(before: Result, after: Result): string[] {
  const warnings: string[] = [];
  const machine = ({ machine: { cpu, cores, kernel } }: Result): string =>
    `${cpu}, ${cores} cores, Linux ${kernel}`;
  if (machine(before) !== machine(after)) {
    warnings.push(`another machine: ${machine(before)} before, ${machine(after)} now`);
  }
  if (before.settings.seconds !== after.settings.seconds) {
    warnings.push(`streams of ${before.settings.seconds} s before, of ${after.settings.seconds} s now`);
  }
  return warnings;
}
