// Endpoints that fail and come back, in the time that takes.

import { describe, expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { ENDPOINT_DEADLINE_MS, endpointOf, NAME, PORT, reached, startNamed } from '../support/named-pair.ts';
import { OVERLAY } from '../support/node-process.ts';
import { ping } from '../support/traffic.ts';

describe.concurrent('endpoints', () => {
  test('a peer whose address is gone is looked for where its name is now, whatever the TTL', async () => {
    await using ground = await startNamed('gone', { [NAME]: { A: ['198.51.100.10'], ttl: 3_600 } }, [
      `${NAME}:${PORT}`,
    ]);
    await reached(ground, 'the first address');
    await ground.net.right.ip('address', 'delete', '198.51.100.10/24', 'dev', 'eth0');
    await ground.net.right.ip('address', 'replace', '198.51.100.20/24', 'dev', 'eth0');
    await ground.net.right.ip('route', 'replace', 'default', 'via', '198.51.100.1');
    await ground.names.change({ [NAME]: { A: ['198.51.100.20'], ttl: 3_600 } });
    await reached(ground, 'the second address');
    expect(await endpointOf(ground)).toBe(`198.51.100.20:${PORT}`);
  });

  test('the better endpoint is gone back to once it answers, beside the traffic', async () => {
    await using ground = await startNamed('back', {}, [`198.51.100.99:${PORT}`, `198.51.100.10:${PORT}`]);
    await reached(ground, 'the second endpoint');
    expect(await endpointOf(ground)).toBe(`198.51.100.10:${PORT}`);
    // Longer than it takes to ask twice whether the first one answers: first it does not, and nothing is lost by asking.
    const pinging = ping(ground.net.left, OVERLAY.right.v4, { count: 700, intervalMs: 100, waitMs: 5_000 });
    await ground.left.process.line(/asking whether it answers at 198\.51\.100\.99/, ENDPOINT_DEADLINE_MS);
    await ground.net.right.ip('address', 'add', '198.51.100.99/24', 'dev', 'eth0');
    const isBack = async (): Promise<boolean> => (await endpointOf(ground)) === `198.51.100.99:${PORT}`;
    await until(isBack, ENDPOINT_DEADLINE_MS, 'the first endpoint');
    const { sent, received } = await pinging;
    expect(received).toBe(sent);
  });
});
