// What the rules depend on beside the policy: the node's interface and networks, the host's own. Plain data; `HostFirewall`
// is given them, and `detect.ts` reads the rest from the host.

import type { IpAddress } from '../address/ip.ts';
import { comparePrefixes, contains, type IpPrefix } from '../address/prefix.ts';
import type { Compilation } from '../policy/compile.ts';
import type { Cgroups } from './cgroups.ts';

export interface HostFacts {
  /** The tunnel. It need not be there yet. */
  readonly interface: string;
  readonly listenPort: number;
  /** The networks of the overlay, and addresses of peers beyond them: what must never be seen in the clear. */
  readonly overlay: readonly IpPrefix[];
  /** This node's own addresses in the overlay. */
  readonly ownAddresses: readonly IpAddress[];
  /** The overlay addresses of each peer. */
  readonly peers: ReadonlyMap<string, readonly IpAddress[]>;
  /** The subnets of each site. */
  readonly sites: ReadonlyMap<string, readonly IpPrefix[]>;
  /** The addresses of all interfaces but the tunnel: what iptables cannot always ask the kernel for. */
  readonly local: readonly IpAddress[];
  /** The networks that the host's other interfaces are in. */
  readonly connected: readonly Connected[];
  /** What the names of `process` rows resolve to. */
  readonly resolved: ReadonlyMap<string, readonly IpAddress[]>;
  /** The cgroups of `process` rows that there are. */
  readonly cgroups: Cgroups;
  /** The policy of the peers, where the host's rules are to enforce it a second time; else null. */
  readonly mirrored: Compilation | null;
}

export interface Connected {
  readonly interface: string;
  readonly prefix: IpPrefix;
}

export const VERSIONS = [4, 6] as const;
export type Version = (typeof VERSIONS)[number];

/** RFC 1918, 6598 and 3927; 4193 and 4291 §2.5.6: the addresses of a LAN. */
export const PRIVATE_NETWORKS: Readonly<Record<Version, string>> = {
  4: '10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16',
  6: 'fc00::/7, fe80::/10',
};

/** What {@link reducePrefixes} made of lists, of which several parts of the rules are made. */
const REDUCED: Readonly<Record<Version, WeakMap<readonly IpPrefix[], readonly IpPrefix[]>>> = {
  4: new WeakMap(),
  6: new WeakMap(),
};

/** Those of one version, sorted, without those that lie in another: an nft set takes no overlaps. */
export function reducePrefixes(prefixes: readonly IpPrefix[], version: Version): readonly IpPrefix[] {
  const known = REDUCED[version].get(prefixes);
  if (known !== undefined) return known;
  const reduced: IpPrefix[] = [];
  for (const prefix of prefixes
    .filter(({ address }) => address.version === version)
    .toSorted(comparePrefixes)) {
    const before = reduced.at(-1);
    if (before === undefined || !contains(before, prefix.address)) reduced.push(prefix);
  }
  REDUCED[version].set(prefixes, reduced);
  return reduced;
}
