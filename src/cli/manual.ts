// `ringfence manual`: the manual page, drawn from the same commands as the help. man(7).

import type { Command } from 'commander';
import { ERROR_CODES } from '../errors.ts';
import { type CommandFacts, commandTree, flatten } from './command-tree.ts';
import { VERSION } from './version.ts';

export function registerManual(program: Command): void {
  program
    .command('manual')
    .summary('print the manual page')
    .description('Prints the manual page of ringfence, which `man -l -` shows.')
    .action(() => {
      process.stdout.write(renderManual(commandTree(program)));
    });
}

function renderManual(tree: CommandFacts): string {
  const [, ...commands] = flatten(tree);
  const parts = [
    `.TH RINGFENCE 1 "" "ringfence ${VERSION}" "User Commands"`,
    '.SH NAME',
    roff('ringfence - a userspace WireGuard overlay node for Linux'),
    '.SH SYNOPSIS',
    '.B ringfence',
    roff('COMMAND [OPTIONS] [ARGUMENTS]'),
    '.br',
    '.B ringfence',
    roff('[-f] IFACE'),
    '.SH DESCRIPTION',
    roff(tree.description),
    roff('One YAML file describes a node. It needs CAP_NET_ADMIN, and no kernel module.'),
    ...options(tree),
    preformatted(tree.notes),
    '.SH COMMANDS',
    ...commands.flatMap(renderCommand),
    '.SH FILES',
    ...entry('/etc/ringfence/NAME.yaml', 'what the unit ringfence@NAME.service runs'),
    ...entry(
      '/run/ringfence/IFACE.sock',
      'where a node is asked and told; RINGFENCE_RUN_DIR is another folder',
    ),
    ...entry('/var/lib/ringfence', 'what outlives a node; RINGFENCE_STATE_DIR is another folder'),
    '.SH DIAGNOSTICS',
    roff('Errors carry a code that never changes its meaning:'),
    ...Object.entries(ERROR_CODES).flatMap(([code, meaning]) => entry(code, meaning)),
    '.SH SEE ALSO',
    '.BR wg (8),',
    '.BR wg\\-quick (8),',
    '.BR ip (8)',
  ];
  return `${parts.filter((part) => part !== '').join('\n')}\n`;
}

function renderCommand(command: CommandFacts): string[] {
  return [
    `.SS "${roff(command.usage)}"`,
    roff(command.description),
    ...command.arguments.flatMap(({ usage, description }) => entry(usage, description)),
    ...options(command),
    preformatted(command.notes),
  ];
}

const options = (command: CommandFacts): string[] =>
  command.options.flatMap(({ flags, description }) => entry(flags, description));

function entry(term: string, text: string): string[] {
  return ['.TP', `.B ${roff(term)}`, roff(text)];
}

/** Lines that stay as they are. */
function preformatted(text: string): string {
  return text === '' ? '' : ['.PP', '.nf', ...text.split('\n').map(roff), '.fi'].join('\n');
}

/** Text as troff takes it: no line is a request, no hyphen becomes a dash. */
function roff(text: string): string {
  const escaped = text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('"', '\\(dq');
  return escaped.replaceAll(/^([.'])/gm, '\\&$1');
}
