// Options that take a time, as in 90s, 30m, 24h or 7d.

import { InvalidArgumentError } from 'commander';

const UNITS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/** A parser for commander: whole seconds, at least one, at most `mostDays` days. */
export function durationOption(mostDays: number): (text: string) => number {
  return (text) => {
    const [, count, unit = 's'] = /^([0-9]{1,7})([smhd])?$/.exec(text) ?? [];
    const seconds = Number(count) * UNITS[unit as keyof typeof UNITS];
    if (count !== undefined && seconds >= 1 && seconds <= mostDays * UNITS.d) return seconds;
    throw new InvalidArgumentError(`It takes a time of 1s to ${mostDays}d, as in 90s, 30m, 24h or 1d.`);
  };
}
