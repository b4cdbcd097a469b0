// The initiator's half of a WireGuard handshake (paper §5.4), in two steps that lie apart: a message made long before it is sent,
// and a response checked long after it came. What is measured with it is then the responder, and not this. Node.js has all of it
// in native code but keyed BLAKE2s and XChaCha20, which are @noble's. Shares nothing with the core, so it also proves the answers.

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { blake2s } from '@noble/hashes/blake2.js';

export const RESPONSE_BYTES = 92;
export const COOKIE_REPLY_BYTES = 64;
/** First bytes of the messages. */
export const MESSAGE_TYPE = { response: 2, cookieReply: 3 } as const;

const INITIATION_BYTES = 148;
const TAG_BYTES = 16;
const NONCE_0 = Buffer.alloc(12);
const NO_PSK = Buffer.alloc(32);
const CHAINING_KEY_0 = hash(Buffer.from('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s'));
const HASH_0 = hash(CHAINING_KEY_0, Buffer.from('WireGuard v1 zx2c4 Jason@zx2c4.com'));
const LABEL_MAC1 = Buffer.from('mac1----');
const LABEL_COOKIE = Buffer.from('cookie--');

/** RFC 8410: the DER around 32 raw bytes. */
const DER_PRIVATE = Buffer.from('302e020100300506032b656e04220420', 'hex');
const DER_PUBLIC = Buffer.from('302a300506032b656e032100', 'hex');

/** @param text base64 of 32 bytes */
function privateKeyOf(text: string): KeyObject {
  const key = Buffer.concat([DER_PRIVATE, Buffer.from(text, 'base64')]);
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
}

function publicKeyOfBytes(bytes: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([DER_PUBLIC, bytes]), format: 'der', type: 'spki' });
}

function bytesOf(publicKey: KeyObject): Buffer {
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(DER_PUBLIC.length);
}

function hash(...parts: readonly Uint8Array[]): Buffer {
  const state = createHash('blake2s256');
  for (const part of parts) state.update(part);
  return state.digest();
}

function hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const state = createHmac('blake2s256', key);
  for (const part of parts) state.update(part);
  return state.digest();
}

function mac(key: Uint8Array, message: Uint8Array): Uint8Array {
  return blake2s(message, { key, dkLen: 16 });
}

/** The responder, with what every handshake to it has in common. */
export class Responder {
  readonly publicKey: KeyObject;
  readonly hash: Buffer;
  readonly #mac1Key: Buffer;
  readonly #cookieKey: Buffer;

  /** @param publicKey base64 */
  constructor(publicKey: string) {
    const bytes = Buffer.from(publicKey, 'base64');
    this.publicKey = publicKeyOfBytes(bytes);
    this.hash = hash(HASH_0, bytes);
    this.#mac1Key = hash(LABEL_MAC1, bytes);
    this.#cookieKey = hash(LABEL_COOKIE, bytes);
  }

  mac1(message: Uint8Array): Uint8Array {
    return mac(this.#mac1Key, message.subarray(0, -2 * TAG_BYTES));
  }

  /** The cookie that a reply to a message with `mac1` carries. Throws when the reply is not the responder's. */
  openCookieReply(reply: Uint8Array, mac1: Uint8Array): Uint8Array {
    return xchacha20poly1305(this.#cookieKey, reply.subarray(8, 32), mac1).decrypt(reply.subarray(32));
  }
}

/** One who may connect: its key, and what all its handshakes with one responder have in common. */
export class Identity {
  readonly privateKey: KeyObject;
  readonly publicBytes: Buffer;
  readonly staticSecret: Buffer;
  readonly responder: Responder;

  /** @param privateKey base64 */
  constructor(privateKey: string, responder: Responder) {
    this.privateKey = privateKeyOf(privateKey);
    this.publicBytes = bytesOf(createPublicKey(this.privateKey));
    this.staticSecret = diffieHellman({ privateKey: this.privateKey, publicKey: responder.publicKey });
    this.responder = responder;
  }
}

/** A handshake that has been prepared, and what is needed to check its response. */
export class Initiation {
  readonly message: Buffer;
  readonly #identity: Identity;
  readonly #ephemeral: KeyObject;
  #chainingKey = CHAINING_KEY_0;
  #hash: Buffer;

  /**
   * @param sender our index: 32 bits, unique among the handshakes that are open
   * @param unixSeconds its timestamp; greater than that of every earlier one of this identity
   */
  constructor(identity: Identity, sender: number, unixSeconds: number) {
    const { responder } = identity;
    const { privateKey, publicKey } = generateKeyPairSync('x25519');
    const message = Buffer.alloc(INITIATION_BYTES);
    message.writeUInt32LE(1, 0);
    message.writeUInt32LE(sender, 4);
    message.set(bytesOf(publicKey), 8);
    this.message = message;
    this.#identity = identity;
    this.#ephemeral = privateKey;
    this.#hash = responder.hash;
    this.#mixHash(message.subarray(8, 40));
    this.#mixKey(message.subarray(8, 40));
    const secret = diffieHellman({ privateKey, publicKey: responder.publicKey });
    message.set(this.#seal(this.#mixKey(secret), identity.publicBytes), 40);
    message.set(this.#seal(this.#mixKey(identity.staticSecret), timestamp(unixSeconds)), 88);
    message.set(responder.mac1(message), 116);
  }

  get mac1(): Buffer {
    return this.message.subarray(116, 132);
  }

  /** Writes mac2: what a responder under load asks for by a cookie reply. */
  setCookie(cookie: Uint8Array): void {
    this.message.set(mac(cookie, this.message.subarray(0, 132)), 132);
  }

  /** Throws unless `response` is the responder's answer to this very message. Once. */
  verify(response: Uint8Array): void {
    const ephemeral = response.subarray(12, 44);
    const theirs = publicKeyOfBytes(ephemeral);
    this.#mixHash(ephemeral);
    this.#mixKey(ephemeral);
    this.#mixKey(diffieHellman({ privateKey: this.#ephemeral, publicKey: theirs }));
    this.#mixKey(diffieHellman({ privateKey: this.#identity.privateKey, publicKey: theirs }));
    const secret = hmac(this.#chainingKey, NO_PSK);
    const first = hmac(secret, Buffer.of(1));
    const second = hmac(secret, first, Buffer.of(2));
    const key = hmac(secret, second, Buffer.of(3));
    this.#mixHash(second);
    const cipher = createDecipheriv('chacha20-poly1305', key, NONCE_0, { authTagLength: TAG_BYTES });
    cipher.setAAD(this.#hash, { plaintextLength: 0 });
    cipher.setAuthTag(response.subarray(44, 60));
    cipher.final();
  }

  #mixHash(bytes: Uint8Array): void {
    this.#hash = hash(this.#hash, bytes);
  }

  /** The key that comes of `input`; the chaining key moves on. */
  #mixKey(input: Uint8Array): Buffer {
    const secret = hmac(this.#chainingKey, input);
    this.#chainingKey = hmac(secret, Buffer.of(1));
    return hmac(secret, this.#chainingKey, Buffer.of(2));
  }

  #seal(key: Buffer, text: Uint8Array): Buffer {
    const cipher = createCipheriv('chacha20-poly1305', key, NONCE_0, { authTagLength: TAG_BYTES });
    cipher.setAAD(this.#hash, { plaintextLength: text.length });
    const sealed = Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()]);
    this.#mixHash(sealed);
    return sealed;
  }
}

/** TAI64N. */
function timestamp(unixSeconds: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64BE((1n << 62n) + 10n + BigInt(unixSeconds));
  return bytes;
}
