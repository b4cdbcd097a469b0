// Two sets of keys on two built cores, a packet each way every 50 ms: what both ends accept, and that a change between
// them loses nothing. Minutes pass on a clock of the test.

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { compile } from 'wireguard-wasm';
import { CoreHarness, type Datagram, ipv4Packet } from '../support/core-columns.ts';

const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');
const STEP_MS = 50;
/** As many as there are slots. */
const AT_ONCE = 32;
const module = compile();

function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_HEAD, privateKey]);
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return Uint8Array.from(key.export({ format: 'der', type: 'spki' }).subarray(-32));
}

const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const OVERLAY = { a: '10.9.0.1', b: '10.9.0.2' } as const;
const OLD = key(7);
const NEW = key(8);

type Side = 'a' | 'b';
const otherOf = (side: Side): Side => (side === 'a' ? 'b' : 'a');

/** A has the private key 1, B 2; each is the only peer of the other. */
class Pair {
  readonly a = new CoreHarness(module);
  readonly b = new CoreHarness(module);
  readonly ids: Record<Side, number>;
  sent = 0;
  delivered = 0;

  constructor(presharedKeys: { a?: Uint8Array; b?: Uint8Array } = {}) {
    this.a.core.setIdentity(key(1));
    this.b.core.setIdentity(key(2));
    this.ids = {
      a: this.#introduce('a', key(2), presharedKeys.a),
      b: this.#introduce('b', key(1), presharedKeys.b),
    };
  }

  #introduce(side: Side, privateKey: Uint8Array, presharedKey: Uint8Array | undefined): number {
    const { core } = this[side];
    const endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: 5 };
    const publicKey = publicKeyOf(privateKey);
    const id = core.addPeer({ publicKey, presharedKey, endpoint, persistentKeepaliveSeconds: 0 });
    core.allow(id, Uint8Array.from(OVERLAY[otherOf(side)].split('.').map(Number)), 32);
    return id;
  }

  /** Traffic for so long, both ways or from one side alone. */
  run(seconds: number, senders: readonly Side[] = ['a', 'b']): void {
    for (let ms = 0; ms < seconds * 1_000; ms += STEP_MS) {
      for (const side of [this.a, this.b]) side.pass(STEP_MS);
      for (const side of ['a', 'b'] as const) this.carry(side, this[side].tick());
      for (const side of senders) {
        this.carry(side, this[side].send(ipv4Packet(OVERLAY[side], OVERLAY[otherOf(side)], 100)));
        this.sent += 1;
      }
    }
  }

  carry(side: Side, messages: readonly Datagram[]): void {
    if (messages.length === 0) return;
    for (let at = 0; at < messages.length; at += AT_ONCE) this.#carry(side, messages.slice(at, at + AT_ONCE));
  }

  #carry(side: Side, messages: readonly Datagram[]): void {
    const { frames, replies } = this[otherOf(side)].receive(messages.map(({ payload }) => payload));
    this.delivered += frames.length;
    this.carry(otherOf(side), replies);
  }

  lastHandshakeMs(side: Side): number {
    return this[side].core.peerStatus(this.ids[side]).lastHandshakeMs ?? 0;
  }

  isMadeWithOther(side: Side): boolean {
    return this[side].core.peerStatus(this.ids[side]).isMadeWithOther;
  }

  addPresharedKey(side: Side, presharedKey: Uint8Array): void {
    const peer = publicKeyOf(side === 'a' ? key(2) : key(1));
    this[side].core.addKeys(this.ids[side], peer, presharedKey);
  }
}

test('a session is renewed when it is asked for, whatever its age, and nothing is lost', () => {
  const pair = new Pair();
  pair.run(10);
  const before = pair.lastHandshakeMs('a');
  pair.a.core.renewSession(pair.ids.a);
  pair.run(1);
  expect(pair.lastHandshakeMs('a')).toBeGreaterThan(before);
  pair.run(1);
  expect(pair.delivered).toBe(pair.sent);
});

describe('two preshared keys', () => {
  // Whatever each side has first, and whoever begins: two sides with both keys find each other.
  test.each(
    (['a', 'b'] as const).flatMap((starter) =>
      [
        [OLD, OLD],
        [OLD, NEW],
        [NEW, OLD],
        [NEW, NEW],
      ].map(([a, b]) => ({ starter, a, b })),
    ),
  )('meet within seconds ($starter begins)', ({ starter, a = OLD, b = OLD }) => {
    const pair = new Pair({ a, b });
    pair.addPresharedKey('a', a === OLD ? NEW : OLD);
    pair.addPresharedKey('b', b === OLD ? NEW : OLD);
    pair.run(30, [starter]);
    expect(pair.lastHandshakeMs('a')).toBeGreaterThan(0);
    expect(pair.delivered).toBeGreaterThan(0);
    pair.run(400); // and again at each renewal
    expect(pair.delivered).toBeGreaterThan(pair.sent * 0.9);
  });

  test.each(['a', 'b'] as const)('a side with both meets one with either (%s has both)', (side) => {
    for (const only of [OLD, NEW]) {
      for (const starter of ['a', 'b'] as const) {
        const pair = new Pair({ [side]: OLD, [otherOf(side)]: only });
        pair.addPresharedKey(side, NEW);
        pair.run(30, [starter]);
        expect(pair.isMadeWithOther(side), `${starter} begins`).toBe(only === NEW);
        expect(pair.delivered).toBeGreaterThan(0);
      }
    }
  });

  test('change one after the other without losing a packet, and the old one is refused after', () => {
    const pair = new Pair({ a: OLD, b: OLD });
    pair.run(30);
    pair.addPresharedKey('a', NEW);
    pair.addPresharedKey('b', NEW);
    pair.run(5);
    pair.b.core.preferOtherKeys(pair.ids.b);
    pair.a.core.preferOtherKeys(pair.ids.a);
    pair.a.core.renewSession(pair.ids.a);
    pair.run(5);
    expect([pair.isMadeWithOther('a'), pair.isMadeWithOther('b')]).toEqual([true, true]);
    pair.a.core.settleKeys(pair.ids.a, 'other');
    pair.run(60);
    pair.b.core.settleKeys(pair.ids.b, 'other');
    pair.run(300);
    expect(pair.delivered).toBe(pair.sent);

    pair.a.core.setPresharedKey(pair.ids.a, OLD);
    const before = pair.lastHandshakeMs('b');
    pair.run(60);
    expect(pair.lastHandshakeMs('b')).toBe(before);
  });
});

describe('two key pairs of ours', () => {
  test('both are answered, and a peer that learns of the second goes over without losing a packet', () => {
    const pair = new Pair();
    pair.run(30);
    pair.a.core.setNextIdentity(key(3));
    pair.run(200); // rekeys with the old one
    expect(pair.isMadeWithOther('a')).toBe(false);
    pair.b.core.addKeys(pair.ids.b, publicKeyOf(key(3)), undefined);
    pair.run(200);
    pair.a.core.preferOtherKeys(pair.ids.a);
    pair.a.core.renewSession(pair.ids.a);
    pair.run(10);
    expect([pair.isMadeWithOther('a'), pair.isMadeWithOther('b')]).toEqual([true, true]);
    pair.b.core.settleKeys(pair.ids.b, 'other');
    pair.run(10);
    pair.a.core.adoptNextIdentity();
    pair.run(400);
    expect(pair.delivered).toBe(pair.sent);
  });

  test('a peer that is told by hand finds the second, and after the first is gone it is refused', () => {
    const pair = new Pair();
    pair.run(5);
    pair.a.core.setNextIdentity(key(3));
    pair.b.core.removePeer(pair.ids.b);
    const endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: 5 };
    const introduce = (privateKey: Uint8Array): number => {
      const publicKey = publicKeyOf(privateKey);
      const id = pair.b.core.addPeer({ publicKey, endpoint, persistentKeepaliveSeconds: 0 });
      pair.b.core.allow(id, Uint8Array.of(10, 9, 0, 1), 32);
      return id;
    };
    pair.ids.b = introduce(key(3));
    pair.run(30, ['b']);
    expect(pair.isMadeWithOther('a')).toBe(true);
    pair.a.core.adoptNextIdentity();
    pair.b.core.removePeer(pair.ids.b);
    pair.ids.b = introduce(key(1));
    pair.run(30, ['b']);
    expect(pair.b.core.peerStatus(pair.ids.b).lastHandshakeMs).toBeNull();
  });

  test('both sides at once: first the one, then the other, and nothing is lost', () => {
    const pair = new Pair();
    pair.run(5);
    pair.a.core.setNextIdentity(key(3));
    pair.b.core.setNextIdentity(key(4));
    const goOver = (from: Side, to: Side, next: Uint8Array): void => {
      pair[to].core.addKeys(pair.ids[to], publicKeyOf(next), undefined);
      pair[to].core.preferOtherKeys(pair.ids[to]);
      pair[from].core.preferOtherKeys(pair.ids[from]);
      pair[from].core.renewSession(pair.ids[from]);
      pair.run(5);
      expect([pair.isMadeWithOther(from), pair.isMadeWithOther(to)]).toEqual([true, true]);
      pair[to].core.settleKeys(pair.ids[to], 'other');
    };
    goOver('a', 'b', key(3));
    pair.a.core.adoptNextIdentity();
    pair.run(5);
    goOver('b', 'a', key(4));
    pair.b.core.adoptNextIdentity();
    pair.run(300);
    expect(pair.delivered).toBe(pair.sent);
  });

  test('one that a peer has, or that we have already, is refused', () => {
    const pair = new Pair();
    for (const taken of [key(1), key(2)])
      expect(() => pair.a.core.setNextIdentity(taken)).toThrow('ERR_CORE_OWN_KEY');
    pair.a.core.setNextIdentity(key(3));
    expect(() => pair.a.core.addKeys(pair.ids.a, publicKeyOf(key(3)), undefined)).toThrow('ERR_CORE_OWN_KEY');
    expect(() => new Pair().a.core.adoptNextIdentity()).toThrow('ERR_CORE_BAD_ARGUMENT');
  });
});

describe('what hosts say to each other', () => {
  const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, n) => n);

  test('comes through the tunnel whole, and is no frame there', () => {
    const pair = new Pair();
    for (const length of [0, 1, 100, 512]) {
      pair.carry('a', pair.a.say(pair.ids.a, bytes(length))); // the first waits for the session
      expect(pair.b.core.heard()).toEqual({ peer: pair.ids.b, message: bytes(length) });
      expect(pair.b.core.heard()).toBeUndefined();
    }
    expect(pair.delivered).toBe(0);
    expect(() => pair.a.core.say(pair.ids.a, bytes(513))).toThrow('ERR_CORE_COUNT_TOO_LARGE');
  });

  test('fills nothing: a peer may say eight things at once, then twenty a second', () => {
    const pair = new Pair();
    const heard = (): number => {
      for (let n = 0; n < 100; n++) pair.carry('a', pair.a.say(pair.ids.a, bytes(8)));
      let count = 0;
      while (pair.b.core.heard() !== undefined) count++;
      return count;
    };
    expect(heard()).toBe(8);
    expect(pair.b.core.drops().get('talk-refused')).toBe(92n);
    pair.run(1, []);
    expect(heard()).toBe(8);
  });
});
