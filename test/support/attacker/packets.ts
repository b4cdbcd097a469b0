// Inner packets, byte by byte: what an attacker seals. Checksums are right unless a test spoils them.

import { isIPv6 } from 'node:net';
import { parseIp } from '../../../src/address/ip.ts';

const ICMP = 1;
const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;

/** The 4 or 16 bytes of an address; 16 for an IPv4-mapped one too, as a header carries it. */
export function addressBytes(text: string): Uint8Array {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.problem}`);
  const { version, bytes } = parsed.value;
  const isMapped = version === 4 && text.includes(':');
  return isMapped ? Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...bytes) : bytes;
}

/** Internet checksum, RFC 1071. */
export function checksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  const bytes = Buffer.concat(parts);
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function ipPacket(from: string, to: string, protocol: number, payload: Uint8Array): Buffer<ArrayBuffer> {
  const [source, destination] = [addressBytes(from), addressBytes(to)];
  const header = Buffer.alloc(isIPv6(to) ? 40 : 20);
  if (header.length === 40) {
    header.writeUInt32BE(0x6000_0000, 0);
    header.writeUInt16BE(payload.length, 4);
    header.set([protocol, 64], 6);
    header.set(source, 8);
    header.set(destination, 24);
  } else {
    header.set([0x45, 0]);
    header.writeUInt16BE(20 + payload.length, 2);
    header.set([64, protocol], 8);
    header.set(source, 12);
    header.set(destination, 16);
    header.writeUInt16BE(checksum(header), 10);
  }
  return Buffer.concat([header, payload]);
}

/** The pseudo-header of RFC 8200 §8.1, or of RFC 768. */
function pseudoHeader(from: string, to: string, protocol: number, length: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(protocol, 4);
  return Buffer.concat([addressBytes(from), addressBytes(to), bytes]);
}

export type Echo = { readonly id: number; readonly sequence: number };

/** An ICMP echo request, of the family of `to`. */
export function echoRequest(
  from: string,
  to: string,
  { id, sequence }: Echo,
  dataBytes = 16,
): Buffer<ArrayBuffer> {
  const payload = Buffer.alloc(8 + dataBytes, 0xa5);
  payload.fill(0, 0, 8);
  payload[0] = isIPv6(to) ? 128 : 8;
  payload.writeUInt16BE(id, 4);
  payload.writeUInt16BE(sequence, 6);
  const protocol = isIPv6(to) ? ICMPV6 : ICMP;
  const pseudo = isIPv6(to) ? pseudoHeader(from, to, protocol, payload.length) : Buffer.alloc(0);
  payload.writeUInt16BE(checksum(pseudo, payload), 2);
  return ipPacket(from, to, protocol, payload);
}

/** A UDP datagram. */
export function udpPacket(
  from: string,
  to: string,
  { sport, dport }: { sport: number; dport: number },
  data: Uint8Array,
): Buffer<ArrayBuffer> {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(sport, 0);
  header.writeUInt16BE(dport, 2);
  header.writeUInt16BE(8 + data.length, 4);
  header.writeUInt16BE(checksum(pseudoHeader(from, to, UDP, 8 + data.length), header, data) || 0xffff, 6);
  return ipPacket(from, to, UDP, Buffer.concat([header, data]));
}

/** The first segment of a connection. */
export function synPacket(
  from: string,
  to: string,
  { sport, dport }: { sport: number; dport: number },
): Buffer<ArrayBuffer> {
  const segment = Buffer.alloc(20);
  segment.writeUInt16BE(sport, 0);
  segment.writeUInt16BE(dport, 2);
  segment.set([5 << 4, 0x02, 0xff, 0xff], 12);
  segment.writeUInt16BE(checksum(pseudoHeader(from, to, TCP, segment.length), segment), 16);
  return ipPacket(from, to, TCP, segment);
}

/** Numbers of IPv6 extension headers. */
export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const DESTINATION_OPTIONS = 60;
const FRAGMENT = 44;
const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;

/** An IPv6 packet with these extension headers before its payload, of eight bytes each; options hold padding only. RFC 8200 §4. */
export function withExtensions(packet: Uint8Array, kinds: readonly number[]): Buffer<ArrayBuffer> {
  const header = Buffer.from(packet.subarray(0, IPV6_HEADER_BYTES));
  const chain = [...kinds, header[6] ?? 0];
  const extensions = kinds.map((kind, i) => {
    const padding = kind === ROUTING ? [0, 0, 0, 0, 0, 0] : [1, 4, 0, 0, 0, 0];
    return Uint8Array.of(chain[i + 1] ?? 0, 0, ...padding);
  });
  return joined(header, chain[0] ?? 0, Buffer.concat([...extensions, packet.subarray(IPV6_HEADER_BYTES)]));
}

/** A packet in pieces that begin at these bytes of its payload: multiples of eight, the first 0. RFC 791 §3.2, RFC 8200 §4.5. */
export function piecesOf(packet: Uint8Array, id: number, starts: readonly number[]): Buffer<ArrayBuffer>[] {
  const isV4 = (packet[0] ?? 0) >> 4 === 4;
  const header = Buffer.from(packet.subarray(0, isV4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES));
  const payload = packet.subarray(header.length);
  return starts.map((start, i) => {
    const end = starts[i + 1];
    const place = { id, start, isLast: end === undefined };
    const bytes = payload.subarray(start, end);
    return isV4 ? pieceOfIpv4(header, place, bytes) : pieceOfIpv6(header, place, bytes);
  });
}

type PlaceOfPiece = { readonly id: number; readonly start: number; readonly isLast: boolean };

function pieceOfIpv4(header: Buffer, { id, start, isLast }: PlaceOfPiece, payload: Uint8Array) {
  const own = Buffer.from(header);
  own.writeUInt16BE(header.length + payload.length, 2);
  own.writeUInt16BE(id, 4);
  own.writeUInt16BE(start / 8 + (isLast ? 0 : 0x2000), 6);
  own.writeUInt16BE(0, 10);
  own.writeUInt16BE(checksum(own), 10);
  return Buffer.concat([own, payload]);
}

function pieceOfIpv6(header: Buffer, { id, start, isLast }: PlaceOfPiece, payload: Uint8Array) {
  const fragment = Buffer.alloc(8);
  fragment[0] = header[6] ?? 0;
  fragment.writeUInt16BE(start | (isLast ? 0 : 1), 2);
  fragment.writeUInt32BE(id, 4);
  return joined(header, FRAGMENT, Buffer.concat([fragment, payload]));
}

/** Of a piece, or of a whole packet: which bytes of the payload it has, and whether more follow. */
export function placeOf(packet: Uint8Array): {
  readonly start: number;
  readonly end: number;
  readonly isLast: boolean;
} {
  const bytes = Buffer.from(packet);
  if ((bytes[0] ?? 0) >> 4 === 4) {
    const field = bytes.readUInt16BE(6);
    const start = (field & 0x1fff) * 8;
    return { start, end: start + bytes.readUInt16BE(2) - IPV4_HEADER_BYTES, isLast: (field & 0x2000) === 0 };
  }
  const length = bytes.readUInt16BE(4);
  if (bytes[6] !== FRAGMENT) return { start: 0, end: length, isLast: true };
  const field = bytes.readUInt16BE(IPV6_HEADER_BYTES + 2);
  const start = field & ~7;
  return { start, end: start + length - 8, isLast: (field & 1) === 0 };
}

function joined(header: Buffer, next: number, payload: Uint8Array): Buffer<ArrayBuffer> {
  const own = Buffer.from(header);
  own.writeUInt16BE(payload.length, 4);
  own[6] = next;
  return Buffer.concat([own, payload]);
}

/** What an opened transport message says if it is an ICMP echo reply. */
export function echoReply(packet: Uint8Array): Echo | undefined {
  const bytes = Buffer.from(packet);
  const version = (bytes[0] ?? 0) >> 4;
  const at = version === 4 ? 20 : 40;
  const isReply =
    version === 4 ? bytes[9] === ICMP && bytes[at] === 0 : bytes[6] === ICMPV6 && bytes[at] === 129;
  if (bytes.length < at + 8 || !isReply) return undefined;
  return { id: bytes.readUInt16BE(at + 4), sequence: bytes.readUInt16BE(at + 6) };
}
