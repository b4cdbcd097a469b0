// Our own nft table on the host: looked at, replaced in one transaction, removed. It is found by its name and knows by its
// comment what it was made of.

import { createHash } from 'node:crypto';
import type { Commands } from './commands.ts';
import { parseNftList } from './nft-json.ts';
import { type Ruleset, renderRemoval, renderScript, type Total } from './render-nft.ts';

export type Replacement = 'adopted' | 'replaced' | 'made';

/** A digest of what a ruleset says, without what it has counted. */
export function digestOf({ table, counters, body }: Ruleset): string {
  return createHash('sha256')
    .update(JSON.stringify([table, counters, body]))
    .digest('hex')
    .slice(0, 16);
}

/** What a table of ours says of itself. */
export function tableComment(ruleset: Ruleset): string {
  return `ringfence v1 net=${ruleset.table.replace(/^rf_/, '')} hash=${digestOf(ruleset)}`;
}

export class NftTable {
  readonly name: string;
  readonly #commands: Commands;
  /** What its counters had counted when that was last asked, so that a table somebody flushed goes on counting. */
  #totals = new Map<string, Total>();
  /** Of the host's listing without elements right after our last change; null before there was one. */
  #rules: string | null = null;
  /** The same with elements, which takes as long as there are many. */
  #elements: Promise<string | null> = Promise.resolve(null);

  constructor(commands: Commands, name: string) {
    this.#commands = commands;
    this.name = name;
  }

  /**
   * Puts a ruleset in force, in one transaction. A table that is the same already stays as it is, with its flows, sets and
   * counters.
   * @throws FirewallError when nft refuses it: what was there before still stands
   */
  async apply(ruleset: Ruleset): Promise<Replacement> {
    const comment = tableComment(ruleset);
    const there = await this.#look();
    if (there?.comment === comment && there.ruleCount === ruleCountOf(ruleset)) {
      await this.remember();
      return 'adopted';
    }
    if (there !== null) await this.totals();
    await this.replace(ruleset);
    return there === null ? 'made' : 'replaced';
  }

  /** Puts a ruleset in force without a look at what is there, counting on from the totals known. */
  async replace(ruleset: Ruleset): Promise<void> {
    const script = renderScript(ruleset, tableComment(ruleset), this.#totals);
    await this.#commands.run('apply', 'nft', ['-f', '-'], script);
    await this.remember();
  }

  /** A change that the kernel tells of, and that leaves everything as it was. */
  async ping(): Promise<void> {
    const chain = `inet ${this.name} rf_ping`;
    await this.#commands.run('apply', 'nft', ['-f', '-'], `add chain ${chain}\ndelete chain ${chain}\n`);
  }

  /** Takes what is there for what we have made. To be called after every change of ours. */
  async remember(): Promise<void> {
    this.#rules = await this.#digest(['-s', '-t']);
    this.#elements = this.#digest(['-s']);
  }

  /**
   * Whether the table is as we left it; `andElements`: its sets, too. Which process changed it would not say that: the
   * kernel counts processes from the outside of containers.
   */
  async isIntact(andElements: boolean): Promise<boolean> {
    const rules = await this.#digest(['-s', '-t']);
    if (rules === null || rules !== this.#rules) return false;
    if (!andElements) return true;
    const [left, present] = await Promise.all([this.#elements, this.#digest(['-s'])]);
    return present === left;
  }

  /** The host's own listing; null where there is no such table. */
  async list(): Promise<string | null> {
    const { ok, stdout } = await this.#commands.try('nft', ['list', 'table', 'inet', this.name]);
    return ok ? `${stdout}\n` : null;
  }

  /** What the counters have counted, of the table now there and of those before it. */
  async totals(): Promise<ReadonlyMap<string, Total>> {
    const { ok, stdout } = await this.#commands.try('nft', [
      '-j',
      'list',
      'counters',
      'table',
      'inet',
      this.name,
    ]);
    if (ok) {
      for (const { name, packets, bytes } of parseNftList(stdout).counters) {
        this.#totals.set(name, { packets, bytes });
      }
    }
    return this.#totals;
  }

  async remove(): Promise<void> {
    await this.#commands.run('remove', 'nft', ['-f', '-'], renderRemoval(this.name));
    this.#totals = new Map();
  }

  async #digest(options: readonly string[]): Promise<string | null> {
    const { ok, stdout } = await this.#commands.try('nft', [...options, 'list', 'table', 'inet', this.name]);
    return ok ? createHash('sha256').update(stdout).digest('hex') : null;
  }

  async #look(): Promise<{ readonly comment: string; readonly ruleCount: number } | null> {
    const { ok, stdout } = await this.#commands.try('nft', ['-t', 'list', 'table', 'inet', this.name]);
    if (!ok) return null;
    const [, comment = ''] = /^\tcomment "([^"]*)"/m.exec(stdout) ?? [];
    const json = await this.#commands.try('nft', ['-j', '-t', 'list', 'table', 'inet', this.name]);
    return { comment, ruleCount: parseNftList(json.stdout).rules.length };
  }
}

/** A rule is a line of a chain that is not its `type`. */
function ruleCountOf({ body }: Ruleset): number {
  const chains = body.matchAll(/^\tchain [^\n]*\{\n(.*?)^\t\}/gms);
  return [...chains].reduce(
    (sum, [, lines = '']) =>
      sum + lines.split('\n').filter((line) => line !== '' && !/^\t\ttype /.test(line)).length,
    0,
  );
}
