// What the host below the tunnel is like: its MTU, a host without IPv6, and endpoints that are names.

import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { NodeProcess, OVERLAY, Scratch, writeNode, writePair } from '../support/node-process.ts';
import { startPair } from '../support/pair.ts';
import { routed } from '../support/topology.ts';
import { endpoint, ping, transferTcp } from '../support/traffic.ts';

/** IPv4 or IPv6 header, and ICMP's. */
const PING_OVERHEAD = { v4: 28, v6: 48 } as const;

describe.each([
  { underlayMtu: 1500, mtu: 1420 },
  { underlayMtu: 1400, mtu: 1320 },
])('wires of MTU $underlayMtu', ({ underlayMtu, mtu }) => {
  test.each([4, 6] as const)(
    `make a tunnel of ${mtu} over IPv%s, which carries that much in one piece`,
    async (underlay) => {
      await using pair = await startPair({ underlay, underlayMtu, mtu: 'auto' });
      const { left, net } = pair;
      expect((await left.status()).interface.mtu).toBe(mtu);
      expect(await net.left.ip('link', 'show', 'rf-left')).toContain(`mtu ${mtu} `);
      for (const family of ['v4', 'v6'] as const) {
        const most = mtu - PING_OVERHEAD[family];
        const whole = { count: 2, doNotFragment: true } as const;
        expect(await ping(net.left, OVERLAY.right[family], { ...whole, sizeBytes: most })).toMatchObject({
          received: 2,
        });
        const beyond = await ping(net.left, OVERLAY.right[family], {
          ...whole,
          sizeBytes: most + 1,
          waitMs: 100,
        });
        expect(beyond).toMatchObject({ received: 0 });
        expect(beyond.output).toContain(`mtu${family === 'v4' ? '=' : ': '}${mtu}`);
        // And with permission to fragment more than that passes.
        expect(await ping(net.left, OVERLAY.right[family], { count: 1, sizeBytes: 4_000 })).toMatchObject({
          received: 1,
        });
      }
    },
  );
});

test.each([4, 6] as const)(
  'a tunnel larger than its wires take, over IPv%s, still carries streams and datagrams, in fragments',
  async (underlay) => {
    await using pair = await startPair({ underlay, underlayMtu: 1400, mtu: 1420 });
    const { net } = pair;
    for (const [from, to, address] of [
      [net.left, net.right, OVERLAY.right.v4],
      [net.right, net.left, OVERLAY.left.v6],
    ] as const) {
      const { sent, received } = await transferTcp(from, to, address, 4 * 1024 * 1024);
      expect(received).toMatchObject({ bytes: sent.bytes, sha256: sent.sha256 });
      expect(await ping(from, address, { count: 1, sizeBytes: 1_372 })).toMatchObject({ received: 1 });
    }
  },
);

test.each([
  { name: 'on every interface', sysctl: 'net.ipv6.conf.all.disable_ipv6' },
  { name: 'on new interfaces', sysctl: 'net.ipv6.conf.default.disable_ipv6' },
])('IPv6 is switched off $name: the node starts over IPv4 and says so', async ({ sysctl }) => {
  await using scratch = await Scratch.create();
  await using net = await routed();
  const files = await writePair(scratch.path, {
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
  });
  await net.left.sysctl({ [sysctl]: 1 });
  await using left = await NodeProcess.start(net.left, files.left);
  await using _right = await NodeProcess.start(net.right, files.right);
  expect(left.process.lines.map((line) => line.text).filter((text) => text.includes('IPv6'))).toEqual([
    expect.stringMatching(/"level":"warn".*"IPv6 is switched off/),
  ]);
  expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  expect(await ping(net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
  expect(await left.stop()).toEqual({ code: 0, signal: undefined });
});

describe('an endpoint that is a name', () => {
  async function start(hosts: string) {
    await using undo = new AsyncDisposableStack();
    const scratch = undo.use(await Scratch.create());
    const net = undo.use(await routed());
    const hostsFile = join(scratch.path, 'hosts');
    const resolvFile = join(scratch.path, 'resolv.conf');
    await writeFile(hostsFile, hosts);
    await writeFile(resolvFile, 'nameserver 127.0.0.1\n'); // where nobody listens
    const files = await writePair(scratch.path, {
      left: { host: net.left, addresses: OVERLAY.left.addresses },
      right: { host: net.right, addresses: OVERLAY.right.addresses },
      initiators: ['left'],
    });
    const { directory, keys, file } = files.left;
    const [peer] = Object.values(file.peers);
    if (peer === undefined) throw new Error('the left node has no peer');
    const named = { ...file, peers: { right: { ...peer, endpoints: ['right.example:51820'] } } };
    const mounts =
      'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"';
    const left = undo.use(
      await NodeProcess.start(net.left, await writeNode(directory, keys, named), {
        inside: ['unshare', '--mount', 'sh', '-c', mounts, 'sh', hostsFile, resolvFile],
      }),
    );
    undo.use(await NodeProcess.start(net.right, files.right));
    const owned = undo.move();
    return { net, left, hostsFile, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  }

  test.each(['v4', 'v6'] as const)('is found where the host says, over %s', async (family) => {
    const address = family === 'v4' ? '198.51.100.10' : '2001:db8:2::10';
    await using named = await start(`${address} right.example\n`);
    await named.left.process.line(/right: its endpoints are at/, 10_000);
    expect(await ping(named.net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    expect((await named.left.peer('right')).endpoint).toBe(endpoint(address, 51820));
  });

  test('keeps nobody waiting while it does not resolve, and is found when it does', async () => {
    await using named = await start('127.0.0.1 localhost\n');
    await named.left.process.line(
      /"level":"warn".*"right: right\.example:51820 does not resolve yet/,
      20_000,
    );
    expect((await named.left.peer('right')).endpoint).toBe('right.example:51820');
    await appendFile(named.hostsFile, '198.51.100.10 right.example\n');
    await named.left.process.line(/right: its endpoints are at 198\.51\.100\.10:51820/, 20_000);
    expect(await ping(named.net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  });
});
