// The ground that the other tests of this folder stand on: namespaces that reach each other and leave nothing behind.

import { execa } from 'execa';
import { expect, test } from 'vitest';
import { Capture, captureObstacle } from '../support/capture.ts';
import { direct, routed } from '../support/topology.ts';
import { echoUdp, ping, transferTcp } from '../support/traffic.ts';

async function namespaces(): Promise<string> {
  return (await execa('ip', ['netns', 'list'])).stdout;
}

test('two hosts reach each other across the router, by IPv4 and IPv6, and leave no namespace behind', async () => {
  {
    await using net = await routed();
    const { left, right, internet } = net;
    for (const [from, address] of [
      [left, right.v4],
      [left, right.v6],
      [right, left.v4],
      [right, left.v6],
    ] as const) {
      const result = await ping(from, address, { count: 2 });
      expect(result, `${from.name} to ${address}`).toMatchObject({ sent: 2, received: 2 });
      expect(result.rttsMs).toHaveLength(2);
    }
    await internet.ip('link', 'set', 'right', 'down');
    expect(await ping(left, right.v4, { count: 1, waitMs: 200 })).toMatchObject({ sent: 1, received: 0 });
    expect(await namespaces()).toContain(left.namespace);
  }
  expect(await namespaces()).toBe('');
});

test('what is sent over TCP and UDP arrives unchanged', async () => {
  await using net = await direct();
  const { left, right } = net;
  for (const address of [right.v4, right.v6]) {
    const { sent, received } = await transferTcp(left, right, address, 4 * 1024 * 1024);
    expect(received).toMatchObject({ bytes: sent.bytes, sha256: sent.sha256 });
    expect(await echoUdp(left, right, address, [0, 1_400, 65_000])).toMatchObject([
      { size: 0, echoed: true },
      { size: 1_400, echoed: true },
      { size: 65_000, echoed: true },
    ]);
  }
});

test.skipIf(captureObstacle)('a capture sees what passes, and says so as it passes', async () => {
  await using net = await direct();
  await using capture = await Capture.start(net.right, 'eth0', { filter: 'icmp or icmp6', hex: true });
  await ping(net.left, net.right.v4, { count: 1 });
  await capture.packet(/192\.0\.2\.10 > 192\.0\.2\.20: ICMP echo request/, 2_000);
  await expect(capture.packet(/198\.51\.100/, 50)).rejects.toThrow('not within 50 ms');
  expect((await capture.stop()).join('\n')).toContain('0x0000:  4500');
});

test('a process is awaited by its lines, and its end is an answer too', async () => {
  await using net = await direct();
  const talker = net.left.spawn('sh', ['-c', 'echo one; echo two >&2; read line; echo "got $line"; exit 3'], {
    input: 'word\n',
  });
  await talker.line(/two/, 2_000);
  expect((await talker.line(/got (\w+)/, 2_000))[1]).toBe('word');
  expect(await talker.exited).toEqual({ code: 3, signal: undefined });
  await expect(talker.line(/never/, 2_000)).rejects.toThrow('ended (status 3)');

  const command = 'echo "$$ in $(readlink /proc/$$/ns/net)"; exec sleep 1000';
  const sleeper = net.left.spawn('sh', ['-c', command]);
  const [, pid, namespace] = await sleeper.line(/^(\d+) in (.+)/, 2_000);
  expect(pid).toBe(`${sleeper.pid}`);
  expect(namespace).toBe(await net.left.exec('readlink', ['/proc/self/ns/net']));
  expect(namespace).not.toBe(await net.right.exec('readlink', ['/proc/self/ns/net']));
  expect(await sleeper.stop()).toEqual({ code: undefined, signal: 'SIGTERM' });
});
