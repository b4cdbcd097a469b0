// Asking a node in another process to stop, and waiting until it has.

import { setTimeout as delay } from 'node:timers/promises';
import { codeOf, NodeError } from '../errors.ts';

/** A node is gone within five seconds. */
const PATIENCE_MS = 10_000;
const POLL_MS = 20;

/** @throws NodeError `ERR_NODE_NOT_RUNNING` when it may not be stopped, or does not stop */
export async function endProcess(pid: number): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (let signal: NodeJS.Signals | 0 = 'SIGTERM'; ; signal = 0) {
    try {
      process.kill(pid, signal);
    } catch (cause) {
      if (codeOf(cause) === 'ESRCH') return;
      const hint = 'run this as the user the node runs as, such as root';
      throw new NodeError('ERR_NODE_NOT_RUNNING', `process ${pid} may not be stopped`, { hint, cause });
    }
    if (performance.now() > deadline) {
      const hint = `its log says why; \`kill -9 ${pid}\` ends it, and its interface with it`;
      throw new NodeError('ERR_NODE_NOT_RUNNING', `process ${pid} was asked to stop and has not`, { hint });
    }
    await delay(POLL_MS);
  }
}
