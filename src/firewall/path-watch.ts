// Keeps up with which paths of the host are effective: tries them once the tunnel is there, after each change of our rules, and
// after others have changed theirs, and says each time what has become different. Never in the way of a change.

import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { HostPolicy } from '../policy/host.ts';
import type { Commands } from './commands.ts';
import type { HostFacts } from './facts.ts';
import type { TestedPath } from './probe-verdict.ts';
import { SelfTest } from './self-test.ts';

/** Changes come in groups: so long after one, and no sooner after the last test. */
const SETTLE_MS = 500;
const PAUSE_MS = 10_000;

export class PathWatch {
  readonly #log: Log;
  readonly #test: SelfTest;
  #tested: readonly TestedPath[] | null = null;
  /** What is to work now; null: nothing is, or not yet. */
  #wanted: { readonly policy: HostPolicy; readonly facts: HostFacts } | null = null;
  #timer: NodeJS.Timeout | null = null;
  #lastMs = Number.NEGATIVE_INFINITY;
  #end = new AbortController();
  #running: Promise<void> = Promise.resolve();
  /** The paths that were last complained of. */
  #said: readonly TestedPath[] = [];

  constructor(commands: Commands, network: string, log: Log) {
    this.#log = log;
    this.#test = new SelfTest(commands, network);
  }

  /** null before the first test. */
  get tested(): readonly TestedPath[] | null {
    return this.#tested;
  }

  /** Tries everything now, and from then on after each change that {@link changed} tells of. */
  async start(policy: HostPolicy, facts: HostFacts): Promise<readonly TestedPath[]> {
    this.#wanted = { policy, facts };
    this.#cancel();
    await this.#run();
    return this.#tested ?? [];
  }

  /** The rules are others now: ours, which are what is to work then, or those of somebody else. */
  changed(wanted: { readonly policy: HostPolicy; readonly facts: HostFacts } | null): void {
    if (this.#wanted === null) return;
    // Of changes of our own one wants to know at once.
    const isOurs = wanted !== null;
    if (isOurs) this.#wanted = wanted;
    if (this.#timer !== null && !isOurs) return;
    this.#cancel();
    const rest = isOurs ? 0 : this.#lastMs + PAUSE_MS - performance.now();
    this.#timer = setTimeout(() => void this.#run(), Math.max(SETTLE_MS, rest));
    this.#timer.unref();
  }

  /** Ends a test that runs, and leaves nothing of it. */
  async stop(): Promise<void> {
    this.#wanted = null;
    this.#cancel();
    this.#end.abort();
    await this.#running;
    this.#end = new AbortController();
    this.#tested = null;
  }

  #cancel(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #run(): Promise<void> {
    this.#timer = null;
    const { signal } = this.#end;
    const work = this.#running.then(async () => await this.#once(signal));
    this.#running = work;
    await work;
  }

  /** A test during which the rules changed says nothing of those now; that change has asked for another. */
  async #once(signal: AbortSignal): Promise<void> {
    const wanted = this.#wanted;
    if (wanted === null) return;
    try {
      const tested = await this.#test.run(wanted.policy, wanted.facts, signal);
      if (signal.aborted || this.#wanted !== wanted) return;
      this.#tested = tested;
      this.#report(tested);
    } catch (error) {
      if (!signal.aborted)
        this.#log.limited('self-test').warn(`the host's rules are not tested: ${messageOf(error)}`);
    } finally {
      this.#lastMs = performance.now();
    }
  }

  /** Once for each change. */
  #report(tested: readonly TestedPath[]): void {
    const closed = tested.filter(({ effective }) => effective === 'no');
    const before = this.#said;
    this.#said = closed;
    const isNew = (path: TestedPath): boolean =>
      !before.some(({ name, by }) => isDeepStrictEqual([name, by], [path.name, path.by]));
    for (const { name, why } of closed.filter(isNew))
      this.#log.warn(`not effective on the host: ${name}: ${why}`);
    for (const { name } of before) {
      const now = tested.find((path) => path.name === name);
      if (now?.effective === 'yes') this.#log.info(`effective on the host again: ${name}`);
    }
  }
}
