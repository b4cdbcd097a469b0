// TUN devices, batched UDP, epoll and eventfd for Node.js on Linux: typed calls over the addon in src/.
// Set-up calls check their arguments here and throw; calls on the packet path return a count or a negative errno, and
// count what failed. Knows a memory and columns of entries in it, never what a packet holds. Twins: src/addon.cc,
// src/batch_io.cc (the calls), src/columns.h (the entries).
import { getSystemErrorMap, types } from 'node:util';
import { loadAddon } from './addon-file.ts';

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

/** A system call of a set-up step failed. Match on `code`; the message says what was attempted, and on what. */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError';
  /** Such as `EBUSY`. */
  readonly code: string;
  /** The negative errno. */
  readonly errno: number;
  /** Such as `bind` or `ioctl(TUNSETIFF)`. */
  readonly syscall: string;

  constructor(attempt: string, failure: Failure) {
    const code = errnoName(failure.errno);
    const meaning = getSystemErrorMap().get(failure.errno)?.[1] ?? 'unknown error';
    super(`${attempt}: ${failure.syscall} failed with ${code} (${meaning})`);
    this.code = code;
    this.errno = failure.errno;
    this.syscall = failure.syscall;
  }
}

/** A counted failure of the packet path: `count` times since construction, `call` failed with `code`. */
export interface Fault {
  /** The system call: `recvmmsg`, `sendmmsg`, `read`, `write` or `epoll_wait`. */
  call: string;
  /** Such as `ENETUNREACH`. `recvmmsg` with `EMSGSIZE` is a datagram longer than its slot, which was dropped. */
  code: string;
  count: number;
}

export interface TunOptions {
  /** 1 to 15 bytes, or empty: then the kernel chooses. `wg%d` takes the first free number. */
  name: string;
  /** Refuse (`EBUSY`) an interface that exists already, also one that nobody has open. */
  exclusive: boolean;
  /** Put ten bytes of virtio_net_hdr before each frame. Default false. */
  vnetHeader?: boolean;
  /**
   * With `vnetHeader`, where the kernel has it: TCP superpackets of up to 64 KiB both ways (TSO), checksums left to the
   * other side. Default true.
   */
  tcpOffload?: boolean;
  /** And UDP ones (USO). Default true. */
  udpOffload?: boolean;
}

export interface UdpOptions {
  family: 4 | 6;
  /** 0 = any free port. */
  port: number;
  /** Passes `net.core.rmem_max` with CAP_NET_ADMIN, and is capped by it without. */
  receiveBufferBytes?: number;
  /** Passes `net.core.wmem_max` with CAP_NET_ADMIN, and is capped by it without. */
  sendBufferBytes?: number;
  /** `SO_MARK`, an unsigned 32-bit number; needs CAP_NET_ADMIN. */
  mark?: number;
  /** Let the kernel join datagrams of one flow to trains (UDP_GRO). Default false. */
  gro?: boolean;
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

export interface OpenedTun {
  fd: number;
  /** What the kernel called the interface. */
  name: string;
  /** Whether ten bytes of virtio_net_hdr stand before each frame. */
  vnetHeader: boolean;
  /** Whether TCP superpackets pass. */
  tcpOffload: boolean;
  /** Whether UDP ones do, from Linux 6.2. */
  udpOffload: boolean;
}

export interface OpenedUdp {
  fd: number;
  /** The real port. */
  port: number;
  /** Whether datagrams may come as trains. */
  gro: boolean;
  /** Whether trains may be sent. */
  gso: boolean;
}

/** The TUN interface as `ip link` shows it. */
export interface Link {
  mtu: number;
  isUp: boolean;
  /** Whether {@link BatchIo.wait} tells when it changes. It does not in another namespace than this thread's. */
  isWatched: boolean;
}

interface Failure {
  errno: number;
  syscall: string;
}

/** The addon as src/addon.cc exports it: -1 stands for what is not given. */
interface Addon {
  openTun(
    name: string,
    exclusive: boolean,
    vnetHeader: boolean,
    tcpOffload: boolean,
    udpOffload: boolean,
  ): OpenedTun | Failure;
  adoptTun(fd: number, tcpOffload: boolean, udpOffload: boolean): OpenedTun | Failure;
  tunName(fd: number): string | Failure;
  openUdp(
    family: number,
    port: number,
    receiveBufferBytes: number,
    sendBufferBytes: number,
    mark: number,
    gro: boolean,
  ): OpenedUdp | Failure;
  setMark(fd: number, mark: number): undefined | Failure;
  setLinkMtu(fd: number, mtu: number): undefined | Failure;
  openEvent(): number | Failure;
  wake(fd: number): undefined | Failure;
  closeDescriptor(fd: number): undefined | Failure;
  adviseHugePages(memory: ArrayBuffer): boolean;
  sendUnixDatagram(address: string, text: string): undefined | Failure;
  nowMs(): number;
  BatchIo: new () => AddonBatchIo;
}

/** As {@link BatchIo.exchange}. A function and no method: for a method Node-API looks up the object, which costs as much. */
type Exchange = (memory: ArrayBuffer, frames: number, messages: number, untilMs: number) => number;

interface AddonBatchIo {
  open(options: Required<BatchIoOptions> & { report: Float64Array }): Exchange | Failure;
  wait(timeoutMs: number): number;
  receiveUdp(memory: ArrayBuffer, ready: number): number;
  sendUdp(memory: ArrayBuffer, count: number): number;
  readTun(memory: ArrayBuffer): number;
  writeTun(memory: ArrayBuffer, count: number): number;
  setSockets(udp4: number, udp6: number): undefined | Failure;
  link(): Link | undefined;
  lastStale(): number;
  gsoWorks(): boolean;
  faults(): { call: string; errno: number; count: number }[];
  close(): void;
}

const addon = loadAddon() as Addon;

const MAX_U16 = 0xffff;
const MAX_I32 = 0x7fffffff;
const MAX_U32 = 0xffffffff;
const MAX_SLOTS = 65_536;
/** IFNAMSIZ counts the terminating zero. */
const MAX_NAME_BYTES = 15;
/** `sun_path` counts a zero byte. */
const MAX_UNIX_ADDRESS_BYTES = 107;
/** Twin: kMaxDatagramTextBytes in src/addon.cc. */
const MAX_DATAGRAM_TEXT_BYTES = 4096;

/**
 * Opens a TUN interface, which is made if it does not exist: frames are bare IP packets, the descriptor is
 * non-blocking and close-on-exec. Needs CAP_NET_ADMIN, or an interface made for this user.
 * The descriptor belongs to this environment until {@link closeDescriptor} or the environment's end; the interface
 * goes with its last descriptor.
 * @returns the descriptor, and what the kernel called the interface
 * @throws SystemCallError `EBUSY` if someone has it open (or it exists, with `exclusive`), `EPERM`, `ENOENT` without
 *   /dev/net/tun, `EINVAL` for a name the kernel refuses
 */
export function openTun(options: TunOptions): OpenedTun {
  const { name, exclusive, vnetHeader = false, tcpOffload = true, udpOffload = true } = options;
  checkType('name', name, 'string');
  checkType('exclusive', exclusive, 'boolean');
  checkType('vnetHeader', vnetHeader, 'boolean');
  checkType('tcpOffload', tcpOffload, 'boolean');
  checkType('udpOffload', udpOffload, 'boolean');
  if (Buffer.byteLength(name) > MAX_NAME_BYTES || name.includes('\0')) {
    throw argumentError(
      RangeError,
      'ERR_INVALID_ARG_VALUE',
      `the interface name "${name}" is longer than ${MAX_NAME_BYTES} bytes, or holds a zero byte`,
    );
  }
  const opened = addon.openTun(name, exclusive, vnetHeader, tcpOffload, udpOffload);
  if ('errno' in opened) throw new SystemCallError(`cannot open the TUN interface "${name}"`, opened);
  return opened;
}

/**
 * Takes a descriptor that somebody has attached to a TUN interface, such as one passed on by another process. It belongs to
 * this environment from then on, as if {@link openTun} had opened it.
 * @throws SystemCallError `EINVAL` if its frames are no bare IP packets (TAP, or packet information before them), `ENOTTY`
 *   or `EBADFD` if it is no attached TUN, `EBADF`; it stays the caller's then
 */
export function adoptTun(
  fd: number,
  { tcpOffload = true, udpOffload = true }: Pick<TunOptions, 'tcpOffload' | 'udpOffload'> = {},
): OpenedTun {
  checkWhole('fd', fd, 0, MAX_I32);
  checkType('tcpOffload', tcpOffload, 'boolean');
  checkType('udpOffload', udpOffload, 'boolean');
  const opened = addon.adoptTun(fd, tcpOffload, udpOffload);
  if ('errno' in opened)
    throw new SystemCallError(`cannot take descriptor ${fd} for a TUN interface`, opened);
  return opened;
}

/**
 * The present name of the interface behind a TUN descriptor: it may have been renamed since it was opened.
 * @throws SystemCallError `ENOTTY` or `EINVAL` if it is no TUN, `EBADFD` if the interface is gone, `EBADF`
 */
export function tunName(fd: number): string {
  checkWhole('fd', fd, 0, MAX_I32);
  const name = addon.tunName(fd);
  if (typeof name !== 'string')
    throw new SystemCallError(`cannot name the interface of descriptor ${fd}`, name);
  return name;
}

/**
 * Opens a UDP socket bound to any address of one family (IPv6 takes IPv6 only), non-blocking and close-on-exec, that
 * tells the local address of each datagram. ICMP errors never show on it.
 * The descriptor belongs to this environment until {@link closeDescriptor} or the environment's end.
 * @returns the descriptor, and the real port
 * @throws SystemCallError `EADDRINUSE`, `EACCES`, `EPERM` (mark), `EAFNOSUPPORT` if the host has no IPv6
 */
export function openUdp(options: UdpOptions): OpenedUdp {
  const { family, port, receiveBufferBytes, sendBufferBytes, mark, gro = false } = options;
  if (family !== 4 && family !== 6) {
    throw argumentError(TypeError, 'ERR_INVALID_ARG_VALUE', `family is ${String(family)}, not 4 or 6`);
  }
  checkWhole('port', port, 0, MAX_U16);
  if (receiveBufferBytes !== undefined) checkWhole('receiveBufferBytes', receiveBufferBytes, 0, MAX_I32);
  if (sendBufferBytes !== undefined) checkWhole('sendBufferBytes', sendBufferBytes, 0, MAX_I32);
  if (mark !== undefined) checkWhole('mark', mark, 0, MAX_U32);
  checkType('gro', gro, 'boolean');
  const opened = addon.openUdp(
    family,
    port,
    receiveBufferBytes ?? -1,
    sendBufferBytes ?? -1,
    mark ?? -1,
    gro,
  );
  if ('errno' in opened)
    throw new SystemCallError(`cannot open UDP over IPv${family} on port ${port}`, opened);
  return opened;
}

/**
 * Marks all that a socket sends from now on (`SO_MARK`, an unsigned 32-bit number; 0 = no mark).
 * @throws SystemCallError `EPERM` without CAP_NET_ADMIN, `EBADF`
 */
export function setMark(fd: number, mark: number): void {
  checkWhole('fd', fd, 0, MAX_I32);
  checkWhole('mark', mark, 0, MAX_U32);
  const failure = addon.setMark(fd, mark);
  if (failure !== undefined) throw new SystemCallError(`cannot mark the socket ${fd}`, failure);
}

/**
 * Sets the MTU of the interface behind a TUN descriptor; it must be in the namespace of this process.
 * @throws SystemCallError `EPERM` without CAP_NET_ADMIN, `ENODEV` in another namespace, `EBADF`
 */
export function setLinkMtu(fd: number, mtu: number): void {
  checkWhole('fd', fd, 0, MAX_I32);
  checkWhole('mtu', mtu, 68, MAX_U16);
  const failure = addon.setLinkMtu(fd, mtu);
  if (failure !== undefined) throw new SystemCallError(`cannot set the MTU behind descriptor ${fd}`, failure);
}

/**
 * Opens an eventfd, by which any thread of the process wakes a {@link BatchIo.wait}.
 * The descriptor belongs to this environment until {@link closeDescriptor} or the environment's end.
 */
export function openEvent(): number {
  const fd = addon.openEvent();
  if (typeof fd !== 'number') throw new SystemCallError('cannot open an eventfd', fd);
  return fd;
}

/**
 * Wakes whoever waits on this event, in any thread; a wake before the wait is kept. `fd` comes from {@link openEvent}
 * of any environment of the process.
 * @throws SystemCallError `EBADF` if it is not an event, or is closed
 */
export function wake(fd: number): void {
  checkWhole('fd', fd, 0, MAX_I32);
  const failure = addon.wake(fd);
  if (failure !== undefined) throw new SystemCallError(`cannot wake the event ${fd}`, failure);
}

/**
 * Closes a descriptor that this environment opened. Close the {@link BatchIo} that borrows it first.
 * @throws SystemCallError `EBADF` for any other number, also for one that is closed already
 */
export function closeDescriptor(fd: number): void {
  checkWhole('fd', fd, 0, MAX_I32);
  const failure = addon.closeDescriptor(fd);
  if (failure !== undefined) throw new SystemCallError(`cannot close descriptor ${fd}`, failure);
}

/**
 * Asks the system to back a memory with huge pages (`MADV_HUGEPAGE`): arenas that packets pass through all the time then
 * cost far fewer TLB misses. Ask before the memory is used, for pages in use stay as they are; what it grows by later is
 * not asked for.
 * @returns false where the system gives none, or the memory holds no whole one: all works without
 */
export function adviseHugePages(memory: ArrayBuffer): boolean {
  checkMemory(memory, 1);
  return addon.adviseHugePages(memory);
}

/**
 * Sends one datagram to a Unix socket, such as the one in `NOTIFY_SOCKET` of a service manager. Waits while the receiver's
 * queue is full.
 * @param address a path, or a name in the abstract namespace after an `@`: 1 to 107 bytes
 * @param text at most 4,096 bytes of UTF-8
 * @throws SystemCallError `ENOENT` or `ECONNREFUSED` if nobody has that socket, `EACCES`, `EPROTOTYPE` if it takes no datagrams
 */
export function sendUnixDatagram(address: string, text: string): void {
  checkBytes('address', address, 1, MAX_UNIX_ADDRESS_BYTES);
  checkBytes('text', text, 0, MAX_DATAGRAM_TEXT_BYTES);
  const failure = addon.sendUnixDatagram(address, text);
  if (failure !== undefined) throw new SystemCallError(`cannot send to the socket ${address}`, failure);
}

/** CLOCK_BOOTTIME in milliseconds, with a fraction: never goes back, and counts through suspend. */
export function nowMs(): number {
  return addon.nowMs();
}

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

/** libuv does not name this one, which a TUN descriptor answers once its interface is gone. */
const EBADFD = -77;

function errnoName(errno: number): string {
  if (errno === EBADFD) return 'EBADFD';
  return getSystemErrorMap().get(errno)?.[0] ?? `E${-errno}`;
}

function checkBytes(name: string, value: string, least: number, most: number): void {
  checkType(name, value, 'string');
  const length = Buffer.byteLength(value);
  if (length >= least && length <= most) return;
  throw argumentError(RangeError, 'ERR_OUT_OF_RANGE', `${name} has ${length} bytes, not ${least} to ${most}`);
}

function checkType(name: string, value: unknown, type: 'string' | 'boolean' | 'number'): void {
  if (typeof value !== type || Number.isNaN(value)) {
    throw argumentError(TypeError, 'ERR_INVALID_ARG_TYPE', `${name} is ${String(value)}, not a ${type}`);
  }
}

function checkWhole(name: string, value: number, lowest: number, highest: number): void {
  if (typeof value !== 'number') {
    throw argumentError(TypeError, 'ERR_INVALID_ARG_TYPE', `${name} is ${String(value)}, not a number`);
  }
  if (!Number.isInteger(value) || value < lowest || value > highest) {
    throw argumentError(
      RangeError,
      'ERR_OUT_OF_RANGE',
      `${name} is ${value}, not a whole number from ${lowest} to ${highest}`,
    );
  }
}

/** `end` is where the column ends that the call will touch. */
function checkMemory(memory: ArrayBuffer, end: number): void {
  // `instanceof` is the cheap answer; an ArrayBuffer of another realm is asked the slow way.
  if (!(memory instanceof ArrayBuffer) && !types.isArrayBuffer(memory)) {
    throw argumentError(TypeError, 'ERR_INVALID_ARG_TYPE', 'memory is not an ArrayBuffer');
  }
  if (memory.byteLength >= end) return;
  if (memory.byteLength === 0) {
    throw argumentError(
      TypeError,
      'ERR_INVALID_STATE',
      'memory has length 0: it was detached, perhaps by memory.grow(); pass the present memory.buffer',
    );
  }
  throw argumentError(
    RangeError,
    'ERR_OUT_OF_RANGE',
    `the column ends at byte ${end}, behind the memory of ${memory.byteLength} bytes`,
  );
}

function argumentError(Kind: typeof TypeError | typeof RangeError, code: string, message: string): Error {
  return Object.assign(new Kind(message), { code });
}
