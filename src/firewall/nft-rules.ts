// The host's rules as our own nft table: what `table.ts` does, with the ruleset that is in force.

import type { HostPolicy } from '../policy/host.ts';
import type { HostRuleset } from './backend.ts';
import { withoutGoneInNft } from './cgroups.ts';
import type { Commands } from './commands.ts';
import type { HostFacts } from './facts.ts';
import type { OwnChanges } from './own-changes.ts';
import { renderNft, tableName } from './render-nft.ts';
import { markOf, type Ruleset, renderRemoval, type Total } from './ruleset.ts';
import { NftTable, type Replacement } from './table.ts';

export class NftRules implements HostRuleset {
  readonly kind = 'nft';
  readonly name: string;
  readonly title: string;
  readonly #commands: Commands;
  readonly #table: NftTable;
  #ruleset: Ruleset | null = null;
  #prepared: { readonly policy: HostPolicy; readonly facts: HostFacts; readonly ruleset: Ruleset } | null =
    null;

  constructor(commands: Commands, network: string) {
    this.#commands = commands;
    this.name = tableName(network);
    this.title = `table inet ${this.name}`;
    this.#table = new NftTable(commands, this.name);
  }

  get counters(): readonly string[] {
    return this.#ruleset?.counters ?? [];
  }

  prepare(policy: HostPolicy, facts: HostFacts): void {
    const ruleset = renderNft(policy, facts);
    markOf(ruleset);
    this.#prepared = { policy, facts, ruleset };
  }

  async apply(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    const prepared = this.#prepared;
    const isPrepared = prepared?.policy === policy && prepared.facts === facts;
    const ruleset = isPrepared ? prepared.ruleset : renderNft(policy, facts);
    this.#prepared = null;
    const how = await this.#table.apply(ruleset);
    this.#ruleset = ruleset;
    return how;
  }

  async putBack(isOpen: boolean): Promise<void> {
    if (this.#ruleset !== null) await this.#table.putBack(this.#ruleset, isOpen);
  }

  async isIntact(): Promise<boolean> {
    return await this.#table.isIntact();
  }

  get changes(): OwnChanges {
    return this.#table.changes;
  }

  async ping(): Promise<void> {
    await this.#table.ping();
  }

  /** `nft monitor` tells. */
  async look(): Promise<null> {
    return null;
  }

  async isThere(): Promise<boolean> {
    return await this.#table.isThere();
  }

  async totals(): Promise<ReadonlyMap<string, Total>> {
    return await this.#table.totals();
  }

  async snapshot(): Promise<() => Promise<void>> {
    const listing = await this.#table.list();
    return async () => {
      if (listing === null) return await this.#table.remove();
      const script = `${renderRemoval(this.name)}${withoutGoneInNft(listing)}`;
      await this.#commands.run('apply', 'nft', ['-f', '-'], script);
    };
  }

  async remove(): Promise<void> {
    await this.#table.remove();
  }
}
