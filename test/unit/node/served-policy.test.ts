// What the status page is given of the policy: the matrix that `policy matrix` prints, judged once, and none where it is large.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { openMatrix } from '../../../src/cli/policy.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { NodeConfig } from '../../../src/config/schema.ts';
import { ServedPolicy } from '../../../src/node/served-policy.ts';
import { generateKeyPair } from '../../support/keys.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringfence-served-policy-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A node of so many peers, who may each reach the first on so many ports. */
function load(name: string, peers: number, ports: number): NodeConfig {
  const keyFile = join(folder, 'key');
  writeFileSync(keyFile, `${generateKeyPair().privateKey}\n`, { mode: 0o600 });
  const rows = Array.from({ length: ports }, (_, i) => ({ to: '10.9.0.2', ports: [`tcp/${1000 + 2 * i}`] }));
  const list = Array.from({ length: peers }, (_, i) => [
    `peer-${i}`,
    { public_key: generateKeyPair().publicKey, addresses: [`10.9.0.${i + 2}`], allow: rows },
  ]);
  const file = join(folder, `${name}.yaml`);
  const own = { name: 'rf0', private_key_file: keyFile, addresses: ['10.9.0.1/24'], listen_port: 51_820 };
  writeFileSync(
    file,
    stringify({ interface: own, peers: Object.fromEntries(list), firewall: { version: 1 } }),
  );
  return loadConfig(file);
}

test('the matrix is that of the command, and is judged once for a policy', async () => {
  const config = load('small', 2, 1);
  const served = new ServedPolicy();
  const view = await served.view(config);
  expect(view).toEqual({ file: config.file, matrix: openMatrix(config.file, undefined) });
  expect(view?.matrix?.cells.flat().map(({ kind }) => kind)).toContain('some');
  expect((await served.view(config))?.matrix).toBe(view?.matrix);
  expect((await served.view(load('other', 3, 1)))?.matrix?.rows).toHaveLength(4);
});

test.each([
  { why: 'many peers', peers: 31, ports: 0 },
  { why: 'many rows', peers: 12, ports: 150 },
])('a policy of $why is not judged', async ({ why, peers, ports }) => {
  const config = load(why.replace(' ', '-'), peers, ports);
  expect(await new ServedPolicy().view(config)).toEqual({ file: config.file, matrix: null });
});

test('without a section firewall there is none', async () => {
  const config = load('plain', 1, 0);
  expect(await new ServedPolicy().view({ ...config, firewall: null })).toBeNull();
});
