// The YAML that configurations are written in → the tree, in one pass over the text: some ten times faster than the
// parser of all of YAML, which counts where a file has thousands of peers. It knows keys of letters, values of one line with
// or without quotes, `[…]` and `{…}` in one line, indentation and comments. Of a text with anything else (and of one with a
// mistake) it says that it is not plain, and never guesses: then `full-yaml.ts` reads it, with which this one agrees wherever
// it answers (test/unit/config/plain-yaml.test.ts holds the two against each other).

import { Document } from 'yaml';
import type { Entry, MapTree, Scalar, Tree } from './tree.ts';

/** The configuration nests five deep. */
const DEPTH_LIMIT = 16;
/** Values; a file of 5,000 peers with ten rows each has 225,000. How much is too much, `full-yaml.ts` says. */
const COUNT_LIMIT = 500_000;

/** By these the library tells an unquoted value that is no text: null, booleans and numbers of the core schema of YAML 1.2. */
const NO_TEXT = new RegExp(
  new Document(null, { schema: 'core' }).schema.tags
    .flatMap((tag) => ('test' in tag && tag.test !== undefined ? [tag.test.source] : []))
    .join('|'),
);

// Sticky: they match where `lastIndex` says, or not at all.
const KEY = /[A-Za-z0-9_][A-Za-z0-9_.-]*/y;
/** A colon ends a value only before a space, a bracket or the end of the line; the forms in doubt do not match whole. */
const UNQUOTED = /[A-Za-z0-9_./+](?:[A-Za-z0-9_./+=-]|:(?=:*[A-Za-z0-9_./+=-]))*/y;
const QUOTED = /"[^"\\\n\t\r]*"|'[^'\n\t\r]*'/y;
const SPACES = / */y;
const COMMENT = /#[^\n\r]*/y;

/** Thrown where the text is not plain. */
const NOT_PLAIN = new Error('this text is not plain YAML');

/** Lines of entries of {@link KNOWN_SECTION} that were plain before, by name, as {@link Entry.lines} has them. */
export type KnownLines = ReadonlyMap<string, string>;

const NONE: KnownLines = new Map();
/** Of this section the entries may be known. */
const KNOWN_SECTION = 'peers';

/**
 * The tree of a plain text, with offsets that count from `base`; null for any other. An entry of `peers` whose lines are
 * known is not looked into before somebody does.
 */
export function readPlainYaml(text: string, base: number, known: KnownLines = NONE): Tree | null {
  try {
    return new PlainReader(text, base, known).read();
  } catch (error) {
    if (error === NOT_PLAIN) return null;
    throw error;
  }
}

/** A map whose lines were one before, so that it has to be read only for who asks where in it something stands. */
class KnownMap implements MapTree {
  readonly kind = 'map';
  readonly #read: () => Tree;
  #map: MapTree | undefined;

  constructor(read: () => Tree) {
    this.#read = read;
  }

  get offset(): number {
    return this.#whole().offset;
  }

  get entries(): MapTree['entries'] {
    return this.#whole().entries;
  }

  #whole(): MapTree {
    if (this.#map !== undefined) return this.#map;
    const tree = this.#read();
    if (tree.kind !== 'map') throw new TypeError('what was a map is one still');
    this.#map = tree;
    return tree;
  }
}

class PlainReader {
  readonly #text: string;
  readonly #base: number;
  readonly #known: KnownLines;
  #at = 0;
  /** Where the line of `#at` begins. */
  #line = 0;
  /** Of the line at hand, once {@link #nextLine} found it; -1 at the end of the text. */
  #indent = 0;
  #depth = 0;
  #count = 0;

  /** Where the last line with a value on it ends. */
  #valuesEnd = 0;

  constructor(text: string, base: number, known: KnownLines) {
    this.#text = text;
    this.#base = base;
    this.#known = known;
  }

  read(): Tree {
    this.#nextLine();
    if (this.#indent !== 0) throw NOT_PLAIN;
    const tree = this.#blockMap(0);
    if (this.#at < this.#text.length) throw NOT_PLAIN; // a line that nothing above has the indentation of
    return tree;
  }

  /** The value of the key in the line that begins here. */
  readValueAt(line: number): Tree {
    this.#at = line;
    this.#nextLine();
    this.#key();
    return this.#blockValue(this.#indent);
  }

  /** From within a line whose values are read, to the first character of the next one that says something. */
  #endLine(): void {
    const spaces = this.#skip(SPACES);
    if (this.#char() === '#' && spaces > 0) this.#skip(COMMENT);
    this.#valuesEnd = this.#at;
    if (this.#at === this.#text.length) {
      this.#indent = -1;
      return;
    }
    if (this.#char() !== '\n') throw NOT_PLAIN;
    this.#at += 1;
    this.#nextLine();
  }

  /** The same from the beginning of a line. */
  #nextLine(): void {
    for (;;) {
      this.#line = this.#at;
      const indent = this.#skip(SPACES);
      if (this.#char() === '#') this.#skip(COMMENT);
      if (this.#at === this.#text.length) {
        this.#indent = -1;
        return;
      }
      if (this.#char() !== '\n') {
        this.#indent = indent;
        return;
      }
      this.#at += 1;
    }
  }

  /** What stands on lines of its own below a key. */
  #block(above: number): Tree {
    const isList = this.#isDash();
    if (this.#indent < above || (this.#indent === above && !isList)) throw NOT_PLAIN; // a key without a value
    return isList ? this.#blockList(this.#indent) : this.#blockMap(this.#indent);
  }

  #blockMap(indent: number): MapTree {
    this.#enter();
    const offset = this.#base + this.#at;
    const entries = new Map<string, Entry>();
    do {
      this.#blockEntry(entries, indent);
    } while (this.#indent === indent && !this.#isDash());
    this.#depth -= 1;
    return { kind: 'map', offset, entries };
  }

  #blockEntry(entries: Map<string, Entry>, indent: number): void {
    const offset = this.#base + this.#at;
    const name = this.#key();
    const isSection = this.#depth === 1 && name === KNOWN_SECTION;
    add(entries, name, { offset, value: this.#blockValue(indent, isSection) });
  }

  /** What stands behind a key and its colon, and the end of its last line. */
  #blockValue(indent: number, isSection = false): Tree {
    const behind = this.#at;
    this.#skip(SPACES);
    if (this.#char() === '\n' || this.#char() === '#') {
      this.#at = behind;
      this.#endLine();
      return isSection && this.#indent > indent && !this.#isDash() ? this.#section() : this.#block(indent);
    }
    if (this.#at === behind) throw NOT_PLAIN;
    const value = this.#value();
    this.#endLine();
    return value;
  }

  /** A map on lines of its own, of whose entries the lines are kept, and may be known. */
  #section(): MapTree {
    this.#enter();
    const offset = this.#base + this.#at;
    const indent = this.#indent;
    const entries = new Map<string, Entry>();
    do {
      const line = this.#line;
      const start = this.#at;
      const name = this.#key();
      const isKnown = this.#passKnown(this.#known.get(name), line, indent);
      if (!isKnown) this.#at = start + name.length + 1;
      const read = (): Tree => new PlainReader(this.#text, this.#base, NONE).readValueAt(line);
      const value = isKnown ? new KnownMap(read) : this.#blockValue(indent);
      const lines = this.#text.slice(line, this.#valuesEnd);
      add(entries, name, { offset: this.#base + start, value, lines });
    } while (this.#indent === indent && !this.#isDash());
    this.#depth -= 1;
    return { kind: 'map', offset, entries };
  }

  /** Moves past an entry if it consists of these lines, and of no more. */
  #passKnown(lines: string | undefined, line: number, indent: number): boolean {
    if (lines === undefined || !this.#text.startsWith(lines, line)) return false;
    this.#at = line + lines.length;
    if (this.#at < this.#text.length && this.#char() !== '\n') return false;
    this.#endLine();
    return this.#indent <= indent;
  }

  #blockList(indent: number): Tree {
    this.#enter();
    const offset = this.#base + this.#at;
    const items: Tree[] = [];
    while (this.#indent === indent && this.#isDash()) {
      this.#at += 1;
      this.#skip(SPACES);
      items.push(this.#item());
    }
    this.#depth -= 1;
    return { kind: 'list', offset, items };
  }

  /** A value, or a map whose first key stands behind the dash. */
  #item(): Tree {
    const start = this.#at;
    if (this.#skip(KEY) > 0 && this.#char() === ':' && ' \n'.includes(this.#text.charAt(this.#at + 1))) {
      this.#at = start;
      this.#indent = start - this.#line;
      return this.#blockMap(this.#indent);
    }
    this.#at = start;
    const value = this.#value();
    this.#endLine();
    return value;
  }

  #value(): Tree {
    switch (this.#char()) {
      case '[':
        return this.#flowList();
      case '{':
        return this.#flowMap();
      default:
        return this.#scalar();
    }
  }

  #flowList(): Tree {
    this.#enter();
    const offset = this.#base + this.#at;
    const items: Tree[] = [];
    this.#open();
    while (this.#char() !== ']') {
      items.push(this.#value());
      this.#comma(']');
    }
    return this.#close({ kind: 'list', offset, items });
  }

  #flowMap(): Tree {
    this.#enter();
    const offset = this.#base + this.#at;
    const entries = new Map<string, Entry>();
    this.#open();
    while (this.#char() !== '}') {
      const keyOffset = this.#base + this.#at;
      const name = this.#key();
      if (this.#skip(SPACES) === 0) throw NOT_PLAIN;
      add(entries, name, { offset: keyOffset, value: this.#value() });
      this.#comma('}');
    }
    return this.#close({ kind: 'map', offset, entries });
  }

  #open(): void {
    this.#at += 1;
    this.#skip(SPACES);
  }

  /** Behind a value in brackets: a comma, or what closes them. */
  #comma(end: string): void {
    this.#skip(SPACES);
    if (this.#char() === ',') {
      this.#at += 1;
      this.#skip(SPACES);
    } else if (this.#char() !== end) throw NOT_PLAIN;
  }

  #close(tree: Tree): Tree {
    this.#at += 1;
    this.#depth -= 1;
    return tree;
  }

  /** A key and its colon. */
  #key(): string {
    const start = this.#at;
    if (this.#skip(KEY) === 0 || this.#char() !== ':') throw NOT_PLAIN;
    const name = this.#text.slice(start, this.#at);
    this.#at += 1;
    return name;
  }

  #scalar(): Tree {
    if (++this.#count > COUNT_LIMIT) throw NOT_PLAIN;
    const start = this.#at;
    const offset = this.#base + start;
    if (this.#skip(QUOTED) > 0) {
      return { kind: 'scalar', offset, value: this.#text.slice(start + 1, this.#at - 1) };
    }
    if (this.#skip(UNQUOTED) === 0) throw NOT_PLAIN;
    return { kind: 'scalar', offset, value: scalarOf(this.#text.slice(start, this.#at)) };
  }

  #enter(): void {
    this.#count += 1;
    this.#depth += 1;
    if (this.#depth > DEPTH_LIMIT || this.#count > COUNT_LIMIT) throw NOT_PLAIN;
  }

  #isDash(): boolean {
    return this.#text.startsWith('- ', this.#at);
  }

  #char(): string {
    return this.#text.charAt(this.#at);
  }

  /** Moves past what matches here; returns how long that is. */
  #skip(pattern: RegExp): number {
    const start = this.#at;
    pattern.lastIndex = start;
    if (pattern.test(this.#text)) this.#at = pattern.lastIndex;
    return this.#at - start;
  }
}

/** A key that is written twice is a mistake, which `full-yaml.ts` reports. */
function add(entries: Map<string, Entry>, name: string, entry: Entry): void {
  if (entries.has(name)) throw NOT_PLAIN;
  entries.set(name, entry);
}

function scalarOf(source: string): Scalar {
  if (!NO_TEXT.test(source)) return source;
  if (source === 'true' || source === 'false') return source === 'true';
  if (/^[0-9]{1,15}$/.test(source)) return Number(source);
  throw NOT_PLAIN;
}
