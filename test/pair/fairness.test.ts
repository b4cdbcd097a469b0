// One peer floods a hub with small datagrams, as fast as its host can: another peer's packets still pass, and a third can
// still shake hands with its first try.
//
//   flooder ── 64-byte datagrams ──▶ hub ◀── pings ── other          newcomer ── handshake ──▶ hub

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import { NodeProcess, Scratch, writeNode } from '../support/node-process.ts';
import { addHost, routed } from '../support/topology.ts';
import { endpoint, ping } from '../support/traffic.ts';

const HUB = '10.9.0.1';
const FLOOD_PORT = '5300';
/** Far more than any peer sends by itself. */
const FLOOD_BYTES = 4 * 1024 * 1024;
const PINGS = 100;
/** An initiation is repeated after 5 s: whoever is answered before was heard at once. */
const BEFORE_RETRY_MS = 4_500;

test('a flood from one peer starves neither another nor the handshake of a third', async () => {
  await using scratch = await Scratch.create();
  await using net = await routed(1500, { left: 'hub', right: 'flooder' });
  const hub = net.left;
  const hosts = [net.right, await addHost(net, 'other', 3), await addHost(net, 'newcomer', 4)];
  const hubKeys = generateKeyPair();
  const spokes = hosts.map((host, index) => ({ host, keys: generateKeyPair(), v4: `10.9.0.${11 + index}` }));
  await using undo = new AsyncDisposableStack();
  const peers = spokes.map(({ host, keys, v4 }) => [
    host.name,
    { public_key: keys.publicKey, addresses: [v4] },
  ]);
  const hubFiles = await writeNode(join(scratch.path, 'hub'), hubKeys, {
    interface: {
      name: 'rf-hub',
      private_key_file: 'node.key',
      addresses: [`${HUB}/24`],
      listen_port: 51820,
      mtu: 1420,
    },
    peers: Object.fromEntries(peers),
  });
  const hubNode = undo.use(await NodeProcess.start(hub, hubFiles));
  for (const { host, keys, v4 } of spokes) {
    const files = await writeNode(join(scratch.path, host.name), keys, {
      interface: {
        name: `rf-${host.name}`,
        private_key_file: 'node.key',
        addresses: [`${v4}/24`],
        mtu: 1420,
      },
      peers: {
        hub: { public_key: hubKeys.publicKey, addresses: [HUB], endpoints: [endpoint(hub.v4, 51820)] },
      },
    });
    undo.use(await NodeProcess.start(host, files));
  }
  const [flooder = hub, other = hub, newcomer = hub] = hosts;
  for (const host of [flooder, other]) expect(await ping(host, HUB)).toMatchObject({ received: 3 });

  const receiver = hub.spawn('iperf3', ['-s', '-1', '-p', FLOOD_PORT, '-B', HUB, '--forceflush']);
  await receiver.line(/Server listening/, 10_000);
  flooder.spawn('iperf3', ['-u', '-c', HUB, '-p', FLOOD_PORT, '-b', '0', '-l', '64', '-t', '60']);
  const received = async () => Number((await hubNode.peer('flooder')).rxBytes);
  const flowing = async (from: number) =>
    await until(async () => (await received()) > from + FLOOD_BYTES, 30_000, 'the flood flows');
  await flowing(await received());

  const before = await received();
  expect(await ping(other, HUB, { count: PINGS, intervalMs: 10 })).toMatchObject({ received: PINGS });
  expect(await ping(newcomer, HUB, { count: 1, waitMs: BEFORE_RETRY_MS })).toMatchObject({ received: 1 });
  await flowing(before); // and was there all the time
});
