// A reload: every part of a node prepares what the new configuration asks of it, then all commit, or none stays committed.
// What a part is to do is the part's; here is only the order. A new part is one entry of the list in node.ts.

import type { NodeConfig } from '../config/schema.ts';
import { messageOf, NodeError } from '../errors.ts';

/** What a reload changes of a node, beside its keys and peers: the interface, served pages, rules. */
export interface ReloadPart {
  /**
   * Takes all that can be had without changing anything, such as a socket, and computes the rest. Throws where something
   * cannot be had, and holds nothing then. Called also when nothing is different for this part.
   */
  prepare(from: NodeConfig, to: NodeConfig): Promise<PreparedPart>;
}

/** Disposed of in any case, when all is decided: frees what is not in use then, the former or the prepared. */
export interface PreparedPart extends AsyncDisposable {
  /** Makes the change. When it throws, it has taken back what it had done of it. */
  commit(): Promise<void>;
  /** Takes a commit back. */
  rollBack(): Promise<void>;
}

/**
 * Changes all parts, or none.
 * @param last the change that cannot be taken back; when it throws, it has changed nothing
 * @throws what a part or `last` threw; NodeError `ERR_NODE_RELOAD` when a part could not be taken back after that
 */
export async function changeWhole(
  parts: readonly ReloadPart[],
  from: NodeConfig,
  to: NodeConfig,
  last: () => Promise<void>,
): Promise<void> {
  await using held = new AsyncDisposableStack();
  const prepared: PreparedPart[] = [];
  for (const part of parts) prepared.push(held.use(await part.prepare(from, to)));
  const committed: PreparedPart[] = [];
  try {
    for (const part of prepared) {
      await part.commit();
      committed.push(part);
    }
    await last();
  } catch (error) {
    await takeBack(committed.reverse(), error);
    throw error;
  }
}

async function takeBack(committed: readonly PreparedPart[], reason: unknown): Promise<void> {
  const failures: string[] = [];
  for (const part of committed) {
    try {
      await part.rollBack();
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  if (failures.length === 0) return;
  throw new NodeError(
    'ERR_NODE_RELOAD',
    `${messageOf(reason)}; and this could not be taken back: ${failures.join('; ')}`,
    { hint: 'start the node again', cause: reason },
  );
}
