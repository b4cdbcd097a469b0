// What two nodes carry between them, and what they do not: IPv4 and IPv6 inside and outside, preshared keys, and the
// source check, each as the hosts behind the tunnel see it.

import { describe, expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { generateKeyPair, generatePresharedKey } from '../support/keys.ts';
import { NodeProcess, OVERLAY, Scratch, writeNode, writePair } from '../support/node-process.ts';
import { startPair } from '../support/pair.ts';
import { type Host, routed } from '../support/topology.ts';
import { echoUdp, endpoint, ping, transferTcp } from '../support/traffic.ts';

const TRANSFER_BYTES = 64 * 1024 * 1024;

describe.each(['v4', 'v6'] as const)('over %s', (underlay) => {
  test('pings, TCP and UDP of both families arrive unchanged, both ways', async () => {
    await using pair = await startPair({ underlay: underlay === 'v4' ? 4 : 6 });
    const { left, right } = pair.net;
    for (const [from, to, far] of [
      [left, right, OVERLAY.right],
      [right, left, OVERLAY.left],
    ] as const) {
      for (const address of [far.v4, far.v6]) {
        const name = `${from.name} to ${address}`;
        expect(await ping(from, address), name).toMatchObject({ sent: 3, received: 3 });
        const { sent, received } = await transferTcp(from, to, address, TRANSFER_BYTES);
        expect(received, name).toMatchObject({ bytes: TRANSFER_BYTES, sha256: sent.sha256 });
        expect(await echoUdp(from, to, address, [0, 1_400, 65_000]), name).toMatchObject([
          { size: 0, echoed: true },
          { size: 1_400, echoed: true },
          { size: 65_000, echoed: true },
        ]);
      }
    }
    expect((await pair.left.peer('right')).endpoint).toBe(endpoint(right[underlay], 51820));
    expect((await pair.right.peer('left')).endpoint).toBe(endpoint(left[underlay], 51820));
  });
});

describe('preshared key', () => {
  const key = generatePresharedKey();

  test('the same on both sides: the tunnel works', async () => {
    await using pair = await startPair({ presharedKey: { left: key, right: key } });
    expect(await ping(pair.net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    expect((await pair.left.peer('right')).hasPresharedKey).toBe(true);
  });

  test.each([
    { name: 'different', presharedKey: { left: key, right: generatePresharedKey() } },
    { name: 'on the left only', presharedKey: { left: key } },
    { name: 'on the right only', presharedKey: { right: key } },
  ])('$name: nothing passes, and whoever asked counts bad-handshake', async ({ presharedKey }) => {
    await using pair = await startPair({ presharedKey });
    const { left, right } = pair;
    expect(await ping(left.host, OVERLAY.right.v4, { count: 1, waitMs: 300 })).toMatchObject({ received: 0 });
    await left.dropped('bad-handshake', 0);
    const before = await right.drops('bad-handshake');
    expect(await ping(right.host, OVERLAY.left.v6, { count: 1, waitMs: 300 })).toMatchObject({ received: 0 });
    await right.dropped('bad-handshake', before);
  });
});

/** How many echo requests of each family the kernel of `host` was given. */
async function echoRequests(host: Host): Promise<{ v4: number; v6: number }> {
  const [names = [], values = []] = (await host.exec('cat', ['/proc/net/snmp']))
    .split('\n')
    .filter((line) => line.startsWith('Icmp:'))
    .map((line) => line.split(' '));
  const v6 = /^Icmp6InEchos\s+(\d+)/m.exec(await host.exec('cat', ['/proc/net/snmp6']))?.[1];
  return { v4: Number(values[names.indexOf('InEchos')]), v6: Number(v6) };
}

describe('source check', () => {
  test.each([
    { name: 'the address of another peer', v4: '10.9.0.3', v6: 'fd09::3' },
    { name: 'an address in the network of another peer', v4: '10.77.0.5', v6: 'fd77::5' },
    { name: 'an address of nobody', v4: '10.66.0.66', v6: 'fd66::66' },
  ])('a packet from $name goes no further than the node', async ({ v4, v6 }) => {
    await using scratch = await Scratch.create();
    await using net = await routed();
    const files = await writePair(scratch.path, {
      left: { host: net.left, addresses: OVERLAY.left.addresses },
      right: { host: net.right, addresses: OVERLAY.right.addresses },
    });
    const other = {
      public_key: generateKeyPair().publicKey,
      addresses: ['10.9.0.3', 'fd09::3'],
      routes: ['10.77.0.0/16', 'fd77::/48'],
    };
    const { right: rightFiles } = files;
    const file = { ...rightFiles.file, peers: { ...rightFiles.file.peers, other } };
    await using left = await NodeProcess.start(net.left, files.left);
    await using right = await NodeProcess.start(
      net.right,
      await writeNode(rightFiles.directory, rightFiles.keys, file),
    );
    // The kernel on the right would answer, were the packet to reach it: its routes allow the source.
    for (const [address, length] of [
      [v4, 32],
      [v6, 128],
    ] as const) {
      await net.left.ip('address', 'add', `${address}/${length}`, 'dev', left.interfaceName, 'nodad');
      await net.right.ip('route', 'replace', `${address}/${length}`, 'dev', right.interfaceName);
    }
    for (const [source, destination] of [
      [v4, OVERLAY.right.v4],
      [v6, OVERLAY.right.v6],
    ] as const) {
      const before = {
        echoes: await echoRequests(net.right),
        drops: await right.drops('source-not-allowed'),
      };
      await net.left.try('ping', ['-n', '-c', '2', '-i', '0.1', '-W', '0.1', '-I', source, destination]);
      await right.dropped('source-not-allowed', before.drops, 2);
      expect(await right.drops('source-not-allowed')).toBe(before.drops + 2);
      expect(await echoRequests(net.right)).toEqual(before.echoes);
    }
    expect(await ping(net.left, OVERLAY.right.v4, { count: 1 })).toMatchObject({ received: 1 });
  });
});

test('what the host sends into the interface for nobody is counted as no-route', async () => {
  await using pair = await startPair();
  const { left } = pair;
  for (const destination of [`ff02::1%${left.interfaceName}`, '10.9.0.77', 'fd09::77']) {
    const before = await left.drops('no-route');
    await ping(left.host, destination, { count: 1, waitMs: 50 });
    await left.dropped('no-route', before);
  }
});

test('a peer without a known endpoint costs its packets, and nothing else', async () => {
  await using pair = await startPair({ initiators: ['left'] });
  const { left, right } = pair;
  expect(await ping(right.host, OVERLAY.left.v4, { count: 2, waitMs: 50 })).toMatchObject({ received: 0 });
  await until(async () => (await right.drops('no-endpoint')) > 0, 5_000, 'no-endpoint');
  expect(await ping(left.host, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  expect(await ping(right.host, OVERLAY.left.v4)).toMatchObject({ received: 3 });
});
