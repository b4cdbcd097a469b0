// Noise_IKpsk2 as WireGuard uses it, written from the paper (§5.4) for a peer that tests can make misbehave: every index,
// key, timestamp and counter is the caller's choice. The primitives are @noble's. Shares no code with the program under
// test, so a mistake of one is not a mistake of the other.

import { chacha20poly1305, xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { x25519 } from '@noble/curves/ed25519.js';
import { blake2s } from '@noble/hashes/blake2.js';
import { hmac } from '@noble/hashes/hmac.js';

export const INITIATION_BYTES = 148;
export const RESPONSE_BYTES = 92;
export const COOKIE_REPLY_BYTES = 64;

const CONSTRUCTION = Buffer.from('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s');
const IDENTIFIER = Buffer.from('WireGuard v1 zx2c4 Jason@zx2c4.com');
const LABEL_MAC1 = Buffer.from('mac1----');
const LABEL_COOKIE = Buffer.from('cookie--');
const NO_PSK = new Uint8Array(32);

/** 32 bytes each. Without a private key the public one is of low order: its Diffie-Hellman result is zero with everybody. */
export type RawKeyPair = { readonly privateKey: Uint8Array | null; readonly publicKey: Uint8Array };

export function rawKeyPair(privateKey: Uint8Array = x25519.utils.randomSecretKey()): RawKeyPair {
  return { privateKey, publicKey: x25519.getPublicKey(privateKey) };
}

function diffieHellman(own: RawKeyPair, publicKey: Uint8Array): Uint8Array {
  return own.privateKey === null ? new Uint8Array(32) : x25519.getSharedSecret(own.privateKey, publicKey);
}

function hash(...parts: readonly Uint8Array[]): Uint8Array {
  return blake2s(Buffer.concat(parts));
}

function mac(key: Uint8Array, message: Uint8Array): Uint8Array {
  return blake2s(message, { key, dkLen: 16 });
}

/** KDF_n of the paper: its first n outputs. */
function kdf(n: number, key: Uint8Array, input: Uint8Array): Uint8Array[] {
  const secret = hmac(blake2s, key, input);
  const outputs: Uint8Array[] = [];
  for (let i = 1; i <= n; i++) {
    outputs.push(hmac(blake2s, secret, Buffer.concat([outputs.at(-1) ?? Buffer.alloc(0), Buffer.of(i)])));
  }
  return outputs;
}

function nonceOf(counter: bigint): Uint8Array {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64LE(counter, 4);
  return nonce;
}

/** The chaining key and the transcript hash, as both ends carry them through a handshake. */
class Transcript {
  #chainingKey = hash(CONSTRUCTION);
  #hash: Uint8Array;

  constructor(responderKey: Uint8Array) {
    this.#hash = hash(hash(this.#chainingKey, IDENTIFIER), responderKey);
  }

  mixHash(bytes: Uint8Array): void {
    this.#hash = hash(this.#hash, bytes);
  }

  /** KDF_2; where the paper has KDF_1, the second output is not used. */
  mixKey(input: Uint8Array): Uint8Array {
    const [chainingKey = NO_PSK, key = NO_PSK] = kdf(2, this.#chainingKey, input);
    this.#chainingKey = chainingKey;
    return key;
  }

  mixPresharedKey(presharedKey: Uint8Array): Uint8Array {
    const [chainingKey = NO_PSK, tau = NO_PSK, key = NO_PSK] = kdf(3, this.#chainingKey, presharedKey);
    this.#chainingKey = chainingKey;
    this.mixHash(tau);
    return key;
  }

  seal(key: Uint8Array, text: Uint8Array): Uint8Array {
    const sealed = chacha20poly1305(key, nonceOf(0n), this.#hash).encrypt(text);
    this.mixHash(sealed);
    return sealed;
  }

  /** Throws when the tag does not verify. */
  open(key: Uint8Array, sealed: Uint8Array): Uint8Array {
    const text = chacha20poly1305(key, nonceOf(0n), this.#hash).decrypt(sealed);
    this.mixHash(sealed);
    return text;
  }

  /** The two transport keys: the initiator's for sending, then for receiving. */
  split(): [Uint8Array, Uint8Array] {
    const [send = NO_PSK, receive = NO_PSK] = kdf(2, this.#chainingKey, new Uint8Array());
    return [send, receive];
  }
}

/** TAI64N of a moment since 1970, as the kernel and wireguard-go write it. */
export function timestamp(unixMs: number, nanoseconds = (unixMs % 1_000) * 1e6): Uint8Array {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64BE((1n << 62n) + 10n + BigInt(Math.floor(unixMs / 1_000)));
  bytes.writeUInt32BE(Math.floor(nanoseconds), 8);
  return bytes;
}

/** Writes mac1 under the receiver's key and mac2 under the cookie, zeros without one, over whatever lies before them. */
export function writeMacs(message: Uint8Array, receiverKey: Uint8Array, cookie?: Uint8Array): Uint8Array {
  const end = message.length;
  message.set(mac(hash(LABEL_MAC1, receiverKey), message.subarray(0, end - 32)), end - 32);
  message.set(
    cookie === undefined ? new Uint8Array(16) : mac(cookie, message.subarray(0, end - 16)),
    end - 16,
  );
  return message;
}

export function mac1Of(message: Uint8Array): Uint8Array {
  return message.slice(-32, -16);
}

/** Whether mac2 is that of `cookie`. */
export function hasMac2(message: Uint8Array, cookie: Uint8Array): boolean {
  return Buffer.compare(mac(cookie, message.subarray(0, -16)), message.subarray(-16)) === 0;
}

/** Whether mac1 is keyed with `receiverKey`. */
export function hasMac1(message: Uint8Array, receiverKey: Uint8Array): boolean {
  return Buffer.compare(mac(hash(LABEL_MAC1, receiverKey), message.subarray(0, -32)), mac1Of(message)) === 0;
}

/** Opens a cookie reply of whoever has `senderKey` to a message with this mac1. Throws when it is forged. */
export function openCookieReply(reply: Uint8Array, senderKey: Uint8Array, mac1: Uint8Array): Uint8Array {
  return xchacha20poly1305(hash(LABEL_COOKIE, senderKey), reply.subarray(8, 32), mac1).decrypt(
    reply.subarray(32),
  );
}

/** A cookie reply as the owner of `senderKey` would make it; anybody can, for the key is public. */
export function makeCookieReply(
  receiverIndex: number,
  senderKey: Uint8Array,
  mac1: Uint8Array,
  cookie: Uint8Array,
  nonce: Uint8Array,
): Uint8Array {
  const reply = header(3, COOKIE_REPLY_BYTES);
  reply.writeUInt32LE(receiverIndex, 4);
  reply.set(nonce, 8);
  reply.set(xchacha20poly1305(hash(LABEL_COOKIE, senderKey), nonce, mac1).encrypt(cookie), 32);
  return reply;
}

export type InitiationChoices = {
  readonly own: RawKeyPair;
  readonly peerKey: Uint8Array;
  readonly sender: number;
  readonly timestamp: Uint8Array;
  readonly presharedKey?: Uint8Array | undefined;
  readonly ephemeral?: RawKeyPair;
  readonly cookie?: Uint8Array | undefined;
};

/** What an initiator keeps until the response comes. */
export class Initiation {
  readonly message: Uint8Array;
  readonly sender: number;
  readonly #choices: InitiationChoices;
  readonly #ephemeral: RawKeyPair;
  readonly #transcript: Transcript;

  constructor(choices: InitiationChoices) {
    const { own, peerKey, sender, ephemeral = rawKeyPair() } = choices;
    const transcript = new Transcript(peerKey);
    const message = header(1, INITIATION_BYTES);
    message.writeUInt32LE(sender, 4);
    message.set(ephemeral.publicKey, 8);
    transcript.mixHash(ephemeral.publicKey);
    transcript.mixKey(ephemeral.publicKey);
    message.set(transcript.seal(transcript.mixKey(diffieHellman(ephemeral, peerKey)), own.publicKey), 40);
    message.set(transcript.seal(transcript.mixKey(diffieHellman(own, peerKey)), choices.timestamp), 88);
    writeMacs(message, peerKey, choices.cookie);
    this.message = message;
    this.sender = sender;
    this.#choices = choices;
    this.#ephemeral = ephemeral;
    this.#transcript = transcript;
  }

  /** Takes the response; the session is confirmed by the first message sent on it. Throws when the response is not for us. */
  finish(response: Uint8Array): Session {
    const bytes = Buffer.from(response);
    const ephemeral = bytes.subarray(12, 44);
    const { own, presharedKey = NO_PSK } = this.#choices;
    const transcript = this.#transcript;
    transcript.mixHash(ephemeral);
    transcript.mixKey(ephemeral);
    transcript.mixKey(diffieHellman(this.#ephemeral, ephemeral));
    transcript.mixKey(diffieHellman(own, ephemeral));
    transcript.open(transcript.mixPresharedKey(presharedKey), bytes.subarray(44, 60));
    const [sendKey, receiveKey] = transcript.split();
    return new Session({ local: this.sender, remote: bytes.readUInt32LE(4), sendKey, receiveKey });
  }
}

export type ResponseChoices = {
  readonly own: RawKeyPair;
  readonly sender: number;
  readonly presharedKey?: Uint8Array | undefined;
  readonly ephemeral?: RawKeyPair;
  readonly cookie?: Uint8Array | undefined;
};

/** An initiation that was sent to us, opened: what it says, and the answer to it. */
export class ReceivedInitiation {
  readonly sender: number;
  readonly ephemeral: Uint8Array;
  readonly staticKey: Uint8Array;
  /** TAI64N. */
  readonly timestamp: Uint8Array;
  readonly #transcript: Transcript;

  /** Throws when it is not for `own`. */
  constructor(message: Uint8Array, own: RawKeyPair) {
    const bytes = Buffer.from(message);
    if (bytes.length !== INITIATION_BYTES || bytes.readUInt32LE(0) !== 1) throw new Error('no initiation');
    this.sender = bytes.readUInt32LE(4);
    this.ephemeral = bytes.subarray(8, 40);
    this.#transcript = new Transcript(own.publicKey);
    this.#transcript.mixHash(this.ephemeral);
    this.#transcript.mixKey(this.ephemeral);
    const opened = (shared: Uint8Array, sealed: Uint8Array) =>
      this.#transcript.open(this.#transcript.mixKey(shared), sealed);
    this.staticKey = opened(diffieHellman(own, this.ephemeral), bytes.subarray(40, 88));
    this.timestamp = opened(diffieHellman(own, this.staticKey), bytes.subarray(88, 116));
  }

  /** Once: the answer moves the transcript on. */
  answer(choices: ResponseChoices): { readonly message: Uint8Array; readonly session: Session } {
    const { sender, presharedKey = NO_PSK, ephemeral = rawKeyPair() } = choices;
    const transcript = this.#transcript;
    const message = header(2, RESPONSE_BYTES);
    message.writeUInt32LE(sender, 4);
    message.writeUInt32LE(this.sender, 8);
    message.set(ephemeral.publicKey, 12);
    transcript.mixHash(ephemeral.publicKey);
    transcript.mixKey(ephemeral.publicKey);
    transcript.mixKey(diffieHellman(ephemeral, this.ephemeral));
    transcript.mixKey(diffieHellman(ephemeral, this.staticKey));
    message.set(transcript.seal(transcript.mixPresharedKey(presharedKey), new Uint8Array()), 44);
    writeMacs(message, this.staticKey, choices.cookie);
    const [receiveKey, sendKey] = transcript.split();
    return { message, session: new Session({ local: sender, remote: this.sender, sendKey, receiveKey }) };
  }
}

/** The keys of a finished handshake. Counters are the caller's choice, else the next. */
export class Session {
  /** Our index: what the other end's messages carry. */
  readonly local: number;
  readonly remote: number;
  counter = 0n;
  readonly #sendKey: Uint8Array;
  readonly #receiveKey: Uint8Array;

  constructor(keys: { local: number; remote: number; sendKey: Uint8Array; receiveKey: Uint8Array }) {
    this.local = keys.local;
    this.remote = keys.remote;
    this.#sendKey = keys.sendKey;
    this.#receiveKey = keys.receiveKey;
  }

  /** What the two ends seal with: to look for where they must not be. */
  get keys(): { readonly send: Uint8Array; readonly receive: Uint8Array } {
    return { send: this.#sendKey, receive: this.#receiveKey };
  }

  /** A transport message around `packet`, padded as the paper says unless `pad` is false. Empty is a keepalive. */
  seal(packet: Uint8Array, { counter = this.counter++, pad = true } = {}): Uint8Array {
    const length = pad ? Math.ceil(packet.length / 16) * 16 : packet.length;
    const padded = Buffer.alloc(length);
    padded.set(packet);
    const message = header(4, 32 + length);
    message.writeUInt32LE(this.remote, 4);
    message.writeBigUInt64LE(counter, 8);
    message.set(chacha20poly1305(this.#sendKey, nonceOf(counter)).encrypt(padded), 16);
    return message;
  }

  /** The padded packet of a transport message for this session, or undefined when it is none. */
  open(message: Uint8Array): Uint8Array | undefined {
    const bytes = Buffer.from(message);
    if (bytes.length < 32 || bytes.readUInt32LE(0) !== 4 || bytes.readUInt32LE(4) !== this.local)
      return undefined;
    try {
      return chacha20poly1305(this.#receiveKey, nonceOf(bytes.readBigUInt64LE(8))).decrypt(
        bytes.subarray(16),
      );
    } catch {
      return undefined;
    }
  }
}

function header(type: number, length: number): Buffer<ArrayBuffer> {
  const message = Buffer.alloc(length);
  message.writeUInt32LE(type, 0);
  return message;
}
