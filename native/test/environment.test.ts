// Descriptors belong to the environment that opened them: closed when it ends, exactly once, however it ends.

import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { closeDescriptor, openEvent, wake } from '../index.ts';
import { ip, requireTestNamespace } from './support/namespace.ts';
import { TestLane } from './support/test-lane.ts';
import { type Role, type StartedWorker, startWorker } from './support/worker.ts';

const workers: StartedWorker[] = [];

beforeAll(requireTestNamespace);
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});

/** A worker that does not outlive its test, also if that fails. */
function start(role: Role): StartedWorker {
  const worker = startWorker(role);
  workers.push(worker);
  return worker;
}

/** How many descriptors the process has of the kinds that this addon opens. */
function descriptors(): Record<string, number> {
  const counts = { '/dev/net/tun': 0, socket: 0, 'anon_inode:[eventfd]': 0, 'anon_inode:[eventpoll]': 0 };
  for (const fd of readdirSync('/proc/self/fd')) {
    let target = '';
    try {
      target = readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, '');
    } catch {} // the one that listed the directory
    if (target in counts) counts[target as keyof typeof counts]++;
  }
  return counts;
}

describe('the descriptors of a worker are closed', { timeout: 60_000 }, () => {
  /** Node itself may still be closing something of the worker's: what counts is that it gets there. */
  const expectOnly = (before: Record<string, number>) =>
    expect.poll(descriptors, { timeout: 5000 }).toEqual(before);

  it('when it is terminated while blocked in wait and woken', async () => {
    await warmUp();
    const before = descriptors();
    const worker = start('block');
    const { tun, event } = await worker.ready();
    const during = descriptors();
    expect(during['/dev/net/tun']).toBe((before['/dev/net/tun'] ?? 0) + 1);
    expect(during['socket']).toBe((before['socket'] ?? 0) + 2);
    expect(ip(`-o link show dev ${tun}`)).toContain(tun);
    await worker.stop();
    await expectOnly(before);
    expect(() => ip(`link show dev ${tun}`)).toThrow(/does not exist/);
    expect(() => wake(event)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  it('when it is terminated in its event loop', async () => {
    await warmUp();
    const before = descriptors();
    const worker = start('idle');
    await worker.ready();
    await worker.stop();
    await expectOnly(before);
  });

  it('when it is terminated while it opens some', async () => {
    await warmUp();
    const before = descriptors();
    // What such a worker's last system call opens can no longer be told to it. Each round ends at another moment.
    for (let round = 0; round < 30; round++) {
      const worker = start('churn');
      await worker.ready();
      await setTimeout(round / 3);
      await worker.stop();
    }
    await expectOnly(before);
  });

  it.each(['exit', 'throw'] as const)('when it ends by itself: %s', async (role) => {
    await warmUp();
    const before = descriptors();
    const worker = start(role);
    await worker.ready();
    await worker.ended;
    await expectOnly(before);
  });
});

it('a worker that closed a descriptor does not close its number again at its end', async () => {
  const worker = start('reuse');
  const { reused } = await worker.ready();
  expect(reused).toBeGreaterThan(2);
  await worker.stop();
  expect(fstatSync(reused).isCharacterDevice()).toBe(true);
  closeSync(reused);
});

describe('closeDescriptor', () => {
  it('closes once', () => {
    const event = openEvent();
    closeDescriptor(event);
    expect(() => closeDescriptor(event)).toThrow(
      expect.objectContaining({
        code: 'EBADF',
        syscall: 'close',
        message: expect.stringContaining(String(event)),
      }),
    );
  });

  it('closes nothing that this environment has not opened', async () => {
    const file = openSync('/dev/null', 'r');
    expect(() => closeDescriptor(file)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    closeSync(file);
    const worker = start('idle');
    const { event } = await worker.ready();
    expect(() => closeDescriptor(event)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    wake(event); // it is still open
    await worker.stop();
  });
});

it('descriptors are not inherited by child processes', () => {
  const lane = new TestLane();
  for (const fd of [lane.tun, lane.udp4, lane.udp6, lane.event]) {
    expect(flagsOf(fd) & 0o2000000).toBe(0o2000000); // O_CLOEXEC
  }
  lane.close();
});

function flagsOf(fd: number): number {
  return Number.parseInt(
    /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0',
    8,
  );
}

/** The first worker makes Node open descriptors that it keeps; a test that counts them starts one before. */
async function warmUp(): Promise<void> {
  const worker = start('idle');
  await worker.ready();
  await worker.stop();
}
