// Networks without networks: an address is in what is left exactly when it is in no hole.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  contains,
  type IpPrefix,
  networkOf,
  parsePrefix,
  renderPrefix,
} from '../../../src/address/prefix.ts';
import { subtractPrefixes } from '../../../src/policy/subtract.ts';
import { parsed } from '../address/parsed.ts';

const prefix = (text: string): IpPrefix => parsed(parsePrefix, text);

test.each([
  ['10.0.0.0/8', [], ['10.0.0.0/8']],
  ['10.0.0.0/8', ['10.0.0.0/8'], []],
  ['10.0.0.0/8', ['0.0.0.0/0'], []],
  ['10.0.0.0/30', ['10.0.0.2/32'], ['10.0.0.0/31', '10.0.0.3/32']],
  ['fd00::/126', ['fd00::/128', '10.0.0.0/8'], ['fd00::1/128', 'fd00::2/127']],
])('%s without %j', (from, holes, left) => {
  expect(subtractPrefixes([prefix(from)], holes.map(prefix)).map(renderPrefix)).toEqual(left);
});

test('any holes', () => {
  const anyAddress = fc
    .uint8Array({ minLength: 4, maxLength: 4 })
    .map((bytes) => ({ version: 4 as const, bytes }));
  const anyHole = fc
    .tuple(anyAddress, fc.integer({ min: 1, max: 32 }))
    .map(([address, prefixLength]) => networkOf({ address, prefixLength }));
  fc.assert(
    fc.property(fc.array(anyHole, { maxLength: 5 }), anyAddress, (holes, address) => {
      const left = subtractPrefixes([prefix('0.0.0.0/0')], holes);
      const times = left.filter((one) => contains(one, address)).length;
      expect(times).toBe(holes.some((hole) => contains(hole, address)) ? 0 : 1);
      for (const hole of holes) expect(left.some((one) => contains(one, hole.address))).toBe(false);
    }),
  );
});
