// The lane's worker in the single executable, one script without imports; stands in the place of src/lane/start-worker.ts.

import { getAsset } from 'node:sea';
import { Worker, type WorkerOptions } from 'node:worker_threads';

export function startWorker(options: WorkerOptions): Worker {
  return new Worker(getAsset('worker.cjs', 'utf8'), { ...options, eval: true });
}
