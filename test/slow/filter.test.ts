// A hundred thousand packets under random policies, judged by the evaluator and by the core; and as many with flows. And a
// flood at what is denied, while the policy changes a hundred times.

import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { Capture, captureObstacle } from '../support/capture.ts';
import { judgeAlike, passAlike } from '../support/differential.ts';
import { OVERLAY } from '../support/node-process.ts';
import { startPair } from '../support/pair.ts';
import { ping, sendTrains } from '../support/traffic.ts';

const CASES = 100_000;

test('evaluator and core judge a hundred thousand packets alike', () => {
  expect(judgeAlike({ numRuns: CASES / 16 }, 16)).toBeGreaterThanOrEqual(CASES);
});

test('and let the same datagrams pass while policies change', () => {
  expect(passAlike({ numRuns: 200 }, 400)).toBeGreaterThanOrEqual(CASES);
});

const CHANGES = 100;
const DENIED_PORT = 7_777;

test.skipIf(captureObstacle)(
  'of a flood at a denied port nothing passes while the policy changes a hundred times',
  async () => {
    await using pair = await startPair({ names: { left: 'probed', right: 'probing' } });
    const { file, configFile } = pair.left.files;
    const [[name = '', peer] = []] = Object.entries(file.peers);
    const policy = (change: number): string =>
      stringify({
        ...file,
        firewall: { version: 1 },
        peers: { [name]: { ...peer, allow: [{ to: 'self', ports: ['icmp', `tcp/${1_000 + change}`] }] } },
      });
    await writeFile(configFile, policy(0));
    await pair.left.command('reload');
    expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
    await using capture = await Capture.start(pair.net.left, file.interface.name, {
      filter: `udp port ${DENIED_PORT}`,
      snapBytes: 96,
    });
    let isOver = false;
    const flood = async (): Promise<void> => {
      while (!isOver) {
        const trains = { count: 5_000, lengthBytes: 40 * 64, segmentBytes: 64 };
        await sendTrains(pair.net.right, OVERLAY.left.v4, DENIED_PORT, trains);
      }
    };
    const flooding = flood();
    for (let change = 1; change <= CHANGES; change++) {
      await writeFile(configFile, policy(change));
      await pair.left.command('reload');
    }
    isOver = true;
    await flooding;
    const { policy: status } = await pair.left.status();
    if (status?.state !== 'enforced') throw new Error('no policy is enforced');
    expect(status.generation).toBeGreaterThan(CHANGES);
    expect(status.denied.reduce((sum, { packets }) => sum + Number(packets), 0)).toBeGreaterThan(1_000_000);
    expect(await capture.stop()).toEqual([]);
    expect(await ping(pair.net.right, OVERLAY.left.v4)).toMatchObject({ received: 3 });
  },
);
