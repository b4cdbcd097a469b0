// What commands print with --json, to the letter of docs/answers.schema.json: a key that it does not have is one that it should.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { checkAsJson } from '../../src/cli/check.ts';
import { explain } from '../../src/cli/explain.ts';
import { examineInstallation, placesOfHost } from '../../src/cli/installation.ts';
import { openMatrix, renderJson } from '../../src/cli/policy.ts';
import { diffConfigs } from '../../src/config/diff.ts';
import { blocksOf } from '../support/markdown.ts';
import { ConfigFolder, KEYS, PEER } from './config/files.ts';

const { $defs } = JSON.parse(
  readFileSync(new URL('../../docs/answers.schema.json', import.meta.url), 'utf8'),
  (_, value: unknown) =>
    typeof value === 'object' && value !== null && 'properties' in value
      ? { ...value, additionalProperties: false }
      : value,
) as { $defs: Record<string, Parameters<typeof z.fromJSONSchema>[0]> };

const folder = new ConfigFolder();
const policy = join(folder.path, 'policy.yaml');
beforeAll(() => writeFileSync(policy, blocksOf('docs/policy.md')[0]?.text ?? ''));
afterAll(() => folder[Symbol.dispose]());

function expectAnswer(name: string, text: string): void {
  const schema = $defs[name];
  if (schema === undefined) throw new Error(`there is no schema of ${name}`);
  expect(z.fromJSONSchema(schema).safeParse(JSON.parse(text)).error?.issues ?? []).toEqual([]);
}

test('check: of a file that is fine, and of one that is not', () => {
  expectAnswer('check', checkAsJson(policy));
  writeFileSync(folder.file, `${PEER}    routes: [10.9.0.0/99]\n    adresses: [10.9.0.2]\n`);
  const text = checkAsJson(folder.file);
  expectAnswer('check', checkAsJson(join(folder.path, 'none.yaml'))); // with a hint
  process.exitCode = 0; // that of the command, which has found something
  expect(JSON.parse(text)).toMatchObject({ fine: false, problems: [{}, {}] });
  expectAnswer('check', text);
});

test('diff and reload', () => {
  const before = folder.load(`${PEER}    addresses: [10.9.0.2]\n`);
  const after = folder.load(
    `${PEER}    routes: [10.5.0.0/16]\n  bob: {public_key: "${KEYS[1]}", addresses: [10.9.0.3]}\n`,
  );
  const changes = diffConfigs(before, after, () => false);
  expect(changes.length).toBeGreaterThan(2);
  expectAnswer('changes', JSON.stringify(changes));
});

test.each([
  ['bob', '10.9.0.22', 'tcp/443'],
  ['alice', 'bob', 'icmp'],
  ['carol', '9.9.9.9', 'gre'],
  ['self', 'site:cellb', 'udp/53'],
])('explain: %s to %s, %s', (from, to, traffic) => {
  expectAnswer('explain', explain(policy, from, to, traffic, { json: true }).text);
});

test('policy matrix', () => expectAnswer('matrix', renderJson(openMatrix(policy, ['alice', 'carol']))));

test('doctor', () => {
  const places = { ...placesOfHost(), tun: '/no/such/device', path: '' };
  expectAnswer('doctor', JSON.stringify(examineInstallation(places, null)));
});
