// Handshakes that are forged, replayed, reflected, garbled or left unconfirmed. What deserves no answer gets none: a
// genuine ping goes last, and its reply is the first thing that comes.

import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { ATTACKER_PORT, attackRingfence } from '../support/attacker/attack.ts';
import { type Attacker, Socket } from '../support/attacker/attacker.ts';
import {
  ReceivedInitiation,
  rawKeyPair,
  type Session,
  timestamp,
  writeMacs,
} from '../support/attacker/noise.ts';
import { addressBytes } from '../support/attacker/packets.ts';
import { until } from '../support/deadline.ts';
import { generatePresharedKey } from '../support/keys.ts';
import { OVERLAY } from '../support/node-process.ts';
import { addHost } from '../support/topology.ts';
import { endpoint, ping } from '../support/traffic.ts';

/** Every public key whose Diffie-Hellman result is zero with everybody: RFC 7748 §6.1, little-endian. */
const LOW_ORDER = [
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  `ec${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
].map((hex) => Buffer.from(hex, 'hex'));

/** Sends `messages` and expects that nothing at all comes for them, and that the session still works. */
async function expectSilence(
  attacker: Attacker,
  session: Session,
  messages: readonly Uint8Array[],
): Promise<void> {
  attacker.skip();
  await attacker.send(...messages);
  const { packet, echo } = attacker.echo();
  await attacker.send(session.seal(packet));
  await attacker.until((datagrams) => attacker.replies(datagrams).length > 0, 10_000, 'the reply to a ping');
  const [first] = attacker.pending;
  expect(first === undefined ? [] : attacker.replies([first])).toEqual([echo]);
}

/** A copy of `message` in which `change` did something, with its mac1 made right again. */
function bend(message: Uint8Array, peerKey: Uint8Array, change: (copy: Buffer) => void): Uint8Array {
  const copy = Buffer.from(message);
  change(copy);
  return writeMacs(copy, peerKey);
}

describe('an initiation', () => {
  test('is answered once: replays, and older ones, meet silence', async () => {
    await using ground = await attackRingfence();
    const { attacker, node } = ground;
    const older = attacker.initiation();
    const initiation = attacker.initiation();
    const same = attacker.initiation({ timestamp: attacker.timestamp() });
    const equal = [attacker.initiation(), attacker.initiation()];
    await attacker.send(initiation.message);
    const session = attacker.finish(initiation, await attacker.response(initiation));
    await attacker.ping(session);
    await expectSilence(attacker, session, [initiation.message, older.message, initiation.message]);
    expect(await node.drops('replayed-initiation')).toBe(3);
    // A newer one is welcome, also from a stranger's address, and what was newer then is old now.
    const newest = await attacker.initiate();
    await attacker.ping(newest);
    await expectSilence(attacker, newest, [same.message, ...equal.map(({ message }) => message)]);
    expect(await node.drops('replayed-initiation')).toBe(6);
  });

  test('of another time is judged by order alone: a clock behind connects, one far ahead locks out the past', async () => {
    await using ground = await attackRingfence();
    const { attacker } = ground;
    const past = await attacker.initiate({ timestamp: timestamp(1_000) });
    await attacker.ping(past);
    const next = await attacker.initiate({ timestamp: timestamp(1_000, 1 << 24) });
    await attacker.ping(next);
    await expectSilence(attacker, next, [
      attacker.initiation({ timestamp: timestamp(1_000, 1 << 24) }).message,
      attacker.initiation({ timestamp: timestamp(1_000, (1 << 24) - 1) }).message,
      attacker.initiation({ timestamp: new Uint8Array(12) }).message,
    ]);
    const future = await attacker.initiate({ timestamp: new Uint8Array(12).fill(0xff) });
    await attacker.ping(future);
    await expectSilence(attacker, future, [attacker.initiation().message]);
  });

  test('of an unknown key, with a bad mac1 or bent anywhere, meets silence', async () => {
    await using ground = await attackRingfence();
    const { attacker, node } = ground;
    const { publicKey } = attacker.options.target;
    const session = await attacker.initiate();
    await attacker.ping(session);

    const unknown = Array.from({ length: 3 }, () => attacker.initiation({ own: rawKeyPair() }).message);
    await expectSilence(attacker, session, unknown);
    expect(await node.drops('unknown-peer')).toBe(3);

    const genuine = attacker.initiation().message;
    const spoiled = Array.from({ length: 16 }, (_, i) => {
      const copy = Buffer.from(genuine);
      copy[116 + i] = (copy[116 + i] ?? 0) ^ 1;
      return copy;
    });
    const forAnother = attacker.initiation({ peerKey: rawKeyPair().publicKey }).message;
    await expectSilence(attacker, session, [...spoiled, forAnother]);
    expect(await node.drops('bad-mac1')).toBe(17);

    // One bit of each part below a right mac1: ephemeral, static key, its tag, timestamp, its tag.
    const bent = [8, 39, 40, 71, 72, 87, 88, 99, 100, 115].map((at) =>
      bend(attacker.initiation().message, publicKey, (copy) => {
        copy[at] = (copy[at] ?? 0) ^ 0x10;
      }),
    );
    await expectSilence(attacker, session, bent);
    expect(await node.drops('bad-handshake')).toBe(bent.length);
    // None of it used up a timestamp.
    await attacker.ping(await attacker.initiate());
  });

  test('with reserved bytes, another type or a wrong length meets silence', async () => {
    await using ground = await attackRingfence();
    const { attacker, node } = ground;
    const { publicKey } = attacker.options.target;
    const session = await attacker.initiate();
    const genuine = attacker.initiation().message;
    const bent = [
      ...[1, 2, 3].map((at) => bend(genuine, publicKey, (copy) => copy.set([1], at))),
      ...[0, 2, 3, 5, 255].map((type) => bend(genuine, publicKey, (copy) => copy.set([type], 0))),
      genuine.subarray(0, 147),
      Buffer.concat([genuine, Buffer.alloc(1)]),
    ];
    await expectSilence(attacker, session, bent);
    expect(await node.drops('malformed-message')).toBe(bent.length);
  });

  test('with an ephemeral or a static key of low order meets silence', async () => {
    await using ground = await attackRingfence();
    const { attacker, node } = ground;
    const session = await attacker.initiate();
    const low = LOW_ORDER.flatMap((publicKey) => [
      publicKey,
      publicKey.map((byte, i) => (i === 31 ? byte | 0x80 : byte)),
    ]).map((publicKey) => ({ privateKey: null, publicKey }));
    await expectSilence(
      attacker,
      session,
      low.map((ephemeral) => attacker.initiation({ ephemeral }).message),
    );
    expect(await node.drops('low-order-key')).toBe(low.length);
    // As a static key it is nobody's: a peer with one cannot be configured.
    await expectSilence(
      attacker,
      session,
      low.map((own) => attacker.initiation({ own }).message),
    );
    expect(await node.drops('unknown-peer')).toBe(low.length);
  });

  test('of the node itself, reflected, meets silence', async () => {
    await using ground = await attackRingfence({ isKnown: true });
    const { attacker, node, net } = ground;
    const pinging = ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 500 });
    const own = await attacker.take(
      (datagram) => (datagram[0] === 1 ? datagram : undefined),
      'an initiation of the node',
    );
    const session = await attacker.initiate();
    await attacker.ping(session);
    // As it is, its mac1 is for us; with one for the node it opens for nobody.
    await expectSilence(attacker, session, [
      own,
      writeMacs(Buffer.from(own), attacker.options.target.publicKey),
    ]);
    expect(await node.drops('bad-mac1')).toBe(1);
    expect(await node.drops('bad-handshake')).toBe(1);
    await pinging;
  });

  test('with another preshared key is answered, but makes no session', async () => {
    await using ground = await attackRingfence({ presharedKey: true });
    const { attacker, net } = ground;
    const wrong = attacker.initiation({ presharedKey: Buffer.from(generatePresharedKey(), 'base64') });
    await attacker.send(wrong.message);
    const response = await attacker.response(wrong);
    expect(() => wrong.finish(response)).toThrow();
    expect(await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 300 })).toMatchObject({ received: 0 });
    expect(attacker.pending.filter((datagram) => datagram[0] === 4)).toEqual([]);
    await attacker.ping(await attacker.initiate());
  });
});

describe('a response', () => {
  test('wrong or garbled before the true one spoils nothing; the true one works', async () => {
    await using ground = await attackRingfence({ isKnown: true, presharedKey: true });
    const { attacker, node, net } = ground;
    const nodeKey = attacker.options.target.publicKey;
    const pinging = ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 1_000 });
    const initiation = await attacker.initiated();
    const { message, session } = attacker.answer(initiation);
    const garbled = [44, 59, 12, 43].map((at) =>
      bend(message, nodeKey, (copy) => {
        copy[at] = (copy[at] ?? 0) ^ 1;
      }),
    );
    await attacker.send(
      ...garbled,
      bend(message, nodeKey, (copy) => void copy.writeUInt32LE((initiation.sender ^ 1) >>> 0, 8)), // another index
      bend(message, nodeKey, (copy) => void copy.fill(0, 12, 44)), // an ephemeral of low order
      message.map((byte, i) => (i === 60 ? byte ^ 1 : byte)), // its mac1
      message.subarray(0, 91),
      randomBytes(92),
    );
    await attacker.send(message);
    await attacker.take((datagram) => attacker.open(datagram), 'the ping that began it');
    await attacker.ping(session);
    // And once more it is nothing new.
    await expectSilence(attacker, session, [message, message]);
    expect(await node.drops('bad-handshake')).toBeGreaterThanOrEqual(garbled.length);
    await pinging;
  });

  test('under another preshared key makes no session', async () => {
    await using ground = await attackRingfence({ isKnown: true, presharedKey: true });
    const { attacker, node, net } = ground;
    const pinging = ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 500 });
    const initiation = await attacker.initiated();
    const { message } = attacker.answer(initiation, {
      presharedKey: Buffer.from(generatePresharedKey(), 'base64'),
    });
    await attacker.send(message);
    expect(await pinging).toMatchObject({ received: 0 });
    expect(attacker.pending.filter((datagram) => datagram[0] === 4)).toEqual([]);
    expect((await node.peer('attacker')).latestHandshakeSeconds).toBeNull();
    expect(await node.drops('bad-handshake')).toBe(1);
    await attacker.ping(await attacker.initiate());
  });

  test('to an initiation that was never sent meets silence', async () => {
    await using ground = await attackRingfence({ isKnown: true });
    const { attacker, node } = ground;
    const session = await attacker.initiate();
    const stranger = Buffer.alloc(92);
    stranger.writeUInt32LE(2, 0);
    stranger.writeUInt32LE(attacker.index(), 4);
    const unasked = [session.remote, (session.remote ^ 1) >>> 0, 0].map((receiver) => {
      const copy = Buffer.from(stranger);
      copy.writeUInt32LE(receiver, 8);
      copy.set(rawKeyPair().publicKey, 12);
      return writeMacs(copy, attacker.options.target.publicKey);
    });
    await expectSilence(attacker, session, unasked);
    expect((await node.status()).lane).toMatchObject({ state: 'running', restarts: 0 });
  });
});

describe('key confirmation', () => {
  test('on a session that the peer has not confirmed, no data leaves', async () => {
    await using ground = await attackRingfence();
    const { attacker, net } = ground;
    // boringtun alone would send after the eighth.
    for (let round = 0; round < 12; round++) await attacker.initiate();
    expect(await ping(net.right, OVERLAY.left.v4, { count: 3, waitMs: 200 })).toMatchObject({ received: 0 });
    expect(attacker.socket.received.filter((datagram) => datagram[0] === 4)).toEqual([]);
    // The last of them, confirmed, carries all that waited.
    const session = await attacker.initiate();
    await attacker.send(session.seal(new Uint8Array()));
    const waiting = await attacker.take((datagram) => attacker.open(datagram), 'the pings that waited');
    expect(waiting.subarray(12, 16)).toEqual(addressBytes(OVERLAY.right.v4));
    await attacker.ping(session);
  });

  test('a live session is never left for an unconfirmed one', async () => {
    await using ground = await attackRingfence();
    const { attacker, net } = ground;
    const live = await attacker.initiate();
    await attacker.ping(live);
    for (let round = 0; round < 12; round++) await attacker.initiate();
    attacker.skip();
    await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
    // On the live session, or after a handshake that the node begins; on none of the twelve.
    const next = await attacker.take(
      (datagram) => (datagram[0] === 4 || datagram[0] === 1 ? datagram : undefined),
      'the ping, or an initiation before it',
    );
    if (next[0] === 4) {
      expect(live.open(next)).toBeDefined();
      return;
    }
    const { message, session } = attacker.answer(new ReceivedInitiation(next, attacker.options.keys));
    await attacker.send(message);
    const data = await attacker.take((datagram) => (datagram[0] === 4 ? datagram : undefined), 'the ping');
    expect(session.open(data)?.subarray(12, 16)).toEqual(addressBytes(OVERLAY.right.v4));
  });

  test('both initiate at once: each session carries, and one is enough', async () => {
    await using ground = await attackRingfence({ isKnown: true });
    const { attacker, net } = ground;
    for (let round = 0; round < 5; round++) {
      const own = attacker.initiation();
      const pinging = ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 100 });
      if (round === 0) {
        const theirs = await attacker.initiated();
        // Their initiation is unanswered while ours arrives; both are then answered.
        await attacker.send(own.message);
        const mine = attacker.finish(own, await attacker.response(own));
        const { message, session } = attacker.answer(theirs);
        await attacker.send(message);
        await attacker.confirmed(session);
        await attacker.ping(mine);
        await attacker.ping(session);
      } else {
        await attacker.send(own.message);
        await attacker.ping(attacker.finish(own, await attacker.response(own)));
      }
      await pinging;
    }
  });
});

test('a handshake from a new address is followed, one replayed from there is not', async () => {
  await using ground = await attackRingfence();
  const { attacker, node, net } = ground;
  const session = await attacker.initiate();
  await attacker.ping(session);
  const stranger = await addHost(net, 'stranger');
  await using socket = await Socket.open(stranger, '0.0.0.0');
  const target = attacker.options.target;
  const used = attacker.initiation();
  await attacker.send(used.message);
  await attacker.response(used);
  await socket.send(target, used.message);
  await attacker.ping(session);
  expect((await node.peer('attacker')).endpoint).toBe(endpoint(net.left.v4, ATTACKER_PORT));
  expect(socket.received).toEqual([]);

  await until(
    async () => {
      if (socket.received.some((datagram) => datagram[0] === 2)) return true;
      await socket.send(target, attacker.initiation().message);
      return false;
    },
    5_000,
    'the response, there',
  );
  expect((await node.peer('attacker')).endpoint).toBe(endpoint(stranger.v4, socket.port));
});

test('of more than 50 initiations per second of one peer, the surplus is not answered', async () => {
  await using ground = await attackRingfence();
  const { attacker } = ground;
  const initiations = Array.from({ length: 200 }, () => attacker.initiation().message);
  const began = performance.now();
  await attacker.send(...initiations);
  // The peer is not locked out for it: a later one is answered, and by then all of them were looked at.
  const session = await until(
    async () => {
      const next = attacker.initiation();
      await attacker.send(next.message);
      return attacker.finish(next, await attacker.response(next, 300));
    },
    10_000,
    'an answer after the surplus',
  );
  const seconds = (performance.now() - began) / 1_000;
  await attacker.ping(session);
  const answered = attacker.socket.received.filter((datagram) => datagram[0] === 2).length;
  expect(answered).toBeGreaterThan(0);
  expect(answered).toBeLessThanOrEqual(Math.ceil(50 * (seconds + 1)));
});
