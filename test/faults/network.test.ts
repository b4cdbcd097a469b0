// What the network below and the host around a node do to it: each fault, and the time in which traffic is back.

import { describe, expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { OVERLAY } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import type { Host } from '../support/topology.ts';
import { endpoint, ping } from '../support/traffic.ts';

/** Pings again and again until one is answered. */
async function trafficWithin(from: Host, address: string, deadlineMs: number, what: string): Promise<void> {
  await until(
    async () => (await ping(from, address, { count: 1, waitMs: 250 })).received === 1,
    deadlineMs,
    `${what}: a ping from ${from.name}`,
  );
}

async function expectBothWays({ net }: Pair, what: string): Promise<void> {
  expect(await ping(net.left, OVERLAY.right.v4, { intervalMs: 100 }), what).toMatchObject({ received: 3 });
  expect(await ping(net.right, OVERLAY.left.v6, { intervalMs: 100 }), what).toMatchObject({ received: 3 });
}

test('ten flaps of the wire, and of the tunnel interface: traffic after each', async () => {
  await using pair = await startPair();
  const { net, left } = pair;
  await expectBothWays(pair, 'before');
  for (let round = 1; round <= 10; round++) {
    // Setting a link down takes the routes over it; whoever manages the host puts them back.
    await net.left.ipBatch(
      'link set eth0 down',
      'link set eth0 up',
      'address replace 2001:db8:1::10/64 dev eth0 nodad',
      'route replace default via 192.0.2.1',
      'route replace ::/0 via 2001:db8:1::1',
    );
    await trafficWithin(net.left, OVERLAY.right.v4, 5_000, `wire, round ${round}`);
    await net.left.ipBatch(
      `link set ${left.interfaceName} down`,
      `link set ${left.interfaceName} up`,
      `address replace ${OVERLAY.left.addresses[1]} dev ${left.interfaceName} nodad`,
    );
    await trafficWithin(net.left, OVERLAY.right.v4, 5_000, `tunnel, round ${round}`);
    await trafficWithin(net.right, OVERLAY.left.v6, 5_000, `tunnel, round ${round}`);
  }
  expect((await left.status()).lane).toMatchObject({ state: 'running', restarts: 0 });
});

test('the MTU of a live tunnel from 576 to 9,000 and back: traffic each time, in one piece', async () => {
  await using pair = await startPair({ underlayMtu: 9_100 });
  const { net, left, right } = pair;
  await expectBothWays(pair, 'before');
  for (const mtu of [576, 1_280, 1_419, 1_420, 1_500, 4_000, 9_000, 1_281, 576, 1_420]) {
    for (const node of [left, right]) {
      await node.host.ip('link', 'set', node.interfaceName, 'mtu', `${mtu}`);
    }
    for (const [from, address] of [
      [net.left, OVERLAY.right.v4],
      [net.right, OVERLAY.left.v4],
    ] as const) {
      for (const sizeBytes of [0, mtu - 28, 2 * mtu]) {
        const result = await ping(from, address, { count: 1, sizeBytes });
        expect(result, `MTU ${mtu}, ${sizeBytes} bytes`).toMatchObject({ received: 1 });
      }
    }
  }
});

test.each([4, 6] as const)(
  'the outer address over IPv%s is replaced: traffic within 20 s, and the peer sees the new one',
  async (underlay) => {
    await using pair = await startPair({ underlay });
    const { net, right } = pair;
    await expectBothWays(pair, 'before');
    const [from, to, length, gateway] =
      underlay === 4
        ? [net.left.v4, '192.0.2.99', 24, '192.0.2.1']
        : [net.left.v6, '2001:db8:1::99', 64, '2001:db8:1::1'];
    await net.left.ipBatch(
      `address del ${from}/${length} dev eth0`,
      `address add ${to}/${length} dev eth0 ${underlay === 6 ? 'nodad' : ''}`,
      `route replace ${underlay === 6 ? '::/0' : 'default'} via ${gateway}`,
    );
    await trafficWithin(net.left, OVERLAY.right.v4, 20_000, 'the new address');
    await expectBothWays(pair, 'the new address');
    expect((await right.peer('left')).endpoint).toBe(endpoint(to, 51820));
  },
);

const DROP = `table inet fault { chain output { type filter hook output priority 0; udp dport 51820 drop; }; }`;

describe('sending fails', () => {
  test.each([
    { errno: 'EPERM', begin: ['nft', DROP], end: ['nft', 'delete table inet fault'] },
    {
      errno: 'EINVAL',
      begin: ['ip', 'route add blackhole 198.51.100.10'],
      end: ['ip', 'route del 198.51.100.10'],
    },
    {
      errno: 'EHOSTUNREACH',
      begin: ['ip', 'route add unreachable 198.51.100.10'],
      end: ['ip', 'route del 198.51.100.10'],
    },
    {
      errno: 'EACCES',
      begin: ['ip', 'route add prohibit 198.51.100.10'],
      end: ['ip', 'route del 198.51.100.10'],
    },
    {
      errno: 'ENETUNREACH',
      begin: ['ip', 'route del default'],
      end: ['ip', 'route add default via 192.0.2.1'],
    },
  ])('with $errno: counted, not fatal, and traffic resumes when it ends', async ({ errno, begin, end }) => {
    await using pair = await startPair();
    const { net, left } = pair;
    await expectBothWays(pair, 'before');
    const change = async ([tool = '', command = '']: readonly string[]) =>
      await net.left.exec(tool, tool === 'nft' ? [command] : command.split(' '));
    await change(begin);
    const failing = await ping(net.left, OVERLAY.right.v4, { count: 20, intervalMs: 10, waitMs: 100 });
    expect(failing).toMatchObject({ sent: 20, received: 0 });
    const { faults, lane } = await left.status();
    expect(lane).toMatchObject({ state: 'running', restarts: 0 });
    expect(JSON.stringify(faults)).toContain(errno);
    await change(end);
    await trafficWithin(net.left, OVERLAY.right.v4, 6_500, `after ${errno}`);
    await expectBothWays(pair, `after ${errno}`);
  });

  test('because nobody listens there (ECONNREFUSED): the tunnel comes up when somebody does', async () => {
    await using pair = await startPair();
    const { net, left, right } = pair;
    await right.process.stop('SIGKILL');
    expect(await ping(net.left, OVERLAY.right.v4, { count: 5, waitMs: 100 })).toMatchObject({ received: 0 });
    expect((await left.status()).lane).toMatchObject({ state: 'running', restarts: 0 });
    await using _again = await pair.restart('right');
    await trafficWithin(net.left, OVERLAY.right.v4, 20_000, 'somebody listens');
  });
});
