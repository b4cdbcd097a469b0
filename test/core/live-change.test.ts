// Keys change under traffic on two built cores: a packet each way every 50 ms, minutes passing on a clock of the test.
// What is promised: nothing is lost, what is set again changes nothing, and the old keys make no new session.

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { compile } from 'wireguard-wasm';
import { CoreHarness, type Datagram, ipv4Packet } from '../support/core-columns.ts';

const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');
const STEP_MS = 50;
const module = compile();

function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_HEAD, privateKey]);
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return Uint8Array.from(key.export({ format: 'der', type: 'spki' }).subarray(-32));
}

const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const OVERLAY = { a: '10.9.0.1', b: '10.9.0.2' } as const;
const payloadsOf = (messages: readonly Datagram[]): Uint8Array[] => messages.map(({ payload }) => payload);

/** Two cores at the two ends of a wire that loses nothing. */
class Pair {
  readonly a = new CoreHarness(module);
  readonly b = new CoreHarness(module);
  sent = 0;
  delivered = 0;
  handshakes = 0;

  constructor() {
    this.a.core.setIdentity(key(1));
    this.b.core.setIdentity(key(2));
    this.introduce('a', key(2));
    this.introduce('b', key(1));
  }

  /** Makes whoever has `privateKey` a peer of `side`, with the other's address. */
  introduce(side: 'a' | 'b', privateKey: Uint8Array): number {
    const endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: 5 };
    const id = this[side].core.addPeer({
      publicKey: publicKeyOf(privateKey),
      endpoint,
      persistentKeepaliveSeconds: 0,
    });
    const other = OVERLAY[side === 'a' ? 'b' : 'a'];
    this[side].core.allow(id, Uint8Array.from(other.split('.').map(Number)), 32);
    return id;
  }

  /** Traffic both ways for so long; `first` sends first in each step. */
  run(seconds: number, first: 'a' | 'b' = 'a'): void {
    const second = first === 'a' ? 'b' : 'a';
    for (let ms = 0; ms < seconds * 1_000; ms += STEP_MS) {
      for (const side of [this.a, this.b]) side.pass(STEP_MS);
      for (const side of [first, second] as const) {
        this.carry(side, this[side].tick());
        const [from, to] = side === 'a' ? [OVERLAY.a, OVERLAY.b] : [OVERLAY.b, OVERLAY.a];
        this.carry(side, this[side].send(ipv4Packet(from, to, 100)));
        this.sent += 1;
      }
    }
  }

  /** Takes messages of `side` to the other, and the answers back, until both are silent. */
  carry(side: 'a' | 'b', messages: readonly Datagram[]): void {
    if (messages.length === 0) return;
    this.handshakes += messages.filter(({ payload }) => payload[0] === 1).length;
    const other = side === 'a' ? 'b' : 'a';
    const { frames, replies } = this[other].receive(payloadsOf(messages));
    this.delivered += frames.length;
    this.carry(other, replies);
  }
}

test('the same keys again start nothing', () => {
  const pair = new Pair();
  pair.run(1);
  for (let n = 0; n < 20; n++) {
    pair.a.core.setIdentity(key(1));
    pair.a.core.setPresharedKey(0, undefined);
    pair.run(1);
  }
  expect(pair.handshakes).toBe(1);
  expect(pair.delivered).toBe(pair.sent);
});

test.each([
  ['within a second', 1],
  ['within two minutes', 110],
])('a preshared key changes on both sides %s: nothing is lost', (_name, gapSeconds) => {
  const pair = new Pair();
  pair.run(30);
  for (const psk of [key(7), key(8), undefined]) {
    const handshakes = pair.handshakes;
    pair.a.core.setPresharedKey(0, psk);
    pair.run(gapSeconds);
    pair.b.core.setPresharedKey(0, psk);
    pair.run(300);
    expect(pair.handshakes, 'with the new key, and by age').toBeGreaterThan(handshakes + 2);
  }
  expect(pair.delivered).toBe(pair.sent);
});

test.each([
  ['a second later', 1],
  ['two minutes later', 110],
])('the identity changes and the other side learns of it %s: nothing is lost', (_name, gapSeconds) => {
  const pair = new Pair();
  pair.run(30);
  pair.a.core.setIdentity(key(3));
  pair.run(gapSeconds);
  pair.b.core.removePeer(0);
  pair.introduce('b', key(3));
  pair.run(300, 'b');
  expect(pair.delivered).toBe(pair.sent);
});

test('nobody makes a session with the old preshared key or to the old identity, and the old one ends in time', () => {
  for (const change of [
    (pair: Pair) => pair.a.core.setPresharedKey(0, key(7)),
    (pair: Pair) => pair.a.core.setIdentity(key(3)),
  ]) {
    const pair = new Pair();
    pair.run(30);
    change(pair);
    const at = pair.a.core.peerStatus(0).lastHandshakeMs;
    pair.run(145);
    expect(pair.delivered, 'the session made before it lives its time').toBe(pair.sent);
    pair.run(40);
    expect(pair.delivered).toBeLessThan(pair.sent);
    expect(pair.a.core.peerStatus(0).lastHandshakeMs, 'no handshake since').toBe(at);
    const before = pair.delivered;
    pair.run(60);
    expect(pair.delivered).toBe(before);
  }
});

test('a removed peer is gone at once, with what was left of its old keys', () => {
  const pair = new Pair();
  pair.run(5);
  pair.a.core.setPresharedKey(0, key(7));
  pair.run(1);
  const late = payloadsOf(pair.b.send(ipv4Packet(OVERLAY.b, OVERLAY.a, 100)));
  pair.a.core.removePeer(0);
  expect(pair.a.receive(late)).toEqual({ frames: [], replies: [] });
  expect(pair.a.core.drops().get('unknown-index')).toBe(1n);
});
