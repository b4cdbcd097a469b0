// The two readers of YAML are one to whoever asks: where the quick one answers, the library's parser gives the same tree with
// the same offsets, and has nothing to say against the text. What configurations look like, the quick one answers.

import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readFullYaml } from '../../../src/config/full-yaml.ts';
import { readPlainYaml } from '../../../src/config/plain-yaml.ts';
import { Report } from '../../../src/config/report.ts';
import { parseTree, type Tree } from '../../../src/config/tree.ts';
import { PEER } from './files.ts';

/** What the library's parser makes of a text, or what it says against it. */
function fullTree(text: string): Tree | string {
  const report = new Report('a.yaml');
  try {
    const tree = readFullYaml(text, report, []);
    report.throwProblems();
    return tree;
  } catch (error) {
    return String(error);
  }
}

/** All of a tree, also what is read only when it is asked for. */
function copyOf(tree: Tree, hasLines = true): Tree {
  if (tree.kind === 'list') return { ...tree, items: tree.items.map((item) => copyOf(item, hasLines)) };
  if (tree.kind !== 'map') return tree;
  const entries = [...tree.entries].map(([name, { offset, value, lines }]) => {
    const entry = { offset, value: copyOf(value, hasLines) };
    return [name, hasLines && lines !== undefined ? { ...entry, lines } : entry] as const;
  });
  return { kind: 'map', offset: tree.offset, entries: new Map(entries) };
}

function linesIn(tree: Tree | null): ReadonlyMap<string, string> {
  const section = tree?.kind === 'map' ? tree.entries.get('peers')?.value : undefined;
  const entries = section?.kind === 'map' ? [...section.entries] : [];
  // What is no map is no peer: such lines are never kept.
  return new Map(
    entries.flatMap(([name, { lines, value }]) =>
      lines === undefined || value.kind !== 'map' ? [] : [[name, lines]],
    ),
  );
}

/** Whether the quick reader answered. */
function agrees(text: string): boolean {
  const tree = readPlainYaml(text, 0);
  if (tree === null) return false;
  const plain = copyOf(tree, false); // the library's parser keeps no lines
  const full = fullTree(text);
  if (!isDeepStrictEqual(plain, full)) expect({ text, tree: plain }).toEqual({ text, tree: full });
  return true;
}

/** Pieces of YAML, also of the kinds that the quick reader leaves alone. */
const PIECES = [
  ...[
    'a',
    'b',
    '1',
    'x y',
    '/',
    ':',
    '::',
    '.',
    '-',
    '~',
    '{',
    '}',
    '[',
    ']',
    ',',
    '#',
    '"x"',
    "'y'",
    '\t',
    '\r',
  ],
  ...[' ', '  ', '\n', '\n  ', '\n    ', ': ', 'a: ', 'b:\n', 'b: 1', '- ', ', ', ' # c', '---', '&a ', '*a'],
  ...[
    '!t ',
    '| ',
    '> ',
    '? ',
    '%',
    'true',
    'null',
    '0x1',
    '0o7',
    '1.5',
    '1e3',
    '-1',
    '+1',
    'fd09::1',
    '\u{e9}',
  ],
];
const pieces = fc
  .array(fc.constantFrom(...PIECES), { minLength: 1, maxLength: 12 })
  .map((all) => all.join(''));
/** Pieces of the section `peers`: some make a whole entry, some go on with one. */
const ENTRIES = [
  ...[
    '  a: {b: 1}\n',
    '  a: {b: 1} # c\n',
    '  a:\n    b: 1\n',
    '  a:\n    b: 1',
    '  a:\n      b: 1\n',
    '    c: 2\n',
  ],
  ...['  b: {b: 1}', '  b:\n    b: [x]\n    c: 2\n', '  bc: {b: 2}\n', '# c\n', '\n', '  - e\n'],
  ...['  c:\n    d:\n    - e\n', '   c: 4\n', '  a: 1\n', '2\n'],
];
const GOOD = `${PEER}    allow:
    - {to: 10.5.0.0/24, ports: [tcp/443, "tcp/80"]} # web
    - to: 'internet'
      ports: [gre]
    deny:
      - to: 10.5.0.9
# the end
metrics: {listen: 127.0.0.1:9586, hosts: []}
`;

test('any text of pieces of YAML is read alike', () => {
  const places = ['', 'a: ', 'a: [', 'a: {', 'a:\n  ', 'a:\n- ', 'a:\n- b: '];
  const text = fc.tuple(fc.constantFrom(...places), pieces, fc.constantFrom('', ']', '}', '\n', '\nc: d'));
  fc.assert(
    fc.property(text, (parts) => {
      agrees(parts.join(''));
    }),
    { numRuns: 1_000 },
  );
});

test('a good file with pieces cut and put in is read alike', () => {
  const edit = fc.tuple(
    fc.nat(GOOD.length),
    fc.nat(4),
    fc.oneof(fc.constant(''), fc.constantFrom(...PIECES)),
  );
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      agrees(
        edits.reduce((text, [at, cut, piece]) => text.slice(0, at) + piece + text.slice(at + cut), GOOD),
      );
    }),
    { numRuns: 100 },
  );
});

test('configurations are plain: the manual, the example of the README, every value of a good file', () => {
  const manual = ['docs/config.md', 'docs/policy.md', 'README.md'].map((file) => readFileSync(file, 'utf8'));
  const examples = manual.flatMap((text) =>
    [...text.matchAll(/```yaml\n(.*?)```/gs)].map(([, yaml]) => yaml ?? ''),
  );
  expect(examples.length).toBeGreaterThan(3);
  for (const text of [GOOD, ...examples]) expect(agrees(text), text).toBe(true);
});

test('what is known from other texts changes nothing: all of two pieces, after all of two pieces', () => {
  const texts = ['', ...ENTRIES].flatMap((one) => ENTRIES.map((other) => `peers:\n${one}${other}`));
  const plain = texts.map((text) => ({ text, tree: readPlainYaml(text, 0) }));
  const knowns = [...new Map(plain.map(({ tree }) => [[...linesIn(tree)].join(), linesIn(tree)])).values()];
  expect(knowns.length).toBeGreaterThan(20);
  for (const known of knowns) {
    for (const { text, tree } of plain) {
      const quick = readPlainYaml(text, 0, known);
      if (isDeepStrictEqual(quick && copyOf(quick), tree)) continue;
      expect({ text, known, tree: quick && copyOf(quick) }).toEqual({ text, known, tree });
    }
  }
});

test('lines are counted alike', () => {
  const [plain, full] = [new Report('a.yaml'), new Report('a.yaml')];
  parseTree(GOOD, plain);
  readFullYaml(GOOD, full, []);
  for (let at = 0; at <= GOOD.length; at++) expect(plain.place(at, [])).toEqual(full.place(at, []));
});

/** Each is one that the quick reader could take for something that it is not. */
test.each([
  ['a key twice', 'a: 1\na: 2'],
  ['an anchor', 'a: &x 1'],
  ['an alias', 'a: *x'],
  ['a tag', 'a: !!str 1'],
  ['a value over two lines', 'a: b\n  c'],
  ['quotes over two lines', 'a: "b\n  c"'],
  ['an escape', 'a: "b\\n"'],
  ['a quote in quotes', "a: 'b''c'"],
  ['a block scalar', 'a: |\n  b'],
  ['a list over two lines', 'a: [b,\n  c]'],
  ['a tab', 'a:\tb'],
  ['a carriage return', 'a: b\r\nc: d'],
  ['a second document', 'a: b\n---\nc: d'],
  ['a key without a value', 'a:\nb: c'],
  ['a number that is none of ours', 'a: 1.5'],
  ['no value', 'a: null'],
  ['a map in a line', 'a: b: c'],
  ['an address without quotes before a bracket', 'a: [fd09::]'],
])('%s is left to the library', (_, text) => {
  expect(readPlainYaml(text, 0)).toBeNull();
});
