// Keeps a lane running: one that trapped or failed is replaced by a fresh one from the same settings, with the same
// descriptors, so that addresses, routes and port stay and the peers shake hands again. While none runs, nothing passes.

import { type LaneEnd, LaneHandle, type LaneOptions } from '../lane/lane.ts';
import type {
  LaneChange,
  LaneDescriptors,
  LaneFilter,
  LaneMeters,
  LanePackets,
  LaneSettings,
  LaneStatus,
} from '../lane/messages.ts';

/** Before the second restart in a row; the first is immediate. Doubled up to the last. */
const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 30_000;
/** A lane that ran this long was healthy: the delay begins anew. */
const HEALTHY_MS = 60_000;

export interface SupervisorOptions extends Omit<LaneOptions, 'onEnd' | 'settings' | 'descriptors'> {
  /** Both are asked for each time a lane starts. */
  readonly settings: () => LaneSettings;
  readonly descriptors: () => LaneDescriptors;
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
  #isRunning = false;
  #stopped = false;

  private constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Starts the first lane; it must come up, or the node does not. */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const supervisor = new Supervisor(options);
    let isUp = false;
    supervisor.#launch((end) => {
      if (isUp) supervisor.#ended(end);
    });
    await supervisor.#lane?.ready;
    isUp = true;
    return supervisor;
  }

  get restarts(): number {
    return this.#restarts;
  }

  get lastFailure(): string | null {
    return this.#lastFailure;
  }

  /** False from the end of one lane until the next carries packets. */
  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Counters, and those of the peers named; undefined while no lane runs. */
  async status(peers: Uint32Array): Promise<LaneStatus | undefined> {
    return this.#lane?.status(peers);
  }

  /** Settles when the lane has carried the changes out. Without one there is nothing to do: the next has other settings. */
  async change(changes: Iterable<LaneChange>): Promise<void> {
    await this.#lane?.change(changes);
  }

  /** What the filter has counted and logged; undefined while no lane runs. */
  async filter(): Promise<LaneFilter | undefined> {
    return this.#lane?.filter();
  }

  /** Has the packets of these peers logged, and of no others; undefined while no lane runs. */
  async follow(peers: Uint32Array): Promise<LanePackets | undefined> {
    return this.#lane?.follow(peers);
  }

  /** What it has counted of peers and services since it was last asked; undefined while no lane runs. */
  async meters(): Promise<LaneMeters | undefined> {
    return this.#lane?.meters();
  }

  /** False when the core has refused the change. Without a lane there is nothing to change: the next has other settings. */
  async setPolicy(records: Uint8Array | null): Promise<boolean> {
    return (await this.#lane?.setPolicy(records)) ?? true;
  }

  /** Says something to the host of a peer, if a lane runs. */
  say(peer: number, message: Uint8Array): void {
    this.#lane?.say(peer, message);
  }

  /** Settles when no lane uses the former sockets. */
  async setSockets(udp4: number, udp6: number | undefined): Promise<void> {
    await this.#lane?.setSockets(udp4, udp6);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#lane?.stop();
    this.#lane = undefined;
  }

  #launch(onEnd: (end: LaneEnd) => void): void {
    const { descriptors, settings } = this.#options;
    this.#startedAt = performance.now();
    this.#lane = new LaneHandle({
      ...this.#options,
      descriptors: descriptors(),
      settings: settings(),
      onEnd: (end) => {
        this.#isRunning = false;
        onEnd(end);
      },
    });
    this.#lane.ready.then(
      () => {
        this.#isRunning = true;
      },
      () => {}, // `onEnd` has the reason
    );
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
    this.#timer = setTimeout(() => void this.#restart(), this.#delayMs);
    this.#delayMs = Math.min(Math.max(this.#delayMs * 2, FIRST_DELAY_MS), LAST_DELAY_MS);
  }

  async #restart(): Promise<void> {
    this.#launch((end) => this.#ended(end));
    try {
      await this.#lane?.ready;
      this.#options.onRestarted();
    } catch {
      // It failed before it was up: `onEnd` has set the next attempt.
    }
  }
}
