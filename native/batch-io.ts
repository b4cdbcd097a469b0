// The packet path: batches between one memory and a TUN, two UDP sockets and an event. Calls return a count or a negative errno,
// and count what failed. Knows a memory and columns of entries in it, never what a packet holds. Twins: src/batch_io.cc (the
// calls), src/columns.h (the entries).

import { type AddonBatchIo, addon, type Exchange, errnoName, SystemCallError } from './addon.ts';
import { checkMemory, checkType, checkWhole, MAX_I32, MAX_U32 } from './checks.ts';

/** What {@link BatchIo.wait} reports, as bits. Twin: `ready` in src/poll.h. */
export const READY = { tun: 1, udp4: 2, udp6: 4, woken: 8, tunGone: 16, link: 32 } as const;

/**
 * What {@link BatchIo.exchange} reports, by index: {@link nowMs} when it had waited, the datagrams and frames it took in, and
 * how many of the messages it sent got the status {@link SENT_WITHOUT_LOCAL}. Twin: `report` in src/batch_io.h.
 */
export const REPORT = { nowMs: 0, datagrams: 1, frames: 2, stale: 3 } as const;

/** Bytes of an entry of the receive and send columns; src/columns.h has its fields. */
export const DATAGRAM_ENTRY_BYTES = 64;

/** Bytes of an entry of the read and write columns; src/columns.h has its fields. */
export const FRAME_ENTRY_BYTES = 16;

/** The status of a datagram that was sent, but only after its stale `local` address was dropped. */
export const SENT_WITHOUT_LOCAL = 1;

/** A counted failure of the packet path: `count` times since construction, `call` failed with `code`. */
export interface Fault {
  /** The system call: `recvmmsg`, `sendmmsg`, `read`, `write` or `epoll_wait`. */
  call: string;
  /** Such as `ENETUNREACH`. `recvmmsg` with `EMSGSIZE` is a datagram longer than its slot, which was dropped. */
  code: string;
  count: number;
}

/** The descriptors are borrowed, the columns are byte offsets into the memory that each call brings. */
export interface BatchIoOptions {
  tun: number;
  /**
   * Frames of the columns begin with ten bytes that those of the interface have not: zeros in, left behind out. For a TUN
   * without `vnetHeader` under an owner that expects it. Default false.
   */
  addsHeader?: boolean;
  udp4?: number | undefined;
  udp6?: number | undefined;
  event: number;
  receiveColumn: number;
  receiveSlots: number;
  sendColumn: number;
  sendSlots: number;
  readColumn: number;
  readSlots: number;
  writeColumn: number;
  writeSlots: number;
}

/** The TUN interface as `ip link` shows it. */
export interface Link {
  mtu: number;
  isUp: boolean;
  /** Whether {@link BatchIo.wait} tells when it changes. It does not in another namespace than this thread's. */
  isWatched: boolean;
}

const MAX_SLOTS = 65_536;

/**
 * Moves batches between one memory and a TUN, two UDP sockets and an event, with one native call per batch.
 *
 * Every call that takes `memory` takes the present `buffer` of a WebAssembly.Memory or any other ArrayBuffer, and
 * throws `ERR_INVALID_STATE` if it is detached, `ERR_OUT_OF_RANGE` if it does not hold the column or if `count` is not
 * from 0 to the slots.
 * What the kernel refuses is never thrown: the call returns a count or a negative errno, and {@link faults} counts it.
 * An entry that points outside the memory is such a fault, `EFAULT`. After {@link close} each call returns -EBADF.
 */
export class BatchIo {
  /** What the last {@link exchange} did, by the indices of {@link REPORT}. */
  readonly report: Float64Array = new Float64Array(Object.keys(REPORT).length);
  readonly #io: AddonBatchIo;
  readonly #exchange: Exchange;
  /** What {@link exchange} last found large enough. */
  #known: ArrayBuffer | undefined;
  readonly #sendSlots: number;
  readonly #writeSlots: number;
  /** Where each column ends, in bytes: what a memory must hold at least. */
  readonly #ends: { receive: number; send: number; read: number; write: number };

  /** @throws SystemCallError if a descriptor cannot be waited for: `EBADF`, `EPERM` */
  constructor(options: BatchIoOptions) {
    const all = {
      ...options,
      addsHeader: options.addsHeader ?? false,
      udp4: options.udp4 ?? -1,
      udp6: options.udp6 ?? -1,
    };
    checkType('addsHeader', all.addsHeader, 'boolean');
    checkWhole('tun', all.tun, 0, MAX_I32);
    if (options.udp4 !== undefined) checkWhole('udp4', options.udp4, 0, MAX_I32);
    if (options.udp6 !== undefined) checkWhole('udp6', options.udp6, 0, MAX_I32);
    checkWhole('event', all.event, 0, MAX_I32);
    for (const column of ['receiveColumn', 'sendColumn', 'readColumn', 'writeColumn'] as const) {
      checkWhole(column, all[column], 0, MAX_U32);
    }
    for (const slots of ['receiveSlots', 'sendSlots', 'readSlots', 'writeSlots'] as const) {
      checkWhole(slots, all[slots], 1, MAX_SLOTS);
    }
    this.#sendSlots = all.sendSlots;
    this.#writeSlots = all.writeSlots;
    this.#ends = {
      receive: all.receiveColumn + all.receiveSlots * DATAGRAM_ENTRY_BYTES,
      send: all.sendColumn + all.sendSlots * DATAGRAM_ENTRY_BYTES,
      read: all.readColumn + all.readSlots * FRAME_ENTRY_BYTES,
      write: all.writeColumn + all.writeSlots * FRAME_ENTRY_BYTES,
    };
    this.#io = new addon.BatchIo();
    const opened = this.#io.open({ ...all, report: this.report });
    if (typeof opened !== 'function') {
      const watched = `TUN ${all.tun}, UDP ${all.udp4} and ${all.udp6}, event ${all.event}`;
      throw new SystemCallError(`cannot wait for the descriptors ${watched}`, opened);
    }
    this.#exchange = opened;
  }

  /**
   * Blocks this thread until something is ready or the time is over. Fractions of a millisecond count; a negative
   * timeout is 0, `Infinity` waits for ever. A worker that is blocked here ends (`terminate`, `process.exit`) only once
   * it is woken or its time is over.
   * @returns the bits of {@link READY}, the event being taken back with `woken`; 0 when the time is over or a signal
   *   came; or a negative errno. `tunGone` stays: stop then, or the next wait returns at once.
   */
  wait(timeoutMs: number): number {
    checkType('timeoutMs', timeoutMs, 'number');
    return this.#io.wait(timeoutMs === Number.POSITIVE_INFINITY ? -1 : Math.max(0, timeoutMs));
  }

  /**
   * All that a turn of a loop asks of the system, in one call: {@link writeTun} for `frames` and {@link sendUdp} for
   * `messages`, if they are not 0; then {@link wait} until {@link nowMs} reaches `untilMs` (0 = look, do not wait); then
   * {@link receiveUdp} and {@link readTun} for whoever is ready. {@link report} has the time and the counts, which are 0 where
   * nothing came. For a packet in an idle tunnel finds its code out of the caches, and then each call costs microseconds.
   * @returns what `wait` does
   */
  exchange(memory: ArrayBuffer, frames: number, messages: number, untilMs: number): number {
    if (memory !== this.#known) {
      checkMemory(memory, Math.max(...Object.values(this.#ends)));
      this.#known = memory;
    }
    checkWhole('frames', frames, 0, this.#writeSlots);
    checkWhole('messages', messages, 0, this.#sendSlots);
    checkType('untilMs', untilMs, 'number');
    return this.#exchange(memory, frames, messages, untilMs);
  }

  /**
   * Fills the receive column from slot 0 with the datagrams of both sockets, or of those whose bits `ready` has, until
   * they are empty or all slots are used. The sockets take turns, so that a flood on one cannot starve the other.
   * Sets length, status 0, family, port, scope, remote and local; leaves offset, capacity and peer.
   * Datagrams longer than their slot are dropped.
   * @returns how many entries were filled, or a negative errno if that is why none was
   */
  receiveUdp(memory: ArrayBuffer, ready: number = READY.udp4 | READY.udp6): number {
    checkMemory(memory, this.#ends.receive);
    return this.#io.receiveUdp(memory, ready);
  }

  /**
   * Sends the first `count` entries of the send column in order. Sets `status` of each: 0, a negative errno, or
   * {@link SENT_WITHOUT_LOCAL} if the host no longer has its `local` address and the kernel chose another.
   * Waits at most 8 ms in all for room in the send buffers, then drops with `EAGAIN`.
   * @returns how many were sent
   */
  sendUdp(memory: ArrayBuffer, count: number): number {
    checkMemory(memory, this.#ends.send);
    checkWhole('count', count, 0, this.#sendSlots);
    return this.#io.sendUdp(memory, count);
  }

  /**
   * Takes other sockets in the place of the present ones, which stay open: their owner closes them. What they still hold
   * is not read.
   * @throws SystemCallError if a descriptor cannot be waited for: `EBADF`, `EPERM`
   */
  setSockets(udp4: number | undefined, udp6: number | undefined): void {
    if (udp4 !== undefined) checkWhole('udp4', udp4, 0, MAX_I32);
    if (udp6 !== undefined) checkWhole('udp6', udp6, 0, MAX_I32);
    const failure = this.#io.setSockets(udp4 ?? -1, udp6 ?? -1);
    if (failure !== undefined) throw new SystemCallError(`cannot wait for UDP ${udp4} and ${udp6}`, failure);
  }

  /**
   * The interface as it is now, also in another namespace than this thread's. Ask at first, and then whenever {@link wait}
   * says `link`, which it does until this is called; while it is not watched, now and then.
   * @returns undefined where the system does not tell, such as of a namespace that we may not enter
   */
  link(): Link | undefined {
    return this.#io.link();
  }

  /** False once the host refused a train for want of checksum offload: since then they leave datagram by datagram. */
  get gsoWorks(): boolean {
    return this.#io.gsoWorks();
  }

  /** How many entries of the last {@link sendUdp} got the status {@link SENT_WITHOUT_LOCAL}. */
  get lastStale(): number {
    return this.#io.lastStale();
  }

  /**
   * Reads frames into the read column from slot 0, until there is none or all slots are used. Sets length and status 0.
   * A frame longer than its slot is cut by the kernel with no sign of it: slots must hold the interface's MTU.
   * @returns how many were read, or a negative errno if that is why none was, such as -EBADFD once the interface is gone
   */
  readTun(memory: ArrayBuffer): number {
    checkMemory(memory, this.#ends.read);
    return this.#io.readTun(memory);
  }

  /**
   * Writes the first `count` frames of the write column. Sets `status` of each: 0 or a negative errno, such as -EIO
   * while the interface is down, -EINVAL for what is not IP.
   * @returns how many were written
   */
  writeTun(memory: ArrayBuffer, count: number): number {
    checkMemory(memory, this.#ends.write);
    checkWhole('count', count, 0, this.#writeSlots);
    return this.#io.writeTun(memory, count);
  }

  /** The failures since construction, by call and errno. */
  faults(): Fault[] {
    return this.#io.faults().map(({ call, errno, count }) => ({ call, code: errnoName(errno), count }));
  }

  /** Gives the epoll descriptor back; a second call does nothing. The borrowed descriptors stay open. */
  close(): void {
    this.#io.close();
  }
}
