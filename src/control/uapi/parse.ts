// The lines of a `set=1` → a DeviceChange. Pure: it knows no socket and no device, takes any bytes and never throws.
// Keys are read from the bytes of their line and never become a string, which could not be wiped.

import { parseEndpoint } from '../../address/endpoint.ts';
import { networkOf, packPrefix, parseInterface } from '../../address/prefix.ts';
import { decodeHex, wipe } from '../../config/key.ts';
import { type AllowedIpEdit, type DeviceChange, ERRNO, type Errno, type PeerEndpoint } from './change.ts';

/** No line is longer: the longest is a preshared key's, of 78 bytes, or the endpoint's with a zone. */
export const MOST_LINE_BYTES = 256;

const EQUALS = 0x3d;
const NEWLINE = 0x0a;
const CLEAR: AllowedIpEdit = { type: 'clear' };

/** The change while its lines come in. */
type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type OpenPeer = Mutable<Omit<DeviceChange['peers'][number], 'allowedIps'>> & {
  readonly allowedIps: AllowedIpEdit[];
};
type OpenChange = Mutable<Omit<DeviceChange, 'peers'>> & { readonly peers: OpenPeer[] };

/** Takes the lines of one request, between `set=1` and the blank line. */
export class SetParser {
  readonly #change: OpenChange = { peers: [] };
  #peer: OpenPeer | undefined;

  /** What the lines so far ask for. Of use once all are taken and each was fine. */
  get change(): DeviceChange {
    return this.#change;
  }

  /** Takes one line without its end, borrowed for the call. Anything but 0 ends the request: nothing of it is to be done. */
  take(line: Uint8Array): Errno {
    const equals = line.indexOf(EQUALS);
    if (equals < 0) return ERRNO.protocol;
    if (line.length > MOST_LINE_BYTES) return ERRNO.io;
    const key = textOf(line.subarray(0, equals));
    const value = line.subarray(equals + 1);
    if (key === 'public_key') return this.#startPeer(value);
    const isTaken = this.#peer === undefined ? this.#ofDevice(key, value) : ofPeer(this.#peer, key, value);
    return isTaken ? ERRNO.ok : ERRNO.invalid;
  }

  /** Overwrites the secrets among what was taken. */
  wipe(): void {
    wipeChange(this.#change);
  }

  #startPeer(value: Uint8Array): Errno {
    const publicKey = decodeHex(value);
    if (publicKey === null) return ERRNO.invalid;
    this.#peer = { publicKey, allowedIps: [] };
    this.#change.peers.push(this.#peer);
    return ERRNO.ok;
  }

  #ofDevice(key: string, value: Uint8Array): boolean {
    const change = this.#change;
    switch (key) {
      case 'private_key': {
        const privateKey = decodeHex(value);
        if (privateKey === null) return false;
        if (change.privateKey !== undefined) wipe(change.privateKey);
        change.privateKey = clamped(privateKey);
        return true;
      }
      case 'listen_port':
        return given(parseNumber(value, 0xffff), (port) => {
          change.listenPort = port;
        });
      case 'fwmark':
        return given(parseNumber(value, 0xffff_ffff), (mark) => {
          change.fwmark = mark;
        });
      case 'replace_peers':
        change.replacePeers = true;
        return isTrue(value);
      default:
        return false;
    }
  }
}

function ofPeer(peer: OpenPeer, key: string, value: Uint8Array): boolean {
  switch (key) {
    case 'remove':
      peer.remove = true;
      return isTrue(value);
    case 'update_only':
      peer.updateOnly = true;
      return isTrue(value);
    case 'preshared_key': {
      const presharedKey = decodeHex(value);
      if (presharedKey === null) return false;
      if (peer.presharedKey !== undefined) wipe(peer.presharedKey);
      peer.presharedKey = presharedKey;
      return true;
    }
    case 'endpoint':
      return given(parseLiteralEndpoint(textOf(value)), (endpoint) => {
        peer.endpoint = endpoint;
      });
    case 'persistent_keepalive_interval':
      return given(parseNumber(value, 0xffff), (seconds) => {
        peer.keepaliveSeconds = seconds;
      });
    case 'replace_allowed_ips':
      peer.allowedIps.push(CLEAR);
      return isTrue(value);
    case 'allowed_ip':
      return given(parseAllowedIp(textOf(value)), (edit) => {
        peer.allowedIps.push(edit);
      });
    case 'protocol_version':
      return textOf(value) === '1';
    default:
      return false;
  }
}

/** A whole request, as its bytes: the lines after `set=1`, up to the blank one or the end. */
export function parseSet(
  body: Uint8Array,
): { readonly ok: true; readonly change: DeviceChange } | { readonly ok: false; readonly errno: Errno } {
  const parser = new SetParser();
  for (let start = 0; start < body.length; ) {
    const newline = body.indexOf(NEWLINE, start);
    const end = newline < 0 ? body.length : newline;
    if (end === start) break;
    const errno = parser.take(body.subarray(start, end));
    if (errno !== ERRNO.ok) {
      parser.wipe();
      return { ok: false, errno };
    }
    start = end + 1;
  }
  return { ok: true, change: parser.change };
}

/** Overwrites the secrets of a change. */
export function wipeChange(change: DeviceChange): void {
  if (change.privateKey !== undefined) wipe(change.privateKey);
  for (const { presharedKey } of change.peers) if (presharedKey !== undefined) wipe(presharedKey);
}

/** What is not ASCII is no key or value that anybody knows, in whatever letters it shows. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function isTrue(value: Uint8Array): boolean {
  return textOf(value) === 'true';
}

function given<T>(value: T | null, take: (value: T) => void): boolean {
  if (value === null) return false;
  take(value);
  return true;
}

/** Decimal digits up to `most`; null for anything else. */
function parseNumber(value: Uint8Array, most: number): number | null {
  const text = textOf(value);
  if (!/^[0-9]+$/.test(text)) return null;
  const number = Number(text);
  return number <= most ? number : null;
}

/** As RFC 7748 §5 uses it anyway, so that one key has one text; zeros stay zeros. */
function clamped(privateKey: Uint8Array): Uint8Array {
  if (privateKey.every((byte) => byte === 0)) return privateKey;
  privateKey[0] = (privateKey[0] ?? 0) & 0b1111_1000;
  privateKey[31] = ((privateKey[31] ?? 0) & 0b0111_1111) | 0b0100_0000;
  return privateKey;
}

function parseLiteralEndpoint(text: string): PeerEndpoint | null {
  const parsed = parseEndpoint(text);
  if (!parsed.ok || parsed.value.kind === 'name') return null;
  const { address, zone, port } = parsed.value;
  return { address, zone, port };
}

/** `10.9.0.0/24`, or with a leading `-`: to be taken away. Bits beyond the length are cut off, as WireGuard does. */
function parseAllowedIp(text: string): AllowedIpEdit | null {
  const type = text.startsWith('-') ? 'remove' : 'add';
  const prefixText = type === 'remove' ? text.slice(1) : text;
  if (!prefixText.includes('/')) return null;
  const parsed = parseInterface(prefixText);
  return parsed.ok ? { type, prefix: packPrefix(networkOf(parsed.value)) } : null;
}
