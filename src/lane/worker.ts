// A lane: the worker thread that owns one core and runs its loop. It sleeps in the kernel, never in the event loop;
// messages are fetched when its event wakes it. It reports by message and never logs.

import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { adviseHugePages, BatchIo, type Fault, nowMs, READY } from 'node-tuntap2';
import { Core, CoreRefusal, compile, NO_PEER } from 'wireguard-wasm';
import type {
  FromLane,
  LaneDescriptors,
  LaneFilter,
  LaneMeters,
  LanePackets,
  LanePolicy,
  LaneSettings,
  LaneStatus,
  ToLane,
} from './messages.ts';
import { packPeers } from './peer-records.ts';
import { LanePeers } from './peers.ts';
import { Turns, UDP } from './turn.ts';

/** What a lane is started with. */
export interface LaneStart {
  readonly port: MessagePort;
  readonly descriptors: LaneDescriptors;
  readonly settings: LaneSettings;
}

/** Timers in the core are looked at this often: handshakes, keepalives, expiry. */
const TICK_MS = 200;
/** `INITIATIONS_PER_TICK` of the core (wasm/core/src/device.rs): a tick that full means more wait. */
const FULL_TICK = 24;
/** Messages that take longer than this together wait for the next turn, one at the least done. */
const MESSAGES_MS = 5;
/** An interface that was moved to another namespace is asked how it is this often: nobody tells. */
const READ_LINK_MS = 1_000;
/** Failing system calls are reported at most this often. */
const REPORT_FAULTS_MS = 60_000;

/**
 * At its start a lane takes turns for so long without sleeping. V8 interprets what has not run often, and in an idle tunnel
 * nothing does for minutes: a ping took a sixth more time. One core is busy with it, and packets pass.
 */
const WARM_UP_MS = 30;
/** What a turn takes in; the rest is seldom. */
const DATA = UDP | READY.tun;

class Lane {
  readonly #port: MessagePort;
  readonly #core: Core;
  readonly #io: BatchIo;
  readonly #turns: Turns;
  readonly #hasGso: boolean;
  readonly #peers: LanePeers;
  readonly #startedMs: number;
  /** Whether messages were left for the next turn, so that data need not wait for all of them. */
  #hasMessages = false;
  /** Whether there is more to do before it may sleep. */
  #isBusy = false;
  /** While the interface is down, nothing is sent, and what comes is not taken in: as if there were no sockets. */
  #isUp = true;
  #mtu: number;
  #nextLinkRead = 0;
  #nextTick = 0;
  #nextFaultReport = 0;
  #reportedFaults = 0;
  /** Whether the core has refused a piece of the change of the policy that is coming in. */
  #isPolicyVoid = false;
  /** The core's numbers of the peers whose packets are logged. */
  #followed: readonly number[] = [];

  constructor({ port, descriptors, settings }: LaneStart, onPanic: (text: string) => void) {
    this.#port = port;
    const now = nowMs();
    this.#startedMs = now;
    const wallClockMs = () => Math.trunc(now) + settings.clockOffsetSeconds * 1000;
    this.#core = new Core(compile(), { log: onPanic, wallClockMs }, now);
    // A fifth more throughput: every packet is copied through this memory. Where there are none, all works as well.
    adviseHugePages(this.#core.memory.buffer);
    this.#io = new BatchIo({ ...descriptors, ...this.#core.layout });
    this.#turns = new Turns(this.#core, this.#io);
    this.#mtu = settings.mtu;
    this.#core.setMtu(settings.mtu);
    const { udpGso, tunTcp, tunUdp } = descriptors.offloads;
    this.#hasGso = udpGso;
    this.#core.setOffloads({ trains: udpGso, tcp: tunTcp, udp: tunUdp });
    this.#peers = new LanePeers(this.#core);
    this.#peers.apply(settings.change);
    if (settings.policy !== null) this.#begin(settings.policy);
  }

  /** Runs until it is told to stop, or the interface is gone. */
  run(): void {
    this.#post({ type: 'ready' });
    const warmUntilMs = nowMs() + WARM_UP_MS;
    while (this.#turns.nowMs < warmUntilMs) {
      // Also through the code for data, of which there is none.
      if (!this.#turn(0, DATA)) return;
    }
    while (this.#turn(this.#nextDue(), 0));
  }

  /** When there is something to do, whatever comes or not. */
  #nextDue(): number {
    const releaseMs = this.#turns.nextRelease();
    if (this.#isBusy) return 0;
    return this.#isUp ? Math.min(this.#nextTick, releaseMs) : this.#nextTick;
  }

  /** One turn: sleeps until `untilMs` at most, takes in what is ready, `also` what is named. False ends the lane. */
  #turn(untilMs: number, also: number): boolean {
    const turns = this.#turns;
    const ready = turns.exchange(untilMs);
    const now = turns.nowMs;
    this.#core.setTime(now);
    if (this.#isUp) turns.take(ready | also);
    if (((ready | also) & UDP) !== 0) this.#passOn();
    if (this.#isUp) turns.release();
    this.#isBusy = this.#isUp && turns.handshakes();
    if ((ready & ~DATA) === 0 && !this.#hasMessages && now < this.#nextTick) return true;
    return this.#attend(ready, now);
  }

  /** What is not data: messages, the interface, timers. False ends the lane. */
  #attend(ready: number, now: number): boolean {
    if (ready < 0) throw new Error(`epoll_wait failed with errno ${-ready}`);
    this.#turns.flush(); // what follows may use the columns
    if ((this.#hasMessages || (ready & READY.woken) !== 0) && this.#takeMessages(now) === 'stop')
      return false;
    if ((ready & READY.tunGone) !== 0) {
      this.#post({ type: 'interface-gone' });
      return false;
    }
    if ((ready & READY.link) !== 0 || now >= this.#nextLinkRead) this.#readLink(now);
    if (now >= this.#nextTick) this.#tick(now);
    this.#isBusy ||= this.#hasMessages;
    return true;
  }

  close(): void {
    this.#io.close();
  }

  /** What the hosts of peers said goes to the main thread. */
  #passOn(): void {
    for (let heard = this.#peers.heard(); heard !== undefined; heard = this.#peers.heard())
      this.#post({ type: 'heard', ...heard });
  }

  /** The policy is in force before the first packet: what the core refuses here ends the lane. */
  #begin({ records, picksUp }: LanePolicy): void {
    this.#core.enableFilter(picksUp);
    this.#core.beginPolicy();
    this.#core.stagePolicy(records);
    this.#core.commitPolicy();
  }

  /** A core that has let everything pass so far takes up the connections that are there. */
  #changePolicy({ records, isFirst, request }: Extract<ToLane, { type: 'policy' }>): void {
    if (isFirst) {
      this.#core.beginPolicy();
      this.#isPolicyVoid = false;
    }
    try {
      this.#core.stagePolicy(records);
      if (request === null) return;
      this.#core.commitPolicy();
      this.#core.enableFilter(true);
    } catch (error) {
      if (!(error instanceof CoreRefusal)) throw error;
      this.#isPolicyVoid = true;
    }
    if (request !== null) this.#post({ type: 'policy', request, isTaken: !this.#isPolicyVoid });
  }

  #filter(): LaneFilter {
    const drops = this.#named(this.#core.filterDrops());
    return { status: this.#core.filterStatus(), drops, ...this.#packets() };
  }

  #packets(): LanePackets {
    return { nowMs: nowMs(), log: this.#named(this.#core.filterLog()) };
  }

  /** By the main thread's numbers. */
  #named<T extends { readonly peer: number }>(list: readonly T[]): T[] {
    return list.map((one) => ({ ...one, peer: this.#peers.nameOf(one.peer) ?? NO_PEER }));
  }

  #follow(peers: Uint32Array): void {
    for (const id of this.#followed) this.#core.follow(id, false);
    this.#followed = [...peers].flatMap((peer) => this.#peers.idOf(peer) ?? []);
    for (const id of this.#followed) this.#core.follow(id, true);
  }

  #meters(): LaneMeters {
    const peers = this.#core.filterMeters('peers').flatMap((row) => {
      const id = this.#peers.nameOf(row.id);
      return id === undefined ? [] : [{ ...row, id }];
    });
    return { startedMs: this.#startedMs, peers, services: this.#core.filterMeters('services') };
  }

  #tick(now: number): void {
    const messages = this.#isUp ? this.#core.tick() : 0;
    this.#turns.send(messages);
    // A full tick is followed by the next at once, with a turn for data between them.
    this.#nextTick = messages >= FULL_TICK ? now : now + TICK_MS;
    if (now >= this.#nextFaultReport) this.#reportFaults(now);
  }

  /** Somebody may have set the interface up or down, or its MTU. Where nobody can tell, it stays as it was. */
  #readLink(now: number): void {
    const link = this.#io.link();
    this.#nextLinkRead = link?.isWatched === true ? Number.POSITIVE_INFINITY : now + READ_LINK_MS;
    if (link === undefined) return;
    this.#isUp = link.isUp;
    if (link.mtu === this.#mtu) return;
    this.#mtu = link.mtu;
    this.#core.setMtu(link.mtu);
    this.#post({ type: 'mtu', mtu: link.mtu });
  }

  #reportFaults(now: number): void {
    const faults = this.#io.faults();
    const total = faults.reduce((sum, fault) => sum + fault.count, 0);
    if (total === this.#reportedFaults) return;
    this.#reportedFaults = total;
    this.#nextFaultReport = now + REPORT_FAULTS_MS;
    this.#post({ type: 'faults', faults });
  }

  #takeMessages(startedMs: number): 'stop' | undefined {
    this.#hasMessages = true;
    while (nowMs() - startedMs < MESSAGES_MS) {
      const next = receiveMessageOnPort(this.#port);
      if (next === undefined) {
        this.#hasMessages = false;
        return undefined;
      }
      if (this.#take(next.message as ToLane) === 'stop') return 'stop';
    }
    return undefined;
  }

  #take(message: ToLane): 'stop' | undefined {
    switch (message.type) {
      case 'stop':
        return 'stop';
      case 'status':
        this.#post({ type: 'status', request: message.request, status: this.#status(message.peers) });
        return undefined;
      case 'change':
        this.#peers.apply(message.change);
        return undefined;
      case 'policy':
        this.#changePolicy(message);
        return undefined;
      case 'no-policy':
        this.#core.disableFilter();
        return undefined;
      case 'filter':
        this.#post({ type: 'filter', request: message.request, filter: this.#filter() });
        return undefined;
      case 'follow':
        this.#follow(message.peers);
        this.#post({ type: 'followed', request: message.request, packets: this.#packets() });
        return undefined;
      case 'meters':
        this.#post({ type: 'meters', request: message.request, meters: this.#meters() });
        return undefined;
      case 'say':
        // While the interface is down the answer would not be taken in.
        if (this.#isUp) this.#turns.send(this.#peers.say(message.peer, message.message));
        else message.message.fill(0);
        return undefined;
      case 'sockets':
        this.#turns.drainSockets(); // what the former ones hold still counts
        this.#passOn();
        this.#io.setSockets(message.udp4, message.udp6);
        return undefined;
      case 'fence':
        this.#post({ type: 'done', request: message.request });
        return undefined;
      default:
        return message satisfies never;
    }
  }

  #status(wanted: Uint32Array): LaneStatus {
    const peers = packPeers(this.#peers.status(wanted));
    const faults: Fault[] = this.#io.faults();
    const sendsTrains = this.#hasGso && this.#io.gsoWorks;
    const asksCookiesOf = this.#core.load();
    return { nowMs: nowMs(), peers, drops: this.#core.drops(), faults, sendsTrains, asksCookiesOf };
  }

  #post(message: FromLane): void {
    this.#port.postMessage(message);
  }
}

function main(start: LaneStart): void {
  let panic = '';
  let lane: Lane | undefined;
  try {
    lane = new Lane(start, (text) => {
      panic += text;
    });
    lane.run();
  } catch (error) {
    // A trap, or a fault of ours: this core is not to be used again. The main thread decides what follows.
    const reason = panic.trim() || (error instanceof Error ? (error.stack ?? error.message) : String(error));
    start.port.postMessage({ type: 'failed', reason } satisfies FromLane);
  } finally {
    lane?.close();
    start.port.close();
  }
}

main(workerData as LaneStart);
