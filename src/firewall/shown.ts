// The rules as text for people: what a configuration means on the host, and how that differs from what is there.

import type { HostPolicy } from '../policy/host.ts';
import { Commands } from './commands.ts';
import type { HostFacts } from './facts.ts';
import { renderNft, renderScript } from './render-nft.ts';
import { openingsOf, renderNftOpening } from './render-openings.ts';
import { tableComment } from './table.ts';

/** The name of the table is an argument, not a part of the text. */
const LOAD_AND_LIST = 'nft -f - && nft -s list table inet "$0"';

/** `nft`: what `nft -f -` takes. `print`: the same, and what other firewalls of the host have to let pass. */
export function renderRules(policy: HostPolicy, facts: HostFacts, backend: 'nft' | 'print'): string {
  const ruleset = renderNft(policy, facts);
  const script = renderScript(ruleset, tableComment(ruleset), new Map());
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
  const ruleset = renderNft(policy, facts);
  const script = renderScript(ruleset, tableComment(ruleset), new Map());
  const asked = await commands.run(
    'detect',
    'unshare',
    ['--net', 'sh', '-c', LOAD_AND_LIST, ruleset.table],
    script,
  );
  const there = await commands.try('nft', ['-s', 'list', 'table', 'inet', ruleset.table]);
  return difference(statements(there.ok ? there.stdout : ''), statements(asked));
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
