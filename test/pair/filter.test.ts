// A policy on one of two nodes, with real packets: nothing that is not granted, what is granted, and live flows that end with
// their grant and only with it. The left node has the policy; the right one is any WireGuard peer.

import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { NodeStatus } from '../../src/control/target.ts';
import { expectAnswer } from '../support/answers.ts';
import { captureObstacle } from '../support/capture.ts';
import { until } from '../support/deadline.ts';
import type { LineProcess } from '../support/line-process.ts';
import { cameThrough, type LiveFlow, openFlows, type TunnelEnd } from '../support/live-flows.ts';
import { OVERLAY, RINGFENCE } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { echoUdp, holdPort, NODE, ping, sendDatagrams, sendTrains, transferTcp } from '../support/traffic.ts';

const PUSH_PORT = 5300;
const LIVE_PORT = 5400;

let pair: Pair;
beforeAll(async () => {
  pair = await startPair({ names: { left: 'filtering', right: 'filtered' } });
});
afterAll(() => pair[Symbol.asyncDispose]());

type Row = { readonly to: string; readonly ports?: readonly string[] };

/** Gives the left node a policy by which its peer may reach this; undefined: no policy at all. */
async function reload(allow: readonly Row[] | undefined, firewall: object = { version: 1 }): Promise<void> {
  const { file, configFile } = pair.left.files;
  const peers = Object.entries(file.peers).map(([name, peer]) => [
    name,
    { ...peer, ...(allow === undefined ? {} : { allow }) },
  ]);
  const policy = allow === undefined ? {} : { firewall };
  await writeFile(configFile, stringify({ ...file, peers: Object.fromEntries(peers), ...policy }));
  await pair.left.command('reload');
}

async function enforced(): Promise<Extract<NodeStatus['policy'], { state: 'enforced' }>> {
  const { policy } = await pair.left.status();
  if (policy?.state !== 'enforced') throw new Error(`no policy is enforced: ${policy?.state}`);
  return policy;
}

async function denied(): Promise<number> {
  const { denied: rows } = await enforced();
  return rows.reduce((sum, { packets }) => sum + Number(packets), 0);
}

async function deniedBeyond(count: number): Promise<void> {
  await until(async () => (await denied()) > count, 20_000, `more than ${count} packets are denied`);
}

const self = (...ports: string[]): Row[] => [{ to: 'self', ports }];

test('without a grant nothing passes but what this node opens, and the status says by which row', async () => {
  expect((await pair.left.status()).policy).toBeNull();
  expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
  await reload([]);
  for (const to of [OVERLAY.left.v4, OVERLAY.left.v6]) {
    expect(await ping(pair.net.right, to, { waitMs: 300 })).toMatchObject({ received: 0 });
  }
  for (const to of [OVERLAY.right.v4, OVERLAY.right.v6]) {
    expect(await ping(pair.net.left, to)).toMatchObject({ received: 3 });
  }
  const { denied: rows } = await enforced();
  expect(rows).toMatchObject([{ peer: 'filtered', rule: null, stage: 'default' }]);

  await reload([{ to: 'self' }]);
  expect(await ping(pair.net.right, OVERLAY.left.v6)).toMatchObject({ received: 3 });
  expect(await pair.left.command('status')).toMatch(/policy +\d+ rules, \d+ flows; \d+ packets denied/);
});

test('what a row grants passes, fragments and superpackets too, and nothing beside it', async () => {
  await reload([{ to: 'self', ports: ['tcp', 'udp/1024-65535'] }]);
  const { sent, received } = await transferTcp(pair.net.right, pair.net.left, OVERLAY.left.v4, 20_000_000);
  expect(received.sha256).toBe(sent.sha256);
  const echoes = await echoUdp(pair.net.right, pair.net.left, OVERLAY.left.v6, [10, 1_400, 4_000, 9_000]);
  expect(echoes.map(({ echoed }) => echoed)).toEqual([true, true, true, true]);
  expect(await ping(pair.net.right, OVERLAY.left.v4, { waitMs: 300 })).toMatchObject({ received: 0 });
});

test('a denied packet is answered where the file says reject', async () => {
  await reload(self('tcp/1'), { version: 1, action: 'reject' });
  const refused = pair.net.right.exec(NODE, [
    '-e',
    `require('net').connect(5401, '${OVERLAY.left.v4}').on('error', (error) => console.log(error.code))`,
  ]);
  expect((await refused).trim()).toBe('ECONNREFUSED');
});

/** `ringfence explain --live` at the left node, once it has begun. */
async function following(...args: readonly string[]): Promise<LineProcess> {
  const env = { RINGFENCE_RUN_DIR: pair.left.files.runDirectory };
  const live = ['explain', '--live', 'filtered', '--for', '60s', ...args];
  return await started(pair.net.left.spawn(RINGFENCE, live, { env }), /^Following the packets of filtered/);
}

test('explain --live shows the packets of a peer with what decided, and counts them by row', async () => {
  await reload(self('icmp', 'udp/1'));
  await using live = await following();
  expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
  const { v4, v6 } = OVERLAY.left;
  await using _sent = await sendDatagrams(pair.net.right, v6, 2, [new Uint8Array(10), new Uint8Array(4_000)]);
  const by = 'grant by peers\\.filtered\\.allow\\[0\\], \\S+:\\d+:\\d+$';
  const { v4: right, v6: right6 } = OVERLAY.right;
  const lines = [
    `in   ${right} → ${v4}  icmp/echo-request, 84 bytes  allowed  ${by}`,
    `out  ${v4} → ${right}  icmp/echo-reply, 84 bytes  allowed  ${by}`,
    `in   \\[${right6}\\]:\\d+ → ${v6}  udp/2, 58 bytes  denied  default$`,
    `in   ${right6} → ${v6}  udp, \\d+ bytes  dropped  bad-fragment$`,
  ];
  for (const line of lines) await live.line(new RegExp(`^\\d\\d:\\d\\d:\\d\\d\\.\\d{3}  ${line}`), 10_000);
  live.signal('SIGINT');
  expect(await live.exited).toEqual({ code: 0, signal: undefined });
  for (const row of [
    `in +allowed +3 +252 +${by}`,
    `out +allowed +3 +252 +${by}`,
    'in +denied +2 +\\d+ +default',
  ]) {
    expect(live.output).toMatch(new RegExp(`^${row}`, 'm'));
  }
  await expect(pair.left.command('explain', '--live', 'nobody')).rejects.toThrow(
    /there is no peer "nobody" here/,
  );
});

/** Somebody who asks to be told of the packets of the peer, and does not read. */
async function mute(): Promise<Socket> {
  const socket = connect(pair.left.socket);
  await once(socket, 'connect');
  socket.pause().write(`${JSON.stringify({ request: 'follow', peer: 'filtered', seconds: 600 })}\n`);
  return socket;
}

test('whoever follows and does not read, or goes away, is no burden to others', async () => {
  await reload(self('icmp'));
  const deaf = await Promise.all(Array.from({ length: 16 }, mute));
  const another = () => pair.left.command('explain', '--live', 'filtered', '--for', '1s', '--json');
  const isRefused = async (): Promise<boolean> =>
    await another().then(
      () => false,
      (error: unknown) => /16 others follow/.test(String(error)),
    );
  await until(isRefused, 20_000, 'sixteen follow');
  const packets = { count: 100, lengthBytes: 40 * 64, segmentBytes: 64 };
  await sendTrains(pair.net.right, OVERLAY.left.v4, 7_777, packets);
  expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
  for (const socket of deaf) socket.destroy();
  await until(async () => !(await isRefused()), 20_000, 'they are forgotten');
  const pinging = ping(pair.net.right, OVERLAY.left.v4, { count: 60 });
  const told = (await another()).trim().split('\n');
  await pinging;
  for (const line of told) expectAnswer('live', line);
  const packet = {
    source: OVERLAY.right.v4,
    verdict: 'allow',
    stage: 'grant',
    rule: 'peers.filtered.allow[0]',
  };
  expect(told.map((line) => JSON.parse(line))).toContainEqual(expect.objectContaining(packet));
  expect(JSON.parse(told.at(-1) ?? '')).toMatchObject({ summary: expect.any(Array), missed: 0 });
});

test('a transfer that stays allowed notices nothing of other policies', async () => {
  await reload(self('tcp'));
  const transfer = transferTcp(pair.net.right, pair.net.left, OVERLAY.left.v4, 60_000_000);
  for (let i = 0; i < 8; i++) await reload([...self('tcp'), ...self(`udp/${1_000 + i}`)]);
  const { sent, received } = await transfer;
  expect(received.sha256).toBe(sent.sha256);
  expect((await enforced()).generation).toBeGreaterThan(8);
});

async function started(process: LineProcess, line: RegExp): Promise<LineProcess> {
  await process.line(line, 10_000);
  return process;
}

/** Opened by the right node: TCP, and UDP that the left one pushes once it was asked. */
function liveFlows(): LiveFlow[] {
  const end = (side: 'left' | 'right', version: 'v4' | 'v6') => ({
    host: pair.net[side],
    address: OVERLAY[side][version],
  });
  return (['v4', 'v6'] as const).flatMap((version) => {
    const ends = { from: end('right', version), to: end('left', version) };
    return [
      { protocol: 'tcp', ...ends },
      { protocol: 'udp', isPushed: true, ...ends },
    ] as const;
  });
}

test.skipIf(captureObstacle)(
  'live TCP, and a stream that a server pushes, end with the grant of who opened them, in both directions',
  async () => {
    await reload([...self('icmp'), ...self(`tcp/${LIVE_PORT}`, `udp/${LIVE_PORT}`)]);
    const flows = liveFlows();
    await using _open = await openFlows(LIVE_PORT, flows);
    await reload(self('icmp'));
    // Behind a ping nothing is on its way any more.
    expect(await ping(pair.net.left, OVERLAY.right.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
    const tunnelEnd = (side: 'left' | 'right'): TunnelEnd => ({
      host: pair.net[side],
      device: pair[side].interfaceName,
      near: [OVERLAY[side].v4, OVERLAY[side].v6],
    });
    expect(await cameThrough(LIVE_PORT, flows, [tunnelEnd('left'), tunnelEnd('right')])).toEqual([]);
    expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
  },
);

test('a file with a wrong row is refused whole: who was denied stays denied', async () => {
  await reload(self('icmp'));
  const before = await enforced();
  const wrong = reload([{ to: 'self' }, { to: 'nobody-here' }]);
  await expect(wrong).rejects.toThrow(/ringfence\.yaml:\d+:\d+: peers\.filtered\.allow\[1\]/);
  expect((await enforced()).generation).toBe(before.generation);
  const packets = await denied();
  await using _sent = await sendDatagrams(pair.net.right, OVERLAY.left.v4, PUSH_PORT, [new Uint8Array(10)]);
  await deniedBeyond(packets);
  expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
});

test('a node that starts again has the policy before the first packet', async () => {
  await reload(self(`udp/${PUSH_PORT}`));
  await using sink = await holdPort(pair.net.left, OVERLAY.left.v4, PUSH_PORT);
  await using other = await holdPort(pair.net.left, OVERLAY.left.v4, PUSH_PORT + 1);
  await using _first = await sendDatagrams(pair.net.right, OVERLAY.left.v4, PUSH_PORT, [new Uint8Array(10)]);
  await sink.line(/"length":10/, 10_000);
  await pair.restart('left');
  expect(await ping(pair.net.left, OVERLAY.right.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
  await using _second = await sendDatagrams(pair.net.right, OVERLAY.left.v4, PUSH_PORT + 1, [
    new Uint8Array(11),
  ]);
  await deniedBeyond(0);
  expect(other.lines.filter(({ text }) => text.includes('"length":11'))).toEqual([]);
});
