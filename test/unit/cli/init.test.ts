// init: a configuration and a key that `check` finds fine, both or neither, over nothing that was there.

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { ringfence } from './program.ts';

const root = mkdtempSync(join(tmpdir(), 'ringfence-cli-'));
afterAll(() => rmSync(root, { recursive: true }));
let cwd = '';
let count = 0;
beforeEach(() => {
  count += 1;
  cwd = join(root, String(count));
  mkdirSync(cwd);
});

test('without options: ringfence.yaml and rf0.key, ready to check', async () => {
  const run = await ringfence(['init'], { cwd });
  expect(run).toMatchObject({ code: 0, stderr: '' });
  const [, publicKey = ''] = /public key (\S{44})\n/.exec(run.stdout) ?? [];
  expect(run.stdout).toBe(
    `wrote ringfence.yaml and rf0.key\npublic key ${publicKey}\n` +
      'next: add peers to ringfence.yaml, then: ringfence check ringfence.yaml\n',
  );
  expect(readdirSync(cwd).toSorted()).toEqual(['rf0.key', 'ringfence.yaml']);
  expect(statSync(join(cwd, 'rf0.key')).mode & 0o777).toBe(0o600);
  const key = readFileSync(join(cwd, 'rf0.key'), 'utf8');
  expect((await ringfence(['pubkey'], { input: key })).stdout).toBe(`${publicKey}\n`);
  const checked = await ringfence(['check', 'ringfence.yaml'], { cwd });
  expect(checked).toEqual({
    code: 0,
    stderr: '',
    stdout:
      'ringfence.yaml: fine\ninterface rf0: 10.9.0.1/24, fd09::1/64, UDP port 51820, MTU auto\n' +
      `public key ${publicKey}\nno peers\n`,
  });
});

test('with options, in another folder', async () => {
  mkdirSync(join(cwd, 'etc'));
  const options = ['--name', 'home', '--address', '10.8.0.1/16', '--address', 'fd08::1/48', '--port', '0'];
  expect(await ringfence(['init', 'etc/home.yaml', ...options], { cwd })).toMatchObject({
    code: 0,
    stderr: '',
  });
  const checked = await ringfence(['check', 'etc/home.yaml'], { cwd });
  expect(checked.stdout).toContain('interface home: 10.8.0.1/16, fd08::1/48, any free port, MTU auto\n');
  expect(readdirSync(join(cwd, 'etc')).toSorted()).toEqual(['home.key', 'home.yaml']);
});

describe('nothing is overwritten, and nothing is left half done', () => {
  test.each([
    ['ringfence.yaml', (path: string) => writeFileSync(path, 'mine')],
    ['rf0.key', (path: string) => writeFileSync(path, 'mine')],
    ['ringfence.yaml', (path: string) => symlinkSync('nowhere', path)],
    ['rf0.key', (path: string) => symlinkSync('nowhere', path)],
    ['rf0.key', (path: string) => mkdirSync(path)],
  ])('%s is in the way', async (name, make) => {
    make(join(cwd, name));
    expect(await ringfence(['init'], { cwd })).toEqual({
      code: 2,
      stdout: '',
      stderr:
        `ringfence: ${name} exists already, and nothing was written (ERR_FILE_EXISTS)\n` +
        '  hint: name another file, or move this one away\n',
    });
    expect(readdirSync(cwd)).toEqual([name]);
  });

  test('the folder is missing', async () => {
    expect(await ringfence(['init', 'no/ringfence.yaml'], { cwd })).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'ringfence: no/rf0.key cannot be written: there is no such folder (ERR_FILE_WRITE)\n' +
        '  hint: make the folder first, or name another\n',
    });
    expect(readdirSync(cwd)).toEqual([]);
  });
});

describe('options mean what their keys in the file mean', () => {
  test.each([
    [['--name', 'a/b'], 'It takes an interface name: 1 to 15 letters, digits or any of _ = + . -.'],
    [['--name', '..'], 'It takes an interface name: 1 to 15 letters, digits or any of _ = + . -.'],
    [['--address', '10.9.0.0/24'], 'It takes an address and its prefix length, as in 10.9.0.1/24.'],
    [['--address', 'x'], 'It takes an address and its prefix length, as in 10.9.0.1/24.'],
    [['--port', '-1'], 'It takes a port from 0 to 65535.'],
    [['--port', '1e3'], 'It takes a port from 0 to 65535.'],
  ])('%j', async (args, message) => {
    const run = await ringfence(['init', ...args], { cwd });
    expect(run).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining(`is invalid. ${message} (ERR_USAGE)`),
    });
    expect(readdirSync(cwd)).toEqual([]);
  });
});
