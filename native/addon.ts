// The addon as TypeScript sees it, and what its failures are for a user. Twin: src/addon.cc (the export table).

import { getSystemErrorMap } from 'node:util';
import { loadAddon } from './addon-file.ts';
import type { BatchIoOptions, Link } from './batch-io.ts';
import type { OpenedTun, OpenedUdp } from './descriptors.ts';

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

export interface Failure {
  errno: number;
  syscall: string;
}

/** The addon as src/addon.cc exports it: -1 stands for what is not given. */
export interface Addon {
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
  sendPacketAs(uid: number, packet: Uint8Array): undefined | Failure;
  localPrefixes(): string[] | Failure;
  nowMs(): number;
  BatchIo: new () => AddonBatchIo;
  NetworkWatch: new () => AddonNetworkWatch;
}

/** As {@link BatchIo.exchange}. A function and no method: for a method Node-API looks up the object, which costs as much. */
export type Exchange = (memory: ArrayBuffer, frames: number, messages: number, untilMs: number) => number;

export interface AddonBatchIo {
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

export interface AddonNetworkWatch {
  open(onChange: () => void): undefined | Failure;
  close(): void;
}

export const addon = loadAddon() as Addon;

/** libuv does not name this one, which a TUN descriptor answers once its interface is gone. */
const EBADFD = -77;

export function errnoName(errno: number): string {
  if (errno === EBADFD) return 'EBADFD';
  return getSystemErrorMap().get(errno)?.[0] ?? `E${-errno}`;
}
