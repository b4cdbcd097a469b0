// A core that traps is a bug of ours and costs a handshake: a fresh lane takes its place, and nothing of the host moves. Nor does
// anything pass meanwhile that the policy denies: somebody sends without end to a port that is not granted.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { until } from '../support/deadline.ts';
import { networkState } from '../support/host-state.ts';
import { NodeProcess, nodeWith, OVERLAY, Scratch, writePair } from '../support/node-process.ts';
import { routed } from '../support/topology.ts';
import { holdPort, NODE, ping } from '../support/traffic.ts';

const PROGRAM = nodeWith('trapping-worker.ts');
const DENIED_PORT = 7_777;

/** A thousand datagrams a second, until it is stopped. */
const SENDER = `const s = require('dgram').createSocket('udp4');
setInterval(() => s.send('denied', ${DENIED_PORT}, '${OVERLAY.left.v4}', () => {}), 1)`;

test('a trap restarts the lane: addresses, routes and policy stay, and traffic works after a new handshake', async () => {
  await using scratch = await Scratch.create();
  await using net = await routed();
  const files = await writePair(scratch.path, {
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
    initiators: ['right'], // the left node learns where the right one is from its handshake only
  });
  const { file, configFile } = files.left;
  const peers = { right: { ...file.peers['right'], allow: [{ to: 'self', ports: ['icmp'] }] } };
  await writeFile(configFile, stringify({ ...file, peers, firewall: { version: 1 } }));
  const trapFile = join(scratch.path, 'trap');
  await using left = await NodeProcess.start(net.left, files.left, {
    program: PROGRAM,
    env: { TRAP_FILE: trapFile, LOG_LEVEL: 'debug' },
  });
  await using right = await NodeProcess.start(net.right, files.right);

  await using sink = await holdPort(net.left, OVERLAY.left.v4, DENIED_PORT);
  await using _sender = net.right.spawn(NODE, ['-e', SENDER]);
  const denied = async (): Promise<number> => {
    const { policy } = await left.status();
    return policy?.state === 'enforced'
      ? policy.denied.reduce((sum, { packets }) => sum + Number(packets), 0)
      : 0;
  };

  for (const restarts of [1, 2]) {
    await until(async () => (await denied()) > 50, 20_000, 'packets are denied');
    const from = left.process.lines.length;
    expect(await ping(net.right, OVERLAY.left.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
    // Nobody has asked for a status: within seconds of its handshake it is known where to look after a restart.
    if (restarts === 1) await left.process.line(/the peer .* is at 198\.51\.100\.10:51820 now/, 20_000);
    expect((await left.status()).lane).toMatchObject({ state: 'running', restarts: restarts - 1 });
    const before = await networkState(net.left);

    await writeFile(trapFile, '');
    await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
    await left.process.line(
      new RegExp(`the lane failed and is restarted .*${restarts}.*unreachable`),
      10_000,
      from,
    );
    await left.process.line(/the lane runs again/, 10_000, from);
    expect(await networkState(net.left)).toBe(before);
    const { lane } = await left.status();
    expect(lane).toMatchObject({ state: 'running', restarts });
    expect(lane.lastFailure).toMatch(/^RuntimeError: unreachable/);

    expect(await ping(net.left, OVERLAY.right.v6, { waitMs: 5_000 })).toMatchObject({ received: 3 });
    expect(await ping(net.right, OVERLAY.left.v6)).toMatchObject({ received: 3 });
    expect((await left.peer('right')).latestHandshakeSeconds).not.toBeNull();
  }
  await until(async () => (await denied()) > 50, 20_000, 'packets are denied again');
  expect(sink.lines.filter(({ text }) => text.includes('"from"'))).toEqual([]);
  expect(await left.command('status')).toMatch(/lane {8}running, restarted 2 times/);
  expect(await left.stop()).toEqual({ code: 0, signal: undefined });
  expect((await right.status()).lane.restarts).toBe(0);
});
