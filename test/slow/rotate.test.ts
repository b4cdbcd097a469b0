// Sessions, preshared keys and key pairs change over and over, on both of two nodes that grant each other pings only, while a
// thousand pings a second pass: none is lost. How many there were is printed.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { type NodeProcess, OVERLAY, Scratch } from '../support/node-process.ts';
import { startPair } from '../support/pair.ts';
import { lostDuring, ping } from '../support/traffic.ts';

const ROUNDS = 20;

/** Has a node grant its peer pings and nothing else, so that a key which its policy does not know would be noticed. */
async function grantPings(node: NodeProcess): Promise<void> {
  const { file, configFile } = node.files;
  const peers = Object.entries(file.peers).map(([name, peer]) => [
    name,
    { ...peer, allow: [{ to: 'self', ports: ['icmp'] }] },
  ]);
  await writeFile(
    configFile,
    stringify({ ...file, peers: Object.fromEntries(peers), firewall: { version: 1 } }),
  );
  await node.command('reload');
}

test(`${ROUNDS} rounds of every rotation on both ends: no ping is lost`, async () => {
  await using scratch = await Scratch.create();
  const start = (name: string) => ({ env: { RINGFENCE_STATE_DIR: join(scratch.path, name) } });
  await using pair = await startPair({
    names: { left: 'lrleft', right: 'lrright' },
    presharedKey: true,
    start: { left: start('left'), right: start('right') },
  });
  const { left, right, net } = pair;
  for (const node of [left, right]) await grantPings(node);
  expect((await ping(net.left, OVERLAY.right.v4)).received).toBe(3);
  const keysOf = async () =>
    await Promise.all([left, right].map(async (node) => (await node.status()).interface.publicKey));
  const seen = new Set(await keysOf());

  const { sent, lost } = await lostDuring(net.left, OVERLAY.right.v4, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      for (const [node, peer] of [
        [left, 'lrright'],
        [right, 'lrleft'],
      ] as const) {
        await node.command('rotate', 'session', peer);
        await node.command('rotate', 'psk', peer);
        await node.command('rotate', 'identity');
      }
      for (const key of await keysOf()) seen.add(key);
    }
  });
  expect(lost, `of ${sent}`).toBe(0);
  expect(seen.size).toBe(2 + 2 * ROUNDS);
  process.stdout.write(`${ROUNDS} rounds of rotations: ${sent} pings, ${lost} lost\n`);

  // What each node runs by is what it has written, the policy too.
  for (const node of [left, right]) expect(await node.command('reload')).toBe('nothing is different');
  expect((await ping(net.right, OVERLAY.left.v6)).received).toBe(3);
});
