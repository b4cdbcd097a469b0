// The part of a run that is inside the namespaces: measures every task of a plan and tells what it found, one event per line on
// standard output, to run.ts outside. Writes no files that stay.

import { messageOf } from '../errors.ts';
import { machineCpuSeconds } from './cost.ts';
import { measureLone, measurePair, Pair } from './measure.ts';
import { LONE_LOADS, type Load, loadsOf, PAIR_LOADS, type Plan, type Task, tasksOf } from './plan.ts';
import type { Sample } from './result.ts';

/** In the order of time. */
export type Event =
  | { readonly kind: 'begins'; readonly task: number; readonly load: string }
  | { readonly kind: 'samples'; readonly samples: readonly Sample[] }
  | { readonly kind: 'offloads'; readonly peer: string; readonly offloads: readonly string[] }
  | { readonly kind: 'note'; readonly note: string; readonly isFailure: boolean };

type Tell = (event: Event) => void;

/** More cores than this at work for others while a tunnel is idle, and its figures are doubtful. */
const NOT_QUIET_CORES = 0.5;

/** Measures everything; what fails is told, and the rest goes on. */
export async function measurePlan(plan: Plan, tell: Tell): Promise<void> {
  for (const [index, task] of tasksOf(plan).entries()) {
    try {
      if (task.mtu === null) await measureLoneTask(plan, task, index, tell);
      else await measurePairTask(plan, task, task.mtu, index, tell);
    } catch (error) {
      tellFailure(task, 'start', error, tell);
    }
  }
}

async function measurePairTask(
  plan: Plan,
  task: Task,
  mtu: number,
  index: number,
  tell: Tell,
): Promise<void> {
  tell({ kind: 'begins', task: index, load: 'start' });
  await using pair = await Pair.start(task.program, mtu);
  await tellIfBusy(pair, task, tell);
  const [end] = pair.ends;
  tell({ kind: 'offloads', peer: task.program.name, offloads: await end.offloads() });
  await measureLoads(PAIR_LOADS, plan, task, index, tell, (load) => measurePair(load, pair, plan));
}

async function measureLoneTask(plan: Plan, task: Task, index: number, tell: Tell): Promise<void> {
  await measureLoads(LONE_LOADS, plan, task, index, tell, (load) => measureLone(load, task.program, plan));
}

async function measureLoads<Name extends string>(
  loads: Readonly<Record<Name, Load>>,
  plan: Plan,
  task: Task,
  index: number,
  tell: Tell,
  measure: (load: Name) => Promise<Partial<Record<string, number>>>,
): Promise<void> {
  const wanted = loadsOf(plan, task);
  for (const name of Object.keys(loads) as Name[]) {
    const load = loads[name];
    if (!wanted.includes(load)) continue;
    tell({ kind: 'begins', task: index, load: load.name });
    try {
      tell({ kind: 'samples', samples: samplesOf(plan, task, await measure(name)) });
    } catch (error) {
      tellFailure(task, load.name, error, tell);
    }
  }
}

function samplesOf(plan: Plan, task: Task, values: Partial<Record<string, number>>): Sample[] {
  return plan.metrics.flatMap((metric) => {
    const value = values[metric];
    const { round, program, mtu } = task;
    return value === undefined ? [] : [{ round, peer: program.name, mtu, metric, value }];
  });
}

function tellFailure({ round, program, mtu }: Task, what: string, error: unknown, tell: Tell): void {
  const [reason = ''] = messageOf(error).split('\n');
  const where = mtu === null ? '' : `, MTU ${mtu}`;
  tell({
    kind: 'note',
    note: `${program.name}, round ${round}${where}: ${what}: ${reason}`,
    isFailure: true,
  });
}

/** Looks for a second at who works while the tunnel is idle. */
async function tellIfBusy(pair: Pair, { round, program }: Task, tell: Tell): Promise<void> {
  const began = { ms: performance.now(), machine: await machineCpuSeconds(), own: await pair.cpuSeconds() };
  await new Promise((resolve) => setTimeout(resolve, 500));
  const seconds = (performance.now() - began.ms) / 1000;
  const own = (await pair.cpuSeconds()) - began.own;
  const cores = ((await machineCpuSeconds()) - began.machine - own) / seconds;
  if (cores <= NOT_QUIET_CORES) return;
  const note = `the machine was not quiet in round ${round}, before ${program.name}: ${cores.toFixed(1)} cores at work for others`;
  tell({ kind: 'note', note, isFailure: false });
}
