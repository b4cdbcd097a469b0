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
  /** What its output has when it has asked a database and found something; it fails for both, and for want of an answer. */
  readonly finding: RegExp;
  /** How to get what it needs. */
  readonly remedy: string;
}

const DEADLINE_MS = 60_000;

const audits: readonly Audit[] = [
  {
    of: 'npm packages',
    command: ['npm', 'audit', '--omit=dev'],
    cwd: ROOT,
    finding: /^\d+ (\w+ severity )?vulnerabilit/m,
    remedy: 'run it where npm reaches a registry that answers audits',
  },
  {
    of: 'crates in the core',
    command: ['cargo', 'audit'],
    cwd: `${ROOT}/wasm`,
    finding: /\d+ vulnerabilit|\d+ denied warning/,
    remedy: 'cargo install cargo-audit --locked, and run it where its advisory database can be fetched',
  },
];

const verdicts: string[] = [];
for (const { of, command, cwd, finding, remedy } of audits) {
  heading(of);
  const [program, ...args] = command;
  const { all, failed } = await execa(program, args, {
    cwd,
    all: true,
    reject: false,
    stdin: 'ignore',
    timeout: DEADLINE_MS,
  });
  print(all?.trim() ?? '');
  if (!failed) verdicts.push(`${paint('green', 'no advisory')} about ${of}`);
  else if (finding.test(all ?? ''))
    verdicts.push(`${paint('red', 'advisories')} about ${of}: they stand above`);
  else verdicts.push(`${paint('yellow', 'not known')}, ${of}: no database was asked; ${remedy}`);
}
heading('what advisories say');
for (const verdict of verdicts) print(verdict);
