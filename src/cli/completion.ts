// `ringfence completion SHELL`: a script by which a shell completes commands, options and their values. Each of the three finds out
// which command the words so far name, and offers what belongs to it; everything else is a file.

import { Argument, type Command } from 'commander';
import { type CommandFacts, commandTree, flatten } from './command-tree.ts';

const SHELLS = { bash: renderBash, zsh: renderZsh, fish: renderFish } as const;
type Shell = keyof typeof SHELLS;

export function registerCompletion(program: Command): void {
  program
    .command('completion')
    .summary('print a script for completions')
    .description('Prints a script by which a shell completes commands, options and their values.')
    .addArgument(new Argument('<shell>', 'which one').choices(Object.keys(SHELLS)))
    .addHelpText(
      'after',
      `
bash:  ringfence completion bash >~/.local/share/bash-completion/completions/ringfence
zsh:   ringfence completion zsh >"\${fpath[1]}/_ringfence"
fish:  ringfence completion fish >~/.config/fish/completions/ringfence.fish`,
    )
    .action((shell: Shell) => {
      process.stdout.write(SHELLS[shell](commandTree(program)));
    });
}

/** In single quotes, as all three shells take it; fish needs its backslashes twice. */
function quoted(text: string): string {
  return `'${text.replaceAll('\\', '').replaceAll("'", '’')}'`;
}

const words = (command: CommandFacts): string => command.path.map((word) => ` ${word}`).join('');

const flagsOf = (command: CommandFacts): string[] =>
  command.options.flatMap(({ short, long }) => [short, long].filter((flag) => flag !== null));

/** What may stand where no option does: parts of the command, or the values of its arguments. */
const wordsOf = (command: CommandFacts): string[] => [
  ...command.commands.map(({ path }) => path.at(-1) ?? ''),
  ...command.arguments.flatMap(({ choices }) => choices),
];

/** `PATTERN) command=…` for each word that goes on with a command, for bash and zsh. */
function walk(tree: CommandFacts): string {
  const steps = flatten(tree).filter(({ path }) => path.length > 0);
  return steps.map((step) => `      ${quoted(words(step))}) command=${quoted(words(step))} ;;`).join('\n');
}

/** The values of options that have only some, by the option before the cursor. */
function valueCases(tree: CommandFacts, render: (choices: readonly string[]) => string): string {
  const cases = flatten(tree).flatMap((command) =>
    command.options
      .filter(({ choices }) => choices.length > 0)
      .map(({ long, choices }) => `    ${quoted(`${words(command)} ${long}`)}) ${render(choices)} ;;`),
  );
  return cases.join('\n');
}

function renderBash(tree: CommandFacts): string {
  const offers = flatten(tree).map(
    (command) =>
      `    ${quoted(words(command))}) flags=${quoted(flagsOf(command).join(' '))} names=${quoted(wordsOf(command).join(' '))} ;;`,
  );
  return `# Completions of ringfence for bash: made by \`ringfence completion bash\`.
_ringfence() {
  local current=\${COMP_WORDS[COMP_CWORD]} command='' word flags names
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$command $word" in
${walk(tree)}
    esac
  done
  case "$command \${COMP_WORDS[COMP_CWORD-1]}" in
${valueCases(tree, (choices) => `mapfile -t COMPREPLY < <(compgen -W ${quoted(choices.join(' '))} -- "$current"); return`)}
  esac
  case "$command" in
${offers.join('\n')}
  esac
  [[ $current == -* ]] && names=$flags
  mapfile -t COMPREPLY < <(compgen -W "$names" -- "$current")
}
complete -o default -F _ringfence ringfence
`;
}

function renderZsh(tree: CommandFacts): string {
  const described = (name: string, text: string): string => quoted(`${name.replaceAll(':', '\\:')}:${text}`);
  const offers = flatten(tree).map((command) => {
    const names = [
      ...command.commands.map(({ path, summary }) => described(path.at(-1) ?? '', summary)),
      ...command.arguments.flatMap(({ choices }) => choices.map(quoted)),
    ];
    const flags = command.options.flatMap(({ short, long, description }) =>
      [short, long].filter((flag) => flag !== null).map((flag) => described(flag, description)),
    );
    return `    ${quoted(words(command))}) flags=(${flags.join(' ')}) names=(${names.join(' ')}) ;;`;
  });
  return `#compdef ringfence
# Completions of ringfence for zsh: made by \`ringfence completion zsh\`.
_ringfence() {
  local command='' word
  local -a flags names
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$command $word" in
${walk(tree)}
    esac
  done
  case "$command \${words[CURRENT-1]}" in
${valueCases(tree, (choices) => `compadd -- ${choices.map(quoted).join(' ')}; return`)}
  esac
  case "$command" in
${offers.join('\n')}
  esac
  if [[ $words[CURRENT] == -* ]]; then
    _describe -o option flags
  else
    (( $#names )) && _describe command names
    _files
  fi
}
_ringfence "$@"
`;
}

function renderFish(tree: CommandFacts): string {
  const lines = flatten(tree).flatMap((command) => {
    const condition = `-n ${quoted(fishCondition(command))}`;
    const names = command.commands.map(
      ({ path, summary }) =>
        `complete -c ringfence -f ${condition} -a ${quoted(path.at(-1) ?? '')} -d ${quoted(summary)}`,
    );
    const values = command.arguments
      .filter(({ choices }) => choices.length > 0)
      .map(({ choices }) => `complete -c ringfence -f ${condition} -a ${quoted(choices.join(' '))}`);
    const options = command.options.map(({ short, long, takesValue, choices, description }) => {
      const flags = [short && `-s ${short.slice(1)}`, long && `-l ${long.slice(2)}`, takesValue && '-r'];
      if (choices.length > 0) flags.push(`-f -a ${quoted(choices.join(' '))}`);
      return `complete -c ringfence ${condition} ${flags.filter(Boolean).join(' ')} -d ${quoted(description)}`;
    });
    return [...names, ...values, ...options];
  });
  return `# Completions of ringfence for fish: made by \`ringfence completion fish\`.\n${lines.join('\n')}\n`;
}

/** Whether the words so far name this command, and none of its parts. */
function fishCondition({ path, commands }: CommandFacts): string {
  const named = path.map((word) => `__fish_seen_subcommand_from ${word}`);
  const parts = commands.map((part) => part.path.at(-1)).join(' ');
  return (
    [...named, ...(parts === '' ? [] : [`not __fish_seen_subcommand_from ${parts}`])].join('; and ') || 'true'
  );
}
