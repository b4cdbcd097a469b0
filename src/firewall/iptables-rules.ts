// The host's rules as chains of iptables and ip6tables of one kind: looked at, replaced, removed. iptables-restore commits table
// by table, so what fails half way is taken back from what was there before. Each kernel chain that leads to ours begins with
// a jump whose comment says what ours are made of.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { FirewallError } from '../errors.ts';
import type { HostPolicy } from '../policy/host.ts';
import type { Flavour, HostRuleset } from './backend.ts';
import { withoutGoneInIptables } from './cgroups.ts';
import type { Commands } from './commands.ts';
import { type HostFacts, VERSIONS, type Version } from './facts.ts';
import { areJumpsFirst, isUntouched, ownTables, parseSave, type SavedTable } from './iptables-save.ts';
import { MadeTables } from './made-tables.ts';
import { parseNftList } from './nft-json.ts';
import { chainPrefix, IPTABLES_TABLES, type IptablesRuleset, renderIptables } from './render-iptables.ts';
import {
  type KeptChains,
  keptChains,
  NO_TABLES,
  type OwnTables,
  renderRestore,
  tablesOf,
} from './render-iptables-restore.ts';
import { ruleComment } from './render-nft.ts';
import { FAMILY } from './render-nft-parts.ts';
import type { Total } from './ruleset.ts';
import type { Replacement } from './table.ts';

/** iptables waits so long for another program that holds its lock; it is ended after 8 s. */
export const LOCK_SECONDS = 5;

type Saved = Readonly<Record<Version, ReadonlyMap<string, SavedTable>>>;

export class IptablesRules implements HostRuleset {
  readonly kind: `iptables-${Flavour}`;
  readonly name: string;
  readonly title: string;
  readonly #commands: Commands;
  readonly #flavour: Flavour;
  readonly #network: string;
  readonly #made: MadeTables;
  #ruleset: IptablesRuleset | null = null;
  /** What its counters had counted when that was last asked, so that chains that somebody flushed go on counting. */
  #totals = new Map<string, Total>();
  /** Of our part of the listing right after our last change. */
  #digest: string | null = null;

  constructor(commands: Commands, flavour: Flavour, network: string, runDirectory: string) {
    this.#commands = commands;
    this.#flavour = flavour;
    this.#network = network;
    this.#made = new MadeTables(runDirectory, network);
    this.kind = `iptables-${flavour}`;
    this.name = chainPrefix(network).slice(0, -1);
    this.title = `set of chains ${this.name} (${this.kind})`;
  }

  get counters(): readonly string[] {
    return this.#ruleset?.counters ?? [];
  }

  async apply(policy: HostPolicy, facts: HostFacts): Promise<Replacement> {
    const ruleset = renderIptables(policy, facts);
    const saved = await this.#save('detect');
    const there = this.#own(saved);
    const wanted = tablesOf(ruleset, rulesetComment(ruleset), new Map());
    if (VERSIONS.every((version) => isSame(there[version], wanted[version])) && this.#areFirst(saved)) {
      this.#ruleset = ruleset;
      this.#remember(saved);
      return 'adopted';
    }
    this.#count(saved);
    await this.#replace(ruleset, saved);
    return VERSIONS.some((version) => isAnything(there[version])) ? 'replaced' : 'made';
  }

  async putBack(): Promise<void> {
    if (this.#ruleset !== null) await this.#replace(this.#ruleset, await this.#save('detect'));
  }

  async isIntact(): Promise<boolean> {
    const saved = await this.#save('detect');
    return this.#digest !== null && this.#digestOf(saved) === this.#digest;
  }

  async ping(): Promise<void> {}

  async look(): Promise<string> {
    const texts = await Promise.all(VERSIONS.map(async (version) => await this.#listing('detect', version)));
    const rules = texts.join('\n').replaceAll(/^#.*$|\[\d+:\d+\]/gm, '');
    return createHash('sha256').update(rules).digest('hex');
  }

  async isThere(): Promise<boolean> {
    const own = this.#own(await this.#save('detect'));
    return VERSIONS.some((version) => isAnything(own[version]));
  }

  async totals(): Promise<ReadonlyMap<string, Total>> {
    this.#count(await this.#save('detect'));
    return this.#totals;
  }

  async snapshot(): Promise<() => Promise<void>> {
    const before = this.#own(await this.#save('detect'));
    return async () => {
      const now = this.#own(await this.#save('apply'));
      for (const version of VERSIONS) await this.#restore('apply', version, now[version], before[version]);
    };
  }

  /** Where both kinds are missing, nothing of ours is there. */
  async remove(): Promise<void> {
    const own = this.#own(await this.#save('remove'));
    for (const version of VERSIONS) await this.#restore('remove', version, own[version], NO_TABLES);
    await this.#removeMade();
    this.#totals = new Map();
    this.#digest = null;
  }

  /** Both versions, or none: what is committed when one fails is taken back. */
  async #replace(ruleset: IptablesRuleset, saved: Saved): Promise<void> {
    const before = this.#own(saved);
    const wanted = tablesOf(ruleset, rulesetComment(ruleset), this.#totals);
    const former = this.#digest !== null && this.#digestOf(saved) === this.#digest ? this.#ruleset : null;
    await this.#noteMade(saved);
    try {
      for (const version of VERSIONS) {
        // Of what stands as we left it only what differs is said: two thousand chains take iptables-nft seconds.
        const kept =
          former === null ? undefined : keptChains(former.tables[version], ruleset.tables[version]);
        await this.#restore('apply', version, before[version], wanted[version], kept);
      }
    } catch (error) {
      throw await this.#takeBack(before, error);
    }
    this.#ruleset = ruleset;
    this.#remember(await this.#save('detect'));
  }

  /** Returns the error with whether what was there before is there again. */
  async #takeBack(before: Readonly<Record<Version, OwnTables>>, error: unknown): Promise<unknown> {
    let restored = true;
    try {
      const now = this.#own(await this.#save('apply'));
      for (const version of VERSIONS) await this.#restore('apply', version, now[version], before[version]);
      if (!VERSIONS.some((version) => isAnything(before[version]))) await this.#removeMade();
    } catch {
      restored = false;
    }
    if (!(error instanceof FirewallError) || restored) return error;
    return new FirewallError(
      error.code,
      error.message,
      { ...error.failure, restored },
      {
        hint: `look at what is left with ${this.kind}-save; take it out with: ringfence firewall remove ${this.#network}`,
        cause: error,
      },
    );
  }

  async #restore(
    phase: 'apply' | 'remove',
    version: Version,
    from: OwnTables,
    to: OwnTables,
    kept?: KeptChains,
  ): Promise<void> {
    const text = withoutGoneInIptables(renderRestore(from, to, kept));
    if (text === '' || !isThereVersion(version)) return;
    const args = ['--noflush', '--counters', '-w', `${LOCK_SECONDS}`];
    await this.#commands.run(phase, this.#program(version, 'restore'), args, text);
  }

  #own(saved: Saved): Record<Version, OwnTables> {
    return { 4: ownTables(saved[4], this.#network), 6: ownTables(saved[6], this.#network) };
  }

  #areFirst(saved: Saved): boolean {
    return VERSIONS.every((version) => areJumpsFirst(saved[version], this.#network));
  }

  #remember(saved: Saved): void {
    this.#digest = this.#digestOf(saved);
  }

  /** Of our chains and of our jumps, and of whether these are where they belong. */
  #digestOf(saved: Saved): string {
    const own = this.#own(saved);
    const texts = VERSIONS.map((version) =>
      IPTABLES_TABLES.map((table) => {
        const { chains, jumps } = own[version][table];
        const rules = chains.map(({ name, rules: all }) => [name, all.map(({ text }) => text)]);
        return [rules, jumps.map(({ hook, rule }) => [hook, rule.text])];
      }),
    );
    const digested = JSON.stringify([texts, this.#areFirst(saved)]);
    return createHash('sha256').update(digested).digest('hex');
  }

  /** Rules of one counter add up, in both versions. */
  #count(saved: Saved): void {
    const counted = new Map<string, Total>();
    const own = this.#own(saved);
    const rules = VERSIONS.flatMap((version) => IPTABLES_TABLES.map((table) => own[version][table]))
      .flatMap(({ chains }) => chains)
      .flatMap(({ rules: all }) => all);
    for (const { text, packets, bytes } of rules) {
      const [, name] = /--comment "?(rf_[^" ]+)"?/.exec(text) ?? [];
      if (name === undefined) continue;
      const sum = counted.get(name) ?? { packets: 0n, bytes: 0n };
      counted.set(name, { packets: sum.packets + packets, bytes: sum.bytes + bytes });
    }
    for (const [name, total] of counted) this.#totals.set(name, total);
  }

  async #save(phase: 'detect' | 'apply' | 'remove'): Promise<Saved> {
    const [v4, v6] = await Promise.all(VERSIONS.map(async (version) => await this.#listing(phase, version)));
    return { 4: parseSave(v4 ?? ''), 6: parseSave(v6 ?? '') };
  }

  async #listing(phase: 'detect' | 'apply' | 'remove', version: Version): Promise<string> {
    if (!isThereVersion(version)) return '';
    return await this.#commands.run(phase, this.#program(version, 'save'), ['--counters']);
  }

  #program(version: Version, verb: 'save' | 'restore'): string {
    return `${version === 4 ? 'iptables' : 'ip6tables'}-${this.#flavour}-${verb}`;
  }

  /**
   * Tables of iptables-nft that are not there yet, and chains at the kernel's hooks, are ours to remove. Legacy ones stay until
   * the kernel's module goes. iptables-save shows chains that are not there, so only nft can tell.
   */
  async #noteMade(saved: Saved): Promise<void> {
    if (this.#flavour === 'legacy') return;
    const { ok, stdout } = await this.#commands.try('nft', ['-j', '-t', 'list', 'chains']);
    const there = parseNftList(stdout).chains.map(({ family, table, name }) => `${family} ${table} ${name}`);
    const missing = VERSIONS.flatMap((version) =>
      IPTABLES_TABLES.flatMap((table) => {
        if (!saved[version].has(table)) return [`${version} ${table}`];
        const chains = HOOKS.map((hook) => `${table} ${hook}`);
        return ok
          ? chains
              .filter((name) => !there.includes(`${FAMILY[version]} ${name}`))
              .map((name) => `${version} ${name}`)
          : [];
      }),
    );
    this.#made.note(missing);
  }

  /** Those of the tables and chains we made that nobody else uses: the kernel refuses to take a chain that has rules. */
  async #removeMade(): Promise<void> {
    if (this.#flavour === 'legacy') return;
    const saved = await this.#save('remove');
    for (const { version, table, chain } of this.#made.list()) {
      const there = saved[version].get(table);
      if (there === undefined) continue;
      const family = FAMILY[version];
      if (chain !== null) {
        if (there.chains.get(chain) !== 'ACCEPT') continue;
        await this.#commands.try('nft', ['delete', 'chain', family, table, chain]);
      } else if (isUntouched(there)) {
        // `nft` takes the empty table as well; without it the chains at the kernel's hooks go.
        const { ok } = await this.#commands.try('nft', ['delete', 'table', family, table]);
        if (!ok)
          await this.#commands.try(version === 4 ? 'iptables-nft' : 'ip6tables-nft', ['-t', table, '-X']);
      }
    }
    this.#made.forget();
  }
}

/** The chains of the kernel that any of ours is jumped to from. */
const HOOKS = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'] as const;

/** A host without IPv6 has nothing to guard there. */
function isThereVersion(version: Version): boolean {
  return version === 4 || existsSync('/proc/net/if_inet6');
}

function isAnything(own: OwnTables): boolean {
  return Object.values(own).some(({ chains, jumps }) => chains.length + jumps.length > 0);
}

/** By what the jumps say, and by the number of rules: the kernel words rules in its own way. */
function isSame(there: OwnTables, wanted: OwnTables): boolean {
  const shape = (own: OwnTables): string =>
    JSON.stringify(
      IPTABLES_TABLES.map((table) => [
        own[table].chains.map(({ name, rules }) => `${name} ${rules.length}`).sort(),
        own[table].jumps.map(({ hook, rule }) => `${hook} ${rule.text}`).sort(),
      ]),
    );
  return shape(there) === shape(wanted);
}

/** What the jumps of a ruleset say: whose it is, and a digest of all of it. */
export function rulesetComment(ruleset: IptablesRuleset): string {
  const digest = createHash('sha256').update(JSON.stringify(ruleset)).digest('hex').slice(0, 16);
  return `${ruleComment(ruleset.network)}:${digest}`;
}
