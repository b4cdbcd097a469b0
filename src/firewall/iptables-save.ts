// What `iptables-save` prints, read as far as it is needed here.

import { chainPrefix, IPTABLES_TABLES, type IptablesTableName } from './render-iptables.ts';
import type { OwnTable, OwnTables } from './render-iptables-restore.ts';

export interface SavedRule {
  readonly chain: string;
  /** From the first match on. */
  readonly text: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface SavedTable {
  /** Their policies, which only the kernel's own have: `-` for the others. */
  readonly chains: ReadonlyMap<string, string>;
  readonly rules: readonly SavedRule[];
}

/** The tables by name. What does not look as expected is left out. */
export function parseSave(text: string): Map<string, SavedTable> {
  const tables = new Map<string, { chains: Map<string, string>; rules: SavedRule[] }>();
  let table: { chains: Map<string, string>; rules: SavedRule[] } | undefined;
  for (const line of text.split('\n')) {
    const [, opened] = /^\*(\S+)/.exec(line) ?? [];
    if (opened !== undefined) {
      table = { chains: new Map(), rules: [] };
      tables.set(opened, table);
      continue;
    }
    const [, chain, policy] = /^:(\S+) (\S+)/.exec(line) ?? [];
    if (chain !== undefined && policy !== undefined) {
      table?.chains.set(chain, policy);
      continue;
    }
    const rule = /^(?:\[(\d+):(\d+)\] )?-A (\S+) (.*)$/.exec(line);
    if (rule === null) continue;
    const [, packets = '0', bytes = '0', within = '', rest = ''] = rule;
    table?.rules.push({ chain: within, text: rest, packets: BigInt(packets), bytes: BigInt(bytes) });
  }
  return tables;
}

/** Whether a chain belongs to the rules of a network; those of its openings are openings.ts. */
function isOwn(network: string, chain: string): boolean {
  const prefix = chainPrefix(network);
  return chain.startsWith(prefix) && chain !== `${prefix}IN` && chain !== `${prefix}FWD`;
}

/** What the tables have of a network's rules. */
export function ownTables(tables: ReadonlyMap<string, SavedTable>, network: string): OwnTables {
  const own = (name: IptablesTableName): OwnTable => {
    const { chains = new Map<string, string>(), rules = [] } = tables.get(name) ?? {};
    const ruled = Map.groupBy(rules, ({ chain }) => chain);
    return {
      chains: [...chains.keys()]
        .filter((chain) => isOwn(network, chain))
        .map((chain) => ({ name: chain, rules: ruled.get(chain) ?? [] })),
      jumps: rules
        .filter(({ chain, text }) => !isOwn(network, chain) && isOwn(network, targetOf(text)))
        .map((rule) => ({ hook: rule.chain, rule })),
    };
  };
  return { raw: own('raw'), mangle: own('mangle'), filter: own('filter'), nat: own('nat') };
}

/** Whether nothing but rules of a Ringfence, this one or another, stands before the last jump of ours in each chain. */
export function areJumpsFirst(tables: ReadonlyMap<string, SavedTable>, network: string): boolean {
  return IPTABLES_TABLES.every((name) => {
    const rules = tables.get(name)?.rules ?? [];
    const ours = (rule: SavedRule): boolean =>
      !isOwn(network, rule.chain) && isOwn(network, targetOf(rule.text));
    const chains = new Set(rules.filter(ours).map(({ chain }) => chain));
    return [...chains].every((chain) => {
      const within = rules.filter((rule) => rule.chain === chain);
      return within
        .slice(0, within.findLastIndex(ours))
        .every(({ text }) => targetOf(text).startsWith('RF-'));
    });
  });
}

/** Whether a table is as the kernel makes it. */
export function isUntouched({ chains, rules }: SavedTable): boolean {
  return rules.length === 0 && [...chains.values()].every((policy) => policy === 'ACCEPT');
}

function targetOf(text: string): string {
  return /(?:^| )-[jg] (\S+)/.exec(text)?.[1] ?? '';
}
