// How the program starts itself: once more in private namespaces, and as the node, the sender or the sink of a measurement.

import { isSea } from 'node:sea';

/** The command line of this very program with other arguments, wherever it is installed. */
export function ownProgram(...args: readonly string[]): readonly [string, ...string[]] {
  const [, entry = ''] = process.argv;
  return isSea() ? [process.execPath, ...args] : [process.execPath, ...process.execArgv, entry, ...args];
}
