// `ringfence bench report RESULT PAGE`: a saved result as a page to look at.

import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { loadResult } from '../bench/load-result.ts';
import { renderReport } from '../bench/report/report.ts';
import { writeNewFile } from '../config/new-file.ts';
import { create, inTheWay } from './new-file.ts';

export function registerBenchReport(bench: Command): void {
  bench
    .command('report')
    .summary('draw a saved result as a page')
    .description(
      'Writes PAGE, one HTML file with plots, tables and all circumstances of RESULT. It loads nothing from anywhere. Overwrites nothing.',
    )
    .argument('<result>', 'what `ringfence bench` has saved, such as result.json')
    .argument('<page>', 'what to write, such as result.html')
    .action(async (file: string, page: string) => {
      if (existsSync(page)) throw inTheWay(page);
      const content = await renderReport(loadResult(file));
      create(page, () => writeNewFile(page, Buffer.from(content), 0o644));
      process.stdout.write(`wrote ${page}\n`);
    });
}
