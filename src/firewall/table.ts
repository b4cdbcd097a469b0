// Our own nft table on the host: looked at, replaced or changed in one transaction, removed. It is found by its name, and known
// by its mark for what it holds.

import { createHash } from 'node:crypto';
import { FirewallError } from '../errors.ts';
import { withCgroupNumbers } from './cgroups.ts';
import type { Commands } from './commands.ts';
import { OwnChanges, PING } from './own-changes.ts';
import {
  isMark,
  markOf,
  type NftSet,
  type Ruleset,
  renderChange,
  renderRemoval,
  renderScript,
  renderSteps,
  type Total,
} from './ruleset.ts';

/** A named counter in a listing, with what it has counted. */
const COUNTER = /^\tcounter (\S+) \{\n\t\tpackets (\d+) bytes (\d+)/gm;

export type Replacement = 'adopted' | 'changed' | 'replaced' | 'made';

/** Our table as the host lists it, without the elements of its sets. */
interface Listing {
  /** null where it is not whole, or not of this program. */
  readonly mark: string | null;
  readonly ruleCount: number;
  /** Of all but what was counted. */
  readonly digest: string;
}

export class NftTable {
  readonly name: string;
  /** What the monitor is told to expect. */
  readonly changes = new OwnChanges();
  readonly #commands: Commands;
  /** What we put there last; null before that. */
  #inForce: Ruleset | null = null;
  /** What its counters had counted when that was last asked, so that a table somebody flushed goes on counting. */
  #totals = new Map<string, Total>();
  /** The host's listing without elements after our last change, which nobody waits for. */
  #rules: Promise<Listing | null> = Promise.resolve(null);

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
    const isForeign = this.changes.isForeign;
    const change = this.#inForce === null || isForeign ? null : renderChange(this.#inForce, ruleset);
    if (change !== null && change !== '' && (await this.#change(change, ruleset))) return 'changed';
    const there = await this.#list();
    if (there === null) {
      await this.replace(ruleset);
      return 'made';
    }
    if (!isForeign && (await this.#isSame(there, ruleset))) {
      this.#inForce = ruleset;
      this.#remember();
      return 'adopted';
    }
    await this.replace(ruleset);
    return 'replaced';
  }

  /** One that we left there is as its guard says; of any other the elements are compared, too. */
  async #isSame({ mark, ruleCount }: Listing, ruleset: Ruleset): Promise<boolean> {
    if (mark !== markOf(ruleset) || ruleCount !== ruleCountOf(ruleset)) return false;
    return this.#inForce !== null || (await this.#hasElements(ruleset));
  }

  /** Puts a ruleset in force without a look at what is there, counting on from the totals known. */
  async replace(ruleset: Ruleset): Promise<void> {
    const mark = markOf(ruleset);
    const script = renderScript(ruleset, mark, this.#totals);
    this.#inForce = null;
    await this.#run(mark, true, script);
    this.#inForce = ruleset;
    this.#remember();
  }

  /**
   * The same of what somebody else changed. Where that is `isOpen`, what the rules deny is denied after the first of two
   * transactions, and what elements of thousands allow passes after the second.
   */
  async putBack(ruleset: Ruleset, isOpen: boolean): Promise<void> {
    const steps = isOpen ? renderSteps(ruleset, this.#totals) : null;
    if (steps === null) return await this.replace(ruleset);
    this.#inForce = null;
    const first = this.#run(steps.mark, true, steps.first);
    const script = steps.second();
    await first;
    try {
      await this.#run(markOf(ruleset), false, script);
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      return await this.replace(ruleset);
    }
    this.#inForce = ruleset;
    this.#remember();
  }

  /** Whether the table took the change. nft refuses all of it where it is not the table that we left. */
  async #change(script: string, ruleset: Ruleset): Promise<boolean> {
    try {
      await this.#run(markOf(ruleset), false, script);
    } catch (error) {
      if (error instanceof FirewallError) return false;
      throw error;
    }
    this.#inForce = ruleset;
    this.#remember();
    return true;
  }

  async #run(mark: string, isWhole: boolean, script: string): Promise<void> {
    await this.changes.run(mark, isWhole, async () => {
      await this.#commands.run('apply', 'nft', ['-f', '-'], script);
    });
  }

  /** A change that the kernel tells of, and that leaves everything as it was. */
  async ping(): Promise<void> {
    const chain = `inet ${this.name} ${PING}`;
    await this.#commands.run('apply', 'nft', ['-f', '-'], `add chain ${chain}\ndelete chain ${chain}\n`);
  }

  /** Takes what is there for what we have made. */
  #remember(): void {
    this.#rules = this.#list();
  }

  /** Whether the table is as we left it, for whoever was not told of all changes. */
  async isIntact(): Promise<boolean> {
    const [left, there] = [await this.#rules, await this.#list()];
    if (this.#inForce === null || there === null || there.digest !== left?.digest) return false;
    return await this.#hasElements(this.#inForce);
  }

  /** Whether the sets have the elements that they are to have. Of thousands that takes a while. */
  async #hasElements({ sets }: Ruleset): Promise<boolean> {
    if (sets.every(({ elements }) => elements.length === 0)) return true;
    const { ok, stdout } = await this.#commands.try('nft', ['-n', '-s', 'list', 'table', 'inet', this.name]);
    const there = elementsIn(stdout);
    return ok && sets.every((set) => isSameElements(set, there.get(set.name) ?? []));
  }

  async isThere(): Promise<boolean> {
    return (await this.#commands.try('nft', ['-t', 'list', 'table', 'inet', this.name])).ok;
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

  /**
   * The table without elements; null where there is none. Only a list of the ruleset leaves the elements in the kernel: of one
   * table nft reads them all, and then does not print them.
   */
  async #list(): Promise<Listing | null> {
    const { ok, stdout } = await this.#commands.try('nft', ['-t', 'list', 'ruleset', 'inet']);
    const text = ok ? tableIn(stdout, this.name) : null;
    if (text === null) return null;
    const mark = [...text.matchAll(/^\tchain (\S+) \{$/gm)].map(([, name = '']) => name).find(isMark);
    for (const [, name = '', packets = '0', bytes = '0'] of text.matchAll(COUNTER)) {
      this.#totals.set(name, { packets: BigInt(packets), bytes: BigInt(bytes) });
    }
    const uncounted = withCgroupNumbers(text.replaceAll(/\bpackets \d+ bytes \d+/g, ''));
    const digest = createHash('sha256').update(uncounted).digest('hex');
    return { mark: mark ?? null, ruleCount: rulesIn(text), digest };
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

/** The elements of each set and map of a listing, as they are written. */
function elementsIn(listing: string): Map<string, string[]> {
  const sets = listing.matchAll(/^\t(?:set|map) (\S+) \{\n(.*?)^\t\}/gms);
  return new Map(
    [...sets].map(([, name = '', body = '']) => {
      const [, list] = /\belements = \{ ([^}]*) \}/.exec(body) ?? [];
      return [name, list?.split(/,\s+/) ?? []];
    }),
  );
}

function isSameElements({ elements }: NftSet, there: readonly string[]): boolean {
  const wanted = new Set(elements);
  return there.length === wanted.size && there.every((one) => wanted.has(one));
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
