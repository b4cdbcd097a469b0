// What iptables-restore is told: how the tables get from what they have of ours to what they are to have, in text. Pure.

import { VERSIONS, type Version } from './facts.ts';
import type { IptablesRule } from './iptables-chains.ts';
import {
  IPTABLES_TABLES,
  type IptablesRuleset,
  type IptablesTable,
  type IptablesTableName,
} from './render-iptables.ts';
import type { Total } from './ruleset.ts';

/** One rule of a chain as it stands, or is to stand, with what it has counted. */
export interface CountedRule extends Total {
  readonly text: string;
}

/** What a table has of ours. */
export interface OwnTable {
  readonly chains: readonly { readonly name: string; readonly rules: readonly CountedRule[] }[];
  /** Rules in chains of others or the kernel's that lead to ours, in their order. */
  readonly jumps: readonly { readonly hook: string; readonly rule: CountedRule }[];
}

export type OwnTables = Readonly<Record<IptablesTableName, OwnTable>>;

const NOTHING: OwnTable = { chains: [], jumps: [] };
export const NO_TABLES: OwnTables = { raw: NOTHING, mangle: NOTHING, filter: NOTHING, nat: NOTHING };

/**
 * What is to be loaded of a ruleset, without the chains that are kept. Counters begin at their totals: each at the first rule of
 * its name.
 */
export function tablesOf(
  { tables }: IptablesRuleset,
  comment: string,
  totals: ReadonlyMap<string, Total>,
  kept: ReadonlySet<string> = new Set(),
): Readonly<Record<Version, OwnTables>> {
  const left = new Map(totals);
  const counted = ({ text, counter }: IptablesRule): CountedRule => {
    const { packets = 0n, bytes = 0n } = left.get(counter ?? '') ?? {};
    left.delete(counter ?? '');
    return { text, packets, bytes };
  };
  const own = (version: Version, table: IptablesTableName, { chains, jumps }: IptablesTable): OwnTable => ({
    chains: chains
      .filter(({ name }) => !kept.has(chainKey(version, table, name)))
      .map(({ name, rules }) => ({ name, rules: rules.map(counted) })),
    jumps: jumps.map(({ hook, chain }) => ({
      hook,
      rule: { text: `-m comment --comment "${comment}" -j ${chain}`, packets: 0n, bytes: 0n },
    })),
  });
  const all = (version: Version): OwnTables => {
    const { raw, mangle, filter, nat } = tables[version];
    return {
      raw: own(version, 'raw', raw),
      mangle: own(version, 'mangle', mangle),
      filter: own(version, 'filter', filter),
      nat: own(version, 'nat', nat),
    };
  };
  return { 4: all(4), 6: all(6) };
}

/** The same without these chains: what is not named stays as it is. */
export function withoutChains(version: Version, tables: OwnTables, kept: ReadonlySet<string>): OwnTables {
  const rest = (table: IptablesTableName): OwnTable => ({
    chains: tables[table].chains.filter(({ name }) => !kept.has(chainKey(version, table, name))),
    jumps: tables[table].jumps,
  });
  return { raw: rest('raw'), mangle: rest('mangle'), filter: rest('filter'), nat: rest('nat') };
}

/** `4 raw RF-home0-LEAK` of each chain that says the same in both, word for word. */
export function sameChains(former: IptablesRuleset, next: IptablesRuleset): Set<string> {
  const chainsOf = ({ tables }: IptablesRuleset): [string, string][] =>
    VERSIONS.flatMap((version) =>
      IPTABLES_TABLES.flatMap((table) =>
        tables[version][table].chains.map(({ name, rules }): [string, string] => [
          chainKey(version, table, name),
          rules.map(({ text }) => text).join('\n'),
        ]),
      ),
    );
  const before = new Map(chainsOf(former));
  // A cgroup that is gone was left out of its chain, and may be back.
  const same = chainsOf(next).filter(([key, text]) => before.get(key) === text && !text.includes('--path'));
  return new Set(same.map(([key]) => key));
}

export function chainKey(version: Version, table: IptablesTableName, chain: string): string {
  return `${version} ${table} ${chain}`;
}

/**
 * For `iptables-restore --noflush --counters`: what takes the tables from what they have of ours to what they are to have. A
 * table is one transaction: no packet meets neither or both. The empty text where there is nothing to do.
 */
export function renderRestore(from: OwnTables, to: OwnTables): string {
  return IPTABLES_TABLES.map((table) => renderTable(table, from[table], to[table])).join('');
}

function renderTable(table: IptablesTableName, from: OwnTable, to: OwnTable): string {
  const wanted = new Set(to.chains.map(({ name }) => name));
  const gone = from.chains.map(({ name }) => name).filter((name) => !wanted.has(name));
  const lines = [
    ...to.chains.map(({ name }) => `:${name} - [0:0]`), // which empties it, too
    ...from.jumps.map(({ hook, rule }) => `-D ${hook} ${rule.text}`),
    ...gone.map((name) => `-F ${name}`),
    ...to.chains.flatMap(({ name, rules }) => rules.map((rule) => `${counts(rule)}-A ${name} ${rule.text}`)),
    // Each goes to the top, so the last of them first.
    ...to.jumps.toReversed().map(({ hook, rule }) => `${counts(rule)}-I ${hook} 1 ${rule.text}`),
    ...gone.map((name) => `-X ${name}`),
  ];
  return lines.length === 0 ? '' : `*${table}\n${lines.join('\n')}\nCOMMIT\n`;
}

function counts({ packets, bytes }: Total): string {
  return packets === 0n && bytes === 0n ? '' : `[${packets}:${bytes}] `;
}
