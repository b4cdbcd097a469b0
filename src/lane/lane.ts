// A lane as the main thread holds it: its worker, how it ended, and the questions it answers.

import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { wake } from 'node-tuntap2';
import type {
  FromLane,
  LaneDescriptors,
  LaneEndpoint,
  LaneSettings,
  LaneStatus,
  ToLane,
} from './messages.ts';
import type { LaneStart } from './worker.ts';

/** Why a lane ended without being told to. */
export type LaneEnd =
  | { readonly type: 'interface-gone' }
  | { readonly type: 'failed'; readonly reason: string };

export interface LaneOptions {
  readonly descriptors: LaneDescriptors;
  readonly settings: LaneSettings;
  /** Called at most once, never after {@link LaneHandle.stop}. */
  readonly onEnd: (end: LaneEnd) => void;
  readonly onFaults: (faults: LaneStatus['faults']) => void;
  /** The worker's file; tests put their own around it. */
  readonly worker?: URL;
}

/** One running worker. */
export class LaneHandle {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #event: number;
  readonly #exited: Promise<void>;
  readonly #questions = new Map<number, (status: LaneStatus | undefined) => void>();
  #nextQuestion = 0;
  #stopping = false;
  #hasEnded = false;

  private constructor(options: LaneOptions, onReady: () => void, onFailed: (reason: string) => void) {
    const { port1, port2 } = new MessageChannel();
    const start: LaneStart = { port: port2, descriptors: options.descriptors, settings: options.settings };
    this.#event = options.descriptors.event;
    this.#port = port1;
    this.#worker = new Worker(options.worker ?? new URL('./worker.ts', import.meta.url), {
      workerData: start,
      transferList: [port2],
      // A lane holds no JavaScript data to speak of.
      resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 64 },
    });
    let end: LaneEnd | undefined;
    port1.on('message', (message: FromLane) => {
      switch (message.type) {
        case 'ready':
          return onReady();
        case 'status':
          return this.#answer(message.request, message.status);
        case 'faults':
          return options.onFaults(message.faults);
        case 'interface-gone':
        case 'failed':
          end ??= message;
          return;
        default:
          return message satisfies never;
      }
    });
    this.#worker.on('error', (error) => {
      end ??= { type: 'failed', reason: String(error) };
    });
    // What the worker posted is delivered before its end of the channel closes.
    const exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    const drained = new Promise((resolve) => port1.once('close', resolve));
    this.#exited = Promise.all([exited, drained]).then(() => {
      this.#hasEnded = true;
      for (const request of [...this.#questions.keys()]) this.#answer(request, undefined);
      if (this.#stopping) return;
      end ??= { type: 'failed', reason: 'the worker ended without a word' };
      onFailed(end.type === 'failed' ? end.reason : 'the interface is gone');
      options.onEnd(end);
    });
  }

  /** Starts a lane and waits until it carries packets. `onEnd` is called also when it fails to start. */
  static start(options: LaneOptions): Promise<LaneHandle> {
    return new Promise((resolve, reject) => {
      const handle: LaneHandle = new LaneHandle(
        options,
        () => resolve(handle),
        (reason) => reject(new Error(reason)),
      );
    });
  }

  /** Counters and peers; undefined when the lane ends before it answers. */
  status(): Promise<LaneStatus | undefined> {
    if (this.#hasEnded) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const request = this.#nextQuestion++;
      this.#questions.set(request, resolve);
      this.#tell({ type: 'status', request });
    });
  }

  /** Where a peer is to be found from now on. */
  setEndpoint(peer: string, endpoint: LaneEndpoint): void {
    this.#tell({ type: 'endpoint', peer, endpoint });
  }

  /** Ends the lane and waits for it. The descriptors stay open. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#tell({ type: 'stop' });
    await this.#exited;
  }

  #tell(message: ToLane): void {
    this.#port.postMessage(message);
    wake(this.#event);
  }

  #answer(request: number, status: LaneStatus | undefined): void {
    this.#questions.get(request)?.(status);
    this.#questions.delete(request);
  }
}
