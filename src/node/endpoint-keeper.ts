// Keeps peers reachable that have names or several endpoints: asks for names again when their TTL ends or nobody answers, tries
// endpoints in turn while nobody answers, and goes back to a better one once it answers. What a peer's own messages say of its
// place counts more, as everywhere in WireGuard: one that has roamed elsewhere is left there while it answers.

import { type Endpoint, renderEndpoint } from '../address/endpoint.ts';
import type { PeerConfig } from '../config/schema.ts';
import type { PeerEndpoint } from '../control/uapi/change.ts';
import type { PeerTraffic } from '../control/uapi/device.ts';
import { type PeerKey, peerKey } from '../control/uapi/model.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Device } from './device.ts';
import { type ResolvedName, resolveName } from './names.ts';

const LOOK_MS = 1_000;
/** Keepalive-Timeout and some more: a peer that was sent data on a session has been heard by then (paper §6.5). */
const SESSION_PATIENCE_MS = 12_000;
/** Rekey-Timeout and some more: the first initiation went unanswered. */
const HANDSHAKE_PATIENCE_MS = 6_000;
/** Reject-After-Time. */
const SESSION_MS = 180_000;
/** A better endpoint is tried this often. */
const PROBE_MS = 30_000;
/** A name is asked for again this soon when nobody answers, and doubled up to the last when it does not resolve. */
const ASK_AGAIN_MS = 5_000;
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;
/** So many rounds are begun by us; after that, by what the host sends. */
const OWN_ROUNDS = 2;

/** What is known of a peer and its endpoints. */
interface Kept {
  peer: PeerConfig;
  /** By the name in an endpoint. */
  readonly names: Map<string, Name>;
  /** Where to try, the best first. */
  candidates: readonly PeerEndpoint[];
  /** Those of before: a peer that is at one of them has not roamed there by itself. */
  former: ReadonlySet<string>;
  rxBytes: bigint;
  txBytes: bigint;
  /** Since when it was sent something and nothing came back; null = it was heard since. */
  silentMs: number | null;
  /** Endpoints tried since it was last heard. */
  attempts: number;
  probedMs: number;
  probes: number;
}

interface Name {
  endpoint: Endpoint & { readonly kind: 'name' };
  addresses: readonly PeerEndpoint['address'][];
  /** When to ask next. */
  dueMs: number;
  askedMs: number;
  retryMs: number;
  isAsking: boolean;
}

/** Told what a name stands for; nothing is sent there before this has settled. */
type BeforeUse = (name: string, answer: ResolvedName) => Promise<void>;

export class EndpointKeeper implements Disposable {
  readonly #device: Device;
  readonly #log: Log;
  readonly #beforeUse: BeforeUse;
  readonly #kept = new Map<PeerKey, Kept>();
  readonly #timer: NodeJS.Timeout;
  #isLooking = false;

  constructor(device: Device, log: Log, beforeUse: BeforeUse) {
    this.#device = device;
    this.#log = log;
    this.#beforeUse = beforeUse;
    this.#timer = setInterval(() => void this.#look(), LOOK_MS).unref();
  }

  /** From now on these; what is known of a peer with the same endpoints as before stays. */
  update(peers: readonly PeerConfig[]): void {
    const before = new Map(this.#kept);
    this.#kept.clear();
    for (const peer of peers) {
      const isPlain = peer.endpoints.length < 2 && peer.endpoints.every(({ kind }) => kind === 'address');
      if (isPlain) continue;
      const known = before.get(peerKey(peer.publicKey));
      const isKept = known !== undefined && textOf(known.peer) === textOf(peer);
      const kept = isKept ? known : freshly(peer);
      kept.peer = peer; // it may have another name
      this.#kept.set(peerKey(peer.publicKey), kept);
    }
    void this.#look();
  }

  /** The host's network has changed: names that did not resolve may do so now. */
  askAgain(): void {
    for (const kept of this.#kept.values()) {
      for (const name of kept.names.values()) {
        if (name.addresses.length > 0) continue;
        name.retryMs = FIRST_RETRY_MS;
        name.dueMs = name.askedMs + FIRST_RETRY_MS;
      }
    }
    void this.#look();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#kept.clear();
  }

  /** Once a second: asks for names that are due, and sees who answers. */
  async #look(): Promise<void> {
    if (this.#isLooking || this.#kept.size === 0) return;
    this.#isLooking = true;
    try {
      const nowMs = performance.now();
      for (const kept of this.#kept.values()) this.#askDue(kept, nowMs);
      const all = [...this.#kept.values()];
      const traffic = await this.#device.trafficOf(all.map(({ peer }) => peer.publicKey));
      for (const kept of all) {
        const seen = traffic.get(peerKey(kept.peer.publicKey));
        if (seen !== undefined) this.#judge(kept, seen, nowMs);
      }
    } finally {
      this.#isLooking = false;
    }
  }

  #judge(kept: Kept, seen: PeerTraffic, nowMs: number): void {
    observe(kept, seen, nowMs);
    const [best] = kept.candidates;
    if (best === undefined) return;
    const hasSession = seen.lastHandshakeMs !== 0 && Date.now() - seen.lastHandshakeMs < SESSION_MS;
    const patienceMs = hasSession && kept.attempts === 0 ? SESSION_PATIENCE_MS : HANDSHAKE_PATIENCE_MS;
    if (kept.silentMs !== null && nowMs - kept.silentMs >= patienceMs) this.#tryNext(kept, seen, nowMs);
    else if (seen.endpoint === null || (seen.lastHandshakeMs === 0 && kept.attempts === 0))
      this.#place(kept, seen, best);
    else if (hasSession && kept.silentMs === null) this.#tryBetter(kept, seen.endpoint, nowMs);
  }

  /** A peer that was never heard is looked for at the best endpoint; nothing is sent for it. */
  #place({ peer }: Kept, { endpoint }: PeerTraffic, best: PeerEndpoint): void {
    if (endpoint !== null && isSame(endpoint, best)) return;
    void this.#device.steer(peer.publicKey, best, 'move');
    this.#log.info(`${peer.name}: looked for at ${render(best)}`);
  }

  /** Nobody answers: the next endpoint, and the names again. */
  #tryNext(kept: Kept, { endpoint }: PeerTraffic, nowMs: number): void {
    for (const name of kept.names.values()) {
      if (nowMs - name.askedMs >= ASK_AGAIN_MS) this.#ask(kept, name, nowMs);
    }
    kept.silentMs = null; // counted anew, from what is sent next
    const { peer, candidates } = kept;
    const at = endpoint === null ? -1 : candidates.findIndex((one) => isSame(one, endpoint));
    const next = candidates[(at + 1) % candidates.length];
    if (next === undefined || (endpoint !== null && isSame(next, endpoint))) return;
    const isOwn = kept.attempts < OWN_ROUNDS * candidates.length;
    kept.attempts += 1;
    void this.#device.steer(peer.publicKey, next, isOwn ? 'call' : 'move');
    const where = endpoint === null ? '' : ` at ${render(endpoint)}`;
    this.#log
      .limited(`next ${peer.name}`)
      .warn(`${peer.name} does not answer${where}: trying ${render(next)}`);
  }

  /** It answers, but not at the best endpoint: whether that one answers too is asked beside the traffic. */
  #tryBetter(kept: Kept, endpoint: PeerEndpoint, nowMs: number): void {
    const at = kept.candidates.findIndex((one) => isSame(one, endpoint));
    if (at === 0 || (at === -1 && !kept.former.has(render(endpoint)))) return;
    if (nowMs - kept.probedMs < PROBE_MS) return;
    const better = at === -1 ? kept.candidates : kept.candidates.slice(0, at);
    const chosen = better[kept.probes % better.length];
    if (chosen === undefined) return;
    kept.probedMs = nowMs;
    kept.probes += 1;
    void this.#device.steer(kept.peer.publicKey, chosen, 'probe');
    this.#log.debug(`${kept.peer.name}: asking whether it answers at ${render(chosen)} again`);
  }

  #askDue(kept: Kept, nowMs: number): void {
    for (const name of kept.names.values()) if (nowMs >= name.dueMs) this.#ask(kept, name, nowMs);
  }

  #ask(kept: Kept, name: Name, nowMs: number): void {
    if (name.isAsking) return;
    name.isAsking = true;
    name.askedMs = nowMs;
    void this.#resolve(name.endpoint.name).then(
      ({ addresses, ttlMs }) => {
        name.isAsking = false;
        name.dueMs = performance.now() + ttlMs;
        name.retryMs = FIRST_RETRY_MS;
        name.addresses = addresses;
        this.#takeCandidates(kept);
      },
      (error: unknown) => {
        name.isAsking = false;
        name.dueMs = performance.now() + name.retryMs;
        name.retryMs = Math.min(name.retryMs * 2, LAST_RETRY_MS);
        const what = `${kept.peer.name}: ${renderEndpoint(name.endpoint)} does not resolve yet: ${messageOf(error)}`;
        this.#log.limited(`name ${kept.peer.name}`).warn(what);
      },
    );
  }

  async #resolve(name: string): Promise<ResolvedName> {
    const answer = await resolveName(name);
    await this.#beforeUse(name, answer);
    return answer;
  }

  #takeCandidates(kept: Kept): void {
    const candidates = candidatesOf(kept);
    const before = kept.candidates.map(render);
    const now = candidates.map(render);
    if (now.join() === before.join()) return;
    kept.former = new Set(before);
    kept.candidates = candidates;
    kept.probedMs = Number.NEGATIVE_INFINITY; // news is worth a look at once
    this.#log.info(`${kept.peer.name}: its endpoints are at ${now.join(', ')}`);
    void this.#look();
  }
}

function freshly(peer: PeerConfig): Kept {
  const names = new Map<string, Name>();
  for (const endpoint of peer.endpoints) {
    if (endpoint.kind !== 'name') continue;
    const never = Number.NEGATIVE_INFINITY;
    names.set(endpoint.name, {
      endpoint,
      addresses: [],
      dueMs: never,
      askedMs: never,
      retryMs: FIRST_RETRY_MS,
      isAsking: false,
    });
  }
  const kept = {
    peer,
    names,
    candidates: [],
    former: new Set<string>(),
    rxBytes: 0n,
    txBytes: 0n,
    silentMs: null,
    attempts: 0,
    probedMs: Number.NEGATIVE_INFINITY,
    probes: 0,
  };
  return { ...kept, candidates: candidatesOf(kept) };
}

/** In the order of the file, a name at each of its addresses; none twice. */
function candidatesOf({ peer, names }: Pick<Kept, 'peer' | 'names'>): PeerEndpoint[] {
  const all = peer.endpoints.flatMap((endpoint): PeerEndpoint[] => {
    if (endpoint.kind === 'address') return [endpoint];
    const { port } = endpoint;
    return (names.get(endpoint.name)?.addresses ?? []).map((address) => ({ address, zone: null, port }));
  });
  return all.filter((one, index) => all.findIndex((other) => isSame(one, other)) === index);
}

function observe(kept: Kept, { rxBytes, txBytes }: PeerTraffic, nowMs: number): void {
  if (rxBytes !== kept.rxBytes) {
    kept.silentMs = null;
    kept.attempts = 0;
  } else if (txBytes > kept.txBytes) kept.silentMs ??= nowMs;
  kept.rxBytes = rxBytes;
  kept.txBytes = txBytes;
}

function textOf(peer: PeerConfig): string {
  return peer.endpoints.map(renderEndpoint).join();
}

function render(endpoint: PeerEndpoint): string {
  return renderEndpoint({ kind: 'address', ...endpoint });
}

/** A zone is written by name in a file and by number by the lane: the address is enough to tell endpoints apart. */
function isSame(a: PeerEndpoint, b: PeerEndpoint): boolean {
  return a.port === b.port && render({ ...a, zone: null }) === render({ ...b, zone: null });
}
