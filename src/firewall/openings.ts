// Openings in chains of others: put in, kept at the top, taken out again, each through the program that owns the chain. What
// is not marked as ours is not touched, and a chain that nobody may edit is reported with what its administrator can do.

import { createHash } from 'node:crypto';
import { messageOf } from '../errors.ts';
import type { Commands } from './commands.ts';
import type { DroppingChain, Manager } from './detect.ts';
import { VERSIONS, type Version } from './facts.ts';
import { type NftRule, parseNftList } from './nft-json.ts';
import { listChains, listRules } from './nft-list.ts';
import { ruleComment } from './render-nft.ts';
import { type Hook, type Opening, renderIptablesOpening, renderNftOpening } from './render-openings.ts';

/** What became of a chain that drops. */
export interface OpeningResult {
  readonly chain: DroppingChain;
  readonly isOpen: boolean;
  /** What is in the way, with what to do about it, where it is not open. */
  readonly remedy: string | null;
}

type Flavour = 'nft' | 'legacy';

const HOOK_CHAINS: Readonly<Record<Hook, string>> = { input: 'INPUT', forward: 'FORWARD' };

export class Openings {
  readonly #commands: Commands;
  readonly #network: string;
  readonly #hasNft: boolean;
  readonly #byChain: boolean;

  /**
   * `hasNft`: whether nft works; without it there are the chains of iptables only. `byChain`: where our own rules are those
   * of iptables, of which a list of all takes nft seconds with thousands of peers.
   */
  constructor(commands: Commands, network: string, hasNft: boolean, byChain = false) {
    this.#commands = commands;
    this.#network = network;
    this.#hasNft = hasNft;
    this.#byChain = byChain;
  }

  /** Lets `openings` pass in each chain that drops. What fails is a result: the others go on. */
  async apply(dropping: readonly DroppingChain[], openings: readonly Opening[]): Promise<OpeningResult[]> {
    const results: OpeningResult[] = [];
    const nftChains = dropping.filter(({ manager }) => manager === 'nft');
    results.push(...(await this.#settle(nftChains, () => this.#openNft(nftChains, openings))));
    for (const flavour of ['nft', 'legacy'] as const) {
      for (const version of VERSIONS) {
        const chains = dropping.filter(
          ({ manager, family }) => manager === `iptables-${flavour}` && family === familyOf(version),
        );
        results.push(
          ...(await this.#settle(chains, () => this.#openIptables(flavour, version, chains, openings))),
        );
      }
    }
    const closed = dropping.filter(({ manager }) => manager === 'firewalld' || manager === 'docker-nft');
    return [
      ...results,
      ...closed.map((chain) => ({ chain, isOpen: false, remedy: remedyFor(chain, openings) })),
    ];
  }

  /** Takes out every rule and chain of ours, wherever it stands. */
  async remove(): Promise<void> {
    const rules = (await this.#ownNftRules()).map(
      ({ family, table, chain, handle }) => `delete rule ${family} ${table} ${chain} handle ${handle}\n`,
    );
    if (rules.length > 0) await this.#commands.run('remove', 'nft', ['-f', '-'], rules.join(''));
    for (const flavour of ['nft', 'legacy'] as const) {
      for (const version of VERSIONS) await this.#closeIptables(flavour, version);
    }
  }

  /** Whether what was opened is there still, at the top of its chain. */
  async areThere(dropping: readonly DroppingChain[], openings: readonly Opening[]): Promise<boolean> {
    const rules = await this.#ownNftRules();
    const nft = dropping.filter(({ manager }) => manager === 'nft');
    for (const chain of nft) {
      const wanted = nftRules(chain, openings, this.#comment(openings));
      const there = rules.filter((rule) => isIn(rule, chain) && rule.comment === this.#comment(openings));
      if (there.length !== wanted.length) return false;
    }
    for (const { hook, manager, family } of dropping) {
      const flavour = flavourOf(manager);
      if (flavour === null) continue;
      const saved = await this.#save(flavour, family === 'ip' ? 4 : 6);
      if (saved === null || !isJumpFirst(saved, this.#chain(hook))) return false;
    }
    return true;
  }

  /** With a digest of all openings, so that rules of an older policy are known as such. */
  #comment(openings: readonly Opening[]): string {
    const digest = createHash('sha256').update(JSON.stringify(openings)).digest('hex').slice(0, 8);
    return `${ruleComment(this.#network)}:${digest}`;
  }

  #chain(hook: Hook): string {
    return `RF-${this.#network}-${hook === 'input' ? 'IN' : 'FWD'}`;
  }

  async #settle(chains: readonly DroppingChain[], open: () => Promise<void>): Promise<OpeningResult[]> {
    if (chains.length === 0) return [];
    try {
      await open();
      return chains.map((chain) => ({ chain, isOpen: true, remedy: null }));
    } catch (error) {
      return chains.map((chain) => ({ chain, isOpen: false, remedy: messageOf(error) }));
    }
  }

  async #ownNftRules(): Promise<NftRule[]> {
    if (!this.#hasNft) return [];
    const mark = `${ruleComment(this.#network)}:`;
    const rules = this.#byChain ? await this.#rulesOfBases() : await this.#allRules();
    return rules.filter(({ comment }) => comment?.startsWith(mark) === true);
  }

  async #allRules(): Promise<readonly NftRule[]> {
    return parseNftList((await this.#commands.try('nft', ['-j', '-t', 'list', 'ruleset'])).stdout).rules;
  }

  async #rulesOfBases(): Promise<readonly NftRule[]> {
    const chains = await listChains(this.#commands);
    const bases = chains.filter(({ hook }) => hook === 'input' || hook === 'forward');
    return (await Promise.all(bases.map(async (base) => await listRules(this.#commands, base)))).flat();
  }

  /** Old rules out and new ones in, in one transaction; a chain that has them already stays as it is. */
  async #openNft(chains: readonly DroppingChain[], openings: readonly Opening[]): Promise<void> {
    const comment = this.#comment(openings);
    const own = await this.#ownNftRules();
    const lines: string[] = [];
    for (const { family, table, chain, handle } of own.filter(
      (rule) => !chains.some((one) => isIn(rule, one)) || rule.comment !== comment,
    )) {
      lines.push(`delete rule ${family} ${table} ${chain} handle ${handle}`);
    }
    for (const chain of chains) {
      const wanted = nftRules(chain, openings, comment);
      const there = own.filter((rule) => isIn(rule, chain) && rule.comment === comment);
      if (there.length === wanted.length) continue;
      for (const { handle } of there) {
        lines.push(`delete rule ${chain.family} ${chain.table} ${chain.chain} handle ${handle}`);
      }
      // Each goes to the top, so the last of them first.
      for (const rule of wanted.toReversed()) {
        lines.push(`insert rule ${chain.family} ${chain.table} ${chain.chain} ${rule}`);
      }
    }
    if (lines.length > 0) await this.#commands.run('open', 'nft', ['-f', '-'], `${lines.join('\n')}\n`);
  }

  async #openIptables(
    flavour: Flavour,
    version: Version,
    chains: readonly DroppingChain[],
    openings: readonly Opening[],
  ): Promise<void> {
    const saved = (await this.#save(flavour, version)) ?? '';
    const comment = this.#comment(openings);
    const lines: string[] = [];
    for (const { hook } of chains) {
      const own = this.#chain(hook);
      const rules = openings
        .filter((opening) => opening.hook === hook)
        .flatMap((opening) => renderIptablesOpening(opening, version) ?? []);
      lines.push(`:${own} - [0:0]`);
      for (const rule of rules) lines.push(`-A ${own} ${withComment(rule, comment)}`);
      const parent = parentOf(saved, hook);
      if (isJumpFirst(saved, own)) continue;
      for (const jump of jumpsTo(saved, own)) lines.push(`-D ${jump} -j ${own}`);
      lines.push(`-I ${parent} 1 -j ${own}`);
    }
    await this.#commands.run(
      'open',
      restoreProgram(flavour, version),
      ['--noflush', '-w', '5'],
      `*filter\n${lines.join('\n')}\nCOMMIT\n`,
    );
  }

  async #closeIptables(flavour: Flavour, version: Version): Promise<void> {
    const saved = await this.#save(flavour, version);
    if (saved === null) return;
    const own = [this.#chain('input'), this.#chain('forward')].filter((name) =>
      saved.includes(`\n:${name} `),
    );
    if (own.length === 0) return;
    const lines = own.flatMap((name) => [
      ...jumpsTo(saved, name).map((parent) => `-D ${parent} -j ${name}`),
      `-F ${name}`,
      `-X ${name}`,
    ]);
    await this.#commands.run(
      'remove',
      restoreProgram(flavour, version),
      ['--noflush', '-w', '5'],
      `*filter\n${lines.join('\n')}\nCOMMIT\n`,
    );
  }

  /** The table filter; null where this kind of iptables has none: asking for it must not make it. */
  async #save(flavour: Flavour, version: Version): Promise<string | null> {
    if (!(await this.#hasFilter(flavour, version))) return null;
    const { ok, stdout } = await this.#commands.try(saveProgram(flavour, version), ['-t', 'filter']);
    return ok ? `\n${stdout}\n` : null;
  }

  async #hasFilter(flavour: Flavour, version: Version): Promise<boolean> {
    if (flavour === 'nft' && !this.#hasNft) return true; // iptables-nft makes no table to list it
    if (flavour === 'nft') {
      const chains = await listChains(this.#commands, familyOf(version));
      return chains.some(({ table }) => table === 'filter');
    }
    const file = version === 4 ? '/proc/net/ip_tables_names' : '/proc/net/ip6_tables_names';
    const { stdout } = await this.#commands.try('cat', [file]);
    return stdout.split('\n').includes('filter');
  }
}

/** What the administrator can type where this program must not edit, or may not under `stance: respect`. */
export function remedyFor(chain: DroppingChain, openings: readonly Opening[]): string {
  const own = openings.filter(({ hook }) => hook === chain.hook);
  switch (chain.manager) {
    case 'firewalld': {
      const tunnel = own.find(({ inInterface }) => inInterface !== undefined)?.inInterface ?? 'IFACE';
      const ports = own.flatMap(({ protocol, ports: range }) =>
        protocol === undefined || range === undefined
          ? []
          : [
              `firewall-cmd --add-port=${range.first === range.last ? range.first : `${range.first}-${range.last}`}/${protocol}`,
            ],
      );
      return [
        `firewall-cmd --zone=trusted --add-interface=${tunnel}`,
        ...(chain.hook === 'input' ? ports : []),
      ].join('; ');
    }
    case 'docker-nft':
      return 'start dockerd with --bridge-accept-fwmark, or use its iptables backend: its own nft tables must not be edited';
    case 'iptables-nft':
    case 'iptables-legacy': {
      const version: Version = chain.family === 'ip' ? 4 : 6;
      const program = `${version === 4 ? 'iptables' : 'ip6tables'}${chain.manager === 'iptables-legacy' ? '-legacy' : ''}`;
      return own
        .flatMap((opening) => renderIptablesOpening(opening, version) ?? [])
        .map((rule) => `${program} -I ${HOOK_CHAINS[chain.hook]} 1 ${rule}`)
        .join('; ');
    }
    case 'nft':
      return nftRules(chain, openings, null)
        .map((rule) => `nft insert rule ${chain.family} ${chain.table} ${chain.chain} ${rule}`)
        .join('; ');
    default:
      return chain.manager satisfies never;
  }
}

function nftRules(chain: DroppingChain, openings: readonly Opening[], comment: string | null): string[] {
  const { family, hook } = chain;
  const word = family === 'ip' || family === 'ip6' ? family : 'inet';
  return openings
    .filter((opening) => opening.hook === hook)
    .flatMap((opening) => renderNftOpening(opening, word) ?? [])
    .map((rule) => (comment === null ? rule : `${rule} comment "${comment}"`));
}

function withComment(rule: string, comment: string): string {
  return rule.replace(/-j ACCEPT$/, `-m comment --comment "${comment}" -j ACCEPT`);
}

function isIn(rule: NftRule, { family, table, chain }: DroppingChain): boolean {
  return rule.family === family && rule.table === table && rule.chain === chain;
}

function familyOf(version: Version): 'ip' | 'ip6' {
  return version === 4 ? 'ip' : 'ip6';
}

function flavourOf(manager: Manager): Flavour | null {
  if (manager === 'iptables-nft') return 'nft';
  return manager === 'iptables-legacy' ? 'legacy' : null;
}

/** Docker puts its own jumps above ours when it restarts; in DOCKER-USER ours stays where it is. */
function parentOf(saved: string, hook: Hook): string {
  return hook === 'forward' && /\n-A FORWARD -j DOCKER-USER\n/.test(saved)
    ? 'DOCKER-USER'
    : HOOK_CHAINS[hook];
}

/** The chains that jump to ours. */
function jumpsTo(saved: string, own: string): string[] {
  return saved.split('\n').flatMap((line) => {
    const match = /^-A (\S+) -j (\S+)$/.exec(line);
    return match?.[1] !== undefined && match[2] === own ? [match[1]] : [];
  });
}

function isJumpFirst(saved: string, own: string): boolean {
  const parents = jumpsTo(saved, own);
  const [parent] = parents;
  if (parent === undefined || parents.length > 1) return false;
  return saved.split('\n').find((line) => line.startsWith(`-A ${parent} `)) === `-A ${parent} -j ${own}`;
}

function saveProgram(flavour: Flavour, version: Version): string {
  return `${version === 4 ? 'iptables' : 'ip6tables'}-${flavour}-save`;
}

function restoreProgram(flavour: Flavour, version: Version): string {
  return `${version === 4 ? 'iptables' : 'ip6tables'}-${flavour}-restore`;
}
