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
  chainKey,
  NO_TABLES,
  type OwnTables,
  renderRestore,
  sameChains,
  tablesOf,
  withoutChains,
} from './render-iptables-restore.ts';
import { ruleComment } from './render-nft.ts';
import { FAMILY } from './render-nft-parts.ts';
import type { Total } from './ruleset.ts';
import type { Replacement } from './table.ts';

/** iptables waits so long for another program that holds its lock; it is ended after 8 s. */
export const LOCK_SECONDS = 5;

/** What was listed: all tables, and what of them is ours. */
interface Saved {
  readonly tables: Readonly<Record<Version, ReadonlyMap<string, SavedTable>>>;
  readonly own: Readonly<Record<Version, OwnTables>>;
}

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
    const there = saved.own;
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
    const { own } = await this.#save('detect');
    return VERSIONS.some((version) => isAnything(own[version]));
  }

  async totals(): Promise<ReadonlyMap<string, Total>> {
    this.#count(await this.#save('detect'));
    return this.#totals;
  }

  async snapshot(): Promise<() => Promise<void>> {
    const { own: before } = await this.#save('detect');
    return async () => {
      const { own: now } = await this.#save('apply');
      for (const version of VERSIONS) await this.#restore('apply', version, now[version], before[version]);
    };
  }

  /** Where both kinds are missing, nothing of ours is there. */
  async remove(): Promise<void> {
    const { own } = await this.#save('remove');
    for (const version of VERSIONS) await this.#restore('remove', version, own[version], NO_TABLES);
    await this.#removeMade();
    this.#totals = new Map();
    this.#digest = null;
  }

  /** Both versions, or none: what is committed when one fails is taken back. */
  async #replace(ruleset: IptablesRuleset, saved: Saved): Promise<void> {
    const before = saved.own;
    const kept = this.#keptChains(ruleset, saved);
    const totals = this.#uncounted(before, kept);
    const wanted = tablesOf(ruleset, rulesetComment(ruleset), totals, kept);
    if (!VERSIONS.every((version) => areHooked(before[version], wanted[version])))
      await this.#noteMade(saved);
    try {
      for (const version of VERSIONS) {
        await this.#restore('apply', version, withoutChains(version, before[version], kept), wanted[version]);
      }
    } catch (error) {
      throw await this.#takeBack(before, error);
    }
    this.#ruleset = ruleset;
    this.#remember(await this.#save('detect'));
  }

  /**
   * What stands as it should needs not be loaded again: of thousands of addresses, all. Only if all is as we left it, and as far
   * as what others have counted has a place elsewhere.
   */
  #keptChains(ruleset: IptablesRuleset, saved: Saved): ReadonlySet<string> {
    if (this.#ruleset === null || this.#digest !== this.#digestOf(saved)) return new Set();
    const kept = sameChains(this.#ruleset, ruleset);
    const places = Map.groupBy(countedChains(ruleset), ({ counter }) => counter);
    for (const [name, { packets, bytes }] of this.#uncounted(saved.own, kept)) {
      const all = places.get(name) ?? [];
      // ip6tables-nft-restore takes no counts, so they go to IPv4 where that has the counter, too.
      const ipv4 = all.filter(({ version }) => version === 4);
      const chains = ipv4.length > 0 ? ipv4 : all;
      if ((packets > 0n || bytes > 0n) && chains.every(({ key }) => kept.has(key)))
        kept.delete(chains[0]?.key ?? '');
    }
    return kept;
  }

  /** The totals of what is loaded anew: chains that are kept go on from what their rules have counted. */
  #uncounted(
    before: Readonly<Record<Version, OwnTables>>,
    kept: ReadonlySet<string>,
  ): ReadonlyMap<string, Total> {
    if (kept.size === 0) return this.#totals;
    const counted = countersOf(before, (key) => kept.has(key));
    const rest = [...this.#totals].map(([name, total]): [string, Total] => {
      const { packets = 0n, bytes = 0n } = counted.get(name) ?? {};
      return [
        name,
        { packets: atLeastZero(total.packets - packets), bytes: atLeastZero(total.bytes - bytes) },
      ];
    });
    return new Map(rest);
  }

  /** Returns the error with whether what was there before is there again. */
  async #takeBack(before: Readonly<Record<Version, OwnTables>>, error: unknown): Promise<unknown> {
    let restored = true;
    try {
      const { own: now } = await this.#save('apply');
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

  async #restore(phase: 'apply' | 'remove', version: Version, from: OwnTables, to: OwnTables): Promise<void> {
    const text = withoutGoneInIptables(renderRestore(from, to));
    if (text === '' || !isThereVersion(version)) return;
    const args = ['--noflush', '--counters', '-w', `${LOCK_SECONDS}`];
    await this.#commands.run(phase, this.#program(version, 'restore'), args, text);
  }

  #areFirst(saved: Saved): boolean {
    return VERSIONS.every((version) => areJumpsFirst(saved.tables[version], this.#network));
  }

  #remember(saved: Saved): void {
    this.#digest = this.#digestOf(saved);
  }

  /** Of our chains and of our jumps, and of whether these are where they belong. */
  #digestOf(saved: Saved): string {
    const { own } = saved;
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

  #count(saved: Saved): void {
    for (const [name, total] of countersOf(saved.own, () => true)) this.#totals.set(name, total);
  }

  async #save(phase: 'detect' | 'apply' | 'remove'): Promise<Saved> {
    const [v4, v6] = await Promise.all(VERSIONS.map(async (version) => await this.#listing(phase, version)));
    const tables = { 4: parseSave(v4 ?? ''), 6: parseSave(v6 ?? '') };
    const own = (version: Version): OwnTables => ownTables(tables[version], this.#network);
    return { tables, own: { 4: own(4), 6: own(6) } };
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
        if (!saved.tables[version].has(table)) return [`${version} ${table}`];
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
      const there = saved.tables[version].get(table);
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

/** Rules of one counter add up, in both versions. */
function countersOf(
  own: Readonly<Record<Version, OwnTables>>,
  isMeant: (chain: string) => boolean,
): Map<string, Total> {
  const counted = new Map<string, Total>();
  const rules = VERSIONS.flatMap((version) =>
    IPTABLES_TABLES.flatMap((table) =>
      own[version][table].chains.filter(({ name }) => isMeant(chainKey(version, table, name))),
    ),
  ).flatMap(({ rules: all }) => all);
  for (const { text, packets, bytes } of rules) {
    const [, name] = /--comment "?(rf_[^" ]+)"?/.exec(text) ?? [];
    if (name === undefined) continue;
    const sum = counted.get(name) ?? { packets: 0n, bytes: 0n };
    counted.set(name, { packets: sum.packets + packets, bytes: sum.bytes + bytes });
  }
  return counted;
}

interface CountedChain {
  readonly version: Version;
  readonly key: string;
  readonly counter: string;
}

/** Each chain with the counters of its rules. */
function countedChains({ tables }: IptablesRuleset): CountedChain[] {
  return VERSIONS.flatMap((version) =>
    IPTABLES_TABLES.flatMap((table) =>
      tables[version][table].chains.flatMap(({ name, rules }) => {
        const counters = new Set(rules.flatMap(({ counter }) => counter ?? []));
        return [...counters].map((counter) => ({ version, key: chainKey(version, table, name), counter }));
      }),
    ),
  );
}

function atLeastZero(count: bigint): bigint {
  return count < 0n ? 0n : count;
}

/** Whether we have been at each of the kernel's chains that we go to: then it is there, and who made it is noted. */
function areHooked(there: OwnTables, wanted: OwnTables): boolean {
  return IPTABLES_TABLES.every((table) =>
    wanted[table].jumps.every(({ hook }) => there[table].jumps.some((jump) => jump.hook === hook)),
  );
}

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
