// WireGuard keys as bytes, and in base64 as `wg` writes them. Knows no file.
// A secret never becomes a JavaScript string: strings cannot be wiped, and end up in messages.

import { createPrivateKey, createPublicKey, randomFillSync } from 'node:crypto';

export const KEY_LENGTH_BYTES = 32;
const BASE64_LENGTH = 44;

const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');
const PAD = 0x3d;
const NEWLINE = 0x0a;
const INVALID = 0xff;
const SEXTETS = sextetTable();

/** Overwrites secrets. What the garbage collector may have copied before is out of reach: keep secrets short-lived. */
export function wipe(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}

/**
 * Reads one key from base64 bytes: exactly 44 of them, then nothing but white space. `null` for anything else, also
 * where the last character carries bits that no key has, so that one key has one text.
 */
export function decodeKey(text: Uint8Array): Uint8Array | null {
  if (text.length < BASE64_LENGTH || text[BASE64_LENGTH - 1] !== PAD) return null;
  for (const byte of text.subarray(BASE64_LENGTH)) {
    if (byte !== NEWLINE && byte !== 0x0d && byte !== 0x20 && byte !== 0x09) return null;
  }
  const key = new Uint8Array(KEY_LENGTH_BYTES);
  let bits = 0;
  let bitCount = 0;
  let length = 0;
  for (const character of text.subarray(0, BASE64_LENGTH - 1)) {
    const sextet = SEXTETS[character] ?? INVALID;
    if (sextet === INVALID) {
      wipe(key);
      return null;
    }
    bits = ((bits << 6) | sextet) & 0xffff;
    bitCount += 6;
    if (bitCount >= 8) {
      bitCount -= 8;
      key[length] = (bits >> bitCount) & 0xff;
      length += 1;
    }
  }
  // 43 characters are 258 bits: the last two belong to no byte.
  if ((bits & 0b11) === 0) return key;
  wipe(key);
  return null;
}

/** The 44 base64 characters of a key and a newline, as `wg genkey` prints them. */
export function encodeKey(key: Uint8Array): Uint8Array {
  if (key.length !== KEY_LENGTH_BYTES) throw new RangeError(`a key has 32 bytes, not ${key.length}`);
  const text = new Uint8Array(BASE64_LENGTH + 1);
  for (let group = 0; group < 11; group++) {
    const [a = 0, b = 0, c = 0] = key.subarray(group * 3, group * 3 + 3);
    text[group * 4] = ALPHABET[a >> 2] ?? 0;
    text[group * 4 + 1] = ALPHABET[((a & 3) << 4) | (b >> 4)] ?? 0;
    text[group * 4 + 2] = ALPHABET[((b & 15) << 2) | (c >> 6)] ?? 0;
    text[group * 4 + 3] = ALPHABET[c & 63] ?? 0;
  }
  text[BASE64_LENGTH - 1] = PAD;
  text[BASE64_LENGTH] = NEWLINE;
  return text;
}

const HEX = Buffer.from('0123456789abcdef', 'latin1');

/** The 64 lower-case hexadecimal digits of a key, as the UAPI has them. */
export function encodeHex(key: Uint8Array): Uint8Array {
  const text = new Uint8Array(key.length * 2);
  for (const [i, byte] of key.entries()) {
    text[i * 2] = HEX[byte >> 4] ?? 0;
    text[i * 2 + 1] = HEX[byte & 15] ?? 0;
  }
  return text;
}

/** Reads one key from 64 hexadecimal digits; `null` for anything else. */
export function decodeHex(text: Uint8Array): Uint8Array | null {
  if (text.length !== KEY_LENGTH_BYTES * 2) return null;
  const key = new Uint8Array(KEY_LENGTH_BYTES);
  for (let i = 0; i < KEY_LENGTH_BYTES; i++) {
    const high = digitOf(text[i * 2]);
    const low = digitOf(text[i * 2 + 1]);
    if (high < 0 || low < 0) {
      wipe(key);
      return null;
    }
    key[i] = (high << 4) | low;
  }
  return key;
}

/** The value of a hexadecimal digit, −1 of any other byte. */
function digitOf(byte = 0): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20; // to lower case
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1;
}

/** A public key as text. Never for secrets: see above. */
export function renderPublicKey(publicKey: Uint8Array): string {
  return Buffer.from(publicKey).toString('base64');
}

/** A new private key, clamped as `wg genkey` does (RFC 7748 §5). */
export function generatePrivateKey(): Uint8Array {
  const key = randomFillSync(new Uint8Array(KEY_LENGTH_BYTES));
  key[0] = (key[0] ?? 0) & 0b1111_1000;
  key[31] = ((key[31] ?? 0) & 0b0111_1111) | 0b0100_0000;
  return key;
}

export function generatePresharedKey(): Uint8Array {
  return randomFillSync(new Uint8Array(KEY_LENGTH_BYTES));
}

/** RFC 8410: the DER that wraps 32 raw bytes as an X25519 private key (PKCS #8). */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** The X25519 public key. Raw bytes go in as DER: the other way, JWK, would need the secret as a string. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_HEAD, privateKey]);
  try {
    const publicKey = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
    // The raw key is the last 32 bytes of its DER (SubjectPublicKeyInfo).
    return Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' }).subarray(-KEY_LENGTH_BYTES));
  } finally {
    wipe(der);
  }
}

/** The value of each base64 character, by its byte. */
function sextetTable(): Uint8Array {
  const table = new Uint8Array(256).fill(INVALID);
  for (const [value, character] of ALPHABET.entries()) table[character] = value;
  return table;
}
