// Ringfence and wireguard-go, configured by `wg`: each as initiator and responder, on the wire and inside.

import { describe, expect, test } from 'vitest';
import { Capture, captureObstacle } from '../support/capture.ts';
import { until } from '../support/deadline.ts';
import { MIXED_MTU, MixedPair } from '../support/mixed-pair.ts';
import { OVERLAY } from '../support/node-process.ts';
import { echoUdp, endpoint, holdPort, ping, sendDatagrams, transferTcp } from '../support/traffic.ts';

const TRANSFER_BYTES = 64 * 1024 * 1024;

/** Each way, both families inside. */
function ways({ net }: MixedPair) {
  return [
    { from: net.left, to: net.right, address: OVERLAY.right.v4 },
    { from: net.right, to: net.left, address: OVERLAY.left.v4 },
    { from: net.left, to: net.right, address: OVERLAY.right.v6 },
    { from: net.right, to: net.left, address: OVERLAY.left.v6 },
  ] as const;
}

describe.each(['ours', 'theirs'] as const)('%s begins', (initiator) => {
  test.each([
    { underlay: 'v4', presharedKey: false },
    { underlay: 'v4', presharedKey: true },
    { underlay: 'v6', presharedKey: false },
    { underlay: 'v6', presharedKey: true },
  ] as const)('over $underlay, preshared key $presharedKey', async ({ underlay, presharedKey }) => {
    await using mixed = await MixedPair.start({ underlay, presharedKey, initiator });
    const { net, ours, theirs } = mixed;
    // The first packet comes from whoever is to begin; nobody else could.
    const first = initiator === 'ours' ? ways(mixed) : ways(mixed).toReversed();
    for (const { from, to, address } of first) {
      const name = `${from.name} to ${address}`;
      expect(await ping(from, address), name).toMatchObject({ sent: 3, received: 3 });
      expect(await echoUdp(from, to, address, [0, 1_400, 65_000]), name).toMatchObject([
        { size: 0, echoed: true },
        { size: 1_400, echoed: true },
        { size: 65_000, echoed: true },
      ]);
    }
    // One transfer each way; the families take turns with the other rows.
    const family = underlay === 'v4' ? 0 : 2;
    for (const { from, to, address } of ways(mixed).slice(family, family + 2)) {
      const { sent, received } = await transferTcp(from, to, address, TRANSFER_BYTES);
      expect(received, `${from.name} to ${address}`).toMatchObject({
        bytes: TRANSFER_BYTES,
        sha256: sent.sha256,
      });
    }

    const [seen] = await theirs.peers();
    const own = await ours.peer('theirs');
    expect(seen).toMatchObject({
      publicKey: ours.files.keys.publicKey,
      endpoint: endpoint(net.left[underlay], 51820),
    });
    expect(own.endpoint).toBe(endpoint(net.right[underlay], 51820));
    expect(Math.abs((seen?.latestHandshakeSeconds ?? 0) - (own.latestHandshakeSeconds ?? 0))).toBeLessThan(3);
  });
});

test('when nothing is lost, what one side has sent the other has received', async () => {
  await using mixed = await MixedPair.start({ initiator: 'both' });
  const { ours, theirs } = mixed;
  for (const { from, address } of ways(mixed)) {
    expect(await ping(from, address, { count: 50, intervalMs: 2, sizeBytes: 1_000 })).toMatchObject({
      received: 50,
    });
  }
  const counts = async () => {
    const [own, [other]] = await Promise.all([ours.peer('theirs'), theirs.peers()]);
    return {
      ours: [Number(own.rxBytes), Number(own.txBytes)],
      theirs: [other?.txBytes, other?.rxBytes],
    };
  };
  // An empty message may be on its way: equal is a state that is reached, not one that always is.
  await until(
    async () => {
      const { ours, theirs } = await counts();
      return ours.join() === theirs.join();
    },
    5_000,
    'equal counts',
  ).catch(() => {});
  const { ours: own, theirs: other } = await counts();
  expect(own).toEqual(other);
  expect(own[0]).toBeGreaterThan(200 * 1_000);
});

test.skipIf(captureObstacle).each(['ours', 'theirs'] as const)(
  'on the wire, when %s begins, there are WireGuard messages only, of the lengths of the paper',
  async (initiator) => {
    await using mixed = await MixedPair.start({ initiator });
    const { net } = mixed;
    await using capture = await Capture.start(net.internet, 'ours', {
      filter: 'udp or icmp or icmp6',
      hex: true,
    });
    const [first, second] = initiator === 'ours' ? ways(mixed) : ways(mixed).slice(1);
    if (first === undefined || second === undefined) throw new Error('there are four ways');
    for (const sizeBytes of [0, 1, 4, 5, 100, 1_364, 1_391, MIXED_MTU - 28]) {
      expect(await ping(first.from, first.address, { count: 1, sizeBytes })).toMatchObject({ received: 1 });
    }
    // tcpdump may be behind the pings: the handshake and eight pings with their answers are 18 messages.
    await until(() => capture.payloads.length >= 18, 5_000, 'all messages in the capture');
    const output = (await capture.stop()).join('\n');
    expect(output).not.toContain('ICMP');

    const [initiation, response, ...rest] = capture.payloads;
    expect([initiation?.[0], initiation?.length]).toEqual([1, 148]);
    expect([response?.[0], response?.length]).toEqual([2, 92]);
    expect(rest.length).toBeGreaterThanOrEqual(16);
    for (const payload of rest) {
      expect(payload[0]).toBe(4);
      expect(payload.subarray(1, 4)).toEqual(Buffer.alloc(3));
      const inside = payload.length - 32;
      if (inside !== MIXED_MTU) expect(inside % 16, `${inside} bytes inside`).toBe(0);
    }
    // 28 bytes become 32, 1,419 become the MIXED_MTU: padding ends there.
    const lengths = rest.map((payload) => payload.length - 32);
    expect(lengths.filter((length) => length === 32).length).toBeGreaterThanOrEqual(4);
    expect(lengths.filter((length) => length === MIXED_MTU).length).toBeGreaterThanOrEqual(4);
  },
);

describe.concurrent('in time', () => {
  test('after ours is killed and starts again, either side can begin', async () => {
    await using mixed = await MixedPair.start({ initiator: 'both', device: 'wg-time1' });
    const { net } = mixed;
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    await mixed.restartOurs();
    // Long enough for a second initiation: theirs, on its dead session, may begin at the same moment.
    expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 11_000 })).toMatchObject({ received: 3 });
    expect(await ping(net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
    // Theirs first: it sends on a dead session for 15 s, then asks for a new one.
    await mixed.restartOurs();
    await until(
      async () => (await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 1_000 })).received === 1,
      25_000,
      'theirs begins anew',
    );
    expect(await ping(net.left, OVERLAY.right.v6)).toMatchObject({ received: 3 });
  });

  test('after theirs is killed and starts again, either side can begin', async () => {
    await using mixed = await MixedPair.start({ initiator: 'both', device: 'wg-time2' });
    const { net } = mixed;
    expect(await ping(net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
    await mixed.restartTheirs();
    expect(await ping(net.right, OVERLAY.left.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
    expect(await ping(net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
    await mixed.restartTheirs();
    await until(
      async () => (await ping(net.left, OVERLAY.right.v4, { count: 1, waitMs: 1_000 })).received === 1,
      25_000,
      'ours begins anew',
    );
    expect(await ping(net.right, OVERLAY.left.v6)).toMatchObject({ received: 3 });
  });

  test.skipIf(captureObstacle).each([
    { silent: 'ours', device: 'wg-time3' },
    { silent: 'theirs', device: 'wg-time4' },
  ] as const)(
    'data one way is answered by one empty message of $silent after 10 s',
    async ({ silent, device }) => {
      await using mixed = await MixedPair.start({ initiator: 'both', device });
      const { net } = mixed;
      const [from, to, address] =
        silent === 'ours'
          ? ([net.right, net.left, OVERLAY.left.v4] as const)
          : ([net.left, net.right, OVERLAY.right.v4] as const);
      expect(await ping(from, address)).toMatchObject({ received: 3 });
      await using capture = await Capture.start(net.internet, 'ours', { filter: 'udp' });
      await using sink = await holdPort(to, address, 9_999);
      await using _source = await sendDatagrams(from, address, 9_999, [Buffer.alloc(100)]);
      await sink.line(/"from"/, 5_000);

      const sent = `^([\\d.]+) IP ${pattern(from.v4)}\\.51820 > ${pattern(to.v4)}\\.51820: UDP, length 160`;
      const [, sentAt] = await capture.packet(new RegExp(sent), 5_000);
      const empty = `^([\\d.]+) IP ${pattern(to.v4)}\\.51820 > ${pattern(from.v4)}\\.51820: UDP, length 32`;
      const [, emptyAt] = await capture.packet(new RegExp(empty), 15_000);
      expect(Number(emptyAt) - Number(sentAt)).toBeGreaterThan(9);
      const answers = (await capture.stop()).filter((line) => line.includes(`IP ${to.v4}.51820 >`));
      expect(answers).toHaveLength(1);
    },
  );
});

function pattern(address: string): string {
  return address.replaceAll('.', '\\.');
}
