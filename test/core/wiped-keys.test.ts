// Keys leave the core's memory when their time is over. The peer is the attacker's, with a Noise of its own: it knows the
// transport keys and so what to look for in all of the memory.

import { expect, test } from 'vitest';
import { compile } from 'wireguard-wasm';
import { Initiation, rawKeyPair, type Session, timestamp } from '../support/attacker/noise.ts';
import { CoreHarness, ipv4Packet } from '../support/core-columns.ts';

/** K `messages.h`: keys are wiped 540 s after the last new one. */
const WIPE_AFTER_MS = 540_000;
const PRESHARED_KEY = new Uint8Array(32).fill(0x5c);
const module = compile();

interface Tunnel {
  readonly core: CoreHarness;
  readonly peer: number;
  readonly session: Session;
}

/** A session that the core answered, confirmed by data. */
function tunnel(): Tunnel {
  const core = new CoreHarness(module);
  const [ours, theirs] = [rawKeyPair(), rawKeyPair()];
  if (ours.privateKey === null) throw new Error('no key');
  core.core.setIdentity(ours.privateKey);
  const peer = core.core.addPeer({
    publicKey: theirs.publicKey,
    presharedKey: PRESHARED_KEY,
    persistentKeepaliveSeconds: 0,
  });
  core.core.allow(peer, Uint8Array.of(10, 9, 0, 2), 32);
  const initiation = new Initiation({
    own: theirs,
    peerKey: ours.publicKey,
    sender: 7,
    timestamp: timestamp(Date.now()),
    presharedKey: PRESHARED_KEY,
  });
  const [response] = core.receive([initiation.message]).replies;
  if (response === undefined) throw new Error('the initiation was not answered');
  const session = initiation.finish(response.payload);
  const { frames } = core.receive([session.seal(ipv4Packet('10.9.0.2', '10.9.0.1', 60))]);
  expect(frames).toHaveLength(1);
  return { core, peer, session };
}

/** How often 32 bytes lie in all of the core's memory. */
function occurrences({ core }: CoreHarness, key: Uint8Array): number {
  const memory = Buffer.from(core.memory.buffer);
  let count = 0;
  for (let at = memory.indexOf(key); at !== -1; at = memory.indexOf(key, at + 1)) count++;
  return count;
}

function expectGone(core: CoreHarness, session: Session): void {
  const { send, receive } = session.keys;
  expect({ send: occurrences(core, send), receive: occurrences(core, receive) }).toEqual({
    send: 0,
    receive: 0,
  });
}

test('transport keys are gone when their time is over, and nobody has to say so', () => {
  const { core, session } = tunnel();
  expect(occurrences(core, session.keys.send)).toBeGreaterThan(0);
  for (let ms = 0; ms < WIPE_AFTER_MS; ms += 1_000) {
    core.pass(1_000);
    core.tick();
  }
  expectGone(core, session);
});

test('and at once when the peer is removed, its preshared key too', () => {
  const { core, peer, session } = tunnel();
  expect(occurrences(core, PRESHARED_KEY)).toBeGreaterThan(0);
  core.core.removePeer(peer);
  expectGone(core, session);
  expect(occurrences(core, PRESHARED_KEY)).toBe(0);
});
