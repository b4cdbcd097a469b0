// What "the internet" is not: networks that no stranger has an address in, and whatever the policy knows as its own.

import { hostPrefix, type IpPrefix, isExitRoute, networkOf } from '../address/prefix.ts';
import type { Policy } from './model.ts';

/** A prefix by the bytes it begins with; the rest of its address is zero. */
function prefix(version: 4 | 6, length: number, ...first: readonly number[]): IpPrefix {
  const bytes = new Uint8Array(version === 4 ? 4 : 16);
  bytes.set(first);
  return { address: { version, bytes }, length };
}

/**
 * The special-purpose address registries of IANA (RFC 6890): private, shared, loopback, link-local, documentation,
 * benchmarking, multicast and reserved. Of IPv6 only 2000::/3 is given out; what is left out of it here embeds an IPv4
 * address that may be private (6to4, Teredo), or is documentation. NAT64 (64:ff9b::/96) lies outside 2000::/3.
 */
export const SPECIAL_NETWORKS: readonly IpPrefix[] = [
  prefix(4, 8, 0),
  prefix(4, 8, 10),
  prefix(4, 10, 100, 64),
  prefix(4, 8, 127),
  prefix(4, 16, 169, 254),
  prefix(4, 12, 172, 16),
  prefix(4, 24, 192, 0, 0),
  prefix(4, 24, 192, 0, 2),
  prefix(4, 24, 192, 88, 99),
  prefix(4, 16, 192, 168),
  prefix(4, 15, 198, 18),
  prefix(4, 24, 198, 51, 100),
  prefix(4, 24, 203, 0, 113),
  prefix(4, 3, 224),
  prefix(6, 3, 0),
  prefix(6, 2, 0x40),
  prefix(6, 1, 0x80),
  prefix(6, 23, 0x20, 0x01),
  prefix(6, 32, 0x20, 0x01, 0x0d, 0xb8),
  prefix(6, 16, 0x20, 0x02),
  prefix(6, 20, 0x3f, 0xff),
];

/** Destinations that are not the internet for this policy. This host's own addresses, which it does not know, are none either. */
export function notInternet(policy: Policy): IpPrefix[] {
  return [
    ...SPECIAL_NETWORKS,
    ...policy.addresses.map(networkOf),
    ...policy.peers.flatMap(({ addresses, routes }) => [
      ...addresses.map(hostPrefix),
      ...routes.filter((route) => !isExitRoute(route)),
    ]),
    ...policy.services.flatMap(({ addresses }) => addresses.map(hostPrefix)),
  ];
}
