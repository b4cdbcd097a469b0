// The part of a run that is inside the namespaces: measures every task of a plan and tells what it found, one event per line on
// standard output, to run.ts outside. Writes no files that stay.

import { messageOf } from '../errors.ts';
import { halfOfCpusEach, machineCpuSeconds } from './cost.ts';
import type { Program } from './implementation.ts';
import { measureLone, measurePair, Pair, type Values } from './measure.ts';
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

/** A task of a plan, by which progress is told. */
interface Step {
  readonly plan: Plan;
  readonly task: Task;
  readonly index: number;
  readonly tell: Tell;
}

/** Measures everything; what fails is told, and the rest goes on. */
export async function measurePlan(plan: Plan, tell: Tell): Promise<void> {
  const steps = tasksOf(plan).map((task, index): Step => ({ plan, task, index, tell }));
  const inTurns = plan.takesTurns === true ? steps.filter(({ task }) => task.mtu !== null) : [];
  for (const [mtu, rounds] of Map.groupBy(inTurns, ({ task }) => task.mtu)) {
    if (mtu !== null) await measureInTurns(rounds, mtu);
  }
  for (const step of steps) {
    if (!inTurns.includes(step)) await measureApart(step);
  }
}

/** The programs of a step one after the other, each started and stopped. */
async function measureApart(step: Step): Promise<void> {
  const { plan, task } = step;
  for (const program of task.programs) {
    try {
      if (task.mtu === null)
        await measureLoads(LONE_LOADS, step, [program], (load) => measureLone(load, program, plan));
      else {
        await using pair = await startPair(step, program, task.mtu);
        await tellIfBusy([pair], step, program.name);
        await measureLoads(PAIR_LOADS, step, [program], (load) => measurePair(load, pair, plan));
      }
    } catch (error) {
      tellFailure(step, program, 'start', error);
    }
  }
}

/**
 * All rounds of one MTU, with pairs of all programs up at once. Each host is kept to CPUs of its own: who shares one with whom
 * decides more, and changes more from one second to the next, than what is compared here.
 */
async function measureInTurns(rounds: readonly Step[], mtu: number): Promise<void> {
  const [first] = rounds;
  if (first === undefined) return;
  const cpus = await halfOfCpusEach();
  await using owned = new AsyncDisposableStack();
  const pairs = new Map<Program, Pair>();
  for (const program of first.plan.programs) {
    try {
      pairs.set(program, owned.use(await startPair(first, program, mtu, cpus)));
    } catch (error) {
      tellFailure(first, program, 'start', error);
    }
  }
  await tellIfBusy([...pairs.values()], first, 'any of them');
  const measure = async (load: keyof typeof PAIR_LOADS, program: Program, plan: Plan): Promise<Values> => {
    const pair = pairs.get(program);
    return pair === undefined ? {} : await measurePair(load, pair, plan);
  };
  // V8 replaces the code it began with as it runs: what is measured before is of no round.
  const unheard: Step = { ...first, tell: (event) => void (event.kind === 'begins' && first.tell(event)) };
  for (const step of [unheard, ...rounds])
    await measureLoads(PAIR_LOADS, step, step.task.programs, (load, program) =>
      measure(load, program, step.plan),
    );
}

async function startPair(
  { index, tell }: Step,
  program: Program,
  mtu: number,
  cpus: readonly string[] = [],
): Promise<Pair> {
  tell({ kind: 'begins', task: index, load: `start of ${program.name}` });
  await using undo = new AsyncDisposableStack();
  const pair = undo.use(await Pair.start(program, mtu, cpus));
  const [end] = pair.ends;
  tell({ kind: 'offloads', peer: program.name, offloads: await end.offloads() });
  undo.move();
  return pair;
}

/** Each load on each program, load by load. */
async function measureLoads<Name extends string>(
  loads: Readonly<Record<Name, Load>>,
  step: Step,
  programs: readonly Program[],
  measure: (load: Name, program: Program) => Promise<Values>,
): Promise<void> {
  const { plan, task, index, tell } = step;
  const wanted = loadsOf(plan, task);
  for (const name of Object.keys(loads) as Name[]) {
    const load = loads[name];
    if (!wanted.includes(load)) continue;
    for (const program of programs) {
      tell({ kind: 'begins', task: index, load: load.name });
      try {
        tell({ kind: 'samples', samples: samplesOf(plan, task, program, await measure(name, program)) });
      } catch (error) {
        tellFailure(step, program, load.name, error);
      }
    }
  }
}

function samplesOf(plan: Plan, { round, mtu }: Task, program: Program, values: Values): Sample[] {
  return plan.metrics.flatMap((metric) => {
    const value = values[metric];
    return value === undefined ? [] : [{ round, peer: program.name, mtu, metric, value }];
  });
}

function tellFailure({ task, tell }: Step, program: Program, what: string, error: unknown): void {
  const { round, mtu } = task;
  const [reason = ''] = messageOf(error).split('\n');
  const where = mtu === null ? '' : `, MTU ${mtu}`;
  tell({
    kind: 'note',
    note: `${program.name}, round ${round}${where}: ${what}: ${reason}`,
    isFailure: true,
  });
}

/** Looks for half a second at who works while the tunnels are idle. */
async function tellIfBusy(pairs: readonly Pair[], { task, tell }: Step, before: string): Promise<void> {
  const own = async (): Promise<number> =>
    (await Promise.all(pairs.map((pair) => pair.cpuSeconds()))).reduce((sum, seconds) => sum + seconds, 0);
  const began = { ms: performance.now(), machine: await machineCpuSeconds(), own: await own() };
  await new Promise((resolve) => setTimeout(resolve, 500));
  const seconds = (performance.now() - began.ms) / 1000;
  const cores = ((await machineCpuSeconds()) - began.machine - ((await own()) - began.own)) / seconds;
  if (cores <= NOT_QUIET_CORES) return;
  const note = `the machine was not quiet in round ${task.round}, before ${before}: ${cores.toFixed(1)} cores at work for others`;
  tell({ kind: 'note', note, isFailure: false });
}
