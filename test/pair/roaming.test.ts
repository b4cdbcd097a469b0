// Endpoints: whoever proves to be the peer is answered where it was last heard, and nobody else moves it.

import { describe, expect, test } from 'vitest';
import { Capture, captureObstacle } from '../support/capture.ts';
import { until } from '../support/deadline.ts';
import { NodeProcess, OVERLAY, writeNode } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { addHost, type Host } from '../support/topology.ts';
import { endpoint, ping, sendDatagrams } from '../support/traffic.ts';

const UNDERLAYS = [
  { underlay: 4, moved: '192.0.2.11' },
  { underlay: 6, moved: '2001:db8:1::11' },
] as const;

async function expectBothWays({ net }: Pair): Promise<void> {
  expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ sent: 3, received: 3 });
  expect(await ping(net.right, OVERLAY.left.v6)).toMatchObject({ sent: 3, received: 3 });
}

/** Replaces the address and default route of the left host. */
async function move(host: Host, from: string, to: string): Promise<void> {
  const [length, gateway] = to.includes(':') ? [64, '2001:db8:1::1'] : [24, '192.0.2.1'];
  await host.ipBatch(
    `address del ${from}/${length} dev eth0`,
    `address add ${to}/${length} dev eth0 ${to.includes(':') ? 'nodad' : ''}`,
    `route replace ${to.includes(':') ? '::/0' : 'default'} via ${gateway}`,
  );
}

describe.each(UNDERLAYS)('over IPv$underlay', ({ underlay, moved }) => {
  const family = `v${underlay}` as const;

  test('a peer whose address changes is followed, and its session goes on', async () => {
    await using pair = await startPair({ underlay, initiators: ['left'] });
    const { left, right } = pair;
    await expectBothWays(pair);
    const before = await right.peer('left');
    expect(before.endpoint).toBe(endpoint(left.host[family], 51820));

    await move(left.host, left.host[family], moved);
    await expectBothWays(pair);
    const after = await right.peer('left');
    expect(after.endpoint).toBe(endpoint(moved, 51820));
    expect(after.latestHandshakeSeconds).toBeLessThanOrEqual((before.latestHandshakeSeconds ?? 0) + 1);
  });

  test('a NAT that gives the peer another port is followed', async () => {
    await using pair = await startPair({ underlay, initiators: ['left'] });
    const { left, right, net } = pair;
    const inside = left.host[family];
    // A NAT without memory: from the moment it is changed, the old port leads nowhere.
    const bind = async (port: number): Promise<void> => {
      const ip = underlay === 4 ? 'ip' : 'ip6';
      await net.internet.exec('nft', ['-f', '/dev/stdin'], {
        input: `table inet nat
          delete table inet nat
          table inet nat {
            chain prerouting {
              type filter hook prerouting priority raw
              ${ip} saddr ${inside} udp sport 51820 udp sport set ${port}
              ${ip} daddr ${inside} udp dport ${port} udp dport set 51820
            }
          }\n`,
      });
    };
    await bind(40_001);
    await expectBothWays(pair);
    expect((await right.peer('left')).endpoint).toBe(endpoint(inside, 40_001));
    await bind(40_002);
    await expectBothWays(pair);
    expect((await right.peer('left')).endpoint).toBe(endpoint(inside, 40_002));
  });
});

test('a peer that comes back on another port is found there', async () => {
  await using pair = await startPair({ initiators: ['left'] });
  const { left, right, net } = pair;
  await expectBothWays(pair);
  await left.stop();
  const { directory, keys, file } = left.files;
  const moved = { ...file, interface: { ...file.interface, listen_port: 51_999 } };
  await using again = await NodeProcess.start(net.left, await writeNode(directory, keys, moved));
  await expectBothWays(pair);
  expect((await right.peer('left')).endpoint).toBe(endpoint(net.left.v4, 51_999));
  expect((await again.status()).interface.listenPort).toBe(51_999);
});

test.skipIf(captureObstacle)('what a stranger sends, forged or copied, moves no endpoint', async () => {
  await using pair = await startPair();
  const { right, net } = pair;
  const stranger = await addHost(net, 'stranger');
  await using capture = await Capture.start(net.internet, 'left', {
    filter: 'udp and dst host 198.51.100.10',
    hex: true,
  });
  await expectBothWays(pair);
  const genuine = await until(
    async () => {
      const transport = capture.payloads.filter((payload) => payload[0] === 4);
      if (transport.length >= 6) return capture.payloads;
      await ping(net.left, OVERLAY.right.v4, { count: 1 }); // not each of them was seen on the wire
      return undefined;
    },
    30_000,
    'messages on the wire',
  );
  await capture.stop();
  const before = await right.status();

  const forged = genuine.map((payload) => {
    const copy = Buffer.from(payload);
    copy[copy.length - 1] = (copy[copy.length - 1] ?? 0) ^ 1;
    if (copy[0] === 4) copy.writeBigUInt64LE(copy.readBigUInt64LE(8) + 1_000n, 8); // a counter of the future
    return copy;
  });
  await using socket = await sendDatagrams(stranger, net.right.v4, 51820, [...genuine, ...forged]);
  const counted = async (): Promise<number> => {
    const { drops } = await right.status();
    return Object.entries(drops).reduce(
      (sum, [reason, n]) => sum + Number(n) - Number(before.drops[reason]),
      0,
    );
  };
  await until(async () => (await counted()) >= genuine.length + forged.length, 30_000, 'all of it dropped');
  expect((await right.peer('left')).endpoint).toBe(endpoint(net.left.v4, 51820));
  expect(await right.drops('replayed-counter')).toBeGreaterThanOrEqual(6);
  expect(await right.drops('bad-tag')).toBeGreaterThanOrEqual(6);
  await expectBothWays(pair);
  expect(socket.lines.map((line) => line.text).filter((text) => text.includes('"from"'))).toEqual([]);
});

test('with a keepalive the tunnel is there before the first packet, and opens the way back', async () => {
  await using pair = await startPair({ initiators: ['left'], keepalive: { left: 1 } });
  const { left, right, net } = pair;
  const seen = await until(
    async () => {
      const peer = await right.peer('left');
      return peer.latestHandshakeSeconds === null ? undefined : peer;
    },
    10_000,
    'a handshake without traffic',
  );
  expect(seen.endpoint).toBe(endpoint(net.left.v4, 51820));
  expect((await left.peer('right')).keepaliveSeconds).toBe(1);
  expect(await ping(right.host, OVERLAY.left.v4)).toMatchObject({ sent: 3, received: 3 });
  // And it goes on: messages arrive that nobody has sent anything for.
  const { rxBytes } = await right.peer('left');
  await until(
    async () => BigInt((await right.peer('left')).rxBytes) >= BigInt(rxBytes) + 64n,
    10_000,
    'two keepalives',
  );
  expect((await left.peer('right')).latestHandshakeSeconds).not.toBeNull();
});

test('without a keepalive nothing is sent before there is something to send', async () => {
  await using pair = await startPair();
  const { left, right, net } = pair;
  const stranger = await addHost(net, 'stranger');
  // A stranger's rubbish, counted on both sides, shows that both lanes had their turns.
  for (const node of [left, right]) {
    const before = await node.drops('malformed-message');
    await using _socket = await sendDatagrams(stranger, node.host.v4, 51820, [Buffer.alloc(9)]);
    await node.dropped('malformed-message', before);
  }
  for (const [node, peer] of [
    [left, 'right'],
    [right, 'left'],
  ] as const) {
    expect(await node.peer(peer)).toMatchObject({ latestHandshakeSeconds: null, rxBytes: '0', txBytes: '0' });
  }
});
