// Descriptors belong to the environment that opened them: closed when it ends, exactly once, however it ends.

import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { closeDescriptor, openEvent, wake } from '../index.ts';
import { ip, requireTestNamespace } from './support/namespace.ts';
import { TestLane } from './support/test-lane.ts';
import { startWorker } from './support/worker.ts';

beforeAll(requireTestNamespace);

/** How many descriptors of each kind the process has, such as `{ '/dev/net/tun': 1, 'socket': 2 }`. */
function descriptors(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const fd of readdirSync('/proc/self/fd')) {
    let target: string;
    try {
      target = readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, '');
    } catch {
      continue; // the one that listed the directory
    }
    counts[target] = (counts[target] ?? 0) + 1;
  }
  return counts;
}

describe('the descriptors of a worker are closed', () => {
  it('when it is terminated while blocked in wait and woken', async () => {
    await warmUp();
    const before = descriptors();
    const worker = startWorker('block');
    const { tun, event } = await worker.ready();
    const during = descriptors();
    expect(during['/dev/net/tun']).toBe((before['/dev/net/tun'] ?? 0) + 1);
    expect(during['socket']).toBe((before['socket'] ?? 0) + 2);
    expect(ip(`-o link show dev ${tun}`)).toContain(tun);
    await worker.stop();
    expect(descriptors()).toEqual(before);
    expect(() => ip(`link show dev ${tun}`)).toThrow(/does not exist/);
    expect(() => wake(event)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  it('when it is terminated in its event loop', async () => {
    await warmUp();
    const before = descriptors();
    const worker = startWorker('idle');
    await worker.ready();
    await worker.stop();
    expect(descriptors()).toEqual(before);
  });

  it.each(['exit', 'throw'] as const)('when it ends by itself: %s', async (role) => {
    await warmUp();
    const before = descriptors();
    const worker = startWorker(role);
    await worker.ready();
    await worker.ended;
    expect(descriptors()).toEqual(before);
  });
});

it('a worker that closed a descriptor does not close its number again at its end', async () => {
  const worker = startWorker('idle');
  const { closedEvent } = await worker.ready();
  // Open until the number the worker gave back is ours.
  const files: number[] = [];
  while (files.at(-1) !== closedEvent && files.length < 1000) files.push(openSync('/dev/null', 'r'));
  expect(files.at(-1)).toBe(closedEvent);
  await worker.stop();
  expect(fstatSync(closedEvent).isCharacterDevice()).toBe(true);
  for (const file of files) closeSync(file);
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
    const worker = startWorker('idle');
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
  const worker = startWorker('idle');
  await worker.ready();
  await worker.stop();
}
