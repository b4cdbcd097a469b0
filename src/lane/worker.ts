// A lane: the worker thread that owns one core and runs its loop. It sleeps in the kernel, never in the event loop;
// messages are fetched when its event wakes it. It reports by message and never logs.

import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { BatchIo, type Fault, nowMs, READY } from 'node-tuntap2';
import { Core, CoreRefusal, compile } from 'wireguard-wasm';
import type { FromLane, LaneDescriptors, LanePeer, LaneSettings, LaneStatus, ToLane } from './messages.ts';
import { send, turn } from './turn.ts';

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
/** Failing system calls are reported at most this often. */
const REPORT_FAULTS_MS = 60_000;

class Lane {
  readonly #port: MessagePort;
  readonly #core: Core;
  readonly #io: BatchIo;
  readonly #hasGso: boolean;
  readonly #peers = new Map<string, number>();
  #nextTick = 0;
  #nextFaultReport = 0;
  #reportedFaults = 0;

  constructor({ port, descriptors, settings }: LaneStart, onPanic: (text: string) => void) {
    this.#port = port;
    this.#core = new Core(compile(), { log: onPanic }, nowMs());
    this.#io = new BatchIo({ ...descriptors, ...this.#core.layout });
    this.#core.setMtu(settings.mtu);
    const { udpGso, tunTcp, tunUdp } = descriptors.offloads;
    this.#hasGso = udpGso;
    this.#core.setOffloads({ trains: udpGso, tcp: tunTcp, udp: tunUdp });
    this.#core.setIdentity(settings.privateKey);
    settings.privateKey.fill(0);
    for (const peer of settings.peers) {
      this.#peers.set(peer.name, this.#addPeer(peer));
    }
  }

  #addPeer(peer: LanePeer): number {
    try {
      const id = this.#core.addPeer({ ...peer, persistentKeepaliveSeconds: peer.keepaliveSeconds });
      for (const prefix of peer.allowedIps) this.#core.allow(id, prefix.address, prefix.length);
      return id;
    } catch (error) {
      if (error instanceof CoreRefusal)
        throw new Error(`peer ${peer.name}: ${error.message}`, { cause: error });
      throw error;
    } finally {
      peer.presharedKey?.fill(0);
    }
  }

  /** Runs until it is told to stop, or the interface is gone. */
  run(): void {
    this.#post({ type: 'ready' });
    for (;;) {
      const ready = this.#io.wait(this.#nextTick - nowMs());
      const now = nowMs();
      this.#core.setTime(now);
      if (ready < 0) throw new Error(`epoll_wait failed with errno ${-ready}`);
      if ((ready & READY.woken) !== 0 && this.#takeMessages() === 'stop') return;
      if ((ready & READY.tunGone) !== 0) {
        this.#post({ type: 'interface-gone' });
        return;
      }
      turn(this.#core, this.#io, ready);
      if (now >= this.#nextTick) this.#tick(now);
    }
  }

  close(): void {
    this.#io.close();
  }

  #tick(now: number): void {
    const messages = this.#core.tick();
    send(this.#core, this.#io, messages);
    // A full tick is followed by the next at once, with a turn for data between them.
    this.#nextTick = messages >= FULL_TICK ? now : now + TICK_MS;
    if (now >= this.#nextFaultReport) this.#reportFaults(now);
  }

  #reportFaults(now: number): void {
    const faults = this.#io.faults();
    const total = faults.reduce((sum, fault) => sum + fault.count, 0);
    if (total === this.#reportedFaults) return;
    this.#reportedFaults = total;
    this.#nextFaultReport = now + REPORT_FAULTS_MS;
    this.#post({ type: 'faults', faults });
  }

  #takeMessages(): 'stop' | undefined {
    for (let next = receiveMessageOnPort(this.#port); next; next = receiveMessageOnPort(this.#port)) {
      const message = next.message as ToLane;
      switch (message.type) {
        case 'stop':
          return 'stop';
        case 'status':
          this.#post({ type: 'status', request: message.request, status: this.#status() });
          break;
        case 'endpoint': {
          const id = this.#peers.get(message.peer);
          if (id !== undefined) this.#core.setEndpoint(id, message.endpoint);
          break;
        }
        default:
          message satisfies never;
      }
    }
    return undefined;
  }

  #status(): LaneStatus {
    const now = nowMs();
    const peers = Array.from(this.#peers, ([name, id]) => {
      const { endpoint, rxBytes, txBytes, lastHandshakeMs } = this.#core.peerStatus(id);
      return {
        name,
        endpoint: endpoint && { ...endpoint, scope: endpoint.scope ?? 0 },
        rxBytes,
        txBytes,
        handshakeAgeMs: lastHandshakeMs === null ? null : now - lastHandshakeMs,
      };
    });
    const faults: Fault[] = this.#io.faults();
    const sendsTrains = this.#hasGso && this.#io.gsoWorks;
    return { peers, drops: this.#core.drops(), faults, sendsTrains };
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
