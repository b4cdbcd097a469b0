// Keeps a lane running: one that trapped or failed is replaced by a fresh one from the same settings, with the same
// descriptors, so that addresses, routes and port stay and the peers shake hands again. While none runs, nothing passes.

import { type LaneEnd, LaneHandle, type LaneOptions } from '../lane/lane.ts';
import type { LaneEndpoint, LaneSettings, LaneStatus } from '../lane/messages.ts';

/** Before the second restart in a row; the first is immediate. Doubled up to the last. */
const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 30_000;
/** A lane that ran this long was healthy: the delay begins anew. */
const HEALTHY_MS = 60_000;

export interface SupervisorOptions extends Omit<LaneOptions, 'onEnd' | 'settings'> {
  /** Asked for each time a lane starts. */
  readonly settings: () => LaneSettings;
  /** A lane failed and is about to be replaced. */
  readonly onRestart: (reason: string, restarts: number) => void;
  /** The replacement carries packets. */
  readonly onRestarted: () => void;
  /** The interface is gone: there is nothing left to run on. */
  readonly onInterfaceGone: () => void;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  #lane: LaneHandle | undefined;
  #restarts = 0;
  #lastFailure: string | null = null;
  #delayMs = 0;
  #startedAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #starting: Promise<void> | undefined;
  #stopped = false;

  private constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Starts the first lane; it must come up, or the node does not. */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const supervisor = new Supervisor(options);
    let isUp = false;
    supervisor.#lane = await LaneHandle.start({
      ...options,
      settings: options.settings(),
      onEnd: (end) => {
        if (isUp) supervisor.#ended(end);
      },
    });
    isUp = true;
    supervisor.#startedAt = performance.now();
    return supervisor;
  }

  get restarts(): number {
    return this.#restarts;
  }

  get lastFailure(): string | null {
    return this.#lastFailure;
  }

  get isRunning(): boolean {
    return this.#lane !== undefined;
  }

  /** undefined while no lane runs. */
  async status(): Promise<LaneStatus | undefined> {
    return this.#lane?.status();
  }

  setEndpoint(peer: string, endpoint: LaneEndpoint): void {
    this.#lane?.setEndpoint(peer, endpoint);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#starting;
    await this.#lane?.stop();
    this.#lane = undefined;
  }

  #ended(end: LaneEnd): void {
    this.#lane = undefined;
    if (this.#stopped) return;
    if (end.type === 'interface-gone') {
      this.#options.onInterfaceGone();
      return;
    }
    if (performance.now() - this.#startedAt >= HEALTHY_MS) this.#delayMs = 0;
    this.#restarts++;
    this.#lastFailure = end.reason;
    this.#options.onRestart(end.reason, this.#restarts);
    this.#timer = setTimeout(() => {
      this.#starting = this.#restart();
    }, this.#delayMs);
    this.#delayMs = Math.min(Math.max(this.#delayMs * 2, FIRST_DELAY_MS), LAST_DELAY_MS);
  }

  async #restart(): Promise<void> {
    this.#startedAt = performance.now();
    try {
      this.#lane = await LaneHandle.start({
        ...this.#options,
        settings: this.#options.settings(),
        onEnd: (end) => this.#ended(end),
      });
      this.#options.onRestarted();
    } catch {
      // It failed before it was up: `onEnd` has the reason and has set the next attempt.
    }
  }
}
