// genkey, genpsk and pubkey: what `wg` does, byte for byte.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ringfence, shell } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringfence-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

const KEY_LINE = /^[A-Za-z0-9+/]{43}=\n$/;

test.each(['genkey', 'genpsk'])('%s prints one key, another each time', async (command) => {
  const [first, second] = await Promise.all([ringfence([command]), ringfence([command])]);
  expect(first).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(KEY_LINE) });
  expect(second.stdout).not.toBe(first.stdout);
});

test('pubkey prints the public key of RFC 7748 §6.1', async () => {
  const alice = Buffer.from('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a', 'hex');
  const expected = Buffer.from('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a', 'hex');
  for (const end of ['\n', '', '\r\n']) {
    expect(await ringfence(['pubkey'], { input: alice.toString('base64') + end })).toEqual({
      code: 0,
      stdout: `${expected.toString('base64')}\n`,
      stderr: '',
    });
  }
});

describe('pubkey of what is no key: one clear line, and 2', () => {
  const key = Buffer.alloc(32, 7).toString('base64');
  test.each([
    ['nothing', ''],
    ['a word', 'hello\n'],
    ['two keys', `${key}\n${key}\n`],
    ['a key too long', `A${key}\n`],
    ['all zeros', `${'A'.repeat(43)}=\n`],
    ['a megabyte', 'A'.repeat(1_000_000)],
  ])('%s', async (_, input) => {
    expect(await ringfence(['pubkey'], { input })).toEqual({
      code: 2,
      stdout: '',
      stderr:
        'ringfence: what came on standard input is not one private key (ERR_KEY_INPUT)\n' +
        '  hint: a key is 44 characters of base64, as `ringfence genkey` prints it\n',
    });
  });
});

describe('a key that goes into a file', () => {
  test('is warned of where others can read it, and written all the same', async () => {
    const run = await shell('umask 022; ringfence genkey > open.key', folder);
    expect(run).toMatchObject({ code: 0, stderr: expect.stringMatching(/^warning: .*chmod 600.*\n$/) });
    expect(readFileSync(join(folder, 'open.key'), 'utf8')).toMatch(KEY_LINE);
  });

  test('is not, where only its owner can', async () => {
    expect(await shell('umask 077; ringfence genkey > own.key', folder)).toMatchObject({
      code: 0,
      stderr: '',
    });
    expect(readFileSync(join(folder, 'own.key'), 'utf8')).toMatch(KEY_LINE);
  });

  test('nor for a public key', async () => {
    const line = 'umask 022; ringfence genkey | ringfence pubkey > public';
    expect(await shell(line, folder)).toMatchObject({ code: 0, stderr: '' });
  });
});
