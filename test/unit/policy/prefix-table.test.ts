// The longest prefix that holds an address, beside a search through all of them.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ipFromBytes } from '../../../src/address/ip.ts';
import { contains, type IpPrefix, networkOf } from '../../../src/address/prefix.ts';
import { PrefixTable } from '../../../src/policy/prefix-table.ts';

/** Few different bits, so that prefixes hold one another. */
const byte = fc.constantFrom(0, 1, 128, 255);
const address = fc
  .tuple(fc.constantFrom(4, 16), fc.array(byte, { minLength: 16, maxLength: 16 }))
  .map(([size, bytes]) => ipFromBytes(Uint8Array.from(bytes.slice(0, size))));
const prefix = fc
  .tuple(address, fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([one, share]) => networkOf({ address: one, prefixLength: Math.round(share * one.bytes.length * 8) }));

function slowly(prefixes: readonly IpPrefix[], wanted: Parameters<typeof contains>[1]): number | null {
  const holding = prefixes.map((one, owner) => ({ one, owner })).filter(({ one }) => contains(one, wanted));
  return holding.toSorted((a, b) => b.one.length - a.one.length)[0]?.owner ?? null;
}

test('the owner of the longest prefix, of equal ones the first', () => {
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 12 }), address, (prefixes, wanted) => {
      const table = new PrefixTable(prefixes.map((one, i) => [one, i]));
      expect(table.find(wanted)).toBe(slowly(prefixes, wanted));
    }),
    { numRuns: 100 },
  );
});
