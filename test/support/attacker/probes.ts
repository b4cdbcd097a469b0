// A program, run in a namespace: transport messages sealed ahead, then sent in trains as fast as asked, so that sealing takes
// nothing from the node that opens them. A line of JSON on standard input says what (`Probes`); `{"sealed"}` answers. Each
// further line is a number: so many are sent, and `{"sent"}` answers, with how many have been in all.

import { createCipheriv } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { BatchIo, DATAGRAM_ENTRY_BYTES, openEvent, openUdp } from 'node-tuntap2';

export type Probes = {
  /** In base64: the key, and packets of one length, which take turns; the length is a multiple of 16. */
  readonly key: string;
  readonly packets: readonly string[];
  /** A multiple of 64. */
  readonly count: number;
  readonly perSecond: number;
  /** Of the session, at the other end, and the first counter. */
  readonly receiver: number;
  readonly counter: number;
  /** An IPv4 address. */
  readonly address: string;
  readonly port: number;
};

const HEADER_BYTES = 16;
const TAG_BYTES = 16;
/** What the kernel takes as one send. */
const TRAIN = 64;
const SLOTS = 64;
const COLUMN_BYTES = SLOTS * DATAGRAM_ENTRY_BYTES;

function report(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** All messages, one behind the other, from `at` on. */
function seal(memory: Buffer, at: number, { key, packets, count, receiver, counter }: Probes): void {
  const secret = Buffer.from(key, 'base64');
  const plain = packets.map((packet) => Buffer.from(packet, 'base64'));
  const nonce = Buffer.alloc(12);
  let next = at;
  for (let i = 0; i < count; i++) {
    memory.writeUInt32LE(4, next);
    memory.writeUInt32LE(receiver, next + 4);
    memory.writeBigUInt64LE(BigInt(counter + i), next + 8);
    memory.copy(nonce, 4, next + 8, next + HEADER_BYTES);
    const cipher = createCipheriv('chacha20-poly1305', secret, nonce, { authTagLength: TAG_BYTES });
    next += HEADER_BYTES;
    next += cipher.update(plain[i % plain.length] ?? nonce).copy(memory, next);
    cipher.final();
    next += cipher.getAuthTag().copy(memory, next);
  }
}

/** Trains that lie behind each other in memory, and the one column that they are sent by. */
class Trains {
  readonly #memory: ArrayBuffer;
  readonly #view: DataView;
  readonly #trainBytes: number;
  readonly #io: BatchIo;
  readonly total: number;
  sent = 0;

  constructor(probes: Probes) {
    const messageBytes = HEADER_BYTES + Buffer.from(probes.packets[0] ?? '', 'base64').length + TAG_BYTES;
    this.total = probes.count / TRAIN;
    this.#trainBytes = TRAIN * messageBytes;
    this.#memory = new ArrayBuffer(COLUMN_BYTES + this.total * this.#trainBytes);
    this.#view = new DataView(this.#memory);
    seal(Buffer.from(this.#memory), COLUMN_BYTES, probes);
    for (let i = 0; i < SLOTS; i++) {
      const at = i * DATAGRAM_ENTRY_BYTES; // native/src/columns.h has the fields
      this.#view.setUint32(at + 4, this.#trainBytes, true);
      this.#view.setUint32(at + 20, messageBytes, true);
      this.#view.setUint16(at + 24, 4, true);
      this.#view.setUint16(at + 26, probes.port, true);
      for (const [j, byte] of probes.address.split('.').entries())
        this.#view.setUint8(at + 32 + j, Number(byte));
    }
    this.#io = new BatchIo({
      tun: openEvent(), // there is none, and nothing is waited for
      udp4: openUdp({ family: 4, port: 0 }).fd,
      event: openEvent(),
      ...{ receiveColumn: 0, receiveSlots: 1, readColumn: 0, readSlots: 1, writeColumn: 0, writeSlots: 1 },
      sendColumn: 0,
      sendSlots: SLOTS,
    });
  }

  send(most: number): void {
    const count = Math.min(most, SLOTS, this.total - this.sent);
    for (let i = 0; i < count; i++) {
      const offset = COLUMN_BYTES + (this.sent + i) * this.#trainBytes;
      this.#view.setUint32(i * DATAGRAM_ENTRY_BYTES, offset, true);
    }
    this.#io.sendUdp(this.#memory, count); // what finds no room is lost: what arrived is counted where it arrives
    this.sent += count;
  }
}

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const probes = JSON.parse((await input.next()).value ?? '') as Probes;
const trains = new Trains(probes);
report({ sealed: probes.count });
for (let line = await input.next(); line.done !== true; line = await input.next()) {
  const first = trains.sent;
  const last = Math.min(trains.total, first + Math.ceil(Number(line.value) / TRAIN));
  const startMs = performance.now();
  while (trains.sent < last) {
    const passed = (performance.now() - startMs) / 1_000;
    const due = first + Math.ceil((passed * probes.perSecond) / TRAIN);
    while (trains.sent < Math.min(due, last)) trains.send(Math.min(due, last) - trains.sent);
    await delay(1);
  }
  report({ sent: trains.sent * TRAIN });
}
process.exit();
