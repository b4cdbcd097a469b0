// What iptables-restore is told: how the tables get from what they have of ours to what they are to have, in text. Pure.

import type { Version } from './facts.ts';
import type { IptablesRule } from './iptables-chains.ts';
import {
  IPTABLES_TABLES,
  type IptablesRuleset,
  type IptablesTable,
  type IptablesTableName,
  type IptablesTables,
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

/** What is to stand of a ruleset. Counters begin at their totals: each at the first rule of its name. */
export function tablesOf(
  { tables }: IptablesRuleset,
  comment: string,
  totals: ReadonlyMap<string, Total>,
): Readonly<Record<Version, OwnTables>> {
  const left = new Map(totals);
  const counted = ({ text, counter }: IptablesRule): CountedRule => {
    const { packets = 0n, bytes = 0n } = left.get(counter ?? '') ?? {};
    left.delete(counter ?? '');
    return { text, packets, bytes };
  };
  const own = ({ chains, jumps }: IptablesTable): OwnTable => ({
    chains: chains.map(({ name, rules }) => ({ name, rules: rules.map(counted) })),
    jumps: jumps.map(({ hook, chain }) => ({
      hook,
      rule: { text: `-m comment --comment "${comment}" -j ${chain}`, packets: 0n, bytes: 0n },
    })),
  });
  const all = ({ raw, mangle, filter, nat }: IptablesTables): OwnTables => ({
    raw: own(raw),
    mangle: own(mangle),
    filter: own(filter),
    nat: own(nat),
  });
  return { 4: all(tables[4]), 6: all(tables[6]) };
}

/** Names of chains that stand as they are to. */
export type KeptChains = Readonly<Record<IptablesTableName, ReadonlySet<string>>>;

/** Chains that two rulesets have alike in one version, but those that count: the counts of one name are at its first rule. */
export function keptChains(from: IptablesTables, to: IptablesTables): KeptChains {
  const kept = (table: IptablesTableName): Set<string> => {
    const texts = new Map(from[table].chains.map(({ name, rules }) => [name, textOf(rules)]));
    const same = to[table].chains.filter(
      ({ name, rules }) =>
        texts.get(name) === textOf(rules) && rules.every(({ counter }) => counter === null),
    );
    return new Set(same.map(({ name }) => name));
  };
  return { raw: kept('raw'), mangle: kept('mangle'), filter: kept('filter'), nat: kept('nat') };
}

function textOf(rules: readonly IptablesRule[]): string {
  return rules.map(({ text }) => text).join('\n');
}

/**
 * For `iptables-restore --noflush --counters`: what takes the tables from what they have of ours to what they are to have. A
 * table is one transaction: no packet meets neither or both. The empty text where there is nothing to do. `kept`: chains that
 * need not be said again.
 */
export function renderRestore(from: OwnTables, to: OwnTables, kept?: KeptChains): string {
  return IPTABLES_TABLES.map((table) => renderTable(table, from[table], to[table], kept?.[table])).join('');
}

function renderTable(
  table: IptablesTableName,
  from: OwnTable,
  to: OwnTable,
  kept: ReadonlySet<string> = new Set(),
): string {
  const wanted = new Set(to.chains.map(({ name }) => name));
  const gone = from.chains.map(({ name }) => name).filter((name) => !wanted.has(name));
  const said = to.chains.filter(({ name }) => !kept.has(name));
  const lines = [
    ...said.map(({ name }) => `:${name} - [0:0]`), // which empties it, too
    ...from.jumps.map(({ hook, rule }) => `-D ${hook} ${rule.text}`),
    ...gone.map((name) => `-F ${name}`),
    ...said.flatMap(({ name, rules }) => rules.map((rule) => `${counts(rule)}-A ${name} ${rule.text}`)),
    // Each goes to the top, so the last of them first.
    ...to.jumps.toReversed().map(({ hook, rule }) => `${counts(rule)}-I ${hook} 1 ${rule.text}`),
    ...gone.map((name) => `-X ${name}`),
  ];
  return lines.length === 0 ? '' : `*${table}\n${lines.join('\n')}\nCOMMIT\n`;
}

function counts({ packets, bytes }: Total): string {
  return packets === 0n && bytes === 0n ? '' : `[${packets}:${bytes}] `;
}
