// What the names of the host's rules stand for (`firewall.process[].to_dns`), asked again when their TTL ends. A rule that keeps
// users from an address is to hold whatever becomes of DNS: what is not answered is as it was, each IP version by itself.

import { type IpAddress, parseIp, renderIp } from '../address/ip.ts';
import { type ResolvedName, resolveName } from './names.ts';

/** How long a start waits for DNS, and then for the rest of what the host asks. */
const LIMIT_MS = 2_000;
const MOST_TTL_MS = 300_000;
/** What is not answered is asked for again this soon, and doubled up to the last. */
const FIRST_RETRY_MS = 5_000;
const LAST_RETRY_MS = 60_000;

/** All addresses of each name, in an order of their own: a resolver may answer in any. */
export type Resolved = ReadonlyMap<string, readonly IpAddress[]>;

interface Known {
  readonly addresses: readonly IpAddress[];
  /** When to ask next. */
  readonly dueMs: number;
  readonly retryMs: number;
}

export class RuleNames {
  readonly #known: Map<string, Known>;

  /** Nothing is asked yet: they stand for what they did, by `former`, or by `saved` from before this node started. */
  constructor(
    names: readonly string[],
    former: Resolved,
    saved: Readonly<Record<string, readonly string[]>>,
  ) {
    const due = { dueMs: Number.NEGATIVE_INFINITY, retryMs: FIRST_RETRY_MS };
    this.#known = new Map(
      names.map((name) => [
        name,
        { addresses: former.get(name) ?? (saved[name] ?? []).flatMap(parsed), ...due },
      ]),
    );
  }

  get resolved(): Resolved {
    return new Map([...this.#known].map(([name, { addresses }]) => [name, addresses]));
  }

  /** How long until the next of them is due; null when there are none. */
  get restMs(): number | null {
    const due = [...this.#known.values()].map(({ dueMs }) => dueMs);
    return due.length === 0 ? null : Math.max(0, Math.min(...due) - performance.now());
  }

  /** Asks for those that are due. Does not fail. */
  async ask(): Promise<void> {
    const nowMs = performance.now();
    const due = [...this.#known].filter(([, { dueMs }]) => dueMs <= nowMs);
    await Promise.all(
      due.map(async ([name]) => this.take(name, await resolveName(name, LIMIT_MS).catch(() => null))),
    );
  }

  /** An answer about a name, or null for none. Returns whether it is one of these. */
  take(name: string, answer: ResolvedName | null): boolean {
    const known = this.#known.get(name);
    if (known === undefined) return false;
    const { addresses, unknown, ttlMs } = answer ?? NO_ANSWER;
    const kept = known.addresses.filter(({ version }) => unknown.includes(version));
    const isWhole = unknown.length === 0;
    const restMs = Math.min(ttlMs, isWhole ? MOST_TTL_MS : known.retryMs);
    this.#known.set(name, {
      addresses: distinct([...addresses, ...kept]),
      dueMs: performance.now() + restMs,
      retryMs: isWhole ? FIRST_RETRY_MS : Math.min(known.retryMs * 2, LAST_RETRY_MS),
    });
    return true;
  }
}

const NO_ANSWER: ResolvedName = { addresses: [], unknown: [4, 6], ttlMs: Number.POSITIVE_INFINITY };

function distinct(addresses: readonly IpAddress[]): IpAddress[] {
  return [...new Set(addresses.map(renderIp))].toSorted().flatMap(parsed);
}

function parsed(text: string): IpAddress[] {
  const address = parseIp(text);
  return address.ok ? [address.value] : [];
}
