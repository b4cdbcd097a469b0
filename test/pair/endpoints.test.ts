// Where peers are found: names that are asked for again, several endpoints tried in turn.

import { describe, expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { ENDPOINT_DEADLINE_MS, endpointOf, NAME, PORT, reached, startNamed } from '../support/named-pair.ts';
import { OVERLAY } from '../support/node-process.ts';
import { ping } from '../support/traffic.ts';

describe.concurrent('endpoints', () => {
  test('a name that has another answer when its TTL ends: the peer is asked there, and nothing is lost', async () => {
    await using ground = await startNamed('ttl', { [NAME]: { A: ['198.51.100.10'], ttl: 2 } }, [
      `${NAME}:${PORT}`,
    ]);
    await reached(ground, 'the first address');
    expect(await endpointOf(ground)).toBe(`198.51.100.10:${PORT}`);
    const pinging = ping(ground.net.left, OVERLAY.right.v6, { count: 200, intervalMs: 20, waitMs: 5_000 });
    await ground.names.change({ [NAME]: { A: ['198.51.100.20'], ttl: 2 } });
    await until(
      async () => (await endpointOf(ground)) === `198.51.100.20:${PORT}`,
      ENDPOINT_DEADLINE_MS,
      'the second address',
    );
    const { sent, received } = await pinging;
    expect(received).toBe(sent);
    // And to the other family, at its first address, though the former one still answers.
    await ground.names.change({ [NAME]: { AAAA: ['2001:db8:2::10'], ttl: 2 } });
    await until(
      async () => (await endpointOf(ground)) === `[2001:db8:2::10]:${PORT}`,
      ENDPOINT_DEADLINE_MS,
      'the address of IPv6',
    );
    await reached(ground, 'over IPv6');
  });

  test('endpoints are tried in turn until one answers; a name that does not resolve keeps nobody waiting', async () => {
    const endpoints = [`nowhere.example:${PORT}`, `198.51.100.99:${PORT}`, `${NAME}:${PORT}`];
    const records = { [NAME]: { AAAA: ['2001:db8:2::10'], A: ['198.51.100.98'], ttl: 60 } };
    await using ground = await startNamed('turn', records, endpoints);
    expect(ground.left.process.output).toContain('rf-turn-l is ready');
    await reached(ground, 'the third endpoint');
    expect(await endpointOf(ground)).toBe(`[2001:db8:2::10]:${PORT}`);
    expect(ground.left.process.output).toContain(`nowhere.example:${PORT} does not resolve yet`);
  });
});
