// Rules of others that drop this and that of what a host is to let pass, in the shapes of the programs that make them, and the
// policy that asks for it. Each meets one path, and none drops everything, which reading would find.

import { at, type HostPath, LAN } from './overlay-host.ts';

export const NOBODY = 65_534;
/** A user namespace of one user knows no other. */
export const USERS = process.env['RINGFENCE_TEST_ROOTLESS'] === '1' ? [0] : [0, NOBODY];
export const API = 'inbound api tcp/13669 from overlay';
export const WEB = 'inbound web tcp/13670 from any';
export const DNS = 'inbound dns udp/5353 from any';
export const LATE = 'inbound late tcp/13671 from lan';
export const OLD = 'inbound old tcp/13672-13680 from any';
export const SITE = 'inbound near tcp/13681 from 203.0.113.0/24, 2001:db8:9::/64';

export const FIREWALL = {
  host: {
    inbound: [
      { name: 'api', proto: 'tcp', port: 13669, from: ['overlay'] },
      { name: 'web', proto: 'tcp', port: 13670, from: ['any'] },
      { name: 'dns', proto: 'udp', port: 5353, from: ['any'] },
      { name: 'late', proto: 'tcp', port: 13671, from: ['lan'] },
      { name: 'old', proto: 'tcp', port: '13672-13680', from: ['any'] },
      { name: 'near', proto: 'tcp', port: 13681, from: ['203.0.113.0/24', '2001:db8:9::/64'] },
    ],
  },
  nat: {
    masquerade: [{ from: 'overlay', out: 'non-overlay' }],
    publish: ([4, 6] as const).map((version) => ({
      owner: `svc/web${version}`,
      listen: 'any',
      proto: 'tcp',
      ports: { 80: 8080 },
      to: at(LAN, 5, version),
      hairpin: true,
    })),
  },
  process: [{ only: { uid: USERS }, to: ['203.0.113.9:4222', '[2001:db8:9::9]:4222'] }],
};

/** In one version only. */
export function foreign(version: 4 | 6): string {
  const only = `meta nfproto ipv${version}`;
  return `
table inet admin {
  set closed { type inet_service; elements = { 5353 }; }
  chain input { type filter hook input priority filter; ${only} iifname "wan" tcp dport 13670 tcp flags syn drop; }
  chain sets { type filter hook input priority -2; ${only} udp dport @closed reject; }
  chain through { type filter hook forward priority 20; ${only} ct status dnat tcp dport 8080 drop; }
  chain out { type filter hook output priority 5; ${only} meta skuid ${NOBODY} tcp dport 4222 drop; }
}
table inet firewalld {
  chain filter_INPUT { type filter hook input priority filter + 10; ${only} iifname "lan" jump services; }
  chain services { tcp dport 13671 reject with icmpx admin-prohibited; }
}
`;
}

/** UFW's chains with a port denied, and what Docker from 28 on has before a container. */
export function iptables(version: 4 | 6): string {
  return `*filter
:ufw-before-input - [0:0]
-A INPUT -j ufw-before-input
-A ufw-before-input -p tcp --dport 13681 -j DROP
COMMIT
*raw
-A PREROUTING -d ${at(LAN, 5, version)} ! -i br-0 -j DROP
COMMIT
`;
}

export const LEGACY =
  '*filter\n-A INPUT -i rf0 -p tcp --dport 13680 -j REJECT --reject-with tcp-reset\nCOMMIT\n';

/** What each path was found to be: `yes`, or `no: CHAIN`. */
export function byPath(paths: readonly HostPath[]): Record<string, string> {
  return Object.fromEntries(
    paths.map(({ name, effective, by }) => [name, by === null ? effective : `${effective}: ${by}`]),
  );
}
