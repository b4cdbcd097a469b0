// Which addresses a new node gets: the lowest of each network that nobody has or is promised.

import { expect, test } from 'vitest';
import { parseIp } from '../../../src/address/ip.ts';
import { parseInterface, parsePrefix, renderInterface } from '../../../src/address/prefix.ts';
import type { NodeConfig } from '../../../src/config/schema.ts';
import { freeAddresses } from '../../../src/join/addresses.ts';
import { parsed } from '../address/parsed.ts';

interface Case {
  readonly own: readonly string[];
  readonly peers?: readonly string[];
  readonly routes?: readonly string[];
  readonly promised?: readonly string[];
}

function free({ own, peers = [], routes = [], promised = [] }: Case): string[] {
  const config = {
    interface: { addresses: own.map((text) => parsed(parseInterface, text)) },
    peers: [
      {
        addresses: peers.map((text) => parsed(parseIp, text)),
        routes: routes.map((text) => parsed(parsePrefix, text)),
      },
    ],
  } as unknown as NodeConfig;
  return freeAddresses(
    config,
    promised.map((text) => parsed(parseIp, text)),
  ).map(renderInterface);
}

test.each<Case & { name: string; want: readonly string[] }>([
  { name: 'the first', own: ['10.9.0.1/24', 'fd09::1/64'], want: ['10.9.0.2/24', 'fd09::2/64'] },
  { name: 'below our own', own: ['10.9.0.7/24'], want: ['10.9.0.1/24'] },
  { name: 'a gap', own: ['10.9.0.1/24'], peers: ['10.9.0.2', '10.9.0.4'], want: ['10.9.0.3/24'] },
  { name: 'not what is promised', own: ['10.9.0.1/24'], promised: ['10.9.0.2'], want: ['10.9.0.3/24'] },
  {
    name: 'not what lies behind a peer',
    own: ['10.9.0.1/24'],
    routes: ['10.9.0.0/28'],
    want: ['10.9.0.16/24'],
  },
  {
    name: 'the whole network behind a hub',
    own: ['10.9.0.1/24'],
    routes: ['10.9.0.0/24'],
    want: ['10.9.0.2/24'],
  },
  { name: 'two addresses in one network', own: ['10.9.0.1/24', '10.9.0.2/24'], want: ['10.9.0.3/24'] },
  { name: 'a large part of IPv6', own: ['fd09::1/64'], routes: ['fd09::/65'], want: ['fd09::8000:0:0:0/64'] },
  { name: 'the last before the broadcast address', own: ['10.9.0.1/30'], want: ['10.9.0.2/30'] },
  { name: 'a network of two', own: ['10.9.0.0/31'], want: ['10.9.0.1/31'] },
])('$name', ({ want, ...given }) => expect(free(given)).toEqual(want));

test.each<Case & { name: string }>([
  { name: 'a full network', own: ['10.9.0.1/30'], peers: ['10.9.0.2'] },
  { name: 'a network of one', own: ['10.9.0.1/32'] },
  { name: 'all of it behind peers', own: ['10.9.0.1/24'], routes: ['10.9.0.0/25', '10.9.0.128/25'] },
])('$name has none', (given) => {
  expect(() => free(given)).toThrow(expect.objectContaining({ code: 'ERR_JOIN_ADDRESSES' }));
});
