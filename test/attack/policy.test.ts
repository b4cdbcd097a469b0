// A policy against peers that hold their keys and lie inside the tunnel: about who they are, about whose answer it is, and about
// what is in a packet. The attacker (10.9.0.1) has wide allowed IPs, bob (10.9.0.3) an address within them; the node is 10.9.0.2.

import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { askNode } from '../../src/control/node-socket.ts';
import type { DeniedStatus } from '../../src/control/target.ts';
import { type Attack, attackRingfence } from '../support/attacker/attack.ts';
import { Attacker, Socket } from '../support/attacker/attacker.ts';
import { rawKeyPair, type Session } from '../support/attacker/noise.ts';
import {
  DESTINATION_OPTIONS,
  echoRequest,
  HOP_BY_HOP,
  piecesOf,
  placeOf,
  ROUTING,
  synPacket,
  udpPacket,
  withExtensions,
} from '../support/attacker/packets.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeProcess, OVERLAY } from '../support/node-process.ts';

/** Granted to the attacker, and to bob. */
const PORT = 7_000;
const BOBS_PORT = 7_001;
const VERSIONS = ['v4', 'v6'] as const;
type Version = (typeof VERSIONS)[number];
const BOB = { v4: '10.9.0.3', v6: 'fd09::3' };
/** Among the attacker's networks, and nobody's own. */
const NOBODY = { v4: '10.9.0.77', v6: 'fd09::77' };
const BEHIND = { v4: '10.9.7.7', v6: 'fd09:0:0:7::7' };
const BEHIND_NETS = ['10.9.7.0/24', 'fd09:0:0:7::/64'];
const NODE = OVERLAY.right;

let ground: Attack<NodeProcess>;
let bob: Attacker;
let session: Session;
let bobs: Session;
const sockets = new Map<string, Socket>();
const undo = new AsyncDisposableStack();

beforeAll(async () => {
  const keys = generateKeyPair();
  ground = undo.use(
    await attackRingfence({
      name: 'judging',
      routes: ['10.9.0.0/16', 'fd09::/48'],
      peers: { bob: { public_key: keys.publicKey, addresses: [BOB.v4, BOB.v6] } },
    }),
  );
  const { attacker, net } = ground;
  bob = undo.use(
    await Attacker.start(net.left, {
      ...attacker.options,
      keys: rawKeyPair(Buffer.from(keys.privateKey, 'base64')),
      listenPort: 51_822,
      inside: { own: BOB, target: NODE },
    }),
  );
  for (const version of VERSIONS) {
    for (const port of [PORT, BOBS_PORT]) {
      sockets.set(`${version} ${port}`, undo.use(await Socket.open(net.right, NODE[version], port)));
    }
  }
  [session, bobs] = await Promise.all([attacker.initiate(), bob.initiate()]);
  await Promise.all([attacker.ping(session), bob.ping(bobs)]);
});
afterAll(() => undo.disposeAsync());

/** The policy, with these networks behind bob. */
async function reload(behindBob: readonly string[] = []): Promise<void> {
  const { file, configFile, runDirectory } = ground.node.files;
  const { attacker, bob: other } = file.peers;
  const peers = {
    attacker: {
      ...attacker,
      allow: [{ to: 'self', ports: ['icmp/echo-request', `udp/${PORT}`, `tcp/${PORT}`] }],
    },
    bob: {
      ...other,
      routes: behindBob,
      allow: [{ to: 'self', ports: ['icmp/echo-request', `udp/${BOBS_PORT}`, `tcp/${BOBS_PORT}`] }],
    },
  };
  await writeFile(configFile, stringify({ ...file, peers, firewall: { version: 1 } }));
  await askNode(runDirectory, ground.node.interfaceName, { request: 'reload' });
}

function socket(version: Version, port: number): Socket {
  const found = sockets.get(`${version} ${port}`);
  if (found === undefined) throw new Error(`nobody listens on ${port}`);
  return found;
}

/** How many packets were dropped for each of these reasons by what `send` sends, a ping having gone last. */
async function drops<const T extends string>(
  reasons: readonly T[],
  send: () => Promise<void>,
): Promise<Record<T, number>> {
  const all = async () => (await ground.node.status()).drops;
  const before = await all();
  await send();
  await Promise.all([ground.attacker.ping(session), bob.ping(bobs)]);
  const after = await all();
  const counts = reasons.map((reason) => [reason, Number(after[reason]) - Number(before[reason])] as const);
  return Object.fromEntries(counts) as Record<T, number>;
}

async function deniedTo(peer: string): Promise<Pick<DeniedStatus, 'stage' | 'rule'>[]> {
  const { policy } = await ground.node.status();
  if (policy?.state !== 'enforced') throw new Error('no policy is enforced');
  return policy.denied.filter((row) => row.peer === peer).map(({ stage, rule }) => ({ stage, rule }));
}

/** Of each protocol one packet that bob may send, from `from`. */
function asBob(from: Record<Version, string>): Buffer<ArrayBuffer>[] {
  return VERSIONS.flatMap((version) => {
    const ports = { sport: 5_000, dport: BOBS_PORT };
    return [
      udpPacket(from[version], NODE[version], ports, Buffer.from('spoofed')),
      synPacket(from[version], NODE[version], ports),
    ];
  });
}

test('who takes the address of another peer, of the node or of nobody gains nothing by it', async () => {
  await reload();
  const reasons = ['source-not-allowed', 'filter-denied'] as const;
  const { attacker } = ground;
  for (const from of [BOB, NODE]) {
    const pings = VERSIONS.map((one) => echoRequest(from[one], NODE[one], { id: 9, sequence: 1 }));
    const lies = [...asBob(from), ...pings];
    const send = () => attacker.send(...lies.map((packet) => session.seal(packet)));
    expect(await drops(reasons, send)).toEqual({ 'source-not-allowed': 6, 'filter-denied': 0 });
  }
  const send = () => attacker.send(...asBob(NOBODY).map((packet) => session.seal(packet)));
  expect(await drops(reasons, send)).toEqual({ 'source-not-allowed': 0, 'filter-denied': 4 });
  expect(await deniedTo('attacker')).toEqual([{ stage: 'default', rule: null }]);
  for (const version of VERSIONS) expect(socket(version, BOBS_PORT).received).toEqual([]);

  await bob.send(...asBob(BOB).map((packet) => bobs.seal(packet)));
  for (const version of VERSIONS) {
    await until(() => socket(version, BOBS_PORT).received.length > 0, 10_000, 'bob himself is heard');
    expect(socket(version, BOBS_PORT).received.map(String)).toEqual(['spoofed']);
  }
});

test.each(VERSIONS)(
  'an answer over %s counts from whom it was asked, and from nobody else',
  async (version) => {
    await reload();
    const { attacker } = ground;
    const asked = socket(version, PORT);
    const ports = { sport: 9_000, dport: PORT };
    const answer = (text: string) => udpPacket(BEHIND[version], NODE[version], ports, Buffer.from(text));
    const heard = () => asked.received.map(String);
    const reasons = ['source-not-allowed', 'filter-denied'] as const;
    attacker.skip();
    await asked.send({ address: BEHIND[version], port: 9_000 }, Buffer.from('question'));
    await attacker.take((datagram) => attacker.open(datagram), 'the question');
    await attacker.send(session.seal(answer('answer')));
    await until(() => heard().includes('answer'), 10_000, 'the answer');

    const byBob = () => bob.send(bobs.seal(answer('by bob')));
    expect(await drops(reasons, byBob)).toEqual({ 'source-not-allowed': 1, 'filter-denied': 0 });
    await reload(BEHIND_NETS); // now it is bob who has that address, and the flow is still not his
    expect(await drops(reasons, byBob)).toEqual({ 'source-not-allowed': 0, 'filter-denied': 1 });
    expect(await deniedTo('bob')).toEqual([{ stage: 'default', rule: null }]);
    const late = () => attacker.send(session.seal(answer('too late')));
    expect(await drops(reasons, late)).toEqual({ 'source-not-allowed': 1, 'filter-denied': 0 });
    expect(heard().filter((text) => text !== 'answer')).toEqual([]);
  },
);

/** A datagram to a port of the node. */
function datagram(version: Version, dport: number, text: string, bytes = 20): Buffer<ArrayBuffer> {
  const data = Buffer.alloc(bytes, `${text} `);
  return udpPacket(OVERLAY.left[version], NODE[version], { sport: 5_000, dport }, data);
}

const wordOf = (bytes: Uint8Array): string => String(bytes).split(' ')[0] ?? '';

/** What the sockets heard since the last time, by first words. A granted datagram goes last to each: when it is heard, all before it were. */
async function heard(version: Version): Promise<string[]> {
  const before = `fence-${fences.get(version)}`;
  fences.set(version, (fences.get(version) ?? 0) + 1);
  const fence = `fence-${fences.get(version)}`;
  await ground.attacker.send(session.seal(datagram(version, PORT, fence)));
  const ports = { sport: 5_001, dport: BOBS_PORT };
  await bob.send(bobs.seal(udpPacket(BOB[version], NODE[version], ports, Buffer.from(fence))));
  const words = await Promise.all(
    [PORT, BOBS_PORT].map(async (port) => {
      const all = () => socket(version, port).received.map(wordOf);
      await until(() => all().includes(fence), 10_000, `a fence at port ${port}`);
      return all().slice(all().indexOf(before) + 1, all().indexOf(fence));
    }),
  );
  return words.flat();
}
const fences = new Map<Version, number>();

test('extension headers of IPv6 hide no port; a chain beyond the bound, and a source route, are dropped', async () => {
  await reload();
  const { attacker } = ground;
  await heard('v6');
  const reasons = ['filter-denied', 'bad-extensions'] as const;
  const chains = {
    hop: [HOP_BY_HOP],
    options: [DESTINATION_OPTIONS],
    both: [HOP_BY_HOP, DESTINATION_OPTIONS],
    eight: new Array(8).fill(DESTINATION_OPTIONS),
  };
  for (const [name, chain] of Object.entries(chains)) {
    const packets = [PORT, BOBS_PORT].map((port) => withExtensions(datagram('v6', port, name), chain));
    const send = () => attacker.send(...packets.map((packet) => session.seal(packet)));
    expect(await drops(reasons, send), name).toEqual({ 'filter-denied': 1, 'bad-extensions': 0 });
    expect(await heard('v6'), name).toEqual([name]);
  }
  for (const chain of [new Array(9).fill(DESTINATION_OPTIONS), [ROUTING]]) {
    const send = () => attacker.send(session.seal(withExtensions(datagram('v6', PORT, 'hidden'), chain)));
    expect(await drops(reasons, send)).toEqual({ 'filter-denied': 0, 'bad-extensions': 1 });
  }
  expect(await heard('v6')).toEqual([]);
});

/** The kernel puts pieces together before its own rules see them, or only for the socket. */
async function track(isOn: boolean): Promise<void> {
  const chain = 'chain in { type filter hook input priority 0; ct state invalid drop; }';
  const rules = `table inet track { }; delete table inet track; ${isOn ? `table inet track { ${chain}; };` : ''}`;
  await ground.net.right.exec('nft', ['-f', '-'], { input: `${rules}\n` });
}

let lastId = 0;

describe.each(VERSIONS)('pieces of a datagram over %s', (version) => {
  const reasons = ['filter-denied', 'bad-fragment'] as const;
  const sent = (pieces: readonly Uint8Array[]) =>
    drops(reasons, () => ground.attacker.send(...pieces.map((piece) => session.seal(piece))));
  const cut = (port: number, text: string, starts = [0, 800, 1_600]) =>
    piecesOf(datagram(version, port, text, 2_000), ++lastId, starts);

  test.each([false, true])(
    'pass behind a first one that is granted, each part once (conntrack: %s)',
    async (isTracked) => {
      await reload();
      await track(isTracked);
      await heard(version);
      expect(await sent(cut(PORT, 'whole'))).toEqual({ 'filter-denied': 0, 'bad-fragment': 0 });
      expect(await heard(version)).toEqual(['whole']);

      expect(await sent(cut(BOBS_PORT, 'denied'))).toEqual({ 'filter-denied': 1, 'bad-fragment': 2 });
      expect(await sent(cut(PORT, 'headless').slice(1))).toEqual({ 'filter-denied': 0, 'bad-fragment': 2 });
      // A second first piece, of a granted datagram on its way, would write another port over the one that was judged.
      const [first = EMPTY, ...rest] = cut(PORT, 'over');
      const [over = EMPTY] = piecesOf(datagram(version, BOBS_PORT, 'over', 2_000), lastId, [0, 800]);
      expect(await sent([first, over, ...rest])).toEqual({ 'filter-denied': 0, 'bad-fragment': 1 });
      expect(await heard(version)).toEqual(['over']);
      // A later one that begins within what has passed already, and one that is said twice.
      const [head = EMPTY, second = EMPTY, third = EMPTY] = cut(PORT, 'lapped');
      const [, lapping = EMPTY] = piecesOf(datagram(version, PORT, 'evil', 2_000), lastId, [0, 792, 1_600]);
      expect(await sent([head, lapping, second, second, third])).toEqual({
        'filter-denied': 0,
        'bad-fragment': 2,
      });
      expect(await heard(version)).toEqual(['lapped']);
    },
  );

  test('the first has all that rules read, and no later one lies over it', async () => {
    await reload();
    await track(false);
    // Granted, were it whole: the first piece has the ports without the flags, or with them what the second writes over.
    const syn = (sport: number) => synPacket(OVERLAY.left[version], NODE[version], { sport, dport: PORT });
    expect(await sent([syn(7)])).toEqual({ 'filter-denied': 0, 'bad-fragment': 0 });
    expect(await sent(piecesOf(syn(8), ++lastId, [0, 8, 16]))).toEqual({
      'filter-denied': 0,
      'bad-fragment': 3,
    });
    const [, over = EMPTY] = piecesOf(syn(9), ++lastId, [0, 8]);
    const [whole = EMPTY] = piecesOf(Buffer.concat([syn(9), Buffer.alloc(8)]), lastId, [0, 24]);
    expect(await sent([whole, over])).toEqual({ 'filter-denied': 0, 'bad-fragment': 1 });
  });

  test.each([false, true])(
    'an echo request in pieces is answered in pieces (conntrack: %s)',
    async (isTracked) => {
      await reload();
      await track(isTracked);
      const { attacker } = ground;
      const request = echoRequest(
        OVERLAY.left[version],
        NODE[version],
        { id: 77, sequence: ++lastId },
        3_000,
      );
      const from = attacker.socket.received.length;
      const none = { 'filter-denied': 0, 'bad-fragment': 0 };
      expect(await sent(piecesOf(request, lastId, [0, 1_200, 2_400]))).toEqual(none);
      const answer = await until(
        () => wholeOf(attacker.socket.received.slice(from).flatMap((one) => attacker.open(one) ?? [])),
        10_000,
        'an answer',
      );
      expect(answer).toBe(3_008);
    },
  );
});

const EMPTY = Buffer.alloc(0);

/** How many bytes of payload lie in pieces that make one packet together; null while some are missing. */
function wholeOf(packets: readonly Uint8Array[]): number | null {
  const places = packets.map(placeOf).filter(({ start, isLast }) => start > 0 || !isLast);
  const last = places.find(({ isLast }) => isLast);
  const bytes = places.reduce((sum, { start, end }) => sum + end - start, 0);
  return last !== undefined && bytes === last.end ? bytes : null;
}

test('an extension header before the pieces is part of the first', async () => {
  await reload();
  const { attacker } = ground;
  await heard('v6');
  const reasons = ['filter-denied', 'bad-fragment'] as const;
  const sent = (pieces: readonly Uint8Array[]) =>
    drops(reasons, () => attacker.send(...pieces.map((piece) => session.seal(piece))));
  const hop = withExtensions(datagram('v6', PORT, 'extended', 2_000), [DESTINATION_OPTIONS]);
  expect(await sent(piecesOf(hop, ++lastId, [0, 800]))).toEqual({ 'filter-denied': 0, 'bad-fragment': 0 });
  // The first ends before the port: all of it is in the second.
  const tiny = withExtensions(datagram('v6', PORT, 'tiny', 2_000), [DESTINATION_OPTIONS]);
  expect(await sent(piecesOf(tiny, ++lastId, [0, 8]))).toEqual({ 'filter-denied': 0, 'bad-fragment': 2 });
  expect(await heard('v6')).toEqual(['extended']);
});
