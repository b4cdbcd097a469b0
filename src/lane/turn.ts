// The turns of a lane's loop: counts handed from one room to the other, in packet order. Nothing here sees a packet.
//
//   io.exchange ── datagrams ──▶ core.inbound ──▶ frames, replies ─┐
//               ── frames ─────▶ core.outbound ──▶ messages ───────┼──▶ the next io.exchange
//                    time ─────▶ core.release ──▶ what has waited ─┘
//
// All that the system is asked for between two turns is one call into native code. For what a packet in an idle tunnel waits
// for is code that is in no cache any more: the less of it there is, the better.

import { type BatchIo, READY, REPORT } from 'node-tuntap2';
import type { Core } from 'wireguard-wasm';

/** What {@link Turns} needs of {@link BatchIo}. */
export type Io = Pick<BatchIo, 'exchange' | 'receiveUdp' | 'sendUdp' | 'writeTun' | 'lastStale' | 'report'>;

/** Both sockets. */
export const UDP = READY.udp4 | READY.udp6;

export class Turns {
  readonly #core: Core;
  readonly #io: Io;
  /** What waits in the write column and in the send column. */
  #frames = 0;
  #messages = 0;
  /** As the core said before the last sleep. */
  #releaseMs = Number.POSITIVE_INFINITY;

  constructor(core: Core, io: Io) {
    this.#core = core;
    this.#io = io;
  }

  /** When the last {@link exchange} came back. */
  get nowMs(): number {
    return this.#io.report[REPORT.nowMs] as number;
  }

  /** Hands over what waits, sleeps until `untilMs` unless something is there, and takes it in. Returns what is ready. */
  exchange(untilMs: number): number {
    const io = this.#io;
    const core = this.#core;
    const messages = this.#messages;
    const ready = io.exchange(core.buffer, this.#frames, messages, untilMs);
    this.#frames = 0;
    this.#messages = 0;
    if ((io.report[REPORT.stale] as number) > 0) core.staleSources(messages);
    return ready;
  }

  /** Takes what the last exchange brought through the core. What comes of it waits for the next. */
  take(ready: number): void {
    const core = this.#core;
    const report = this.#io.report;
    if ((ready & UDP) !== 0) {
      this.#frames = core.inbound(report[REPORT.datagrams] as number);
      this.#messages = core.replies(); // cookie replies, keepalives, staged packets
    }
    if ((ready & READY.tun) !== 0) {
      this.flush(); // what follows is laid in the same columns
      this.#messages = core.outbound(report[REPORT.frames] as number);
      this.#frames = core.answers(); // to packets that the policy denies
    }
  }

  /**
   * When the next packet that waits for the rate of its peer may leave; infinite while none waits. To be asked once a turn, before
   * it sleeps: {@link release} goes by the answer, for what begins to wait in a turn is never due in it.
   */
  nextRelease(): number {
    this.#releaseMs = this.#core.releaseAt();
    return this.#releaseMs;
  }

  /** Lets go packets that have waited, if their time has come. */
  release(): void {
    if (this.#releaseMs > this.nowMs) return;
    this.flush();
    this.#messages = this.#core.release();
    this.#frames = this.#core.answers();
  }

  /** Works on waiting handshakes, behind data, for a bounded time. Says whether more wait. */
  handshakes(): boolean {
    if (this.#core.handshakesWaiting() === 0) return false;
    this.flush();
    this.send(this.#core.handshakes());
    return this.#core.handshakesWaiting() > 0;
  }

  /** Takes what the sockets hold through the core, for they are about to be exchanged. */
  drainSockets(): void {
    this.flush();
    const datagrams = this.#io.receiveUdp(this.#core.buffer);
    if (datagrams <= 0) return;
    this.#frames = this.#core.inbound(datagrams);
    this.#messages = this.#core.replies();
    this.flush();
  }

  /** Hands over what waits. */
  flush(): void {
    if (this.#frames > 0) this.#io.writeTun(this.#core.buffer, this.#frames);
    this.#frames = 0;
    this.send(this.#messages);
    this.#messages = 0;
  }

  /** Sends the first `messages` of the send column; peers whose source address the host has lost forget it. */
  send(messages: number): void {
    if (messages <= 0) return;
    this.#io.sendUdp(this.#core.buffer, messages);
    if (this.#io.lastStale > 0) this.#core.staleSources(messages);
  }
}
