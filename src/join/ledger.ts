// The invites of a node: which are open, and what became of the others for as long as they would have been good, so that
// whoever comes with one is told. It is kept in a file, without any secret. Bounded: {@link MOST_INVITES}.

import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { codeOf, messageOf, NodeError } from '../errors.ts';
import type { Log } from '../log.ts';

export const MOST_INVITES = 64;
/** What became of an invite is told for so long after it ended. */
const REMEMBERED_SECONDS = 24 * 3600;

const entrySchema = z.strictObject({
  name: z.string(),
  /** `open`: good for one node that joins. */
  state: z.enum(['open', 'used', 'revoked', 'expired']),
  /** Of the one-time tunnel, in base64; null: the request is carried by hand. */
  publicKey: z.string().nullable(),
  /** Of the new node, with prefix lengths. */
  addresses: z.array(z.string()),
  /** Of `firewall.profiles`; null, as in files of versions without it: none. */
  profile: z.string().nullable().default(null),
  createdSeconds: z.int(),
  expiresSeconds: z.int(),
  /** The public key that joined. */
  usedBy: z.string().nullable(),
});
const fileSchema = z.strictObject({ invites: z.array(entrySchema).max(MOST_INVITES) });

export type LedgerEntry = Readonly<z.infer<typeof entrySchema>>;

export class Ledger {
  readonly #save: (content: string) => Promise<void>;
  #entries: readonly LedgerEntry[];

  private constructor(entries: readonly LedgerEntry[], save: (content: string) => Promise<void>) {
    this.#entries = entries;
    this.#save = save;
  }

  /** Reads the file. One that says nothing sensible is passed over with a warning: its invites are no good any more. */
  static open(file: string, save: (content: string) => Promise<void>, log: Pick<Log, 'warn'>): Ledger {
    try {
      return new Ledger(fileSchema.parse(JSON.parse(readFileSync(file, 'utf8'))).invites, save);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT')
        log.warn(`the invites in ${file} cannot be read and are no good any more: ${messageOf(error)}`);
      return new Ledger([], save);
    }
  }

  get entries(): readonly LedgerEntry[] {
    return this.#entries;
  }

  /** The open one of a name. */
  open(name: string): LedgerEntry | undefined {
    return this.#entries.find((entry) => entry.name === name && entry.state === 'open');
  }

  withKey(publicKey: string): LedgerEntry | undefined {
    return this.#entries.find((entry) => entry.publicKey === publicKey);
  }

  /** @throws NodeError `ERR_JOIN_LIMIT` when too many are open */
  async add(entry: LedgerEntry): Promise<void> {
    const known = [...this.#entries];
    if (known.length >= MOST_INVITES) {
      const ended = known.findIndex(({ state }) => state !== 'open');
      if (ended < 0) {
        throw new NodeError(
          'ERR_JOIN_LIMIT',
          `${MOST_INVITES} invites are open, which is the most there can be`,
          {
            hint: 'revoke one: ringfence invite --revoke NAME',
          },
        );
      }
      known.splice(ended, 1);
    }
    await this.#replace([...known, entry]);
  }

  /** Changes what one entry says. */
  async set(entry: LedgerEntry, change: Partial<LedgerEntry>): Promise<LedgerEntry> {
    const changed = { ...entry, ...change };
    await this.#replace(this.#entries.map((one) => (one === entry ? changed : one)));
    return changed;
  }

  /** Ends what is over by now. Gives what has expired, and what is forgotten. */
  async expire(nowSeconds: number): Promise<{ expired: LedgerEntry[]; forgotten: LedgerEntry[] }> {
    const isOver = ({ state, expiresSeconds }: LedgerEntry): boolean =>
      state === 'open' && nowSeconds >= expiresSeconds;
    const isOld = ({ expiresSeconds }: LedgerEntry): boolean =>
      nowSeconds >= expiresSeconds + REMEMBERED_SECONDS;
    const expired = this.#entries.filter(isOver);
    const forgotten = this.#entries.filter(isOld);
    if (expired.length + forgotten.length > 0) {
      const kept = this.#entries.filter((entry) => !isOld(entry));
      await this.#replace(kept.map((entry) => (isOver(entry) ? { ...entry, state: 'expired' } : entry)));
    }
    return { expired, forgotten };
  }

  async #replace(entries: readonly LedgerEntry[]): Promise<void> {
    await this.#save(`${JSON.stringify({ invites: entries }, null, 2)}\n`);
    this.#entries = entries;
  }
}
