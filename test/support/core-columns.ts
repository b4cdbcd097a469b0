// Plays the part of native/ against a core in one process: puts datagrams and frames into its slots, takes out what it
// queued. The layout is that of docs/architecture.md.

import { type Core, Core as CoreClass, compile } from 'wireguard-wasm';

const DATAGRAM_BYTES = 64;
const FRAME_BYTES = 16;
/** struct virtio_net_hdr, before each frame; all zero for a packet that is whole. */
const VNET_HEADER_BYTES = 10;
const START_MS = 1_000;

export interface Datagram {
  readonly payload: Uint8Array;
  /** Where it is sent to. */
  readonly address: string;
  readonly port: number;
}

/** A core on a clock that only the test moves, with its columns. */
export class CoreHarness {
  readonly core: Core;
  nowMs = START_MS;
  readonly panics: string[] = [];

  constructor(module = compile()) {
    this.core = new CoreClass(module, { log: (text) => this.panics.push(text) }, START_MS);
    this.core.setMtu(1420);
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.core.setTime(this.nowMs);
  }

  /** Hands frames to the core as the TUN device would; returns what leaves. */
  send(...frames: readonly Uint8Array[]): Datagram[] {
    for (const [slot, frame] of frames.entries()) {
      const withHeader = Uint8Array.of(...new Uint8Array(VNET_HEADER_BYTES), ...frame);
      this.#fill(this.core.layout.readColumn + slot * FRAME_BYTES, withHeader);
    }
    return this.#datagrams(this.core.outbound(frames.length));
  }

  /** Hands datagrams from 127.0.0.1:`port` to the core; returns the frames it lets through and what it answers. */
  receive(payloads: readonly Uint8Array[], port = 5): { frames: Uint8Array[]; replies: Datagram[] } {
    payloads.forEach((payload, slot) => {
      const entry = this.core.layout.receiveColumn + slot * DATAGRAM_BYTES;
      this.#fill(entry, payload);
      const view = this.#view();
      view.setUint16(entry + 24, 4, true);
      view.setUint16(entry + 26, port, true);
      view.setUint32(entry + 32, 0x0100007f, true);
    });
    const frames = this.#frames(this.core.inbound(payloads.length));
    const replies = this.#datagrams(this.core.replies());
    return { frames, replies: [...replies, ...this.handshakes()] };
  }

  /** Lets the core work on the handshakes that wait. */
  handshakes(): Datagram[] {
    const sent: Datagram[] = [];
    while (this.core.handshakesWaiting() > 0) sent.push(...this.#datagrams(this.core.handshakes()));
    return sent;
  }

  tick(): Datagram[] {
    return this.#datagrams(this.core.tick());
  }

  /** What leaves when the host says something to that of a peer. */
  say(peer: number, message: Uint8Array): Datagram[] {
    return this.#datagrams(this.core.say(peer, message));
  }

  #view(): DataView {
    return new DataView(this.core.memory.buffer);
  }

  #fill(entry: number, bytes: Uint8Array): void {
    const view = this.#view();
    new Uint8Array(this.core.memory.buffer, view.getUint32(entry, true), bytes.length).set(bytes);
    view.setUint32(entry + 4, bytes.length, true);
  }

  #payload(entry: number): Uint8Array {
    const view = this.#view();
    return new Uint8Array(
      this.core.memory.buffer,
      view.getUint32(entry, true),
      view.getUint32(entry + 4, true),
    ).slice();
  }

  #datagrams(count: number): Datagram[] {
    return Array.from({ length: count }, (_, index) => {
      const entry = this.core.layout.sendColumn + index * DATAGRAM_BYTES;
      const address = new Uint8Array(this.core.memory.buffer, entry + 32, 4).join('.');
      return { payload: this.#payload(entry), address, port: this.#view().getUint16(entry + 26, true) };
    });
  }

  #frames(count: number): Uint8Array[] {
    return Array.from({ length: count }, (_, index) =>
      this.#payload(this.core.layout.writeColumn + index * FRAME_BYTES).subarray(VNET_HEADER_BYTES),
    );
  }
}

/** An IPv4 packet of `length` bytes. */
export function ipv4Packet(source: string, destination: string, length: number): Uint8Array {
  const packet = new Uint8Array(length).fill(0xab);
  packet.set([0x45, 0, length >> 8, length & 0xff]);
  packet.set(source.split('.').map(Number), 12);
  packet.set(destination.split('.').map(Number), 16);
  return packet;
}
