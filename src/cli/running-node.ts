// Asking the node of an interface that must run.

import { type AskOptions, askNode, listInterfaces, runDirectory } from '../control/node-socket.ts';
import type { NodeRequest } from '../control/target.ts';
import { NodeError, UsageError } from '../errors.ts';

/** @throws NodeError `ERR_NODE_NOT_RUNNING` when no node runs on `iface`, else what the node says stands against it */
export async function askRunning<T>(
  iface: string,
  request: NodeRequest,
  options: AskOptions = {},
): Promise<T> {
  const answer = await askNode<T>(runDirectory(), iface, request, options);
  if (answer === null) throw notRunning(`no node runs on ${iface}`);
  return answer;
}

/**
 * The interface that is meant where none is named: that of the only node here.
 * @throws NodeError `ERR_NODE_NOT_RUNNING`, UsageError `ERR_USAGE` when there are several
 */
export function onlyInterface(): string {
  const [first, ...more] = listInterfaces(runDirectory());
  if (first === undefined) throw notRunning('no node runs here');
  if (more.length === 0) return first;
  throw new UsageError('ERR_USAGE', 'several nodes run here', {
    hint: `name one of them: ${[first, ...more].join(', ')}`,
  });
}

function notRunning(what: string): NodeError {
  return new NodeError('ERR_NODE_NOT_RUNNING', `${what}: nothing answers in ${runDirectory()}`, {
    hint: 'start one with `ringfence run FILE`; RINGFENCE_RUN_DIR must be the same for both',
  });
}
