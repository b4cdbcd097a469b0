// What two nodes say to each other through their tunnel: redeeming an invite, rotating keys. Pure: bytes of a fixed form
// in both directions, parsed without throwing whatever comes. How they travel is the core's: wasm/core/src/talk.rs.
//
//   0 version 1 │ 1 type │ 2 number u32 LE, which an answer repeats │ 6 body

/** A node asks, the other answers with the same number. Whoever asks again expects the same answer. */
export type Question =
  /** The one-time tunnel of an invite carries it: the key of the new node, and what its clock says. */
  | { readonly type: 'redeem'; readonly publicKey: Uint8Array; readonly clockMs: number }
  /** One step in changing a key that both nodes have to know. */
  | {
      readonly type: 'rotate';
      readonly what: RotatedKey;
      readonly step: RotationStep;
      /** The new preshared key, or the new public key of who asks. 32 bytes; whoever read it wipes it. */
      readonly key: Uint8Array;
    };

export type Answer =
  | { readonly type: 'done' }
  | { readonly type: 'refused'; readonly reason: Refusal; readonly clockMs: number };

export type RotatedKey = (typeof ROTATED_KEYS)[number];
/**
 * `offer`: accept it beside the old one. `use`: begin handshakes with it. `settle`: the old one goes, for a handshake was
 * made with the new one. `cancel`: the new one goes, where none was.
 */
export type RotationStep = (typeof ROTATION_STEPS)[number];
export type Refusal = (typeof REFUSALS)[number];

const ROTATED_KEYS = ['psk', 'identity'] as const;
const ROTATION_STEPS = ['offer', 'use', 'settle', 'cancel'] as const;
/** In the order of their numbers on the wire: append only. */
const REFUSALS = [
  /** Another node has joined with this invite. */
  'used',
  'expired',
  'revoked',
  /** The clocks of the two are too far apart. */
  'clock',
  /** The name of the invite is that of a peer by now. */
  'name',
  /** It could not be written down: the operator over there can read why. */
  'failed',
  /** Another rotation is under way. */
  'busy',
  /** No handshake was made with the new key yet. */
  'unconfirmed',
  /** This is not the key that was offered. */
  'unknown',
  /** The public key is that of a peer, or of the node itself. */
  'key',
] as const;

const VERSION = 1;
const TYPES = { redeem: 1, rotate: 2, done: 128, refused: 129 } as const;
const HEADER_BYTES = 6;
const KEY_BYTES = 32;
/** Milliseconds since 1970 that a Date can hold. */
const LAST_CLOCK_MS = 8.64e15;

export interface Talk<T> {
  readonly number: number;
  readonly said: T;
}

export function encodeTalk({ number, said }: Talk<Question | Answer>): Uint8Array {
  switch (said.type) {
    case 'redeem':
      return message(TYPES.redeem, number, said.publicKey, u64(said.clockMs));
    case 'rotate': {
      const head = Uint8Array.of(ROTATED_KEYS.indexOf(said.what), ROTATION_STEPS.indexOf(said.step));
      return message(TYPES.rotate, number, head, said.key);
    }
    case 'done':
      return message(TYPES.done, number);
    case 'refused':
      return message(TYPES.refused, number, Uint8Array.of(REFUSALS.indexOf(said.reason)), u64(said.clockMs));
    default:
      return said satisfies never;
  }
}

/** null for what is none, of another version too. */
export function parseTalk(bytes: Uint8Array): Talk<Question | Answer> | null {
  if (bytes.length < HEADER_BYTES || bytes[0] !== VERSION) return null;
  const said = parseBody(bytes[1], bytes.subarray(HEADER_BYTES));
  return said && { number: view(bytes).getUint32(2, true), said };
}

export function isAnswer(said: Question | Answer): said is Answer {
  return said.type === 'done' || said.type === 'refused';
}

function parseBody(type: number | undefined, body: Uint8Array): Question | Answer | null {
  switch (type) {
    case TYPES.redeem: {
      const clockMs = body.length === KEY_BYTES + 8 ? readClock(body, KEY_BYTES) : null;
      return clockMs === null ? null : { type: 'redeem', publicKey: body.slice(0, KEY_BYTES), clockMs };
    }
    case TYPES.rotate: {
      const what = ROTATED_KEYS[body[0] ?? -1];
      const step = ROTATION_STEPS[body[1] ?? -1];
      if (body.length !== 2 + KEY_BYTES || what === undefined || step === undefined) return null;
      return { type: 'rotate', what, step, key: body.slice(2) };
    }
    case TYPES.done:
      return body.length === 0 ? { type: 'done' } : null;
    case TYPES.refused: {
      const reason = REFUSALS[body[0] ?? -1];
      const clockMs = body.length === 9 ? readClock(body, 1) : null;
      return reason === undefined || clockMs === null ? null : { type: 'refused', reason, clockMs };
    }
    default:
      return null;
  }
}

function message(type: number, number: number, ...body: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.reduce((sum, part) => sum + part.length, 0));
  bytes[0] = VERSION;
  bytes[1] = type;
  view(bytes).setUint32(2, number, true);
  let at = HEADER_BYTES;
  for (const part of body) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function u64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  view(bytes).setBigUint64(0, BigInt(Math.trunc(value)), true);
  return bytes;
}

function readClock(bytes: Uint8Array, at: number): number | null {
  const clockMs = Number(view(bytes).getBigUint64(at, true));
  return clockMs <= LAST_CLOCK_MS ? clockMs : null;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
