// Rates, quotas and accounts of one peer, with real packets. The left node has the policy; the right one is its peer. What a
// transfer took is judged by the clock of the programs that made it: no faster than the rate allows, whatever else the
// machine does.

import { readdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { NodeStatus, PeerAccountStatus } from '../../src/control/target.ts';
import { until } from '../support/deadline.ts';
import { NodeProcess, OVERLAY, Scratch } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { holdPort, ping, sendDatagrams, transferTcp } from '../support/traffic.ts';

const PEER = 'limited';
/** 20 and 10 Mbit/s, in bytes. */
const DOWN = 2_500_000;
const UP = 1_250_000;
/** What may pass at once: 20 ms of the rate, at least 3,000 bytes. */
const BURST = DOWN / 50;
const SINK_PORT = 5300;

let scratch: Scratch;
let pair: Pair;
/** The left node, which is started again. */
let left: NodeProcess;

beforeAll(async () => {
  scratch = await Scratch.create();
  const start = { left: { env: { RINGFENCE_STATE_DIR: scratch.path } } };
  pair = await startPair({ names: { left: 'limiting', right: PEER }, keepalive: 5, start });
  left = pair.left;
});
afterAll(async () => {
  await left[Symbol.asyncDispose]();
  await pair[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

/** Writes the left file with these keys in the peer's profile. */
async function write(profile: object): Promise<void> {
  const { file, configFile } = pair.left.files;
  const peers = Object.entries(file.peers).map(([name, peer]) => [name, { ...peer, profile: 'std' }]);
  const firewall = {
    version: 1,
    services: { sink: { addr: OVERLAY.left.v6, ports: ['tcp'] } },
    profiles: { std: { services: ['sink'], allow: [{ to: 'self' }], ...profile } },
  };
  await writeFile(configFile, stringify({ ...file, peers: Object.fromEntries(peers), firewall }));
}

async function reload(profile: object): Promise<void> {
  await write(profile);
  await left.command('reload');
}

async function enforced(): Promise<Extract<NodeStatus['policy'], { state: 'enforced' }>> {
  const { policy } = await left.status();
  if (policy?.state !== 'enforced') throw new Error(`no policy is enforced: ${policy?.state}`);
  return policy;
}

async function account(): Promise<PeerAccountStatus> {
  const found = (await enforced()).accounts.find(({ peer }) => peer === PEER);
  if (found === undefined) throw new Error(`no account of ${PEER}`);
  return found;
}

const total = ({ up, down }: PeerAccountStatus): number => Number(up.bytes) + Number(down.bytes);

test('a transfer is as fast as its rate, each way, and what passed is counted', async () => {
  await reload({ rate: { up: '10mbit', down: '20mbit' } });
  const { v4, v6 } = OVERLAY.left;
  const [down, up] = await Promise.all([
    transferTcp(pair.net.left, pair.net.right, OVERLAY.right.v4, 0.6 * DOWN),
    transferTcp(pair.net.right, pair.net.left, v6, 0.6 * UP),
  ]);
  for (const [{ sent, received }, rate] of [
    [down, DOWN],
    [up, UP],
  ] as const) {
    expect(received.sha256).toBe(sent.sha256);
    // Headers and acknowledgements come on top; what a full burst has passed before is all that may be missing.
    expect(received.seconds).toBeGreaterThan((sent.bytes - BURST) / rate - 0.05);
    expect(received.seconds).toBeLessThan((10 * sent.bytes) / rate);
  }
  const used = await account();
  expect(used).toMatchObject({ rate: { up: UP, down: DOWN }, quota: null });
  expect(Number(used.down.bytes)).toBeGreaterThan(0.6 * DOWN);
  expect(Number(used.up.bytes)).toBeGreaterThan(0.6 * UP);
  expect(Number(used.up.flows)).toBeGreaterThanOrEqual(1);
  const [service] = (await enforced()).services;
  expect(Number(service?.up.bytes)).toBeGreaterThan(0.6 * UP);
  expect(Number(service?.up.bytes)).toBeLessThan(Number(used.up.bytes));
  expect(service).toMatchObject({ service: 'sink', up: { flows: '1' } });
  expect(await left.command('status')).toMatch(
    new RegExp(`${PEER} .*20\\.0 Mbit/s to it, 10\\.0 Mbit/s from it`),
  );
  expect(await ping(pair.net.right, v4)).toMatchObject({ received: 3 });
});

test('datagrams beyond the rate and what may wait are dropped, and a rate that goes lets the rest pass', async () => {
  await reload({ rate: { up: '128kbit' } });
  await using sink = await holdPort(pair.net.left, OVERLAY.left.v4, SINK_PORT);
  const payloads = Array.from({ length: 200 }, () => new Uint8Array(1_000));
  const before = await left.drops('over-rate');
  await using _sender = await sendDatagrams(pair.net.right, OVERLAY.left.v4, SINK_PORT, payloads);
  await left.dropped('over-rate', before, 50, 20_000);
  await reload({});
  const received = () => sink.lines.filter(({ text }) => text.includes('"length":1000')).length;
  await until(
    async () => (await left.drops('over-rate')) - before + received() >= 200,
    20_000,
    'all are told of',
  );
  expect((await left.drops('over-rate')) - before).toBeLessThan(200);
});

test('a transfer goes on while its rate changes', async () => {
  await reload({ rate: { down: '8mbit' } });
  const transfer = transferTcp(pair.net.left, pair.net.right, OVERLAY.right.v6, 1_500_000);
  for (const down of ['4mbit', '16mbit', '8mbit', '40mbit']) await reload({ rate: { down } });
  const { sent, received } = await transfer;
  expect(received.sha256).toBe(sent.sha256);
});

test('past its quota a peer gets nothing, is told of by the row, and gets on with more', async () => {
  const used = total(await account());
  await reload({ quota: '20kB/month' });
  expect((await account()).quota).toMatchObject({ usedBytes: '0', isOver: false });
  expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
  await using _sender = await sendDatagrams(
    pair.net.right,
    OVERLAY.left.v4,
    SINK_PORT,
    Array.from({ length: 40 }, () => new Uint8Array(1_000)),
  );
  await left.dropped('over-quota', 0);
  expect(await ping(pair.net.right, OVERLAY.left.v4, { waitMs: 300 })).toMatchObject({ received: 0 });
  expect(await ping(pair.net.left, OVERLAY.right.v6, { waitMs: 300 })).toMatchObject({ received: 0 });
  const { denied } = await enforced();
  expect(denied).toContainEqual(
    expect.objectContaining({ peer: PEER, rule: 'firewall.profiles.std.quota', stage: 'quota' }),
  );
  expect(total(await account())).toBeLessThan(used + 22_000);
  expect(await left.command('status')).toMatch(/of 19\.5 KiB this month: nothing passes/);

  await reload({ quota: '20kB/month', over_quota: '64kbit' });
  expect(await ping(pair.net.right, OVERLAY.left.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
  const { sent, received } = await transferTcp(pair.net.right, pair.net.left, OVERLAY.left.v4, 12_000);
  expect(received.sha256).toBe(sent.sha256);
  expect(received.seconds).toBeGreaterThan((12_000 - 3_000) / 8_000 - 0.05);
});

test('a node that starts again goes on counting, and has the quota before the first packet', async () => {
  await reload({ quota: '20kB/month' });
  const before = await account();
  await left.stop();
  expect(await readdir(scratch.path)).toContain(`${left.interfaceName}.accounts.json`);
  left = await NodeProcess.start(pair.net.left, pair.left.files, {
    env: { RINGFENCE_STATE_DIR: scratch.path },
  });
  expect(total(await account())).toBeGreaterThanOrEqual(total(before));
  expect((await account()).quota).toMatchObject({ isOver: true });
  expect(await ping(pair.net.left, OVERLAY.right.v4, { waitMs: 300 })).toMatchObject({ received: 0 });
  await reload({ quota: '1GB/month' });
  // The first packet may be lost with the first handshake.
  const passes = async () => (await ping(pair.net.left, OVERLAY.right.v4)).received === 3;
  await until(passes, 20_000, 'pings pass again');
});
