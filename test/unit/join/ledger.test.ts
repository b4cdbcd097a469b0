// What a node keeps of its invites: bounded, and of a file that says nothing sensible it is left with none.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Ledger, type LedgerEntry, MOST_INVITES } from '../../../src/join/ledger.ts';

let folder: string;
let warnings: string[] = [];
const log = { warn: (text: string) => void warnings.push(text) };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringfence-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

const entry = (name: string, expiresSeconds = 1_000): LedgerEntry => ({
  name,
  state: 'open',
  publicKey: `key of ${name}`,
  addresses: ['10.9.0.2/24'],
  profile: 'std',
  createdSeconds: 0,
  expiresSeconds,
  usedBy: null,
});

test('keeps what it was told over a restart, and what could not be written never was', async () => {
  const file = join(folder, 'ledger.json');
  const ledger = Ledger.open(file, (content) => writeFile(file, content), log);
  await ledger.add(entry('bob'));
  const bob = ledger.open('bob');
  if (bob === undefined) throw new Error('bob is missing');
  await ledger.set(bob, { state: 'used', usedBy: 'a key' });
  const again = Ledger.open(file, () => Promise.reject(new Error('disk full')), log);
  expect(again.entries).toEqual([{ ...entry('bob'), state: 'used', usedBy: 'a key' }]);
  expect(again.withKey('key of bob')?.state).toBe('used');
  await expect(again.add(entry('carol'))).rejects.toThrow('disk full');
  expect(again.entries).toHaveLength(1);
  expect(warnings).toEqual([]);
});

test('the file of a version without profiles: its invites are good, and grant nothing', async () => {
  const file = join(folder, 'former.json');
  const { profile: _, ...former } = entry('bob');
  await writeFile(file, JSON.stringify({ invites: [former] }));
  warnings = [];
  expect(Ledger.open(file, async () => {}, log).open('bob')).toEqual({ ...former, profile: null });
  expect(warnings).toEqual([]);
});

test('a file that says nothing sensible is a warning', async () => {
  const file = join(folder, 'broken.json');
  for (const text of [
    '',
    '{',
    '[]',
    '{"invites":[{}]}',
    JSON.stringify({ invites: Array(100).fill(entry('x')) }),
  ]) {
    warnings = [];
    await writeFile(file, text);
    expect(Ledger.open(file, async () => {}, log).entries).toEqual([]);
    expect(warnings).toHaveLength(1);
  }
});

test('is bounded: what is over makes room, what is open does not', async () => {
  const ledger = Ledger.open(join(folder, 'none.json'), async () => {}, log);
  for (let n = 0; n < MOST_INVITES; n++) await ledger.add(entry(`peer${n}`, n === 7 ? 10 : 1_000));
  await expect(ledger.add(entry('one more'))).rejects.toThrow(
    expect.objectContaining({ code: 'ERR_JOIN_LIMIT' }),
  );
  expect((await ledger.expire(10)).expired.map(({ name }) => name)).toEqual(['peer7']);
  await ledger.add(entry('one more'));
  expect(ledger.entries).toHaveLength(MOST_INVITES);
  expect(ledger.entries.some(({ name }) => name === 'peer7')).toBe(false);
  expect((await ledger.expire(1_000 + 86_400)).forgotten).toHaveLength(MOST_INVITES);
  expect(ledger.entries).toEqual([]);
});
