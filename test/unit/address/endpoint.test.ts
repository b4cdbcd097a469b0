// HOST:PORT in every form that is one, and a reason for every form that is none.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Endpoint, parseEndpoint, renderEndpoint } from '../../../src/address/endpoint.ts';
import { ipFromBytes } from '../../../src/address/ip.ts';

describe('good endpoints', () => {
  test.each([
    ['192.0.2.1:51820', '192.0.2.1:51820', 'address'],
    ['[2001:DB8:0::1]:1', '[2001:db8::1]:1', 'address'],
    ['[fe80::1%eth0]:65535', '[fe80::1%eth0]:65535', 'address'],
    ['[::ffff:192.0.2.1]:51820', '192.0.2.1:51820', 'address'],
    ['vpn.example.org:51820', 'vpn.example.org:51820', 'name'],
    ['VPN:51820', 'VPN:51820', 'name'],
    ['vpn.example.org.:51820', 'vpn.example.org.:51820', 'name'],
    ['_gw.example.org:51820', '_gw.example.org:51820', 'name'],
    ['4.example:51820', '4.example:51820', 'name'],
    ['xn--bcher-kva.example:51820', 'xn--bcher-kva.example:51820', 'name'],
  ])('%s is %s, by %s', (text, canonical, kind) => {
    const parsed = parseEndpoint(text);
    expect(parsed.ok && renderEndpoint(parsed.value)).toBe(canonical);
    expect(parsed.ok && parsed.value.kind).toBe(kind);
  });
});

describe('bad endpoints', () => {
  const port = 'the port is a number from 1 to 65535';
  const name =
    'a host name has labels of 1 to 63 letters, digits and hyphens (other alphabets in their xn-- form)';
  test.each([
    ['', 'the port is missing, as in vpn.example.org:51820'],
    ['vpn.example.org', 'the port is missing, as in vpn.example.org:51820'],
    ['[fd09::1]', 'the port is missing, as in [fd09::1]:51820'],
    ['vpn.example.org:', port],
    ['vpn.example.org:0', port],
    ['vpn.example.org:65536', port],
    ['vpn.example.org:080', port],
    ['vpn.example.org:1e3', port],
    ['vpn.example.org:+1', port],
    ['vpn.example.org:51820 ', port],
    ['[fd09::1]:x', port],
    [':51820', 'the host is missing, as in vpn.example.org:51820'],
    ['fd09::1:51820', 'an IPv6 address stands in brackets, as in [fd09::1]:51820'],
    ['[fd09::1:51820', 'the bracket is not closed, as in [fd09::1]:51820'],
    ['[192.0.2.1]:51820', 'only an IPv6 address stands in brackets'],
    ['[vpn.example.org]:51820', 'only an IPv6 address stands in brackets'],
    ['[fe80::1%]:51820', 'the zone after the "%" is the name of an interface, as in [fe80::1%eth0]:51820'],
    ['[fe80::1%a/b]:51820', 'the zone after the "%" is the name of an interface, as in [fe80::1%eth0]:51820'],
    ['[::ffff:192.0.2.1%eth0]:51820', 'an IPv4 address has no zone'],
    ['10.9.0.256:51820', '256 is greater than 255'],
    ['10.9:51820', 'an IPv4 address is four numbers, an IPv6 address has colons'],
    ['51820:51820', 'an IPv4 address is four numbers, an IPv6 address has colons'],
    ['-vpn.example.org:51820', name],
    ['vpn..example.org:51820', name],
    ['vpn example.org:51820', name],
    ['bücher.example:51820', name],
    [`${'a'.repeat(64)}.org:51820`, name],
    [`${'a.'.repeat(127)}org:51820`, 'a host name has at most 253 characters'],
  ])('%j: %s', (text, problem) => expect(parseEndpoint(text)).toEqual({ ok: false, problem }));
});

test('what is rendered is read back to the same endpoint', () => {
  const bytes = fc.oneof(...[4, 16].map((n) => fc.uint8Array({ minLength: n, maxLength: n })));
  const endpoint: fc.Arbitrary<Endpoint> = fc.oneof(
    fc.record({
      kind: fc.constant('address' as const),
      address: bytes.map(ipFromBytes),
      zone: fc.constant(null),
      port: fc.integer({ min: 1, max: 65_535 }),
    }),
    fc.record({
      kind: fc.constant('name' as const),
      name: fc.domain(),
      port: fc.integer({ min: 1, max: 65_535 }),
    }),
  );
  fc.assert(
    fc.property(endpoint, (value) => {
      expect(parseEndpoint(renderEndpoint(value))).toEqual({ ok: true, value });
    }),
  );
});

test('no text makes it throw', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void parseEndpoint(text)));
});
