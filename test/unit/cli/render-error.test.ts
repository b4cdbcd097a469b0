// What a terminal shows of an error that no test of a command meets: a bug of ours.

import { afterEach, expect, test, vi } from 'vitest';
import { renderError } from '../../../src/cli/render-error.ts';
import { NodeError } from '../../../src/errors.ts';

afterEach(() => vi.unstubAllEnvs());

test('a bug: no stack trace, unless debugging', () => {
  vi.stubEnv('NO_COLOR', '1');
  vi.stubEnv('LOG_LEVEL', 'info');
  const shown = renderError(new TypeError('x is not a function'), process.stderr);
  expect(shown).toBe(
    'ringfence: internal error: x is not a function (ERR_INTERNAL)\n' +
      '  hint: this is a bug of ringfence; LOG_LEVEL=debug shows where, and a report with that helps\n',
  );
  vi.stubEnv('LOG_LEVEL', 'debug');
  expect(renderError(new TypeError('x is not a function'), process.stderr)).toContain('render-error.test.ts');
});

test('an error without a hint is one line', () => {
  vi.stubEnv('NO_COLOR', '1');
  const error = new NodeError('ERR_NODE_LANE', 'the lane failed');
  expect(renderError(error, process.stderr)).toBe('ringfence: the lane failed (ERR_NODE_LANE)\n');
  expect(renderError('thrown text', process.stderr)).toContain('internal error: thrown text');
});
