// The fenced blocks of the manual: what a reader copies, sees or writes. Knows the language of a block and the words behind it,
// which a reader does not see: ```sh hub is typed on the host that the page calls hub, ```yaml hub:ringfence.yaml goes into its file.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Block {
  /** Within the repository. */
  readonly file: string;
  /** Of its first fence, from 1. */
  readonly line: number;
  /** Empty where none stands there: a drawing. */
  readonly language: string;
  /** What stands behind the language. */
  readonly target: string;
  readonly text: string;
}

/** Every page there is: those at the top, below docs/, and those of the workspaces. */
export function pages(): string[] {
  const below = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' });
  const docs = below.filter((name) => name.endsWith('.md')).map((name) => join('docs', name));
  return ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'wasm/README.md', 'native/README.md', ...docs];
}

export function readPage(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

export function blocksOf(file: string): Block[] {
  const blocks: Block[] = [];
  let open: { line: number; language: string; target: string; lines: string[] } | null = null;
  for (const [index, line] of readPage(file).split('\n').entries()) {
    const [, info] = /^\s*```(.*)$/.exec(line) ?? [];
    if (info === undefined) open?.lines.push(line);
    else if (open === null) {
      const [language = '', ...rest] = info.trim().split(/\s+/);
      open = { line: index + 1, language, target: rest.join(' '), lines: [] };
    } else {
      const { lines, ...head } = open;
      blocks.push({ file, ...head, text: lines.map((one) => `${one}\n`).join('') });
      open = null;
    }
  }
  if (open !== null) throw new Error(`${file}:${open.line}: this block has no end`);
  return blocks;
}

/** The commands of a block of a shell, without prompts, comments and what was printed; a line that ends in \ goes on. */
export function commandsOf({ language, text }: Block): string[] {
  const lines = text.replaceAll(/\\\n\s*/g, '').split('\n');
  const typed =
    language === 'console'
      ? lines.flatMap((line) => /^(?:\$|#|[a-z]+[#$]) (.*)$/.exec(line)?.[1] ?? [])
      : lines;
  return typed.map(withoutComment).filter((line) => line !== '');
}

/** A # in a word is none of a comment's. */
function withoutComment(line: string): string {
  return line.replace(/(^|\s)#.*$/, '').trim();
}
