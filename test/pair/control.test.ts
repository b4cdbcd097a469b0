// The control socket and `ringfence status`: what a reader sees, and that no client is a burden to the others.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { NodeStatus } from '../../src/control/target.ts';
import { within } from '../support/deadline.ts';
import { OVERLAY, RINGFENCE } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { ping } from '../support/traffic.ts';

const CLIENTS = 200;
/** More than the node keeps at a time. */
const CROWD = 600;

let pair: Pair;

beforeAll(async () => {
  pair = await startPair({ presharedKey: true });
  expect(await ping(pair.net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
});

afterAll(async () => {
  await pair[Symbol.asyncDispose]();
});

/** docs/status.schema.json, to the letter: a key that it does not have is one that it should. */
function statusSchema(): z.ZodType {
  const text = readFileSync(new URL('../../docs/status.schema.json', import.meta.url), 'utf8');
  const strict = (_: string, value: unknown): unknown =>
    typeof value === 'object' && value !== null && 'properties' in value && !('additionalProperties' in value)
      ? { ...value, additionalProperties: false }
      : value;
  return z.fromJSONSchema(JSON.parse(text, strict) as Parameters<typeof z.fromJSONSchema>[0]);
}

test('status --watch goes on, with the rates of what passes', async () => {
  const { left, net } = pair;
  const env = { RINGFENCE_RUN_DIR: left.files.runDirectory };
  await using watch = net.left.spawn(RINGFENCE, ['status', 'rf-left', '--watch'], { env });
  await watch.line(/^ {2}PEER +ENDPOINT +HANDSHAKE +IN +OUT +RECEIVED/, 10_000);
  await watch.line(/^ {2}right +\S+ +\d+ s ago +0 bit\/s +0 bit\/s/, 10_000);
  const pinging = ping(net.left, OVERLAY.right.v4, { count: 150 });
  await watch.line(/^ {2}right +\S+ +\d+ s ago +[\d.]+ kbit\/s +[\d.]+ kbit\/s/, 10_000);
  await pinging;
  expect(watch.output).not.toContain('\u{1b}'); // no terminal
});

test('status --json has the node, its peers, and every counter', async () => {
  const { left, net } = pair;
  const seconds = Math.floor(Date.now() / 1000);
  const status = JSON.parse(await left.command('status', 'rf-left', '--json')) as NodeStatus;
  expect(status).toMatchObject({
    pid: left.process.pid,
    interface: { name: 'rf-left', listenPort: 51820, mtu: 1420, addresses: OVERLAY.left.addresses },
    lane: { state: 'running', restarts: 0, lastFailure: null, asksCookiesOf: 'nobody' },
    peers: [
      {
        name: 'right',
        publicKey: pair.right.files.keys.publicKey,
        hasPresharedKey: true,
        endpoint: `${net.right.v4}:51820`,
        allowedIps: ['10.9.0.2/32', 'fd09::2/128'],
      },
    ],
    faults: {},
    names: null,
  });
  const [peer] = status.peers;
  expect(Math.abs((peer?.latestHandshakeSeconds ?? 0) - seconds)).toBeLessThan(60);
  expect(BigInt(peer?.rxBytes ?? 0)).toBeGreaterThan(3n * 96n);
  expect(BigInt(peer?.txBytes ?? 0)).toBeGreaterThan(3n * 96n);
  for (const reason of ['bad-handshake', 'bad-tag', 'no-route', 'source-not-allowed', 'unknown-index']) {
    expect(status.drops[reason], reason).toMatch(/^\d+$/);
  }
  expect(statusSchema().safeParse(status).error?.issues ?? []).toEqual([]);
  const { peers: _, ...less } = status;
  expect(statusSchema().safeParse(less).success).toBe(false);
  expect(statusSchema().safeParse({ ...status, more: 1 }).success).toBe(false);
  // Without an interface: a list of all.
  expect((JSON.parse(await left.command('status', '--json')) as NodeStatus[]).map((one) => one.pid)).toEqual([
    left.process.pid,
  ]);
  const table = await left.command('status');
  expect(table).toContain('rf-left  port 51820, MTU 1420');
  expect(table).toMatch(/right +198\.51\.100\.10:51820 +\d+ s ago/);
  // No secret is in either.
  const { privateKey } = left.files.keys;
  expect(JSON.stringify(status) + table + left.process.output).not.toContain(privateKey);
});

test('the socket is for its owner only', async () => {
  expect(((await stat(pair.left.socket)).mode & 0o777).toString(8)).toBe('700');
});

test.each([['rf-none'], []])('status of no running node (%s): exit 1, and what to do', async (...name) => {
  const { code, stdout, stderr } = await pair.net.left.try(RINGFENCE, ['status', ...name], {
    env: { RINGFENCE_RUN_DIR: '/run/nobody-is-here' },
  });
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr.split('\n')).toEqual([
    expect.stringMatching(/^ringfence: no node runs (here|on rf-none): .*\(ERR_NODE_NOT_RUNNING\)$/),
    expect.stringMatching(/hint: start one with `ringfence run FILE`/),
  ]);
});

describe('a client', () => {
  /** What the node says to a client that sends `text`, until it hangs up. */
  async function say(text: string | Buffer): Promise<string> {
    const socket = connect(pair.left.socket);
    const parts: Buffer[] = [];
    socket.on('data', (part: Buffer) => parts.push(part));
    socket.on('error', () => {}); // the node may hang up while we still write
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(text);
    await within(closed, 15_000, 'the node hangs up');
    return Buffer.concat(parts).toString('utf8');
  }

  test.each([
    { name: 'text', text: 'hello\n' },
    { name: 'bytes', text: Buffer.from([0xff, 0xfe, 0x00, 0x0a]) },
    { name: 'an unknown request', text: '{"request":"reboot"}\n' },
    { name: 'a request that is no text', text: '{"request":{"status":1}}\n' },
    { name: 'an array', text: '[]\n' },
    { name: 'null', text: 'null\n' },
  ])('that sends $name is told so', async ({ text }) => {
    expect(Object.keys(JSON.parse(await say(text)) as object)).toEqual(['error']);
    expect((await pair.left.status()).pid).toBe(pair.left.process.pid);
  });

  test('that sends a line of 5 MB is hung up on', async () => {
    expect(await say(`${'x'.repeat(5 * 1024 * 1024)}\n`)).toBe('');
    expect((await pair.left.status()).pid).toBe(pair.left.process.pid);
  });

  test.each([CLIENTS, CROWD])('that says nothing is no burden, nor are %s of them', async (count) => {
    const clients: Socket[] = [];
    try {
      for (let i = 0; i < count; i++) {
        const client = connect(pair.left.socket);
        client.on('error', () => {});
        await once(client, 'connect');
        clients.push(client);
      }
      const status = JSON.parse(await pair.left.command('status', 'rf-left', '--json')) as NodeStatus;
      expect(status.pid).toBe(pair.left.process.pid);
      expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
    } finally {
      for (const client of clients) client.destroy();
    }
  });

  test(`is answered among ${CLIENTS} that ask at once`, async () => {
    const answers = await Promise.all(Array.from({ length: CLIENTS }, () => say('{"request":"status"}\n')));
    for (const text of answers) expect(JSON.parse(text)).toHaveProperty('answer.pid', pair.left.process.pid);
  });

  test('changes what the node logs, and is told what is no level', async () => {
    expect(await pair.left.command('log-level', 'rf-left')).toBe('info');
    expect(await pair.left.command('log-level', 'rf-left', 'debug')).toBe('debug');
    expect(await pair.left.command('log-level', 'rf-left')).toBe('debug');
    expect(JSON.parse(await say('{"request":"log-level","level":"loud"}\n'))).toMatchObject({
      error: { code: 'ERR_NODE_REQUEST' },
    });
    await pair.left.command('log-level', 'rf-left', 'info');
  });

  test('that does not read its answer, or breaks off, concerns nobody else', async () => {
    const deaf = connect(pair.left.socket);
    deaf.pause();
    deaf.write('{"request":"status"}\n');
    const fickle = connect(pair.left.socket);
    await once(fickle, 'connect');
    fickle.end('{"request":');
    fickle.destroy();
    expect((await pair.left.status()).pid).toBe(pair.left.process.pid);
    deaf.destroy();
  });
});
