// The time of handshakes never goes back: not with the host's clock, not over a restart or a crash, whatever state the
// file is in, and a folder that cannot be written to is a warning.

import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HandshakeClock, stateDirectory } from '../../../src/node/handshake-clock.ts';

const NOON_MS = Date.UTC(2026, 5, 1, 12);
const HOUR_MS = 3_600_000;
const YEAR_S = 365 * 86_400;

let directory: string;
let warnings: string[];
let lane: number;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ringfence-test-'));
  warnings = [];
  lane = 50_000;
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const file = () => join(directory, 'rf0.handshake-clock.json');

function start(wallMs: number, folder = directory): Promise<HandshakeClock> {
  return HandshakeClock.start({
    directory: folder,
    interfaceName: 'rf0',
    log: { warn: (message) => warnings.push(message) },
    laneClock: () => lane,
    wallClock: () => wallMs,
  });
}

test('it shows the host clock where nothing else is known, and goes on as lanes do', async () => {
  const clock = await start(NOON_MS + 400);
  expect(clock.seconds).toBe(NOON_MS / 1000 + 1);
  lane += 7_000;
  expect(clock.seconds).toBe(NOON_MS / 1000 + 8);
  await clock.stop();
  expect(warnings).toEqual([]);
  expect(await readdir(directory)).toEqual(['rf0.handshake-clock.json']);
});

describe('a restart', () => {
  test.each([
    { clock: 'one hour back', wallMs: NOON_MS - HOUR_MS, warns: true },
    { clock: 'one second back', wallMs: NOON_MS - 1_000, warns: false },
    { clock: 'as it was', wallMs: NOON_MS, warns: false },
  ])('with the clock $clock shows later times than all before', async ({ wallMs, warns }) => {
    const before = await start(NOON_MS);
    lane += 3_600_500;
    const last = before.seconds;
    await before.stop();
    lane = 900; // the machine was started anew
    const after = await start(wallMs);
    expect(after.seconds).toBe(last + 1);
    expect(warnings.length, warnings.join('\n')).toBe(warns || wallMs <= NOON_MS ? 1 : 0);
    await after.stop();
  });

  test('after a crash does so too, and leads by no more than the node had run', async () => {
    const before = await start(NOON_MS);
    const last = before.seconds;
    const after = await start(NOON_MS - HOUR_MS);
    expect(after.seconds).toBeGreaterThan(last);
    expect(after.seconds - last).toBeLessThan(5);
    await Promise.all([before.stop(), after.stop()]);
  });

  test('with a clock that is right again goes by that', async () => {
    await (await start(NOON_MS)).stop();
    const after = await start(NOON_MS + HOUR_MS);
    expect(after.seconds).toBe((NOON_MS + HOUR_MS) / 1000);
    await after.stop();
    expect(warnings).toEqual([]);
  });

  test('after a clock that was years ahead says so', async () => {
    await writeFile(file(), JSON.stringify({ floorSeconds: NOON_MS / 1000 + 3 * YEAR_S }));
    const clock = await start(NOON_MS);
    expect(clock.seconds).toBe(NOON_MS / 1000 + 3 * YEAR_S);
    expect(warnings).toEqual([expect.stringMatching(/clock is 3 years behind .* only a new key/)]);
    await clock.stop();
  });
});

describe('the file', () => {
  test('cut at any byte, or rubbish, is passed over with a warning', async () => {
    await (await start(NOON_MS)).stop();
    const whole = await readFile(file(), 'utf8');
    const cuts = Array.from({ length: whole.length - 1 }, (_, length) => whole.slice(0, length));
    for (const content of [...cuts, '{"floorSeconds":-1}', '{"floorSeconds":"9"}', '[]', 'null', '\0\xff']) {
      warnings = [];
      await writeFile(file(), content);
      const clock = await start(NOON_MS);
      const isWhole = content === whole.trimEnd();
      expect(warnings.length, content).toBe(isWhole ? 0 : 1);
      expect(clock.seconds).toBe(NOON_MS / 1000 + (isWhole ? 1 : 0));
      await clock.stop();
    }
    await writeFile(file(), whole);
    const clock = await start(NOON_MS - HOUR_MS);
    expect(clock.seconds).toBe(NOON_MS / 1000 + 1);
    await clock.stop();
  });

  test('that cannot be written is one warning, and nothing worse', async () => {
    await writeFile(join(directory, 'occupied'), '');
    const clock = await start(NOON_MS, join(directory, 'occupied', 'state'));
    expect(clock.seconds).toBe(NOON_MS / 1000);
    await clock.stop();
    expect(warnings).toEqual([
      expect.stringContaining('ENOTDIR'), // reading
      expect.stringMatching(/RINGFENCE_STATE_DIR/),
    ]);
  });

  test('lies where the environment says', () => {
    expect(stateDirectory({})).toBe('/var/lib/ringfence');
    expect(stateDirectory({ RINGFENCE_STATE_DIR: '/x' })).toBe('/x');
  });
});
