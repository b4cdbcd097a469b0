// `ringfence bench core`: packets in memory through two connected cores, and where the time goes.

import type { Command } from 'commander';
import { CORE_SHAPES, type CoreResult, measureCore, type Walk } from '../bench/core.ts';
import { roundsOption, showProgress } from './bench-progress.ts';
import { alignColumns } from './table.ts';

/** Batches of one measurement: some milliseconds for small packets, a tenth of a second for superpackets. */
const BATCHES = 200;

export function registerBenchCore(bench: Command): void {
  bench
    .command('core')
    .summary('packets through the core in memory, stage by stage')
    .description(
      'Moves packets of 64 bytes, 1420 bytes and 64 KiB through two connected cores in memory, without kernel and system calls.\n' +
        'A stage is the difference between runs that end before and after it.',
    )
    .option('--rounds <n>', 'how often each is measured', roundsOption, 7)
    .option('--json', 'print JSON')
    .action(({ rounds, json }: { rounds: number; json?: boolean }) => {
      const progress = showProgress();
      const result = measureCore({ rounds, batches: BATCHES, shapes: CORE_SHAPES }, progress.show);
      progress.end();
      process.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : render(result));
    });
}

function render({ packets, rounds, cyclesPerNs }: CoreResult): string {
  const head = ['', '', 'ns/PACKET', 'min…max', 'cycles', 'Gbit/s', 'WHERE, ns'];
  const rows = packets.flatMap(({ title, messages, outbound, inbound }) => [
    [messages > 1 ? `${title}, ${messages} messages` : title, 'outbound', ...cells(outbound)],
    ['', 'inbound', ...cells(inbound)],
  ]);
  const clock =
    cyclesPerNs === null
      ? 'The clock rate is not known here.'
      : `Cycles of ${cyclesPerNs.toFixed(2)} GHz, as /proc/cpuinfo says; a boosted core makes more.`;
  return `${[...alignColumns([head, ...rows]), '', `${rounds} rounds; medians. ${clock}`].join('\n')}\n`;
}

function cells({ nsPerPacket, cyclesPerPacket, gigabitsPerSecond, stages }: Walk): string[] {
  const { median, minimum, maximum } = nsPerPacket;
  return [
    median.toFixed(0),
    `${minimum.toFixed(0)}…${maximum.toFixed(0)}`,
    cyclesPerPacket?.toFixed(0) ?? '-',
    gigabitsPerSecond.toFixed(2),
    stages.map(({ name, ns }) => `${name} ${ns.toFixed(0)}`).join(' · '),
  ];
}
