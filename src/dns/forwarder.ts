// Questions for other name servers: each server in its turn, equal questions once, answers kept for as long as they say.
// Whatever the outside sends, sockets, waiting questions and kept answers have their limits.

import { renderIp } from '../address/ip.ts';
import type { NameServer } from '../policy/names.ts';
import { exchange } from './exchange.ts';
import { cacheKey, encodeForward, lifetimeSeconds, type Query, RCODE, rcodeOf } from './wire.ts';

/** Who asks gives up after five seconds (resolv.conf(5)), so two servers are tried before. */
const TRY_MS = 2_000;
const DEADLINE_MS = 4_500;
/** Questions that wait for other servers, each with a socket at most. */
const WAITING_LIMIT = 256;
const WAITING_LIMIT_PER_ASKER = 64;
const KEPT_COUNT_LIMIT = 4_096;
const KEPT_BYTES_LIMIT = 4 * 1024 * 1024;
const KEPT_SECONDS_LIMIT = 3_600;

export interface ForwarderOptions {
  /** How long one server is waited for. */
  readonly tryMs?: number;
  /** Milliseconds that only go forward. */
  readonly now?: () => number;
}

/** `overload`: too many questions wait. `failure`: no server gave an answer. */
export type Forwarded =
  | { readonly ok: true; readonly message: Buffer; readonly ageSeconds: number; readonly isKept: boolean }
  | { readonly ok: false; readonly reason: 'overload' | 'failure' };

interface Kept {
  readonly message: Buffer;
  readonly sinceMs: number;
  readonly untilMs: number;
}

export class Forwarder {
  readonly #tryMs: number;
  readonly #now: () => number;
  readonly #stop = new AbortController();
  /** By question, the one used last at the end. */
  readonly #kept = new Map<string, Kept>();
  #keptBytes = 0;
  readonly #asked = new Map<string, Promise<Buffer | null>>();
  #waiting = 0;
  readonly #waitingOf = new Map<string, number>();
  /** By its servers, the one that answered last: a server that is down is waited for once. */
  readonly #preferred = new Map<string, number>();

  constructor({ tryMs = TRY_MS, now = () => performance.now() }: ForwarderOptions = {}) {
    this.#tryMs = tryMs;
    this.#now = now;
  }

  /** The answer of the first of `servers` that gives one. `asker` is whose share of what may wait it takes. */
  async ask(query: Query, servers: readonly NameServer[], asker: string): Promise<Forwarded> {
    const group = servers.map(({ address, port }) => `${renderIp(address)} ${port}`).join(',');
    const key = `${group} ${cacheKey(query)}`;
    const kept = this.#keptAnswer(key);
    if (kept !== null) {
      const ageSeconds = Math.floor((this.#now() - kept.sinceMs) / 1000);
      return { ok: true, message: kept.message, ageSeconds, isKept: true };
    }
    const own = this.#waitingOf.get(asker) ?? 0;
    if (this.#waiting >= WAITING_LIMIT || own >= WAITING_LIMIT_PER_ASKER)
      return { ok: false, reason: 'overload' };
    this.#waiting += 1;
    this.#waitingOf.set(asker, own + 1);
    try {
      const message = await this.#askOnce(key, group, query, servers);
      return message === null
        ? { ok: false, reason: 'failure' }
        : { ok: true, message, ageSeconds: 0, isKept: false };
    } finally {
      this.#waiting -= 1;
      const left = (this.#waitingOf.get(asker) ?? 1) - 1;
      if (left === 0) this.#waitingOf.delete(asker);
      else this.#waitingOf.set(asker, left);
    }
  }

  /** Ends what waits. */
  [Symbol.dispose](): void {
    this.#stop.abort(new Error('the resolver stops'));
    this.#kept.clear();
  }

  /** Two that ask the same get one answer: guessing it gets no easier with more questions (RFC 5452 §5). */
  async #askOnce(
    key: string,
    group: string,
    query: Query,
    servers: readonly NameServer[],
  ): Promise<Buffer | null> {
    const asked = this.#asked.get(key);
    if (asked !== undefined) return await asked;
    const answer = this.#askInTurn(group, query, servers).finally(() => this.#asked.delete(key));
    this.#asked.set(key, answer);
    const message = await answer;
    if (message !== null) this.#keep(key, message);
    return message;
  }

  async #askInTurn(group: string, query: Query, servers: readonly NameServer[]): Promise<Buffer | null> {
    const deadline = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(DEADLINE_MS)]);
    const first = this.#preferred.get(group) ?? 0;
    let refused: Buffer | null = null;
    for (let i = 0; i < servers.length && !deadline.aborted; i++) {
      const index = (first + i) % servers.length;
      const server = servers[index];
      if (server === undefined) break;
      try {
        const signal = AbortSignal.any([deadline, AbortSignal.timeout(this.#tryMs)]);
        const message = await exchange(server, encodeForward(query), signal);
        const rcode = rcodeOf(message);
        if (rcode === RCODE.noError || rcode === RCODE.nxDomain) {
          this.#preferred.set(group, index);
          return message;
        }
        refused ??= message;
      } catch {
        // The next one; that there was none is what is counted.
      }
    }
    return refused;
  }

  #keptAnswer(key: string): Kept | null {
    const kept = this.#kept.get(key);
    if (kept === undefined) return null;
    this.#drop(key, kept);
    if (kept.untilMs <= this.#now()) return null;
    this.#put(key, kept);
    return kept;
  }

  #keep(key: string, message: Buffer): void {
    const seconds = Math.min(lifetimeSeconds(message), KEPT_SECONDS_LIMIT);
    if (seconds === 0) return;
    const former = this.#kept.get(key);
    if (former !== undefined) this.#drop(key, former);
    const now = this.#now();
    this.#put(key, { message, sinceMs: now, untilMs: now + seconds * 1000 });
    for (const [oldest, entry] of this.#kept) {
      if (this.#kept.size <= KEPT_COUNT_LIMIT && this.#keptBytes <= KEPT_BYTES_LIMIT) break;
      this.#drop(oldest, entry);
    }
  }

  #put(key: string, kept: Kept): void {
    this.#kept.set(key, kept);
    this.#keptBytes += kept.message.length + key.length;
  }

  #drop(key: string, kept: Kept): void {
    this.#kept.delete(key);
    this.#keptBytes -= kept.message.length + key.length;
  }
}
