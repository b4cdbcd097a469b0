// A lane as the tests need it: one TUN, two UDP sockets, an event, and a plain ArrayBuffer that holds the four columns
// and a slot for every entry. Stands in for the core, which lays these out in wasm memory.
import {
  BatchIo,
  closeDescriptor,
  DATAGRAM_ENTRY_BYTES,
  FRAME_ENTRY_BYTES,
  openEvent,
  openTun,
  openUdp,
} from '../../index.ts';
import { requireTestNamespace } from './namespace.ts';

export interface Datagram {
  family: 4 | 6;
  remote: string;
  port: number;
  payload: Uint8Array;
  local?: string;
  scope?: number;
  /** Bytes of each datagram of a train; 0 = one datagram. */
  segment?: number;
}

export interface Received extends Required<Datagram> {
  status: number;
}

export interface TestLaneOptions {
  slots?: number;
  slotBytes?: number;
  sendBufferBytes?: number;
  /** Trains may come. */
  gro?: boolean;
}

export class TestLane {
  readonly name: string;
  readonly tun: number;
  readonly udp4: number;
  readonly udp6: number;
  readonly port4: number;
  readonly port6: number;
  readonly event: number;
  readonly io: BatchIo;
  readonly slots: number;
  readonly memory: ArrayBuffer;
  readonly column: { receive: number; send: number; read: number; write: number };
  readonly #slotBytes: number;

  constructor({ slots = 64, slotBytes = 2048, sendBufferBytes, gro = false }: TestLaneOptions = {}) {
    requireTestNamespace();
    const tun = openTun({ name: 'lane%d', exclusive: true });
    const udp4 = openUdp({
      family: 4,
      port: 0,
      receiveBufferBytes: 4 << 20,
      gro,
      ...(sendBufferBytes && { sendBufferBytes }),
    });
    const udp6 = openUdp({ family: 6, port: 0, receiveBufferBytes: 4 << 20, gro });
    this.name = tun.name;
    this.tun = tun.fd;
    this.udp4 = udp4.fd;
    this.udp6 = udp6.fd;
    this.port4 = udp4.port;
    this.port6 = udp6.port;
    this.event = openEvent();
    this.slots = slots;
    this.#slotBytes = slotBytes;

    const receive = 8; // not 0, so that a column taken for absent would show
    const send = receive + slots * DATAGRAM_ENTRY_BYTES;
    const read = send + slots * DATAGRAM_ENTRY_BYTES;
    const write = read + slots * FRAME_ENTRY_BYTES;
    const payloads = write + slots * FRAME_ENTRY_BYTES;
    this.column = { receive, send, read, write };
    this.memory = new ArrayBuffer(payloads + 4 * slots * slotBytes);
    const view = new DataView(this.memory);
    const columns = [
      [receive, DATAGRAM_ENTRY_BYTES],
      [send, DATAGRAM_ENTRY_BYTES],
      [read, FRAME_ENTRY_BYTES],
      [write, FRAME_ENTRY_BYTES],
    ] as const;
    for (const [which, [column, bytes]] of columns.entries()) {
      for (let index = 0; index < slots; index++) {
        view.setUint32(column + index * bytes, payloads + (which * slots + index) * slotBytes, true);
        // In the write column this field says whether the next entry goes on with the same frame.
        view.setUint32(column + index * bytes + 8, column === write ? 0 : slotBytes, true);
      }
    }
    this.io = new BatchIo({
      tun: this.tun,
      udp4: this.udp4,
      udp6: this.udp6,
      event: this.event,
      receiveColumn: receive,
      receiveSlots: slots,
      sendColumn: send,
      sendSlots: slots,
      readColumn: read,
      readSlots: slots,
      writeColumn: write,
      writeSlots: slots,
    });
  }

  close(): void {
    this.io.close();
    for (const fd of [this.tun, this.udp4, this.udp6, this.event]) closeDescriptor(fd);
  }

  /** Where entry `index` of the send column lies. */
  sendEntry(index: number): number {
    return this.column.send + index * DATAGRAM_ENTRY_BYTES;
  }

  /** Puts datagrams into the send column and sends them. Returns what sendUdp returned. */
  send(...datagrams: Datagram[]): number {
    for (const [index, datagram] of datagrams.entries()) {
      const view = new DataView(this.memory, this.sendEntry(index), DATAGRAM_ENTRY_BYTES);
      const offset = view.getUint32(0, true);
      if (datagram.payload.length > this.#slotBytes) throw new Error('the payload does not fit its slot');
      new Uint8Array(this.memory).set(datagram.payload, offset);
      view.setUint32(4, datagram.payload.length, true);
      view.setInt32(12, -9999, true); // must be overwritten
      view.setUint32(16, 0xabcd0000 + index, true);
      view.setUint32(20, datagram.segment ?? 0, true);
      view.setUint16(24, datagram.family, true);
      view.setUint16(26, datagram.port, true);
      view.setUint32(28, datagram.scope ?? 0, true);
      writeAddress(new Uint8Array(this.memory, this.sendEntry(index) + 32, 16), datagram.remote);
      writeAddress(new Uint8Array(this.memory, this.sendEntry(index) + 48, 16), datagram.local ?? '');
    }
    return this.io.sendUdp(this.memory, datagrams.length);
  }

  sendStatus(index: number): number {
    return new DataView(this.memory).getInt32(this.sendEntry(index) + 12, true);
  }

  /** The first `count` entries of the receive column. */
  received(count: number): Received[] {
    return Array.from({ length: count }, (_, index) => {
      const at = this.column.receive + index * DATAGRAM_ENTRY_BYTES;
      const view = new DataView(this.memory, at, DATAGRAM_ENTRY_BYTES);
      const family = view.getUint16(24, true) === 4 ? 4 : 6;
      return {
        family,
        remote: readAddress(new Uint8Array(this.memory, at + 32, 16), family),
        local: readAddress(new Uint8Array(this.memory, at + 48, 16), family),
        port: view.getUint16(26, true),
        scope: view.getUint32(28, true),
        status: view.getInt32(12, true),
        segment: view.getUint32(20, true),
        payload: new Uint8Array(
          this.memory.slice(view.getUint32(0, true), view.getUint32(0, true) + view.getUint32(4, true)),
        ),
      };
    });
  }

  /** Receives until `count` datagrams are there; throws if they are not within 5 s. */
  receive(count: number): Received[] {
    const all: Received[] = [];
    const deadline = performance.now() + 5000;
    while (all.length < count) {
      if (performance.now() > deadline) throw new Error(`${all.length} of ${count} datagrams came`);
      const bits = this.io.wait(100);
      if (bits < 0) throw new Error(`wait returned ${bits}`);
      const filled = this.io.receiveUdp(this.memory, bits);
      if (filled < 0) throw new Error(`receiveUdp returned ${filled}`);
      all.push(...this.received(filled));
    }
    return all;
  }

  /** Puts frames into the write column and writes them. Returns what writeTun returned. */
  write(...frames: Uint8Array[]): number {
    const view = new DataView(this.memory);
    for (const [index, frame] of frames.entries()) {
      const at = this.column.write + index * FRAME_ENTRY_BYTES;
      new Uint8Array(this.memory).set(frame, view.getUint32(at, true));
      view.setUint32(at + 4, frame.length, true);
      view.setInt32(at + 12, -9999, true);
    }
    return this.io.writeTun(this.memory, frames.length);
  }

  /** Writes one frame whose bytes lie in several entries. */
  writePieces(...pieces: Uint8Array[]): number {
    const view = new DataView(this.memory);
    for (const index of pieces.keys()) {
      const isLast = index === pieces.length - 1;
      view.setUint32(this.column.write + index * FRAME_ENTRY_BYTES + 8, isLast ? 0 : 1, true);
    }
    return this.write(...pieces);
  }

  writeStatus(index: number): number {
    return new DataView(this.memory).getInt32(this.column.write + index * FRAME_ENTRY_BYTES + 12, true);
  }

  /** Copies of the first `count` frames of the read column. */
  framesRead(count: number): Uint8Array[] {
    const view = new DataView(this.memory);
    return Array.from({ length: count }, (_, index) => {
      const at = this.column.read + index * FRAME_ENTRY_BYTES;
      const offset = view.getUint32(at, true);
      return new Uint8Array(this.memory.slice(offset, offset + view.getUint32(at + 4, true)));
    });
  }
}

/** Bytes that differ for each seed, so that a mixed-up slot shows. */
export function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + seed * 31) & 0xff);
}

function writeAddress(bytes: Uint8Array, text: string): void {
  bytes.fill(0);
  if (text === '') return;
  if (text.includes('.')) {
    bytes.set(text.split('.').map(Number));
    return;
  }
  const [head = '', tail = ''] = text.split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === '' ? [] : tail.split(':');
  const groups = [...front, ...Array<string>(8 - front.length - back.length).fill('0'), ...back];
  for (const [index, group] of groups.entries()) {
    bytes[index * 2] = Number.parseInt(group, 16) >> 8;
    bytes[index * 2 + 1] = Number.parseInt(group, 16) & 0xff;
  }
}

/** The way the tests write addresses: zero groups are left out only where they lead, as in `::1`. */
function readAddress(bytes: Uint8Array, family: 4 | 6): string {
  if (family === 4) {
    if (bytes.subarray(4).some((byte) => byte !== 0))
      throw new Error('bytes behind an IPv4 address are not 0');
    return bytes.subarray(0, 4).join('.');
  }
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)).toString(16),
  );
  return groups.join(':').replace(/^0(:0)+:/, '::');
}
