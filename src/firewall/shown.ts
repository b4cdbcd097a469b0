// The rules as text for people: what a configuration means on the host, and how that differs from what is there.

import type { HostPolicy } from '../policy/host.ts';
import { chooseBackend } from './backend.ts';
import { Commands } from './commands.ts';
import { type HostFacts, VERSIONS } from './facts.ts';
import { rulesetComment } from './iptables-rules.ts';
import { ownTables, parseSave } from './iptables-save.ts';
import { renderIptables } from './render-iptables.ts';
import { NO_TABLES, type OwnTables, renderRestore, tablesOf } from './render-iptables-restore.ts';
import { renderNft } from './render-nft.ts';
import { openingsOf, renderNftOpening } from './render-openings.ts';
import { markOf, renderScript } from './ruleset.ts';

/** The name of the table is an argument, not a part of the text. */
const LOAD_AND_LIST = 'nft -f - && nft -s list table inet "$0"';

/**
 * `nft`: what `nft -f -` takes. `iptables`: what iptables-restore and ip6tables-restore take. `print`: that of nft, and what
 * other firewalls of the host have to let pass.
 */
export function renderRules(
  policy: HostPolicy,
  facts: HostFacts,
  backend: 'nft' | 'iptables' | 'print',
): string {
  if (backend === 'iptables') {
    const iptables = renderIptables(policy, facts);
    const tables = tablesOf(iptables, rulesetComment(iptables), new Map());
    return VERSIONS.map((version) => {
      const program = `${version === 4 ? 'iptables' : 'ip6tables'}-restore --noflush --counters`;
      return `# ${program}\n${renderRestore(NO_TABLES, tables[version])}`;
    }).join('\n');
  }
  const ruleset = renderNft(policy, facts);
  const script = renderScript(ruleset, markOf(ruleset), new Map());
  if (backend === 'nft') return script;
  const openings = openingsOf(policy, facts).map(
    (opening) => `#   ${opening.hook.padEnd(7)} ${renderNftOpening(opening, 'inet') ?? ''}\n`,
  );
  return `# one transaction: nft -f -\n${script}\n# what chains of others that drop have to accept\n${openings.join('')}`;
}

/**
 * What applying the policy would change, a line each: `- …` is there now, `+ …` would be. The kernel itself says what the rules
 * read like once they are in it: they are loaded into a network namespace of their own.
 * @throws FirewallError when nft refuses them
 */
export async function compareWithHost(policy: HostPolicy, facts: HostFacts): Promise<string[]> {
  const commands = new Commands();
  const { backend, network } = policy;
  const kind =
    backend === 'print' || backend === 'off' ? 'nft' : await chooseBackend(commands, { backend, network });
  if (kind !== 'nft') return await compareIptables(commands, kind, policy, facts);
  const ruleset = renderNft(policy, facts);
  const script = renderScript(ruleset, markOf(ruleset), new Map());
  const asked = await commands.run(
    'detect',
    'unshare',
    ['--net', 'sh', '-c', LOAD_AND_LIST, ruleset.table],
    script,
  );
  const there = await commands.try('nft', ['-s', 'list', 'table', 'inet', ruleset.table]);
  return difference(statements(there.ok ? there.stdout : ''), statements(asked));
}

async function compareIptables(
  commands: Commands,
  kind: 'iptables-nft' | 'iptables-legacy',
  policy: HostPolicy,
  facts: HostFacts,
): Promise<string[]> {
  const ruleset = renderIptables(policy, facts);
  const tables = tablesOf(ruleset, rulesetComment(ruleset), new Map());
  const lines: string[] = [];
  for (const version of VERSIONS) {
    const program = version === 4 ? kind : kind.replace('iptables', 'ip6tables');
    const script = '"$0"-restore --noflush && "$0"-save';
    const text = renderRestore(NO_TABLES, tables[version]);
    const asked = await commands.run('detect', 'unshare', ['--net', 'sh', '-c', script, program], text);
    const there = await commands.try(`${program}-save`, []);
    const own = (saved: string): string[] => iptablesLines(ownTables(parseSave(saved), policy.network));
    lines.push(...difference(own(there.stdout), own(asked)).map((line) => `${line} (${program})`));
  }
  return lines;
}

/** Each rule with its table and chain. What a jump's comment says differs whenever something does. */
function iptablesLines(own: OwnTables): string[] {
  return Object.entries(own).flatMap(([table, { chains, jumps }]) => [
    ...chains.flatMap(({ name, rules }) => rules.map(({ text }) => `${table} ${name}: ${text}`)),
    ...jumps.map(
      ({ hook, rule }) => `${table} ${hook}: ${rule.text.replace(/^-m comment --comment \S+ /, '')}`,
    ),
  ]);
}

/** Each line with the block it stands in. */
function statements(listing: string): string[] {
  let block = '';
  return listing.split('\n').flatMap((line) => {
    const [, opened] = /^\t(\w+ \S+) \{$/.exec(line) ?? [];
    if (opened !== undefined) block = opened;
    const isFrame = opened !== undefined || /^\t?\}?$/.test(line) || /^table /.test(line);
    return isFrame ? [] : [`${/^\t\t/.test(line) ? `${block}: ` : ''}${line.trim()}`];
  });
}

function difference(before: readonly string[], after: readonly string[]): string[] {
  const without = (lines: readonly string[], others: readonly string[]): string[] =>
    lines.filter((line) => !others.includes(line));
  return [
    ...without(before, after).map((line) => `- ${line}`),
    ...without(after, before).map((line) => `+ ${line}`),
  ];
}
