// Which implementations are compared, where each is looked for, and which version it is. Runs none of them as a tunnel.

import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { execa } from 'execa';
import { RingfenceError } from '../errors.ts';
import type { Program } from './implementation.ts';
import { ownProgram } from './own-program.ts';
import type { Plan } from './plan.ts';

interface Candidate {
  readonly name: string;
  /** The absolute path of the program, or null. */
  find(): Promise<string | null>;
  readonly flags: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** How to get it, for one line. */
  readonly remedy: string;
}

const INSTALLS = '`bench/peers.sh` in the sources of ringfence installs it';
const WIREGUARD_GO = { flags: ['-f'], environment: { WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'error' } };
/** boringtun and its kin give up root once they have a socket, unless told not to, and then lack the port of a later `wg`. */
const BORINGTUN = { flags: ['-f', '--disable-drop-privileges'], environment: { WG_SUDO: '1' } };

const CANDIDATES: readonly Candidate[] = [
  {
    name: 'wireguard-go',
    find: () => inCache('wireguard-go'),
    ...WIREGUARD_GO,
    remedy: `the newest is built with Go: ${INSTALLS}`,
  },
  {
    name: 'wireguard-go-system',
    find: () => onPath('wireguard-go'),
    ...WIREGUARD_GO,
    remedy: 'Debian has it: `apt-get install wireguard-go`',
  },
  {
    name: 'boringtun-cli',
    find: async () => (await inCache('boringtun-cli')) ?? (await onPath('boringtun-cli')),
    ...BORINGTUN,
    remedy: `it is built with Rust: ${INSTALLS}`,
  },
  {
    name: 'gotatun',
    find: () => onPath('gotatun'),
    ...BORINGTUN,
    remedy: 'it joins in where it is on PATH',
  },
];

/** Ours: the first of every result. */
export const OWN_NAME = 'ringfence';

/** What `--peers` may name. */
export const PROGRAM_NAMES: readonly string[] = [OWN_NAME, ...CANDIDATES.map(({ name }) => name)];

/** Where bench/peers.sh puts what it builds. Twin: bench/peers.sh. */
function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'ringfence', 'bench');
}

export interface FoundPrograms {
  /** Ours first, then in the order of {@link PROGRAM_NAMES}. */
  readonly found: readonly Program[];
  /** Who was looked for and is not here, and how to get it: one line each. */
  readonly missing: readonly string[];
}

/** Looks for the programs `wanted`. Ours is always found, wanted or not. */
export async function findPrograms(wanted: readonly string[], ownVersion: string): Promise<FoundPrograms> {
  const own: Program = {
    name: OWN_NAME,
    version: `${ownVersion} (Node.js ${process.versions.node})`,
    kind: 'ringfence',
    command: ownProgram('run'),
    environment: {},
  };
  const found: Program[] = [own];
  const missing: string[] = [];
  for (const { name, find, flags, environment, remedy } of CANDIDATES) {
    if (!wanted.includes(name)) continue;
    const path = await find();
    if (path === null) missing.push(`${name} is not here: ${remedy}`);
    else {
      const version = await versionOf(path);
      found.push({ name, version, kind: 'uapi', command: [path, ...flags], environment });
    }
  }
  return { found, missing };
}

/** So many rules have the policies that are measured. */
const POLICY_RULES = [10, 1_000, 100_000] as const;

/** This program without a policy, and with policies of more and more rules. */
export function policyPrograms([own]: readonly Program[]): Program[] {
  if (own === undefined) return [];
  const withRules = (rules: number): Program => ({
    ...own,
    name: `${own.name}-${rules}`,
    policyRules: rules,
  });
  return [own, ...POLICY_RULES.map(withRules)];
}

/** What a plan starts beside the implementations, and Debian's package for it. */
function toolsOf({ metrics, programs, takesTurns }: Plan): Readonly<Record<string, string>> {
  const needsStreams = metrics.some((id) => !/^(udp|start|handshakes|ping\.idle|memory\.1000)/.test(id));
  return {
    ip: 'iproute2',
    ping: 'iputils-ping',
    mount: 'mount',
    unshare: 'util-linux',
    nsenter: 'util-linux',
    setpriv: 'util-linux',
    ...(takesTurns === true ? { taskset: 'util-linux' } : {}),
    ...(needsStreams ? { iperf3: 'iperf3' } : {}),
    ...(programs.some(({ kind }) => kind === 'uapi') ? { wg: 'wireguard-tools' } : {}),
  };
}

/**
 * Fails unless every program that a plan starts is here.
 * @throws RingfenceError `ERR_BENCH_MACHINE`
 */
export async function checkTools(plan: Plan): Promise<void> {
  const missing: [string, string][] = [];
  for (const entry of Object.entries(toolsOf(plan))) {
    if ((await onPath(entry[0])) === null) missing.push(entry);
  }
  if (missing.length === 0) return;
  const names = missing.map(([name]) => name).join(', ');
  const packages = [...new Set(missing.map(([, name]) => name))].join(' ');
  throw new RingfenceError('ERR_BENCH_MACHINE', `what measures is not installed: ${names}`, {
    hint: `on Debian: apt-get install ${packages}`,
  });
}

/** Beside what peers.sh builds from a module stands the version of the module: the program itself prints its last release. */
async function versionOf(path: string): Promise<string> {
  const noted = await readFile(`${path}.version`, 'utf8').catch(() => null);
  if (noted !== null) return noted.trim();
  const { stdout } = await execa(path, ['--version'], { reject: false, timeout: 5_000 });
  return /v?\d+(\.\d+)+\S*/.exec(stdout)?.[0] ?? 'unknown';
}

async function inCache(name: string): Promise<string | null> {
  return await firstExecutable([join(cacheFolder(), name)]);
}

/** Where a program of this name is on PATH, or among the system's own, which a user's PATH may lack. */
async function onPath(name: string): Promise<string | null> {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return await firstExecutable(folders.filter((folder) => folder !== '').map((folder) => join(folder, name)));
}

async function firstExecutable(paths: readonly string[]): Promise<string | null> {
  for (const path of paths) {
    const isExecutable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isExecutable) return path;
  }
  return null;
}
