// Whose a change is, by the order in which the kernel tells of changes.

import { expect, test } from 'vitest';
import { OwnChanges } from '../../../src/firewall/own-changes.ts';

const done = async (): Promise<void> => undefined;

test('what we put in place undoes what others did before it, not after', async () => {
  const changes = new OwnChanges();
  expect(changes.see(['theirs'])).toBe('foreign');
  await changes.run('ours', true, done);
  expect(changes.see(['theirs'])).toBe('foreign');
  expect([changes.see(['rf_in', 'ours']), changes.isForeign]).toEqual(['own', false]);
  expect([changes.see(['ours']), changes.isForeign]).toEqual(['foreign', true]);
});

test('a change by what differs leaves what others did', async () => {
  const changes = new OwnChanges();
  await changes.run('ours', false, done);
  changes.see([]);
  expect([changes.see(['ours']), changes.isForeign]).toEqual(['own', true]);
});

test('a change that fails is not waited for, nor one that was never told of', async () => {
  const changes = new OwnChanges();
  await expect(changes.run('ours', true, () => Promise.reject(new Error('refused')))).rejects.toThrow();
  expect(await changes.areSeen(60_000)).toBe(true);
  await changes.run('ours', true, done);
  expect(await changes.areSeen(1)).toBe(false);
  const seen = changes.areSeen(60_000);
  changes.see(['ours']);
  expect(await seen).toBe(true);
});
