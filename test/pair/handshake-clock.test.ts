// A node that starts anew while the host's clock is wrong: its peers still take its handshakes, because it remembers how
// far it had come. And where it cannot remember, it runs all the same.

import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { NodeProcess, OVERLAY, Scratch } from '../support/node-process.ts';
import { startPair } from '../support/pair.ts';
import { ping } from '../support/traffic.ts';

const WALL_CLOCK = fileURLToPath(new URL('../support/wall-clock.ts', import.meta.url));
const DAY_MS = 86_400_000;

const shifted = (directory: string, shiftMs: number) => ({
  env: {
    RINGFENCE_STATE_DIR: directory,
    NODE_OPTIONS: `--import=${WALL_CLOCK}`,
    RINGFENCE_TEST_CLOCK_SHIFT_MS: `${shiftMs}`,
  },
});

test('handshakes go on after a restart with the clock a day back, a day ahead and back again', async () => {
  await using state = await Scratch.create();
  await using pair = await startPair({
    initiators: ['left'],
    start: { left: shifted(state.path, 0) },
  });
  const { net, right } = pair;
  let { left } = pair;
  const isReached = async () => (await ping(net.left, OVERLAY.right.v4, { count: 1 })).received === 1;
  expect(await isReached()).toBe(true);
  for (const shiftMs of [-DAY_MS, DAY_MS, 0]) {
    await left.process.stop('SIGKILL');
    left = await NodeProcess.start(net.left, left.files, shifted(state.path, shiftMs));
    expect(await isReached(), `the clock is off by ${shiftMs / DAY_MS} days`).toBe(true);
  }
  expect(left.process.output).toMatch(/clock is 2[34] hours behind the handshakes it has made/);
  expect(await right.drops('replayed-initiation')).toBe(0);

  // Without what it remembers it would be refused.
  await left.stop();
  expect(await readdir(state.path)).toEqual([`${left.interfaceName}.handshake-clock.json`]);
  await rm(join(state.path, `${left.interfaceName}.handshake-clock.json`));
  left = await NodeProcess.start(net.left, left.files, shifted(state.path, -DAY_MS));
  expect(await isReached()).toBe(false);
  expect(await right.drops('replayed-initiation')).toBeGreaterThan(0);
  await left.stop();
});

test.each([
  { state: 'full', options: 'size=4k', code: 'ENOSPC' },
  { state: 'read-only', options: 'ro,size=4k', code: 'EROFS' },
])('a $state disk is a warning', async ({ options, code }) => {
  await using scratch = await Scratch.create();
  await using pair = await startPair({ initiators: ['left'] });
  const { net, left } = pair;
  await left.stop();
  await net.left.exec('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', scratch.path]);
  try {
    if (code === 'ENOSPC') await writeFile(join(scratch.path, 'filler'), Buffer.alloc(4_096));
    const env = { RINGFENCE_STATE_DIR: scratch.path };
    await using again = await NodeProcess.start(net.left, left.files, { env });
    expect((await ping(net.left, OVERLAY.right.v4, { count: 3 })).received).toBe(3);
    expect(again.process.output).toMatch(new RegExp(`cannot keep the time of handshakes in .*${code}`));
  } finally {
    await net.left.exec('umount', [scratch.path]);
  }
});
