// `wg set` on a node that runs, with traffic through it: what changes takes effect at once, and what does not change does
// not notice. What was set outlives a lane that failed, but not the node.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { generateKeyPair, generatePresharedKey } from '../support/keys.ts';
import { NodeProcess, nodeWith, OVERLAY, Scratch } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import type { Host } from '../support/topology.ts';
import { type PingResult, ping } from '../support/traffic.ts';

const FLOOD = { count: 200, intervalMs: 5 };

let pair: Pair;

/** `wg` with a secret by standard input. */
async function wg(host: Host, words: string, secret?: string): Promise<string> {
  if (secret === undefined) return await host.exec('wg', words.split(' '));
  return await host.exec('sh', ['-c', `cat | wg ${words}`], { input: secret });
}

/** Runs `change` in the middle of pings from the left to the right. */
async function pingsDuring(change: () => Promise<unknown>): Promise<PingResult> {
  const pings = ping(pair.net.left, OVERLAY.right.v4, FLOOD);
  await until(async () => (await pair.left.peer('right')).txBytes !== before, 5_000, 'the first pings');
  await change();
  return await pings;
}
let before = '';

describe('under traffic', () => {
  beforeEach(async () => {
    pair = await startPair();
    expect(await ping(pair.net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    before = (await pair.left.peer('right')).txBytes;
  });

  afterEach(async () => {
    await pair[Symbol.asyncDispose]();
  });

  test('a node is shown by wg as it is', async () => {
    const [device = '', peer = ''] = (await wg(pair.net.left, 'show rf-left dump')).split('\n');
    const { keys } = pair.left.files;
    expect(device.split('\t')).toEqual([keys.privateKey, keys.publicKey, '51820', 'off']);
    const [key, psk, endpoint, allowedIps, handshake, rx, tx, keepalive] = peer.split('\t');
    expect([key, psk, endpoint, keepalive]).toEqual([
      pair.right.files.keys.publicKey,
      '(none)',
      `${pair.net.right.v4}:51820`,
      'off',
    ]);
    expect(allowedIps?.split(',').sort()).toEqual(['10.9.0.2/32', 'fd09::2/128']);
    const status = await pair.left.peer('right');
    expect([handshake, rx, tx]).toEqual([
      String(status.latestHandshakeSeconds),
      status.rxBytes,
      status.txBytes,
    ]);
  });

  test('a mark, the same port, the same key: not one ping is lost, and the mark is on the wire', async () => {
    const result = await pingsDuring(async () => {
      await wg(pair.net.left, 'set rf-left fwmark 0x51 listen-port 51820');
      await wg(pair.net.left, 'set rf-left private-key /dev/stdin', pair.left.files.keys.privateKey);
    });
    expect(result).toMatchObject({ sent: FLOOD.count, received: FLOOD.count });
    // Marked packets have no other way than none: nothing passes while they are marked.
    await pair.net.left.ip('rule', 'add', 'fwmark', '0x51', 'prohibit');
    expect((await ping(pair.net.left, OVERLAY.right.v4, { count: 3, waitMs: 300 })).received).toBe(0);
    await wg(pair.net.left, 'set rf-left fwmark off');
    expect(await ping(pair.net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  });

  test('another port: the peer follows, and no ping is lost', async () => {
    const result = await pingsDuring(() => wg(pair.net.left, 'set rf-left listen-port 51999'));
    expect(result).toMatchObject({ sent: FLOOD.count, received: FLOOD.count });
    expect((await pair.right.peer('left')).endpoint).toBe(`${pair.net.left.v4}:51999`);
    expect(await pair.net.left.exec('ss', ['-uln'])).not.toContain(':51820');
  });

  test('a preshared key on both ends: not one ping is lost', async () => {
    const [left, right] = [pair.left.files.keys, pair.right.files.keys];
    const secret = generatePresharedKey();
    const result = await pingsDuring(async () => {
      await wg(pair.net.left, `set rf-left peer ${right.publicKey} preshared-key /dev/stdin`, secret);
      await wg(pair.net.right, `set rf-right peer ${left.publicKey} preshared-key /dev/stdin`, secret);
    });
    expect(result).toMatchObject({ sent: FLOOD.count, received: FLOOD.count });
  });

  test('a preshared key: with one end alone no session is agreed, with both the tunnel is there again', async () => {
    const [left, right] = [pair.left.files.keys, pair.right.files.keys];
    const secret = generatePresharedKey();
    await wg(pair.net.left, `set rf-left peer ${right.publicKey} preshared-key /dev/stdin`, secret);
    expect((await pair.left.peer('right')).hasPresharedKey).toBe(true);
    // A peer that comes anew knows of no session that may still be good.
    await wg(pair.net.right, `set rf-right peer ${left.publicKey} remove`);
    const again = `peer ${left.publicKey} allowed-ips 10.9.0.1/32 endpoint ${pair.net.left.v4}:51820`;
    await wg(pair.net.right, `set rf-right ${again}`);
    expect((await ping(pair.net.right, OVERLAY.left.v4, { waitMs: 500 })).received).toBe(0);
    await wg(pair.net.right, `set rf-right peer ${left.publicKey} preshared-key /dev/stdin`, secret);
    const answered = async () => (await ping(pair.net.right, OVERLAY.left.v4, { count: 1 })).received === 1;
    await until(answered, 20_000, 'a ping');
  });

  test('another private key: who knows it goes on', async () => {
    const keys = generateKeyPair();
    const old = pair.left.files.keys.publicKey;
    await wg(pair.net.left, 'set rf-left private-key /dev/stdin', keys.privateKey);
    await wg(
      pair.net.right,
      `set rf-right peer ${keys.publicKey} allowed-ips 10.9.0.1/32,fd09::1/128 peer ${old} remove`,
    );
    await until(
      async () => (await ping(pair.net.left, OVERLAY.right.v4, { count: 1 })).received === 1,
      15_000,
      'a ping',
    );
    expect((await pair.left.status()).interface.publicKey).toBe(keys.publicKey);
    // Nobody's file names it.
    expect((await pair.right.status()).peers.map(({ name }) => name)).toEqual([keys.publicKey]);
    expect(await ping(pair.net.right, OVERLAY.left.v6)).toMatchObject({ received: 3 });
  });

  test('an allowed IP moves to another peer and back; a peer goes and comes', async () => {
    const right = pair.right.files.keys.publicKey;
    const other = generateKeyPair().publicKey;
    await wg(pair.net.left, `set rf-left peer ${other} allowed-ips 10.9.0.2/32`);
    expect((await ping(pair.net.left, OVERLAY.right.v4, { count: 2, waitMs: 200 })).received).toBe(0);
    expect(await ping(pair.net.left, OVERLAY.right.v6)).toMatchObject({ received: 3 });
    await wg(pair.net.left, `set rf-left peer ${right} allowed-ips 10.9.0.2/32,fd09::2/128`);
    expect(await ping(pair.net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    await wg(pair.net.left, `set rf-left peer ${right} remove`);
    expect((await ping(pair.net.left, OVERLAY.right.v4, { count: 2, waitMs: 200 })).received).toBe(0);
    const again = `peer ${right} allowed-ips 10.9.0.2/32 endpoint ${pair.net.right.v4}:51820`;
    await wg(pair.net.left, `set rf-left ${again}`);
    await until(
      async () => (await ping(pair.net.left, OVERLAY.right.v4, { count: 1 })).received === 1,
      15_000,
      'a ping',
    );
  });

  test('get is answered in full while peers come and go', async () => {
    const others = Array.from({ length: 50 }, () => generateKeyPair().publicKey);
    const own = pair.right.files.keys.publicKey;
    const changes = (async () => {
      for (const key of others) {
        await wg(pair.net.left, `set rf-left peer ${key} allowed-ips 10.88.0.0/16`);
        await wg(pair.net.left, `set rf-left peer ${key} remove`);
      }
    })();
    for (let i = 0; i < 50; i++) {
      const [, ...peers] = (await wg(pair.net.left, 'show rf-left dump')).split('\n');
      const known = peers.filter((line) => line.startsWith(own));
      expect(known).toHaveLength(1);
      expect(peers.length).toBeLessThanOrEqual(2);
      for (const line of peers) expect(line.split('\t')).toHaveLength(8);
    }
    await changes;
  });
});

test('a persistent keepalive that is switched on sends at once', async () => {
  await using quiet = await startPair();
  const key = quiet.right.files.keys.publicKey;
  expect((await quiet.left.peer('right')).latestHandshakeSeconds).toBeNull();
  await wg(quiet.net.left, `set rf-left peer ${key} persistent-keepalive 600`);
  await until(
    async () => (await quiet.left.peer('right')).latestHandshakeSeconds !== null,
    5_000,
    'a handshake',
  );
});

test('a fresh lane has what was set since the start, and knows where peers were seen', async () => {
  const program = nodeWith('trapping-worker.ts');
  await using scratch = await Scratch.create();
  const trapFile = join(scratch.path, 'trap');
  await using made = await startPair({
    initiators: ['right'],
    start: { left: { program, env: { TRAP_FILE: trapFile } } },
  });
  const { left, right, net } = made;
  expect(await ping(net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
  const other = generateKeyPair().publicKey;
  await wg(
    net.left,
    `set rf-left listen-port 51999 fwmark 7 peer ${other} allowed-ips 10.88.0.0/16 endpoint 192.0.2.77:7`,
  );
  expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  const shown = (text: string): string[] =>
    text.split('\n').map((line) => line.split('\t').slice(0, 4).join('\t'));
  const before = shown(await wg(net.left, 'show rf-left dump'));

  await writeFile(trapFile, '');
  await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
  await left.process.line(/the lane runs again/, 10_000);
  expect(shown(await wg(net.left, 'show rf-left dump'))).toEqual(before);
  // The left was never told where the right is: it has seen it.
  expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });

  await left.stop();
  await using again = await NodeProcess.start(net.left, left.files);
  const { interface: own, peers } = await again.status();
  expect(own.listenPort).toBe(51820);
  expect(peers.map(({ name }) => name)).toEqual(['right']);
  expect((await right.status()).lane.restarts).toBe(0);
});
