// Which node is meant where none is named: the only one here.

import { listInterfaces, runDirectory } from '../control/node-socket.ts';
import { NodeError, UsageError } from '../errors.ts';

/** @throws NodeError `ERR_NODE_NOT_RUNNING`, UsageError where it is not clear which is meant */
export function onlyInterface(): string {
  const names = listInterfaces(runDirectory());
  const [only, second] = names;
  if (only !== undefined && second === undefined) return only;
  throw only === undefined
    ? new NodeError('ERR_NODE_NOT_RUNNING', `no node runs here: nothing answers in ${runDirectory()}`, {
        hint: 'start one with `ringfence run FILE`; RINGFENCE_RUN_DIR must be the same for both',
      })
    : new UsageError('ERR_USAGE', `several nodes run here: ${names.join(', ')}`, {
        hint: 'name one with --interface',
      });
}
