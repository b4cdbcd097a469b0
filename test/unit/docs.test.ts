// The generated pages of the manual: they are what the sources say today, and the example in them is a good file.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renderDocs } from '../../scripts/generate-docs.ts';
import { generatePresharedKey } from '../../src/config/key.ts';
import { writeKeyFile } from '../../src/config/key-file.ts';
import { ConfigFolder } from './config/files.ts';

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
  expect(folder.document(example)).toMatchObject({
    interface: { name: 'rf0', listenPort: 51_820 },
    peers: [{ name: 'alice', keepaliveSeconds: 25 }, { name: 'cellb' }],
    firewall: { policy: { services: [{ id: 'files' }], sites: [{ peer: 'cellb' }] } },
  });
});
