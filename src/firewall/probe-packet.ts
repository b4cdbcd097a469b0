// The packet of a probe: a TCP SYN or a UDP datagram as any client would send it, with something of ours where neither NAT nor a
// firewall looks. Pure.
//
//   TCP   sequence number = run, acknowledgement number = index (a SYN has none, so nobody reads it)
//   UDP   payload = run, index
//
// A run is 32 random bits, known to nobody outside for the second that it lasts. Twin: render-probe.ts, which knows them by it.

import type { IpAddress } from '../address/ip.ts';
import type { Protocol } from '../policy/host.ts';

export interface ProbePacket {
  readonly source: IpAddress;
  /** Of the same version. */
  readonly destination: IpAddress;
  readonly protocol: Protocol;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** The IPv4 identification, or the IPv6 flow label: where probe-device.ts reads by which interface it is to come in. */
  readonly ingress: number;
  /** Of all probes of one run, 32 bits. */
  readonly run: number;
  /** Of this one among them. */
  readonly index: number;
}

const PROTOCOL_NUMBERS: Readonly<Record<Protocol, number>> = { tcp: 6, udp: 17 };
const HOP_LIMIT = 64;
/** A SYN without one, or with a tiny one, is what floods are made of, and some drop it. */
const MSS_OPTION = [2, 4, 1220 >> 8, 1220 & 0xff];
const WINDOW = 64_240;

/** IPv4 or IPv6 (RFC 791, RFC 8200) with TCP (RFC 9293) or UDP (RFC 768), all checksums right. */
export function encodeProbe(packet: ProbePacket): Uint8Array {
  const transport = packet.protocol === 'tcp' ? encodeSyn(packet) : encodeDatagram(packet);
  const header =
    packet.source.version === 4 ? encodeIp4(packet, transport.length) : encodeIp6(packet, transport.length);
  const sumAt = packet.protocol === 'tcp' ? 16 : 6;
  transport.writeUInt16BE(checksum(pseudoHeader(packet, transport.length), transport), sumAt);
  return Buffer.concat([header, transport]);
}

function encodeSyn({ sourcePort, destinationPort, run, index }: ProbePacket): Buffer {
  const bytes = Buffer.alloc(20 + MSS_OPTION.length);
  bytes.writeUInt16BE(sourcePort, 0);
  bytes.writeUInt16BE(destinationPort, 2);
  bytes.writeUInt32BE(run, 4);
  bytes.writeUInt32BE(index, 8);
  bytes[12] = (bytes.length / 4) << 4;
  bytes[13] = 0x02; // SYN
  bytes.writeUInt16BE(WINDOW, 14);
  bytes.set(MSS_OPTION, 20);
  return bytes;
}

function encodeDatagram({ sourcePort, destinationPort, run, index }: ProbePacket): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16BE(sourcePort, 0);
  bytes.writeUInt16BE(destinationPort, 2);
  bytes.writeUInt16BE(bytes.length, 4);
  bytes.writeUInt32BE(run, 8);
  bytes.writeUInt32BE(index, 12);
  return bytes;
}

function encodeIp4({ source, destination, protocol, ingress }: ProbePacket, length: number): Buffer {
  const bytes = Buffer.alloc(20);
  bytes[0] = 0x45;
  bytes.writeUInt16BE(bytes.length + length, 2);
  bytes.writeUInt16BE(ingress, 4);
  bytes[8] = HOP_LIMIT;
  bytes[9] = PROTOCOL_NUMBERS[protocol];
  bytes.set(source.bytes, 12);
  bytes.set(destination.bytes, 16);
  bytes.writeUInt16BE(checksum(bytes), 10);
  return bytes;
}

function encodeIp6({ source, destination, protocol, ingress }: ProbePacket, length: number): Buffer {
  const bytes = Buffer.alloc(40);
  bytes.writeUInt32BE(0x6000_0000 + ingress, 0);
  bytes.writeUInt16BE(length, 4);
  bytes[6] = PROTOCOL_NUMBERS[protocol];
  bytes[7] = HOP_LIMIT;
  bytes.set(source.bytes, 8);
  bytes.set(destination.bytes, 24);
  return bytes;
}

function pseudoHeader({ source, destination, protocol }: ProbePacket, length: number): Buffer {
  return Buffer.concat([
    source.bytes,
    destination.bytes,
    Buffer.from([0, PROTOCOL_NUMBERS[protocol], length >> 8, length & 0xff]),
  ]);
}

/** RFC 1071, over parts of even length. */
function checksum(...parts: readonly Buffer[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i += 2) sum += part.readUInt16BE(i);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
