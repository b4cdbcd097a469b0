// Word of changes of the host's network, from the kernel, for whoever depends on its addresses and links. Who is told looks
// for itself what has changed: news may be lost, so they say only that something has. Without such word, as in a sandbox that has
// no rtnetlink, everybody is told so often that it does.

import { type NetworkWatch, watchNetwork } from 'node-tuntap2';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';

/** Where the kernel tells: for what it does not tell of, such as a network that is routed to the host itself. */
const SLOW_LOOK_MS = 30_000;
/** Where it does not. */
const FAST_LOOK_MS = 2_000;
/** Who is told rests so many times as long as it took to follow: on some hosts interfaces come and go all the time. */
const REST = 4;

/** Settles when whoever is told has followed; does not fail. */
export type NetworkListener = () => Promise<void>;

export class HostNetwork implements Disposable {
  readonly #told: Told[] = [];
  readonly #watch: NetworkWatch | null;
  readonly #timer: NodeJS.Timeout;

  constructor(log: Log) {
    this.#watch = watched(() => this.#heed(), log);
    this.#timer = setInterval(() => this.#heed(), this.#watch === null ? FAST_LOOK_MS : SLOW_LOOK_MS).unref();
  }

  /** From now on `listener` is told, and a first time at once; never while it still follows. */
  add(listener: NetworkListener): void {
    const told = new Told(listener);
    this.#told.push(told);
    told.heed();
  }

  [Symbol.dispose](): void {
    this.#watch?.close();
    clearInterval(this.#timer);
    for (const told of this.#told) told[Symbol.dispose]();
  }

  #heed(): void {
    for (const told of this.#told) told.heed();
  }
}

/** One who is told. Nobody waits for another: some only look, some replace thousands of rules. */
class Told implements Disposable {
  readonly #listener: NetworkListener;
  /** Something has changed since it was last told. */
  #isNew = false;
  #state: 'idle' | 'follows' | 'rests' | 'ended' = 'idle';
  #resting: NodeJS.Timeout | undefined;

  constructor(listener: NetworkListener) {
    this.#listener = listener;
  }

  heed(): void {
    this.#isNew = true;
    if (this.#state === 'idle') void this.#tell();
  }

  [Symbol.dispose](): void {
    this.#state = 'ended';
    clearTimeout(this.#resting);
  }

  async #tell(): Promise<void> {
    const began = performance.now();
    this.#state = 'follows';
    this.#isNew = false;
    await this.#listener();
    if (this.#isEnded()) return;
    this.#state = 'rests';
    this.#resting = setTimeout(() => this.#goOn(), (performance.now() - began) * REST).unref();
  }

  #goOn(): void {
    this.#state = 'idle';
    if (this.#isNew) void this.#tell();
  }

  #isEnded(): boolean {
    return this.#state === 'ended';
  }
}

function watched(onChange: () => void, log: Log): NetworkWatch | null {
  try {
    return watchNetwork(onChange);
  } catch (error) {
    log.warn(
      `changes of this host's addresses are seen within ${FAST_LOOK_MS / 1000} s: ${messageOf(error)}`,
    );
    return null;
  }
}
