// Starts the lane's worker from the file beside this one: a source in a checkout, what it was compiled to in a package. In
// the single executable there are no files: packaging/binary/start-worker.ts stands in the place of this one.

import { Worker, type WorkerOptions } from 'node:worker_threads';

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';

export function startWorker(options: WorkerOptions): Worker {
  return new Worker(new URL(`./worker.${EXTENSION}`, import.meta.url), options);
}
