// `ringfence bench routes`: what it costs to find a packet's peer among 10 to 1,000,000 allowed IPs, in this build's core.
//
// Destinations are drawn evenly from all prefixes, which is the worst there is: real traffic goes where it went before, and
// finds that in the caches. Two figures: addresses looked up together, as the core does for the frames of a batch, and one by
// one, each by a call of its own, as each received packet asks for its sender.
//
// A batch takes less than 0.1 ms, so that of several turns most are without whatever else the machine does. Tables of all
// sizes stand side by side and are asked in turn; what counts is the least time of each batch.

import { type CompiledCore, Core, compile, LOOKUP_MOST, NO_PEER } from 'wireguard-wasm';
import { type Progress, spread, warmUp } from './repeat.ts';
import type { Spread } from './result.ts';

export const ROUTE_COUNTS = [10, 100, 1_000, 10_000, 100_000, 1_000_000] as const;

const PEERS = 1_000;
/** Of 16 bytes each, IPv4 in the first four. */
const ADDRESS_BYTES = 16;
/** Prefixes given from one peer to another, to see what that takes. */
const MOVES = 1_000;

/** What `--json` prints. */
export interface RoutesResult {
  readonly rounds: number;
  /** Lookups of one measurement. */
  readonly lookups: number;
  readonly rows: readonly RoutesRow[];
  /** The least at the most prefixes to that at the fewest. */
  readonly ratio: number;
}

export interface RoutesRow {
  readonly prefixes: number;
  /** Of a lookup among many, each batch in its fastest turn. */
  readonly leastNs: number;
  /** The same, whole turns. */
  readonly ns: Spread;
  /** Of a lookup by itself, less the least that its call takes in an empty table. */
  readonly aloneNs: Spread;
  /** Giving a new prefix to a peer, the call included. */
  readonly insertNs: number;
  /** Taking a prefix from one peer and giving it to another, in two calls. */
  readonly moveNs: number;
  /** What the core's memory grew by for a prefix; null where that is lost in what it had before. */
  readonly bytesPerPrefix: number | null;
}

export interface RoutesSettings {
  readonly rounds: number;
  readonly counts: readonly number[];
  readonly lookups: number;
  readonly warmMs?: number;
}

interface Prefix {
  readonly address: Uint8Array;
  readonly length: number;
}

/** A table of one size, and what was measured of it. */
interface Table {
  readonly core: Core;
  readonly batches: readonly Batch[];
  /** Of each batch, nanoseconds of its fastest turn. */
  readonly least: number[];
  /** Of each turn, nanoseconds of a lookup. */
  readonly turns: number[];
  readonly alone: number[];
  readonly row: Pick<RoutesRow, 'prefixes' | 'insertNs' | 'moveNs' | 'bytesPerPrefix'>;
}

export function measureRoutes(settings: RoutesSettings, progress: Progress): RoutesResult {
  const { rounds, counts, lookups } = settings;
  const module = compile();
  const empty = coreWithPeers(module, 0);
  const tables = counts.map((count, index) => {
    progress(index, counts.length + rounds, `${count.toLocaleString('en')} prefixes`);
    return tableOf(module, count, settings);
  });
  let callNs = Number.POSITIVE_INFINITY;
  for (let round = 0; round <= rounds; round++) {
    progress(counts.length + round, counts.length + rounds, `round ${round} of ${rounds}`);
    for (const table of tables) {
      callNs = Math.min(callNs, turn(table, empty, lookups, round > 0)); // the first warms up
    }
  }
  const rows = tables.map(({ row, least, turns, alone }): RoutesRow => {
    const leastNs = least.reduce((sum, ns) => sum + ns, 0) / lookups;
    return { ...row, leastNs, ns: spread(turns), aloneNs: spread(alone.map((ns) => ns - callNs)) };
  });
  const leasts = rows.map((row) => row.leastNs);
  return { rounds, lookups, rows, ratio: (leasts.at(-1) ?? Number.NaN) / (leasts[0] ?? Number.NaN) };
}

/** A core of its own with `count` prefixes, the same as any other table begins with, and what it takes to have and move them. */
function tableOf(module: CompiledCore, count: number, settings: RoutesSettings): Table {
  const core = coreWithPeers(module, PEERS);
  const random = new Random(0x9e3779b9);
  const prefixes: Prefix[] = [];
  const memoryBefore = core.memory.buffer.byteLength;
  const insertNs = load(core, prefixes, count, random);
  const bytesPerPrefix = count < 10_000 ? null : (core.memory.buffer.byteLength - memoryBefore) / count;
  warm(core, prefixes, random, settings.warmMs);
  const batches = drawn(prefixes, settings.lookups, random);
  const row = { prefixes: count, insertNs, moveNs: move(core, prefixes), bytesPerPrefix };
  return { core, batches, least: batches.map(() => Number.POSITIVE_INFINITY), turns: [], alone: [], row };
}

/** Returns what a lookup by itself takes in the empty table. */
function turn(table: Table, empty: Core, lookups: number, counts: boolean): number {
  const { core, batches, least, turns, alone } = table;
  const times = batches.map((batch) => togetherNs(core, batch));
  const [batch] = batches;
  if (batch === undefined) return Number.NaN;
  const [aloneTime, callNs] = [aloneNs(core, batch), aloneNs(empty, batch)];
  if (!counts) return callNs;
  times.forEach((ns, index) => {
    least[index] = Math.min(least[index] ?? ns, ns);
  });
  turns.push(times.reduce((sum, ns) => sum + ns, 0) / lookups);
  alone.push(aloneTime);
  return callNs;
}

function coreWithPeers(module: CompiledCore, count: number): Core {
  const core = new Core(module, { log: (text) => process.stderr.write(text) }, 0);
  core.setIdentity(new Uint8Array(32).fill(1));
  const key = new Uint8Array(32).fill(2);
  for (let peer = 0; peer < count; peer++) {
    new DataView(key.buffer).setUint32(0, peer, true);
    core.addPeer({ publicKey: key, persistentKeepaliveSeconds: 0 });
  }
  return core;
}

/** Lets V8 compile what is measured, with as many prefixes as make every path through it run. */
function warm(core: Core, prefixes: readonly Prefix[], random: Random, milliseconds?: number): void {
  const peer = core.addPeer({ publicKey: new Uint8Array(32).fill(9), persistentKeepaliveSeconds: 0 });
  const others = Array.from({ length: 1_000 }, () => random.prefix());
  for (const { address, length } of others) core.allow(peer, address, length);
  const batches = drawn(others, 10_000, random);
  warmUp(() => batches.forEach((batch) => void togetherNs(core, batch)), milliseconds);
  core.removePeer(peer);
  prefixes.forEach(({ address, length }, index) => void core.allow(index % PEERS, address, length));
}

/** Adds prefixes up to `count`. Nanoseconds for each. */
function load(core: Core, prefixes: Prefix[], count: number, random: Random): number {
  const [first, added] = [prefixes.length, count - prefixes.length];
  for (let n = 0; n < added; n++) prefixes.push(random.prefix());
  const began = process.hrtime.bigint();
  for (let n = first; n < count; n++) {
    const { address, length } = prefixes[n] as Prefix;
    core.allow(n % PEERS, address, length);
  }
  return Number(process.hrtime.bigint() - began) / Math.max(added, 1);
}

/** Moves some prefixes to the next peer and back. Nanoseconds for one move. */
function move(core: Core, prefixes: readonly Prefix[]): number {
  const count = Math.min(MOVES, prefixes.length);
  const step = Math.floor(prefixes.length / count);
  const began = process.hrtime.bigint();
  for (const shift of [0, 1]) {
    for (let n = 0; n < count * step; n += step) {
      const { address, length } = prefixes[n] as Prefix;
      core.disallow((n + shift) % PEERS, address, length);
      core.allow((n + 1 - shift) % PEERS, address, length);
    }
  }
  return Number(process.hrtime.bigint() - began) / (2 * count);
}

interface Batch {
  readonly family: 4 | 6;
  readonly addresses: Uint8Array;
}

/** Addresses inside of prefixes drawn evenly, in batches of one family, as large as the core takes them. */
function drawn(prefixes: readonly Prefix[], count: number, random: Random): Batch[] {
  const byFamily = { 4: [] as Uint8Array[], 6: [] as Uint8Array[] };
  for (let n = 0; n < count; n++) {
    const prefix = prefixes[random.below(prefixes.length)] as Prefix;
    byFamily[prefix.address.length === 4 ? 4 : 6].push(random.within(prefix));
  }
  return ([4, 6] as const).flatMap((family) =>
    Array.from({ length: Math.ceil(byFamily[family].length / LOOKUP_MOST) }, (_, index) => {
      const some = byFamily[family].slice(index * LOOKUP_MOST, (index + 1) * LOOKUP_MOST);
      const addresses = new Uint8Array(some.length * ADDRESS_BYTES);
      some.forEach((address, place) => {
        addresses.set(address, place * ADDRESS_BYTES);
      });
      return { family, addresses };
    }),
  );
}

/** Nanoseconds for the whole batch. Every address has a peer, or what was measured is not a lookup that finds something. */
function togetherNs(core: Core, { family, addresses }: Batch): number {
  const began = process.hrtime.bigint();
  const peers = core.lookup(family, addresses);
  const ns = Number(process.hrtime.bigint() - began);
  for (let at = 0; at < peers.length; at += 4) {
    if (peers[at] === NO_PEER) throw new Error('an address inside of an allowed prefix found no peer');
  }
  return ns;
}

/** Nanoseconds for one address of the batch, each by a call of its own. */
function aloneNs(core: Core, { family, addresses }: Batch): number {
  const single = new Uint8Array(ADDRESS_BYTES);
  const began = process.hrtime.bigint();
  for (let at = 0; at < addresses.length; at += ADDRESS_BYTES) {
    for (let byte = 0; byte < ADDRESS_BYTES; byte++) single[byte] = addresses[at + byte] ?? 0;
    core.lookup(family, single);
  }
  return Number(process.hrtime.bigint() - began) / (addresses.length / ADDRESS_BYTES);
}

/** Repeatable random numbers, good enough to spread addresses (Marsaglia's xorshift, 32 bits). */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }

  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit);
  }

  /** One prefix in four is IPv6. Hosts and LANs above all, some sites and aggregates. */
  prefix(): Prefix {
    const percent = this.below(100);
    if (this.below(4) > 0) return this.#prefix(4, V4_LENGTHS.find(([share]) => percent < share)?.[1]);
    return this.#prefix(6, V6_LENGTHS.find(([share]) => percent < share)?.[1]);
  }

  #prefix(family: 4 | 6, range: readonly [number, number] = [0, 0]): Prefix {
    const [shortest, longest] = range;
    const length = shortest + this.below(longest - shortest + 1);
    const address = new Uint8Array(family === 4 ? 4 : 16);
    this.#fill(address, 0);
    if (family === 6) address[0] = 0x20 | ((address[0] ?? 0) & 0x1f); // global unicast, RFC 4291 §2.4
    return { address, length };
  }

  /** Some address inside. */
  within({ address, length }: Prefix): Uint8Array {
    const inside = address.slice();
    this.#fill(inside, length);
    return inside;
  }

  /** Random bits from the bit `first` on. */
  #fill(bytes: Uint8Array, first: number): void {
    for (let index = first >> 3; index < bytes.length; index++) {
      const kept = index === first >> 3 ? 0xff00 >> (first & 7) : 0;
      bytes[index] = ((bytes[index] ?? 0) & kept) | (this.below(256) & ~kept);
    }
  }
}

/** Up to which percentage, and the shortest and longest of these lengths. */
const V4_LENGTHS = [
  [50, [32, 32]],
  [80, [24, 24]],
  [92, [16, 23]],
  [98, [25, 31]],
  [100, [8, 15]],
] as const satisfies readonly (readonly [number, readonly [number, number]])[];
const V6_LENGTHS = [
  [40, [128, 128]],
  [80, [64, 64]],
  [90, [48, 48]],
  [100, [32, 127]],
] as const satisfies readonly (readonly [number, readonly [number, number]])[];
