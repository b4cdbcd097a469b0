// What somebody who only watches learns: nothing from indices, ephemerals, timestamps and lengths. And what lies about on
// the host: no secret.

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { attackRingfence } from '../support/attacker/attack.ts';
import { OVERLAY } from '../support/node-process.ts';
import { ping } from '../support/traffic.ts';

const HANDSHAKES = 40;
/** Timestamps are cut to this, so that they say nothing finer than 17 ms about the clock. WireGuard paper §5.1. */
const GRID_NS = 1 << 24;

/** How many of the 32 bits of `values` are at least once set and at least once not. */
function movingBits(values: readonly number[]): number {
  const [or, and] = values.reduce(([or, and], value) => [or | value, and & value], [0, -1]);
  return ((or & ~and) >>> 0).toString(2).replaceAll('0', '').length;
}

test('of our responses, indices and ephemerals are random and never repeated', async () => {
  await using ground = await attackRingfence();
  const { attacker } = ground;
  const [indices, ephemerals] = [new Set<number>(), new Set<string>()];
  for (let round = 0; round < HANDSHAKES; round++) {
    await attacker.initiate();
  }
  for (const datagram of attacker.socket.received) {
    const response = Buffer.from(datagram);
    indices.add(response.readUInt32LE(4));
    ephemerals.add(response.toString('hex', 12, 44));
  }
  const responses = attacker.socket.received.length;
  expect(responses).toBeGreaterThanOrEqual(HANDSHAKES);
  expect(indices.size).toBe(responses);
  expect(ephemerals.size).toBe(responses);
});

test('of our initiations, indices and ephemerals never repeat, and timestamps grow on the grid of 2^24 ns', async () => {
  // Each restart is another node to whoever watches; within one, a repetition comes only after 5 s.
  const seen = { indices: [] as number[], ephemerals: new Set<string>(), timestamps: [] as bigint[] };
  for (let round = 0; round < 6; round++) {
    await using ground = await attackRingfence({ isKnown: true, keepalive: 25 });
    const initiation = await ground.attacker.initiated();
    const time = Buffer.from(initiation.timestamp);
    expect(time.readUInt32BE(8) % GRID_NS).toBe(0);
    expect(time.readUInt32BE(8)).toBeLessThan(1e9);
    // 10 s of TAI, as the kernel and wireguard-go have it: a node that is moved between implementations is not locked out.
    const unixSeconds = Number(time.readBigUInt64BE(0) - (1n << 62n) - 10n);
    expect(Math.abs(unixSeconds - Date.now() / 1_000)).toBeLessThan(60);
    seen.indices.push(initiation.sender);
    seen.ephemerals.add(Buffer.from(initiation.ephemeral).toString('hex'));
    seen.timestamps.push(time.readBigUInt64BE(0) * 1_000_000_000n + BigInt(time.readUInt32BE(8)));
  }
  expect(new Set(seen.indices).size).toBe(6);
  expect(seen.ephemerals.size).toBe(6);
  expect(movingBits(seen.indices)).toBeGreaterThan(12);
  expect(seen.timestamps).toEqual(seen.timestamps.toSorted((a, b) => (a < b ? -1 : 1)));
});

test('lengths are padded to 16 bytes, up to the MTU', async () => {
  await using ground = await attackRingfence();
  const { attacker, net } = ground;
  const session = await attacker.initiate();
  await attacker.ping(session);
  attacker.skip();
  const sizes = [0, 1, 7, 8, 20, 100, 555, 1_364, 1_380, 1_391, 1_392];
  for (const sizeBytes of sizes) await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 10, sizeBytes });
  const isData = (datagram: Uint8Array) => datagram[0] === 4 && datagram.length > 32;
  await attacker.until((datagrams) => datagrams.filter(isData).length >= sizes.length, 10_000, 'every ping');
  const lengths = attacker.pending.filter(isData).map((datagram) => datagram.length - 32);
  expect(lengths).toEqual(sizes.map((size) => Math.min(Math.ceil((size + 28) / 16) * 16, 1_420)));
  for (const datagram of attacker.pending.filter(isData)) {
    const packet = Buffer.from(attacker.open(datagram) ?? []);
    expect(packet.subarray(packet.readUInt16BE(2)).every((byte) => byte === 0)).toBe(true);
  }
});

test('no key is in the log, the arguments, the environment or a file that others can read', async () => {
  await using ground = await attackRingfence({ presharedKey: true });
  const { attacker, node } = ground;
  await attacker.ping(await attacker.initiate());
  const { directory, keys } = node.files;
  const presharedKey = Buffer.from(attacker.options.presharedKey ?? []);
  const secrets = [Buffer.from(keys.privateKey, 'base64'), presharedKey].flatMap((secret) => [
    secret.toString('base64'),
    secret.toString('hex'),
    secret.toString('latin1'),
  ]);
  const places = {
    log: node.process.output,
    arguments: await readFile(`/proc/${node.process.pid}/cmdline`, 'latin1'),
    environment: await readFile(`/proc/${node.process.pid}/environ`, 'latin1'),
    status: JSON.stringify(await node.status()),
    configuration: await readFile(node.files.configFile, 'latin1'),
  };
  for (const [place, text] of Object.entries(places)) {
    expect(text.length, place).toBeGreaterThan(0);
    expect(
      secrets.filter((secret) => text.includes(secret)),
      place,
    ).toEqual([]);
  }
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    if (!entry.isFile()) continue;
    const text = await readFile(file, 'latin1');
    if (secrets.some((secret) => text.includes(secret)))
      expect((await stat(file)).mode & 0o077, file).toBe(0);
  }
});
