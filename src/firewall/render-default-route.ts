// The rules beside a default route through a tunnel, as text for nft and for iptables-restore. Two things routing alone
// leaves open: a packet for our overlay address that comes in on another interface (CVE-2019-14899) is dropped, and
// answers to our own marked UDP carry the mark again, so that reverse path filtering looks at the right table.
//
// Tables, chains and comments are named as wg-quick(8) names its own: either program finds what the other made.

import { type IpAddress, renderIp } from '../address/ip.ts';

export interface DefaultRouteGuard {
  /** The tunnel. */
  readonly interface: string;
  readonly version: 4 | 6;
  /** Our own addresses in the tunnel, of this version. */
  readonly addresses: readonly IpAddress[];
  /** What the tunnel's own datagrams are marked with. */
  readonly mark: number;
}

/** The name of the nft table, in family `ip` or `ip6`. */
export function guardTable(interfaceName: string): string {
  return `wg-quick-${interfaceName}`;
}

/** What stands in the comment of each rule of iptables. */
export function guardComment(interfaceName: string): string {
  return `wg-quick(8) rule for ${interfaceName}`;
}

/** For `nft -f -`: one transaction. */
export function renderNftGuard(guard: DefaultRouteGuard): string {
  const family = guard.version === 4 ? 'ip' : 'ip6';
  const drops = guard.addresses.map(
    (address) =>
      `    iifname != "${guard.interface}" ${family} daddr ${renderIp(address)} fib saddr type != local drop`,
  );
  return `table ${family} ${guardTable(guard.interface)} {
  chain preraw {
    type filter hook prerouting priority -300;
${drops.join('\n')}
  }
  chain premangle {
    type filter hook prerouting priority -150;
    meta l4proto udp meta mark set ct mark
  }
  chain postmangle {
    type filter hook postrouting priority -150;
    meta l4proto udp mark ${guard.mark} ct mark set mark
  }
}
`;
}

/** For `iptables-restore --noflush` or its sibling of IPv6: rules before all others. */
export function renderIptablesGuard(guard: DefaultRouteGuard): string {
  const comment = `-m comment --comment "${guardComment(guard.interface)}"`;
  const drops = guard.addresses.map(
    (address) =>
      `-I PREROUTING ! -i ${guard.interface} -d ${renderIp(address)} -m addrtype ! --src-type LOCAL ${comment} -j DROP`,
  );
  return `*raw
${drops.join('\n')}
COMMIT
*mangle
-I POSTROUTING -p udp -m mark --mark ${guard.mark} ${comment} -j CONNMARK --save-mark
-I PREROUTING -p udp ${comment} -j CONNMARK --restore-mark
COMMIT
`;
}

/** What `iptables-save` printed → the text that removes the guard's rules from it; null where there are none. */
export function renderIptablesRemoval(saved: string, interfaceName: string): string | null {
  const comment = `--comment "${guardComment(interfaceName)}"`;
  const lines = saved
    .split('\n')
    .filter(
      (line) =>
        line.startsWith('*') || line === 'COMMIT' || (line.startsWith('-A ') && line.includes(comment)),
    )
    .map((line) => line.replace(/^-A /, '-D '));
  return lines.some((line) => line.startsWith('-D ')) ? `${lines.join('\n')}\n` : null;
}
