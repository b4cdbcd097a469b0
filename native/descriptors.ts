// What is opened, set and closed: TUN interfaces, UDP sockets, events, and the few calls beside them that Node.js has not. They
// check their arguments and throw. Twin: src/addon.cc.

import { addon, SystemCallError } from './addon.ts';
import {
  argumentError,
  checkBytes,
  checkMemory,
  checkType,
  checkWhole,
  MAX_I32,
  MAX_U16,
  MAX_U32,
} from './checks.ts';

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

/** IFNAMSIZ counts the terminating zero. */
const MAX_NAME_BYTES = 15;
/** `sun_path` counts a zero byte. */
const MAX_UNIX_ADDRESS_BYTES = 107;
/** Twin: kMaxRawPacketBytes in src/raw_packet.h. */
const MAX_RAW_PACKET_BYTES = 1280;
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

/**
 * Sends one IP packet, from its header on, as a user of this host: rules about users on the way out see a socket of `uid`.
 * Needs CAP_NET_RAW, and CAP_SETUID for another user than that of the process.
 * @param packet 20 to 1,280 bytes; its own addresses say where it goes. The kernel fills in an IPv4 source of zeros
 * @throws SystemCallError `EPERM` of `setfsuid` or `socket` without the privilege, of `sendto` if a rule of this host drops
 *   the packet; `EINVAL` if it is no IP packet, `ENETUNREACH`
 */
export function sendPacketAs(uid: number, packet: Uint8Array): void {
  // 2^32 - 1 is nobody's: setfsuid(2) takes it for a question.
  checkWhole('uid', uid, 0, MAX_U32 - 1);
  if (!(packet instanceof Uint8Array) || packet.length > MAX_RAW_PACKET_BYTES) {
    const why = `the packet is no Uint8Array of at most ${MAX_RAW_PACKET_BYTES} bytes`;
    throw argumentError(RangeError, 'ERR_INVALID_ARG_VALUE', why);
  }
  const failure = addon.sendPacketAs(uid, packet);
  if (failure !== undefined) throw new SystemCallError(`cannot send a packet as user ${uid}`, failure);
}

/** CLOCK_BOOTTIME in milliseconds, with a fraction: never goes back, and counts through suspend. */
export function nowMs(): number {
  return addon.nowMs();
}
