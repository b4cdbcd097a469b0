// What every form of the program must do on this machine: carry a tunnel between two namespaces.

import { join } from 'node:path';
import { execa } from 'execa';
import { expect } from 'vitest';
import { ROOT } from '../../packaging/checkout.ts';

/** A command in private namespaces. */
export function inNamespace(...command: readonly string[]): [string, string[]] {
  return [join(ROOT, 'scripts/in-namespace'), [...command]];
}

/** Two nodes of `program` reach each other, answer `status` and end cleanly. @returns how long one took to be ready */
export async function tunnelThrough(program: readonly string[]): Promise<number> {
  const script = join(ROOT, 'test/package/fixtures/tunnel.ts');
  const { stdout } = await execa(...inNamespace(join(ROOT, 'scripts/node'), script, ...program));
  const seen: unknown = JSON.parse(stdout);
  const allAnswered = { sent: 3, received: 3 };
  const ended = { code: 0 };
  expect(seen).toMatchObject({
    pings: [allAnswered, allAnswered, allAnswered],
    ends: [ended, ended],
  });
  return (seen as { readyMs: number }).readyMs;
}
