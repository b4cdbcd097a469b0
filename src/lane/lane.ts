// A lane as the main thread holds it: its worker, how it ended, and the questions it answers.

import { MessageChannel, type MessagePort, Worker, type WorkerOptions } from 'node:worker_threads';
import { wake } from 'node-tuntap2';
import type {
  FromLane,
  LaneChange,
  LaneDescriptors,
  LaneFilter,
  LaneMeters,
  LanePackets,
  LaneSettings,
  LaneStatus,
  ToLane,
} from './messages.ts';
import { startWorker } from './start-worker.ts';
import type { LaneStart } from './worker.ts';

/** Why a lane ended without being told to. */
export type LaneEnd =
  | { readonly type: 'interface-gone' }
  | { readonly type: 'failed'; readonly reason: string };

/** What a question is answered with. */
type Answer = Extract<FromLane, { readonly request: number }>;

/** A multiple of a record: what a lane takes in within a millisecond or two. */
const POLICY_BYTES_AT_ONCE = 64 * 1024;

export interface LaneOptions {
  readonly descriptors: LaneDescriptors;
  readonly settings: LaneSettings;
  /** Called at most once, never after {@link LaneHandle.stop}. */
  readonly onEnd: (end: LaneEnd) => void;
  readonly onFaults: (faults: LaneStatus['faults']) => void;
  /** The host of a peer said something. Whoever is called wipes it. */
  readonly onHeard: (peer: number, message: Uint8Array) => void;
  /** The interface has another MTU. */
  readonly onMtu: (mtu: number) => void;
  /** The worker's file; tests put their own around it. */
  readonly worker?: URL;
}

/** One running worker. */
export class LaneHandle {
  /** Settles when the lane carries packets; rejects, beside `onEnd`, when it fails to start. */
  readonly ready: Promise<void>;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #event: number;
  readonly #exited: Promise<void>;
  readonly #questions = new Map<number, (answer: Answer | undefined) => void>();
  #nextQuestion = 0;
  #stopping = false;
  #hasEnded = false;

  /** Starts a lane. What it is told before it carries packets is done right after its start. */
  constructor(options: LaneOptions) {
    const { promise: ready, resolve: onReady, reject: onFailed } = Promise.withResolvers<void>();
    this.ready = ready;
    ready.catch(() => {}); // `onEnd` is told as well
    const { port1, port2 } = new MessageChannel();
    const start: LaneStart = { port: port2, descriptors: options.descriptors, settings: options.settings };
    this.#event = options.descriptors.event;
    this.#port = port1;
    const workerOptions: WorkerOptions = {
      workerData: start,
      transferList: [port2],
      // A lane holds no JavaScript data to speak of.
      resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 64 },
    };
    this.#worker =
      options.worker === undefined ? startWorker(workerOptions) : new Worker(options.worker, workerOptions);
    let end: LaneEnd | undefined;
    port1.on('message', (message: FromLane) => {
      switch (message.type) {
        case 'ready':
          return onReady();
        case 'status':
        case 'filter':
        case 'followed':
        case 'meters':
        case 'policy':
        case 'done':
          return this.#answer(message.request, message);
        case 'faults':
          return options.onFaults(message.faults);
        case 'heard':
          return options.onHeard(message.peer, message.message);
        case 'mtu':
          return options.onMtu(message.mtu);
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
      onFailed(new Error(end.type === 'failed' ? end.reason : 'the interface is gone'));
      options.onEnd(end);
    });
  }

  /** Counters, and those of the peers named; undefined when the lane ends before it answers. */
  async status(peers: Uint32Array): Promise<LaneStatus | undefined> {
    const answer = await this.#ask((request) => ({ type: 'status', request, peers }));
    return answer?.type === 'status' ? answer.status : undefined;
  }

  /** What the filter has counted and logged; undefined when the lane ends before it answers. */
  async filter(): Promise<LaneFilter | undefined> {
    const answer = await this.#ask((request) => ({ type: 'filter', request }));
    return answer?.type === 'filter' ? answer.filter : undefined;
  }

  /** Has the packets of these peers logged, and of no others. What was logged since the last time; undefined as above. */
  async follow(peers: Uint32Array): Promise<LanePackets | undefined> {
    const answer = await this.#ask((request) => ({ type: 'follow', request, peers }));
    return answer?.type === 'followed' ? answer.packets : undefined;
  }

  /** What it has counted of peers and services since it was last asked; undefined when the lane ends before it answers. */
  async meters(): Promise<LaneMeters | undefined> {
    const answer = await this.#ask((request) => ({ type: 'meters', request }));
    return answer?.type === 'meters' ? answer.meters : undefined;
  }

  /**
   * Changes the policy by these records, data passing between the pieces; null = there is none any more. False when the
   * core has refused the change and keeps what it had. A lane that has ended has nothing to change.
   */
  async setPolicy(records: Uint8Array | null): Promise<boolean> {
    if (records === null) {
      this.#tell({ type: 'no-policy' });
      return true;
    }
    const last = Math.max(0, Math.ceil(records.length / POLICY_BYTES_AT_ONCE) - 1);
    const piece = (i: number): Uint8Array =>
      records.slice(i * POLICY_BYTES_AT_ONCE, (i + 1) * POLICY_BYTES_AT_ONCE);
    for (let i = 0; i < last; i++)
      this.#tell({ type: 'policy', records: piece(i), isFirst: i === 0, request: null });
    const answer = await this.#ask((request) => ({
      type: 'policy',
      records: piece(last),
      isFirst: last === 0,
      request,
    }));
    return answer?.type !== 'policy' || answer.isTaken;
  }

  /** Carries out changes in order, data passing between them. Settles when all are done, or the lane has ended. */
  async change(changes: Iterable<LaneChange>): Promise<void> {
    for (const change of changes) this.#port.postMessage({ type: 'change', change } satisfies ToLane);
    await this.#ask((request) => ({ type: 'fence', request }));
  }

  /** Says something to the host of a peer: up to 512 bytes, which may be lost. */
  say(peer: number, message: Uint8Array): void {
    if (!this.#hasEnded) this.#tell({ type: 'say', peer, message });
  }

  /** Hands over other sockets. Settles when the lane no longer uses the former ones, or has ended. */
  async setSockets(udp4: number, udp6: number | undefined): Promise<void> {
    this.#tell({ type: 'sockets', udp4, udp6 });
    await this.#ask((request) => ({ type: 'fence', request }));
  }

  /** Ends the lane and waits for it. The descriptors stay open. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#tell({ type: 'stop' });
    await this.#exited;
  }

  #ask(question: (request: number) => ToLane): Promise<Answer | undefined> {
    if (this.#hasEnded) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const request = this.#nextQuestion++;
      this.#questions.set(request, resolve);
      this.#tell(question(request));
    });
  }

  #tell(message: ToLane): void {
    this.#port.postMessage(message);
    wake(this.#event);
  }

  #answer(request: number, answer: Answer | undefined): void {
    this.#questions.get(request)?.(answer);
    this.#questions.delete(request);
  }
}
