// The generated pages of the manual: they are what the sources say today, and the example in them is a good file.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renderDocs } from '../../scripts/generate-docs.ts';
import { renderChange } from '../../src/cli/reload.ts';
import { diffConfigs } from '../../src/config/diff.ts';
import { generatePresharedKey } from '../../src/config/key.ts';
import { writeKeyFile } from '../../src/config/key-file.ts';
import { blocksOf } from '../support/markdown.ts';
import { ConfigFolder, INTERFACE, PEER } from './config/files.ts';

const docs = renderDocs();

test.each([...docs.keys()])('%s is what `npm run docs` writes', (path) => {
  const committed = readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
  expect(committed, 'run: npm run docs').toBe(docs.get(path));
});

test('the example of docs/config.md is a good configuration', () => {
  using folder = new ConfigFolder();
  writeKeyFile(join(folder.path, 'alice.psk'), generatePresharedKey());
  writeFileSync(join(folder.path, 'policy.yaml'), '{}');
  const [, example = ''] = /```yaml\n(.*?)```/s.exec(docs.get('docs/config.md') ?? '') ?? [];
  expect(folder.load(example)).toMatchObject({
    interface: { name: 'rf0', listenPort: 51_820 },
    peers: [{ name: 'alice', keepaliveSeconds: 25 }, { name: 'cellb' }],
    firewall: { policy: { services: [{ id: 'files' }], sites: [{ peer: 'cellb' }] } },
  });
});

test('the error that docs/errors.md shows is one', () => {
  using folder = new ConfigFolder();
  const [block] = blocksOf('docs/errors.md');
  const problems = folder.problems(`${INTERFACE}  mtu: 1\n`);
  expect(problems.map((line) => `ringfence.yaml:${line}\n`)).toEqual([block?.text]);
});

test('the changes that docs/reload.md shows are those of a file that is changed so', () => {
  using folder = new ConfigFolder();
  const file = `${PEER}    routes: [192.168.7.0/24]\n`;
  const before = folder.load(file);
  const after = folder.load(file.replace('168.7', '168.8').replace('peers:', '  mtu: 1380\npeers:'));
  const changes = diffConfigs(before, after, () => false).map((change) => `${renderChange(change)}\n`);
  const [block] = blocksOf('docs/reload.md');
  const shown = block?.text.split(/^\$.*\n/m).slice(1);
  expect(shown).toEqual([changes.join(''), changes.join('')]);
});
