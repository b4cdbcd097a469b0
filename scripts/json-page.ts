// docs/json.md: what programs read, key by key, from the JSON schemas beside it.

import { readFileSync } from 'node:fs';

/** As far as the schemas of docs/ go. */
interface Schema {
  readonly title?: string;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly $defs?: Readonly<Record<string, Schema>>;
}

/** A key as it is shown: where it is, what it holds, what it means. */
type Row = readonly [path: string, value: string, meaning: string];

/** A section for each schema of the file: a table of everything below it, where `[]` stands for each item, `NAME` for each name. */
export function renderJsonSections(file: string): string {
  const schema = JSON.parse(readFileSync(new URL(`../docs/${file}`, import.meta.url), 'utf8')) as Schema;
  return Object.values(schema.$defs ?? { whole: schema })
    .map(renderSection)
    .join('\n\n');
}

function renderSection(schema: Schema): string {
  const rows = rowsBelow('', schema).map(
    ([path, value, meaning]) => `| \`${path}\` | ${value} | ${meaning} |`,
  );
  return `## ${schema.title}

${schema.description}

| key | value | |
|---|---|---|
${rows.join('\n')}`;
}

function rowsBelow(path: string, schema: Schema): Row[] {
  const inside = path === '' ? '' : `${path}.`;
  const named = Object.entries(schema.properties ?? {}).flatMap(([name, value]) =>
    rowsOf(inside + name, value),
  );
  const { additionalProperties: others, items } = schema;
  return [
    ...named,
    ...(typeof others === 'object' ? rowsOf(`${inside}NAME`, others) : []),
    ...(items === undefined ? [] : rowsBelow(`${path}[]`, items)),
    ...(schema.anyOf ?? []).flatMap((choice) => rowsBelow(path, choice)),
  ];
}

function rowsOf(path: string, schema: Schema): Row[] {
  return [[path, kindOf(schema), schema.description ?? ''], ...rowsBelow(path, schema)];
}

function kindOf({ type, const: only, enum: choices, anyOf, items }: Schema): string {
  if (only !== undefined) return `\`${only}\``;
  if (choices !== undefined) return choices.map((choice) => `\`${choice}\``).join(', ');
  if (anyOf !== undefined) return [...new Set(anyOf.map(kindOf))].join(' or ');
  if (items !== undefined) return `list of ${kindOf(items)}`;
  return [type ?? []].flat().join(' or ');
}
