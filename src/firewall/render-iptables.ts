// The host's rules as chains of iptables and ip6tables, `RF-NETWORK-…`, for `iptables-restore --noflush`. Pure: the same
// policy and facts give the same text. Twin of render-nft.ts; what the rules say is chains.ts.
//
//   raw     PREROUTING  LEAK, ZONE    OUTPUT  ZONEO
//   mangle  PREROUTING  POLI   INPUT  PORT   FORWARD  MSS   POSTROUTING  LEAKO, POLO
//   filter  OUTPUT  USER
//   nat     PREROUTING  DNAT   OUTPUT  DNATO   POSTROUTING  SNAT
//
// Drops stand in raw and mangle, where an ACCEPT that somebody puts above ours in filter does not reach them; only REJECT
// works in filter alone. iptables has no sets: what would be one with many elements is a tree of chains.

import type { HostPolicy } from '../policy/host.ts';
import { chainsOf, countersOf } from './chains.ts';
import type { HostFacts, Version } from './facts.ts';
import { ChainRenderer, type IptablesChain, Speller } from './iptables-chains.ts';
import { MIRROR_COUNTER } from './mirror.ts';
import { renderMirrorChains } from './render-mirror-iptables.ts';
import type { ChainName } from './rule.ts';

/**
 * In the order in which they are committed, each at once but not together. A zone comes after the DNAT that is to happen in
 * it: a datagram in between would be tracked there as not translated, and so would all that follow it.
 */
export const IPTABLES_TABLES = ['mangle', 'nat', 'raw', 'filter'] as const;
export type IptablesTableName = (typeof IPTABLES_TABLES)[number];

export interface IptablesTable {
  readonly chains: readonly IptablesChain[];
  /** Which chains the kernel's are to begin with, in this order. */
  readonly jumps: readonly { readonly hook: string; readonly chain: string }[];
}

export type IptablesTables = Readonly<Record<IptablesTableName, IptablesTable>>;

export interface IptablesRuleset {
  readonly network: string;
  readonly counters: readonly string[];
  readonly tables: Readonly<Record<Version, IptablesTables>>;
}

interface Place {
  readonly table: IptablesTableName;
  readonly hook: string;
  readonly suffix: string;
}

/** INVARIANT: with the network's 15 letters and a number no name of a chain is longer than the 28 that iptables takes. */
const PLACES: Readonly<Record<ChainName, Place>> = {
  leak_in: { table: 'raw', hook: 'PREROUTING', suffix: 'LEAK' },
  zone_in: { table: 'raw', hook: 'PREROUTING', suffix: 'ZONE' },
  zone_out: { table: 'raw', hook: 'OUTPUT', suffix: 'ZONEO' },
  inbound: { table: 'mangle', hook: 'INPUT', suffix: 'PORT' },
  mss: { table: 'mangle', hook: 'FORWARD', suffix: 'MSS' },
  leak_out: { table: 'mangle', hook: 'POSTROUTING', suffix: 'LEAKO' },
  process: { table: 'filter', hook: 'OUTPUT', suffix: 'USER' },
  nat_in: { table: 'nat', hook: 'PREROUTING', suffix: 'DNAT' },
  nat_out: { table: 'nat', hook: 'OUTPUT', suffix: 'DNATO' },
  nat_post: { table: 'nat', hook: 'POSTROUTING', suffix: 'SNAT' },
};

/** How names of chains of a network begin. Those of its openings begin like that, too. */
export function chainPrefix(network: string): string {
  return `RF-${network}-`;
}

export function renderIptables(policy: HostPolicy, facts: HostFacts): IptablesRuleset {
  const chains = countersOf(chainsOf(policy, facts));
  const counters = facts.mirrored === null ? chains : [...chains, MIRROR_COUNTER].sort();
  const tables = { 4: renderTables(policy, facts, 4), 6: renderTables(policy, facts, 6) };
  return { network: policy.network, counters, tables };
}

function renderTables(policy: HostPolicy, facts: HostFacts, version: Version): IptablesTables {
  const tables = { raw: emptyTable(), mangle: emptyTable(), filter: emptyTable(), nat: emptyTable() };
  const speller = new Speller(policy, facts, version);
  for (const { name, rules } of chainsOf(policy, facts)) {
    const { table, hook, suffix } = PLACES[name];
    const chains = new ChainRenderer(`${chainPrefix(policy.network)}${suffix}`);
    const first = chains.add();
    for (const rule of rules.flatMap((one) => speller.spell(one))) chains.render(rule, first);
    if (first.rules.length === 0) continue;
    tables[table].chains.push(...chains.all);
    tables[table].jumps.push({ hook, chain: first.name });
  }
  if (facts.mirrored !== null) {
    const mirror = renderMirrorChains(facts.mirrored, policy, facts, version, chainPrefix(policy.network));
    tables.mangle.chains.push(...mirror.chains);
    tables.mangle.jumps.push(...mirror.jumps);
  }
  return tables;
}

function emptyTable(): { chains: IptablesChain[]; jumps: { hook: string; chain: string }[] } {
  return { chains: [], jumps: [] };
}
