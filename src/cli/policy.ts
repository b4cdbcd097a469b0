// `ringfence policy matrix FILE`: who may reach what, as a table or as a page to look at.

import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { writeNewFile } from '../config/new-file.ts';
import { UsageError } from '../errors.ts';
import { type Cell, columnsOf, type Matrix, matrixOf, rowsOf } from '../policy/matrix.ts';
import { create, inTheWay } from './new-file.ts';
import { openPolicy, readEnd } from './policy-file.ts';
import { renderPolicyPage } from './policy-page.ts';
import { alignColumns } from './table.ts';

interface MatrixOptions {
  readonly from?: readonly string[];
  readonly html?: string;
  readonly json?: boolean;
}

/** Beyond this nobody reads a table, and judging it takes minutes. */
const MOST_CELLS = 10_000;
/** How much of a cell the terminal shows. */
const SHOWN_LENGTH = 44;

export function registerPolicy(program: Command): void {
  const policy = program
    .command('policy')
    .summary('look at the policy of a file')
    .description('Looks at the policy of a file.');
  policy
    .command('matrix')
    .summary('show who may reach what')
    .description(
      'Shows for each peer, each site and this node what it may open at each peer, service, site, and the internet. Of a network, one address stands for all.',
    )
    .argument('<file>', 'the configuration, such as ringfence.yaml')
    .option('--from <names...>', 'only what these may reach: peers, site:NAME, self')
    .option('--html <page>', 'write a page that needs nothing else; overwrites nothing')
    .option('--json', 'print JSON')
    .action((file: string, options: MatrixOptions) => {
      const page = options.html;
      if (page !== undefined && existsSync(page)) throw inTheWay(page);
      const made = openMatrix(file, options.from);
      if (page !== undefined) {
        create(page, () => writeNewFile(page, Buffer.from(renderPolicyPage(file, made)), 0o644));
        process.stdout.write(`wrote ${page}\n`);
      } else process.stdout.write(options.json ? renderJson(made) : renderTable(made));
    });
}

/** The matrix of a file, of all or of some rows. */
export function openMatrix(file: string, from: readonly string[] | undefined): Matrix {
  const { policy, evaluator } = openPolicy(file);
  const rows = from?.map((name) => readEnd(policy, name)) ?? rowsOf(policy);
  const columns = columnsOf(policy);
  if (rows.length * columns.length > MOST_CELLS) {
    throw new UsageError(
      'ERR_USAGE',
      `a table of ${rows.length} by ${columns.length} is more than anybody reads`,
      { hint: 'choose who is asked about, as in --from alice bob' },
    );
  }
  return matrixOf(policy, evaluator, rows, columns);
}

export function renderTable({ rows, columns, cells }: Matrix): string {
  const heading = ['FROM \\ TO', ...columns.map(({ end }) => end.name)];
  const body = rows.map(({ name }, i) => [name, ...(cells[i] ?? []).map(cellText)]);
  const marks = cells.flat().some(({ differs }) => differs) ? ['* not the same in IPv4 and IPv6'] : [];
  return `${[...alignColumns([heading, ...body]), ...marks].join('\n')}\n`;
}

function cellText({ kind, traffic, differs, via }: Cell): string {
  const mark = `${differs ? '*' : ''}${via === null ? '' : ` by ${via}`}`;
  if (kind !== 'some') return `${{ all: 'all', none: '-', own: '' }[kind]}${mark}`;
  const text = traffic.join(' ');
  return `${text.length <= SHOWN_LENGTH ? text : `${text.slice(0, SHOWN_LENGTH - 1)}…`}${mark}`;
}

export function renderJson({ rows, columns, cells }: Matrix): string {
  const list = rows.map(({ name }, i) => ({
    from: name,
    to: columns.map(({ end }, j) => ({ name: end.name, ...cells[i]?.[j] })),
  }));
  return `${JSON.stringify(list, null, 2)}\n`;
}
