// The one place that runs programs on the host's rules: nft, iptables and its siblings, ip. Each has a time limit, and what
// it prints a limit too; input goes through standard input, never through a shell.

import { execa } from 'execa';
import { FirewallError, type FirewallFailure } from '../errors.ts';
import type { Log } from '../log.ts';
import { lockHolder } from './xtables-lock.ts';

/** A program that hangs keeps the node from starting, so it is not waited for longer. */
const TIME_LIMIT_MS = 8_000;
/** A ruleset of 5,000 peers is listed in 2 MB. */
const OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024;
/** How much of what a program complains of is kept. */
const SHOWN_BYTES = 4_000;

/** What installs a program that is missing. */
const PACKAGES: Readonly<Record<string, string>> = { nft: 'nftables', ip: 'iproute2' };

export interface CommandResult {
  readonly ok: boolean;
  readonly isMissing: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that waits so long for another one is told of. */
const WAIT_SHOWN_MS = 1_000;

export class Commands {
  readonly #log: Log | null;

  /** `log` is told of what is waited for. */
  constructor(log: Log | null = null) {
    this.#log = log;
  }

  /** Runs a program; that it fails is a result. */
  async try(command: string, args: readonly string[], input?: string): Promise<CommandResult> {
    const running = execa(command, args, {
      ...(input === undefined ? { stdin: 'ignore' } : { input }),
      timeout: TIME_LIMIT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: OUTPUT_LIMIT_BYTES,
      reject: false,
      env: { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    });
    const waiting = setTimeout(() => this.#tellOfLock(command, running.pid), WAIT_SHOWN_MS);
    const result = await running;
    clearTimeout(waiting);
    const said = result.timedOut
      ? `it did not end within ${TIME_LIMIT_MS / 1000} s`
      : result.isMaxBuffer
        ? `it printed more than ${OUTPUT_LIMIT_BYTES / 1024 / 1024} MiB`
        : result.stderr || (result.failed ? (result.shortMessage ?? 'it failed') : '');
    return {
      ok: !result.failed,
      isMissing: result.code === 'ENOENT',
      stdout: result.stdout,
      stderr: said.slice(0, SHOWN_BYTES),
    };
  }

  #tellOfLock(command: string, pid: number | undefined): void {
    if (!command.includes('tables-legacy') && !/^ip6?tables$/.test(command)) return;
    const holder = lockHolder(pid);
    if (holder === null) return;
    this.#log
      ?.limited('xtables lock')
      .warn(
        `${command} waits for ${holder}, which has the lock of iptables; it is given up after some seconds`,
      );
  }

  /**
   * Runs a program and returns what it prints.
   * @throws FirewallError `ERR_FIREWALL_COMMAND`: a transaction that fails has changed nothing
   */
  async run(
    phase: FirewallFailure['phase'],
    command: string,
    args: readonly string[],
    input?: string,
  ): Promise<string> {
    const result = await this.try(command, args, input);
    if (result.ok) return result.stdout;
    throw failure(phase, [command, ...args].join(' '), result, input);
  }
}

function failure(
  phase: FirewallFailure['phase'],
  command: string,
  { isMissing, stderr }: CommandResult,
  input: string | undefined,
): FirewallError {
  const [program = ''] = command.split(' ');
  const line = input === undefined ? null : lineOf(stderr);
  const details: FirewallFailure = { phase, command, line, stderr, restored: true };
  if (isMissing) {
    const name = PACKAGES[program] ?? 'iptables';
    const hint = `install ${name}, for example: apt-get install ${name}; without any rules of the host: firewall.host.backend: off`;
    return new FirewallError('ERR_FIREWALL_COMMAND', `the command ${program} is not installed`, details, {
      hint,
    });
  }
  const [first = 'it failed'] = stderr.split('\n').filter((text) => text.trim() !== '');
  const text = line === null ? undefined : input?.split('\n')[line - 1]?.trim();
  const where = text === undefined ? '' : ` at \`${text.slice(0, 200)}\``;
  return new FirewallError(
    'ERR_FIREWALL_COMMAND',
    `\`${command}\` failed${where}: ${first.trim()}`,
    details,
    { hint: hintFor(stderr, text) },
  );
}

/** `text`: the line of the input that was refused. */
function hintFor(stderr: string, text: string | undefined): string | undefined {
  if (/Operation not permitted|Permission denied|must be root/i.test(stderr)) {
    return 'it needs CAP_NET_ADMIN: run as root';
  }
  return text !== undefined && /socket cgroupv2|-m cgroup/.test(text)
    ? 'this host may not know cgroups from each other, for which nft needs Linux 5.13 and iptables its match `cgroup`: use uid in firewall.process'
    : undefined;
}

/** nft says `/dev/stdin:12:5-10: Error: …`, iptables-restore `… line 12 failed`. */
function lineOf(stderr: string): number | null {
  const match = /^(?:\/dev\/stdin|-):(\d+):/m.exec(stderr) ?? /line:? (\d+)/.exec(stderr);
  return match === null ? null : Number(match[1]);
}
