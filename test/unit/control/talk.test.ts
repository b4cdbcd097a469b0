// What nodes say to each other: what is encoded is parsed, and nothing that comes in its place throws.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Answer, encodeTalk, isAnswer, parseTalk, type Question } from '../../../src/control/talk.ts';

const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
const clockMs = fc.nat(8.64e15);
const said: fc.Arbitrary<Question | Answer> = fc.oneof(
  fc.record({ type: fc.constant('redeem' as const), publicKey: key, clockMs }),
  fc.record({
    type: fc.constant('rotate' as const),
    what: fc.constantFrom('psk' as const, 'identity' as const),
    step: fc.constantFrom('offer' as const, 'use' as const, 'settle' as const, 'cancel' as const),
    key,
  }),
  fc.record({ type: fc.constant('done' as const) }),
  fc.record({
    type: fc.constant('refused' as const),
    reason: fc.constantFrom('used' as const, 'expired' as const, 'unconfirmed' as const, 'key' as const),
    clockMs,
  }),
);
const number = fc.nat(2 ** 32 - 1);

test('what is encoded is parsed', () => {
  fc.assert(
    fc.property(fc.record({ number, said }), (talk) => {
      const bytes = encodeTalk(talk);
      expect(bytes.length).toBeLessThanOrEqual(512);
      expect(parseTalk(bytes)).toEqual(talk);
      expect(isAnswer(talk.said)).toBe(['done', 'refused'].includes(talk.said.type));
    }),
  );
});

test('whatever else comes is nothing, and a byte more or less of what is something', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void parseTalk(bytes)));
  fc.assert(
    fc.property(fc.record({ number, said }), (talk) => {
      const bytes = encodeTalk(talk);
      expect(parseTalk(Uint8Array.of(...bytes, 0))).toBeNull();
      expect(parseTalk(bytes.subarray(0, -1))).toBeNull();
      expect(parseTalk(Uint8Array.of(2, ...bytes.subarray(1)))).toBeNull(); // a version to come
    }),
  );
  const forms = [
    [1, 2, 0, 0, 0, 0, 7, 0],
    [1, 2, 0, 0, 0, 0, 0, 9],
    [1, 129, 0, 0, 0, 0, 200],
  ];
  for (const form of forms) expect(parseTalk(Uint8Array.of(...form, ...new Uint8Array(32)))).toBeNull();
});
