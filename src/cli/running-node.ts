// Asking the node of an interface that must run.

import { askNode, runDirectory } from '../control/node-socket.ts';
import type { NodeRequest } from '../control/target.ts';
import { NodeError } from '../errors.ts';

/** @throws NodeError `ERR_NODE_NOT_RUNNING` when no node runs on `iface`, else what the node says stands against it */
export async function askRunning<T>(iface: string, request: NodeRequest): Promise<T> {
  const answer = await askNode<T>(runDirectory(), iface, request);
  if (answer !== null) return answer;
  throw new NodeError(
    'ERR_NODE_NOT_RUNNING',
    `no node runs on ${iface}: nothing answers in ${runDirectory()}`,
    { hint: 'start one with `ringfence run FILE`; RINGFENCE_RUN_DIR must be the same for both' },
  );
}
