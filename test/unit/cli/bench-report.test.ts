// bench report: a page of a saved result, or what is wrong with the file; nothing is overwritten.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { madeUpResult } from '../../support/made-up-result.ts';
import { ringfence } from './program.ts';

const cwd = mkdtempSync(join(tmpdir(), 'ringfence-bench-report-'));
afterAll(() => rmSync(cwd, { recursive: true }));
const write = (name: string, text: string): void => writeFileSync(join(cwd, name), text);

test('a page, and never over another', { timeout: 60_000 }, async () => {
  write('result.json', JSON.stringify(madeUpResult()));
  expect(await ringfence(['bench', 'report', 'result.json', 'page.html'], { cwd })).toEqual({
    code: 0,
    stdout: 'wrote page.html\n',
    stderr: '',
  });
  const page = readFileSync(join(cwd, 'page.html'), 'utf8');
  expect(page).toMatch(/^<!doctype html>.*<\/html>\n$/s);
  const again = await ringfence(['bench', 'report', 'result.json', 'page.html'], { cwd });
  expect(again).toMatchObject({ code: 2, stdout: '' });
  expect(again.stderr).toContain('page.html exists already, and nothing was written (ERR_FILE_EXISTS)');
  expect(readFileSync(join(cwd, 'page.html'), 'utf8')).toBe(page);
});

test.each([
  ['missing.json', null, 'there is no such file'],
  ['text.json', 'no JSON', 'it is not JSON'],
  ['null.json', 'null', 'Invalid input'],
  ['old.json', JSON.stringify({ ...madeUpResult(), version: 0 }), 'version: Invalid input'],
  [
    'metric.json',
    JSON.stringify({
      ...madeUpResult(),
      samples: [{ round: 1, peer: 'ringfence', mtu: null, metric: '__proto__', value: 1 }],
    }),
    'samples[0].metric: no metric that this version knows',
  ],
])('%s is refused', async (name, text, reason) => {
  if (text !== null) write(name, text);
  const run = await ringfence(['bench', 'report', name, 'none.html'], { cwd });
  expect(run).toMatchObject({ code: 2, stdout: '' });
  expect(run.stderr).toContain(`ringfence: ${name} is no result of the benchmark: ${reason}`);
  expect(run.stderr).toContain('(ERR_BENCH_RESULT)');
});

test('a folder that is not there', async () => {
  write('result.json', JSON.stringify(madeUpResult()));
  const run = await ringfence(['bench', 'report', 'result.json', 'no/page.html'], { cwd });
  expect(run).toMatchObject({ code: 1, stdout: '' });
  expect(run.stderr).toContain('no/page.html cannot be written: there is no such folder (ERR_FILE_WRITE)');
});
