// A program that goes on in the background: Node.js cannot fork, so it is started again, apart from the terminal, and
// tells over a pipe when it is ready or why it is not. Only then does the first one return.

import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { ownProgram } from '../bench/own-program.ts';
import { PIPE_VARIABLE, READY } from './announce.ts';

const PIPE = 3;

export interface BackgroundOptions {
  readonly env: Readonly<Record<string, string>>;
  /** Whether its output stays that of the caller; else there is none. */
  readonly keepsOutput: boolean;
  /** Passed on: they become 4, 5, … */
  readonly descriptors: readonly number[];
}

/**
 * Starts this program with other arguments.
 * @returns null once it is ready; or what it said instead, which is empty if it said it to the caller's own output
 */
export async function startInBackground(
  args: readonly string[],
  options: BackgroundOptions,
): Promise<string | null> {
  const [program, ...own] = ownProgram(...args);
  const output = options.keepsOutput ? 'inherit' : 'ignore';
  const child = spawn(program, own, {
    detached: true, // a session of its own: no terminal, and no signal of this one's
    env: { ...process.env, ...options.env, [PIPE_VARIABLE]: String(PIPE) },
    stdio: ['ignore', output, output, 'pipe', ...options.descriptors],
  });
  child.unref();
  let said = '';
  for await (const part of child.stdio[PIPE] as Readable) {
    said += part;
    if (said === READY) return null;
  }
  return options.keepsOutput ? '' : said;
}
