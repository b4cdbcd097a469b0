// WireGuard keys as text, made by Node.js, so that a test needs neither `wg` nor the program under test for them.

import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';

export type KeyPair = { readonly privateKey: string; readonly publicKey: string };

/** PKCS #8 around an X25519 private key, RFC 8410 §7: everything before its 32 bytes. */
const PKCS8_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');

export function generateKeyPair(): KeyPair {
  const { privateKey } = generateKeyPairSync('x25519');
  const secret = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(PKCS8_X25519.length);
  // Clamped as `wg genkey` does: the key's function does it anyway, but some tools compare the text.
  secret[0] = (secret[0] ?? 0) & 248;
  secret[31] = ((secret[31] ?? 0) & 127) | 64;
  const text = secret.toString('base64');
  return { privateKey: text, publicKey: publicKeyOf(text) };
}

export function publicKeyOf(privateKey: string): string {
  const der = Buffer.concat([PKCS8_X25519, Buffer.from(privateKey, 'base64')]);
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return key.export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64');
}

export function generatePresharedKey(): string {
  return randomBytes(32).toString('base64');
}
