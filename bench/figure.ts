// What a figure of `figures.ts` is, and what several of them measure with.

import { askNode } from '../src/control/node-socket.ts';
import type { NodeProcess } from '../test/support/node-process.ts';
import type { Host } from '../test/support/topology.ts';

export interface Figure {
  readonly what: string;
  readonly mostMs: number;
  readonly samples: readonly number[];
}

/** A ping every 2 ms while `work` runs, and for 25 more: what that gives, and the longest, in ms. */
export async function besidePing<T>(
  host: Host,
  address: string,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly longestMs: number }> {
  await using watch = host.spawn('ping', ['-n', '-i', '0.002', '-W', '10', address]);
  await watch.line(/icmp_seq=50 /, 10_000);
  const result = await work();
  const last = [...watch.output.matchAll(/icmp_seq=(\d+) /g)].at(-1)?.[1] ?? 0;
  await watch.line(new RegExp(`icmp_seq=${Number(last) + 25} `), 10_000);
  watch.signal('SIGINT');
  await watch.exited;
  const times = [...watch.output.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms));
  return { result, longestMs: Math.max(...times) };
}

/** Has a node read its file again; how long it takes, in ms. */
export async function reload(node: NodeProcess): Promise<number> {
  const began = performance.now();
  await askNode(node.files.runDirectory, node.interfaceName, { request: 'reload' });
  return performance.now() - began;
}
