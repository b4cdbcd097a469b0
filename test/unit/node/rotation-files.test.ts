// What of a rotation is on disk: at each moment one of the two keys or both, and nothing is lost of it.

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { writeKeyFile } from '../../../src/config/key-file.ts';
import { RotationState, SecretFile } from '../../../src/node/rotation-files.ts';

let folder: string;
const warnings: string[] = [];
const log = { warn: (text: string) => void warnings.push(text) };
const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringfence-test-'));
  vi.stubEnv('RINGFENCE_STATE_DIR', folder);
  warnings.length = 0;
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

test('a secret: offered, in place, dropped; after each step a restart knows what counts', async () => {
  const path = join(folder, 'a.key');
  writeKeyFile(path, key(1));
  const secret = (): SecretFile => new SecretFile(path);
  expect(await secret().next()).toBeNull();
  await secret().offer(key(2));
  expect(await secret().next()).toEqual(key(2));
  await secret().offer(key(3)); // the other side won
  expect(await secret().next()).toEqual(key(3));
  await secret().settle(key(3));
  expect((await readdir(folder)).sort()).toEqual(['a.key', 'a.key.next']);
  expect(await secret().next()).toBeNull(); // in place: the copy goes
  expect(await readdir(folder)).toEqual(['a.key']);
  await writeFile(`${path}.next.new`, 'half a k');
  await secret().clearLeftovers();
  expect(await readdir(folder)).toEqual(['a.key']);
});

test('a secret that cannot be used is an error, not silence', async () => {
  const path = join(folder, 'a.key');
  writeKeyFile(path, key(1));
  await writeFile(`${path}.next`, 'no key', { mode: 0o600 });
  await expect(new SecretFile(path).next()).rejects.toThrow(
    expect.objectContaining({ code: 'ERR_CONFIG_KEY_FILE' }),
  );
  await rm(`${path}.next`);
  await writeFile(`${path}.next`, '', { mode: 0o644 });
  await expect(new SecretFile(path).next()).rejects.toThrow(
    expect.objectContaining({ code: 'ERR_CONFIG_KEY_FILE_MODE' }),
  );
});

test('what is no secret outlives a restart, and a file that says nothing sensible is a warning', async () => {
  const state = RotationState.open('rf0', log);
  await state.setNext('bob', 'a key');
  await state.setNext('carol', 'another');
  await state.schedule(1_800_000_000);
  await state.setNext('bob', null);
  expect(await state.begin({ what: 'psk', peer: 'bob' })).toMatchObject({ generation: 1 });
  const { sinceSeconds } = await state.begin({ what: 'psk', peer: 'bob' });
  expect(sinceSeconds).toBeGreaterThan(1_700_000_000);
  const again = RotationState.open('rf0', log);
  expect(again.begun({ what: 'psk', peer: 'bob' })).toEqual({ generation: 2, sinceSeconds });
  expect(again.begun({ what: 'peer', peer: 'bob' })).toBeUndefined();
  expect([again.peers, again.identityAtSeconds]).toEqual([{ carol: 'another' }, 1_800_000_000]);
  expect(warnings).toEqual([]);
  for (const text of ['', '{', '[]', 'null']) {
    await writeFile(join(folder, 'rf0.rotations.json'), text);
    expect(RotationState.open('rf0', log).peers).toEqual({});
  }
  expect(warnings).toHaveLength(4);
});
