// The host's commands, each shown as it is run, as wg-quick(8) shows its own.

import { execa } from 'execa';
import { messageOf, NodeError } from '../../errors.ts';

const COMMAND_TIMEOUT_MS = 30_000;

/** What installs a command that is missing. */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  nft: 'nftables',
  iptables: 'iptables',
  resolvconf: 'openresolv',
  sysctl: 'procps',
  bash: 'bash',
};

export class Host {
  readonly #echo: (line: string) => void;

  /** `echo` is given `[#] ip link …` before each command that changes something. */
  constructor(echo: (line: string) => void) {
    this.#echo = echo;
  }

  /** Shows a line that a person should see, such as a warning. */
  say(line: string): void {
    this.#echo(line);
  }

  /**
   * Runs a command that changes something.
   * @throws NodeError `ERR_NODE_HOST_COMMAND` with what the command said
   */
  async run(command: string, args: readonly string[], input?: string): Promise<void> {
    this.#echo(`[#] ${[command, ...args].join(' ')}`);
    const result = await execa(command, args, {
      ...(input === undefined ? { stdin: 'ignore' } : { input }),
      timeout: COMMAND_TIMEOUT_MS,
      reject: false,
    });
    if (!result.failed) return;
    throw failure(command, args, result.code, result.stderr || result.shortMessage || 'it failed');
  }

  /**
   * Runs commands of `ip` in one process, each whether or not those before it fail: who is killed meanwhile has run all of
   * them or none.
   * @throws NodeError `ERR_NODE_HOST_COMMAND` with what the first that failed said
   */
  async batch(family: string, commands: readonly (readonly string[])[]): Promise<void> {
    const lines = commands.map((words) => words.join(' '));
    for (const line of lines) this.#echo(`[#] ip ${family} ${line}`);
    const args = [family, '-force', '-batch', '-'];
    const input = `${lines.join('\n')}\n`;
    const result = await execa('ip', args, { input, timeout: COMMAND_TIMEOUT_MS, reject: false });
    if (!result.failed) return;
    throw failure(
      'ip',
      [family, lines.join('; ')],
      result.code,
      result.stderr || result.shortMessage || 'it failed',
    );
  }

  /** What a command prints; empty where it fails or is missing. */
  async read(command: string, args: readonly string[]): Promise<string> {
    const result = await execa(command, args, {
      stdin: 'ignore',
      timeout: COMMAND_TIMEOUT_MS,
      reject: false,
    });
    return result.failed ? '' : result.stdout;
  }

  /** Whether a command is there to be run. */
  async has(command: string): Promise<boolean> {
    const { code } = await execa(command, ['--version'], {
      stdin: 'ignore',
      timeout: COMMAND_TIMEOUT_MS,
      reject: false,
    });
    return code !== 'ENOENT';
  }

  /** Runs a line of the configuration in bash, on the caller's terminal, without a time limit. */
  async hook(line: string): Promise<void> {
    this.#echo(`[#] ${line}`);
    const result = await execa('bash', ['-c', line], { stdio: 'inherit', reject: false });
    if (result.failed)
      throw failure(line, [], result.code, `it ended with status ${result.exitCode ?? result.signal}`);
  }
}

function failure(
  command: string,
  args: readonly string[],
  code: string | undefined,
  said: string,
): NodeError {
  const what = `\`${[command, ...args].join(' ')}\``;
  if (code === 'ENOENT') {
    const hint = `install ${PACKAGES[command] ?? command}, for example: apt-get install ${PACKAGES[command] ?? command}`;
    return new NodeError('ERR_NODE_HOST_COMMAND', `the command ${command} is not installed`, { hint });
  }
  const [first = 'it failed'] = said.split('\n').filter((line) => line.trim() !== '');
  return new NodeError('ERR_NODE_HOST_COMMAND', `${what} failed: ${first.trim()}`);
}

/** Takes a step of an undoing: one that fails is shown, and the others go on. */
export async function tolerate(host: Host, step: Promise<void>): Promise<void> {
  try {
    await step;
  } catch (error) {
    host.say(`[!] ${messageOf(error)}`);
  }
}
