// How far a measurement is, on one line of the terminal that is written over; without a terminal nothing.

import { InvalidArgumentError } from 'commander';
import { readCount } from '../bench/options.ts';
import type { Progress } from '../bench/repeat.ts';

/** `end` clears the line. */
export function showProgress(): { readonly show: Progress; end(): void } {
  const write = (text: string): void => {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${text}`);
  };
  return {
    show: (done, total, what) => write(`${Math.round((done / total) * 100)} %  ${what}`),
    end: () => write(''),
  };
}

/** `--rounds`, for commander. */
export function roundsOption(text: string): number {
  const rounds = readCount(text, 1, 1_000);
  if (rounds.ok) return rounds.value;
  throw new InvalidArgumentError(`${rounds.problem}.`);
}
