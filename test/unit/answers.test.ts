// What commands print with --json, to the letter of docs/answers.schema.json. That of `explain --live`: test/pair/filter.test.ts.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkAsJson } from '../../src/cli/check.ts';
import { explain } from '../../src/cli/explain.ts';
import { examineInstallation, placesOfHost } from '../../src/cli/installation.ts';
import { openMatrix, renderJson } from '../../src/cli/policy.ts';
import { diffConfigs } from '../../src/config/diff.ts';
import { expectAnswer } from '../support/answers.ts';
import { blocksOf } from '../support/markdown.ts';
import { ConfigFolder, KEYS, PEER } from './config/files.ts';

const folder = new ConfigFolder();
const policy = join(folder.path, 'policy.yaml');
beforeAll(() => writeFileSync(policy, blocksOf('docs/policy.md')[0]?.text ?? ''));
afterAll(() => folder[Symbol.dispose]());

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

test('explain: of a peer that has a quota, it says what the file does not', () => {
  const file = join(folder.path, 'quota.yaml');
  const manual = blocksOf('docs/policy.md')[0]?.text ?? '';
  writeFileSync(
    file,
    manual.replace('      internet: true\n', '      internet: true\n      quota: 50GB/month\n'),
  );
  expect(explain(file, 'alice', '9.9.9.9', 'udp/53', {}).text).toMatch(
    /: allowed\n(.*\n)* {2}unless alice is over its quota, firewall\.profiles\.std\.quota, \S+:\d+:\d+: /,
  );
  const json = explain(file, 'alice', '9.9.9.9', 'udp/53', { json: true }).text;
  expectAnswer('explain', json);
  const quotas = [{ peer: 'alice', rule: { name: 'firewall.profiles.std.quota' } }];
  expect(JSON.parse(json)).toMatchObject({ allowed: true, paths: [{ quotas }] });
  expect(explain(file, 'alice', '9.9.9.9', 'tcp/25', {}).text).not.toContain('unless');
});

test('policy matrix', () => expectAnswer('matrix', renderJson(openMatrix(policy, ['alice', 'carol']))));

test('doctor', () => {
  const places = { ...placesOfHost(), tun: '/no/such/device', path: '' };
  expectAnswer('doctor', JSON.stringify(examineInstallation(places, null)));
});
