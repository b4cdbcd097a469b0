// Key files: who may read them, what may be in them, how they are made.

import { spawnSync } from 'node:child_process';
import { chmodSync, linkSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { generatePrivateKey, renderPublicKey } from '../../../src/config/key.ts';
import { readKeyFile, shellWord, writeKeyFile } from '../../../src/config/key-file.ts';
import { ConfigFolder, INTERFACE } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

const KEY = Buffer.alloc(32, 7).toString('base64');
let count = 0;
/** A file that was not there before. */
function file(content: string | Uint8Array, mode = 0o600): string {
  count += 1;
  const path = join(folder.path, `${count}.key`);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe('a key file that is fine', () => {
  test.each([
    ['as wg writes it', `${KEY}\n`, 0o600],
    ['without a line end', KEY, 0o600],
    ['with one of Windows', `${KEY}\r\n`, 0o600],
    ['read-only', `${KEY}\n`, 0o400],
  ])('%s', (_, content, mode) => {
    expect(readKeyFile(file(content, mode))).toEqual({ ok: true, key: new Uint8Array(32).fill(7) });
  });

  test('behind a link, whose own mode says nothing', () => {
    const link = join(folder.path, 'link.key');
    symlinkSync(file(`${KEY}\n`), link);
    expect(readKeyFile(link).ok).toBe(true);
  });
});

describe('a key file that is not', () => {
  const content = 'it does not hold one key: 44 characters of base64 and a line end';
  const wrong: readonly [name: string, make: () => string, problem: string][] = [
    ['missing', () => join(folder.path, 'none.key'), 'there is no such file'],
    ['a directory', () => join(folder.path, '.'), 'it is a directory'],
    ['empty', () => file(''), 'it is empty'],
    ['only a line end', () => file('\n'), content],
    ['cut', () => file(KEY.slice(0, 40)), content],
    ['two keys', () => file(`${KEY}\n${KEY}\n`), content],
    ['a wg-quick file', () => file(`[Interface]\nPrivateKey = ${KEY}\n`), content],
    ['a key and a comment', () => file(`${KEY} # alice\n`), content],
    ['raw bytes', () => file(new Uint8Array(32).fill(7)), content],
    ['a megabyte', () => file(KEY + '\n'.repeat(1_000_000)), content],
    ['all zeros', () => file(`${'A'.repeat(43)}=\n`), 'its key is all zeros, which is no key'],
    ['a link that leads nowhere', () => link('nowhere', '/nowhere/x'), 'there is no such file'],
    ['a link in a circle', () => link('circle', 'circle.link'), 'its link leads in a circle'],
    ['a device', () => link('device', '/dev/zero'), 'it is no regular file'],
    ['a path through a file', () => join(file(KEY), 'x'), 'a part of its path is no directory'],
    ['a name of 300 characters', () => join(folder.path, 'x'.repeat(300)), 'its name is too long'],
  ];
  function link(name: string, target: string): string {
    const path = join(folder.path, `${name}.link`);
    symlinkSync(target, path);
    return path;
  }
  test.each(wrong)('%s', (_, make, problem) => {
    expect(readKeyFile(make())).toMatchObject({ ok: false, code: 'ERR_CONFIG_KEY_FILE', problem });
  });

  test('a pipe, which is not waited for', () => {
    const path = join(folder.path, 'pipe.key');
    expect(spawnSync('mkfifo', ['-m', '600', path]).status).toBe(0);
    expect(readKeyFile(path)).toMatchObject({ ok: false, problem: 'it is no regular file' });
  });

  test.each([0o640, 0o604, 0o620, 0o601, 0o666])('of mode %o, and how to mend it', (mode) => {
    const path = file(`${KEY}\n`, mode);
    expect(readKeyFile(path)).toEqual({
      ok: false,
      code: 'ERR_CONFIG_KEY_FILE_MODE',
      problem: `others can get at it: its mode is 0${mode.toString(8)}`,
      hint: `chmod 600 ${path}`,
    });
  });

  test('behind a link: the mode is that of what it leads to', () => {
    const open = file(`${KEY}\n`, 0o644);
    expect(readKeyFile(link('open', open))).toMatchObject({ code: 'ERR_CONFIG_KEY_FILE_MODE' });
  });

  test('the configuration names the line', () => {
    file(`${KEY}\n`, 0o644);
    expect(folder.problems(INTERFACE.replace('rf0.key', `${count}.key`))).toEqual([
      `3:21: interface.private_key_file: key file "${count}.key": others can get at it: its mode is 0644 (ERR_CONFIG_KEY_FILE_MODE)`,
    ]);
  });
});

describe('making a key file', () => {
  test('mode 0600 whatever the umask, and what is read is what was written', () => {
    const path = join(folder.path, 'new.key');
    const key = generatePrivateKey();
    const before = process.umask(0o777);
    try {
      writeKeyFile(path, key);
    } finally {
      process.umask(before);
    }
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).toBe(`${renderPublicKey(key)}\n`);
    expect(readKeyFile(path)).toEqual({ ok: true, key });
  });

  test.each([
    ['a file', (path: string) => writeFileSync(path, 'mine')],
    ['a directory', (path: string) => mkdirSync(path)],
    ['a link that leads nowhere', (path: string) => symlinkSync(`${path}.target`, path)],
    ['a second name of a file', (path: string) => linkSync(file('mine'), path)],
  ])('never over %s', (name, make) => {
    const path = join(folder.path, `taken ${name}`);
    make(path);
    expect(() => writeKeyFile(path, generatePrivateKey())).toThrow(
      expect.objectContaining({ code: 'EEXIST' }),
    );
    if (name.includes('file')) expect(readFileSync(path, 'utf8')).toBe('mine');
  });
});

test('a path in a hint is one word of a shell', () => {
  expect(shellWord('/etc/ringfence/rf0.key')).toBe('/etc/ringfence/rf0.key');
  expect(shellWord("a b'c")).toBe(`'a b'\\''c'`);
  expect(shellWord('$(reboot)')).toBe(`'$(reboot)'`);
});
