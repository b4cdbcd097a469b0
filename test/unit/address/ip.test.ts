// One form for both versions: strict in, RFC 5952 out, and the same verdict as node:net.

import { isIP } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareIps, ipFromBytes, parseIp, renderIp } from '../../../src/address/ip.ts';
import { parsed } from './parsed.ts';

const ip4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(ipFromBytes);
/** Half of them with runs of zeros, which random bytes hardly have. */
const ip6 = fc
  .oneof(
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc
      .array(fc.constantFrom(0, 0, 0, 1, 0xabcd), { minLength: 8, maxLength: 8 })
      .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]))),
  )
  .map(ipFromBytes);

describe('good addresses and their canonical text', () => {
  test.each([
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['FD09:0:0:0:0:0:0:1', 'fd09::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'], // the first of two runs of one length
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'], // one zero group stays
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'], // the longer run
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::ffff:10.9.0.1', '10.9.0.1'], // mapped: the IPv4 address it stands for
    ['::ffff:a09:1', '10.9.0.1'],
    ['::fffe:10.9.0.1', '::fffe:a09:1'],
  ])('%s is %s', (text, canonical) => expect(renderIp(parsed(parseIp, text))).toBe(canonical));
});

describe('bad addresses', () => {
  test.each([
    ['', 'an IPv4 address is four numbers, an IPv6 address has colons'],
    ['10.9.0', 'an IPv4 address is four numbers, an IPv6 address has colons'],
    ['10.9.0.1.2', 'an IPv4 address is four numbers, an IPv6 address has colons'],
    ['10.9.0.256', '256 is greater than 255'],
    ['10.9.0.01', '01 has a leading zero'],
    ['10.9.0.00', '00 has a leading zero'],
    ['10.9.0.', 'each of the four parts is a number from 0 to 255'],
    ['10.9.0.1 ', 'each of the four parts is a number from 0 to 255'],
    ['10.9.0.0x1', 'each of the four parts is a number from 0 to 255'],
    ['10.9.0.1\n', 'each of the four parts is a number from 0 to 255'],
    ['10.9.0.١', 'each of the four parts is a number from 0 to 255'],
    ['1::2::3', '"::" can stand only once'],
    [':::', 'each group is one to four hexadecimal digits'],
    ['1:2:3', 'there are 3 groups, not eight'],
    ['1:2:3:4:5:6:7:8::', 'there are too many groups beside the "::"'],
    ['1:2:3:4:5:6:7:8:9', 'there are more than eight groups'],
    ['12345::', 'each group is one to four hexadecimal digits'],
    ['g::', 'each group is one to four hexadecimal digits'],
    [':1::', 'each group is one to four hexadecimal digits'],
    ['1:', 'each group is one to four hexadecimal digits'],
    ['::1.2.3.4:5', 'each group is one to four hexadecimal digits'],
    ['1.2.3.4::', 'each group is one to four hexadecimal digits'],
    ['::10.9.0.256', '256 is greater than 255'],
    ['1:2:3:4:5:6:7:1.2.3.4', 'there are more than eight groups'],
    ['fe80::1%eth0', 'a zone (%) does not belong here'],
  ])('%j: %s', (text, problem) => expect(parseIp(text)).toEqual({ ok: false, problem }));
});

test('what is rendered is read back to the same bytes', () => {
  fc.assert(
    fc.property(fc.oneof(ip4, ip6), (address) => {
      expect(parsed(parseIp, renderIp(address))).toEqual(address);
    }),
  );
});

test('an address is accepted exactly where node:net accepts it', () => {
  const characters = fc.string({ unit: fc.constantFrom(...'0123456789abcdef:.%g'), maxLength: 24 });
  const nearlyRight = fc
    .tuple(fc.oneof(ip4, ip6).map(renderIp), fc.nat(40), fc.constantFrom('', ':', '.', '0', '::', 'f'))
    .map(([text, at, inserted]) => text.slice(0, at) + inserted + text.slice(at + 1));
  fc.assert(
    fc.property(fc.oneof(characters, nearlyRight), (text) => {
      const expected = text.includes('%') ? 0 : isIP(text); // node takes zones
      expect(parseIp(text).ok).toBe(expected !== 0);
    }),
    { numRuns: 2_000 },
  );
});

test('addresses order by version, then as numbers', () => {
  const texts = ['0.0.0.0', '9.255.255.255', '10.9.0.1', '::', '::1', 'fd09::1'];
  const shuffled = [3, 1, 5, 0, 4, 2].map((i) => parsed(parseIp, texts[i] ?? ''));
  expect(shuffled.toSorted(compareIps).map(renderIp)).toEqual(texts);
});

test('bytes are copied, and only 4 or 16 of them make an address', () => {
  const bytes = Uint8Array.of(10, 9, 0, 1);
  const address = ipFromBytes(bytes);
  bytes.fill(0);
  expect(renderIp(address)).toBe('10.9.0.1');
  expect(() => ipFromBytes(new Uint8Array(5))).toThrow(RangeError);
});
