// A port on the open internet: what strangers send is met with silence, counted by reason, and disturbs nobody.

import { randomBytes, randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { Capture, captureObstacle } from '../support/capture.ts';
import { until } from '../support/deadline.ts';
import { OVERLAY } from '../support/node-process.ts';
import { startPair } from '../support/pair.ts';
import { addHost } from '../support/topology.ts';
import { endpoint, ping, sendDatagrams } from '../support/traffic.ts';

/** Random bytes that begin as a message of `type` does. */
function message(type: number, length: number): Buffer {
  const bytes = randomBytes(length);
  bytes.writeUInt32LE(type, 0);
  return bytes;
}

function repeat(count: number, make: (i: number) => Buffer): Buffer[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

/** By the reason for which they are to be dropped. */
const RUBBISH: Readonly<Record<string, readonly Buffer[]>> = {
  'malformed-message': [
    ...repeat(500, () => message(randomInt(5, 2 ** 32 - 1), randomInt(4, 1_400))), // no such type
    ...repeat(200, (i) => message(1, 4 + (i % 144))), // initiations, cut
    ...repeat(88, (i) => message(2, 4 + i)), // responses, cut
    ...repeat(28, (i) => message(4, 4 + i)), // transport messages, cut
    ...repeat(50, (i) => message(1, 149 + i * 20)), // initiations, too long
    ...repeat(4, (i) => randomBytes(i)), // not even a type; the first is empty
    ...repeat(10, () => message(0, 65_000)),
  ],
  'bad-mac1': [
    ...repeat(400, () => message(1, 148)),
    ...repeat(200, () => message(2, 92)), // mac1 comes before the index
  ],
  'unknown-index': [
    ...repeat(100, () => message(3, 64)),
    ...repeat(300, () => message(4, randomInt(2, 80) * 16)),
    ...repeat(10, () => message(4, 65_056)),
  ],
};

test.skipIf(captureObstacle).each(['v4', 'v6'] as const)(
  'thousands of strange datagrams over %s get no answer and do no harm',
  async (underlay) => {
    await using pair = await startPair({ underlay: underlay === 'v4' ? 4 : 6 });
    const { right, net } = pair;
    const stranger = await addHost(net, 'stranger');
    // What can only be made from a real message: the receiver index of a session, and copies.
    await using wire = await Capture.start(net.internet, 'left', {
      filter: `udp and dst host ${net.right[underlay]}`,
      hex: true,
    });
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    const real = await until(
      () => {
        const initiation = wire.payloads.find((payload) => payload[0] === 1);
        const transport = wire.payloads.find((payload) => payload[0] === 4);
        return initiation && transport ? { initiation, transport } : undefined;
      },
      5_000,
      'an initiation and a transport message',
    );
    await wire.stop();
    const badTags = repeat(300, (i) => {
      const bytes = message(4, 32 + (i % 80) * 16);
      Buffer.from(real.transport).copy(bytes, 4, 4, 8);
      bytes.writeBigUInt64LE(BigInt(1_000 + i), 8);
      return bytes;
    });
    const rubbish: Record<string, readonly Uint8Array[]> = {
      ...RUBBISH,
      'bad-tag': badTags,
      'replayed-counter': repeat(20, () => Buffer.from(real.transport)),
      'replayed-initiation': repeat(20, () => Buffer.from(real.initiation)),
    };

    const before = await right.status();
    await using answers = await Capture.start(net.internet, 'stranger', {
      filter: `src host ${net.right[underlay]}`,
    });
    const all = Object.values(rubbish).flat();
    expect(all.length).toBeGreaterThan(2_000);
    await using socket = await sendDatagrams(stranger, net.right[underlay], 51820, all);

    const expected = Object.fromEntries(
      Object.entries(rubbish).map(([reason, datagrams]) => [reason, datagrams.length]),
    );
    const counted = async (): Promise<Record<string, number>> => {
      const { drops } = await right.status();
      const entries = Object.entries(drops).map(
        ([reason, count]) => [reason, Number(count) - Number(before.drops[reason])] as const,
      );
      return Object.fromEntries(entries.filter(([, count]) => count > 0));
    };
    const total = (counts: Record<string, number>) => Object.values(counts).reduce((sum, n) => sum + n, 0);
    await until(async () => total(await counted()) >= all.length, 10_000, 'everything counted').catch(
      () => {},
    );
    expect(await counted()).toEqual(expected);

    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    expect(await ping(net.right, OVERLAY.left.v6)).toMatchObject({ received: 3 });
    expect((await right.status()).lane).toMatchObject({ state: 'running', restarts: 0 });
    expect((await right.peer('left')).endpoint).toBe(endpoint(net.left[underlay], 51820));
    expect(await answers.stop()).toEqual([]);
    expect(socket.lines.filter((line) => line.text.includes('"from"'))).toEqual([]);
  },
);
