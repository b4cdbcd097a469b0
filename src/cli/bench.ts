// `ringfence bench`: measurements. Each of its parts is a file of its own, loaded only when a bench command runs.

import type { Command } from 'commander';

type Part = (bench: Command) => Promise<void>;

/** In the order of the help: `async (bench) => (await import('./bench-NAME.ts')).registerBenchName(bench)`. */
const PARTS: readonly Part[] = [];

export async function registerBench(program: Command): Promise<void> {
  const bench = program.command('bench').summary('measure, beside other implementations');
  for (const register of PARTS) await register(bench);
}
