// The host's rules as our own nft table: what `table.ts` does, with the ruleset that is in force.

import { renderIp } from '../address/ip.ts';
import type { HostPolicy } from '../policy/host.ts';
import type { HostRuleset } from './backend.ts';
import { processNames } from './chains.ts';
import type { Commands } from './commands.ts';
import { type HostFacts, VERSIONS } from './facts.ts';
import { type Ruleset, renderNft, renderRemoval, resolvedSet, type Total, tableName } from './render-nft.ts';
import { NftTable, type Replacement } from './table.ts';

export class NftRules implements HostRuleset {
  readonly kind = 'nft';
  readonly name: string;
  readonly title: string;
  readonly #commands: Commands;
  readonly #table: NftTable;
  #ruleset: Ruleset | null = null;

  constructor(commands: Commands, network: string) {
    this.#commands = commands;
    this.name = tableName(network);
    this.title = `table inet ${this.name}`;
    this.#table = new NftTable(commands, this.name);
  }

  get counters(): readonly string[] {
    return this.#ruleset?.counters ?? [];
  }

  async apply(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    const ruleset = renderNft(policy, facts);
    const how = await this.#table.apply(ruleset);
    this.#ruleset = ruleset;
    return how;
  }

  async setResolved(policy: HostPolicy, facts: HostFacts): Promise<void> {
    const lines = processNames(policy).flatMap((name, i) =>
      VERSIONS.flatMap((version) => {
        const set = `inet ${this.name} ${resolvedSet(i, version)}`;
        const addresses = (facts.resolved.get(name) ?? []).filter((one) => one.version === version);
        const elements = addresses.map(renderIp).join(', ');
        return [`flush set ${set}`, ...(elements === '' ? [] : [`add element ${set} { ${elements} }`])];
      }),
    );
    if (lines.length === 0) return;
    await this.#commands.run('apply', 'nft', ['-f', '-'], `${lines.join('\n')}\n`);
    this.#ruleset = renderNft(policy, facts);
    await this.#table.remember();
  }

  async putBack(): Promise<void> {
    if (this.#ruleset !== null) await this.#table.replace(this.#ruleset);
  }

  async isIntact(andElements: boolean): Promise<boolean> {
    return await this.#table.isIntact(andElements);
  }

  async ping(): Promise<void> {
    await this.#table.ping();
  }

  /** `nft monitor` tells. */
  async look(): Promise<null> {
    return null;
  }

  async isThere(): Promise<boolean> {
    return (await this.#table.list()) !== null;
  }

  async totals(): Promise<ReadonlyMap<string, Total>> {
    return await this.#table.totals();
  }

  async snapshot(): Promise<() => Promise<void>> {
    const listing = await this.#table.list();
    return async () => {
      if (listing === null) await this.#table.remove();
      else await this.#commands.run('apply', 'nft', ['-f', '-'], `${renderRemoval(this.name)}${listing}`);
    };
  }

  async remove(): Promise<void> {
    await this.#table.remove();
  }
}
