// `ringfence bench aead`: the AEAD of this build's core beside OpenSSL's, in alternating rounds, sealing and opening.
//
// Ours is called as JavaScript calls it: the time has a call into wasm in it, the setting up of a key, and a nonce. OpenSSL's
// is `openssl speed`, a loop in C with the key set up once, for a call from Node.js takes 6 µs around it. Where that program is
// missing, Node's own OpenSSL gets 1 MiB at a time, which hides its call: more than it could do with packets of any size.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { execa } from 'execa';
import { Core, compile } from 'wireguard-wasm';
import { countFor, medianOf, type Progress, spread, timeOf, warmUp } from './repeat.ts';
import type { Spread } from './result.ts';

/** Bytes of text: a small packet, a larger one, a full one at the usual MTU, a jumbo frame. */
export const AEAD_SIZES = [64, 256, 1420, 9000] as const;

const DIRECTIONS = ['seal', 'open'] as const;
type Direction = (typeof DIRECTIONS)[number];
const CIPHER = 'chacha20-poly1305';
const [KEY, NONCE] = [new Uint8Array(32), new Uint8Array(12)];
const BULK = Buffer.alloc(1 << 20);

/** Gigabytes of text per second, by size in bytes: the median of the rounds. */
type BySize = Readonly<Record<string, number>>;

/** What `--json` prints. `wasmGBps`, `opensslGBps` and `ratio` are of sealing; `open` has the same for opening. */
export interface AeadResult {
  readonly wasmGBps: BySize;
  readonly opensslGBps: BySize;
  /** The median of the rounds' ratios, ours to OpenSSL's. */
  readonly ratio: BySize;
  readonly open: { readonly wasmGBps: BySize; readonly opensslGBps: BySize; readonly ratio: BySize };
  readonly openssl: { readonly version: string; readonly method: string };
  readonly rounds: number;
  readonly rows: readonly AeadRow[];
}

export interface AeadRow {
  readonly direction: Direction;
  readonly bytes: number;
  readonly wasm: Spread;
  readonly openssl: Spread;
  readonly ratio: Spread;
}

export interface AeadSettings {
  readonly rounds: number;
  readonly sizes: readonly number[];
  /** Of one measurement of ours; OpenSSL's takes a second. */
  readonly measureNs?: number;
  readonly warmMs?: number;
}

interface OpenSsl {
  readonly version: string;
  readonly method: string;
  gigabytesPerSecond(direction: Direction, bytes: number): Promise<number>;
}

/** Measures. Takes a second for each size, direction and round. */
export async function measureAead(settings: AeadSettings, progress: Progress): Promise<AeadResult> {
  const { rounds, sizes, measureNs } = settings;
  const core = new Core(compile(), { log: () => undefined }, 0);
  const openssl = (await opensslSpeed()) ?? opensslOfNode();
  const cells = sizes.flatMap((bytes) => DIRECTIONS.map((direction) => ({ bytes, direction })));
  warmUp(() => wasmNs(core, 'open', 1420, 1_000_000), settings.warmMs);
  const samples = cells.map(() => ({ wasm: [] as number[], openssl: [] as number[] }));
  for (let round = 0; round < rounds; round++) {
    for (const [index, { bytes, direction }] of cells.entries()) {
      progress(round * cells.length + index, rounds * cells.length, `${direction} ${bytes} bytes`);
      samples[index]?.wasm.push(bytes / wasmNs(core, direction, bytes, measureNs));
      samples[index]?.openssl.push(await openssl.gigabytesPerSecond(direction, bytes));
    }
  }
  const rows = cells.map((cell, index): AeadRow => {
    const { wasm = [], openssl: other = [] } = samples[index] ?? {};
    const ratios = wasm.map((ours, round) => ours / (other[round] ?? Number.NaN));
    return { ...cell, wasm: spread(wasm), openssl: spread(other), ratio: spread(ratios) };
  });
  const { version, method } = openssl;
  return {
    ...mediansOf(rows, 'seal'),
    open: mediansOf(rows, 'open'),
    openssl: { version, method },
    rounds,
    rows,
  };
}

function mediansOf(rows: readonly AeadRow[], direction: Direction): AeadResult['open'] {
  const of = (key: 'wasm' | 'openssl' | 'ratio'): BySize =>
    Object.fromEntries(
      rows.filter((row) => row.direction === direction).map((row) => [row.bytes, round3(row[key].median)]),
    );
  return { wasmGBps: of('wasm'), opensslGBps: of('openssl'), ratio: of('ratio') };
}

function round3(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** Nanoseconds for a message. Opening needs a sealed one each time, so it is what a pair of both takes less sealing. */
export function wasmNs(core: Core, direction: Direction, bytes: number, measureNs?: number): number {
  core.seal(KEY, NONCE, new Uint8Array(), new Uint8Array(bytes));
  const seal = (count: number): void => {
    for (let n = 0; n < count; n++) core.aeadInPlace('seal', bytes);
  };
  const both = (count: number): void => {
    for (let n = 0; n < count; n++) {
      core.aeadInPlace('seal', bytes);
      core.aeadInPlace('open', bytes);
    }
  };
  if (direction === 'seal') return timeOf(seal, countFor(seal, measureNs));
  const count = countFor(both, measureNs);
  const turns = [0, 1, 2].map(() => timeOf(both, count) - timeOf(seal, count));
  return medianOf(turns);
}

/** The program `openssl`, if this machine has one that can do this. */
async function opensslSpeed(): Promise<OpenSsl | null> {
  const found = await execa('openssl', ['version'], { reject: false });
  if (found.failed) return null;
  const args = ['speed', '-mr', '-seconds', '1', '-evp', CIPHER, '-aead'];
  return {
    version: String(found.stdout).split(' ').slice(0, 2).join(' '),
    method: `openssl speed -evp ${CIPHER} -aead`,
    gigabytesPerSecond: async (direction, bytes) => {
      const opens = direction === 'open' ? ['-decrypt'] : [];
      const { stdout } = await execa('openssl', [...args, '-bytes', String(bytes), ...opens]);
      const rate = /^\+F:\d+:[^:]+:([\d.]+)/m.exec(stdout)?.[1];
      if (rate === undefined) throw new Error(`openssl speed said nothing readable: ${stdout.slice(0, 200)}`);
      return Number(rate) / 1e9;
    },
  };
}

/** The OpenSSL that Node.js carries, at its best. */
function opensslOfNode(): OpenSsl {
  const sealed = (): Buffer => createCipheriv(CIPHER, KEY, NONCE, { authTagLength: 16 }).update(BULK);
  const opened = (): Buffer => createDecipheriv(CIPHER, KEY, NONCE, { authTagLength: 16 }).update(BULK);
  return {
    version: `OpenSSL ${process.versions.openssl}`,
    method: 'node:crypto, 1 MiB at a time: more than it does with packets',
    gigabytesPerSecond: async (direction) => {
      const call = direction === 'seal' ? sealed : opened;
      const work = (count: number): void => {
        for (let n = 0; n < count; n++) call();
      };
      return BULK.length / timeOf(work, countFor(work));
    },
  };
}
