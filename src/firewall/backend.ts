// What puts the host's rules in force: nft, or iptables of either kind. Which one is decided here, and what the others have
// left behind is taken out by whoever calls.

import { readFileSync } from 'node:fs';
import { FirewallError } from '../errors.ts';
import type { HostBackend, HostPolicy } from '../policy/host.ts';
import type { Commands } from './commands.ts';
import type { HostFacts } from './facts.ts';
import { IptablesRules } from './iptables-rules.ts';
import { ownTables, parseSave } from './iptables-save.ts';
import { NftRules } from './nft-rules.ts';
import type { OwnChanges } from './own-changes.ts';
import type { Total } from './ruleset.ts';
import type { Replacement } from './table.ts';

export type Flavour = 'nft' | 'legacy';
export type BackendKind = 'nft' | `iptables-${Flavour}`;
const BACKEND_KINDS: readonly BackendKind[] = ['nft', 'iptables-nft', 'iptables-legacy'];

/** The rules of one network, as one program keeps them. What is changed is changed whole, or not at all. */
export interface HostRuleset {
  readonly kind: BackendKind;
  /** Of the table, or what names of chains begin with. */
  readonly name: string;
  /** For a sentence: `table inet rf_home0`. */
  readonly title: string;
  /** The named counters of what is in force. */
  readonly counters: readonly string[];
  /**
   * Puts rules in force. Those that are the same already stay as they are, with their flows and counters; where
   * it can, only what differs is changed.
   * @throws FirewallError when the host refuses them: what was there before still stands, or the error says otherwise
   */
  apply(policy: HostPolicy, facts: HostFacts): Promise<Replacement>;
  /** Works out what {@link apply} is going to need, while something else is waited for. */
  prepare?(policy: HostPolicy, facts: HostFacts): void;
  /** Puts what was last applied back, without a look at what is there. `isOpen`: what is to be denied may pass meanwhile. */
  putBack(isOpen: boolean): Promise<void>;
  /** Whether the rules are as we left them. */
  isIntact(): Promise<boolean>;
  /** Which of the changes that the kernel tells of are ours; absent where it tells nobody. */
  readonly changes?: OwnChanges;
  /** A change that the kernel tells of, and that leaves everything as it was. */
  ping(): Promise<void>;
  /** A digest of all rules that this program knows of, of others too; null where it is told of changes instead. */
  look(): Promise<string | null>;
  isThere(): Promise<boolean>;
  /** What the counters have counted, of the rules now there and of those before them. */
  totals(): Promise<ReadonlyMap<string, Total>>;
  /** Remembers what is there; what it returns puts that back. */
  snapshot(): Promise<() => Promise<void>>;
  /** Takes everything out; what is not there is no failure. */
  remove(): Promise<void>;
}

/** A table that has what ours needs; it is only checked, never made. */
const PROBE = `table inet rf_probe {
  chain rf_probe {
    type filter hook prerouting priority -305;
    fib daddr type local accept
  }
}
`;

/** Whether nft and the kernel's side of it work here. */
export async function worksNft(commands: Commands): Promise<boolean> {
  return (await commands.try('nft', ['--check', '-f', '-'], PROBE)).ok;
}

export function rulesetOf(
  kind: BackendKind,
  commands: Commands,
  network: string,
  runDirectory: string,
): HostRuleset {
  switch (kind) {
    case 'nft':
      return new NftRules(commands, network);
    case 'iptables-nft':
    case 'iptables-legacy':
      return new IptablesRules(commands, kind === 'iptables-nft' ? 'nft' : 'legacy', network, runDirectory);
    default:
      return kind satisfies never;
  }
}

/** What a host has of a network's rules, by whichever program. */
export async function presentRulesets(
  commands: Commands,
  network: string,
  runDirectory: string,
  hasNft?: boolean,
): Promise<HostRuleset[]> {
  const present: HostRuleset[] = [];
  for (const kind of BACKEND_KINDS) {
    if (kind === 'nft' && hasNft === false) continue;
    const rules = rulesetOf(kind, commands, network, runDirectory);
    // A program that is missing or does not work has no rules.
    if (await rules.isThere().catch(() => false)) present.push(rules);
  }
  return present;
}

/**
 * `auto`: nft where it works, else iptables. `iptables`: the kind that has chains of this network already; else the only one
 * that has rules; else the one that plain `iptables` is; else the one that works.
 * @throws FirewallError `ERR_FIREWALL_BACKEND` where nothing works
 */
export async function chooseBackend(
  commands: Commands,
  { backend, network }: { readonly backend: Exclude<HostBackend, 'print' | 'off'>; readonly network: string },
): Promise<BackendKind> {
  if (backend === 'nft' || backend === 'iptables-nft' || backend === 'iptables-legacy') return backend;
  if (backend === 'auto' && (await worksNft(commands))) return 'nft';
  const [plain, ...found] = await Promise.all([
    commands.try('iptables', ['--version']),
    ...(['nft', 'legacy'] as const).map(async (flavour) => await examine(commands, flavour, network)),
  ]);
  const working = found.filter(({ works }) => works);
  const ruled = working.filter(({ hasRules }) => hasRules);
  const usual: Flavour = plain.stdout.includes('legacy') ? 'legacy' : 'nft';
  const best =
    working.find(({ isOurs }) => isOurs) ??
    (ruled.length === 1 ? ruled[0] : undefined) ??
    working.find(({ flavour }) => flavour === usual) ??
    working[0];
  if (best !== undefined) return `iptables-${best.flavour}`;
  const stderr = found.map(({ stderr: said }) => said).join('\n');
  throw new FirewallError(
    'ERR_FIREWALL_BACKEND',
    backend === 'auto'
      ? 'neither nft nor iptables works on this host'
      : 'iptables does not work on this host',
    { phase: 'detect', command: 'iptables-save', line: null, stderr, restored: true },
    {
      hint: 'install nftables, for example: apt-get install nftables; without any rules of the host: firewall.host.backend: off',
    },
  );
}

interface Examined {
  readonly flavour: Flavour;
  readonly works: boolean;
  readonly hasRules: boolean;
  readonly isOurs: boolean;
  readonly stderr: string;
}

async function examine(commands: Commands, flavour: Flavour, network: string): Promise<Examined> {
  const { ok, stdout, stderr } = await commands.try(`iptables-${flavour}-save`, []);
  const tables = parseSave(stdout);
  const hasRules = [...tables.values()].some(
    ({ rules, chains }) => rules.length > 0 || [...chains.values()].includes('DROP'),
  );
  const isOurs = Object.values(ownTables(tables, network)).some(({ chains }) => chains.length > 0);
  return { flavour, works: ok && (flavour === 'nft' || hasLegacy()), hasRules, isOurs, stderr };
}

/** There is no such file where the kernel has no legacy tables; it is empty until somebody uses them. */
function hasLegacy(): boolean {
  try {
    readFileSync('/proc/net/ip_tables_names');
    return true;
  } catch {
    return false;
  }
}
