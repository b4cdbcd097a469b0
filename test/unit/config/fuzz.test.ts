// Random and damaged files: whatever stands in one, loading it ends in a NodeConfig or a ConfigError, and soon.

import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { ConfigError } from '../../../src/errors.ts';
import { ConfigFolder, INTERFACE, KEYS, PEER } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

const BUDGET_MS = 1_200;
const GOOD = `${PEER}    addresses: [10.9.0.2, "fd09::2"]
    routes: [192.168.7.0/24]
    endpoints: [vpn.example.org:51820]
    keepalive: 25
  bob: {public_key: "${KEYS[1]}", addresses: &b [10.9.0.3], keepalive: off}
`;

/** A ConfigError has at least one problem, each with a place in the text and a message in one line. */
function load(text: string | Uint8Array): void {
  try {
    folder.load(text);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const { place, message } of error.problems) {
      expect(place.line).toBeGreaterThan(0);
      expect(place.column).toBeGreaterThan(0);
      expect(message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }
  }
}

/** fast-check prints the seed and the path that repeat a failure. */
function holds<T>(arbitrary: fc.Arbitrary<T>, check: (value: T) => void): void {
  fc.assert(fc.property(arbitrary, check), {
    interruptAfterTimeLimit: BUDGET_MS,
    markInterruptAsFailure: false,
    numRuns: 3_000,
  });
}

test('any bytes', () => holds(fc.uint8Array({ maxLength: 300 }), load));

test('any text of YAML characters', () => {
  const unit = fc.constantFrom(...'ab01:-?,[]{}#&*!|>\'"%@` \n\n\t~.=+/\\\u{85}\u{feff}\u{1f642}');
  holds(fc.string({ unit, maxLength: 200 }), (text) => {
    load(text);
    load(INTERFACE + text);
  });
});

test('a good file with pieces cut, doubled, moved and overwritten', () => {
  const edit = fc.record({
    at: fc.nat(GOOD.length),
    length: fc.nat(40),
    text: fc.oneof(
      fc.constantFrom(
        '',
        '\n',
        '  ',
        '\t',
        ': ',
        '- ',
        '*b',
        '&c ',
        '"',
        '[',
        '}',
        '---\n',
        '!!binary ',
        '|\n',
        '? ',
      ),
      fc.tuple(fc.nat(GOOD.length), fc.nat(60)).map(([from, length]) => GOOD.slice(from, from + length)),
    ),
  });
  holds(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
    const text = edits.reduce(
      (before, { at, length, text: piece }) => before.slice(0, at) + piece + before.slice(at + length),
      GOOD,
    );
    load(text);
  });
});

test('good YAML of any shape, under the keys that there are', () => {
  const word = fc.constantFrom(
    ...['interface', 'peers', 'name', 'addresses', 'routes', 'endpoints', 'keepalive', 'mtu', 'public_key'],
    ...[
      'private_key_file',
      'preshared_key_file',
      'rf0',
      'rf0.key',
      '10.9.0.1/24',
      'fd09::1',
      'auto',
      'off',
      '__proto__',
    ],
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ depthSize: 'small' }, tie('leaf'), tie('list'), tie('map')),
    leaf: fc.oneof(word, fc.integer(), fc.double(), fc.boolean(), fc.constant(null), fc.string()),
    list: fc.array(tie('tree'), { maxLength: 4 }),
    map: fc.dictionary(fc.oneof(word, fc.string()), tie('tree'), { maxKeys: 6 }),
  }));
  holds(fc.record({ interface: tree, peers: tree }), (value) => load(stringify(value)));
});
