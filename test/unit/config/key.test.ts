// Keys as bytes and as base64, against Buffer and OpenSSL as the references.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeKey,
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
  renderPublicKey,
  wipe,
} from '../../../src/config/key.ts';

const key = fc.uint8Array({ minLength: 32, maxLength: 32 });

test('base64 is what Buffer makes of it, in both directions', () => {
  fc.assert(
    fc.property(key, (bytes) => {
      const reference = Buffer.from(bytes).toString('base64');
      expect(Buffer.from(encodeKey(bytes)).toString()).toBe(`${reference}\n`);
      expect(renderPublicKey(bytes)).toBe(reference);
      expect(decodeKey(Buffer.from(reference))).toEqual(bytes);
    }),
  );
});

describe('what is no key', () => {
  const good = Buffer.alloc(32, 7).toString('base64');
  test.each([
    ['nothing', ''],
    ['one character less', good.slice(1)],
    ['one character more', `A${good}`],
    ['a key without its "="', good.slice(0, 43)],
    ['two keys', `${good}\n${good}\n`],
    ['text after it', `${good} alice`],
    ['white space before it', ` ${good}`],
    ['the alphabet of URLs', good.replace('B', '-')],
    ['bits that belong to no byte', `${good.slice(0, 42)}d=`],
    ['hexadecimal', Buffer.alloc(32, 7).toString('hex')],
    ['a "=" inside', `${good.slice(0, 20)}=${good.slice(21)}`],
  ])('%s', (_, text) => expect(decodeKey(Buffer.from(text))).toBeNull());

  test.each(['\n', '\r\n', ' \n', '\t\n\n', ''])('but white space after it may stand: %j', (end) => {
    expect(decodeKey(Buffer.from(good + end))).toEqual(new Uint8Array(32).fill(7));
  });

  test('no bytes make it throw', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void decodeKey(bytes)));
  });
});

test('a private key is clamped, and no two are the same', () => {
  const keys = Array.from({ length: 50 }, generatePrivateKey);
  for (const bytes of keys) {
    expect((bytes[0] ?? 0) & 0b111).toBe(0);
    expect((bytes[31] ?? 0) & 0b1100_0000).toBe(0b0100_0000);
  }
  expect(new Set([...keys, generatePresharedKey()].map(renderPublicKey)).size).toBe(51);
});

test.each([
  [
    '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a',
    '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
  ],
  [
    '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb',
    'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
  ],
])('the public keys of RFC 7748 §6.1: %s', (privateHex, publicHex) => {
  const privateKey = Uint8Array.from(Buffer.from(privateHex, 'hex'));
  expect(Buffer.from(publicKeyOf(privateKey)).toString('hex')).toBe(publicHex);
  expect(Buffer.from(privateKey).toString('hex')).toBe(privateHex); // still the caller's to wipe
});

test('wiped is zero', () => {
  const bytes = generatePrivateKey();
  wipe(bytes);
  expect(bytes).toEqual(new Uint8Array(32));
});
