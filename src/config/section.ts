// One section of the tree → its fields, by a schema: every key is judged on its own, so that all problems come at once.

import { distance } from 'fastest-levenshtein';
import { z } from 'zod';
import type { Parsed } from '../address/ip.ts';
import { type KeyFacts, keyFacts, type RefusalParams } from './facts.ts';
import { quote } from './quote.ts';
import type { Path, Report } from './report.ts';
import type { MapTree, Tree } from './tree.ts';

type Section = z.ZodObject<z.core.$ZodShape>;

/** The fields that are right; one that is not was reported, and is missing. */
export type Fields<S extends Section> = Partial<z.output<S>>;

/** Keys that a WireGuard user expects here, spelled as `plain` does, and where their meaning went. */
const FOREIGN_KEYS: Record<string, string> = {
  allowedips: 'the addresses of the peer go under addresses, the networks behind it under routes',
  persistentkeepalive: 'it is called keepalive here',
  privatekey: 'a key stands in a file of its own, which private_key_file names',
  presharedkey: 'a key stands in a file of its own, which preshared_key_file names',
};

/** A schema as sections are read by it, worked out once. */
interface Plan {
  readonly keys: readonly string[];
  readonly fields: readonly {
    readonly name: string;
    readonly field: z.core.$ZodType;
    /** What the key means where it is not written. Shared: nobody writes to what was read. */
    readonly byDefault: z.ZodSafeParseResult<unknown>;
  }[];
}

const plans = new WeakMap<Section, Plan>();

function planOf(schema: Section): Plan {
  const known = plans.get(schema);
  if (known !== undefined) return known;
  const fields = Object.entries(schema.shape).map(([name, field]) => ({
    name,
    field,
    byDefault: z.safeParse(field, undefined),
  }));
  const plan = { keys: fields.map(({ name }) => name), fields };
  plans.set(schema, plan);
  return plan;
}

/** Reads a section whose own key stands at `offset`. */
export function readSection<S extends Section>(
  report: Report,
  schema: S,
  tree: Tree,
  offset: number,
  path: Path,
): Fields<S> {
  const plan = planOf(schema);
  const map = asMap(report, tree, path, plan.keys);
  if (map === null) return {};
  const fields: Record<string, unknown> = {};
  for (const { name, field, byDefault } of plan.fields) {
    const entry = map.entries.get(name);
    if (entry !== undefined) fields[name] = readValue(report, field, entry.value, [...path, name]);
    else {
      fields[name] = byDefault.data;
      if (!byDefault.success) reportMissing(report, field, offset, [...path, name]);
    }
  }
  reportUnknownKeys(report, map, path, plan.keys);
  return fields as Fields<S>;
}

function reportMissing(report: Report, field: z.core.$ZodType, offset: number, path: Path): void {
  const { expected, hint } = factsOf(field);
  report.add('ERR_CONFIG_MISSING_KEY', offset, path, `this key is missing; it takes ${expected}`, hint);
}

/** The map that a section is, or null after a report. */
export function asMap(report: Report, tree: Tree, path: Path, keys: readonly string[]): MapTree | null {
  if (tree.kind === 'map') return tree;
  if (tree.kind !== 'broken') {
    const message = isNothing(tree) ? 'the section is empty' : `${shown(tree)} is not a section`;
    report.add('ERR_CONFIG_TYPE', tree.offset, path, `${message}; it has the keys ${keys.join(', ')}`);
  }
  return null;
}

/** The value of one key or list item, undefined after a report. What a section misses is told at `offset`, where its key stands. */
export function readValue(
  report: Report,
  field: z.core.$ZodType,
  tree: Tree,
  path: Path,
  offset = tree.offset,
): unknown {
  if (tree.kind === 'broken') return undefined;
  const inner = tree.kind === 'scalar' ? field : alternativeFor(withoutDefault(field), tree);
  if (inner instanceof z.ZodObject && tree.kind === 'map') {
    return readSection(report, inner, tree, offset, path);
  }
  if (inner instanceof z.ZodRecord && tree.kind === 'map') return readNamed(report, inner, tree, path);
  if (inner instanceof z.ZodArray && tree.kind === 'list' && tree.items.length > 0) {
    return readItems(report, inner.element, tree.items, path);
  }
  if (isNothing(tree)) {
    const { expected, hint } = factsOf(field);
    report.add('ERR_CONFIG_TYPE', tree.offset, path, `there is no value; it takes ${expected}`, hint);
    return undefined;
  }
  const result = z.safeParse(field, plain(tree));
  if (result.success) return result.data;
  reportIssue(report, field, tree, path, result.error.issues[0]);
  return undefined;
}

/** Sections, or values, by names that the file chooses. One with a wrong name or value is there all the same, so that what names it is not a second problem. */
function readNamed(report: Report, { keyType, valueType }: z.ZodRecord, map: MapTree, path: Path): unknown {
  const values: Record<string, unknown> = {};
  for (const [name, { offset, value }] of map.entries) {
    const valuePath = [...path, name];
    const isName =
      readValue(report, keyType, { kind: 'scalar', offset, value: name }, valuePath) !== undefined;
    if (!(valueType instanceof z.ZodObject)) {
      const read = readValue(report, valueType, value, valuePath);
      if (isName && read !== undefined) values[name] = read;
      continue;
    }
    const read =
      asMap(report, value, valuePath, keysOf(valueType)) &&
      readValue(report, valueType, value, valuePath, offset);
    if (isName) values[name] = read ?? {};
  }
  return values;
}

function keysOf(section: z.core.$ZodType): readonly string[] {
  return section instanceof z.ZodObject ? Object.keys(section.shape) : [];
}

/** Of a key that takes a word, a list or a section, the one that a value of this kind is read by. */
function alternativeFor(field: z.core.$ZodType, tree: Tree): z.core.$ZodType {
  if (!(field instanceof z.ZodUnion)) return field;
  const isOfKind = (option: z.core.$ZodType): boolean => {
    if (tree.kind === 'list') return option instanceof z.ZodArray;
    return tree.kind === 'map' && option instanceof z.ZodObject;
  };
  return field.options.find(isOfKind) ?? field;
}

/** All items of a list, or undefined: a list that is right in part would have other positions than the file. */
function readItems(report: Report, field: z.core.$ZodType, items: readonly Tree[], path: Path): unknown {
  const values = items.map((item, i) => readValue(report, field, item, [...path, i]));
  return values.includes(undefined) ? undefined : values;
}

/** A value from elsewhere, such as an option, by the schema of its key. What is wrong with it is what it should be. */
export function parseValue<S extends z.ZodType>(field: S, value: unknown): Parsed<z.output<S>> {
  const result = field.safeParse(value);
  return result.success ? { ok: true, value: result.data } : { ok: false, problem: factsOf(field).expected };
}

export function reportUnknownKeys(report: Report, map: MapTree, path: Path, known: readonly string[]): void {
  for (const [key, { offset }] of map.entries) {
    if (known.includes(key)) continue;
    const nearest = nearestKey(key, known);
    const message =
      nearest === undefined
        ? `unknown key; known here: ${known.join(', ')}`
        : `unknown key; did you mean ${nearest}?`;
    report.add('ERR_CONFIG_UNKNOWN_KEY', offset, [...path, key], message, FOREIGN_KEYS[plainSpelling(key)]);
  }
}

function reportIssue(
  report: Report,
  field: z.core.$ZodType,
  tree: Tree,
  path: Path,
  issue: z.core.$ZodIssue | undefined,
): void {
  const facts = factsOf(field);
  if (issue?.code === 'custom') {
    const params: RefusalParams = issue.params ?? {};
    report.add(params.code ?? facts.code, tree.offset, path, issue.message, params.hint ?? facts.hint);
    return;
  }
  const hint = otherSpelling(field, tree) ?? facts.hint;
  const isKind = tree.kind !== 'scalar' || issue?.code === 'invalid_type';
  const code = isKind ? 'ERR_CONFIG_TYPE' : facts.code;
  report.add(code, tree.offset, path, `${shown(tree)} is not ${facts.expected}`, hint);
}

/** Quotes make text of a number, and a colon in the wrong place makes a map of an IPv6 address. */
function otherSpelling(field: z.core.$ZodType, tree: Tree): string | undefined {
  if (tree.kind === 'map') return 'a value with colons may need quotes';
  if (tree.kind !== 'scalar') return undefined;
  const { value } = tree;
  if (typeof value !== 'string') {
    return z.safeParse(field, String(value)).success ? 'write it in quotes' : undefined;
  }
  const isNumber = /^[0-9]+$/.test(value) && z.safeParse(field, Number(value)).success;
  return isNumber ? 'write it without quotes' : undefined;
}

/** The value as its schema takes it. A list or map in place of a scalar only has to be refused. */
function plain(tree: Tree): unknown {
  switch (tree.kind) {
    case 'scalar':
      return typeof tree.value === 'string' ? ownText(tree.value) : tree.value;
    case 'list':
      return [];
    case 'map':
      return {};
    case 'broken':
      return undefined;
    default:
      return tree satisfies never;
  }
}

/**
 * The same text with memory of its own: V8 keeps a piece of a long text as a part of that, and so all of a file for as long
 * as a name in it is used.
 */
export function ownText(text: string): string {
  return ` ${text}`.slice(1);
}

function shown(tree: Tree): string {
  switch (tree.kind) {
    case 'scalar':
      return typeof tree.value === 'string' ? quote(tree.value) : String(tree.value);
    case 'list':
      return tree.items.length === 0 ? 'an empty list' : 'a list';
    case 'map':
      return 'a map';
    case 'broken':
      return '';
    default:
      return tree satisfies never;
  }
}

function isNothing(tree: Tree): boolean {
  return tree.kind === 'scalar' && tree.value === null;
}

export function withoutDefault(field: z.core.$ZodType): z.core.$ZodType {
  const isWrapped =
    field instanceof z.ZodDefault || field instanceof z.ZodPrefault || field instanceof z.ZodOptional;
  return isWrapped ? field.def.innerType : field;
}

/** `.default()`, `.prefault()` and `.optional()` wrap a schema: the facts may stand inside. */
export function factsOf(field: z.core.$ZodType): KeyFacts {
  const facts = keyFacts.get(field) ?? keyFacts.get(withoutDefault(field));
  if (facts === undefined) throw new TypeError('a key without facts in schema.ts');
  return facts;
}

function nearestKey(key: string, known: readonly string[]): string | undefined {
  const spelled = plainSpelling(key);
  const isNear = (other: string): boolean => {
    const [short, long] = [spelled, plainSpelling(other)].toSorted((a, b) => a.length - b.length);
    if (short === undefined || long === undefined || long.length > 40) return false;
    const isMostOf = short.length >= 4 && 2 * short.length > long.length && long.startsWith(short);
    return isMostOf || distance(short, long) <= Math.ceil(short.length / 4);
  };
  return known
    .filter(isNear)
    .toSorted((a, b) => distance(spelled, plainSpelling(a)) - distance(spelled, plainSpelling(b)))[0];
}

/** `ListenPort`, `listen-port` and `listen_port` are one key to who writes them. */
function plainSpelling(key: string): string {
  return key.toLowerCase().replaceAll(/[_-]/g, '');
}
