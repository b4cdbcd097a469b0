// Transport messages: counters, tags and replays, and what a peer that holds the keys may put inside.

import { randomBytes, randomInt } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { ATTACKER_PORT, attackRingfence } from '../support/attacker/attack.ts';
import { type Attacker, Socket } from '../support/attacker/attacker.ts';
import { mac1Of, makeCookieReply, type Session } from '../support/attacker/noise.ts';
import { type Echo, echoRequest, udpPacket } from '../support/attacker/packets.ts';
import { Capture, captureObstacle } from '../support/capture.ts';
import { generateKeyPair } from '../support/keys.ts';
import { OVERLAY } from '../support/node-process.ts';
import { addHost } from '../support/topology.ts';
import { endpoint } from '../support/traffic.ts';

/** Reject-After-Messages: 2^64 − 2^13 − 1. WireGuard paper §6.1. */
const REJECT_AFTER_MESSAGES = (1n << 64n) - (1n << 13n) - 1n;
/** As in the kernel and wireguard-go. */
const WINDOW = 8_128;
const DATA_BYTES = 28;

/** An echo request under the counter it is to have. */
function sealed(attacker: Attacker, session: Session, counter: bigint) {
  const { packet, echo } = attacker.echo();
  return { message: session.seal(packet, { counter }), echo };
}

describe('counters', () => {
  test.each([2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 59n])(
    'around %s are told apart exactly',
    async (middle) => {
      await using ground = await attackRingfence();
      const { attacker, node } = ground;
      const session = await attacker.initiate();
      const around = [-3n, -1n, 0n, 1n, 2n].map((distance) => sealed(attacker, session, middle + distance));
      const twice = [...around, ...around.toReversed()].map(({ message }) => message);
      attacker.skip();
      await attacker.send(...twice);
      session.counter = middle + 10n;
      const echoes = around.map(({ echo }) => echo);
      expect(await attacker.delivered(session, echoes)).toEqual(echoes);
      expect(await node.drops('replayed-counter')).toBe(around.length);
      // What lay between is not lost, what lay far behind is.
      const late = sealed(attacker, session, middle - 2n);
      const ancient = sealed(attacker, session, 5n);
      attacker.skip();
      await attacker.send(late.message, ancient.message);
      expect(await attacker.delivered(session, [late.echo, ancient.echo])).toEqual([late.echo]);
    },
  );

  test('at 2^63, and up to the limit, are taken; at the limit and beyond they are refused', async () => {
    await using ground = await attackRingfence();
    const { attacker, node } = ground;
    const session = await attacker.initiate();
    const taken = [2n ** 63n - 1n, 2n ** 63n, REJECT_AFTER_MESSAGES - 2n].map((counter) =>
      sealed(attacker, session, counter),
    );
    const refused = [0n, 1n, 2n ** 12n, 2n ** 13n].map((beyond) =>
      sealed(attacker, session, REJECT_AFTER_MESSAGES + beyond),
    );
    attacker.skip();
    await attacker.send(...[...refused, ...taken, ...refused].map(({ message }) => message));
    session.counter = REJECT_AFTER_MESSAGES - 1n; // the last there is
    const all = [...taken, ...refused].map(({ echo }) => echo);
    expect(await attacker.delivered(session, all)).toEqual(taken.map(({ echo }) => echo));
    expect(await node.drops('counter-limit')).toBe(2 * refused.length);
  });

  test('in any order, as deep as the window of 8,128, pass once each', async () => {
    await using ground = await attackRingfence();
    const { attacker, node } = ground;
    const fence = await attacker.initiate();
    await attacker.ping(fence);
    const session = await attacker.initiate();
    const messages = Array.from({ length: WINDOW }, () =>
      sealed(attacker, session, session.counter++),
    ).toReversed();
    const echoes = messages.map(({ echo }) => echo);
    /** In groups that fit a socket's buffer, each with a ping on the other session after it. */
    const deliveredOf = async (): Promise<Echo[]> => {
      const all: Echo[] = [];
      for (let at = 0; at < messages.length; at += 100) {
        const group = messages.slice(at, at + 100);
        attacker.skip();
        await attacker.send(...group.map(({ message }) => message));
        all.push(
          ...(await attacker.delivered(
            fence,
            group.map(({ echo }) => echo),
          )),
        );
      }
      return all;
    };
    expect(await deliveredOf()).toEqual(echoes);
    expect(await deliveredOf()).toEqual([]);
    expect(await node.drops('replayed-counter')).toBe(messages.length);
  });
});

test('every single-bit flip of a data message is refused and burns no counter', async () => {
  await using ground = await attackRingfence();
  const { attacker, node } = ground;
  const session = await attacker.initiate();
  await attacker.ping(session);
  const before = await node.status();
  // 64 bytes: 512 flips.
  const { packet, echo } = attacker.echo('v4', DATA_BYTES - 28 + 4);
  const message = session.seal(packet);
  expect(message.length).toBe(64);
  const flips = Array.from({ length: message.length * 8 }, (_, bit) =>
    message.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)),
  );
  attacker.skip();
  await attacker.send(...flips);
  const none = await attacker.delivered(session, [echo]);
  expect(none).toEqual([]);
  await attacker.send(message);
  attacker.skip();
  expect(await attacker.delivered(session, [echo])).toEqual([echo]);
  const after = await node.status();
  const dropped = Object.entries(after.drops).map(
    ([reason, count]) => [reason, Number(count) - Number(before.drops[reason])] as const,
  );
  // Type and reserved bytes 32, index 32; the rest is the counter (of which some lie beyond the limit), packet and tag.
  const counts = Object.fromEntries(dropped.filter(([, count]) => count > 0));
  expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(512);
  expect(counts['bad-tag']).toBeGreaterThanOrEqual(400);
  expect((await node.peer('attacker')).endpoint).toBe(endpoint(ground.net.left.v4, ATTACKER_PORT));
});

test('a bad tag before the genuine message does not keep it out, a replay after it is refused', async () => {
  await using ground = await attackRingfence();
  const { attacker } = ground;
  const session = await attacker.initiate();
  await attacker.ping(session);
  const { message, echo } = sealed(attacker, session, session.counter + 500n);
  const forged = message.map((byte, at) => (at === message.length - 1 ? byte ^ 0x80 : byte));
  attacker.skip();
  await attacker.send(forged, forged, message, message, forged);
  await attacker.ping(session);
  const seen = attacker.replies(attacker.socket.received);
  expect(seen.filter((one) => one.id === echo.id && one.sequence === echo.sequence)).toHaveLength(1);
});

describe('inside', () => {
  const OTHER = { v4: '10.9.0.77', v6: 'fd09::77' };

  async function start() {
    return await attackRingfence({
      routes: ['10.50.0.0/16', 'fd50::/32'],
      peers: {
        other: {
          public_key: generateKeyPair().publicKey,
          addresses: [OTHER.v4, OTHER.v6],
          routes: ['10.50.7.0/24', 'fd50:0:7::/48'],
        },
      },
    });
  }

  test.skipIf(captureObstacle)(
    'a source that the whole table gives to somebody else, or to nobody, never reaches the TUN device',
    async () => {
      await using ground = await start();
      const { attacker, node, net } = ground;
      await using capture = await Capture.start(net.right, 'rf-node', { snapBytes: 256 });
      const session = await attacker.initiate();
      await attacker.ping(session);
      const target = OVERLAY.right;
      const allowed = ['10.9.0.1', '10.50.3.4', '10.50.8.1', 'fd09::1', 'fd50::9', 'fd50:0:8::1'];
      const foreign = [
        OTHER.v4,
        '10.50.7.1', // its own /16, but another's /24
        target.v4,
        '127.0.0.1',
        '0.0.0.0',
        '255.255.255.255',
        '224.0.0.1',
        '192.0.2.10',
        OTHER.v6,
        'fd50:0:7::1',
        target.v6,
        '::1',
        '::',
        'ff02::1',
        '::ffff:10.9.0.1', // v4-mapped: an IPv4 address that is allowed, in a header where it has no place
        '::10.9.0.1',
        'fe80::1',
      ];
      const packets = (sources: readonly string[]) =>
        sources.map((source, i) =>
          echoRequest(source, source.includes(':') ? target.v6 : target.v4, { id: 7_777, sequence: i }),
        );
      await attacker.send(...packets(foreign).map((packet) => session.seal(packet)));
      await attacker.send(...packets(allowed).map((packet) => session.seal(packet)));
      await attacker.ping(session);
      expect(await node.drops('source-not-allowed')).toBe(foreign.length);
      const escaped = (text: string) => text.replaceAll('.', '\\.');
      for (const source of allowed)
        await capture.packet(new RegExp(` ${escaped(source)} > .*echo request`), 5_000);
      const lines = (await capture.stop()).join('\n');
      for (const source of foreign.filter((address) => address !== target.v4 && address !== target.v6)) {
        expect(lines).not.toContain(` ${source} >`);
      }
      expect(lines).not.toContain(`${target.v4} > ${target.v4}`);
      expect(lines).not.toContain(`${target.v6} > ${target.v6}`);
    },
  );

  test.skipIf(captureObstacle)(
    '5,000 authentic mutants: nothing with a foreign source reaches the TUN device, and the node lives',
    async () => {
      await using ground = await start();
      const { attacker, node, net } = ground;
      await using capture = await Capture.start(net.right, 'rf-node', { snapBytes: 256 });
      const session = await attacker.initiate();
      await attacker.ping(session);
      const templates = [
        attacker.echo('v4').packet,
        attacker.echo('v6').packet,
        udpPacket(OVERLAY.left.v4, OVERLAY.right.v4, { sport: 5, dport: 9 }, randomBytes(40)),
        udpPacket(OVERLAY.left.v6, OVERLAY.right.v6, { sport: 5, dport: 9 }, randomBytes(40)),
      ];
      for (let sent = 0; sent < 5_000; sent += 500) {
        const mutants = Array.from({ length: 500 }, (_, i) =>
          mutate(templates[i % templates.length] ?? randomBytes(20)),
        );
        await attacker.send(
          ...mutants.map((packet) =>
            session.seal(packet, { counter: session.counter++, pad: randomInt(2) === 0 }),
          ),
        );
        await attacker.ping(session);
      }
      const sources = new Set<string>();
      for (const line of await capture.stop()) {
        const source = / IP6? (\S+) > /.exec(line)?.[1];
        if (source !== undefined) sources.add(withoutPort(source));
      }
      const isOwn = (source: string) =>
        source === OVERLAY.left.v4 ||
        source === OVERLAY.left.v6 ||
        (source.startsWith('10.50.') && !source.startsWith('10.50.7.')) ||
        (/^fd50:/.test(source) && !source.startsWith('fd50:0:7:'));
      const answers = new Set<string>([OVERLAY.right.v4, OVERLAY.right.v6]); // what the node's kernel says to them
      expect([...sources].filter((source) => !isOwn(source) && !answers.has(source))).toEqual([]);
      expect(sources.size).toBeGreaterThan(0);
      const { drops, lane } = await node.status();
      expect(Number(drops['source-not-allowed'])).toBeGreaterThan(500);
      expect(Number(drops['inner-malformed'])).toBeGreaterThan(500);
      expect(lane).toMatchObject({ state: 'running', restarts: 0 });
    },
  );

  test('headers that lie about their length are dropped and counted; the endpoint moves all the same', async () => {
    await using ground = await start();
    const { attacker, node, net } = ground;
    const session = await attacker.initiate();
    await attacker.ping(session);
    const bend = (family: 'v4' | 'v6', change: (packet: Buffer) => void): Uint8Array => {
      const packet = Buffer.from(attacker.echo(family).packet);
      change(packet);
      return session.seal(packet);
    };
    const malformed = [
      ...[0, 10, 19].map((total) => bend('v4', (packet) => void packet.writeUInt16BE(total, 2))),
      bend('v4', (packet) => void packet.writeUInt16BE(packet.length + 17, 2)), // longer than the padded packet
      bend('v4', (packet) => packet.set([0x44], 0)), // a header of 16 bytes
      bend('v4', (packet) => packet.set([0x4f], 0)), // of 60, in a packet of 44
      bend('v4', (packet) => packet.set([0x35], 0)), // version 3
      bend('v6', (packet) => void packet.writeUInt16BE(packet.length, 4)),
      bend('v6', (packet) => packet.set([0x70], 0)),
      session.seal(Uint8Array.of(0x45)),
      session.seal(randomBytes(16).fill(0)),
    ];
    const stranger = await addHost(net, 'stranger');
    await using socket = await Socket.open(stranger, '0.0.0.0');
    // Authentic, whatever is inside: that is where the peer is now.
    await socket.send(attacker.options.target, ...malformed);
    await node.dropped('inner-malformed', 0, malformed.length);
    expect((await node.peer('attacker')).endpoint).toBe(endpoint(stranger.v4, socket.port));
    await attacker.ping(session);
    expect((await node.peer('attacker')).endpoint).toBe(endpoint(net.left.v4, ATTACKER_PORT));
  });

  test('fragments, unknown protocols and padding pass', async () => {
    await using ground = await start();
    const { attacker, node } = ground;
    const session = await attacker.initiate();
    await attacker.ping(session);
    const before = await node.status();
    const { packet, echo } = attacker.echo('v4', 64);
    const odd = Buffer.from(attacker.echo('v4').packet);
    odd[9] = 253; // for experiments, RFC 3692
    const fragment = Buffer.from(packet);
    fragment.writeUInt16BE(0x2000, 6);
    const zeros = Buffer.concat([packet, Buffer.alloc(800)]);
    attacker.skip();
    await attacker.send(session.seal(odd), session.seal(fragment), session.seal(zeros));
    expect(await attacker.delivered(session, [echo])).toEqual([echo]);
    expect((await node.status()).drops).toEqual(before.drops);
  });
});

describe('roaming', () => {
  test('follows authentic data at once, also to IPv6 and back; replays, forgeries and cookie replies move nothing', async () => {
    await using ground = await attackRingfence();
    const { attacker, node, net } = ground;
    const session = await attacker.initiate();
    await attacker.ping(session);
    const home = endpoint(net.left.v4, ATTACKER_PORT);
    expect((await node.peer('attacker')).endpoint).toBe(home);
    const stranger = await addHost(net, 'stranger');
    await using v4 = await Socket.open(stranger, '0.0.0.0');
    await using v6 = await Socket.open(stranger, '::');
    const target = attacker.options.target;

    const used = session.seal(attacker.echo().packet);
    await attacker.send(used);
    await attacker.ping(session);
    const forged = used.map((byte, at) => (at === used.length - 1 ? byte ^ 1 : byte));
    const initiation = attacker.initiation();
    const cookieReply = (mac1: Uint8Array) =>
      makeCookieReply(session.remote, target.publicKey, mac1, randomBytes(16), randomBytes(24));
    await v4.send(
      target,
      used,
      forged,
      cookieReply(mac1Of(initiation.message)),
      cookieReply(new Uint8Array(16)),
    );
    await node.dropped('replayed-counter', 0);
    await attacker.ping(session);
    expect((await node.peer('attacker')).endpoint).toBe(home);
    expect(v4.received).toEqual([]);

    for (const { socket, to, address } of [
      { socket: v6, to: { ...target, address: net.right.v6 }, address: stranger.v6 },
      { socket: v4, to: target, address: stranger.v4 },
    ]) {
      const { packet, echo } = attacker.echo();
      const before = socket.received.length;
      await socket.send(to, session.seal(packet));
      while (socket.received.length === before) await socket.another(5_000);
      const replies: Echo[] = attacker.replies(socket.received.slice(before));
      expect(replies).toEqual([echo]);
      expect((await node.peer('attacker')).endpoint).toBe(endpoint(address, socket.port));
    }
    // A keepalive is authentic too.
    await attacker.send(session.seal(new Uint8Array()));
    await attacker.ping(session);
    expect((await node.peer('attacker')).endpoint).toBe(home);
  });
});

/** Of a source as tcpdump prints it: the address and, of UDP, the port behind another dot. */
function withoutPort(source: string): string {
  return source.includes(':') ? source.replace(/\.\d+$/, '') : source.split('.').slice(0, 4).join('.');
}

/** A copy in which something is other than it was: a bit, a field, the length; half of them with a foreign source. */
function mutate(template: Uint8Array): Uint8Array {
  const copy = Buffer.from(template);
  const isV6 = (copy[0] ?? 0) >> 4 === 6;
  switch (randomInt(7)) {
    case 0:
      copy[randomInt(copy.length)] = randomInt(256);
      break;
    case 1:
      copy.set(randomBytes(isV6 ? 16 : 4), isV6 ? 8 : 12);
      break;
    case 2:
      copy[isV6 ? 23 : 15] = randomInt(256);
      break;
    case 3:
      copy.writeUInt16BE(randomInt(65_536), isV6 ? 4 : 2);
      break;
    case 4:
      copy[0] = randomInt(256);
      break;
    case 5:
      return copy.subarray(0, randomInt(copy.length));
    default:
      for (let i = 0; i < 8; i++) copy[randomInt(Math.min(40, copy.length))] = randomInt(256);
  }
  return copy;
}
