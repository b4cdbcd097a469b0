// `ringfence bench filter`: what the packet filter costs a packet, and how long a policy takes to apply.

import type { Command } from 'commander';
import { type FilterResult, measureFilter } from '../bench/filter.ts';
import { roundsOption, showProgress } from './bench-progress.ts';
import { alignColumns } from './table.ts';

/** Batches of one measurement. */
const BATCHES = 10;

export function registerBenchFilter(bench: Command): void {
  bench
    .command('filter')
    .summary('what the packet filter costs')
    .description(
      'Moves packets through two connected cores in memory, without a policy and with 10, 1,000 and 100,000 rules in the same run.\n' +
        'Then applies a policy of 5,000 peers with ten grants each, and changes one of them.',
    )
    .option('--rounds <n>', 'how often each is measured', roundsOption, 150)
    .option('--json', 'print JSON')
    .action(({ rounds, json }: { rounds: number; json?: boolean }) => {
      const progress = showProgress();
      const result = measureFilter(rounds, BATCHES, progress.show);
      progress.end();
      process.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : render(result));
    });
}

function render({ rounds, packets, newFlowNs, apply, memoryBytes }: FilterResult): string {
  const head = ['', 'RULES', 'ns OUT', '', 'ns IN', ''];
  const rows = packets.map(({ name, rules, outboundNs, inboundNs }) => {
    const base = packets.find((one) => one.name === name && one.rules === 0);
    const more = (ns: number, of: number | undefined): string =>
      rules === 0 || of === undefined ? '' : `${ns < of ? '' : '+'}${((ns / of - 1) * 100).toFixed(1)} %`;
    return [
      rules === 0 ? name : '',
      rules === 0 ? 'none' : String(rules),
      outboundNs.toFixed(0),
      more(outboundNs, base?.outboundNs),
      inboundNs.toFixed(0),
      more(inboundNs, base?.inboundNs),
    ];
  });
  const flows = newFlowNs.map(({ rules, ns }) => `${ns.toFixed(0)} ns with ${rules} rules`).join(', ');
  const { wholeMs, longestCallMs, onePeerMs, encodeMs } = apply;
  return `${[
    ...alignColumns([head, ...rows]),
    '',
    `A new flow: ${flows}.`,
    `5,000 peers, 50,000 grants: ${wholeMs.toFixed(0)} ms in the core, ${longestCallMs.toFixed(1)} ms its longest call; one peer ${onePeerMs.toFixed(1)} ms. Their records: ${encodeMs.toFixed(0)} ms.`,
    `Memory of the filter, ten rules and room for every flow: ${(memoryBytes / 2 ** 20).toFixed(1)} MiB.`,
    `${rounds} rounds; the least of each.`,
  ].join('\n')}\n`;
}
