// The program's commands without what they do: whether a command line would be understood.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { namesInterface } from '../../src/cli/interface-argument.ts';
import { ROOT } from './markdown.ts';

const CLI = join(ROOT, 'src/cli');

/** All commands as src/cli/main.ts has them, each doing nothing. */
export async function commands(): Promise<Command> {
  const program = new Command('ringfence').enablePositionalOptions().option('-V, --version');
  for (const name of readdirSync(CLI).filter((file) => file.endsWith('.ts') && file !== 'main.ts')) {
    const module = (await import(join(CLI, name))) as Record<string, unknown>;
    for (const [key, register] of Object.entries(module)) {
      if (/^register[A-Z]/.test(key)) (register as (program: Command) => void)(program);
    }
  }
  for (const command of below(program)) {
    command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
    // Of those with parts only this one does something by itself.
    if (command.commands.length === 0 || command.name() === 'bench') command.action(() => undefined);
  }
  return program;
}

export function below(command: Command): Command[] {
  return [command, ...command.commands.flatMap(below)];
}

/** Why the program would not take these arguments; null if it does. */
export async function refusalOf(program: Command, args: readonly string[]): Promise<string | null> {
  const names = program.commands.map((command) => command.name()).concat('help');
  if (namesInterface(args, names)) return null;
  try {
    await program.parseAsync(args, { from: 'user' });
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
