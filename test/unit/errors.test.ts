// Errors: the form in which every problem is shown, its order, and what the process returns.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  ConfigError,
  ERROR_CODES,
  exitCodeOf,
  NodeError,
  type Problem,
  RingfenceError,
  renderProblem,
  UsageError,
} from '../../src/errors.ts';

const problem = (line: number, column: number, path = ''): Problem => ({
  code: 'ERR_CONFIG_PORT',
  message: `problem ${line}:${column}`,
  place: { file: 'ringfence.yaml', line, column, path },
});

test('a problem is FILE:LINE:COLUMN: path: what is wrong (CODE)', () => {
  expect(renderProblem(problem(31, 22, 'peers.alice.endpoints[1]'))).toBe(
    'ringfence.yaml:31:22: peers.alice.endpoints[1]: problem 31:22 (ERR_CONFIG_PORT)',
  );
  expect(renderProblem(problem(1, 1))).toBe('ringfence.yaml:1:1: problem 1:1 (ERR_CONFIG_PORT)');
});

test('a ConfigError carries all problems in file order, and stands for the first', () => {
  const error = new ConfigError([problem(10, 1), problem(2, 9), { ...problem(2, 3), hint: 'do this' }]);
  expect(error.problems.map(({ message }) => message)).toEqual([
    'problem 2:3',
    'problem 2:9',
    'problem 10:1',
  ]);
  expect(error).toMatchObject({
    name: 'ConfigError',
    code: 'ERR_CONFIG_PORT',
    hint: 'do this',
    place: { line: 2 },
  });
  expect(error.message.split('\n')).toHaveLength(3);
});

describe('exit codes', () => {
  test.each([
    [2, new ConfigError([problem(1, 1)])],
    [2, new UsageError('ERR_USAGE', 'no such command')],
    [1, new NodeError('ERR_NODE_LANE', 'the lane failed')],
    [1, new RingfenceError('ERR_FILE_WRITE', 'no space')],
    [1, new TypeError('a bug')],
    [1, 'a string'],
  ])('%i for %s', (code, error) => expect(exitCodeOf(error)).toBe(code));
});

test('an error keeps its cause, and names its class', () => {
  const cause = new Error('EACCES');
  const error = new NodeError('ERR_NODE_PRIVILEGE', 'not permitted', { cause, hint: 'run as root' });
  expect(error).toBeInstanceOf(RingfenceError);
  expect(error).toMatchObject({ name: 'NodeError', cause, hint: 'run as root', place: undefined });
});

test('every code is thrown somewhere', () => {
  const root = new URL('../../src', import.meta.url).pathname;
  const sources = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && name !== 'errors.ts')
    .map((name) => readFileSync(join(root, name), 'utf8'))
    .join('\n');
  const unused = Object.keys(ERROR_CODES).filter((code) => !new RegExp(`\\b${code}\\b`).test(sources));
  expect(unused).toEqual([]);
});
