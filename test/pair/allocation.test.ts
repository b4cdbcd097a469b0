// What a lane allocates under full load, by V8's heap profile: a few numbers a turn, and nothing for a packet.

import { expect, test } from 'vitest';
import { type NodeProcess, nodeWith, OVERLAY } from '../support/node-process.ts';
import { startPair } from '../support/pair.ts';
import { measureTcp, ping } from '../support/traffic.ts';

/** Until the compiler has seen the loop, which allocates more until then. */
const WARM_SECONDS = 4;
const LOAD_SECONDS = 10;
/** The time and the timeout of a turn are numbers that are no small integers: an object each. */
const BYTES_PER_TURN = 160;
/** The timers of ten seconds, the status that ends the profile, and the profile itself. */
const BYTES_BESIDE = 256 * 1024;
/** An empty object has some times as many. */
const BYTES_PER_PACKET = 2;
const MESSAGE_BYTES = 1452;

/** Messages that a node has sent and received, as if all were of full length. */
async function packetsOf(node: NodeProcess): Promise<number> {
  const [peer] = (await node.status()).peers; // and wakes the lane, which begins or ends its profile
  return (Number(peer?.rxBytes) + Number(peer?.txBytes)) / MESSAGE_BYTES;
}

test('under full load for 10 s a turn allocates a few numbers, and a packet nothing', async () => {
  const start = { program: nodeWith('measured-worker.ts') };
  await using pair = await startPair({ mtu: 1420, start: { left: start, right: start } });
  const { left, right, net } = pair;
  expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  await measureTcp(net.left, net.right, OVERLAY.right.v4, WARM_SECONDS);

  const before = [await packetsOf(left), await packetsOf(right)];
  await measureTcp(net.left, net.right, OVERLAY.right.v4, LOAD_SECONDS);
  for (const [index, node] of [left, right].entries()) {
    const packets = Math.round((await packetsOf(node)) - (before[index] ?? 0));
    const [, json = ''] = await node.process.line(/^measured (.*)/, 5_000);
    const { turns, allocatedBytes } = JSON.parse(json) as { turns: number; allocatedBytes: number };
    const what = `${node.host.name}: ${allocatedBytes} bytes in ${turns} turns with ${packets} packets`;
    console.info(what);
    expect(packets, what).toBeGreaterThan(10 * turns); // else a turn would say nothing of packets
    expect(allocatedBytes, what).toBeLessThan(turns * BYTES_PER_TURN + BYTES_BESIDE);
    expect(allocatedBytes / packets, what).toBeLessThan(BYTES_PER_PACKET);
  }
});
