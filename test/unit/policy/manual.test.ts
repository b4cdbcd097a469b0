// docs/policy.md shows what the program says: its file is written, and each of its commands must print what stands there.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { explain } from '../../../src/cli/explain.ts';
import { openMatrix, renderTable } from '../../../src/cli/policy.ts';
import { ConfigFolder } from '../config/files.ts';

const manual = readFileSync(new URL('../../../docs/policy.md', import.meta.url), 'utf8');
const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

beforeAll(() => {
  const [, file = ''] = /```yaml\n(.*?)```/s.exec(manual) ?? [];
  writeFileSync(join(folder.path, 'ringfence.yaml'), file);
});

/** Commands with what the manual says that they print. */
const commands = [...manual.matchAll(/```console\n(.*?)```/gs)].flatMap(([, block = '']) =>
  block
    .split(/^\$ ringfence /m)
    .slice(1)
    .map((text): [command: string, output: string] => {
      const end = text.indexOf('\n');
      return [text.slice(0, end), text.slice(end + 1)];
    }),
);

/** What a command prints, with the file where it is. */
function printed(command: string): string {
  const [name, ...args] = command.split(' ');
  const file = join(folder.path, 'ringfence.yaml');
  if (name === 'policy') return renderTable(openMatrix(file, args.slice(args.indexOf('--from') + 1)));
  const [, from = '', to = '', traffic = '', ...options] = args;
  const { text } = explain(file, from, to, traffic, { trace: options.includes('--trace') });
  return text.replaceAll(`${folder.path}/`, '');
}

test('there are some', () => expect(commands.length).toBeGreaterThan(10));

test.each(commands)('ringfence %s', (command, output) => {
  expect(printed(command)).toBe(output);
  expect(command).toMatch(/^(explain|policy matrix) ringfence\.yaml /);
});
