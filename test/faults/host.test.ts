// What a host runs out of, or does to a process: descriptors, disk, readers of its log, the right time.

import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ClockShift } from '../support/clock-shift.ts';
import { until } from '../support/deadline.ts';
import { NodeProcess, OVERLAY, Scratch } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { ping, transferTcp } from '../support/traffic.ts';

const MEBIBYTE = 1024 * 1024;

async function expectTraffic({ net, left }: Pair): Promise<void> {
  expect(await ping(net.left, OVERLAY.right.v4, { intervalMs: 100 })).toMatchObject({ received: 3 });
  expect(await ping(net.right, OVERLAY.left.v6, { intervalMs: 100 })).toMatchObject({ received: 3 });
  const { sent, received } = await transferTcp(net.left, net.right, OVERLAY.right.v4, MEBIBYTE);
  expect(received.sha256).toBe(sent.sha256);
  expect((await left.status()).lane).toMatchObject({ state: 'running', restarts: 0 });
}

describe('its output', () => {
  test.each([
    { name: 'goes to a full disk', script: 'exec "$@" >/dev/full 2>/dev/full' },
    { name: 'is closed', script: 'exec "$@" >&- 2>&-' },
    { name: 'has lost its reader', script: '"$@" 2>&1 | true' },
  ])('$name: it works, answers and stops', async ({ script }) => {
    const start = { left: { inside: ['sh', '-c', script, 'sh'], isMute: true } };
    await using pair = await startPair({ start });
    await expectTraffic(pair);
    const { pid } = await pair.left.status();
    process.kill(pid, 'SIGTERM');
    await until(() => !isAlive(pid), 5_000, 'its end');
    expect(await pair.net.left.ip('link')).not.toContain(pair.left.interfaceName);
  });
});

test('64 descriptors are enough', async () => {
  const start = { left: { inside: ['sh', '-c', 'ulimit -n 64 && exec "$@"', 'sh'] } };
  await using pair = await startPair({ start });
  await expectTraffic(pair);
  // Clients of the control socket may use up what is left; the tunnel does not care.
  const statuses = await Promise.allSettled(Array.from({ length: 100 }, () => pair.left.status()));
  expect(statuses.some(({ status }) => status === 'fulfilled')).toBe(true);
  await expectTraffic(pair);
  expect(await pair.left.stop()).toEqual({ code: 0, signal: undefined });
});

test('the disk of its files is full: sessions and new handshakes go on', async () => {
  await using pair = await startPair();
  const { left, net } = pair;
  await using room = await Scratch.create();
  await expectTraffic(pair);
  // A file system of 64 KiB over what the node keeps, full.
  await net.left.exec('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', room.path]);
  try {
    await appendFile(join(room.path, 'filler'), Buffer.alloc(1 << 20)).catch(() => undefined);
    const full = await startPairOn(room.path, pair);
    await using _left = full;
    expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
    expect(await full.stop()).toEqual({ code: 0, signal: undefined });
  } finally {
    await net.left.exec('umount', ['--lazy', room.path]);
  }
  expect(left.process.hasExited).toBe(true);
});

/** Starts the left node of `pair` again with the folder of its sockets on a full file system. */
async function startPairOn(directory: string, { left, net }: Pair): Promise<NodeProcess> {
  await left.stop();
  return await NodeProcess.start(net.left, { ...left.files, runDirectory: directory });
}

describe('the wall clock', () => {
  const HOUR = 3_600;
  const DAY = 24 * HOUR;

  test('jumps by an hour and a day, ahead and back: session, keepalives and new handshakes go on', async () => {
    await using scratch = await Scratch.create();
    const clock = await ClockShift.build(scratch.path);
    await using pair = await startPair({ start: { left: { env: clock.env } }, keepalive: { left: 1 } });
    const { net, left, right } = pair;
    await expectTraffic(pair);
    for (const shift of [HOUR, -HOUR, DAY, 0]) {
      await clock.set(shift);
      const before = await right.peer('left');
      expect(await ping(net.left, OVERLAY.right.v4), `${shift} s`).toMatchObject({ received: 3 });
      expect(await ping(net.right, OVERLAY.left.v4), `${shift} s`).toMatchObject({ received: 3 });
      await until(
        async () =>
          BigInt((await right.peer('left')).rxBytes) >= BigInt(before.rxBytes) + 3n * 128n + 2n * 32n,
        10_000,
        `keepalives at ${shift} s`,
      );
      expect((await left.status()).lane).toMatchObject({ state: 'running', restarts: 0 });
    }
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
