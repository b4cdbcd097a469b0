// The rate of a peer over ten seconds, and what is left of its account when the lane traps and when the program is killed.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { PeerAccountStatus } from '../../src/control/target.ts';
import { until } from '../support/deadline.ts';
import { type NodeProcess, nodeWith, OVERLAY, Scratch } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { ping, transferTcp } from '../support/traffic.ts';

const MEGABYTE = 1_000_000;

/** Gives the peer of the left node this profile. */
async function reload({ left }: Pair, node: NodeProcess, profile: object): Promise<void> {
  const { file, configFile } = left.files;
  const peers = Object.entries(file.peers).map(([name, peer]) => [name, { ...peer, profile: 'std' }]);
  const firewall = { version: 1, profiles: { std: { allow: [{ to: 'self' }], ...profile } } };
  await writeFile(configFile, stringify({ ...file, peers: Object.fromEntries(peers), firewall }));
  await node.command('reload');
}

async function account(node: NodeProcess): Promise<PeerAccountStatus> {
  const { policy } = await node.status();
  const [found] = policy?.state === 'enforced' ? policy.accounts : [];
  if (found === undefined) throw new Error('there is no account');
  return found;
}

const total = ({ up, down }: Pick<PeerAccountStatus, 'up' | 'down'>): number =>
  Number(up.bytes) + Number(down.bytes);

test('a rate holds for ten seconds, each way at once, in IPv4 and IPv6', { timeout: 180_000 }, async () => {
  await using pair = await startPair({ names: { left: 'shaping', right: 'shaped' } });
  await reload(pair, pair.left, { rate: { up: '40mbit', down: '40mbit' } });
  const before = await account(pair.left);
  const bytes = 50 * MEGABYTE;
  const [down, up] = await Promise.all([
    transferTcp(pair.net.left, pair.net.right, OVERLAY.right.v6, bytes, 150_000),
    transferTcp(pair.net.right, pair.net.left, OVERLAY.left.v4, bytes, 150_000),
  ]);
  const after = await account(pair.left);
  for (const [way, { received }] of [
    ['down', down],
    ['up', up],
  ] as const) {
    // By what passed the tunnel, acknowledgements of the other way included, in the time that the receiver took.
    const passed = Number(after[way].bytes) - Number(before[way].bytes);
    const rate = passed / received.seconds / 5e6;
    expect(rate, way).toBeLessThan(1.03);
    // Two streams against each other, whose acknowledgements wait in the queue of the other: not all of the rate is theirs.
    expect(rate, way).toBeGreaterThan(0.4);
  }
});

test('an account outlives a lane that traps, and a program that is killed', {
  timeout: 180_000,
}, async () => {
  await using scratch = await Scratch.create();
  const trapFile = join(scratch.path, 'trap');
  const env = { RINGFENCE_STATE_DIR: scratch.path, TRAP_FILE: trapFile };
  const start = { left: { env, program: nodeWith('trapping-worker.ts') } };
  await using pair = await startPair({ names: { left: 'keeping', right: 'kept' }, keepalive: 5, start });
  await reload(pair, pair.left, {});
  const send = () => transferTcp(pair.net.right, pair.net.left, OVERLAY.left.v4, MEGABYTE);
  await send();
  const first = total(await account(pair.left));
  expect(first).toBeGreaterThan(MEGABYTE);

  await writeFile(trapFile, '');
  const hasTrapped = async (): Promise<boolean> => {
    await ping(pair.net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
    return (await pair.left.status()).lane.restarts === 1;
  };
  await until(hasTrapped, 20_000, 'the lane traps');
  const answers = async () => (await ping(pair.net.right, OVERLAY.left.v4)).received === 3;
  await until(answers, 30_000, 'pings pass the lane that took its place');
  await send();
  const second = total(await account(pair.left));
  expect(second).toBeGreaterThan(first + MEGABYTE);

  const file = join(scratch.path, `${pair.left.interfaceName}.accounts.json`);
  const written = async (): Promise<number> => {
    const { peers } = JSON.parse(await readFile(file, 'utf8')) as { peers: { kept: PeerAccountStatus } };
    return total(peers.kept);
  };
  await until(async () => (await written()) >= second, 30_000, 'it is written down');
  await using left = await pair.restart('left');
  expect(total(await account(left))).toBeGreaterThanOrEqual(second);
  await reload(pair, left, { quota: '1MB/day' });
  await until(answers, 30_000, 'pings pass the node that was started again');
  await reload(pair, left, { quota: '1kB/day' });
  await until(async () => (await left.drops('over-quota')) > 0 || !(await answers()), 30_000, 'it ends');
});
