// Outages that last: suspended, cut off, killed, gone for minutes. Each has the time in which traffic must be back.

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ClockShift } from '../support/clock-shift.ts';
import { until } from '../support/deadline.ts';
import { OVERLAY, Scratch } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import type { Host } from '../support/topology.ts';
import { ping } from '../support/traffic.ts';

const FAULT_MS = 25_000;

async function trafficWithin(from: Host, address: string, deadlineMs: number, what: string): Promise<void> {
  await until(
    async () => (await ping(from, address, { count: 1, waitMs: 250 })).received === 1,
    deadlineMs,
    `${what}: a ping from ${from.name}`,
  );
}

const PATIENT = { waitMs: 10_000, intervalMs: 500 } as const;

/** None is lost; several tests at once may make a small machine slow. */
async function expectBothWays({ net }: Pair): Promise<void> {
  expect(await ping(net.left, OVERLAY.right.v4, PATIENT)).toMatchObject({ received: 3 });
  expect(await ping(net.right, OVERLAY.left.v6, PATIENT)).toMatchObject({ received: 3 });
}

/** Both ends, with names that no other test that runs now has. */
async function start(tag: string, options: Parameters<typeof startPair>[0] = {}): Promise<Pair> {
  return await startPair({ ...options, names: { left: `${tag}-l`, right: `${tag}-r` } });
}

describe.concurrent('in time', () => {
  test.each(['left', 'right'] as const)('%s stopped for 25 s: traffic within 10 s of waking', async (end) => {
    await using pair = await start(`stop${end[0]}`);
    const { net } = pair;
    await expectBothWays(pair);
    const { pid } = await pair[end].status();
    process.kill(pid, 'SIGSTOP');
    const [from, address] = end === 'left' ? [net.right, OVERLAY.left.v4] : [net.left, OVERLAY.right.v4];
    const pinging = ping(from, address, { count: FAULT_MS / 500, intervalMs: 500, waitMs: 100 });
    await delay(FAULT_MS);
    process.kill(pid, 'SIGCONT');
    await trafficWithin(net.left, OVERLAY.right.v4, 10_000, 'awake');
    await pinging;
    await expectBothWays(pair);
    expect((await pair[end].status()).lane).toMatchObject({ state: 'running', restarts: 0 });
  });

  test('cut off for 25 s with traffic both ways: it is back 6.5 s after healing', async () => {
    await using pair = await start('cut');
    const { net } = pair;
    await expectBothWays(pair);
    await net.internet.exec('nft', [
      'table inet cut { chain forward { type filter hook forward priority 0; drop; }; }',
    ]);
    const lost = await Promise.all(
      [[net.left, OVERLAY.right.v4] as const, [net.right, OVERLAY.left.v4] as const].map(([from, address]) =>
        ping(from, address, { count: FAULT_MS / 500, intervalMs: 500, waitMs: 100 }),
      ),
    );
    expect(lost.map(({ received }) => received)).toEqual([0, 0]);
    await net.internet.exec('nft', ['delete table inet cut']);
    await trafficWithin(net.left, OVERLAY.right.v4, 6_500, 'healed');
    await expectBothWays(pair);
  });

  test.each([
    { killed: 'left', first: 'left' },
    { killed: 'left', first: 'right' },
    { killed: 'right', first: 'left' },
    { killed: 'right', first: 'right' },
  ] as const)('$killed is killed and comes back, $first speaks first: 20 s', async ({ killed, first }) => {
    await using pair = await start(`k${killed[0]}${first[0]}`);
    const { net } = pair;
    await expectBothWays(pair);
    await using _again = await pair.restart(killed);
    const [from, address] = first === 'left' ? [net.left, OVERLAY.right.v4] : [net.right, OVERLAY.left.v4];
    await trafficWithin(from, address, 20_000, `${killed} is back`);
    await expectBothWays(pair);
  });

  test('gone for 150 s, no data, a persistent keepalive: back by itself 35 s after the peer', async () => {
    await using pair = await start('gone', { initiators: ['left'], keepalive: { left: 10 } });
    const { right } = pair;
    await until(
      async () => (await right.peer('gone-l')).latestHandshakeSeconds !== null,
      15_000,
      'a handshake',
    );
    await right.process.stop('SIGKILL');
    await delay(150_000);
    await using again = await pair.restart('right');
    await until(
      async () => (await again.peer('gone-l')).latestHandshakeSeconds !== null,
      35_000,
      'a handshake without data',
    );
    await expectBothWays(pair);
  });

  test.each([
    { shift: 3_600, tag: 'c1' },
    { shift: -3_600, tag: 'c2' },
    { shift: 86_400, tag: 'c3' },
  ])('a wall clock $shift s off, and a peer that is killed and comes back: 20 s', async ({ shift, tag }) => {
    await using scratch = await Scratch.create();
    const clock = await ClockShift.build(scratch.path);
    await using pair = await start(tag, { start: { left: { env: clock.env } } });
    const { net, left } = pair;
    await expectBothWays(pair);
    await clock.set(shift);
    await using _again = await pair.restart('right');
    await trafficWithin(net.left, OVERLAY.right.v4, 20_000, 'a new session');
    await expectBothWays(pair);
    expect((await left.status()).lane).toMatchObject({ state: 'running', restarts: 0 });
  });
});
