// What a node has carried and dropped lately: two statuses make a sample, a fixed number of them is kept.

import type { NodeStatus, PeerStatus } from './target.ts';

/** What passed between two statuses. */
export interface Sample {
  readonly atMs: number;
  /** Bytes a second of WireGuard messages, of all peers together. */
  readonly received: number;
  readonly sent: number;
}

/** Packets that were dropped for one reason. */
export interface Drop {
  readonly reason: string;
  /** As long as the history reaches back. */
  readonly recent: number;
  readonly total: bigint;
  /** When the last one was seen, in milliseconds since 1970; null = before the history. */
  readonly lastMs: number | null;
}

/** Bytes a second of one peer. */
export interface Rate {
  readonly received: number;
  readonly sent: number;
}

/** Ten minutes at one every five seconds. */
const MOST_SAMPLES = 120;

interface Kept extends Sample {
  readonly drops: ReadonlyMap<string, number>;
}

export class History {
  readonly #kept: Kept[] = [];
  #rates: ReadonlyMap<string, Rate> = new Map();
  #last: { readonly status: NodeStatus; readonly atMs: number } | undefined;

  /** Takes the next status, of a moment `atMs` later than the last. */
  take(status: NodeStatus, atMs: number): void {
    const before = this.#last;
    this.#last = { status, atMs };
    if (before === undefined || atMs <= before.atMs) return;
    const seconds = (atMs - before.atMs) / 1000;
    this.#rates = ratesOf(before.status, status, seconds);
    let [received, sent] = [0, 0];
    for (const rate of this.#rates.values()) {
      received += rate.received;
      sent += rate.sent;
    }
    const drops = new Map(
      Object.entries(status.drops).flatMap(([reason, count]) => {
        const more = Number(count) - Number(before.status.drops[reason] ?? 0);
        return more > 0 ? [[reason, more] as const] : [];
      }),
    );
    this.#kept.push({ atMs, received, sent, drops });
    if (this.#kept.length > MOST_SAMPLES) this.#kept.shift();
  }

  /** The oldest first. */
  get samples(): readonly Sample[] {
    return this.#kept;
  }

  /** Of a peer, by its public key; undefined until two statuses have it. */
  rateOf(publicKey: string): Rate | undefined {
    return this.#rates.get(publicKey);
  }

  /** The reasons that have occurred, those that occurred lately first. */
  drops({ drops }: NodeStatus): Drop[] {
    const all = Object.entries(drops).flatMap(([reason, total]): Drop[] => {
      if (total === '0') return [];
      const seen = this.#kept.filter((sample) => sample.drops.has(reason));
      const recent = seen.reduce((sum, sample) => sum + (sample.drops.get(reason) ?? 0), 0);
      return [{ reason, recent, total: BigInt(total), lastMs: seen.at(-1)?.atMs ?? null }];
    });
    return all.sort((a, b) => b.recent - a.recent || Number(b.total - a.total));
  }
}

/** Of each peer that both have. Counts that went back, as those of a lane that was replaced, are no traffic. */
export function ratesOf(before: NodeStatus, after: NodeStatus, seconds: number): ReadonlyMap<string, Rate> {
  const former = new Map(before.peers.map((peer) => [peer.publicKey, peer]));
  return new Map(
    after.peers.flatMap((peer) => {
      const known = former.get(peer.publicKey);
      return known === undefined ? [] : [[peer.publicKey, rateBetween(known, peer, seconds)] as const];
    }),
  );
}

function rateBetween(before: PeerStatus, after: PeerStatus, seconds: number): Rate {
  const rate = (from: string, to: string): number => Math.max(0, Number(BigInt(to) - BigInt(from))) / seconds;
  return {
    received: rate(before.rxBytes, after.rxBytes),
    sent: rate(before.txBytes, after.txBytes),
  };
}
