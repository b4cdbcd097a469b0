// Where a result comes from: the machine, and the commit of the checkout the program runs in, if it is one.

import { realpathSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { Result } from './result.ts';

/** The folder of the program: in a checkout its root. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export const describeMachine = (): Result['machine'] => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: cpus().length,
  memoryBytes: totalmem(),
  kernel: release(),
});

export interface Checkout {
  readonly commit: string;
  /** Whether the work tree holds nothing but the commit; results do not count. */
  readonly clean: boolean;
  /** Where results of a clean checkout are kept; null outside of one. */
  readonly resultsFolder: string | null;
}

export async function describeCheckout(): Promise<Checkout> {
  const git = async (...args: string[]): Promise<string> => {
    const { stdout } = await execa('git', args, { cwd: ROOT, reject: false });
    return typeof stdout === 'string' ? stdout : '';
  };
  const top = await git('rev-parse', '--show-toplevel');
  // Installed below another repository, the program is none of its commits.
  if (top === '' || realpathSync(top) !== realpathSync(ROOT)) {
    return { commit: 'unknown', clean: false, resultsFolder: null };
  }
  const changes = await git('status', '--porcelain', '--', '.', ':!bench/results');
  return {
    commit: await git('rev-parse', 'HEAD'),
    clean: changes === '',
    resultsFolder: join(ROOT, 'bench/results'),
  };
}
