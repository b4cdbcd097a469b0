// What a service manager such as systemd is told where there is one: ready, reloading, stopping. sd_notify(3): lines of
// NAME=VALUE in a datagram to the socket that NOTIFY_SOCKET names.

import { sendUnixDatagram } from 'node-tuntap2';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';

export class ServiceManager {
  readonly #socket = process.env['NOTIFY_SOCKET'];
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Started, or through with a reload; `status` is for people. */
  ready(status: string): void {
    this.#tell('READY=1', `STATUS=${status}`);
  }

  /** Until the next {@link ready}. The time says to which of several requests this belongs. */
  reloading(): void {
    // CLOCK_MONOTONIC, as libuv takes it.
    this.#tell('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(): void {
    this.#tell('STOPPING=1');
  }

  /** A manager that cannot be told ends no node. */
  #tell(...lines: readonly string[]): void {
    if (this.#socket === undefined) return;
    try {
      sendUnixDatagram(this.#socket, lines.join('\n'));
    } catch (error) {
      this.#log.warn(`the service manager cannot be told ${lines[0]}: ${messageOf(error)}`);
    }
  }
}
