// The commands with their options and arguments as plain data, read from commander: what completions and the manual page are
// drawn from, so that neither can tell of a command that is not there.

import type { EventEmitter } from 'node:events';
import type { Command } from 'commander';

export interface OptionFacts {
  /** As the help writes it: `--log-level <level>`. */
  readonly flags: string;
  readonly short: string | null;
  readonly long: string | null;
  readonly description: string;
  /** Whether a value must follow. */
  readonly takesValue: boolean;
  /** Empty: any value. */
  readonly choices: readonly string[];
}

export interface ArgumentFacts {
  /** As the usage writes it: `<file>`, `[iface]`. */
  readonly usage: string;
  readonly description: string;
  readonly choices: readonly string[];
}

export interface CommandFacts {
  /** The words after the program's name; none for the program itself. */
  readonly path: readonly string[];
  readonly usage: string;
  readonly summary: string;
  readonly description: string;
  readonly options: readonly OptionFacts[];
  readonly arguments: readonly ArgumentFacts[];
  /** What the help says after its lists. */
  readonly notes: string;
  readonly commands: readonly CommandFacts[];
}

export function commandTree(command: Command, path: readonly string[] = []): CommandFacts {
  const help = command.createHelp();
  return {
    path,
    usage: `${['ringfence', ...path].join(' ')} ${command.usage()}`,
    summary: command.summary() || command.description(),
    description: command.description(),
    options: help.visibleOptions(command).map((option) => ({
      flags: option.flags,
      short: option.short ?? null,
      long: option.long ?? null,
      description: option.description,
      takesValue: option.required,
      choices: option.argChoices ?? [],
    })),
    arguments: command.registeredArguments.map((argument) => ({
      usage: help.argumentTerm(argument),
      description: argument.description,
      choices: argument.argChoices ?? [],
    })),
    notes: notesOf(command),
    commands: help.visibleCommands(command).map((part) => commandTree(part, [...path, part.name()])),
  };
}

/** Commander keeps these as listeners, and has them write; its types do not say that a command is an emitter. */
function notesOf(command: Command): string {
  let notes = '';
  const write = (text: string): void => {
    notes += text;
  };
  (command as Command & EventEmitter).emit('afterHelp', { error: false, command, write });
  return notes.trim();
}

/** A command and all below it. */
export function flatten(tree: CommandFacts): CommandFacts[] {
  return [tree, ...tree.commands.flatMap(flatten)];
}
