// The package alone, as its README shows it: nothing of the project around it is imported.

import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { expect, test } from 'vitest';
import { Core, CoreRefusal, compile } from '../index.ts';

const FRAME_BYTES = 16;
const DATAGRAM_BYTES = 64;
const VNET_HEADER_BYTES = 10;

// X25519 of 32 times 1 and 32 times 2, as `wg pubkey` prints them.
const alice = {
  privateKey: new Uint8Array(32).fill(1),
  publicKey: key('pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk='),
};
const bob = {
  privateKey: new Uint8Array(32).fill(2),
  publicKey: key('zo060cy2M+x7cMF4FKXHbs0CloUFDTRHRboFhw5YfVk='),
};

function key(base64: string): Uint8Array {
  return Uint8Array.from(Buffer.from(base64, 'base64'));
}

function makeCore(own: typeof alice, other: typeof alice, otherAddress: Uint8Array, keepalive: number): Core {
  const core = new Core(compile(), { log: () => {} }, 1_000);
  core.setIdentity(own.privateKey.slice());
  core.setMtu(1420);
  const endpoint = { address: Uint8Array.of(192, 0, 2, 7), port: 51820 };
  const peer = core.addPeer({ publicKey: other.publicKey, endpoint, persistentKeepaliveSeconds: keepalive });
  core.allow(peer, otherAddress, 32);
  return core;
}

/** Moves what `from` has to send into `to`, and says what came out of that. Handshakes come last, as in a turn of a loop. */
function deliver(from: Core, messages: number, to: Core): { frames: number; replies: number } {
  const [source, target] = [new DataView(from.memory.buffer), new DataView(to.memory.buffer)];
  for (let index = 0; index < messages; index++) {
    const sent = from.layout.sendColumn + index * DATAGRAM_BYTES;
    const received = to.layout.receiveColumn + index * DATAGRAM_BYTES;
    const length = source.getUint32(sent + 4, true);
    const bytes = new Uint8Array(from.memory.buffer, source.getUint32(sent, true), length);
    new Uint8Array(to.memory.buffer).set(bytes, target.getUint32(received, true));
    target.setUint32(received + 4, length, true);
    target.setUint16(received + 24, 4, true); // from some IPv4 address
    target.setUint16(received + 26, 51820, true);
  }
  const [frames, replies] = [to.inbound(messages), to.replies()];
  return { frames, replies: to.handshakesWaiting() > 0 ? to.handshakes() : replies };
}

test('two cores shake hands by their persistent keepalive, then carry a packet', () => {
  const [a, b] = [
    makeCore(alice, bob, Uint8Array.of(10, 9, 0, 2), 25),
    makeCore(bob, alice, Uint8Array.of(10, 9, 0, 1), 0),
  ];
  a.setTime(1_300);
  b.setTime(1_300);
  const initiation = a.tick();
  expect(initiation).toBe(1);
  const { replies: response } = deliver(a, initiation, b);
  expect(response).toBe(1);
  const { replies: confirmation } = deliver(b, response, a);
  expect(deliver(a, confirmation, b)).toEqual({ frames: 0, replies: 0 });

  const packet = Uint8Array.of(0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2);
  const view = new DataView(a.memory.buffer);
  const slot = view.getUint32(a.layout.readColumn, true);
  new Uint8Array(a.memory.buffer).fill(0, slot, slot + VNET_HEADER_BYTES);
  new Uint8Array(a.memory.buffer).set(packet, slot + VNET_HEADER_BYTES);
  view.setUint32(a.layout.readColumn + 4, VNET_HEADER_BYTES + packet.length, true);
  expect(deliver(a, a.outbound(1), b).frames).toBe(1);
  const frame = new DataView(b.memory.buffer, b.layout.writeColumn, FRAME_BYTES);
  const written = new Uint8Array(b.memory.buffer, frame.getUint32(0, true), frame.getUint32(4, true));
  expect(written.slice(VNET_HEADER_BYTES)).toEqual(packet);
});

test('what makes no sense is refused with a code', () => {
  const core = new Core(compile(), { log: () => {} }, 0);
  const add = () => core.addPeer({ publicKey: bob.publicKey, persistentKeepaliveSeconds: 0 });
  add();
  expect(add).toThrow(CoreRefusal);
  expect(add).toThrow(expect.objectContaining({ code: 'ERR_CORE_PEER_EXISTS' }));
  expect(() => core.setIdentity(new Uint8Array(31))).toThrow(RangeError);
});

test('the program of wasm/README.md makes a core, a peer, and a turn of its loop', () => {
  const manual = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, program = ''] = /```ts\nimport [^\n]*\n(.*?)```/s.exec(manual) ?? [];
  const given = { Core, compile, ...alice, publicKey: bob.publicKey, frames: 0, datagrams: 0 };
  const body = `${stripTypeScriptTypes(program)}\nreturn [core, messages, accepted, answers, shaken, due];`;
  const run = new Function(...Object.keys(given), body) as (...values: unknown[]) => unknown[];
  const [core, ...counts] = run(...Object.values(given));
  expect(core).toBeInstanceOf(Core);
  expect(counts).toEqual([0, 0, 0, 0, 1]); // its persistent keepalive is due, so it begins a handshake
});
