// Completions as the shells give them, and the manual page as man takes it. What is asked is the real shell.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RINGFENCE } from '../support/node-process.ts';

let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringfence-shells-'));
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { stdout } = await execa(RINGFENCE, ['completion', shell]);
    await writeFile(join(folder, shell), `${stdout}\n`);
  }
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** What a shell offers for the last of the words. */
type Ask = (...words: readonly string[]) => Promise<string[]>;

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

const bash: Ask = async (...words) => {
  const script = `source "$0/bash"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ringfence; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return lines((await execa('bash', ['-euc', script, folder, 'ringfence', ...words])).stdout);
};

const fish: Ask = async (...words) => {
  const script = `source ${folder}/fish; complete -C '${['ringfence', ...words].join(' ')}'`;
  const { stdout } = await execa('fish', ['--no-config', '-c', script]);
  return lines(stdout).map((line) => line.split('\t')[0] ?? '');
};

/** Outside of a terminal zsh completes nothing, so what it would be told to offer is printed. */
const zsh: Ask = async (...words) => {
  const script = `
    compadd() { shift; print -l -- "$@" }
    _describe() { local list=\${@[-1]}; print -l -- "\${(@)\${(@P)list}%%:*}" }
    _files() { }
    folder=$1; shift
    words=("$@"); CURRENT=$#; set --
    source $folder/zsh`;
  const { stdout } = await execa('zsh', ['-f', '-c', script, 'zsh', folder, 'ringfence', ...words]);
  const last = words.at(-1) ?? '';
  return lines(stdout).filter((line) => line.startsWith(last));
};

describe.each([
  ['bash', bash],
  ['zsh', zsh],
  ['fish', fish],
])('%s offers', (_, ask) => {
  test('commands', async () => expect(await ask('sta')).toEqual(['status']));
  test('parts of commands', async () => expect(await ask('bench', 'ro')).toEqual(['routes']));
  test('options', async () => expect(await ask('init', '--ad')).toEqual(['--address']));
  test('options of parts', async () => expect(await ask('bench', 'core', '--js')).toEqual(['--json']));
  test('values of options', async () => expect(await ask('run', '--log-format', 'j')).toEqual(['json']));
  test('values of arguments', async () => expect(await ask('completion', 'z')).toEqual(['zsh']));
  test('nothing of another command', async () => expect(await ask('genkey', '--addr')).toEqual([]));
});

test('the manual page has every command, and man nothing to say against it', async () => {
  const { stdout: page } = await execa(RINGFENCE, ['manual']);
  const man = ['--local-file', '--warnings', '--encoding=UTF-8', '-'];
  const { stdout, stderr } = await execa('man', man, { input: page, env: { MANWIDTH: '100' } });
  expect(stderr).toBe('');
  const { stdout: help } = await execa(RINGFENCE, ['--help']);
  const [, list = ''] = /^Commands:\n(.*?)\n\n/ms.exec(help) ?? [];
  const commands = [...list.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => name);
  expect(commands.length).toBeGreaterThan(10);
  for (const name of commands) expect(stdout).toMatch(new RegExp(`^ +ringfence ${name}\\b`, 'm'));
});
