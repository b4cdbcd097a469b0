// Which command lines are those of a userspace WireGuard, and which are commands, or meant to be.

import { expect, test } from 'vitest';
import { namesInterface } from '../../../src/cli/interface-argument.ts';

const COMMANDS = ['init', 'check', 'run', 'status', 'genkey', 'help'];

test.each([
  [['wg0'], true],
  [['tun'], true],
  [['corp'], true],
  [['run1'], true],
  [['status1'], true],
  [['checkers'], true],
  [['wg%d'], false],
  [['-f', 'wg0'], true],
  [['--foreground', 'wg0'], true],
  [['-f', 'status'], true],
  [['-f'], true],
  [['status'], false],
  [['help'], false],
  [['statsu'], false],
  [['satus'], false],
  [['chek'], false],
  [['chexk'], false],
  [['genkeys'], false],
  [['gen-key'], true],
  [['wg0', 'wg1'], false],
  [['--version'], false],
  [['-V'], false],
  [['a/b'], false],
  [['sixteen-letters-'], false],
  [[], false],
])('%j: %s', (args, wanted) => expect(namesInterface(args, COMMANDS)).toBe(wanted));
