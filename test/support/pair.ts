// Two of ours with a router between them, both ready: the ground of most tests in test/pair/.

import {
  NodeProcess,
  type NodeProcessOptions,
  OVERLAY,
  type PairOptions,
  Scratch,
  writePair,
} from './node-process.ts';
import { type Routed, routed } from './topology.ts';

export type StartPairOptions = Omit<PairOptions, 'left' | 'right'> & {
  /** Of the wires. */
  readonly underlayMtu?: number;
  /** How each end is started. */
  readonly start?: { readonly left?: NodeProcessOptions; readonly right?: NodeProcessOptions };
};

export type Pair = AsyncDisposable & {
  readonly net: Routed;
  readonly left: NodeProcess;
  readonly right: NodeProcess;
};

/** 10.9.0.1 and fd09::1 on the left, 10.9.0.2 and fd09::2 on the right, unless `options` say otherwise. */
export async function startPair(options: StartPairOptions = {}): Promise<Pair> {
  await using undo = new AsyncDisposableStack();
  const scratch = undo.use(await Scratch.create());
  const net = undo.use(await routed(options.underlayMtu));
  const files = await writePair(scratch.path, {
    ...options,
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
  });
  // Should one fail, the topology ends the other.
  const [left, right] = await Promise.all([
    NodeProcess.start(net.left, files.left, options.start?.left),
    NodeProcess.start(net.right, files.right, options.start?.right),
  ]);
  undo.use(left);
  undo.use(right);
  const owned = undo.move();
  return { net, left, right, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
