// `npm run fuzz -- MINUTES [TARGET…]`: each fuzzer for so many minutes, one without it. Natively by cargo-fuzz (libFuzzer,
// guided by coverage) on the decoding of datagrams, frames and policies, by fast-check on the built core and on the lines of a `set=1`.
// Ends with 1 at the first input that breaks a promise, and names what repeats it. What is worth keeping goes to
// wasm/fuzz/corpus/.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { heading, print, seconds } from './report.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CACHE = join(ROOT, '.cache/fuzz');

type Target = { readonly name: string; run(runSeconds: number): Promise<boolean> };

const TARGETS: readonly Target[] = [
  { name: 'inbound', run: (runSeconds) => native('inbound', runSeconds) },
  { name: 'outbound', run: (runSeconds) => native('outbound', runSeconds) },
  { name: 'filter', run: (runSeconds) => native('filter', runSeconds) },
  { name: 'wasm', run: (runSeconds) => property('core', 'test/core/property.test.ts', runSeconds) },
  { name: 'uapi', run: (runSeconds) => property('unit', 'test/unit/control/uapi/parse.test.ts', runSeconds) },
];

/** The corpus grows in the cache; what is committed is read and not written. */
async function native(name: string, runSeconds: number): Promise<boolean> {
  const found = join(CACHE, name);
  await mkdir(found, { recursive: true });
  return await succeeds(
    'scripts/cargo',
    ['fuzz', 'run', '--fuzz-dir', 'fuzz', '--sanitizer', 'none', name, found, `fuzz/corpus/${name}`]
      .concat('--', `-max_total_time=${runSeconds}`, '-max_len=4096', '-timeout=10', '-rss_limit_mb=1024')
      .concat('-print_final_stats=1', '-verbosity=0'),
    { PATH: `${join(ROOT, '.cache/cargo-fuzz/bin')}:${process.env['PATH']}` },
  );
}

/** Twin: test/support/fuzzing.ts, which reads the seconds. */
async function property(project: string, file: string, runSeconds: number): Promise<boolean> {
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--project', project, file];
  return await succeeds('scripts/node', args, { FUZZ_SECONDS: `${runSeconds}` });
}

async function succeeds(
  program: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<boolean> {
  const result = await execa(join(ROOT, program), args, {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    reject: false,
    env,
  });
  return result.exitCode === 0;
}

const [minutes = '1', ...names] = process.argv.slice(2);
const runSeconds = Math.round(Number(minutes) * 60);
const unknown = names.filter((name) => !TARGETS.some((target) => target.name === name));
if (!(runSeconds > 0) || unknown.length > 0) {
  const known = TARGETS.map(({ name }) => name).join('|');
  process.stderr.write(`usage: npm run fuzz -- MINUTES [${known}]…\n`);
  process.exit(2);
}
for (const target of TARGETS.filter(({ name }) => names.length === 0 || names.includes(name))) {
  heading(`${target.name} for ${minutes} min`);
  const began = performance.now();
  if (!(await target.run(runSeconds))) {
    print(`${target.name}: an input broke it after ${seconds(began)}; it is named above`);
    process.exit(1);
  }
  print(`${target.name}: clean after ${seconds(began)}`);
}
