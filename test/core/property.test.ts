// The built core against arbitrary input, by fast-check: what wasm makes of bytes, beside what the fuzzers of wasm/fuzz learn
// natively.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compile } from 'wireguard-wasm';
import { rawKeyPair, writeMacs } from '../support/attacker/noise.ts';
import { CoreHarness, ipv4Packet } from '../support/core-columns.ts';
import { FUZZ_TIMEOUT_MS, runs } from '../support/fuzzing.ts';

/** A batch of up to 16 datagrams each, or one frame. */
const RUNS = 1_500;
const module = compile();
const keys = [rawKeyPair(new Uint8Array(32).fill(1)), rawKeyPair(new Uint8Array(32).fill(2))] as const;

function ends(): { a: CoreHarness; b: CoreHarness } {
  const [a, b] = [new CoreHarness(module), new CoreHarness(module)];
  const endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: 5 };
  a.core.setIdentity(keys[0].privateKey ?? new Uint8Array(32));
  b.core.setIdentity(keys[1].privateKey ?? new Uint8Array(32));
  const there = a.core.addPeer({ publicKey: keys[1].publicKey, endpoint, persistentKeepaliveSeconds: 0 });
  const back = b.core.addPeer({ publicKey: keys[0].publicKey, persistentKeepaliveSeconds: 0 });
  a.core.allow(there, Uint8Array.of(10, 9, 0, 2), 32);
  b.core.allow(back, Uint8Array.of(10, 9, 0, 1), 32);
  const payloads = (datagrams: readonly { payload: Uint8Array }[]) => datagrams.map(({ payload }) => payload);
  const response = b.receive(payloads(a.send(ipv4Packet('10.9.0.1', '10.9.0.2', 40))));
  b.receive(payloads(a.receive(payloads(response.replies)).replies));
  return { a, b };
}

function headed(type: number, body: Uint8Array, length: number): Uint8Array {
  const message = new Uint8Array(length);
  message.set(body.subarray(0, length));
  message.set([type, 0, 0, 0]);
  return message;
}

const datagram = fc.oneof(
  fc.uint8Array({ maxLength: 1_500 }),
  fc
    .tuple(
      fc.integer({ min: 1, max: 4 }),
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom(148, 92, 64, 32, 48),
    )
    .map(([type, body, length]) => headed(type, body, length)),
  fc.uint8Array({ maxLength: 148 }).map((body) => writeMacs(headed(1, body, 148), keys[1].publicKey)),
);

test(
  'datagrams of any kind: no trap, no frame, and the session goes on',
  () => {
    const { a, b } = ends();
    fc.assert(
      fc.property(fc.array(datagram, { minLength: 1, maxLength: 16 }), (datagrams) => {
        expect(b.receive(datagrams, 6).frames).toEqual([]);
        expect(b.panics).toEqual([]);
      }),
      runs(RUNS, 2),
    );
    const packet = ipv4Packet('10.9.0.1', '10.9.0.2', 1_000);
    const [message] = a.send(packet);
    expect(b.receive([message?.payload ?? new Uint8Array()]).frames).toEqual([packet]);
  },
  FUZZ_TIMEOUT_MS,
);

test(
  'frames of any kind: no trap, and what leaves opens at the other end',
  () => {
    const { a, b } = ends();
    const header = fc.uint8Array({ minLength: 12, maxLength: 12 });
    const frame = fc.oneof(
      fc.uint8Array({ maxLength: 1_500 }),
      fc
        .tuple(header, fc.uint8Array({ maxLength: 1_400 }))
        .map(([head, rest]) =>
          Uint8Array.of(0x45, ...head.subarray(1, 12), 10, 9, 0, 1, 10, 9, 0, 2, ...rest),
        ),
    );
    fc.assert(
      fc.property(frame, (bytes) => {
        const messages = a.send(bytes);
        const refused = [...b.core.drops().values()].reduce((sum, count) => sum + count, 0n);
        const { frames } = b.receive(messages.map(({ payload }) => payload));
        expect([...b.core.drops().values()].reduce((sum, count) => sum + count, 0n)).toBe(refused);
        expect(frames.length).toBe(messages.length);
        expect([...a.panics, ...b.panics]).toEqual([]);
      }),
      runs(RUNS, 2),
    );
  },
  FUZZ_TIMEOUT_MS,
);
