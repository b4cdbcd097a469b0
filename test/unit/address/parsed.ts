// What a parser makes of a text that it takes, for tests of values.

import type { Parsed } from '../../../src/address/ip.ts';

/** The value of `text`; what `parse` refuses fails the test. */
export function parsed<T>(parse: (text: string) => Parsed<T>, text: string): T {
  const result = parse(text);
  if (!result.ok) throw new Error(`${text}: ${result.problem}`);
  return result.value;
}
