// What is given by mistake, or by malice: no text, no YAML, YAML that grows. Refused at once, in one line.

import { afterAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { ConfigFolder, INTERFACE } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

describe('files that are no configuration', () => {
  test.each([
    ['empty', '', '1:1: the file is empty (ERR_CONFIG_EMPTY)'],
    ['only comments', '# nothing\n\n', '1:1: the file is empty (ERR_CONFIG_EMPTY)'],
    ['null', 'null\n', '1:1: the file is empty (ERR_CONFIG_EMPTY)'],
    [
      'a text',
      'hello\n',
      '1:1: "hello" is not a section; it has the keys interface, peers, metrics, logging, firewall (ERR_CONFIG_TYPE)',
    ],
    [
      'a list',
      '- a\n',
      '1:1: a list is not a section; it has the keys interface, peers, metrics, logging, firewall (ERR_CONFIG_TYPE)',
    ],
    [
      'a tab as indentation',
      `interface:\n\tname: rf0\n`,
      '2:1: invalid YAML: tabs are not allowed as indentation (ERR_CONFIG_SYNTAX)',
    ],
    [
      'an open bracket',
      `${INTERFACE}  mtu: [1\n`,
      '6:1: invalid YAML: flow sequence in block collection must be sufficiently indented and end with a ] (ERR_CONFIG_SYNTAX)',
    ],
    [
      'an open quote',
      `${INTERFACE}  mtu: "1\n`,
      '6:1: invalid YAML: missing closing "quote (ERR_CONFIG_SYNTAX)',
    ],
    [
      'a second document',
      `${INTERFACE}---\n${INTERFACE}`,
      '5:1: a second YAML document begins here (ERR_CONFIG_SYNTAX)',
    ],
    ['a tag', `interface: !secret\n  name: rf0\n`, '1:12: invalid YAML: unresolved tag (ERR_CONFIG_SYNTAX)'],
    [
      'an alias of nothing',
      `${INTERFACE}peers: *p\n`,
      '5:8: peers: no anchor &p stands before this alias (ERR_CONFIG_ALIAS)',
    ],
    [
      'an alias of itself',
      `${INTERFACE}peers: &p {a: *p}\n`,
      '5:15: peers.a: this alias contains itself (ERR_CONFIG_ALIAS)',
    ],
    [
      'brackets without end',
      '['.repeat(100_000),
      '1:33: the values are nested too deeply (ERR_CONFIG_SYNTAX)',
    ],
    ['maps without end', 'a: '.repeat(10_000), '1:95: the values are nested too deeply (ERR_CONFIG_SYNTAX)'],
    [
      'a NUL byte',
      `${INTERFACE}\0`,
      '5:1: this is a binary file: it has a byte of value 0 (ERR_CONFIG_ENCODING)',
    ],
    [
      'latin1',
      Buffer.from('interface:\n  name: b\u{fc}ro\n', 'latin1'),
      '2:10: this is no UTF-8 text (ERR_CONFIG_ENCODING)',
    ],
    [
      'UTF-16',
      Buffer.from(`\u{feff}${INTERFACE}`, 'utf16le'),
      '1:4: this is a binary file: it has a byte of value 0 (ERR_CONFIG_ENCODING)',
    ],
    [
      '10 MB',
      'x'.repeat(10_000_000),
      '1:1: the file is larger than 4 MiB, which no configuration is (ERR_CONFIG_SIZE)',
    ],
  ])('%s', (_, text, problem) => expect(folder.problems(text)).toEqual([problem]));

  test('an anchor bomb', () => {
    const nine = (name: string): string => Array.from({ length: 9 }, () => `*${name}`).join(', ');
    const levels = ['b', 'c', 'd', 'e', 'f', 'g', 'h'].map(
      (name, i) => `${name}: &${name} [${nine('abcdefg'.charAt(i))}]\n`,
    );
    expect(folder.problems(`a: &a [x, x, x]\n${levels.join('')}`).at(-1)).toMatch(
      /the aliases repeat more than any configuration needs \(ERR_CONFIG_ALIAS\)$/,
    );
  });

  test('no file, a directory, a path through a file', () => {
    const said = (file: string): string => {
      try {
        loadConfig(file);
      } catch (error) {
        return error instanceof Error ? error.message : '';
      }
      return 'fine';
    };
    expect(said('/nowhere/ringfence.yaml')).toBe(
      '/nowhere/ringfence.yaml:1:1: there is no such file (ERR_CONFIG_FILE)',
    );
    expect(said('/tmp')).toBe('/tmp:1:1: this is a directory (ERR_CONFIG_FILE)');
    expect(said('/dev/null/x')).toBe('/dev/null/x:1:1: a part of its path is no directory (ERR_CONFIG_FILE)');
    expect(said('/dev/zero')).toBe(
      '/dev/zero:1:1: the file is larger than 4 MiB, which no configuration is (ERR_CONFIG_SIZE)',
    );
    expect(said('a\0b')).toBe('a\0b:1:1: the file cannot be read (ERR_INVALID_ARG_VALUE) (ERR_CONFIG_FILE)');
  });
});
