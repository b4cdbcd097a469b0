// What our table on the host holds, as plain data, and the scripts for `nft -f -` that bring the host to it: whole, or from
// the one in force by what differs. Either is one transaction: no packet meets neither or both.

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

/**
 * One transaction for `nft -f -` that puts the table in place of any of its name. Counters begin at their totals, for a
 * replaced table starts at zero.
 */
export function renderScript(
  { table, counters, sets, chains }: Ruleset,
  comment: string,
  totals: ReadonlyMap<string, Total>,
): string {
  const declared = counters.map((name) => {
    const { packets = 0n, bytes = 0n } = totals.get(name) ?? {};
    return `\tcounter ${name} { packets ${packets} bytes ${bytes}; }\n`;
  });
  return `add table inet ${table}
delete table inet ${table}
table inet ${table} {
\tcomment "${comment}"
${[...declared, ...sets.map(renderSet), ...chains.map(renderChain)].join('')}}
`;
}

/** Removes the table, also one that is not there. */
export function renderRemoval(table: string): string {
  return `add table inet ${table}\ndelete table inet ${table}\n`;
}

/**
 * One transaction for `nft -f -` that makes of a table `from` the table `to`, by what differs; empty if nothing does. null
 * where that cannot be: a set is of another type, or a chain hooks in elsewhere. Counters that stay go on counting.
 */
export function renderChange(from: Ruleset, to: Ruleset): string | null {
  if (from.table !== to.table) return null;
  const sets = new Changes(from.sets, to.sets);
  const chains = new Changes(from.chains, to.chains);
  if (sets.both.some(([a, b]) => !isSameKindOfSet(a, b))) return null;
  if (chains.both.some(([a, b]) => a.hook !== b.hook)) return null;
  const where = `inet ${to.table}`;
  const gone = (a: readonly string[], b: readonly string[]): string[] => {
    const kept = new Set(b);
    return a.filter((one) => !kept.has(one));
  };
  const lines = (names: readonly string[], line: (name: string) => string): string[] => names.map(line);
  const elements = (verb: 'add' | 'delete', { name }: NftSet, list: readonly string[]): string[] =>
    list.length === 0 ? [] : [`${verb} element ${where} ${name} { ${list.join(', ')} }`];
  const changed = sets.both.filter(([a, b]) => a.elements !== b.elements);
  const rewritten = chains.both.filter(([a, b]) => !isSameList(a.rules, b.rules)).map(([, b]) => b);
  const rules = ({ name, rules: list }: NftChain): string[] =>
    list.map((rule) => `add rule ${where} ${name} ${rule}`);
  // First what others refer to, last what nobody refers to any more.
  return [
    ...lines(gone(to.counters, from.counters), (name) => `add counter ${where} ${name}`),
    ...chains.added.map((one) => `add chain ${where} ${one.name}${frameOf(one)}`),
    ...sets.added.map((one) => `add ${one.kind} ${where} ${one.name} { ${bodyOf(one).join('; ')} }`),
    ...changed.flatMap(([a, b]) => elements('delete', b, gone(a.elements, b.elements))),
    ...changed.flatMap(([a, b]) => elements('add', b, gone(b.elements, a.elements))),
    ...[...rewritten, ...chains.removed].map(({ name }) => `flush chain ${where} ${name}`),
    ...[...chains.added, ...rewritten].flatMap(rules),
    ...sets.removed.map(({ kind, name }) => `delete ${kind} ${where} ${name}`),
    ...chains.removed.map(({ name }) => `delete chain ${where} ${name}`),
    ...lines(gone(from.counters, to.counters), (name) => `delete counter ${where} ${name}`),
  ]
    .map((line) => `${line}\n`)
    .join('');
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

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, i) => one === b[i]);
}

function renderSet(set: NftSet): string {
  return `\t${set.kind} ${set.name} {\n\t\t${bodyOf(set).join('\n\t\t')}\n\t}\n`;
}

/** Statements, which both a new line and `;` end. */
function bodyOf({ type, isInterval, elements }: NftSet): string[] {
  return [
    `type ${type}`,
    ...(isInterval ? ['flags interval'] : []),
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
