// The AEAD of the built core, in wasm, against RFC 8439 and every Wycheproof vector.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Core, compile } from 'wireguard-wasm';

interface Vector {
  readonly tcId: number;
  readonly comment: string;
  readonly key: string;
  readonly iv: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag: string;
  readonly result: 'valid' | 'invalid' | 'acceptable';
}

interface VectorFile {
  readonly numberOfTests: number;
  readonly testGroups: readonly { readonly ivSize: number; readonly tests: readonly Vector[] }[];
}

const core = new Core(compile(), { log: () => {} }, 0);
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (value: Uint8Array | null): string | null => value && Buffer.from(value).toString('hex');

test('RFC 8439 §2.8.2', () => {
  const key = Uint8Array.from({ length: 32 }, (_, index) => 0x80 + index);
  const text = Buffer.from(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  );
  const nonce = bytes('070000004041424344454647');
  const aad = bytes('50515253c0c1c2c3c4c5c6c7');
  const sealed = core.seal(key, nonce, aad, text);
  expect(hex(sealed.subarray(-16))).toBe('1ae10b594f09e26a7e902ecbd0600691');
  expect(hex(sealed.subarray(0, 16))).toBe('d31a8d34648e60db7b86afbc53ef7ec2');
  expect(hex(core.open(key, nonce, aad, sealed))).toBe(text.toString('hex'));
});

test('every Wycheproof vector', () => {
  const file = new URL('../vectors/chacha20_poly1305_test.json', import.meta.url);
  const { testGroups, numberOfTests }: VectorFile = JSON.parse(readFileSync(file, 'utf8'));
  // Nonces of other lengths cannot be expressed: WireGuard's has 12 bytes.
  const vectors = testGroups.filter(({ ivSize }) => ivSize === 96).flatMap(({ tests }) => tests);
  expect(vectors.length).toBeGreaterThan(numberOfTests * 0.9);
  for (const { tcId, comment, key, iv, aad, msg, ct, tag, result } of vectors) {
    const what = `${tcId}: ${comment}`;
    const opened = core.open(bytes(key), bytes(iv), bytes(aad), bytes(ct + tag));
    expect(hex(opened), what).toBe(result === 'valid' ? msg : null);
    if (result === 'valid') {
      expect(hex(core.seal(bytes(key), bytes(iv), bytes(aad), bytes(msg))), what).toBe(ct + tag);
    }
  }
});

test('a wrong bit anywhere opens nothing', () => {
  const [key, nonce, aad] = [new Uint8Array(32).fill(1), new Uint8Array(12), new Uint8Array(5)];
  const sealed = core.seal(key, nonce, aad, new Uint8Array(300).fill(7));
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const flipped = sealed.slice();
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(core.open(key, nonce, aad, flipped)).toBeNull();
  }
});
