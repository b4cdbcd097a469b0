// The file that keeps what peers and services were counted by, so that it outlives the program. Written whole and atomically;
// one that cannot be read is kept aside and told of, for a quota must not begin anew unnoticed.

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, messageOf } from '../errors.ts';
import type { LaneTally } from '../lane/messages.ts';
import type { Log } from '../log.ts';
import type { Mark } from '../policy/period.ts';
import { moveFile, replaceFile } from './replace-file.ts';

/** A hundred thousand peers. */
const MOST_BYTES = 64 << 20;
const VERSION = 1;
const PERIODS = ['day', 'week', 'month'] as const;

/** What one peer, or one service, was counted by. */
export interface Account {
  /** From the peer; to the service. */
  readonly up: LaneTally;
  readonly down: LaneTally;
  /** Of a peer that has, or had, a quota: the period that it counts in last, and what was counted when each began. */
  readonly quota: { readonly period: (typeof PERIODS)[number]; readonly marks: readonly Mark[] } | null;
}

export interface AccountBook {
  /** By name. */
  readonly peers: Map<string, Account>;
  readonly services: Map<string, Account>;
}

export class AccountsFile {
  readonly path: string;
  readonly #log: Pick<Log, 'warn'>;
  #hasFailed = false;

  constructor(directory: string, interfaceName: string, log: Pick<Log, 'warn'>) {
    this.path = join(directory, `${interfaceName}.accounts.json`);
    this.#log = log;
  }

  /** What it says; nothing where there is none. Never fails: a file that says nothing sensible is moved aside. */
  async read(): Promise<AccountBook> {
    try {
      return parseBook(await readBounded(this.path));
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') await this.#setAside(error);
      return { peers: new Map(), services: new Map() };
    }
  }

  /** Never fails: what cannot be written now is written the next time, and the first failure is told of. */
  async write(book: AccountBook): Promise<boolean> {
    try {
      await replaceFile(this.path, renderBook(book));
      this.#hasFailed = false;
      return true;
    } catch (error) {
      if (!this.#hasFailed) {
        this.#log.warn(
          `cannot keep what peers have used in ${this.path}: ${messageOf(error)}. After a restart quotas begin anew: set RINGFENCE_STATE_DIR to a folder this user may write to`,
        );
      }
      this.#hasFailed = true;
      return false;
    }
  }

  async #setAside(reason: unknown): Promise<void> {
    const aside = `${this.path}.refused`;
    const what = `cannot read what peers have used from ${this.path}: ${messageOf(reason)}`;
    try {
      await moveFile(this.path, aside);
      this.#log.warn(`${what}. It is kept as ${aside}; counts and quotas begin anew`);
    } catch (error) {
      this.#log.warn(`${what}, nor move it aside: ${messageOf(error)}. Counts and quotas begin anew`);
    }
  }
}

async function readBounded(path: string): Promise<string> {
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  if (size > MOST_BYTES) throw new Error(`it has ${size} bytes, more than any that this program writes`);
  return await file.readFile('utf8');
}

function renderBook({ peers, services }: AccountBook): string {
  const plain = (accounts: ReadonlyMap<string, Account>): unknown => Object.fromEntries(accounts);
  const book = { version: VERSION, peers: plain(peers), services: plain(services) };
  return `${JSON.stringify(book, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}\n`;
}

function parseBook(text: string): AccountBook {
  const book = record(JSON.parse(text));
  if (book['version'] !== VERSION) throw new Error(`it is of version ${String(book['version'])}`);
  const accounts = (value: unknown): Map<string, Account> =>
    new Map(Object.entries(record(value)).map(([name, account]) => [name, parseAccount(account)]));
  return { peers: accounts(book['peers']), services: accounts(book['services']) };
}

function parseAccount(value: unknown): Account {
  const { up, down, quota } = record(value);
  return {
    up: parseTally(up),
    down: parseTally(down),
    quota: quota === null ? null : parseQuota(record(quota)),
  };
}

function parseQuota({ period: text, marks }: Record<string, unknown>): Account['quota'] {
  const period = PERIODS.find((name) => name === text);
  if (period === undefined || !Array.isArray(marks)) throw new Error('a quota in it is none');
  const list = marks.map((mark: unknown): Mark => {
    const { startMs, bytes } = record(mark);
    if (typeof startMs !== 'number' || !Number.isSafeInteger(startMs))
      throw new Error('a time in it is none');
    return { startMs, bytes: parseCount(bytes) };
  });
  return { period, marks: list };
}

function parseTally(value: unknown): LaneTally {
  const { bytes, packets, flows } = record(value);
  return { bytes: parseCount(bytes), packets: parseCount(packets), flows: parseCount(flows) };
}

/** Counts are decimal strings, for they outgrow a JavaScript number. */
function parseCount(value: unknown): bigint {
  if (typeof value !== 'string' || !/^[0-9]{1,20}$/.test(value)) throw new Error('a count in it is none');
  return BigInt(value);
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new Error('it is not what this program writes');
}
