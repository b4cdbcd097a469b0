// `ringfence bench`: this program beside other implementations, measured on this machine. Its other parts are files of their own,
// loaded only when a bench command runs.

import { accessSync, constants, existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { compareResults } from '../bench/compare.ts';
import { loadResult } from '../bench/load-result.ts';
import { type Checkout, describeCheckout } from '../bench/machine.ts';
import { checkMachine } from '../bench/namespaces.ts';
import { type Read, readCount, readMetrics, readMtus, readPeers } from '../bench/options.ts';
import { estimateSeconds, METRIC_IDS, type MetricId, type Plan, tasksOf } from '../bench/plan.ts';
import { checkTools, findPrograms, PROGRAM_NAMES, policyPrograms } from '../bench/programs.ts';
import { renderSeconds } from '../bench/progress.ts';
import { loadPlots, renderReport } from '../bench/report/report.ts';
import type { Result } from '../bench/result.ts';
import { run } from '../bench/run.ts';
import { shellWord } from '../config/key-file.ts';
import { messageOf, RingfenceError, UsageError } from '../errors.ts';
import { renderComparison, renderResult } from './bench-text.ts';
import { inTheWay } from './new-file.ts';
import { VERSION } from './version.ts';

type Part = (bench: Command) => Promise<void>;

/** In the order of the help: `async (bench) => (await import('./bench-NAME.ts')).registerBenchName(bench)`. */
const PARTS: readonly Part[] = [
  async (bench) => (await import('./bench-aead.ts')).registerBenchAead(bench),
  async (bench) => (await import('./bench-core.ts')).registerBenchCore(bench),
  async (bench) => (await import('./bench-filter.ts')).registerBenchFilter(bench),
  async (bench) => (await import('./bench-routes.ts')).registerBenchRoutes(bench),
  async (bench) => (await import('./bench-inside.ts')).registerBenchInside(bench),
  async (bench) => (await import('./bench-report.ts')).registerBenchReport(bench),
];

interface BenchOptions {
  readonly rounds?: number;
  readonly seconds?: number;
  readonly mtu?: readonly number[];
  readonly peers?: readonly string[];
  readonly only?: readonly MetricId[];
  readonly quick?: boolean;
  readonly policy?: boolean;
  /** `true` and `-`: standard output. */
  readonly json?: string | true;
  readonly html?: string;
  readonly compare?: string;
  /** False with `--no-save`. */
  readonly save: boolean;
}

/** What `--quick` means where nothing else is asked for. */
const QUICK = { rounds: 1, seconds: 1, mtu: [1420] } as const;

/** What a policy can cost, and where `--policy` asks for nothing else: short streams, and many. */
const POLICY_METRICS: readonly MetricId[] = ['tcp1.up', 'cpu.per-gb', 'udp64.delivered'];
const POLICY = { rounds: 20, seconds: 1, mtu: [1420] } as const;

const DEFAULTS = { rounds: 3, seconds: 3, mtu: [1420, 9000] } as const;

export async function registerBench(program: Command): Promise<void> {
  const bench = program
    .command('bench')
    .enablePositionalOptions() // behind a part's name stand the part's options, though `bench` has some of the same name
    .summary('measure, beside other implementations')
    .description(
      'Measures this program beside the other WireGuard implementations found on this machine, in alternating rounds and private ' +
        'namespaces that end with it. What counts are the ratios: both ends run here.',
    );
  const option = (flags: string, description: string, read: (text: string) => unknown, byDefault: string) =>
    bench.addOption(new Option(flags, `${description} (default: ${byDefault})`).argParser(read));
  option('--rounds <n>', 'rounds, alternating between the implementations', count(1, 1000), '3');
  option('--seconds <n>', 'length of each stream', count(1, 3600), '3');
  option('--mtu <list>', 'MTUs of the tunnel', accepted(readMtus), '1420,9000');
  option('--peers <list>', `some of ${PROGRAM_NAMES.join(', ')}`, accepted(readPeers), 'all that are here');
  option('--only <list>', 'metrics such as tcp1.up, or groups such as udp64', accepted(readMetrics), 'all');
  bench
    .addOption(
      new Option(
        '--policy',
        'what a policy costs: instead of others, this program without one and with 10, 1,000 and 100,000 rules',
      ).conflicts('peers'),
    )
    .option('--quick', 'one round of one second at MTU 1420: a look, not a result')
    .option('--json [file]', 'write the result as JSON; without a file, or with -, instead of the table')
    .option('--html <file>', 'write the result as a page with plots')
    .option('--compare <result>', 'say what got slower or faster since this result')
    .option('--no-save', 'keep nothing in bench/results/ of a clean checkout')
    .action(measure);
  for (const register of PARTS) await register(bench);
}

/** An option as options.ts reads it. */
function accepted<T>(read: (text: string) => Read<T>): (text: string) => T {
  return (text) => {
    const value = read(text);
    if (value.ok) return value.value;
    throw new InvalidArgumentError(`${value.problem}.`);
  };
}

function count(least: number, most: number): (text: string) => number {
  return accepted((text) => readCount(text, least, most));
}

async function measure(options: BenchOptions): Promise<void> {
  // Everything that can be wrong is found out before minutes of measuring.
  const before = options.compare === undefined ? null : loadResult(options.compare);
  const jsonFile = options.json === true || options.json === '-' ? undefined : options.json;
  if (jsonFile !== undefined) checkWritable(jsonFile);
  if (options.html !== undefined) {
    checkWritable(options.html);
    await loadPlots();
  }
  const isOfPolicy = options.policy === true;
  const others = isOfPolicy ? [] : (options.peers ?? PROGRAM_NAMES);
  const { found, missing } = await findPrograms(others, VERSION);
  const programs = isOfPolicy ? policyPrograms(found) : found;
  const metrics = options.only ?? (isOfPolicy ? POLICY_METRICS : METRIC_IDS);
  const plan: Plan = { ...settingsOf(options), metrics, programs, takesTurns: isOfPolicy };
  await checkTools(plan);
  await checkMachine();

  const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
  for (const line of missing) say(line);
  const names = programs.map(({ name, version }) => `${name} ${version}`).join(', ');
  say(`${names}: about ${renderSeconds(estimateSeconds(plan, tasksOf(plan)))}`);
  const checkout = await describeCheckout();
  const command = ['ringfence', ...process.argv.slice(2).map(shellWord)].join(' ');
  const { stop, signal } = stopOnSignal();
  const outcome = await run({ plan, checkout, command, notes: missing, stream: process.stderr, stop });
  if (outcome === null) {
    say(`${signal()}: nothing is left of the run, and nothing was kept`);
    process.exitCode = signal() === 'SIGINT' ? 130 : 143;
    return;
  }
  const { result } = outcome;
  if (options.json === undefined || jsonFile !== undefined) process.stdout.write(renderResult(result));
  else process.stdout.write(toJson(result));
  if (jsonFile !== undefined) await keep(jsonFile, toJson(result), say);
  if (before !== null) {
    const text = renderComparison(compareResults(before, result), options.compare ?? '');
    (options.json === undefined || jsonFile !== undefined ? process.stdout : process.stderr).write(
      `\n${text}`,
    );
  }
  if (options.save && options.quick !== true) await save(result, checkout, say);
  if (options.html !== undefined) await keep(options.html, await renderReport(result), say);
  if (outcome.hasFailed) process.exitCode = 1;
}

function settingsOf(options: BenchOptions): Pick<Plan, 'rounds' | 'seconds' | 'mtus'> {
  const ordinary = options.policy === true ? POLICY : DEFAULTS;
  const defaults = options.quick === true ? QUICK : ordinary;
  return {
    rounds: options.rounds ?? defaults.rounds,
    seconds: options.seconds ?? defaults.seconds,
    mtus: options.mtu ?? defaults.mtu,
  };
}

/** Nothing is ever overwritten. @throws UsageError */
function checkWritable(path: string): void {
  if (existsSync(path)) throw inTheWay(path);
  try {
    accessSync(dirname(resolve(path)), constants.W_OK);
  } catch (cause) {
    throw new UsageError('ERR_USAGE', `${path} cannot be written: ${messageOf(cause)}`, { cause });
  }
}

/** The first SIGINT or SIGTERM; listening, so that it does not end this process before everything inside has ended. */
function stopOnSignal(): { readonly stop: AbortSignal; readonly signal: () => string } {
  const stop = new AbortController();
  let first = '';
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      first ||= signal;
      stop.abort();
    });
  }
  return { stop: stop.signal, signal: () => first };
}

/** In a clean checkout the result is kept, under the commit it is of. */
async function save(result: Result, { resultsFolder }: Checkout, say: (line: string) => void): Promise<void> {
  if (resultsFolder === null) return;
  if (!result.clean) {
    say('not kept in bench/results/: the work tree is not clean');
    return;
  }
  await mkdir(resultsFolder, { recursive: true });
  const time = result.date.slice(0, 16).replace(':', '').replace('T', '-');
  await keep(join(resultsFolder, `${time}-${result.commit.slice(0, 7)}.json`), toJson(result), say);
}

async function keep(path: string, content: string, say: (line: string) => void): Promise<void> {
  try {
    await writeFile(path, content, { flag: 'wx' });
  } catch (cause) {
    throw new RingfenceError('ERR_FILE_WRITE', `${path} cannot be written: ${messageOf(cause)}`, { cause });
  }
  say(`wrote ${path}`);
}

function toJson(result: Result): string {
  return `${JSON.stringify(result, null, 2)}\n`;
}
