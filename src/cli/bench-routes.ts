// `ringfence bench routes`: the cost of finding a packet's peer among few and many allowed IPs.

import type { Command } from 'commander';
import { measureRoutes, ROUTE_COUNTS, type RoutesResult } from '../bench/routes.ts';
import { roundsOption, showProgress } from './bench-progress.ts';
import { alignColumns } from './table.ts';

const LOOKUPS = 200_000;

export function registerBenchRoutes(bench: Command): void {
  bench
    .command('routes')
    .summary('lookups among up to a million allowed IPs')
    .description(
      'Looks up random addresses in tables of 10 to 1,000,000 prefixes of mixed lengths, three in four IPv4.\n' +
        'Destinations are drawn evenly from all prefixes: caches help less than with any real traffic.',
    )
    .option('--rounds <n>', 'how often each is measured', roundsOption, 20)
    .option('--json', 'print JSON')
    .action(({ rounds, json }: { rounds: number; json?: boolean }) => {
      const progress = showProgress();
      const result = measureRoutes({ rounds, counts: ROUTE_COUNTS, lookups: LOOKUPS }, progress.show);
      progress.end();
      process.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : render(result));
    });
}

function render({ rows, rounds, lookups, ratio }: RoutesResult): string {
  const head = ['PREFIXES', 'ns/LOOKUP', 'TURNS', 'ALONE ns', 'INSERT ns', 'MOVE ns', 'BYTES/PREFIX'];
  const cells = rows.map(({ prefixes, leastNs, ns, aloneNs, insertNs, moveNs, bytesPerPrefix }) => [
    prefixes.toLocaleString('en'),
    leastNs.toFixed(1),
    `${ns.minimum.toFixed(1)}…${ns.maximum.toFixed(1)}`,
    aloneNs.minimum.toFixed(0),
    insertNs.toFixed(0),
    moveNs.toFixed(0),
    bytesPerPrefix?.toFixed(0) ?? '-',
  ]);
  const note =
    `${rounds} rounds of ${lookups.toLocaleString('en')} lookups in turn, together as in a batch of frames, each batch in its fastest turn; ` +
    `TURNS: whole ones, least to most; ALONE: one by one, least. ` +
    `Largest to smallest table: ${ratio.toFixed(1)}`;
  return `${[...alignColumns([head, ...cells]), '', note].join('\n')}\n`;
}
