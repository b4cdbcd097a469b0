// What our table on the host holds, as plain data, and the scripts for `nft -f -` that bring the host to it: whole, or from
// the one in force by what differs. Either is one transaction: no packet meets neither or both.

import { createHash } from 'node:crypto';

/** A set, or a map from addresses to verdicts. */
export interface NftSet {
  readonly name: string;
  readonly kind: 'set' | 'map';
  /** As in `ipv4_addr : verdict`. */
  readonly type: string;
  /** Whether elements may be networks; no two of them may overlap then. */
  readonly isInterval: boolean;
  /** Each once. */
  readonly elements: readonly string[];
}

export interface NftChain {
  readonly name: string;
  /** Type, hook and priority of a base chain, which accepts what its rules do not drop; null: others lead to it. */
  readonly hook: string | null;
  readonly rules: readonly string[];
}

/** What a table holds, without its frame. */
export interface Ruleset {
  /** Its name, in family `inet`. */
  readonly table: string;
  /** The named counters, sorted. */
  readonly counters: readonly string[];
  readonly sets: readonly NftSet[];
  readonly chains: readonly NftChain[];
}

/** What a named counter has counted. */
export interface Total {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** Of a table whose sets are not filled yet. */
const BEGUN = 'rf_begun';
/** Sets from so many elements on are filled once the rules that look into them are in force. */
const FILLED_ELEMENTS = 1_000;
/** From so many on a set has a size. */
const SIZED_ELEMENTS = 64;

const MARKS = new WeakMap<Ruleset, string>();

/**
 * The name of an empty chain by which a table is known to hold this ruleset: a digest of what it says, without what it has
 * counted. The table's comment could not change together with what differs.
 */
export function markOf(ruleset: Ruleset): string {
  const known = MARKS.get(ruleset);
  if (known !== undefined) return known;
  const { table, counters, sets, chains } = ruleset;
  const said = createHash('sha256').update(JSON.stringify([table, counters, sets, chains]));
  const mark = `rf_is_${said.digest('hex').slice(0, 16)}`;
  MARKS.set(ruleset, mark);
  return mark;
}

/** Whether a chain is the mark of a table. */
export function isMark(chain: string): boolean {
  return /^rf_is_[0-9a-f]{16}$/.test(chain);
}

/**
 * One transaction for `nft -f -` that puts the table in place of any of its name. Counters begin at their totals, for a
 * replaced table starts at zero.
 */
export function renderScript(
  ruleset: Ruleset,
  mark: string,
  totals: ReadonlyMap<string, Total>,
  isFilled = (_set: NftSet): boolean => true,
): string {
  const { table, counters, sets, chains } = ruleset;
  const declared = counters.map((name) => {
    const { packets = 0n, bytes = 0n } = totals.get(name) ?? {};
    return `\tcounter ${name} { packets ${packets} bytes ${bytes}; }\n`;
  });
  const marked = { name: mark, hook: null, rules: [] };
  return `add table inet ${table}
delete table inet ${table}
table inet ${table} {
\tcomment "ringfence v1 net=${table.replace(/^rf_/, '')}"
${[
  ...declared,
  ...sets.map((set) => renderSet(set, isFilled(set) ? set.elements : [])),
  ...[...chains, marked].map(renderChain),
].join('')}}
`;
}

/** What puts a table in place by two transactions. */
export interface Steps {
  readonly first: string;
  /** Of the table between them. */
  readonly mark: string;
  readonly second: () => string;
}

/**
 * The same as {@link renderScript} in two transactions. In the first, which is short, all rules are in force, so that what
 * needs an element to pass is denied; the second has the elements. null where nothing is gained by it.
 */
export function renderSteps(ruleset: Ruleset, totals: ReadonlyMap<string, Total>): Steps | null {
  const isSmall = ({ elements }: NftSet): boolean => elements.length < FILLED_ELEMENTS;
  if (ruleset.sets.every(isSmall)) return null;
  const where = `inet ${ruleset.table}`;
  return {
    first: renderScript(ruleset, BEGUN, totals, isSmall),
    mark: BEGUN,
    second: () =>
      [
        ...renderMark(where, BEGUN, markOf(ruleset)),
        ...ruleset.sets.filter((set) => !isSmall(set)).map((set) => renderElements('add', where, set)),
      ]
        .map((line) => `${line}\n`)
        .join(''),
  };
}

/** What makes of a table known by one mark one that is known by another: nft refuses all of it where the first is missing. */
function renderMark(where: string, from: string, to: string): string[] {
  return [`delete chain ${where} ${from}`, `add chain ${where} ${to}`];
}

function renderElements(
  verb: 'add' | 'delete',
  where: string,
  { name, elements }: Pick<NftSet, 'name' | 'elements'>,
): string {
  return `${verb} element ${where} ${name} { ${elements.join(', ')} }`;
}

/** Removes the table, also one that is not there. */
export function renderRemoval(table: string): string {
  return `add table inet ${table}\ndelete table inet ${table}\n`;
}

/**
 * One transaction for `nft -f -` that makes of a table `from` the table `to`, by what differs; empty if nothing does. null
 * where that cannot be: a set is of another type or has no room, or a chain hooks in elsewhere. nft refuses it where the table
 * is not known by the mark of `from`. Counters that stay go on counting.
 */
export function renderChange(from: Ruleset, to: Ruleset): string | null {
  if (from.table !== to.table) return null;
  const sets = new Changes(from.sets, to.sets);
  const chains = new Changes(from.chains, to.chains);
  if (sets.both.some(([a, b]) => !isSameKindOfSet(a, b) || !hasRoom(a, b))) return null;
  if (chains.both.some(([a, b]) => a.hook !== b.hook)) return null;
  const where = `inet ${to.table}`;
  const lines = (names: readonly string[], line: (name: string) => string): string[] => names.map(line);
  const elements = (verb: 'add' | 'delete', name: string, list: readonly string[]): string[] =>
    list.length === 0 ? [] : [renderElements(verb, where, { name, elements: list })];
  const changed = sets.both.map(([a, b]) => ({ name: a.name, ...differenceOf(a.elements, b.elements) }));
  const counters = differenceOf(from.counters, to.counters);
  const rewritten = chains.both.filter(([a, b]) => !isSameList(a.rules, b.rules)).map(([, b]) => b);
  const rules = ({ name, rules: list }: NftChain): string[] =>
    list.map((rule) => `add rule ${where} ${name} ${rule}`);
  // First what others refer to, last what nobody refers to any more.
  const change = [
    ...lines(counters.come, (name) => `add counter ${where} ${name}`),
    ...chains.added.map((one) => `add chain ${where} ${one.name}${frameOf(one)}`),
    ...sets.added.map((one) => `add ${one.kind} ${where} ${one.name} { ${bodyOf(one).join('; ')} }`),
    ...changed.flatMap(({ name, gone }) => elements('delete', name, gone)),
    ...changed.flatMap(({ name, come }) => elements('add', name, come)),
    ...[...rewritten, ...chains.removed].map(({ name }) => `flush chain ${where} ${name}`),
    ...[...chains.added, ...rewritten].flatMap(rules),
    ...sets.removed.map(({ kind, name }) => `delete ${kind} ${where} ${name}`),
    ...chains.removed.map(({ name }) => `delete chain ${where} ${name}`),
    ...lines(counters.gone, (name) => `delete counter ${where} ${name}`),
  ];
  if (change.length === 0) return '';
  return [...renderMark(where, markOf(from), markOf(to)), ...change].map((line) => `${line}\n`).join('');
}

/** What is in one list only. Lists of thousands are mostly the same: only what is between their common ends is compared. */
function differenceOf(
  from: readonly string[],
  to: readonly string[],
): { readonly gone: readonly string[]; readonly come: readonly string[] } {
  const shorter = Math.min(from.length, to.length);
  let head = 0;
  while (head < shorter && from[head] === to[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && from.at(-1 - tail) === to.at(-1 - tail)) tail += 1;
  const [before, after] = [from.slice(head, from.length - tail), to.slice(head, to.length - tail)];
  const [wasThere, isThere] = [new Set(before), new Set(after)];
  return {
    gone: before.filter((one) => !isThere.has(one)),
    come: after.filter((one) => !wasThere.has(one)),
  };
}

/** Parts of two rulesets, by name. */
class Changes<T extends { readonly name: string }> {
  readonly added: readonly T[];
  readonly removed: readonly T[];
  readonly both: readonly (readonly [from: T, to: T])[];

  constructor(from: readonly T[], to: readonly T[]) {
    const [former, next] = [from, to].map((list) => new Map(list.map((one) => [one.name, one])));
    this.added = to.filter(({ name }) => former?.has(name) === false);
    this.removed = from.filter(({ name }) => next?.has(name) === false);
    this.both = to.flatMap((one): [T, T][] => {
      const before = former?.get(one.name);
      return before === undefined ? [] : [[before, one]];
    });
  }
}

function isSameKindOfSet(a: NftSet, b: NftSet): boolean {
  return a.kind === b.kind && a.type === b.type && a.isInterval === b.isInterval;
}

/**
 * How many elements a set is made for: twice what it has, as a power of two; null: as many as come. The kernel looks faster
 * into a set of a size, and need not make it larger again and again while it is filled.
 */
function sizeOf({ isInterval, elements }: NftSet): number | null {
  if (isInterval || elements.length < SIZED_ELEMENTS) return null;
  return 2 ** Math.ceil(Math.log2(elements.length * 2));
}

/** A set that changed has the size it was made with, so there may be more room than this says. */
function hasRoom(from: NftSet, to: NftSet): boolean {
  const size = sizeOf(from);
  return size === null || (sizeOf(to) ?? 0) <= size;
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, i) => one === b[i]);
}

function renderSet(set: NftSet, elements: readonly string[]): string {
  return `\t${set.kind} ${set.name} {\n\t\t${bodyOf(set, elements).join('\n\t\t')}\n\t}\n`;
}

/** Statements, which both a new line and `;` end. */
function bodyOf(set: NftSet, elements = set.elements): string[] {
  const size = sizeOf(set);
  return [
    `type ${set.type}`,
    ...(size === null ? [] : [`size ${size}`]),
    ...(set.isInterval ? ['flags interval'] : []),
    ...(elements.length === 0 ? [] : [`elements = { ${elements.join(', ')} }`]),
  ];
}

function renderChain(one: NftChain): string {
  const hook = one.hook === null ? '' : `\t\ttype ${one.hook}; policy accept;\n`;
  return `\tchain ${one.name} {\n${hook}${one.rules.map((rule) => `\t\t${rule}\n`).join('')}\t}\n`;
}

function frameOf({ hook }: NftChain): string {
  return hook === null ? '' : ` { type ${hook}; policy accept; }`;
}
