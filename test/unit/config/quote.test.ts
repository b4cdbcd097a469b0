// What a message repeats of a file: one short line, and no key.

import { describe, expect, test } from 'vitest';
import { isKey, printable, quote, renderName, renderPath } from '../../../src/config/quote.ts';

const KEY = Buffer.from('what is secret stays secret, ok?').toString('base64');

test.each([
  ['plain text', 'plain text'],
  ['a\nb\tc', 'a\\u{a}b\\u{9}c'],
  ['\u{1b}[31mred', '\\u{1b}[31mred'],
  ['\u{9b}31m', '\\u{9b}31m'], // the one-byte CSI
  ['\u{202e}gpj.exe', '\\u{202e}gpj.exe'], // right to left
  ['\u{2028}', '\\u{2028}'],
  ['\u{d800}', '\\u{d800}'],
  ['bücher 漢字 🙂', 'bücher 漢字 🙂'],
  [KEY, '[not shown]'],
  [`PrivateKey = ${KEY}`, 'PrivateKey = [not shown]'],
  [KEY.slice(0, 42), '[not shown]'],
  [Buffer.from(KEY, 'base64').toString('hex'), '[not shown]'],
  ['a b '.repeat(20), `${'a b '.repeat(15)}…`],
  [`${KEY} `.repeat(1000), `${'[not shown] '.repeat(5)}…`],
])('%j is shown as %s', (text, shown) => {
  expect(printable(text)).toBe(shown);
  expect(quote(text)).toBe(`"${shown}"`);
});

test('paths', () => {
  expect(renderPath([])).toBe('');
  expect(renderPath(['peers', 'alice', 'routes', 1])).toBe('peers.alice.routes[1]');
  expect(renderPath(['peers', 'a.b', 'routes'])).toBe('peers["a.b"].routes');
  expect(renderPath(['peers', KEY])).toBe('peers["[not shown]"]');
  expect(renderPath(['peers', KEY.slice(0, 42)])).toBe('peers["[not shown]"]');
  expect(renderName('alice')).toBe('alice');
  expect(renderName('al\u{1b}ice')).toBe('"al\\u{1b}ice"');
});

describe('what is a key', () => {
  test.each([KEY, ` ${KEY}\n`, Buffer.from(KEY, 'base64').toString('hex')])('%s', (text) => {
    expect(isKey(text)).toBe(true);
  });
  test.each(['rf0.key', '/etc/wireguard/keys/production/node12345678', KEY.slice(0, 43)])(
    '%s is none',
    (text) => {
      expect(isKey(text)).toBe(false);
    },
  );
});
