// Two cores that are connected in memory, and what native/ would do between them: filling slots, carrying messages across.
// The layout of the columns is in docs/architecture.md. Measures nothing.

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { Core, compile } from 'wireguard-wasm';

const DATAGRAM_BYTES = 64;
const FRAME_BYTES = 16;
/** Fields of an entry of either column. */
const [OFFSET, LENGTH, SEGMENT, FAMILY, PORT, REMOTE] = [0, 4, 20, 24, 26, 32];
const LOOPBACK = 0x0100007f;
const MTU = 1420;
/** One for all: V8 compiles it in the background as it runs, and a new one would begin again. */
const MODULE = compile();
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** Overlay addresses: of the sender, of the receiver, of a peer that nobody knows where to find, and of no peer. */
export const OVERLAY = { left: '10.9.0.1', right: '10.9.0.2', lost: '10.9.0.3', nobody: '10.9.0.4' } as const;

export class CorePair {
  readonly left: Core;
  readonly right: Core;
  #nowMs = 1_000;

  /** Shakes hands. `trains`: the sender's messages lie in trains, as `UDP_SEGMENT` takes them. */
  constructor(trains: boolean) {
    const [left, right] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    const core = (): Core => new Core(MODULE, { log: (text) => process.stderr.write(text) }, this.#nowMs);
    [this.left, this.right] = [core(), core()];
    this.left.setIdentity(left);
    this.right.setIdentity(right);
    for (const one of [this.left, this.right]) one.setMtu(MTU);
    this.left.setOffloads({ trains, tcp: true, udp: true });
    const endpoint = { address: Uint8Array.of(127, 0, 0, 1), port: 5 };
    const settings = { persistentKeepaliveSeconds: 0 };
    const there = this.left.addPeer({ ...settings, publicKey: publicKeyOf(right), endpoint });
    this.left.allow(there, octets(OVERLAY.right), 32);
    const lost = this.left.addPeer({ ...settings, publicKey: publicKeyOf(new Uint8Array(32).fill(3)) });
    this.left.allow(lost, octets(OVERLAY.lost), 32);
    const back = this.right.addPeer({ ...settings, publicKey: publicKeyOf(left), endpoint });
    this.right.allow(back, octets(OVERLAY.left), 32);
    this.#connect();
  }

  /** Initiation, response, and the packet that waited for them. */
  #connect(): void {
    this.fill([{ header: vnetHeader('udp', 0), packet: udpPacket(OVERLAY.right, 64) }]);
    this.carry(this.left, this.left.outbound(1), this.right);
    this.right.inbound(1);
    this.carry(this.right, this.right.handshakes(), this.left);
    this.left.inbound(1);
    this.carry(this.left, this.left.handshakes(), this.right);
    if (this.right.inbound(1) !== 1) throw new Error('the two cores did not connect');
  }

  /** Puts frames into the sender's read slots. */
  fill(frames: readonly { readonly header: Uint8Array; readonly packet: Uint8Array }[]): void {
    const view = new DataView(this.left.memory.buffer);
    for (const [slot, { header, packet }] of frames.entries()) {
      const entry = this.left.layout.readColumn + slot * FRAME_BYTES;
      const bytes = new Uint8Array(view.buffer, view.getUint32(entry + OFFSET, true), 10 + packet.length);
      bytes.set(header);
      bytes.set(packet, header.length);
      view.setUint32(entry + LENGTH, bytes.length, true);
    }
  }

  /** Copies the first `count` messages or trains of one core's send column to the other's receive slots. */
  carry(from: Core, count: number, to: Core): void {
    const [source, target] = [new DataView(from.memory.buffer), new DataView(to.memory.buffer)];
    for (let slot = 0; slot < count; slot++) {
      const [sent, received] = [
        from.layout.sendColumn + slot * DATAGRAM_BYTES,
        to.layout.receiveColumn + slot * DATAGRAM_BYTES,
      ];
      const length = source.getUint32(sent + LENGTH, true);
      const bytes = new Uint8Array(source.buffer, source.getUint32(sent + OFFSET, true), length);
      new Uint8Array(target.buffer, target.getUint32(received + OFFSET, true), length).set(bytes);
      target.setUint32(received + LENGTH, length, true);
      target.setUint32(received + SEGMENT, source.getUint32(sent + SEGMENT, true), true);
      target.setUint16(received + FAMILY, 4, true);
      target.setUint16(received + PORT, 5, true);
      target.setUint32(received + REMOTE, LOOPBACK, true);
    }
  }

  /** Bends the receiver index of every message in the first `count` receive slots, so that nobody answers to it. */
  misaddress(count: number): void {
    const view = new DataView(this.right.memory.buffer);
    for (let slot = 0; slot < count; slot++) {
      const entry = this.right.layout.receiveColumn + slot * DATAGRAM_BYTES;
      const [start, length] = [view.getUint32(entry + OFFSET, true), view.getUint32(entry + LENGTH, true)];
      const segment = view.getUint32(entry + SEGMENT, true) || length;
      for (let at = 0; at < length; at += segment) {
        view.setUint32(start + at + 4, ~view.getUint32(start + at + 4, true), true);
      }
    }
  }
}

export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const der = Buffer.concat([PKCS8_HEAD, privateKey]);
  const key = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
  return Uint8Array.from(key.export({ format: 'der', type: 'spki' }).subarray(-32));
}

function octets(address: string): Uint8Array {
  return Uint8Array.from(address.split('.'), Number);
}

/** An IPv4 header without its checksum, which the core does not ask for on the way out, and room for the rest. */
function ipv4(destination: string, length: number, protocol: number): Uint8Array {
  const packet = new Uint8Array(length);
  packet.set([0x45, 0, length >> 8, length & 0xff, 0, 1, 0x40, 0, 64, protocol]);
  packet.set(octets(OVERLAY.left), 12);
  packet.set(octets(destination), 16);
  const sum = Array.from(
    { length: 10 },
    (_, word) => ((packet[word * 2] ?? 0) << 8) | (packet[word * 2 + 1] ?? 0),
  );
  const folded = sum.reduce((total, word) => total + word, 0);
  const checksum = ~((folded & 0xffff) + (folded >>> 16)) & 0xffff;
  packet.set([checksum >> 8, checksum & 0xff], 10);
  return packet;
}

/** A UDP packet of `length` bytes, of the `index`th flow. */
export function udpPacket(destination: string, length: number, index = 0): Uint8Array {
  const packet = ipv4(destination, length, 17);
  packet.set([0x9c, 0x40 + index, 0x01, 0xbb, (length - 20) >> 8, (length - 20) & 0xff], 20);
  return packet;
}

/** A TCP segment, or superpacket, of `length` bytes, the `index`th of its stream. */
export function tcpPacket(destination: string, length: number, index: number): Uint8Array {
  const packet = ipv4(destination, length, 6);
  packet.set([0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x10, 0x20, 0], 20);
  new DataView(packet.buffer).setUint32(24, index * (length - 40));
  for (let at = 40; at < length; at++) packet[at] = (at * 31) & 0xff;
  return packet;
}

/** struct virtio_net_hdr of a packet whose checksum is left to whoever sends it, as TUN devices with offloads have them. */
export function vnetHeader(protocol: 'tcp' | 'udp', segmentPayload: number): Uint8Array {
  const header = new Uint8Array(10);
  const view = new DataView(header.buffer);
  const [headerBytes, checksumOffset] = protocol === 'tcp' ? [40, 16] : [28, 6];
  header.set([1, segmentPayload > 0 ? 1 : 0]); // needs a checksum; GSO_TCPV4
  view.setUint16(2, headerBytes, true);
  view.setUint16(4, segmentPayload, true);
  view.setUint16(6, 20, true);
  view.setUint16(8, checksumOffset, true);
  return header;
}
