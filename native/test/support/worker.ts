// A worker thread that uses the addon as the test asks: run as a thread it plays `role`, imported it starts one.
import { closeSync, openSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import {
  closeDescriptor,
  openEvent,
  openUdp,
  SystemCallError,
  tunName,
  wake,
  watchNetwork,
} from '../../index.ts';
import { TestLane } from './test-lane.ts';

/** What a worker does: see the functions below. */
export type Role = 'echo-wakes' | 'block' | 'churn' | 'exit' | 'throw' | 'idle' | 'reuse';

export type Answer =
  | { kind: 'ready'; tun: string; event: number; reused: number }
  | { kind: 'woken'; bits: number; round: number };

export interface StartedWorker {
  /** The first answer. */
  ready(): Promise<Extract<Answer, { kind: 'ready' }>>;
  /** The next answer; fails when the worker ends before it. */
  next(): Promise<Answer>;
  /** Settles when the thread has ended, however it did. */
  ended: Promise<void>;
  /** Terminates it, also out of a wait. */
  stop(): Promise<void>;
}

export function startWorker(role: Role): StartedWorker {
  const worker = new Worker(new URL(import.meta.url), { workerData: { role }, trackUnmanagedFds: false });
  const answers: Answer[] = [];
  const readers: { resolve(answer: Answer): void; reject(reason: unknown): void }[] = [];
  let event: number | undefined;
  worker.on('message', (answer: Answer) => {
    if (answer.kind === 'ready') event = answer.event;
    const reader = readers.shift();
    if (reader === undefined) answers.push(answer);
    else reader.resolve(answer);
  });
  let failure: unknown = new Error('the worker ended');
  worker.on('error', (error) => {
    failure = error;
  });
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      for (const reader of readers.splice(0)) reader.reject(failure);
      resolve();
    });
  });
  const next = () => {
    const answer = answers.shift();
    if (answer !== undefined) return Promise.resolve(answer);
    return new Promise<Answer>((resolve, reject) => readers.push({ resolve, reject }));
  };
  return {
    next,
    ended,
    ready: async () => {
      const answer = await next();
      if (answer.kind !== 'ready') throw new Error(`the worker answered ${answer.kind} first`);
      return answer;
    },
    stop: async () => {
      const terminated = worker.terminate(); // takes effect once the thread is out of native code
      try {
        if (event !== undefined) wake(event);
      } catch (error) {
        if (!(error instanceof SystemCallError && error.code === 'EBADF')) throw error; // it has ended already
      }
      await terminated;
    },
  };
}

/**
 * Opens an event, closes it, and opens a file that gets the same number; the file outlives the worker, because
 * trackUnmanagedFds is off. Another thread may be faster, so it tries again.
 */
function reuseNumber(): number {
  for (let attempt = 0; attempt < 100; attempt++) {
    const event = openEvent();
    closeDescriptor(event);
    const file = openSync('/dev/null', 'r');
    if (file === event) return file;
    closeSync(file);
  }
  return -1;
}

/** Opens and closes until someone terminates it; most of the time it is in a system call. */
function churn(): never {
  const event = openEvent();
  parentPort?.postMessage({ kind: 'ready', tun: '', event, reused: -1 } satisfies Answer);
  for (;;) {
    closeDescriptor(openUdp({ family: 4, port: 0 }).fd);
    try {
      tunName(event);
    } catch {} // it is no TUN: this is for the failure's way back
  }
}

function play(role: Role): void {
  if (role === 'churn') churn();
  if (role !== 'block') watchNetwork(() => {});
  const lane = new TestLane();
  const tell = (answer: Answer) => parentPort?.postMessage(answer);
  const reused = role === 'reuse' ? reuseNumber() : -1;
  tell({ kind: 'ready', tun: lane.name, event: lane.event, reused });
  switch (role) {
    case 'echo-wakes':
      for (let round = 1; ; round++) {
        tell({ kind: 'woken', bits: lane.io.wait(Number.POSITIVE_INFINITY), round });
      }
    case 'block': // until someone terminates it
      for (;;) lane.io.wait(Number.POSITIVE_INFINITY);
    case 'exit':
      process.exit(0);
      break;
    case 'throw':
      throw new Error('the worker fails on purpose');
    case 'reuse':
    case 'idle': // in its event loop
      parentPort?.on('message', () => {});
      break;
    default:
      role satisfies never;
  }
}

if (!isMainThread && typeof workerData?.role === 'string') play(workerData.role as Role);
