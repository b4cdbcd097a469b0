// A file that is loaded with what was loaded before is read as any other: the same configuration, places included, or the
// same refusal, whatever changed in between.

import { writeFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import type { NodeConfig } from '../../../src/config/schema.ts';
import { ConfigError } from '../../../src/errors.ts';
import { ConfigFolder, INTERFACE, KEYS } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

function load(text: string, former: NodeConfig | null): NodeConfig | string {
  writeFileSync(folder.file, text);
  try {
    return loadConfig(folder.file, former);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

/** Rows that mean something else, or nothing, when something else of the file changes. */
const ALICE =
  '[{to: 10.9.0.22, ports: [tcp/80]}, {to: bob, ports: [tcp/22]}, {to: 10.9.0.4, ports: [tcp/22]}]';
const WEB = 'services: {web: {addr: 10.9.0.22, ports: [tcp/443]}}';
const POLICY = `firewall: {version: 1, ${WEB}, profiles: {std: {deny: [{to: web}]}}}\n`;

interface Parts {
  readonly policy?: string;
  readonly alice?: string;
  readonly bob?: string;
  readonly carol?: string;
  readonly before?: string;
}

function file({ policy = POLICY, alice = ALICE, bob = '10.9.0.3', carol = '', before = '' }: Parts): string {
  return `${INTERFACE}${before}${policy}peers:
  alice: {public_key: ${KEYS[0]}, addresses: [10.9.0.2], profile: std, allow: ${alice}}
  bob:
    public_key: ${KEYS[1]}
    addresses: [${bob}]
${carol}`;
}

const FILES: Readonly<Record<string, string>> = {
  'a good one': file({}),
  'lines moved': file({ before: '# one\n# more\n' }),
  'the policy behind the peers': `${file({ policy: '' })}${POLICY}`,
  'another row': file({ alice: ALICE.replace('22', '23') }),
  'a row twice': file({ alice: ALICE.replace('{to: bob', '{to: 10.9.0.4') }),
  'a row that is wrong': file({ alice: ALICE.replace('tcp/80', 'tcp/0') }),
  'a peer that another names, with the address of another row': file({ bob: '10.9.0.4' }),
  'a service that shadows a row': file({ policy: POLICY.replace('443', '80') }),
  'a profile that shadows a row once bob has that address': file({
    policy: POLICY.replace('{to: web}', '{to: bob, ports: [tcp]}'),
    alice: '[{to: 10.9.0.4, ports: [tcp/22]}]',
  }),
  'the same with that address': file({
    policy: POLICY.replace('{to: web}', '{to: bob, ports: [tcp]}'),
    alice: '[{to: 10.9.0.4, ports: [tcp/22]}]',
    bob: '10.9.0.4',
  }),
  'no such profile': file({ policy: POLICY.replace('std', 'other') }),
  'no policy': file({ policy: '' }),
  'a name that was a peer and is a service': file({
    policy: POLICY.replace('web: {', 'bob: {').replace('to: web', 'to: bob'),
  }),
  'one more': file({ carol: `  carol: {public_key: ${KEYS[2]}, addresses: [10.9.0.5]}\n` }),
  'one more with a key that is taken': file({
    carol: `  carol: {public_key: ${KEYS[0]}, addresses: [10.9.0.5]}\n`,
  }),
  'one more with an address that is taken': file({
    carol: `  carol: {public_key: ${KEYS[2]}, addresses: [10.9.0.3]}\n`,
  }),
  'an anchor': file({
    alice: `&rows ${ALICE}`,
    carol: `  carol: {public_key: ${KEYS[2]}, addresses: [10.9.0.5], allow: *rows}\n`,
  }),
  'other quotes': file({ alice: ALICE.replaceAll('tcp/22', '"tcp/22"') }),
};
const fresh = new Map(Object.entries(FILES).map(([name, text]) => [name, load(text, null)]));

const good = [...fresh].flatMap(([name, config]) => (typeof config === 'string' ? [] : [{ name, config }]));

test('some of the files are right, and some are refused', () => {
  expect(good).toHaveLength(8);
  expect(fresh.size).toBe(18);
});

test.each(good)('after $name every other is read as if it were the first', ({ config }) => {
  for (const [next, text] of Object.entries(FILES)) {
    const result = load(text, config);
    if (!isDeepStrictEqual(result, fresh.get(next))) expect(result, next).toEqual(fresh.get(next));
  }
});

test('a peer of whom the file says the same is not read again', () => {
  const former = fresh.get('a good one');
  const next = fresh.get('lines moved');
  if (typeof former !== 'object' || typeof next !== 'object') throw new TypeError('both are right');
  const config = load(FILES['lines moved'] ?? '', former);
  if (typeof config === 'string') throw new TypeError(config);
  const fieldsOf = ({ text: { peers } }: NodeConfig, name: string) => peers.get(name)?.fields;
  expect(fieldsOf(config, 'alice')).toBe(fieldsOf(former, 'alice'));
  expect(fieldsOf(next, 'alice')).not.toBe(fieldsOf(former, 'alice'));
});
