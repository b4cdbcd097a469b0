// A long-lived process, its output as lines that can be awaited. Knows nothing of namespaces.

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import { execa } from 'execa';
import { within } from './deadline.ts';

export type OutputLine = { readonly stream: 'stdout' | 'stderr'; readonly text: string };
export type Exit = { readonly code: number | undefined; readonly signal: string | undefined };
export type SpawnOptions = {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Written to standard input, which is then closed; without it standard input is empty. */
  readonly input?: string;
  /** Instead of `input`: standard input stays open for `write`. */
  readonly isInteractive?: boolean;
};

type Waiter = { readonly pattern: RegExp; resolve(match: RegExpExecArray): void; reject(error: Error): void };

export class LineProcess implements AsyncDisposable {
  readonly pid: number;
  /** Every line so far, in the order in which it arrived. */
  readonly lines: OutputLine[] = [];
  /** Settles when the process is gone and its output is read; never rejects. */
  readonly exited: Promise<Exit>;
  readonly #command: string;
  readonly #kill: (signal: NodeJS.Signals) => void;
  readonly #stdin: Writable | null;
  readonly #waiters = new Set<Waiter>();
  readonly #listeners = new Set<(line: OutputLine) => void>();
  #exit: Exit | undefined;

  constructor(file: string, args: readonly string[], options: SpawnOptions = {}) {
    this.#command = [file, ...args].join(' ');
    const child = execa(file, args, {
      buffer: false,
      reject: false,
      cleanup: true,
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...standardInput(options),
    });
    if (child.pid === undefined) throw new Error(`${this.#command}: could not be started`);
    this.pid = child.pid;
    this.#kill = (signal) => void child.kill(signal);
    this.#stdin = options.isInteractive === true ? (child.stdin ?? null) : null;
    this.#stdin?.on('error', () => undefined); // the process is gone: `exited` says so
    const drained = [this.#read('stdout', child.stdout), this.#read('stderr', child.stderr)];
    this.exited = (async () => {
      const result = await child;
      await Promise.all(drained);
      this.#exit = { code: result.exitCode, signal: result.signal };
      for (const waiter of this.#waiters) waiter.reject(this.#ended(waiter.pattern));
      this.#waiters.clear();
      return this.#exit;
    })();
  }

  get hasExited(): boolean {
    return this.#exit !== undefined;
  }

  /** All output as one text. */
  get output(): string {
    return this.lines.map((line) => line.text).join('\n');
  }

  /**
   * The first line, of those printed already from index `from` on or still to come, that matches. Rejects with the end
   * of the output when the process exits first or the deadline passes.
   */
  async line(pattern: RegExp, deadlineMs: number, from = 0): Promise<RegExpExecArray> {
    const unstated = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''));
    for (const line of this.lines.slice(from)) {
      const match = unstated.exec(line.text);
      if (match !== null) return match;
    }
    if (this.#exit !== undefined) throw this.#ended(pattern);
    let waiter: Waiter | undefined;
    const matched = new Promise<RegExpExecArray>((resolve, reject) => {
      waiter = { pattern: unstated, resolve, reject };
      this.#waiters.add(waiter);
    });
    try {
      return await within(matched, deadlineMs, `${this.#command}: a line like ${pattern}`);
    } catch (error) {
      // The process ended, and the error says so; or it goes on, and its output is the only hint.
      if (this.#exit !== undefined) throw error;
      throw new Error(`${error instanceof Error ? error.message : error}\n${this.#tail()}`);
    } finally {
      if (waiter !== undefined) this.#waiters.delete(waiter);
    }
  }

  /** Calls `listener` with each line from now on. It must not throw. */
  onLine(listener: (line: OutputLine) => void): void {
    this.#listeners.add(listener);
  }

  /** Writes to the standard input of an interactive process; resolves when more may be written. */
  async write(text: string): Promise<void> {
    if (this.#stdin === null) throw new Error(`${this.#command}: its standard input is not open`);
    if (!this.#stdin.write(text)) await Promise.race([once(this.#stdin, 'drain'), this.exited]);
  }

  /** Sends `signal` without waiting for anything. */
  signal(signal: NodeJS.Signals): void {
    if (this.#exit === undefined) this.#kill(signal);
  }

  /** Sends `signal` and waits for the end; kills the process after `deadlineMs`, and then rejects. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', deadlineMs = 5_000): Promise<Exit> {
    this.signal(signal);
    try {
      return await within(this.exited, deadlineMs, `${this.#command}: exit after ${signal}`);
    } catch (error) {
      this.signal('SIGKILL');
      await this.exited;
      throw new Error(`${error instanceof Error ? error.message : error}\n${this.#tail()}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#exit === undefined) await this.stop();
  }

  async #read(stream: OutputLine['stream'], source: NodeJS.ReadableStream): Promise<void> {
    for await (const text of createInterface({ input: source, crlfDelay: Number.POSITIVE_INFINITY })) {
      this.lines.push({ stream, text });
      for (const listener of this.#listeners) listener({ stream, text });
      for (const waiter of this.#waiters) {
        const match = waiter.pattern.exec(text);
        if (match === null) continue;
        this.#waiters.delete(waiter);
        waiter.resolve(match);
      }
    }
  }

  #ended(pattern: RegExp): Error {
    const how = this.#exit?.signal ?? `status ${this.#exit?.code}`;
    return new Error(`${this.#command}: ended (${how}) before a line like ${pattern}\n${this.#tail()}`);
  }

  #tail(): string {
    return this.lines
      .slice(-30)
      .map((line) => `  ${line.stream}: ${line.text}`)
      .join('\n');
  }
}

function standardInput({ input, isInteractive }: SpawnOptions) {
  if (input !== undefined) return { input };
  return { stdin: isInteractive === true ? ('pipe' as const) : ('ignore' as const) };
}
