// `npm run check`: what can be said about the code without running it, all of it even when something fails, as one table.
// `npm run check -- tsc biome` runs the checks named. A check whose tool is missing fails, and says how to get the tool.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { heading, paint, print, renderTable, seconds } from './report.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DEADLINE_MS = 10 * 60_000;

type Check = {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The check is due once this exists. */
  readonly of: string;
};

type Verdict = 'passed' | 'failed' | 'absent';

const LAYERING = 'test/unit/layering.test.ts';

const checks: readonly Check[] = [
  {
    name: 'biome',
    of: '.',
    command: ['scripts/node', 'node_modules/@biomejs/biome/bin/biome', 'check', '.'],
  },
  { name: 'tsc', of: '.', command: ['scripts/node', 'node_modules/typescript/bin/tsc', '-p', '.'] },
  {
    name: 'tsc (browser)', // where the functions that run in a page need its types, which nothing else may see
    of: 'test/browser',
    command: ['scripts/node', 'node_modules/typescript/bin/tsc', '-p', 'test/browser'],
  },
  {
    name: 'layering',
    of: LAYERING,
    command: ['scripts/node', 'node_modules/vitest/vitest.mjs', 'run', '--project', 'unit', LAYERING],
  },
  {
    name: 'shell',
    of: '.',
    command: [
      'bash',
      '-n',
      'scripts/setup',
      'scripts/in-namespace',
      'bench/peers.sh',
      'packaging/binary-arm64.sh',
      'test/package/fixtures/container.sh',
      'test/package/fixtures/debian.sh',
      '.ci/run',
    ],
  },
  { name: 'rustfmt', of: 'wasm/Cargo.lock', command: ['scripts/cargo', 'fmt', '--all', '--check'] },
  {
    name: 'clippy (host)',
    of: 'wasm/Cargo.lock',
    command: [...clippy('--all-targets'), '--', '-D', 'warnings'],
  },
  {
    name: 'clippy (wasm)',
    of: 'wasm/Cargo.lock',
    command: [...clippy('--target', 'wasm32-wasip1'), '--', '-D', 'warnings'],
    // The features that build.sh builds with decide which code is compiled.
    env: { RUSTFLAGS: '-C target-feature=+simd128,+bulk-memory' },
  },
  {
    name: 'clang-format',
    of: 'native/src/addon.cc',
    command: ['clang-format', '--dry-run', '-Werror', ...nativeSources()],
  },
];

function clippy(...args: readonly string[]): string[] {
  return ['scripts/cargo', 'clippy', '--workspace', '--locked', '--quiet', ...args];
}

function nativeSources(): string[] {
  const folder = 'native/src';
  const names = existsSync(join(ROOT, folder)) ? readdirSync(join(ROOT, folder)) : [];
  return names.filter((name) => /\.(cc|h)$/.test(name)).map((name) => join(folder, name));
}

async function run(check: Check): Promise<{ readonly verdict: Verdict; readonly output: string }> {
  if (!existsSync(join(ROOT, check.of))) return { verdict: 'absent', output: `there is no ${check.of}` };
  const [program = '', ...args] = check.command;
  const result = await execa(program.includes('/') ? join(ROOT, program) : program, args, {
    cwd: ROOT,
    stdin: 'ignore',
    all: true,
    reject: false,
    timeout: DEADLINE_MS,
    ...(check.env === undefined ? {} : { env: check.env }),
  });
  return { verdict: result.failed ? 'failed' : 'passed', output: result.all || (result.shortMessage ?? '') };
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !checks.some((check) => check.name.startsWith(name)));
if (unknown.length > 0) {
  const names = checks.map((check) => check.name).join(', ');
  process.stderr.write(`no check ${unknown.join(', ')}: there are ${names}\n`);
  process.exit(2);
}

const began = performance.now();
const rows: string[][] = [];
for (const check of checks.filter(
  ({ name }) => wanted.length === 0 || wanted.some((one) => name.startsWith(one)),
)) {
  const checkBegan = performance.now();
  print(`check: ${check.name} …`);
  const { verdict, output } = await run(check);
  if (verdict === 'failed') {
    heading(check.name);
    print(`${output}\n`);
  }
  const style = { passed: 'green', absent: 'yellow', failed: 'red' } as const;
  rows.push([
    check.name,
    paint(style[verdict], verdict),
    seconds(checkBegan),
    verdict === 'absent' ? output : '',
  ]);
  if (verdict === 'failed') process.exitCode = 1;
}
heading(`all checks in ${seconds(began)}`);
print(renderTable(rows));
