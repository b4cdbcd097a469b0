// Who follows the packets of a peer (`ringfence explain --live`), and has them told: while anybody does, the core logs those
// packets and is asked for its log ten times a second. What a client is told is bounded by the core, which logs a hundred in
// a tenth of a second at the most, and by what its socket holds unread.

import { setTimeout as delay } from 'node:timers/promises';
import { ipFromBytes, renderIp } from '../address/ip.ts';
import type {
  Asker,
  FollowedAnswer,
  FollowedPacket,
  NodeRequest,
  RequestHandlers,
} from '../control/target.ts';
import { messageOf, NodeError } from '../errors.ts';
import type { LanePackets } from '../lane/messages.ts';
import type { Log } from '../log.ts';
import { DECIDERS } from '../policy/compiled.ts';
import type { Device } from './device.ts';

/** As often as the core has room for more: `FOLLOWED` in wasm/core/src/filter/report.rs. */
const POLL_MS = 100;
const MOST_FOLLOWERS = 16;
const MOST_FOLLOW_SECONDS = 86_400;

/** What the node knows that the device does not. */
export interface FollowersNode {
  /** The device's number of the peer of this name. */
  readonly peerOf: (name: string) => number | undefined;
  readonly hasPolicy: () => boolean;
  readonly placeOf: (rule: string) => string | null;
  /** What the core had logged, also of peers that nobody follows. */
  readonly onPackets: (packets: LanePackets) => void;
}

interface Follower {
  readonly peer: number;
  readonly asker: Asker;
  /** Whether what comes out of the core's log now was logged for this one, and not before it was there. */
  hasBegun: boolean;
  /** Nothing before the first packet: what the core left out until then was left out for others. */
  missed: number | undefined;
}

export class Followers implements Disposable {
  readonly requests: RequestHandlers = { follow: (asked, asker) => this.#follow(asked, asker) };
  readonly #device: Device;
  readonly #node: FollowersNode;
  readonly #log: Log;
  readonly #followers = new Set<Follower>();
  readonly #stopped = new AbortController();
  #polling: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;

  constructor(device: Device, node: FollowersNode, log: Log) {
    this.#device = device;
    this.#node = node;
    this.#log = log;
  }

  [Symbol.dispose](): void {
    this.#stopped.abort();
    clearInterval(this.#polling);
  }

  isFollowed(peer: number): boolean {
    return [...this.#followers].some((follower) => follower.peer === peer);
  }

  /** Tells the followers of what the core has logged. */
  heed({ nowMs, log }: LanePackets): void {
    if (this.#followers.size === 0) return;
    const toWall = Date.now() - nowMs;
    for (const entry of log) {
      const followers = [...this.#followers].filter(({ peer, hasBegun }) => hasBegun && peer === entry.peer);
      if (followers.length === 0) continue;
      const packet = this.#describe(entry, toWall);
      for (const follower of followers) {
        follower.missed = follower.missed === undefined ? 0 : follower.missed + entry.skipped;
        if (!follower.asker.tell(packet)) follower.missed++;
      }
    }
  }

  async #follow({ peer: name, seconds }: NodeRequest, asker: Asker): Promise<FollowedAnswer> {
    const isDuration = typeof seconds === 'number' && seconds > 0 && seconds <= MOST_FOLLOW_SECONDS;
    const peer = typeof name === 'string' ? this.#node.peerOf(name) : undefined;
    if (!isDuration) throw new NodeError('ERR_NODE_REQUEST', 'for how long is not said');
    if (peer === undefined)
      throw new NodeError('ERR_NODE_REQUEST', `there is no peer ${JSON.stringify(name)} here`);
    if (!this.#node.hasPolicy()) {
      throw new NodeError(
        'ERR_NODE_REQUEST',
        'this node has no policy: it judges no packet, and everything passes',
      );
    }
    if (this.#followers.size >= MOST_FOLLOWERS) {
      throw new NodeError('ERR_NODE_BUSY', `${MOST_FOLLOWERS} others follow peers of this node`);
    }
    const follower: Follower = { peer, asker, hasBegun: false, missed: undefined };
    this.#followers.add(follower);
    this.#polling ??= setInterval(() => void this.#readLog(), POLL_MS);
    try {
      await this.#readLog(); // this may have been under way before we came
      await this.#readLog();
      follower.hasBegun = true;
      asker.tell('begun');
      await delayUnless(seconds * 1000, AbortSignal.any([asker.gone, this.#stopped.signal]));
      await this.#readLog();
    } finally {
      this.#followers.delete(follower);
      await this.#leave();
    }
    return { missed: follower.missed ?? 0 };
  }

  /** The last one to leave has the core log nobody's packets any more. */
  async #leave(): Promise<void> {
    if (this.#followers.size > 0) return;
    clearInterval(this.#polling);
    this.#polling = undefined;
    await this.#device.follow([]);
  }

  /** Once at a time; whoever asks meanwhile waits for the same. */
  #readLog(): Promise<void> {
    this.#reading ??= this.#ask().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #ask(): Promise<void> {
    try {
      const packets = await this.#device.follow(new Set([...this.#followers].map(({ peer }) => peer)));
      if (packets !== undefined) this.#node.onPackets(packets);
    } catch (error) {
      this.#log.warn(`packets could not be followed: ${messageOf(error)}`);
    }
  }

  #describe(entry: LanePackets['log'][number], toWall: number): FollowedPacket {
    const rule = this.#device.ruleName(entry.rule);
    const hasPorts = !entry.isLaterPiece && (entry.sourcePort !== 0 || entry.port !== 0);
    const isDecided = entry.reason === undefined;
    return {
      timeMs: entry.timeMs + toWall,
      leg: entry.leg,
      source: renderAddress(entry.source),
      destination: renderAddress(entry.destination),
      protocol: entry.protocol,
      sourcePort: hasPorts ? entry.sourcePort : null,
      port: hasPorts ? entry.port : null,
      lengthBytes: entry.lengthBytes,
      verdict: isDecided ? (entry.isAllowed ? 'allow' : 'deny') : 'drop',
      stage: isDecided ? (DECIDERS[entry.stage ?? -1] ?? null) : null,
      rule,
      place: rule === null ? null : this.#node.placeOf(rule),
      reason: entry.reason ?? null,
    };
  }
}

/** Settles after so long, or when the signal comes. */
async function delayUnless(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => {});
}

function renderAddress(bytes: Uint8Array): string | null {
  return bytes.length === 0 ? null : renderIp(ipFromBytes(bytes));
}
