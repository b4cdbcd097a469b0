// YAML text → a tree of values that know where they stand. Knows no key of the configuration.

import { readFullYaml } from './full-yaml.ts';
import { type KnownLines, readPlainYaml } from './plain-yaml.ts';
import type { Path, Report } from './report.ts';

/** A YAML value and the offset where it begins. Keys are text, whatever YAML makes of them: a peer may be called `1`. */
export type Tree =
  | { readonly kind: 'scalar'; readonly offset: number; readonly value: Scalar }
  | { readonly kind: 'list'; readonly offset: number; readonly items: readonly Tree[] }
  | MapTree
  /** A value whose problem is reported already. */
  | { readonly kind: 'broken'; readonly offset: number };

export type Scalar = string | number | boolean | null;

export interface MapTree {
  readonly kind: 'map';
  readonly offset: number;
  readonly entries: ReadonlyMap<string, Entry>;
}

/** One key of a map: where the key stands, and its value. */
export interface Entry {
  readonly offset: number;
  readonly value: Tree;
  /** All of it from the beginning of its line on, where it is a peer in a plain text: the same lines say the same. */
  readonly lines?: string;
}

/**
 * Reads one YAML 1.2 document, which stands at `path` of the configuration. Throws a `ConfigError` with the syntax errors of
 * the whole text; what still gives a tree (a key written twice, a wrong alias) is only reported, so that the rest is judged
 * in the same run.
 * @param known lines of peers that need no second look
 */
export function parseTree(text: string, report: Report, path: Path = [], known?: KnownLines): Tree {
  const plain = readPlainYaml(text, report.base, known);
  if (plain === null) return readFullYaml(text, report, path);
  report.addLine(0);
  for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', end + 1)) report.addLine(end + 1);
  return plain;
}

/** The value of a path, undefined where there is none. */
export function treeIn(root: Tree, path: Path): Tree | undefined {
  let tree: Tree | undefined = root;
  for (const part of path) {
    if (tree?.kind === 'map' && typeof part === 'string') tree = tree.entries.get(part)?.value;
    else tree = tree?.kind === 'list' && typeof part === 'number' ? tree.items[part] : undefined;
  }
  return tree;
}

/** Where the value of a path begins; of a section, its key; of what is not there, the nearest above. */
export function offsetIn(root: Tree, path: Path): number {
  let tree: Tree = root;
  let offset = 0;
  for (const part of path) {
    let next: Tree | undefined;
    let keyOffset = 0;
    if (tree.kind === 'list' && typeof part === 'number') {
      next = tree.items[part];
      keyOffset = next?.offset ?? 0;
    }
    if (tree.kind === 'map' && typeof part === 'string') {
      const entry = tree.entries.get(part);
      keyOffset = entry?.offset ?? 0;
      next = entry?.value;
    }
    if (next === undefined) return offset;
    offset = next.kind === 'map' ? keyOffset : next.offset;
    tree = next;
  }
  return offset;
}
