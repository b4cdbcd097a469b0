// What a process has cost: read from /proc, never estimated. And what machine it was.

import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** USER_HZ: what /proc counts CPU time in; fixed by Linux's ABI on every architecture that Node.js runs on. */
const TICKS_PER_SECOND = 100;

/** User and system time of all threads of a process so far. proc(5), fields 14 and 15 of /proc/PID/stat. */
export async function cpuSeconds(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The name in field 2 may hold spaces and parentheses, so counting starts behind its end.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** CPU time of the whole machine that was not idle: includes the kernel's share that no process is charged for. */
export async function machineCpuSeconds(): Promise<number> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n');
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}

/** Resident memory in bytes: `VmRSS` now, `VmHWM` at its peak. */
export async function memoryBytes(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text);
  if (match === null) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(match[1]) * 1024;
}

export type Circumstances = {
  readonly date: string;
  readonly commit: string;
  /** Whether the work tree held nothing but the commit. */
  readonly clean: boolean;
  readonly command: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly kernel: string;
  };
  /** The compiler that built the committed core. */
  readonly rust: string | undefined;
};

export async function describeCircumstances(command: string): Promise<Circumstances> {
  const git = async (...args: string[]) =>
    (await execa('git', args, { cwd: ROOT, reject: false })).stdout ?? '';
  const digest = await readFile(new URL('../wasm/wireguard.wasm.sha256', import.meta.url), 'utf8').catch(
    () => '',
  );
  const commit = await git('rev-parse', 'HEAD');
  return {
    date: new Date().toISOString(),
    commit: commit || 'unknown',
    clean: commit !== '' && (await git('status', '--porcelain', '--', '.', ':!bench/results')) === '',
    command,
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      kernel: release(),
    },
    rust: /^compiler\s+(.+)/m.exec(digest)?.[1],
  };
}

export type Summary = { readonly minimum: number; readonly median: number; readonly maximum: number };

export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  return {
    minimum: sorted[0] ?? Number.NaN,
    median: median(sorted),
    maximum: sorted.at(-1) ?? Number.NaN,
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
