// All of YAML → the tree, by the library's parser: aliases, tags, values over many lines, and the place of what is wrong.
// `plain-yaml.ts` reads what needs none of it.

import {
  type Alias,
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  type Node,
  Parser,
  type YAMLMap,
} from 'yaml';
import { printable, quote } from './quote.ts';
import type { Path, Report } from './report.ts';
import type { Entry, Scalar, Tree } from './tree.ts';

/** A lexeme takes the parser some 4 µs and 300 bytes; a file of 5,000 peers with ten rows each has 1.33 million. */
const LEXEME_LIMIT = 1_450_000;
/** The configuration nests five deep. The composer recurses: unlimited nesting ends where its stack does. */
const DEPTH_LIMIT = 32;
/** Past this many, syntax errors are the echo of the first. */
const SYNTAX_PROBLEM_LIMIT = 20;
/** Characters that all aliases of a file together may repeat: anchors of anchors of anchors grow without limit. */
const ALIAS_LIMIT = 100_000;

/**
 * Reads one YAML 1.2 document, which stands at `path` of the configuration. Throws a `ConfigError` with the syntax errors of
 * the whole text; what still gives a tree (a key written twice, a wrong alias) is only reported, so that the rest is judged
 * in the same run.
 */
export function readFullYaml(text: string, report: Report, path: Path): Tree {
  const composer = new Composer({
    schema: 'core', // also under a `%YAML 1.1` line, which would make `false` of `off`
    resolveKnownTags: false,
    stringKeys: true,
    uniqueKeys: false, // would compare each key with each; TreeBuilder looks them up
    prettyErrors: false, // would quote the lines around, and with them secrets
    logLevel: 'silent',
  });
  const [document, second] = composer.compose(tokens(text, report), true, text.length);
  if (document !== undefined) reportSyntax(document, report);
  if (second !== undefined) {
    const hint = 'one file describes one node';
    report.add(
      'ERR_CONFIG_SYNTAX',
      report.base + second.range[0],
      path,
      'a second YAML document begins here',
      hint,
    );
  }
  report.throwProblems();
  const root = document?.contents ?? null;
  if (root === null || (isScalar(root) && root.value === null)) {
    report.add(
      'ERR_CONFIG_EMPTY',
      report.base,
      path,
      'the file is empty',
      '`ringfence init` writes one to start from',
    );
    report.throwProblems();
  }
  return new TreeBuilder(report).build(root, path);
}

/** The parser's tokens, for as long as the text is one that people write. The parser itself knows no limit. */
function* tokens(text: string, report: Report): Generator<CST.Token, void> {
  const parser = new Parser(report.addLine);
  report.addLine(0);
  let lexemeCount = 0;
  let oddCount = 0;
  for (const lexeme of new Lexer().lex(text)) {
    lexemeCount += 1;
    if (lexemeCount > LEXEME_LIMIT) {
      return refuse(report, parser.offset, 'there is more here than any configuration has');
    }
    if (parser.stack.length > DEPTH_LIMIT) {
      return refuse(report, parser.offset, 'the values are nested too deeply');
    }
    for (const token of parser.next(lexeme)) {
      yield token;
      if (token.type === 'error' || token.type === 'directive') oddCount += 1;
    }
    if (oddCount >= SYNTAX_PROBLEM_LIMIT) return undefined;
  }
  yield* parser.end();
}

/** Not worth another look: this file is no configuration. */
function refuse(report: Report, offset: number, message: string): void {
  report.add('ERR_CONFIG_SYNTAX', report.base + offset, [], message, 'is this the right file?');
  report.throwProblems();
}

function reportSyntax(document: Document.Parsed, report: Report): void {
  for (const error of [...document.errors, ...document.warnings].slice(0, SYNTAX_PROBLEM_LIMIT)) {
    // What follows a colon in the message repeats the text of the file, which may be a key.
    const [what = ''] = error.message.split(': ');
    const message = `invalid YAML: ${what.charAt(0).toLowerCase()}${printable(what.slice(1), 200)}`;
    const hint = error.code === 'TAB_AS_INDENT' ? 'indent with spaces' : undefined;
    report.add('ERR_CONFIG_SYNTAX', report.base + error.pos[0], [], message, hint);
  }
}

/** Nodes of the parser → our tree: aliases resolved, keys unique. */
class TreeBuilder {
  readonly #report: Report;
  readonly #anchors = new Map<string, Node>();
  /** The nodes that are being built: an alias of one of them contains itself. */
  readonly #open = new Set<Node>();
  #aliasDepth = 0;
  #repeatedLength = 0;

  constructor(report: Report) {
    this.#report = report;
  }

  build(node: Node | null, path: Path): Tree {
    const [start, end] = node?.range ?? [0, 0];
    const offset = this.#report.base + start;
    if (this.#aliasDepth > 0) this.#repeatedLength += isScalar(node) ? 1 + end - start : 1;
    if (isAlias(node)) return this.#resolve(node, offset, path);
    if (isScalar(node) || node === null) {
      if (node?.anchor !== undefined) this.#anchors.set(node.anchor, node);
      return { kind: 'scalar', offset, value: scalarOf(node?.value) };
    }
    if (!isMap(node) && !isSeq(node)) throw new TypeError('a YAML node of no known kind');
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    this.#open.add(node);
    const tree: Tree = isMap(node)
      ? { kind: 'map', offset, entries: this.#entries(node, path) }
      : { kind: 'list', offset, items: node.items.map((item, i) => this.build(item as Node, [...path, i])) };
    this.#open.delete(node);
    return tree;
  }

  #resolve(alias: Alias, offset: number, path: Path): Tree {
    const target = this.#anchors.get(alias.source);
    if (target === undefined) {
      return this.#refuseAlias(
        offset,
        path,
        `no anchor &${printable(alias.source)} stands before this alias`,
      );
    }
    if (this.#open.has(target)) return this.#refuseAlias(offset, path, 'this alias contains itself');
    if (this.#repeatedLength > ALIAS_LIMIT) {
      this.#refuseAlias(offset, path, 'the aliases repeat more than any configuration needs');
      this.#report.throwProblems(); // of a bomb, one fragment is enough
    }
    this.#aliasDepth += 1;
    const tree = this.build(target, path);
    this.#aliasDepth -= 1;
    return tree;
  }

  #refuseAlias(offset: number, path: Path, message: string): Tree {
    this.#report.add('ERR_CONFIG_ALIAS', offset, path, message, 'write the value itself');
    return { kind: 'broken', offset };
  }

  #entries(map: YAMLMap, path: Path): Map<string, Entry> {
    const entries = new Map<string, Entry>();
    for (const pair of map.items) {
      const key = pair.key as Node | null;
      const name = isScalar(key) ? String(key.value) : '';
      const offset = this.#report.base + (key?.range?.[0] ?? map.range?.[0] ?? 0);
      const keyPath = [...path, name];
      const value =
        pair.value === null
          ? ({ kind: 'scalar', offset, value: null } as const)
          : this.build(pair.value as Node, keyPath);
      const first = entries.get(name);
      if (first === undefined) entries.set(name, { offset, value });
      else {
        const { line } = this.#report.place(first.offset, keyPath);
        const message = `${quote(name)} is written twice, first in line ${line}`;
        this.#report.add('ERR_CONFIG_DUPLICATE_KEY', offset, keyPath, message, 'keep one of them');
      }
    }
    return entries;
  }
}

/** The core schema gives text, numbers, booleans and null. */
function scalarOf(value: unknown): Scalar {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
}
