// The program: which command was asked for, what the process returns, and the one place that prints errors.
// Each command is a module that is loaded only when it runs, or when help lists them all: `genkey` needs no YAML parser.

import '../node-22.ts';
import { Command, CommanderError } from 'commander';
import { exitCodeOf, RingfenceError, UsageError } from '../errors.ts';
import { announceFailure } from './announce.ts';
import { namesInterface } from './interface-argument.ts';
import { renderError } from './render-error.ts';
import { VERSION } from './version.ts';

type Registration = (program: Command) => Promise<void>;

/** In the order of the help. */
const COMMANDS: Readonly<Record<string, Registration>> = {
  init: async (program) => (await import('./init.ts')).registerInit(program),
  check: async (program) => (await import('./check.ts')).registerCheck(program),
  run: async (program) => (await import('./run.ts')).registerRun(program),
  up: async (program) => (await import('./up.ts')).registerUp(program),
  down: async (program) => (await import('./up.ts')).registerDown(program),
  invite: async (program) => (await import('./invite.ts')).registerInvite(program),
  join: async (program) => (await import('./join.ts')).registerJoin(program),
  rotate: async (program) => (await import('./rotate.ts')).registerRotate(program),
  status: async (program) => (await import('./status.ts')).registerStatus(program),
  reload: async (program) => (await import('./reload.ts')).registerReload(program),
  diff: async (program) => (await import('./reload.ts')).registerDiff(program),
  dns: async (program) => (await import('./dns.ts')).registerDns(program),
  'log-level': async (program) => (await import('./log-level.ts')).registerLogLevel(program),
  explain: async (program) => (await import('./explain.ts')).registerExplain(program),
  policy: async (program) => (await import('./policy.ts')).registerPolicy(program),
  doctor: async (program) => (await import('./doctor.ts')).registerDoctor(program),
  firewall: async (program) => (await import('./firewall.ts')).registerFirewall(program),
  bench: async (program) => (await import('./bench.ts')).registerBench(program),
  completion: async (program) => (await import('./completion.ts')).registerCompletion(program),
  manual: async (program) => (await import('./manual.ts')).registerManual(program),
  genkey: async (program) => (await import('./keys.ts')).registerGenkey(program),
  genpsk: async (program) => (await import('./keys.ts')).registerGenpsk(program),
  pubkey: async (program) => (await import('./keys.ts')).registerPubkey(program),
};

const VERSION_FLAGS: readonly string[] = ['-V', '--version'];

/** They tell of all the others. */
const ABOUT_COMMANDS: readonly string[] = ['completion', 'manual'];

const EXAMPLES = `
Examples:
  ringfence init                     write ringfence.yaml and the key of a new node
  ringfence check ringfence.yaml     say what is wrong with it, line by line
  ringfence run ringfence.yaml       bring the node up, until Ctrl-C or SIGTERM
  ringfence up wg0                   bring up /etc/wireguard/wg0.conf as wg-quick does
  ringfence invite bob               a file with which a new machine can join, once: there, ringfence join bob.yaml
  ringfence status                   show what runs on this host, by peer name
  ringfence reload rf0               have it read its file again; nobody is disconnected
  ringfence [-f] wg0                 an interface for \`wg\` and wg-quick to configure; -f stays in the foreground

A name that is no command is that of an interface; after -f any name is.
Exit codes: 0 fine, 1 failed while running, 2 wrong usage or configuration.
LOG_LEVEL=silent|error|warn|info|debug sets how much is logged, where --log-level does not.`;

const program = new Command('ringfence');

async function main(args: readonly string[]): Promise<void> {
  program
    .description('A userspace WireGuard overlay node for Linux.')
    .version(await versionOf(args), VERSION_FLAGS.join(', '), 'print the version')
    .enablePositionalOptions() // a command's options are its own, and so are those of a part of it
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .configureOutput({ outputError: () => undefined }); // printed below, like every other error
  const [name = ''] = args;
  for (const register of commandsFor(name)) await register(program);
  if (namesInterface(args, Object.keys(COMMANDS).concat('help'))) {
    return (await import('./interface.ts')).runInterface(args);
  }
  const [, asked = ''] = args;
  const isUnknown = name === 'help' && asked !== '' && !commandAt(asked);
  if (args.length === 0) program.outputHelp();
  else await program.parseAsync(isUnknown ? [asked] : args, { from: 'user' });
}

/** The whole of it is found out only for whoever asks. */
async function versionOf([name = '']: readonly string[]): Promise<string> {
  return VERSION_FLAGS.includes(name) ? (await import('./version-text.ts')).versionText() : VERSION;
}

/** What to load for a first argument: its command; all of them for a help that lists them, or a guess at what was meant. */
function commandsFor(name: string): readonly Registration[] {
  if (VERSION_FLAGS.includes(name)) return [];
  const isOne = Object.hasOwn(COMMANDS, name) && !ABOUT_COMMANDS.includes(name);
  const asked = isOne ? COMMANDS[name] : undefined;
  return asked === undefined ? Object.values(COMMANDS) : [asked];
}

function commandAt(name: string, within: Command = program): Command | undefined {
  return within.commands.find((command) => command.name() === name);
}

/** The words that name a command, and its part where they go so far. */
function pathOf(args: readonly string[]): string[] {
  const path = ['ringfence'];
  let command: Command | undefined = program;
  for (const word of args) {
    command = commandAt(word, command);
    if (command === undefined) break;
    path.push(word);
  }
  return path;
}

/** What commander refuses, as an error of ours: without its "error: ", its guess as the hint. */
function fromCommander(error: CommanderError): UsageError {
  const [message = '', guess] = error.message.replace(/^error: /, '').split('\n');
  const help = [...pathOf(process.argv.slice(2)), '--help'].join(' ');
  const hint = guess?.match(/\((Did you mean .*)\)/)?.[1] ?? `\`${help}\` lists what there is`;
  return new UsageError('ERR_USAGE', message, { hint });
}

function fail(error: unknown): void {
  if (error instanceof CommanderError && error.exitCode === 0) return; // the end of --help and --version
  const shown = error instanceof CommanderError ? fromCommander(error) : error;
  const text = renderError(shown, process.stderr);
  process.stderr.write(text);
  announceFailure(text);
  process.exitCode = exitCodeOf(shown);
}

// A reader that has seen enough (`| head`) is no failure; a disk that is full is one.
process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
  if (cause.code === 'EPIPE') return;
  fail(new RingfenceError('ERR_FILE_WRITE', `standard output cannot be written: ${cause.code}`, { cause }));
});
process.stderr.on('error', () => undefined); // there is nowhere left to say it
process.on('uncaughtException', (error) => {
  fail(error);
  process.exit();
});

try {
  await main(process.argv.slice(2));
} catch (error) {
  fail(error);
}
