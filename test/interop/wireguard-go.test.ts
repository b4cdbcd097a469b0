// wireguard-go against itself: the measure that tests and benchmarks of this folder compare with, and the proof that their
// ground is sound before the program under test stands on it.

import { expect, test } from 'vitest';
import { Capture, captureObstacle } from '../support/capture.ts';
import { generateKeyPair, generatePresharedKey, publicKeyOf } from '../support/keys.ts';
import { OVERLAY } from '../support/node-process.ts';
import { type Host, routed } from '../support/topology.ts';
import { echoUdp, endpoint, ping, transferTcp } from '../support/traffic.ts';
import { WireguardGo } from '../support/wireguard-go.ts';

async function startPair(
  left: Host,
  right: Host,
  underlay: 'v4' | 'v6',
): Promise<[WireguardGo, WireguardGo]> {
  const presharedKey = generatePresharedKey();
  const keys = { left: generateKeyPair(), right: generateKeyPair() };
  const start = (own: 'left' | 'right', host: Host, other: 'left' | 'right', far: Host) =>
    WireguardGo.start(host, {
      device: `wg-${own}`,
      privateKey: keys[own].privateKey,
      listenPort: 51820,
      addresses: OVERLAY[own].addresses,
      peers: [
        {
          publicKey: keys[other].publicKey,
          presharedKey,
          endpoint: endpoint(far[underlay], 51820),
          allowedIps: [`${OVERLAY[other].v4}/32`, `${OVERLAY[other].v6}/128`],
        },
      ],
    });
  return [await start('left', left, 'right', right), await start('right', right, 'left', left)];
}

test.each(['v4', 'v6'] as const)('two of them carry IPv4 and IPv6 over %s', async (underlay) => {
  await using net = await routed();
  const { left, right } = net;
  const [near, far] = await startPair(left, right, underlay);
  for (const address of [OVERLAY.right.v4, OVERLAY.right.v6]) {
    expect(await ping(left, address)).toMatchObject({ sent: 3, received: 3 });
    const { sent, received } = await transferTcp(left, right, address, 2 * 1024 * 1024);
    expect(received).toMatchObject({ bytes: sent.bytes, sha256: sent.sha256 });
    const echoes = await echoUdp(left, right, address, [1_372, 65_000]);
    expect(echoes.every((echo) => echo.echoed)).toBe(true);
  }
  const [peer] = await near.peers();
  expect(peer?.latestHandshakeSeconds).toBeGreaterThan(0);
  expect(peer?.endpoint).toBe(endpoint(right[underlay], 51820));
  expect(peer?.txBytes).toBeGreaterThan(4 * 1024 * 1024);
  // Less than was sent is no fault: a full socket drops datagrams, and TCP sends them again.
  expect((await far.peers())[0]?.rxBytes).toBeGreaterThan(4 * 1024 * 1024);
});

test.skipIf(captureObstacle)(
  'on the wire there are WireGuard messages only, of the lengths of the paper',
  async () => {
    await using net = await routed();
    await using capture = await Capture.start(net.internet, 'left', {
      filter: 'udp or icmp or icmp6',
      hex: true,
    });
    await startPair(net.left, net.right, 'v4');
    await ping(net.left, OVERLAY.right.v4, { count: 1 });
    await capture.packet(/192\.0\.2\.10\.51820 > 198\.51\.100\.10\.51820: UDP, length 148/, 1_000); // initiation
    await capture.packet(/198\.51\.100\.10\.51820 > 192\.0\.2\.10\.51820: UDP, length 92/, 1_000); // response
    await capture.packet(/UDP, length 128/, 1_000); // 84 bytes of ping, padded to 96, and 32 of header and tag
    expect((await capture.stop()).join('\n')).not.toContain('ICMP');
  },
);

test('a key made here is one that wg agrees with', async () => {
  await using net = await routed();
  const privateKey = await net.left.exec('wg', ['genkey']);
  expect(publicKeyOf(privateKey)).toBe(await net.left.exec('wg', ['pubkey'], { input: privateKey }));
  const own = generateKeyPair();
  expect(own.publicKey).toBe(await net.left.exec('wg', ['pubkey'], { input: own.privateKey }));
});
