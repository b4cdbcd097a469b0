// What nft is asked about a host that may have ten thousands of rules of iptables: chains, and the rules of one. `nft list tables`
// and `nft list ruleset` read every rule of all tables, which takes seconds then (nft 1.0.6); a list of chains reads the
// elements of their family's sets, which a mirror by nft has thousands of.

import type { Commands } from './commands.ts';
import { type NftChain, type NftRule, parseNftList } from './nft-json.ts';

export type ChainId = Pick<NftChain, 'family' | 'table' | 'name'>;

/** All chains, or those of one family; none where nft fails. */
export async function listChains(commands: Commands, family?: string): Promise<readonly NftChain[]> {
  const args = ['-j', '-t', 'list', 'chains', ...(family === undefined ? [] : [family])];
  return parseNftList((await commands.try('nft', args)).stdout).chains;
}

/** The rules of one chain, in their order; none where it is not there. */
export async function listRules(
  commands: Commands,
  { family, table, name }: ChainId,
): Promise<readonly NftRule[]> {
  const { stdout } = await commands.try('nft', ['-j', '-t', 'list', 'chain', family, table, name]);
  return parseNftList(stdout).rules;
}
