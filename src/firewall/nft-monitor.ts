// `nft monitor`, which tells of each change of the ruleset, line by line, and by which process it was.

import { createInterface } from 'node:readline';
import { execa } from 'execa';

/** Who ends the monitor ends nothing: it is started again, and what it missed is looked at. */
export const MONITOR_RETRY_MS = 500;

/** What it says, until it ends by itself or by `signal`. */
export async function* monitorLines(signal: AbortSignal): AsyncGenerator<string> {
  const child = execa('nft', ['monitor'], {
    stdin: 'ignore',
    buffer: false,
    reject: false,
    cancelSignal: signal,
    env: { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  });
  yield* createInterface({ input: child.stdout });
  await child;
}

/** Of the line that ends a change: the program and its process, as the kernel names them; else null. */
export function changerOf(line: string): string | null {
  const [, pid, program] = /^# new generation \d+ by process (\d+) \((.*)\)/.exec(line) ?? [];
  return pid === undefined ? null : `${program} (process ${pid})`;
}
