// The program as a user runs it: arguments and standard input in; what it prints and returns out.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { RINGFENCE } from '../../support/node-process.ts';

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export async function ringfence(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const child = spawn(RINGFENCE, args, {
    cwd: options.cwd ?? '/',
    env: { ...process.env, NO_COLOR: '1', ...options.env },
    stdio: 'pipe',
  });
  return await endOf(child, options.input);
}

/** A line of the shell, in which `ringfence` is the program. */
export async function shell(line: string, cwd = '/'): Promise<Run> {
  const child = spawn('bash', ['-c', `ringfence() { "${RINGFENCE}" "$@"; }; ${line}`], {
    cwd,
    stdio: 'pipe',
  });
  return await endOf(child);
}

/** What a program prints and returns that reads `input`. */
async function endOf(child: ChildProcessWithoutNullStreams, input = ''): Promise<Run> {
  child.stdin.on('error', () => undefined); // a command that reads nothing closes it
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}
