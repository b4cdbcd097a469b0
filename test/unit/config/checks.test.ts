// What only the whole file shows: two that claim the same.

import { afterAll, describe, expect, test } from 'vitest';
import { ConfigFolder, INTERFACE, KEYS, PEER } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

describe('peers that claim the same', () => {
  const pair = (alice: string, bob: string, bobKey = KEYS[1]): string =>
    `${PEER}    ${alice}\n  bob:\n    public_key: ${bobKey}\n    ${bob}\n`;
  test.each([
    [
      'one address',
      'addresses: [10.9.0.2]',
      'addresses: [10.9.0.3, 10.9.0.2]',
      '11:27: peers.bob.addresses[1]: 10.9.0.2 is taken: peer alice has it in line 8 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'one IPv6 address in two spellings',
      'addresses: ["fd09::2"]',
      'addresses: ["FD09:0::2"]',
      '11:17: peers.bob.addresses[0]: fd09::2 is taken: peer alice has it in line 8 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'one network',
      'routes: [192.168.7.0/24]',
      'routes: [192.168.7.0/24]',
      '11:14: peers.bob.routes[0]: 192.168.7.0/24 is taken: peer alice has it in line 8 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'an address as a network',
      'addresses: [10.9.0.2]',
      'routes: [10.9.0.2/32]',
      '11:14: peers.bob.routes[0]: 10.9.0.2 is taken: peer alice has it in line 8 (ERR_CONFIG_OVERLAP)',
    ],
  ])('%s', (_, alice, bob, problem) => expect(folder.problems(pair(alice, bob))).toEqual([problem]));

  test('one public key', () => {
    expect(folder.problems(pair('addresses: [10.9.0.2]', 'addresses: [10.9.0.3]', KEYS[0]))).toEqual([
      '10:17: peers.bob.public_key: this is also the public key of peer alice, in line 7 (ERR_CONFIG_KEY)',
    ]);
  });

  test('a network inside that of another peer is fine: the longest prefix wins', () => {
    expect(() => folder.load(pair('routes: [10.0.0.0/8]', 'routes: [10.1.0.0/16]'))).not.toThrow();
  });
});

test('a public key that is our own', () => {
  const text = PEER.replace(KEYS[0] ?? '', folder.publicKey);
  expect(folder.problems(`${text}    addresses: [10.9.0.2]\n`)).toEqual([
    '7:17: peers.alice.public_key: this is the public key of this node itself (ERR_CONFIG_KEY)',
  ]);
});

test('a peer that nothing could reach', () => {
  expect(folder.problems(PEER)).toEqual([
    '6:3: peers.alice: the peer has neither addresses nor routes, so nothing could ever reach it (ERR_CONFIG_MISSING_KEY)',
  ]);
});

test('IPv6 does not fit into an MTU below 1280', () => {
  const text = INTERFACE.replace('10.9.0.1/24', '10.9.0.1/24, "fd09::1/64"');
  expect(folder.problems(`${text}  mtu: 1279\n`)).toEqual([
    '5:8: interface.mtu: 1279 is too small for the IPv6 address in line 4: IPv6 needs 1280 (ERR_CONFIG_MTU)',
  ]);
  expect(() => folder.load(`${text}  mtu: 1280\n`)).not.toThrow();
});
