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
  /** Of the hosts, and so of the interfaces: all of a run share one /run, so tests that overlap need different ones. */
  readonly names?: { readonly left: string; readonly right: string };
  /** Of the wires. */
  readonly underlayMtu?: number;
  /** How each end is started. */
  readonly start?: { readonly left?: NodeProcessOptions; readonly right?: NodeProcessOptions };
};

export type Pair = AsyncDisposable & {
  readonly net: Routed;
  readonly left: NodeProcess;
  readonly right: NodeProcess;
  /** Kills one end without a word to the other, and starts it again with the same files. */
  restart(end: 'left' | 'right'): Promise<NodeProcess>;
};

/** 10.9.0.1 and fd09::1 on the left, 10.9.0.2 and fd09::2 on the right, unless `options` say otherwise. */
export async function startPair(options: StartPairOptions = {}): Promise<Pair> {
  await using undo = new AsyncDisposableStack();
  const scratch = undo.use(await Scratch.create());
  const net = undo.use(await routed(options.underlayMtu, options.names));
  const files = await writePair(scratch.path, {
    ...options,
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
  });
  const start = (end: 'left' | 'right') => NodeProcess.start(net[end], files[end], options.start?.[end]);
  // Should one fail, the topology ends the other. Who has keepalives knocks when it starts; with nobody there yet it would
  // knock again five seconds later.
  const first = options.keepalive === undefined ? undefined : await start('right');
  const [left, right] = await Promise.all([start('left'), first ?? start('right')]);
  undo.use(left);
  undo.use(right);
  const owned = undo.move();
  const restart = async (end: 'left' | 'right'): Promise<NodeProcess> => {
    const node = end === 'left' ? left : right;
    if (!node.process.hasExited) await node.process.stop('SIGKILL');
    return await NodeProcess.start(net[end], files[end], options.start?.[end]);
  };
  return { net, left, right, restart, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
