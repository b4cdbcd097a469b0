// Networks: masks, host bits, containment, against node:net's BlockList as the reference.

import { BlockList } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bitsOf, ipFromBytes, parseIp, renderIp } from '../../../src/address/ip.ts';
import {
  comparePrefixes,
  contains,
  hasHostBits,
  hostPrefix,
  type IpInterface,
  type IpPrefix,
  networkOf,
  overlaps,
  parseInterface,
  parsePrefix,
  renderInterface,
  renderPrefix,
} from '../../../src/address/prefix.ts';
import { parsed } from './parsed.ts';

/** Few distinct bytes, so that prefixes often contain each other. */
const byte = fc.constantFrom(0, 1, 0x80, 0xfe, 0xff, 10);
const address = fc
  .constantFrom(4, 16)
  .chain((length) => fc.array(byte, { minLength: length, maxLength: length }))
  .map((bytes) => ipFromBytes(Uint8Array.from(bytes)));
const own: fc.Arbitrary<IpInterface> = address.chain((value) =>
  fc.nat(bitsOf(value.version)).map((prefixLength) => ({ address: value, prefixLength })),
);
const prefix = own.map(networkOf);

const read = (text: string): IpPrefix => parsed(parsePrefix, text);

describe('good networks', () => {
  test.each([
    ['10.9.0.0/24', '10.9.0.0/24'],
    ['10.9.0.1', '10.9.0.1/32'],
    ['fd09::1', 'fd09::1/128'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '::/0'],
    ['10.9.0.128/25', '10.9.0.128/25'],
    ['FD09:0::/64', 'fd09::/64'],
    ['::ffff:10.9.0.0/120', '10.9.0.0/24'],
  ])('%s is %s', (text, canonical) => expect(renderPrefix(read(text))).toBe(canonical));
});

describe('bad networks', () => {
  test.each([
    ['10.9.0.0/33', 'the prefix length 33 is greater than 32'],
    ['fd09::/129', 'the prefix length 129 is greater than 128'],
    ['::ffff:10.9.0.0/129', 'the prefix length 129 is greater than 128'],
    ['::ffff:10.9.0.0/90', 'write an IPv4 network in its IPv4 form'],
    ['10.9.0.0/', 'the prefix length after the "/" is a number from 0 to 32'],
    ['10.9.0.0/024', 'the prefix length after the "/" is a number from 0 to 32'],
    ['10.9.0.0/-1', 'the prefix length after the "/" is a number from 0 to 32'],
    ['10.9.0.0/255.255.255.0', 'the prefix length after the "/" is a number from 0 to 32'],
    ['fd09::/64/64', 'the prefix length after the "/" is a number from 0 to 128'],
    ['10.9.0.1/24', 'bits are set beyond the prefix length; its network is 10.9.0.0/24'],
    ['fd09::1/64', 'bits are set beyond the prefix length; its network is fd09::/64'],
    ['10.9.0/24', 'an IPv4 address is four numbers, an IPv6 address has colons'],
  ])('%s: %s', (text, problem) => expect(parsePrefix(text)).toEqual({ ok: false, problem }));
});

test("an interface's address keeps its host bits", () => {
  const value = parsed(parseInterface, '10.9.0.1/24');
  expect(renderInterface(value)).toBe('10.9.0.1/24');
  expect(renderPrefix(networkOf(value))).toBe('10.9.0.0/24');
  expect(hasHostBits(value)).toBe(true);
});

test('what is rendered is read back to the same network', () => {
  fc.assert(
    fc.property(prefix, (value) => {
      expect(read(renderPrefix(value))).toEqual(value);
    }),
  );
});

test('a network has no host bits, and holds the address it was made of', () => {
  fc.assert(
    fc.property(own, (value) => {
      const network = networkOf(value);
      expect(hasHostBits({ address: network.address, prefixLength: network.length })).toBe(false);
      expect(contains(network, value.address)).toBe(true);
    }),
  );
});

test('containment agrees with BlockList', () => {
  fc.assert(
    fc.property(prefix, address, (network, value) => {
      const reference = new BlockList();
      const family = (version: 4 | 6): 'ipv4' | 'ipv6' => `ipv${version}`;
      reference.addSubnet(renderIp(network.address), network.length, family(network.address.version));
      // BlockList lets an IPv4 subnet match mapped IPv6 addresses; here those are IPv4 from the start.
      const expected =
        network.address.version === value.version && reference.check(renderIp(value), family(value.version));
      expect(contains(network, value)).toBe(expected);
    }),
    { numRuns: 1_000 },
  );
});

test('two networks overlap exactly where one holds the first address of the other', () => {
  fc.assert(
    fc.property(prefix, prefix, (a, b) => {
      expect(overlaps(a, b)).toBe(contains(a, b.address) || contains(b, a.address));
      expect(overlaps(a, b)).toBe(overlaps(b, a));
    }),
  );
});

test('networks order by version, address, length', () => {
  const texts = ['0.0.0.0/0', '10.0.0.0/8', '10.0.0.0/24', '10.9.0.0/16', '::/0', 'fd09::/64', 'fd09::/128'];
  expect(texts.toReversed().map(read).toSorted(comparePrefixes).map(renderPrefix)).toEqual(texts);
});

test('one address is a network of its own', () => {
  expect(renderPrefix(hostPrefix(parsed(parseIp, '10.9.0.1')))).toBe('10.9.0.1/32');
  expect(renderPrefix(hostPrefix(parsed(parseIp, 'fd09::1')))).toBe('fd09::1/128');
});
