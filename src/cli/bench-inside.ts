// `ringfence bench inside …`: the parts of `ringfence bench` that run in its namespaces. Not for users, and not in the help.

import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import { measurePlan } from '../bench/inside.ts';
import type { Plan } from '../bench/plan.ts';
import { type StormOptions, storm } from '../bench/storm.ts';
import { flood, sink } from '../bench/udp-load.ts';

export async function registerBenchInside(bench: Command): Promise<void> {
  const inside = bench.command('inside', { hidden: true });
  inside.command('measure').action(async () => {
    const plan = JSON.parse(await text(process.stdin)) as Plan; // made by bench.ts, never by a user
    await measurePlan(plan, report);
  });
  inside
    .command('flood <address> <port> <bytes> <seconds>')
    .action(async (address: string, port: string, bytes: string, seconds: string) => {
      report(await flood(address, Number(port), Number(bytes), Number(seconds)));
    });
  inside.command('storm').action(async () => {
    report(await storm(JSON.parse(await text(process.stdin)) as StormOptions));
  });
  inside.command('sink').action(async () => {
    const stop = new AbortController();
    process.once('SIGTERM', () => stop.abort());
    report(await sink((port) => report({ port }), stop.signal));
  });
}

/** What it says is JSON, one value per line. */
function report(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
