// How the scripts speak: headings, times, tables, and colours only where a terminal reads them. Knows nothing of tests.

import { styleText } from 'node:util';

type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow' | 'cyan';

/** Colours `text` where a terminal that wants colours reads it. */
export function paint(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

export function print(line = ''): void {
  process.stdout.write(`${line}\n`);
}

export function heading(title: string): void {
  print(`\n${paint('bold', `── ${title} ${'─'.repeat(Math.max(0, 76 - title.length))}`)}`);
}

export function seconds(sinceMs: number): string {
  return `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;
}

/** Columns as wide as their widest cell; a column of numbers stands to the right. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, visible(cell));
  }
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const space = ' '.repeat((widths[column] ?? 0) - visible(cell));
          return /^[\d.,]+( [a-zA-Z%/]+)?$/.test(cell) ? space + cell : cell + space;
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function visible(text: string): number {
  return text.replace(ANSI, '').length;
}

const ANSI = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g');
