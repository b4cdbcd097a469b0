// What a process has cost, and what it may run on: read from /proc, never estimated.

import { readFile } from 'node:fs/promises';

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

/** Resident memory in MiB: `VmRSS` now, `VmHWM` at its peak. */
export async function memoryMebibytes(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text);
  if (match === null) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(match[1]) / 1024;
}

/** The CPUs that this process may use, in two halves as `taskset` reads them; none where there is one. */
export async function halfOfCpusEach(): Promise<readonly string[]> {
  const text = await readFile('/proc/self/status', 'utf8');
  const [, list = ''] = /^Cpus_allowed_list:\s+(\S+)$/m.exec(text) ?? [];
  const cpus = list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
  const middle = Math.floor(cpus.length / 2);
  return middle === 0 ? [] : [cpus.slice(0, middle).join(), cpus.slice(middle).join()];
}
