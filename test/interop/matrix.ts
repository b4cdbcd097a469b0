// The rows of the matrix, for any implementation on the other side: pings, streams and datagrams of both families inside,
// large packets, a NAT that forgets, a peer that moves, and a bad network.

import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import type { Ground, Implementation } from '../support/implementations.ts';
import { OVERLAY } from '../support/node-process.ts';
import { echoUdp, endpoint, ping, transferTcp, transferTcpStreams } from '../support/traffic.ts';

const NODE = fileURLToPath(new URL('../../scripts/node', import.meta.url));
const RELAY = fileURLToPath(new URL('../support/relay.ts', import.meta.url));
/** Longer than the NAT remembers: this time has to pass, there is no event to wait for. */
const OUTSIDE_INTERVAL_MS = 2_500;
const MEBIBYTE = 1024 * 1024;

/** Each way, both families inside. */
function ways({ net }: Ground) {
  return [
    { from: net.left, to: net.right, address: OVERLAY.right.v4 },
    { from: net.right, to: net.left, address: OVERLAY.left.v4 },
    { from: net.left, to: net.right, address: OVERLAY.right.v6 },
    { from: net.right, to: net.left, address: OVERLAY.left.v6 },
  ] as const;
}

async function expectAll(ground: Ground, bytes: number, datagrams: readonly number[]): Promise<void> {
  for (const { from, to, address } of ways(ground)) {
    const name = `${from.name} to ${address}`;
    expect(await ping(from, address, { waitMs: 5_000, intervalMs: 100 }), name).toMatchObject({
      sent: 3,
      received: 3,
    });
    const { sent, received } = await transferTcp(from, to, address, bytes);
    expect(received, name).toMatchObject({ bytes, sha256: sent.sha256 });
    const echoes = await echoUdp(from, to, address, datagrams);
    expect(
      echoes.filter((echo) => !echo.echoed),
      name,
    ).toEqual([]);
  }
}

async function expectLargePings(ground: Ground): Promise<void> {
  const large = { count: 5, sizeBytes: 30_000, doNotFragment: true, waitMs: 5_000, intervalMs: 100 } as const;
  for (const { from, address } of ways(ground)) {
    expect(await ping(from, address, large), from.name).toMatchObject({ sent: 5, received: 5 });
  }
}

async function expectManyStreams(ground: Ground): Promise<void> {
  for (const { from, to, address } of [ways(ground)[0], ways(ground)[3]]) {
    const streams = await transferTcpStreams(from, to, address, 50, MEBIBYTE);
    expect(streams).toHaveLength(50);
    for (const { sent, received } of streams) {
      expect(received, from.name).toMatchObject({ bytes: MEBIBYTE, sha256: sent.sha256 });
    }
  }
}

/** What every implementation has to carry with ours. */
export function matrix({ obstacle, start, hasSmallPacketsOnly }: Implementation): void {
  const withIt = test.skipIf(obstacle);

  withIt.each(['v4', 'v6'] as const)('streams, datagrams and pings over %s', async (underlay) => {
    await using ground = await start({ underlay });
    await expectAll(ground, 2 * MEBIBYTE, [0, 1, 1_372, 1_373, 20_000]);
  });

  withIt('packets of 9,000 bytes', async () => {
    await using ground = await start({ mtu: 8_920, underlayMtu: 9_000, underlay: 'v6' });
    await expectAll(ground, 2 * MEBIBYTE, [8_872, 20_000]);
  });

  if (hasSmallPacketsOnly !== true) {
    withIt('packets of 34,736 bytes: pings of 30 kB and 50 streams at once', async () => {
      await using ground = await start({ mtu: 34_736, underlayMtu: 34_816 });
      await expectLargePings(ground);
      await expectManyStreams(ground);
    });
  }

  withIt('either end moves to another address, and is followed', async () => {
    await using ground = await start({});
    const { net } = ground;
    expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 5_000, intervalMs: 100 })).toMatchObject({
      received: 3,
    });
    // wireguard-go of 2022 clings to its old address until it tries a new handshake.
    for (const { host, to, gateway, address, deadlineMs } of [
      {
        host: net.left,
        to: '192.0.2.77',
        gateway: '192.0.2.1',
        address: OVERLAY.right.v4,
        deadlineMs: 20_000,
      },
      {
        host: net.right,
        to: '198.51.100.77',
        gateway: '198.51.100.1',
        address: OVERLAY.left.v4,
        deadlineMs: 40_000,
      },
    ]) {
      await host.ipBatch(
        `address del ${host.v4}/24 dev eth0`,
        `address add ${to}/24 dev eth0`,
        `route replace default via ${gateway}`,
      );
      // Whoever moved speaks, and the other follows.
      await until(
        async () => (await ping(host, address, { count: 1, waitMs: 500 })).received === 1,
        deadlineMs,
        `${host.name} from ${to}`,
      );
      for (const { from, address: any } of ways(ground)) {
        expect(await ping(from, any, { intervalMs: 100 })).toMatchObject({ received: 3 });
      }
    }
  });

  withIt(
    '5 % lost, 5 % doubled, 10 % late by up to 20 ms: 8 MB each way unharmed, and no ping answered twice',
    async () => {
      await using ground = await start({
        endpoints: { left: endpoint('192.0.2.1', 50_001), right: endpoint('198.51.100.1', 50_002) },
      });
      const { net } = ground;
      const seed = 20_261_122;
      await using relay = net.internet.spawn(NODE, [
        RELAY,
        ...[seed, 5, 5, 10, 20].map(String),
        '192.0.2.1/50001/192.0.2.10/51820',
        '198.51.100.1/50002/198.51.100.10/51820',
      ]);
      await relay.line(/ready/, 5_000);
      await until(
        async () => (await ping(net.left, OVERLAY.right.v4, { count: 1, waitMs: 1_000 })).received === 1,
        30_000,
        'the tunnel',
      );
      for (const { from, to, address } of [ways(ground)[0], ways(ground)[3]]) {
        const { sent, received } = await transferTcp(from, to, address, 8 * MEBIBYTE, 90_000);
        expect(received, `seed ${seed}`).toMatchObject({ bytes: 8 * MEBIBYTE, sha256: sent.sha256 });
        const pings = await ping(from, address, { count: 200, intervalMs: 5, waitMs: 500 });
        expect(pings.received, `seed ${seed}`).toBeGreaterThan(120);
        expect(pings.output).not.toContain('DUP');
      }
      await relay.stop();
      const [text] = await relay.line(/"passed".*/, 1_000);
      const counts = JSON.parse(text.startsWith('{') ? text : `{${text}`) as Record<string, number>;
      expect(Math.min(counts['lost'] ?? 0, counts['doubled'] ?? 0, counts['late'] ?? 0)).toBeGreaterThan(100);
    },
  );
}

/** A NAT whose memory is shorter than the silence of a tunnel. */
export function behindNat({ obstacle, start }: Implementation): void {
  const withIt = test.skipIf(obstacle);

  withIt(
    'a NAT that forgets after 2 s: the inside comes back, and with a keepalive is never lost',
    async () => {
      for (const keepalive of [undefined, 1]) {
        await using ground = await start({
          initiator: 'left',
          ...(keepalive === undefined ? {} : { keepalive }),
        });
        const { net } = ground;
        await net.internet.exec('nft', ['-f', '/dev/stdin'], {
          input: `table ip nat {
          chain postrouting {
            type nat hook postrouting priority srcnat
            oifname "${net.right.name}" masquerade fully-random
          }
        }\n`,
        });
        await net.internet.sysctl({
          'net.netfilter.nf_conntrack_udp_timeout': 2,
          'net.netfilter.nf_conntrack_udp_timeout_stream': 2,
        });
        expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 5_000, intervalMs: 100 })).toMatchObject({
          received: 3,
        });
        const back = async () => await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 500 });
        if (keepalive === undefined) {
          // Only the outside speaks, at intervals longer than the NAT's memory: the way is lost sooner or later.
          await until(
            async () => {
              await delay(OUTSIDE_INTERVAL_MS);
              return (await back()).received === 0;
            },
            60_000,
            'the NAT forgets',
          );
          expect(await ping(net.left, OVERLAY.right.v4, { waitMs: 5_000, intervalMs: 100 })).toMatchObject({
            received: 3,
          });
          expect(await back()).toMatchObject({ received: 1 });
        } else {
          for (let round = 0; round < 3; round++) {
            await delay(OUTSIDE_INTERVAL_MS);
            expect(await back(), `round ${round}`).toMatchObject({ received: 1 });
          }
        }
      }
    },
  );
}
