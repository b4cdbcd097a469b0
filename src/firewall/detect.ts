// Reads the host: whether nft works, and every chain of somebody else that drops what comes in or goes through. Each is
// named with the program that owns it, for an opening in it is made in that program's words. Changes nothing.

import { readFileSync } from 'node:fs';
import type { Commands } from './commands.ts';
import { type NftChain, type NftRule, parseNftList } from './nft-json.ts';
import { type ChainId, listRules } from './nft-list.ts';
import type { Hook } from './render-openings.ts';

/** Who looks after a chain. `iptables`: built by the iptables of that kind, also under UFW and Docker. */
export type Manager = 'nft' | 'iptables-nft' | 'iptables-legacy' | 'firewalld' | 'docker-nft';

/** A base chain of somebody else that drops what no rule of it accepts. */
export interface DroppingChain {
  readonly hook: Hook;
  /** Of the table; `ip` or `ip6` for legacy iptables. */
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly manager: Manager;
}

export interface HostState {
  readonly dropping: readonly DroppingChain[];
  /** Programs that were recognised by what they left in the rules. */
  readonly managers: readonly ('ufw' | 'docker' | 'firewalld' | 'docker-nft' | 'kubernetes')[];
  /** Docker ≥ 28 drops packets for containers that come in on any but their own bridge, before all accepts. */
  readonly blocksContainers: boolean;
}

/** To list the chains alone nft reads the elements of all sets: with thousands of peers that takes a hundred times as long. */
const LIST = ['-j', '-t', 'list', 'ruleset'];

/**
 * What drops on this host, apart from the table `own`. Where nft does not work, what iptables itself says has to do.
 * `byChain`: where our own rules are those of iptables, of which a list of all takes nft seconds with thousands of peers.
 * @throws FirewallError when nft does not answer
 */
export async function detect(
  commands: Commands,
  own: string,
  hasNft: boolean,
  byChain = false,
): Promise<HostState> {
  if (!hasNft) {
    const dropping = [
      ...(await detectIptables(commands, 'nft')),
      ...(await detectIptables(commands, 'legacy')),
    ];
    return { dropping, managers: [], blocksContainers: false };
  }
  const list = byChain ? ['-j', '-t', 'list', 'chains'] : LIST;
  const { chains: all, rules } = parseNftList(await commands.run('detect', 'nft', list));
  const rulesOf = async (chain: ChainId): Promise<readonly NftRule[]> =>
    byChain ? await listRules(commands, chain) : rules.filter((rule) => isOf(rule, chain));
  const chains = all.filter(({ family, table }) => !(family === 'inet' && table === own));
  const candidates = chains.filter(({ hook }) => hook === 'input' || hook === 'forward');
  const dropping: DroppingChain[] = [];
  for (const base of candidates) {
    if (base.policy !== 'drop' && !(await endsInDrop(rulesOf, base))) continue;
    dropping.push({
      hook: base.hook === 'input' ? 'input' : 'forward',
      family: base.family,
      table: base.table,
      chain: base.name,
      manager: managerOf(base),
    });
  }
  return {
    dropping: [...dropping, ...(await detectIptables(commands, 'legacy'))],
    managers: managersOf(chains),
    blocksContainers: await blocksContainers(commands, chains),
  };
}

function managerOf({ family, table, name }: NftChain): Manager {
  if (table === 'firewalld') return 'firewalld';
  if (table.startsWith('docker-bridges')) return 'docker-nft';
  // The tables that iptables makes have the names of its own, and chains in capitals.
  const isIptables =
    (family === 'ip' || family === 'ip6') && table === 'filter' && /^(INPUT|FORWARD)$/.test(name);
  return isIptables ? 'iptables-nft' : 'nft';
}

function managersOf(chains: readonly NftChain[]): HostState['managers'] {
  const has = (test: (chain: NftChain) => boolean): boolean => chains.some(test);
  return [
    ...(has(({ name }) => name === 'ufw-before-input') ? (['ufw'] as const) : []),
    ...(has(({ name }) => name === 'DOCKER-USER') ? (['docker'] as const) : []),
    ...(has(({ table }) => table === 'firewalld') ? (['firewalld'] as const) : []),
    ...(has(({ table }) => table.startsWith('docker-bridges')) ? (['docker-nft'] as const) : []),
    ...(has(({ name }) => name.startsWith('KUBE-')) ? (['kubernetes'] as const) : []),
  ];
}

/** Whether the last word of a chain, or of a chain it always jumps to, is a drop or reject of everything. */
async function endsInDrop(
  rulesOf: (chain: ChainId) => Promise<readonly NftRule[]>,
  base: ChainId,
): Promise<boolean> {
  const isFinal = async (chain: ChainId, depth: number): Promise<boolean> => {
    if (depth === 8) return false;
    for (const rule of await rulesOf(chain)) {
      const verdict = unconditionalVerdict(rule);
      if (verdict === null) continue;
      const { drops, target } = verdict;
      if (target === null ? drops : await isFinal({ ...chain, name: target }, depth + 1)) return true;
    }
    return false;
  };
  return await isFinal(base, 0);
}

function isOf(rule: NftRule, { family, table, name }: ChainId): boolean {
  return rule.family === family && rule.table === table && rule.chain === name;
}

/** What a rule without a match does to every packet; null where it has one, or lets packets go on. */
function unconditionalVerdict({
  expressions,
}: NftRule): { readonly drops: boolean; readonly target: string | null } | null {
  for (const expression of expressions) {
    const [kind = ''] = Object.keys(expression);
    if (kind === 'drop' || kind === 'reject') return { drops: true, target: null };
    if (kind === 'accept') return { drops: false, target: null };
    if (kind === 'jump' || kind === 'goto') {
      const to = expression[kind];
      const isNamed =
        typeof to === 'object' && to !== null && 'target' in to && typeof to.target === 'string';
      return isNamed ? { drops: false, target: String(to.target) } : null;
    }
    if (!['counter', 'log', 'limit'].includes(kind) || kind === 'limit') return null;
  }
  return null;
}

/**
 * What iptables of one kind drops. Legacy iptables hooks in beside nft, and a drop in either is final; asking it loads its
 * modules, so that is for hosts that use it.
 */
async function detectIptables(commands: Commands, flavour: 'nft' | 'legacy'): Promise<DroppingChain[]> {
  const found: DroppingChain[] = [];
  for (const [family, file, program] of [
    ['ip', '/proc/net/ip_tables_names', `iptables-${flavour}-save`],
    ['ip6', '/proc/net/ip6_tables_names', `ip6tables-${flavour}-save`],
  ] as const) {
    if (flavour === 'legacy' && !readNames(file).includes('filter')) continue;
    const { ok, stdout } = await commands.try(program, ['-t', 'filter']);
    if (!ok) continue;
    for (const [chain, hook] of [
      ['INPUT', 'input'],
      ['FORWARD', 'forward'],
    ] as const) {
      const isClosed = new RegExp(`^:${chain} DROP|^-A ${chain} -j (?:DROP|REJECT)\\b`, 'm').test(stdout);
      if (isClosed) found.push({ hook, family, table: 'filter', chain, manager: `iptables-${flavour}` });
    }
  }
  return found;
}

function readNames(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    return []; // a kernel without legacy iptables
  }
}

/** `-d CONTAINER ! -i BRIDGE -j DROP` in raw PREROUTING: no accept of anybody's lifts it. */
async function blocksContainers(commands: Commands, chains: readonly NftChain[]): Promise<boolean> {
  const isRaw = ({ family, table, name }: NftChain): boolean =>
    family === 'ip' && table === 'raw' && name === 'PREROUTING';
  if (!chains.some(isRaw)) return false;
  const { stdout } = await commands.try('nft', ['list', 'chain', 'ip', 'raw', 'PREROUTING']);
  return /iifname != "(?:docker0|br-[0-9a-f]+)" ip daddr \S+ .*drop|ip daddr \S+ iifname != "(?:docker0|br-[0-9a-f]+)" .*drop/.test(
    stdout,
  );
}
