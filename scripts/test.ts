// `npm test`: every kind of test, phase after phase, and one last line `N passed, N failed, N skipped` about all of them.
// `npm test -- pair interop` runs the phases named; `slow`, of tests that wait for real minutes, and `package`, which builds
// all that is published, run only so. With CI=true a skipped test and a run without tests are failures, and the committed core is built again and compared.

import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { heading, paint, print, renderTable, seconds } from './report.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PHASE_DEADLINE_MS = 15 * 60_000;
/** Their tests take minutes: each is told when it is through, and they may take longer. */
const LONG_PROJECTS: readonly string[] = ['slow', 'package'];
const LONG_PHASE_DEADLINE_MS = 45 * 60_000;
const IS_CI = process.env['CI'] === 'true';
/** Failures in more files than this are no coincidence, and are not run again. */
const UNSTEADY_FILES_MAX = 2;

type Outcome = {
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
  /** Of those passed: what failed first. */
  readonly unsteady?: readonly string[];
};
type Phase = {
  readonly name: string;
  /** Runs when it is named, not with all the others. */
  readonly isOnlyNamed?: true;
  run(): Promise<Outcome>;
};

const phases: readonly Phase[] = [
  // Of two cores vitest would leave one idle.
  { name: 'unit', run: () => vitest(['unit', 'core'], 'as it is', ['--maxWorkers=2']) },
  { name: 'browser', run: () => twice('browser') },
  { name: 'rust', run: rust },
  { name: 'native', run: () => twice('native') },
  { name: 'pair', run: () => inHalves('pair') },
  { name: 'firewall', run: () => inHalves('firewall') },
  { name: 'attack', run: () => twice('attack') },
  { name: 'faults', run: () => twice('faults') },
  { name: 'interop', run: () => inHalves('interop') },
  ...(IS_CI ? [{ name: 'rebuild', run: rebuild }] : []),
  { name: 'slow', isOnlyNamed: true, run: () => twice('slow') },
  // Its tests make namespaces where they need some: what is installed comes from the network.
  { name: 'package', isOnlyNamed: true, run: () => vitest(['package'], 'as it is') },
];

/** The part of vitest's JSON report that counts. */
type VitestReport = {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
};

/**
 * Two halves of the files at once, each in namespaces and a /run of its own: they mostly wait, and files of one half would
 * take each other's names.
 */
async function inHalves(project: string): Promise<Outcome> {
  const halves = await Promise.all(['1/2', '2/2'].map((half) => twice(project, [`--shard=${half}`])));
  return {
    passed: halves.reduce((sum, half) => sum + half.passed, 0),
    failed: halves.flatMap((half) => half.failed),
    skipped: halves.flatMap((half) => half.skipped),
    unsteady: halves.flatMap((half) => half.unsteady ?? []),
  };
}

/**
 * Runs a project whose tests wait for other programs and for the kernel, and those files again, alone, in which a test
 * failed: on a machine that others use too, one in thousands comes too late. What passes only then is named at the end.
 */
async function twice(project: string, options: readonly string[] = []): Promise<Outcome> {
  const first = await vitest([project], 'in namespaces', options);
  const files = [...new Set(first.failed.map((name) => name.split(': ')[0] ?? ''))];
  const areFiles = files.every((file) => existsSync(join(ROOT, file)));
  if (!areFiles || files.length === 0 || files.length > UNSTEADY_FILES_MAX || isInterrupted) return first;
  print(`${paint('yellow', 'once more')} ${files.join(', ')}`);
  const second = await vitest([project], 'in namespaces', files);
  if (second.passed + second.failed.length === 0) return first;
  const unsteady = first.failed.filter((name) => !second.failed.includes(name));
  return { ...first, passed: first.passed + unsteady.length, failed: second.failed, unsteady };
}

async function vitest(
  projects: readonly string[],
  where: 'as it is' | 'in namespaces',
  options: readonly string[] = [],
): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'ringfence-test-'));
  const isLong = projects.some((project) => LONG_PROJECTS.includes(project));
  try {
    const file = join(folder, 'report.json');
    const [program, ...args] = [
      ...(where === 'in namespaces' ? ['scripts/in-namespace'] : []),
      'scripts/node',
      'node_modules/vitest/vitest.mjs',
      'run',
      '--passWithNoTests',
      `--reporter=${isLong ? 'verbose' : 'default'}`,
      '--reporter=json',
      `--outputFile.json=${file}`,
      ...projects.flatMap((project) => ['--project', project]),
      ...options,
    ];
    const status = await run(program ?? '', args, isLong ? LONG_PHASE_DEADLINE_MS : PHASE_DEADLINE_MS);
    if (!existsSync(file))
      return { passed: 0, failed: [`vitest ended with ${status} and no report`], skipped: [] };
    return readReport(JSON.parse(await readFile(file, 'utf8')) as VitestReport, status);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function readReport(report: VitestReport, status: string): Outcome {
  const failed: string[] = [];
  const skipped: string[] = [];
  let passed = 0;
  for (const file of report.testResults) {
    const place = relative(ROOT, file.name);
    for (const test of file.assertionResults) {
      if (test.status === 'passed') passed += 1;
      else (test.status === 'failed' ? failed : skipped).push(`${place}: ${test.fullName}`);
    }
    // A file that cannot be loaded, or whose hooks fail, has no test to blame.
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')) {
      failed.push(`${place}: ${file.message.split('\n')[0]}`);
    }
  }
  if (status !== 'status 0' && failed.length === 0)
    failed.push(`vitest ended with ${status}, though no test failed`);
  return { passed, failed, skipped };
}

async function rust(): Promise<Outcome> {
  if (!existsSync(join(ROOT, 'wasm/Cargo.lock'))) return { passed: 0, failed: [], skipped: [] };
  const child = execa('scripts/cargo', ['test', '--workspace', '--locked'], {
    cwd: ROOT,
    stdin: 'ignore',
    stdout: ['pipe', 'inherit'],
    stderr: 'inherit',
    reject: false,
    timeout: PHASE_DEADLINE_MS,
  });
  const { stdout, exitCode } = await child;
  if (exitCode === 3) return { passed: 0, failed: [], skipped: ['all tests in Rust: no Rust toolchain'] };
  const names = (state: string) =>
    [...stdout.matchAll(new RegExp(`^test (.+) \\.\\.\\. ${state}`, 'gm'))].map(
      (match) => `rust: ${match[1]}`,
    );
  const failed = names('FAILED');
  if (exitCode !== 0 && failed.length === 0) failed.push(`cargo test ended with status ${exitCode}`);
  return { passed: names('ok').length, failed, skipped: names('ignored') };
}

/** Builds the core anew and compares its bytes with the committed ones. */
async function rebuild(): Promise<Outcome> {
  const name = 'the committed core is what its sources build';
  if (!existsSync(join(ROOT, 'wasm/build.sh'))) return { passed: 0, failed: [], skipped: [] };
  const status = await run('wasm/build.sh', ['--check']);
  if (status === 'status 0') return { passed: 1, failed: [], skipped: [] };
  // 3: another compiler than the one that built it, so there is nothing to compare.
  if (status === 'status 3') return { passed: 0, failed: [], skipped: [name] };
  return { passed: 0, failed: [name], skipped: [] };
}

/** Runs a program of the checkout with our output as its own and says how it ended. */
async function run(
  program: string,
  args: readonly string[],
  deadlineMs = PHASE_DEADLINE_MS,
): Promise<string> {
  const result = await execa(join(ROOT, program), args, {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    reject: false,
    ...(process.stdout.isTTY ? {} : { env: { NO_COLOR: '1' } }),
    timeout: deadlineMs,
    forceKillAfterDelay: 10_000,
  });
  if (result.timedOut) return `no end after ${deadlineMs / 60_000} minutes`;
  return result.signal === undefined ? `status ${result.exitCode}` : result.signal;
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !phases.some((phase) => phase.name === name));
if (unknown.length > 0) {
  process.stderr.write(
    `no phase ${unknown.join(', ')}: there are ${phases.map((phase) => phase.name).join(', ')}\n`,
  );
  process.exit(2);
}

// Ctrl-C ends the phase that runs, for it shares our process group; then there is nothing more to do.
let isInterrupted = false;
process.on('SIGINT', () => {
  isInterrupted = true;
});

const began = performance.now();
const rows: string[][] = [];
const total = { passed: 0, failed: [] as string[], skipped: [] as string[], unsteady: [] as string[] };
const due = phases.filter(({ name, isOnlyNamed }) =>
  wanted.length === 0 ? isOnlyNamed !== true : wanted.includes(name),
);
for (const phase of due) {
  heading(phase.name);
  const phaseBegan = performance.now();
  const outcome = await phase.run();
  if (isInterrupted) process.exit(130);
  const { passed, failed, skipped } = outcome;
  const isEmpty = passed + failed.length + skipped.length === 0;
  rows.push([
    phase.name,
    `${passed} passed`,
    failed.length === 0 ? `${failed.length} failed` : paint('red', `${failed.length} failed`),
    skipped.length === 0 ? `${skipped.length} skipped` : paint('yellow', `${skipped.length} skipped`),
    seconds(phaseBegan),
    isEmpty ? paint('yellow', 'NO TESTS WERE FOUND') : '',
  ]);
  total.passed += passed;
  total.failed.push(...failed);
  total.skipped.push(...skipped);
  total.unsteady.push(...(outcome.unsteady ?? []));
}

heading(`all phases in ${seconds(began)}`);
print(renderTable(rows));
for (const name of total.skipped) print(`${paint('yellow', 'skipped')} ${name}`);
for (const name of total.unsteady)
  print(`${paint('yellow', 'unsteady')} ${name}: passed when run again, alone`);
for (const name of total.failed) print(`${paint('red', 'failed')}  ${name}`);
const executed = total.passed + total.failed.length;
if (executed === 0) print(paint('red', 'no test was executed'));
if (IS_CI && total.skipped.length > 0) print(paint('red', 'with CI=true a skipped test is a failure'));
const isFailure = total.failed.length > 0 || executed === 0 || (IS_CI && total.skipped.length > 0);
print();
print(`${total.passed} passed, ${total.failed.length} failed, ${total.skipped.length} skipped`);
process.exitCode = isFailure ? 1 : 0;
