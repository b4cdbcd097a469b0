// Two built cores joined in one process: the wasm itself shakes hands, carries packets, grows and survives rubbish.

import { createPrivateKey, createPublicKey, randomFillSync } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { compile } from 'wireguard-wasm';
import { CoreHarness, ipv4Packet } from '../support/core-columns.ts';

const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');
const module = compile();

function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_HEAD, privateKey]);
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return Uint8Array.from(key.export({ format: 'der', type: 'spki' }).subarray(-32));
}

const secrets = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;
let a: CoreHarness;
let b: CoreHarness;
let peer: number;

beforeEach(() => {
  a = new CoreHarness(module);
  b = new CoreHarness(module);
  const endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: 5 };
  a.core.setIdentity(secrets[0]);
  b.core.setIdentity(secrets[1]);
  peer = a.core.addPeer({ publicKey: publicKeyOf(secrets[1]), endpoint, persistentKeepaliveSeconds: 0 });
  a.core.allow(peer, Uint8Array.of(10, 9, 0, 2), 32);
  const back = b.core.addPeer({ publicKey: publicKeyOf(secrets[0]), persistentKeepaliveSeconds: 0 });
  b.core.allow(back, Uint8Array.of(10, 9, 0, 1), 32);
});

const there = ipv4Packet('10.9.0.1', '10.9.0.2', 1000);
const back = ipv4Packet('10.9.0.2', '10.9.0.1', 60);

const payloads = (messages: readonly { readonly payload: Uint8Array }[]) =>
  messages.map(({ payload }) => payload);
const kinds = (messages: readonly { readonly payload: Uint8Array }[]) =>
  messages.map(({ payload }) => payload[0]);

/** Carries one packet from a to b through whatever handshake it takes. */
function connect(): Uint8Array[] {
  const initiation = a.send(there);
  const response = b.receive(
    initiation.map(({ payload }) => payload),
    7777,
  );
  const data = a.receive(response.replies.map(({ payload }) => payload));
  return b.receive(
    data.replies.map(({ payload }) => payload),
    7777,
  ).frames;
}

describe('two cores', () => {
  test('shake hands and carry packets both ways', () => {
    expect(connect()).toEqual([there]);
    const answers = b.send(back);
    expect(answers.map(({ address, port }) => [address, port])).toEqual([['127.0.0.1', 7777]]);
    expect(a.receive(answers.map(({ payload }) => payload)).frames).toEqual([back]);
    expect(a.core.peerStatus(peer).lastHandshakeMs).toBe(a.nowMs);
  });

  test('take preshared keys, keepalives and identities live, and the same again changes nothing', () => {
    connect();
    const same = () => {
      a.core.setIdentity(secrets[0]);
      a.core.setPresharedKey(peer, undefined);
      a.core.setKeepalive(peer, 0);
    };
    same();
    expect(kinds(a.send(there)), 'the session lives on').toEqual([4]);
    a.core.setIdentity(new Uint8Array(32));
    expect(a.send(there), 'without a key there is silence').toEqual([]);
    expect(a.core.drops().get('no-identity')).toBe(1n);
    a.core.setIdentity(secrets[0]);
    a.core.setPresharedKey(peer, new Uint8Array(32).fill(7));
    b.core.setPresharedKey(0, new Uint8Array(32).fill(7));
    for (const side of [a, b]) side.pass(1_000); // a peer may start 50 handshakes a second
    expect(connect()).toEqual([there]);
  });

  test('a keepalive that is switched on leaves with the next tick', () => {
    expect(a.tick()).toEqual([]);
    a.core.setKeepalive(peer, 25);
    expect(kinds(a.tick()), 'and needs a session first').toEqual([1]);
  });

  test('ten thousand peers are taken before the key, cost less than 25 kB each and can shake hands', () => {
    const crowd = new CoreHarness(module);
    const before = crowd.core.memory.buffer.byteLength;
    const allowedIpsOf = (n: number) => Uint8Array.of(10, 64 + (n >> 16), n >> 8, n);
    let id = 0;
    for (let n = 0; n < 10_000; n++) {
      const publicKey = n === 5_000 ? publicKeyOf(secrets[1]) : randomKey();
      const endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: 5 };
      id = crowd.core.addPeer({ publicKey, endpoint, persistentKeepaliveSeconds: 0 });
      crowd.core.allow(id, allowedIpsOf(n), 32);
    }
    crowd.core.setIdentity(secrets[0]);
    const packet = ipv4Packet('10.9.0.1', '10.64.19.136', 100); // peer 5,000
    const response = b.receive(payloads(crowd.send(packet)), 7777).replies;
    expect(kinds(crowd.receive(payloads(response)).replies)).toEqual([4]);
    expect((crowd.core.memory.buffer.byteLength - before) / 10_000).toBeLessThan(25_000);
  });

  test('count bytes beyond 32 bit in BigInt', () => {
    connect();
    expect(a.core.peerStatus(peer)).toMatchObject({ txBytes: 148n + 32n + 1008n, rxBytes: 92n });
  });

  test('a batch of 64 frames makes 64 messages, and memory does not grow', () => {
    connect();
    const before = a.core.memory.buffer.byteLength;
    for (let round = 0; round < 200; round++) {
      const messages = a.send(...Array.from({ length: 64 }, () => there));
      expect(messages.length).toBe(64);
      expect(
        b.receive(
          messages.map(({ payload }) => payload),
          7777,
        ).frames.length,
      ).toBe(64);
    }
    expect(a.core.memory.buffer.byteLength).toBe(before);
  });

  test('go on after the memory has grown under them', () => {
    connect();
    const before = a.core.memory.buffer;
    for (let n = 0; n < 2_000; n++) {
      const id = a.core.addPeer({ publicKey: randomKey(), persistentKeepaliveSeconds: 0 });
      a.core.allow(id, Uint8Array.of(10, 10, n >> 8, n & 255), 32);
    }
    expect(before.byteLength, 'the old buffer is gone: this test would prove nothing otherwise').toBe(0);
    const message = a.send(there).map(({ payload }) => payload);
    expect(b.receive(message, 7777).frames).toEqual([there]);
  });

  test('20,000 pieces of rubbish are counted, unanswered and not fatal', () => {
    connect();
    const live = a.send(there)[0]?.payload ?? new Uint8Array();
    let sent = 0;
    for (let round = 0; round < 20_000 / 50; round++) {
      const pieces = Array.from({ length: 50 }, (_, n) => rubbish(live, n));
      sent += pieces.length;
      const { frames, replies } = b.receive(pieces, 6);
      expect([frames.length, replies.length]).toEqual([0, 0]);
    }
    const counted = [...b.core.drops().values()].reduce((sum, count) => sum + count, 0n);
    expect(counted).toBe(BigInt(sent));
    expect(b.receive([live], 7777).frames, 'the genuine one is still welcome').toEqual([there]);
    expect(b.panics).toEqual([]);
  });

  test('frames that are no IP packets are counted', () => {
    connect();
    for (let length = 0; length < 64; length++) {
      const frame = randomFillSync(new Uint8Array(length));
      if (length > 0) frame[0] = [0x00, 0x15, 0x45, 0x60, 0xf0][length % 5] ?? 0;
      frame.fill(0xff, 2, 6);
      expect(a.send(frame)).toEqual([]);
    }
    expect(a.core.drops().get('frame-malformed')).toBe(64n);
  });
});

describe('refusals', () => {
  test.each([
    ["a peer's key as our own", () => a.core.setIdentity(secrets[1]), 'ERR_CORE_OWN_KEY'],
    ['a keepalive of a day', () => a.core.setKeepalive(peer, 86_400), 'ERR_CORE_BAD_ARGUMENT'],
    ['the same peer twice', () => a.core.addPeer(settings(publicKeyOf(secrets[1]))), 'ERR_CORE_PEER_EXISTS'],
    ['our own key', () => a.core.addPeer(settings(publicKeyOf(secrets[0]))), 'ERR_CORE_OWN_KEY'],
    ['a key of zeros', () => a.core.addPeer(settings(new Uint8Array(32))), 'ERR_CORE_LOW_ORDER_KEY'],
    ['a peer that is not there', () => a.core.removePeer(4711), 'ERR_CORE_NO_SUCH_PEER'],
    ['/33', () => a.core.allow(peer, Uint8Array.of(10, 0, 0, 0), 33), 'ERR_CORE_BAD_PREFIX'],
    ['/129', () => a.core.allow(peer, new Uint8Array(16), 129), 'ERR_CORE_BAD_PREFIX'],
  ])('%s', (_name, call, code) => {
    expect(call).toThrow(expect.objectContaining({ code }));
  });

  test('counts beyond the columns, and numbers that are no counts', () => {
    for (const count of [65, 2 ** 31, -1]) {
      expect(a.core.inbound(count)).toBeLessThan(0);
      expect(a.core.outbound(count)).toBeLessThan(0);
    }
    a.core.staleSources(2 ** 32 - 1);
    a.core.setTime(Number.NaN);
    a.core.setTime(-5);
    expect(connect()).toEqual([there]);
  });
});

function settings(key: Uint8Array): { publicKey: Uint8Array; persistentKeepaliveSeconds: number } {
  return { publicKey: key, persistentKeepaliveSeconds: 0 };
}

function randomKey(): Uint8Array {
  return randomFillSync(new Uint8Array(32));
}

/** Random bytes, random lengths, true heads over garbage, and cut or bent copies of a live message. */
function rubbish(live: Uint8Array, n: number): Uint8Array {
  const piece = randomFillSync(new Uint8Array(1 + Math.floor(Math.random() * 2000)));
  if (n % 5 === 1) return Uint8Array.of(1 + (n % 4), 0, 0, 0, ...piece);
  if (n % 5 === 2) return Uint8Array.of(...live.subarray(0, 16), ...piece.subarray(0, 64));
  if (n % 5 === 3) return live.slice(0, n);
  if (n % 5 === 4) return live.map((byte, index) => (index === n * 7 ? byte ^ 0x10 : byte));
  return piece;
}
