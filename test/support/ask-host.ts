// Asks the rules of a host and the evaluator the same (host-verdicts.ts), in a namespace of its own.

import { fileURLToPath } from 'node:url';
import { build, type Host } from '../../src/bench/topology.ts';
import type { VerdictOptions, VerdictResult } from './host-verdicts.ts';
import { NODE } from './traffic.ts';

const PROGRAM = fileURLToPath(new URL('./host-verdicts.ts', import.meta.url));

export async function askHost(options: VerdictOptions): Promise<VerdictResult> {
  await using net = await build(async (topology) => ({ asked: await topology.host('asked') }));
  const { asked }: { readonly asked: Host } = net;
  const said = await asked.exec(NODE, [PROGRAM, JSON.stringify(options)], { timeoutMs: 170_000 });
  return JSON.parse(said) as VerdictResult;
}
