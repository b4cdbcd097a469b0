// Clients that break off, get stuck or come in crowds: nobody else notices, nothing is half done, nothing is left over.
// And a device of the size that the figures name.

import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import * as fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { answer, ask, BareInterface, dial } from '../support/bare-interface.ts';
import { pairOf } from '../support/bare-pair.ts';
import { until, within } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import { OVERLAY } from '../support/node-process.ts';
import { type Routed, routed } from '../support/topology.ts';
import { ping } from '../support/traffic.ts';

const NAME = 'faults';
const GET = 'get=1\n\n';
const KEY = 'b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33';
/** A request of which nothing must be done before its last line is there. */
const LONG = `set=1\nreplace_peers=true\n${Array.from({ length: 2_000 }, (_, i) => `public_key=${i.toString(16).padStart(64, '0')}\nallowed_ip=10.${i >> 8}.${i & 255}.0/24\n`).join('')}`;

const MUTATED = 3_000;
/** Repeats what failed. */
const SEED = 20_261_122;
/** Everything a request can hold but a port, which somebody may have. */
const ORIGINAL = Buffer.from(
  `set=1\nprivate_key=${'11'.repeat(32)}\nfwmark=3\npublic_key=${KEY}\npreshared_key=${'22'.repeat(32)}\nendpoint=192.0.2.1:1\n` +
    'persistent_keepalive_interval=5\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/8\nallowed_ip=-fd09::/16\nprotocol_version=1\n\n',
);

/** The request with some bytes set, taken out or put in. */
function mutated(places: readonly (readonly [number, number])[]): Buffer {
  return places.reduce((bytes, [place, byte]) => {
    const at = place % (bytes.length + 1);
    const rest = bytes.subarray(at + (place & 1));
    return Buffer.concat([bytes.subarray(0, at), ...(place & 2 ? [] : [Buffer.of(byte)]), rest]);
  }, ORIGINAL);
}

let net: Routed;
let made: BareInterface;

beforeAll(async () => {
  net = await routed();
});

afterAll(async () => {
  await net[Symbol.asyncDispose]();
});

function descriptorCount(): number {
  return readdirSync(`/proc/${made.process.pid}/fd`).length;
}

function residentBytes(): number {
  const [, pages] = readFileSync(`/proc/${made.process.pid}/statm`, 'utf8').split(' ');
  return Number(pages) * 4096;
}

describe('a client', () => {
  let descriptors: number;

  beforeAll(async () => {
    made = await BareInterface.start(net.left, NAME);
    await made.ask(`set=1\npublic_key=${KEY}\nallowed_ip=10.0.0.0/8\n\n`);
  });

  afterAll(async () => {
    await made[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    descriptors = descriptorCount();
  });

  async function expectUnharmed(): Promise<void> {
    expect(await made.ask(GET)).toContain(`public_key=${KEY}\n`);
    expect((await made.ask(GET)).match(/public_key=/g)).toHaveLength(1);
    await until(() => descriptorCount() <= descriptors, 10_000, 'the descriptors of clients come back');
  }

  test('that is stuck inside a set, and one in a line of 4 MB: others are served, memory is bounded', async () => {
    const before = residentBytes();
    const stuck = await dial(NAME);
    stuck.write('set=1\nreplace_peers=true\n');
    const endless = await dial(NAME);
    endless.write(`set=1\nprivate_key=${'0'.repeat(4 * 1024 * 1024)}`);
    await within(ask(NAME, GET), 3_000, 'an answer to somebody else');
    endless.write('\n\n');
    expect(await within(answer(endless), 3_000, 'an answer to the endless line')).toBe('errno=-5\n\n');
    expect(residentBytes() - before).toBeLessThan(32 * 1024 * 1024);
    stuck.destroy();
    endless.destroy();
    await expectUnharmed();
  });

  test('that sends without end is refused, and holds no more than its share', async () => {
    const before = residentBytes();
    const socket = await dial(NAME);
    const lines = Buffer.from('allowed_ip=10.0.0.0/8\n'.repeat(50_000));
    socket.write(`set=1\npublic_key=${KEY}\n`);
    const answered = answer(socket);
    // Past the limit it is read on, so that the answer is not lost, and thrown away.
    for (let megabytes = 0; megabytes < 32; megabytes++) {
      await new Promise<void>((resolve) => socket.write(lines, () => resolve()));
    }
    expect(await within(answered, 10_000, 'the refusal')).toBe('errno=-5\n\n');
    expect(residentBytes() - before).toBeLessThan(256 * 1024 * 1024);
    socket.destroy();
    await expectUnharmed();
  });

  test('300 of them die in the middle of a request: nothing of it is done', async () => {
    for (let round = 0; round < 3; round++) {
      const clients = await Promise.all(Array.from({ length: 100 }, () => dial(NAME)));
      for (const [i, client] of clients.entries()) client.write(LONG.slice(0, 10 + i * 1_000));
      for (const [i, client] of clients.entries()) {
        if (i % 2 === 0) client.destroy();
        else client.end();
      }
      await Promise.all(clients.map((client) => client.destroyed || once(client.resume(), 'close')));
    }
    await expectUnharmed();
  });

  test('200 at once are all answered', async () => {
    const answers = await Promise.all(Array.from({ length: 200 }, () => ask(NAME, GET)));
    for (const text of answers) expect(text).toMatch(/errno=0\n\n$/);
    const sets = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        ask(NAME, `set=1\nfwmark=${i}\npublic_key=${KEY}\nupdate_only=true\n\n`),
      ),
    );
    expect(new Set(sets)).toEqual(new Set(['errno=0\n\n']));
    await made.ask('set=1\nfwmark=0\n\n');
    await expectUnharmed();
  });

  test('more than are served make room for each other, and the last is served', async () => {
    const idle: Socket[] = [];
    for (let i = 0; i < 600; i++) idle.push(await dial(NAME));
    expect(await made.ask(GET)).toMatch(/errno=0\n\n$/);
    for (const client of idle) client.destroy();
    await expectUnharmed();
  });

  test('that reads no answer concerns nobody else', async () => {
    const deaf = await dial(NAME);
    deaf.pause();
    for (let i = 0; i < 2_000; i++) deaf.write(GET);
    await within(ask(NAME, GET), 3_000, 'an answer to somebody else');
    deaf.destroy();
    await expectUnharmed();
  });

  test(`${MUTATED} of them send what was changed in some places: each is answered or hung up on, and all is well`, async () => {
    const before = residentBytes();
    const places = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
    const requests = fc.sample(places, { numRuns: MUTATED, seed: SEED }).map(mutated);
    for (let at = 0; at < requests.length; at += 50) {
      const answers = requests.slice(at, at + 50).map(async (request) => {
        const socket = await dial(NAME);
        socket.end(request);
        return await answer(socket);
      });
      for (const text of await within(Promise.all(answers), 10_000, 'all answers')) {
        expect(text).toMatch(/^$|errno=(0|-5|-22|-71)\n\n$/);
      }
    }
    expect(residentBytes() - before).toBeLessThan(96 * 1024 * 1024);
    expect(
      await made.ask(`set=1\nfwmark=0\nreplace_peers=true\npublic_key=${KEY}\nallowed_ip=10.0.0.0/8\n\n`),
    ).toBe('errno=0\n\n');
    await expectUnharmed();
  });

  test('in the log there is no key', async () => {
    const secret = 'f8'.repeat(32);
    await made.ask(
      `set=1\nprivate_key=${secret}\npublic_key=${KEY}\npreshared_key=${secret}\nwhat=${secret}\n\n`,
    );
    await made.ask(`set=1\nprivate_key=${secret}\n\n`);
    await made.ask(`set=1\nprivate_key ${secret}\n\n`);
    expect(made.process.output).not.toMatch(/f8f8|\+Pj4/);
  });
});

describe('a large device', () => {
  const PEERS = 10_000;
  const PREFIXES = 130_560;

  test(`${PEERS} peers in one request, that still shake hands; then ${PREFIXES} allowed IPs, listed back exactly`, async () => {
    made = await BareInterface.start(net.left, 'large');
    await using left = made;
    await using right = await BareInterface.start(net.right, 'large1');
    const keys = { left: generateKeyPair(), right: generateKeyPair() };
    const at = `${net.right.v4}:51820`;
    await pairOf(right, 'right', keys, { listenPort: 51820 });
    await pairOf(left, 'left', keys, { listenPort: 51820, endpoint: at });
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });

    const before = residentBytes();
    let request = 'set=1\n';
    for (let i = 0; i < PEERS; i++) {
      const key = Buffer.from(generateKeyPair().publicKey, 'base64').toString('hex');
      request += `public_key=${key}\nallowed_ip=10.${100 + (i >> 8)}.${i & 255}.1/32\npersistent_keepalive_interval=0\n`;
    }
    const began = performance.now();
    expect(await left.ask(`${request}\n`)).toBe('errno=0\n\n');
    const seconds = (performance.now() - began) / 1000;
    const bytes = (residentBytes() - before) / PEERS;
    console.log(`${PEERS} peers: ${seconds.toFixed(2)} s, ${Math.round(bytes)} bytes each`);
    expect((await left.wg('show', 'large', 'peers')).split('\n')).toHaveLength(PEERS + 1);
    expect(bytes).toBeLessThan(25_000);
    // The session lives on, and a new one is agreed.
    expect(await ping(net.left, OVERLAY.right.v6)).toMatchObject({ received: 3 });
    await right.wg('set', 'large1', 'private-key', '/dev/null');
    await pairAgain(right, keys);
    await until(
      async () => (await ping(net.left, OVERLAY.right.v4, { count: 1 })).received === 1,
      30_000,
      'a handshake',
    );

    const wanted: string[] = [];
    for (let i = 0; i < PREFIXES; i++)
      wanted.push(`172.${16 + (i >> 15)}.${(i >> 7) & 255}.${(i & 127) << 1}/31`);
    const again = performance.now();
    const lines = wanted.map((prefix) => `allowed_ip=${prefix}\n`).join('');
    expect(await left.ask(`set=1\npublic_key=${KEY}\n${lines}\n`)).toBe('errno=0\n\n');
    console.log(`${PREFIXES} allowed IPs: ${((performance.now() - again) / 1000).toFixed(2)} s`);
    const listed = /(?:allowed_ip=.*\n)+/.exec(
      (await left.ask(GET)).split(`public_key=${KEY}\n`)[1] ?? '',
    )?.[0];
    expect(
      listed
        ?.split('\n')
        .filter((line) => line !== '')
        .map((line) => line.slice('allowed_ip='.length))
        .sort(),
    ).toEqual(wanted.sort());
    const shown = (await left.wg('show', 'large', 'allowed-ips'))
      .split('\n')
      .find((line) => line.split(' ').length > 100_000);
    expect(shown?.split(/[\t ]/)).toHaveLength(PREFIXES + 1);
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  });

  async function pairAgain(right: BareInterface, keys: Parameters<typeof pairOf>[2]): Promise<void> {
    const command = `cat | wg set ${right.name} private-key /dev/stdin`;
    await right.host.exec('sh', ['-c', command], { input: keys.right.privateKey });
  }
});
