// Our own nft table on the host: looked at, replaced in one transaction, removed. It is found by its name and knows by its
// comment what it was made of.

import { createHash } from 'node:crypto';
import { FirewallError } from '../errors.ts';
import { withCgroupNumbers } from './cgroups.ts';
import type { Commands } from './commands.ts';
import { type Ruleset, renderChange, renderRemoval, renderScript, type Total } from './ruleset.ts';

/** A named counter in a listing, with what it has counted. */
const COUNTER = /^\tcounter (\S+) \{\n\t\tpackets (\d+) bytes (\d+)/gm;

export type Replacement = 'adopted' | 'changed' | 'replaced' | 'made';

/** A digest of what a ruleset says, without what it has counted. */
export function digestOf({ table, counters, sets, chains }: Ruleset): string {
  return createHash('sha256')
    .update(JSON.stringify([table, counters, sets, chains]))
    .digest('hex')
    .slice(0, 16);
}

/** What a table of ours says of itself. */
export function tableComment(ruleset: Ruleset): string {
  return `ringfence v1 net=${ruleset.table.replace(/^rf_/, '')} hash=${digestOf(ruleset)}`;
}

/** Our table as the host lists it, without the elements of its sets. */
interface Listing {
  readonly comment: string;
  readonly ruleCount: number;
  /** Of all but what was counted. */
  readonly digest: string;
}

export class NftTable {
  readonly name: string;
  readonly #commands: Commands;
  /** What we put there last, and nobody else changed since; null before that. */
  #inForce: Ruleset | null = null;
  /** What its counters had counted when that was last asked, so that a table somebody flushed goes on counting. */
  #totals = new Map<string, Total>();
  /** Of the host's listing without elements right after our last change; null before there was one. */
  #rules: string | null = null;
  /** Of the listing with elements, which takes as long as there are many. */
  #elements: Promise<string | null> = Promise.resolve(null);

  constructor(commands: Commands, name: string) {
    this.#commands = commands;
    this.name = name;
  }

  /**
   * Puts a ruleset in force, in one transaction. A table that is the same already stays as it is, with its flows, sets and
   * counters; one that we made is changed by what differs.
   * @throws FirewallError when nft refuses it: what was there before still stands
   */
  async apply(ruleset: Ruleset): Promise<Replacement> {
    const there = await this.#list();
    if (there === null) {
      await this.replace(ruleset);
      return 'made';
    }
    const isOurs = this.#inForce !== null && there.digest === this.#rules;
    const change = isOurs && this.#inForce !== null ? renderChange(this.#inForce, ruleset) : null;
    const isSame = there.comment === tableComment(ruleset) && there.ruleCount === ruleCountOf(ruleset);
    if (change === '' || (!isOurs && isSame)) {
      this.#inForce = ruleset;
      if (!isOurs) await this.#remember();
      return 'adopted';
    }
    if (change !== null && (await this.#change(change, ruleset))) return 'changed';
    await this.replace(ruleset);
    return 'replaced';
  }

  /** Puts a ruleset in force without a look at what is there, counting on from the totals known. */
  async replace(ruleset: Ruleset): Promise<void> {
    const script = renderScript(ruleset, tableComment(ruleset), this.#totals);
    this.#inForce = null;
    await this.#commands.run('apply', 'nft', ['-f', '-'], script);
    this.#inForce = ruleset;
    await this.#remember();
  }

  /** Whether the table took the change. An element that somebody took away meanwhile makes nft refuse all of it. */
  async #change(script: string, ruleset: Ruleset): Promise<boolean> {
    try {
      await this.#commands.run('apply', 'nft', ['-f', '-'], script);
    } catch (error) {
      if (error instanceof FirewallError) return false;
      throw error;
    }
    this.#inForce = ruleset;
    await this.#remember();
    return true;
  }

  /** A change that the kernel tells of, and that leaves everything as it was. */
  async ping(): Promise<void> {
    const chain = `inet ${this.name} rf_ping`;
    await this.#commands.run('apply', 'nft', ['-f', '-'], `add chain ${chain}\ndelete chain ${chain}\n`);
  }

  /** Takes what is there for what we have made. */
  async #remember(): Promise<void> {
    this.#rules = (await this.#list())?.digest ?? null;
    this.#elements = this.#digestAll();
  }

  /**
   * Whether the table is as we left it; `andElements`: its sets, too. Which process changed it would not say that: the
   * kernel counts processes from the outside of containers.
   */
  async isIntact(andElements: boolean): Promise<boolean> {
    const there = await this.#list();
    if (there === null || there.digest !== this.#rules) return false;
    if (!andElements) return true;
    const [left, present] = await Promise.all([this.#elements, this.#digestAll()]);
    return present === left;
  }

  async isThere(): Promise<boolean> {
    return (await this.#list()) !== null;
  }

  /** The host's own listing; null where there is no such table. */
  async list(): Promise<string | null> {
    const { ok, stdout } = await this.#commands.try('nft', ['list', 'table', 'inet', this.name]);
    return ok ? `${stdout}\n` : null;
  }

  /** What the counters have counted, of the table now there and of those before it. */
  async totals(): Promise<ReadonlyMap<string, Total>> {
    await this.#list();
    return this.#totals;
  }

  async remove(): Promise<void> {
    await this.#commands.run('remove', 'nft', ['-f', '-'], renderRemoval(this.name));
    this.#totals = new Map();
    this.#inForce = null;
  }

  async #digestAll(): Promise<string | null> {
    const { ok, stdout } = await this.#commands.try('nft', ['-s', 'list', 'table', 'inet', this.name]);
    return ok ? createHash('sha256').update(withCgroupNumbers(stdout)).digest('hex') : null;
  }

  /**
   * The table without elements; null where there is none. Only a list of the ruleset leaves the elements in the kernel: of one
   * table nft reads them all, and then does not print them.
   */
  async #list(): Promise<Listing | null> {
    const { ok, stdout } = await this.#commands.try('nft', ['-t', 'list', 'ruleset', 'inet']);
    const text = ok ? tableIn(stdout, this.name) : null;
    if (text === null) return null;
    const [, comment = ''] = /^\tcomment "([^"]*)"/m.exec(text) ?? [];
    for (const [, name = '', packets = '0', bytes = '0'] of text.matchAll(COUNTER)) {
      this.#totals.set(name, { packets: BigInt(packets), bytes: BigInt(bytes) });
    }
    const uncounted = withCgroupNumbers(text.replaceAll(/\bpackets \d+ bytes \d+/g, ''));
    const digest = createHash('sha256').update(uncounted).digest('hex');
    return { comment, ruleCount: rulesIn(text), digest };
  }
}

/** One table of family `inet` out of a listing; null where it is not there. */
function tableIn(listing: string, name: string): string | null {
  const begin = `table inet ${name} {\n`;
  const from = listing.startsWith(begin) ? 0 : listing.indexOf(`\n${begin}`);
  if (from === -1) return null;
  const end = listing.indexOf('\n}', from);
  return listing.slice(from, end === -1 ? undefined : end);
}

/** A rule is a line of a chain that is not its `type`. */
function rulesIn(text: string): number {
  const chains = text.matchAll(/^\tchain [^\n]*\{\n(.*?)^\t\}/gms);
  return [...chains].reduce(
    (sum, [, lines = '']) =>
      sum + lines.split('\n').filter((line) => line !== '' && !/^\t\ttype /.test(line)).length,
    0,
  );
}

function ruleCountOf({ chains }: Ruleset): number {
  return chains.reduce((sum, { rules }) => sum + rules.length, 0);
}
