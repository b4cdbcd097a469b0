// Every example of the manual: no fenced block in it is without somebody who tries it. Files of nodes are judged, wg-quick files
// read, command lines parsed by the program's own commands; what is more than that, CLAIMS names with the test that runs it.

import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isMap, parse, parseDocument } from 'yaml';
import { generatePresharedKey } from '../../src/config/key.ts';
import { writeKeyFile } from '../../src/config/key-file.ts';
import { loadQuickConfig, wipeQuickConfig } from '../../src/config/wg-quick.ts';
import { ConfigError, ERROR_CODES } from '../../src/errors.ts';
import { below, commands, refusalOf } from '../support/command-line.ts';
import { LONG_WALK, OWN_WALKS } from '../support/guide-walks.ts';
import { type Block, blocksOf, commandsOf, pages, ROOT, readPage } from '../support/markdown.ts';
import { ConfigFolder, KEYS } from './config/files.ts';

/** Who runs a program of a page: a test in which the name of the page stands. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'docs/api.md': 'test/package/npm.test.ts',
  'wasm/README.md': 'wasm/test/usage.test.ts',
  'native/README.md': 'test/slow/manual.test.ts',
  'CONTRIBUTING.md': 'test/slow/manual.test.ts',
};

/** Who compares what a page shows of the program's output with what it prints; what the guide shows, its walk compares. */
const OUTPUTS: Readonly<Record<string, string>> = {
  'README.md': 'test/slow/manual.test.ts',
  'docs/errors.md': 'test/unit/docs.test.ts',
  'docs/policy.md': 'test/unit/policy/manual.test.ts',
  'docs/reload.md': 'test/unit/docs.test.ts',
};

/** Of other programs, whose own manuals say what is right. */
const FOREIGN_YAML = /^# prometheus\.yml$/m;

/** Tools of a host that commands of the manual use. */
const TOOLS = new Set(
  (
    'apt cd chmod cp curl echo export grep head install ip iperf3 journalctl jq kill ls man mkdir mv nft podman ping python3 resolvectl rm scp sed setpriv ' +
    'sleep ss ssh sysctl systemctl tcpdump umask unshare wait wg wg-quick'
  ).split(' '),
);

/** What a drawing is made of. */
const DRAWN = /[─│┌└▶◀→═┊▲▼]/;

const all = pages().flatMap(blocksOf);
const place = ({ file, line }: Block): string => `${file}:${line}`;
const of = (language: string): [string, Block][] =>
  all.filter((block) => block.language === language).map((block) => [place(block), block]);

const folder = new ConfigFolder();
let program: Command;
beforeAll(async () => {
  program = await commands();
});
afterAll(() => folder[Symbol.dispose]());

test('nobody is without a reader: every block has one of the languages that are tried here', () => {
  const known = ['yaml', 'ini', 'sh', 'console', 'ts', 'text', ''];
  expect(all.length).toBeGreaterThan(40);
  expect(all.filter(({ language }) => !known.includes(language)).map(place)).toEqual([]);
});

test('what is typed on a host of the guide is walked by a test', () => {
  const guide = new Set(all.filter(({ target }) => target !== '').map(({ file }) => file));
  expect([...guide].sort()).toEqual([...LONG_WALK, ...OWN_WALKS].sort());
});

// What the guide adds to a file is judged there with the rest of that file.
describe.each(of('yaml').filter(([, { target }]) => target === ''))('%s', (_, block) => {
  test('is a file of a node that is fine, or a part of one', () => {
    if (FOREIGN_YAML.test(block.text)) expect(isMap(parseDocument(block.text).contents)).toBe(true);
    else expect(problemsOf(wholeNode(block))).toEqual([]);
  });
});

/** A part of a file, with what it leaves out: an interface, and the peers behind its sites. */
function wholeNode({ text }: Block): string {
  const document = parseDocument(text);
  if (document.has('interface')) return text;
  const own = { name: 'rf0', private_key_file: 'rf0.key', addresses: ['10.9.0.1/24', 'fd09::1/64'] };
  document.set('interface', { ...own, listen_port: 51_820 });
  const { sites = {} } = (parse(text) as { firewall: { sites?: Record<string, { subnets: string[] }> } })
    .firewall;
  for (const [name, { subnets }] of Object.entries(sites))
    document.setIn(['peers', name], { public_key: KEYS[0], routes: subnets });
  return String(document);
}

function problemsOf(text: string): string[] {
  for (const [, name = ''] of text.matchAll(/preshared_key_file: (\S+)$/gm)) {
    const path = join(folder.path, name);
    if (!existsSync(path)) writeKeyFile(path, generatePresharedKey());
  }
  for (const [, name = ''] of text.matchAll(/^ {2}file: (\S+)$/gm))
    writeFileSync(join(folder.path, name), '{}');
  try {
    folder.load(text);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
}

describe.each(of('ini'))('%s', (_, { text }) => {
  test('is a file that wg-quick takes', () => {
    const file = join(folder.path, 'wg0.conf');
    rmSync(file, { force: true });
    writeFileSync(file, text, { mode: 0o600 });
    const config = loadQuickConfig(file);
    expect(config.peers.length).toBeGreaterThan(0);
    wipeQuickConfig(config);
  });
});

describe.each([...of('sh'), ...of('console')])('%s', (_, block) => {
  test('has command lines that are understood', async () => {
    const lines = commandsOf(block);
    expect(lines.length).toBeGreaterThan(0);
    const problems = await Promise.all(lines.flatMap(simpleCommands).map(problemOf));
    expect(problems.filter((problem) => problem !== null)).toEqual([]);
  });
});

/** The commands of a line between its `|`, `&&`, `;` and `$( )`, as words; what stands in quotes is one word. */
function simpleCommands(line: string): string[][] {
  const inner = [...line.matchAll(/\$\(([^()]*)\)/g)].flatMap(([, text = '']) => simpleCommands(text));
  const words =
    line.replaceAll(/\$\([^()]*\)/g, 'X').match(/"[^"]*"|'[^']*'|&&|\|\||[|;&]|[^\s|;&"']+/g) ?? [];
  const commands: string[][] = [[]];
  for (const word of words) {
    if (/^(&&|\|\||[|;&])$/.test(word)) commands.push([]);
    else commands.at(-1)?.push(word.replaceAll(/^["']|["']$/g, ''));
  }
  return [...inner, ...commands].map(withoutPrefixes).filter((command) => command.length > 0);
}

/** Without variables and redirections, and without who runs it: `sudo -u USER`. */
function withoutPrefixes(words: readonly string[]): string[] {
  const plain = words.filter((word) => !/^(\d?>|<)/.test(word));
  const start = plain.findIndex((word) => !/^[A-Z_]+=/.test(word));
  const [first, second] = plain.slice(Math.max(start, 0));
  const from = Math.max(start, 0) + (first === 'sudo' ? (second === '-u' ? 3 : 1) : 0);
  return start < 0 ? [] : plain.slice(from);
}

async function problemOf(words: readonly string[]): Promise<string | null> {
  const [name = '', ...args] = words;
  if (name === 'ringfence' || name === 'bin/ringfence') return await refusalOf(program, args);
  if (name === 'npm') return npmProblem(args);
  if (name.includes('/')) return existsSync(join(ROOT, name)) ? null : `there is no ${name}`;
  return TOOLS.has(name) ? null : `nobody knows ${name}`;
}

const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Readonly<Record<string, string>>;
};

function npmProblem([verb = '', name = '']: readonly string[]): string | null {
  if (verb === 'install') return null;
  const script = verb === 'run' ? name : verb;
  return Object.hasOwn(scripts, script) ? null : `package.json has no script ${script}`;
}

test.each(of('ts'))('%s is run by a test', (_, { file }) => {
  expect(readFileSync(join(ROOT, PROGRAMS[file] ?? '/nobody'), 'utf8')).toContain(file);
});

test.each([...of('console'), ...of('text')])('%s is what a test has seen', (_, block) => {
  const isShown = block.language === 'text' || commandsOf(block).join('\n') !== block.text.trim();
  if (!isShown || block.file.startsWith('docs/guide')) return;
  expect(readFileSync(join(ROOT, OUTPUTS[block.file] ?? '/nobody'), 'utf8')).toContain(block.file);
});

test.each(of(''))('%s is a drawing, and nothing to type', (_, { text }) => {
  expect(text).toMatch(DRAWN);
  const typed = text.split('\n').filter((line) => /^\s*(\$ |# )?(sudo )?(bin\/)?ringfence /.test(line));
  expect(typed.filter((line) => !DRAWN.test(line))).toEqual([]);
});

test('every error code that a page names is one', () => {
  const codes = pages().flatMap((file) =>
    [...readPage(file).matchAll(/\bERR_[A-Z_]+[A-Z]\b/g)].map(([code]) => code),
  );
  expect(codes.length).toBeGreaterThan(100);
  expect(codes.filter((code) => !Object.hasOwn(ERROR_CODES, code))).toEqual([]);
});

/** Where a page leads within the repository, without the place in it. */
const links = pages().flatMap((file) =>
  [...readPage(file).matchAll(/\]\((?!https?:)([^)#\s]+)(#[^)]*)?\)/g)].map(
    ([, path = '']) => [file, path] as const,
  ),
);

test('every link leads to a file', () => {
  const dead = links.filter(([file, path]) => !existsSync(join(ROOT, dirname(file), path)));
  expect(links.length).toBeGreaterThan(100);
  expect(dead).toEqual([]);
});

/** Such as `ringfence status [IFACE] [--json]`: words of a command, names of what it takes, and options. */
const named = pages().flatMap((file) =>
  [...readPage(file).matchAll(/`(?:sudo )?(?:bin\/)?ringfence ([^`\n]+)`/g)].map(
    ([span, words = '']): [string, string] => [`${file}: ${span}`, words],
  ),
);

test('commands that the text names are there, with the options it names', () => {
  expect(named.length).toBeGreaterThan(80);
  const problems = named.filter(([, words]) => !isThere(words)).map(([where]) => where);
  expect(problems).toEqual([]);
});

function isThere(words: string): boolean {
  let command = program;
  for (const word of words.split(/[\s|]+/)) {
    const part = command.commands.find((one) => one.name() === word);
    if (part === undefined) break;
    command = part;
  }
  const isInterface = /^(-f|\[-f\]|--foreground)? ?(IFACE|NAME|status|rf0|wg0|\[-f\] IFACE)/.test(words);
  if (command === program) return isInterface || /^--?(version|help|V|h)/.test(words);
  const options = new Set(
    below(command).flatMap((one) => one.options.flatMap(({ long, short }) => [long, short])),
  );
  return [...words.matchAll(/(?<=^|[\s[|])--[a-z-]+/g)].every(
    ([option]) => option === '--help' || options.has(option),
  );
}
