// Two nodes of which the left one looks for the right one by name, or at several places.

import { until } from './deadline.ts';
import { NameServer } from './names.ts';
import { NodeProcess, OVERLAY, Scratch, writePair } from './node-process.ts';
import { type Routed, routed } from './topology.ts';
import { ping } from './traffic.ts';

export const NAME = 'right.example';
export const PORT = 51820;
export const ENDPOINT_DEADLINE_MS = 60_000;

export type Named = AsyncDisposable & {
  readonly net: Routed;
  readonly names: NameServer;
  readonly left: NodeProcess;
};

/** A left node that looks for the right one at `endpoints`, on a host whose DNS server the test has. */
export async function startNamed(
  tag: string,
  records: Parameters<NameServer['change']>[0],
  endpoints: readonly string[],
): Promise<Named> {
  await using undo = new AsyncDisposableStack();
  const scratch = undo.use(await Scratch.create());
  const net = undo.use(await routed(1500, { left: `${tag}-l`, right: `${tag}-r` }));
  // A second address of each family, as a host with two ways to it has.
  await net.right.ipBatch(
    'address add 198.51.100.20/24 dev eth0',
    'address add 2001:db8:2::20/64 dev eth0 nodad',
  );
  const names = undo.use(await NameServer.start(net.internet, '192.0.2.1', scratch.path, records));
  const files = await writePair(scratch.path, {
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
    initiators: ['left'],
    endpoints: { left: endpoints },
  });
  const [left, right] = await Promise.all([
    NodeProcess.start(net.left, files.left, { inside: names.inside, env: { LOG_LEVEL: 'debug' } }),
    NodeProcess.start(net.right, files.right),
  ]);
  undo.use(left);
  undo.use(right);
  const owned = undo.move();
  return { net, names, left, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

export async function endpointOf({ left, net }: Named): Promise<string | null> {
  return (await left.peer(net.right.name)).endpoint;
}

/** Pings until one is answered: a name may have to resolve first, and dead endpoints to be given up. */
export async function reached({ net }: Named, what: string): Promise<void> {
  const isReached = async (): Promise<boolean> =>
    (await ping(net.left, OVERLAY.right.v4, { count: 1, waitMs: 1_000 })).received === 1;
  await until(isReached, ENDPOINT_DEADLINE_MS, what);
}
