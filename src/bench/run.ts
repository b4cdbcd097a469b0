// A whole run, from outside the namespaces: hands the plan in, collects what is told, and makes a result of it. Whatever ends
// the run, nothing of it is left.

import type { Event } from './inside.ts';
import type { LineProcess } from './line-process.ts';
import { type Checkout, describeMachine } from './machine.ts';
import { killNamespaces, startInNamespaces } from './namespaces.ts';
import { ownProgram } from './own-program.ts';
import { estimateSeconds, type Plan, type Task, tasksOf } from './plan.ts';
import { Progress } from './progress.ts';
import { CURRENT_VERSION, type Result, type Sample } from './result.ts';

export interface RunOptions {
  readonly plan: Plan;
  readonly checkout: Checkout;
  /** What repeats the run. */
  readonly command: string;
  /** What is known before anything is measured, such as who is missing. */
  readonly notes: readonly string[];
  /** Where progress goes. */
  readonly stream: NodeJS.WriteStream;
  /** Ends the run: all processes inside are killed. */
  readonly stop: AbortSignal;
}

export interface Outcome {
  readonly result: Result;
  /** Something could not be measured; the result's notes say what. */
  readonly hasFailed: boolean;
}

/** Measures the plan. Null when it was stopped. */
export async function run(options: RunOptions): Promise<Outcome | null> {
  const { plan, stop } = options;
  const tasks = tasksOf(plan);
  using progress = new Progress(
    options.stream,
    tasks.map((task) => estimateSeconds(plan, [task])),
  );
  const date = new Date().toISOString();
  const collected = new Collector(tasks, progress, options.notes);
  const inside = startInNamespaces(ownProgram('bench', 'inside', 'measure'), JSON.stringify(plan));
  const kill = (): void => killNamespaces(inside);
  stop.addEventListener('abort', kill);
  if (stop.aborted) kill();
  try {
    await readEvents(inside, collected, stop);
  } finally {
    stop.removeEventListener('abort', kill);
  }
  if (stop.aborted) return null;
  return { result: collected.result(options, date), hasFailed: collected.hasFailed };
}

/** Until the process has ended, and with it everything in its namespaces: they hold its output open. */
async function readEvents(inside: LineProcess, collected: Collector, stop: AbortSignal): Promise<void> {
  inside.onLine(({ stream, text }) => {
    if (stream === 'stdout' && !stop.aborted) collected.take(JSON.parse(text) as Event);
  });
  const exit = await inside.exited;
  if (exit.code === 0 || stop.aborted) return;
  const said = inside.lines.filter(({ stream }) => stream === 'stderr').map(({ text }) => text);
  const how = exit.signal ?? `status ${exit.code}`;
  throw new Error(`the measurement ended with ${how}:\n${said.slice(-20).join('\n')}`);
}

class Collector {
  hasFailed = false;
  readonly #tasks: readonly Task[];
  readonly #progress: Progress;
  readonly #samples: Sample[] = [];
  readonly #notes: string[];
  readonly #offloads = new Map<string, readonly string[]>();

  constructor(tasks: readonly Task[], progress: Progress, notes: readonly string[]) {
    this.#tasks = tasks;
    this.#progress = progress;
    this.#notes = [...notes];
  }

  take(event: Event): void {
    switch (event.kind) {
      case 'begins': {
        const task = this.#tasks[event.task];
        if (task !== undefined) this.#progress.show(event.task, titleOf(task), event.load);
        return;
      }
      case 'samples':
        this.#samples.push(...event.samples);
        return;
      case 'offloads':
        this.#offloads.set(event.peer, event.offloads);
        return;
      case 'note':
        this.#notes.push(event.note);
        this.hasFailed ||= event.isFailure;
        this.#progress.say(event.note);
        return;
      default:
        event satisfies never;
    }
  }

  result({ plan, checkout, command }: RunOptions, date: string): Result {
    return {
      version: CURRENT_VERSION,
      date,
      commit: checkout.commit,
      clean: checkout.clean,
      command,
      machine: describeMachine(),
      settings: { rounds: plan.rounds, seconds: plan.seconds, mtus: plan.mtus },
      peers: plan.programs.map(({ name, version }) => ({
        name,
        version,
        offloads: this.#offloads.get(name) ?? [],
      })),
      samples: this.#samples,
      notes: this.#notes,
    };
  }
}

function titleOf({ round, programs, mtu }: Task): string {
  const who = programs.map(({ name }) => name).join(', ');
  return `round ${round}, ${who}${mtu === null ? '' : `, MTU ${mtu}`}`;
}
