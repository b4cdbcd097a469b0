// `npm run audit`: what the advisory databases say of everything that is shipped, as a report. It fails nothing: advisories change
// without a commit, and without a network, or where a registry has no such service, there is nothing to ask.

import { execa } from 'execa';
import { heading, paint, print } from '../scripts/report.ts';
import { ROOT } from './checkout.ts';

interface Audit {
  readonly of: string;
  readonly command: readonly [string, ...string[]];
  /** Where it works. */
  readonly cwd: string;
  /** How to get what it needs. */
  readonly remedy: string;
}

const DEADLINE_MS = 60_000;

const audits: readonly Audit[] = [
  {
    of: 'npm packages',
    command: ['npm', 'audit', '--omit=dev'],
    cwd: ROOT,
    remedy: 'run it where npm reaches a registry that answers audits',
  },
  {
    of: 'crates in the core',
    command: ['cargo', 'audit'],
    cwd: `${ROOT}/wasm`,
    remedy: 'cargo install cargo-audit --locked, and run it where its advisory database can be fetched',
  },
];

for (const { of, command, cwd, remedy } of audits) {
  heading(of);
  const [program, ...args] = command;
  const { exitCode, all, failed } = await execa(program, args, {
    cwd,
    all: true,
    reject: false,
    stdin: 'ignore',
    timeout: DEADLINE_MS,
  });
  print(all?.trim() ?? '');
  if (failed)
    print(
      paint(
        'yellow',
        `${command.join(' ')} ended with ${exitCode ?? 'no status'}: read why above; or ${remedy}`,
      ),
    );
}
