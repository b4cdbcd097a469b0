// YAML text → a tree of values that know where they stand. Knows YAML and its traps, but no key of the configuration.
//
//   file ──readSource──▶ text ──parseTree──▶ Tree ──readSection──▶ fields ──load.ts──▶ NodeConfig

import {
  type Alias,
  Composer,
  type CST,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  type YAMLMap,
} from 'yaml';
import { ConfigError, type ErrorCode, type Problem } from '../errors.ts';
import { printable, quote, renderPath } from './quote.ts';

/** One line and column, counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A YAML value and where it stands. Keys are text, whatever YAML would make of them: a peer may be called `1`. */
export type Tree =
  | { readonly kind: 'scalar'; readonly at: Position; readonly value: Scalar }
  | { readonly kind: 'list'; readonly at: Position; readonly items: readonly Tree[] }
  | { readonly kind: 'map'; readonly at: Position; readonly entries: ReadonlyMap<string, Entry> }
  /** A value whose problem is already reported. */
  | { readonly kind: 'broken'; readonly at: Position };

/** Keys and list indices from the root. */
export type Path = readonly (string | number)[];

export type Scalar = string | number | boolean | null;

/** One key of a map: where the key stands, and its value. */
export interface Entry {
  readonly at: Position;
  readonly value: Tree;
}

/** A lexeme takes the parser some 4 µs and 300 bytes; a valid file of 4 MiB has 1.1 million. */
const LEXEME_LIMIT = 1_200_000;
/** The configuration nests five deep. The composer recurses, so unlimited nesting would end at the end of the stack. */
const DEPTH_LIMIT = 32;
/** Past this many, syntax errors are the echo of the first. */
const SYNTAX_PROBLEM_LIMIT = 20;
/** Values that all aliases of a file together may repeat: anchors of anchors of anchors grow without limit. */
const ALIAS_LIMIT = 10_000;

/** Where the value of a path stands; the key of one that is a section, and the nearest above of one that is not there. */
export function positionIn(root: Tree, path: Path): Position {
  let tree = root;
  let at = root.at;
  for (const part of path) {
    if (tree.kind === 'map' && typeof part === 'string') {
      const entry = tree.entries.get(part);
      if (entry === undefined) return at;
      tree = entry.value;
      at = tree.kind === 'map' ? entry.at : tree.at;
    } else if (tree.kind === 'list' && typeof part === 'number') {
      const item = tree.items[part];
      if (item === undefined) return at;
      tree = item;
      at = item.at;
    }
  }
  return at;
}

/** Where a text stands, line by line, and how its problems are written. */
export class Locator {
  readonly file: string;
  readonly lines = new LineCounter();
  readonly problems: Problem[] = [];

  constructor(file: string) {
    this.file = file;
  }

  position(offset: number): Position {
    const { line, col } = this.lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }

  report(code: ErrorCode, at: Position, path: Path, message: string, hint?: string): void {
    this.problems.push({ code, message, hint, place: { file: this.file, ...at, path: renderPath(path) } });
  }

  /** Ends the reading if anything was reported. */
  throwProblems(): void {
    const [first, ...more] = this.problems;
    if (first !== undefined) throw new ConfigError([first, ...more]);
  }
}

/**
 * Reads one YAML 1.2 document. Throws a `ConfigError` with the syntax errors of the whole text; what still gives a tree
 * (a key written twice, a wrong alias) is only reported, so that the rest is judged in the same run.
 */
export function parseTree(text: string, locator: Locator): Tree {
  const root = compose(text, locator);
  return new TreeBuilder(locator).build(root, []);
}

function compose(text: string, locator: Locator): Node {
  const composer = new Composer({
    schema: 'core', // also under a `%YAML 1.1` line, which would turn `off` into `false`
    resolveKnownTags: false,
    stringKeys: true,
    uniqueKeys: false, // compares each key with each; TreeBuilder looks them up
    prettyErrors: false, // would quote the lines around, and with them keys
    logLevel: 'silent',
  });
  const [document, second] = composer.compose(tokens(text, locator), true, text.length);
  const errors = [...(document?.errors ?? []), ...(document?.warnings ?? [])];
  for (const error of errors.slice(0, SYNTAX_PROBLEM_LIMIT)) {
    // What follows a colon repeats the text found there, which may be a key.
    const [message = ''] = error.message.split(': ');
    const hint = error.code === 'TAB_AS_INDENT' ? 'indent with spaces' : undefined;
    locator.report(
      'ERR_CONFIG_SYNTAX',
      locator.position(error.pos[0]),
      [],
      `invalid YAML: ${printable(message)}`,
      hint,
    );
  }
  if (second !== undefined) {
    const at = locator.position(second.range[0]);
    locator.report(
      'ERR_CONFIG_SYNTAX',
      at,
      [],
      'a second YAML document begins here',
      'one file describes one node',
    );
  }
  const root = document?.contents ?? null;
  if (root === null || (isScalar(root) && root.value === null)) {
    const hint = '`ringfence init` writes one to start from';
    if (errors.length === 0)
      locator.report('ERR_CONFIG_EMPTY', { line: 1, column: 1 }, [], 'the file is empty', hint);
  }
  locator.throwProblems();
  if (root === null) throw new TypeError('no document, and no problem reported');
  return root;
}

/** The parser's tokens, for as long as the text is one that people write. The parser itself knows no limit. */
function* tokens(text: string, locator: Locator): Generator<CST.Token, void> {
  const parser = new Parser(locator.lines.addNewLine);
  locator.lines.addNewLine(0);
  let lexemeCount = 0;
  let errorCount = 0;
  for (const lexeme of new Lexer().lex(text)) {
    lexemeCount += 1;
    const isTooMuch = lexemeCount > LEXEME_LIMIT;
    if (isTooMuch || parser.stack.length > DEPTH_LIMIT) {
      const message = isTooMuch
        ? 'there is more here than any configuration has'
        : 'the values are nested too deeply';
      locator.report('ERR_CONFIG_SYNTAX', locator.position(parser.offset), [], message);
      return locator.throwProblems();
    }
    for (const token of parser.next(lexeme)) {
      yield token;
      if (token.type === 'error') errorCount += 1;
    }
    if (errorCount >= SYNTAX_PROBLEM_LIMIT) return undefined;
  }
  yield* parser.end();
}

/** Nodes of the parser → our tree: aliases resolved, keys unique. */
class TreeBuilder {
  readonly #locator: Locator;
  readonly #anchors = new Map<string, Node>();
  /** The anchored nodes that are being built: an alias of one of them contains itself. */
  readonly #open = new Set<Node>();
  #aliasDepth = 0;
  #repeatedCount = 0;

  constructor(locator: Locator) {
    this.#locator = locator;
  }

  build(node: Node, path: Path): Tree {
    if (this.#aliasDepth > 0) this.#repeatedCount += 1;
    const at = this.#locator.position(node.range?.[0] ?? 0);
    if (isAlias(node)) return this.#resolve(node, at, path);
    const { anchor } = node as { anchor?: string };
    if (anchor !== undefined) this.#anchors.set(anchor, node);
    this.#open.add(node);
    try {
      if (isMap(node)) return { kind: 'map', at, entries: this.#entries(node, path) };
      if (isSeq(node)) {
        const items = node.items.map((item, i) => this.build(item as Node, [...path, i]));
        return { kind: 'list', at, items };
      }
      return { kind: 'scalar', at, value: isScalar(node) ? scalarOf(node.value) : null };
    } finally {
      this.#open.delete(node);
    }
  }

  #resolve(alias: Alias, at: Position, path: Path): Tree {
    const target = this.#anchors.get(alias.source);
    let message: string | undefined;
    if (target === undefined) message = `no anchor &${printable(alias.source)} stands before this alias`;
    else if (this.#open.has(target)) message = 'this alias contains itself';
    else if (this.#repeatedCount > ALIAS_LIMIT)
      message = 'the aliases repeat more than any configuration needs';
    if (target === undefined || message !== undefined) {
      this.#locator.report('ERR_CONFIG_ALIAS', at, path, message ?? '', 'write the value itself');
      // One report is enough for a bomb: it has thousands of aliases.
      if (this.#repeatedCount > ALIAS_LIMIT) this.#locator.throwProblems();
      return { kind: 'broken', at };
    }
    this.#aliasDepth += 1;
    try {
      return this.build(target, path);
    } finally {
      this.#aliasDepth -= 1;
    }
  }

  #entries(map: YAMLMap, path: Path): Map<string, Entry> {
    const entries = new Map<string, Entry>();
    for (const { key, value } of map.items) {
      const keyNode = key as Node;
      const name = isScalar(keyNode) ? String(keyNode.value) : '';
      const at = this.#locator.position(keyNode.range?.[0] ?? 0);
      const keyPath = [...path, name];
      const first = entries.get(name);
      if (first !== undefined) {
        const message = `${quote(name)} stands here twice, first in line ${first.at.line}`;
        this.#locator.report('ERR_CONFIG_DUPLICATE_KEY', at, keyPath, message, 'keep one of the two');
      }
      const tree: Tree =
        value === null ? { kind: 'scalar', at, value: null } : this.build(value as Node, keyPath);
      if (first === undefined) entries.set(name, { at, value: tree });
    }
    return entries;
  }
}

/** The core schema gives text, numbers, booleans and null; anything else would be a YAML type that it does not have. */
function scalarOf(value: unknown): Scalar {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
      return value;
    default:
      return null;
  }
}
