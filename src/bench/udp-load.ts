// Two programs of the UDP measurement, run in the namespaces by traffic.ts: a sender as fast as its socket lets it, and a sink
// that counts. Both move a batch per system call (sendmmsg, recvmmsg): with a call per datagram the sender, and not the tunnel,
// would be what is measured (docs/benchmark.md). Datagrams stay single: no trains, as most programs send and receive.

import { setImmediate } from 'node:timers/promises';
import { BatchIo, closeDescriptor, DATAGRAM_ENTRY_BYTES, openEvent, openUdp } from 'node-tuntap2';
import { parseIp } from '../address/ip.ts';

const BATCH = 64;
const SLOT_BYTES = 2048;
const RECEIVE_BUFFER_BYTES = 7 * 1024 * 1024;
/** The sink has seen the last datagram when none came for so long. */
const SILENCE_MS = 300;

export interface FloodReport {
  readonly sent: number;
}

export interface SinkReport {
  readonly received: number;
  /** From the first datagram to the last. */
  readonly seconds: number;
}

/** One UDP socket, and a column of datagrams behind each other: those to send, or those received. Twin: native/src/columns.h. */
class DatagramBatch {
  readonly #memory = new ArrayBuffer(BATCH * (DATAGRAM_ENTRY_BYTES + SLOT_BYTES));
  readonly #view = new DataView(this.#memory);
  readonly #udp = openUdp({ family: 4, port: 0, receiveBufferBytes: RECEIVE_BUFFER_BYTES });
  // A BatchIo waits for a TUN device and an event too; here neither is ever ready.
  readonly #events = [openEvent(), openEvent()] as const;
  readonly #io: BatchIo;

  constructor() {
    for (let index = 0; index < BATCH; index += 1) {
      const entry = index * DATAGRAM_ENTRY_BYTES;
      this.#view.setUint32(entry, BATCH * DATAGRAM_ENTRY_BYTES + index * SLOT_BYTES, true);
      this.#view.setUint32(entry + 8, SLOT_BYTES, true);
    }
    const column = { receiveColumn: 0, sendColumn: 0, readColumn: 0, writeColumn: 0 };
    const slots = { receiveSlots: BATCH, sendSlots: BATCH, readSlots: BATCH, writeSlots: BATCH };
    const [tun, event] = this.#events;
    this.#io = new BatchIo({ tun, event, udp4: this.#udp.fd, ...column, ...slots });
  }

  get port(): number {
    return this.#udp.port;
  }

  address(remote: Uint8Array, port: number, lengthBytes: number): void {
    for (let index = 0; index < BATCH; index += 1) {
      const entry = index * DATAGRAM_ENTRY_BYTES;
      this.#view.setUint32(entry + 4, lengthBytes, true);
      this.#view.setUint16(entry + 24, 4, true);
      this.#view.setUint16(entry + 26, port, true);
      new Uint8Array(this.#memory).set(remote, entry + 32);
    }
  }

  /** How many left. The call waits for room in the send buffer: a full tunnel slows the sender down as it would any other. */
  send(): number {
    return Math.max(0, this.#io.sendUdp(this.#memory, BATCH));
  }

  /** How many came, within `timeoutMs`. */
  receive(timeoutMs: number): number {
    return this.#io.wait(timeoutMs) > 0 ? Math.max(0, this.#io.receiveUdp(this.#memory)) : 0;
  }

  close(): void {
    this.#io.close();
    for (const fd of [this.#udp.fd, ...this.#events]) closeDescriptor(fd);
  }
}

/** Sends datagrams of `lengthBytes` to an IPv4 address and port for `seconds`. */
export async function flood(
  address: string,
  port: number,
  lengthBytes: number,
  seconds: number,
): Promise<FloodReport> {
  const remote = parseIp(address);
  if (!remote.ok || lengthBytes > SLOT_BYTES) throw new RangeError(`${lengthBytes} bytes to ${address}`);
  const batch = new DatagramBatch();
  batch.address(remote.value.bytes, port, lengthBytes);
  const end = performance.now() + seconds * 1000;
  let sent = 0;
  while (performance.now() < end) sent += batch.send();
  batch.close();
  return { sent };
}

/** Says its port by `listening`, counts until `stop` is aborted and the line is silent. */
export async function sink(listening: (port: number) => void, stop: AbortSignal): Promise<SinkReport> {
  const batch = new DatagramBatch();
  listening(batch.port);
  let received = 0;
  let firstMs = 0;
  let lastMs = 0;
  for (;;) {
    const count = batch.receive(SILENCE_MS);
    if (count > 0) {
      lastMs = performance.now();
      if (received === 0) firstMs = lastMs;
      received += count;
    } else if (stop.aborted) break;
    await setImmediate(); // signals are heard between two batches
  }
  batch.close();
  return { received, seconds: (lastMs - firstMs) / 1000 };
}
