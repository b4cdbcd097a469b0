// One wrong value at a time: where it is found, and what is said of it.

import { afterAll, describe, expect, test } from 'vitest';
import { ConfigFolder, INTERFACE, KEYS, PEER } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

describe('values that are wrong, in metrics', () => {
  const listen = 'is not an address and a port, as in 127.0.0.1:9586, or a path with a slash';
  test.each([
    ['{listen: 9586}', `5:19: metrics.listen: 9586 ${listen} (ERR_CONFIG_TYPE)`],
    [
      '{listen: 0.0.0.0:9586}',
      `5:19: metrics.listen: "0.0.0.0:9586" ${listen}: that is every address of this host, also those that strangers reach (ERR_CONFIG_LISTEN)`,
    ],
    [
      '{listen: "[::]:9586"}',
      `5:19: metrics.listen: "[::]:9586" ${listen}: that is every address of this host, also those that strangers reach (ERR_CONFIG_LISTEN)`,
    ],
    [
      '{listen: localhost:9586}',
      `5:19: metrics.listen: "localhost:9586" ${listen}: a name may mean another address tomorrow, so the address itself is needed (ERR_CONFIG_LISTEN)`,
    ],
    [
      `{listen: ${'/a.b'.repeat(27)}}`,
      `5:19: metrics.listen: "${'/a.b'.repeat(15)}…" ${listen}: the path of a socket has at most 107 bytes (ERR_CONFIG_LISTEN)`,
    ],
    [
      '{listen: 127.0.0.1:9586, hosts: [a b]}',
      '5:43: metrics.hosts[0]: "a b" is not the name of a host: a host name has labels of 1 to 63 letters, digits and hyphens (other alphabets in their xn-- form) (ERR_CONFIG_LISTEN)',
    ],
    [
      '{}',
      '5:1: metrics.listen: this key is missing; it takes an address and a port, as in 127.0.0.1:9586, or a path with a slash (ERR_CONFIG_MISSING_KEY)',
    ],
    ['', '5:10: metrics: the section is empty; it has the keys listen, hosts (ERR_CONFIG_TYPE)'],
  ])('%s', (section, problem) => {
    expect(folder.problems(`${INTERFACE}metrics: ${section}\n`)).toEqual([problem]);
  });
});

describe('values that are wrong, in the interface', () => {
  const name = 'is not an interface name: 1 to 15 letters, digits or any of _ = + . -';
  const port = 'is not a port from 0 to 65535';
  const mtu = 'is not auto, or a number from 576 to 65455';
  const own = 'is not an address and its prefix length, as in 10.9.0.1/24';
  /** What replaces a line of INTERFACE, or comes after it. */
  const rows: readonly [line: string, problem: string][] = [
    ['name: wireguard-0123456', `2:9: interface.name: "wireguard-0123456" ${name} (ERR_CONFIG_NAME)`],
    ['name: ..', `2:9: interface.name: ".." ${name} (ERR_CONFIG_NAME)`],
    ['name: a/b', `2:9: interface.name: "a/b" ${name} (ERR_CONFIG_NAME)`],
    ['name: "rf0\\e[31m"', `2:9: interface.name: "rf0\\u{1b}[31m" ${name} (ERR_CONFIG_NAME)`],
    ['name: 7', `2:9: interface.name: 7 ${name} (ERR_CONFIG_TYPE)`],
    ['name: [rf0]', `2:9: interface.name: a list ${name} (ERR_CONFIG_TYPE)`],
    ['name: {a: b}', `2:9: interface.name: a map ${name} (ERR_CONFIG_TYPE)`],
    [
      'name:',
      '2:8: interface.name: there is no value; it takes an interface name: 1 to 15 letters, digits or any of _ = + . - (ERR_CONFIG_TYPE)',
    ],
    ['listen_port: 65536', `5:16: interface.listen_port: 65536 ${port} (ERR_CONFIG_PORT)`],
    ['listen_port: -1', `5:16: interface.listen_port: -1 ${port} (ERR_CONFIG_PORT)`],
    ['listen_port: 1.5', `5:16: interface.listen_port: 1.5 ${port} (ERR_CONFIG_TYPE)`],
    ['listen_port: .inf', `5:16: interface.listen_port: Infinity ${port} (ERR_CONFIG_TYPE)`],
    ['listen_port: "51820"', `5:16: interface.listen_port: "51820" ${port} (ERR_CONFIG_TYPE)`],
    ['listen_port: yes', `5:16: interface.listen_port: "yes" ${port} (ERR_CONFIG_TYPE)`],
    [
      'offloads: {udp_gso: off}',
      '5:23: interface.offloads.udp_gso: "off" is not true or false (ERR_CONFIG_TYPE)',
    ],
    [
      'offloads: {udp-gso: true}',
      '5:14: interface.offloads.udp-gso: unknown key; did you mean udp_gso? (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'offloads: none',
      '5:13: interface.offloads: "none" is not a section with the keys udp_gso, udp_gro, tun_tcp, tun_udp (ERR_CONFIG_TYPE)',
    ],
    [
      'table: main',
      '5:10: interface.table: "main" is not auto, off, or a number from 1 to 4294967294 (ERR_CONFIG_ROUTE)',
    ],
    [
      'table: 0',
      '5:10: interface.table: 0 is not auto, off, or a number from 1 to 4294967294 (ERR_CONFIG_ROUTE)',
    ],
    ['mtu: 575', `5:8: interface.mtu: 575 ${mtu} (ERR_CONFIG_MTU)`],
    ['mtu: 65456', `5:8: interface.mtu: 65456 ${mtu} (ERR_CONFIG_MTU)`],
    ['mtu: Auto', `5:8: interface.mtu: "Auto" ${mtu} (ERR_CONFIG_MTU)`],
    [
      'addresses: 10.9.0.1/24',
      '4:14: interface.addresses: "10.9.0.1/24" is not a list, as in [10.9.0.1/24] (ERR_CONFIG_TYPE)',
    ],
    [
      'addresses: []',
      '4:14: interface.addresses: an empty list is not a list, as in [10.9.0.1/24] (ERR_CONFIG_TYPE)',
    ],
    [
      'addresses: [10.9.0.1/33]',
      `4:15: interface.addresses[0]: "10.9.0.1/33" ${own}: the prefix length 33 is greater than 32 (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: [10.9.0.1/24, fd09::x/64]',
      `4:28: interface.addresses[1]: "fd09::x/64" ${own}: each group is one to four hexadecimal digits (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: [10.9.0.0/24]',
      `4:15: interface.addresses[0]: "10.9.0.0/24" ${own}: this is the network itself, the address of the node in it is missing (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: [127.0.0.1/8]',
      `4:15: interface.addresses[0]: "127.0.0.1/8" ${own}: it is a loopback address (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: ["::1/128"]',
      `4:15: interface.addresses[0]: "::1/128" ${own}: it is a loopback address (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: [224.0.0.1/24]',
      `4:15: interface.addresses[0]: "224.0.0.1/24" ${own}: it is a multicast address (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: ["ff02::1/64"]',
      `4:15: interface.addresses[0]: "ff02::1/64" ${own}: it is a multicast address (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: [255.255.255.255/32]',
      `4:15: interface.addresses[0]: "255.255.255.255/32" ${own}: it is the broadcast address (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: ["::/128"]',
      `4:15: interface.addresses[0]: "::/128" ${own}: it stands for no address (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: [10.9.0.1/0]',
      `4:15: interface.addresses[0]: "10.9.0.1/0" ${own}: a prefix length of 0 would be the whole internet (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: [10.9.0.1/24, 10.9.0.1/16]',
      '4:28: interface.addresses[1]: 10.9.0.1 is taken: this node has it in line 4 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'private_key_file: ""',
      '3:21: interface.private_key_file: "" is not the name of a file: a name has visible characters (ERR_CONFIG_KEY_FILE)',
    ],
    [
      'private_key_file: "a\\0b"',
      '3:21: interface.private_key_file: "a\\u{0}b" is not the name of a file: a name has visible characters (ERR_CONFIG_KEY_FILE)',
    ],
    [
      'lisen_port: 1',
      '5:3: interface.lisen_port: unknown key; did you mean listen_port? (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'ListenPort: 1',
      '5:3: interface.ListenPort: unknown key; did you mean listen_port? (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'private_key: x',
      '5:3: interface.private_key: unknown key; did you mean private_key_file? (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'profile: std',
      '5:3: interface.profile: unknown key; known here: name, private_key_file, addresses, listen_port, mtu, table, offloads (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'constructor: 1',
      '5:3: interface.constructor: unknown key; known here: name, private_key_file, addresses, listen_port, mtu, table, offloads (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      '__proto__: {x: 1}',
      '5:3: interface.__proto__: unknown key; known here: name, private_key_file, addresses, listen_port, mtu, table, offloads (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      '"": 1',
      '5:3: interface[""]: unknown key; known here: name, private_key_file, addresses, listen_port, mtu, table, offloads (ERR_CONFIG_UNKNOWN_KEY)',
    ],
  ];
  test.each(rows)('%s', (line, problem) => {
    const key = line.slice(0, line.indexOf(':'));
    const lines = INTERFACE.trimEnd().split('\n');
    const index = lines.findIndex((text) => text.trim().startsWith(`${key}:`));
    lines.splice(index === -1 ? lines.length : index, index === -1 ? 0 : 1, `  ${line}`);
    expect(folder.problems(`${lines.join('\n')}\n`)).toEqual([problem]);
  });
});

describe('values that are wrong, in a peer', () => {
  const address = 'is not an address, as in 10.9.0.2';
  const network = 'is not a network, as in 192.168.7.0/24';
  const keepalive = 'is not a number of seconds from 1 to 65535, or off';
  const rows: readonly [line: string, problem: string][] = [
    [
      'addresses: [10.9.0.2/24]',
      `8:17: peers.alice.addresses[0]: "10.9.0.2/24" ${address}: it is a network, which would belong under routes (ERR_CONFIG_ADDRESS)`,
    ],
    [
      'addresses: [10.9.2]',
      `8:17: peers.alice.addresses[0]: "10.9.2" ${address}: an IPv4 address is four numbers, an IPv6 address has colons (ERR_CONFIG_ADDRESS)`,
    ],
    ['addresses: [10.9]', `8:17: peers.alice.addresses[0]: 10.9 ${address} (ERR_CONFIG_TYPE)`],
    ['addresses: [fd09::]', `8:17: peers.alice.addresses[0]: a map ${address} (ERR_CONFIG_TYPE)`],
    ['addresses: [[10.9.0.2]]', `8:17: peers.alice.addresses[0]: a list ${address} (ERR_CONFIG_TYPE)`],
    [
      'addresses: [10.9.0.1]',
      '8:17: peers.alice.addresses[0]: 10.9.0.1 is taken: this node has it in line 4 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'addresses: [10.9.0.2, "::ffff:10.9.0.2"]',
      '8:27: peers.alice.addresses[1]: 10.9.0.2 is taken: peer alice has it in line 8 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'routes: [192.168.7.1/24]',
      `8:14: peers.alice.routes[0]: "192.168.7.1/24" ${network}: bits are set beyond the prefix length; its network is 192.168.7.0/24 (ERR_CONFIG_ROUTE)`,
    ],
    [
      'routes: [192.168.7.0/240]',
      `8:14: peers.alice.routes[0]: "192.168.7.0/240" ${network}: the prefix length 240 is greater than 32 (ERR_CONFIG_ROUTE)`,
    ],
    [
      'routes: [10.9.0.1/32]',
      '8:14: peers.alice.routes[0]: 10.9.0.1 is taken: this node has it in line 4 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'endpoints: [vpn.example.org]',
      '8:17: peers.alice.endpoints[0]: "vpn.example.org" is not an endpoint: the port is missing, as in vpn.example.org:51820 (ERR_CONFIG_ENDPOINT)',
    ],
    ['metric: -1', '8:13: peers.alice.metric: -1 is not a number from 0 to 4294967295 (ERR_CONFIG_ROUTE)'],
    ['keepalive: 65536', `8:16: peers.alice.keepalive: 65536 ${keepalive} (ERR_CONFIG_KEEPALIVE)`],
    ['keepalive: soon', `8:16: peers.alice.keepalive: "soon" ${keepalive} (ERR_CONFIG_KEEPALIVE)`],
    ['keepalive: true', `8:16: peers.alice.keepalive: true ${keepalive} (ERR_CONFIG_KEEPALIVE)`],
    [
      'preshared_key_file: none.psk',
      '8:25: peers.alice.preshared_key_file: key file "none.psk": there is no such file (ERR_CONFIG_KEY_FILE)',
    ],
    [
      'AllowedIPs: 10.9.0.2',
      '8:5: peers.alice.AllowedIPs: unknown key; known here: public_key, preshared_key_file, addresses, routes, metric, endpoints, keepalive, profile, allow, deny, reachable_from, route_via (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'endpoint: a:1',
      '8:5: peers.alice.endpoint: unknown key; did you mean endpoints? (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'colour: []',
      '8:5: peers.alice.colour: unknown key; known here: public_key, preshared_key_file, addresses, routes, metric, endpoints, keepalive, profile, allow, deny, reachable_from, route_via (ERR_CONFIG_UNKNOWN_KEY)',
    ],
  ];
  test.each(rows)('%s', (line, problem) => {
    // Line 9, so that no row is also told that the peer can be reached by nothing.
    const reachable = line.startsWith('routes') ? 'addresses: [10.9.0.200]' : 'routes: [10.200.0.0/24]';
    expect(folder.problems(`${PEER}    ${line}\n    ${reachable}\n`)).toEqual([problem]);
  });

  test.each([
    [
      'one character less',
      `${KEYS[0]?.slice(0, 42)}=`,
      'this is not a public key: it has 44 characters of base64, the last a "=" (here: 43)',
    ],
    [
      'bits beyond the last byte',
      `${KEYS[0]?.slice(0, 42)}F=`,
      'this is not a public key: it has 44 characters of base64, the last a "=" (here: 44)',
    ],
    ['a name', 'alice', 'this is not a public key: it has 44 characters of base64, the last a "=" (here: 5)'],
    [
      'text after the key',
      `"${KEYS[0]} "`,
      'this is not a public key: it has 44 characters of base64, the last a "=" (here: 45)',
    ],
    [
      'letters that are none of latin1',
      `"${'Ł'.repeat(43)}="`,
      'this is not a public key: it has 44 characters of base64, the last a "=" (here: 44)',
    ],
    ['all zeros', `${'A'.repeat(43)}=`, 'all zeros is not the public key of anybody'],
  ])('a public key: %s', (_, key, message) => {
    const text = PEER.replace(KEYS[0] ?? '', key);
    expect(folder.problems(`${text}    addresses: [10.9.0.2]\n`)).toEqual([
      `7:17: peers.alice.public_key: ${message} (ERR_CONFIG_KEY)`,
    ]);
  });

  test('a name that is none', () => {
    const peer = `    public_key: ${KEYS[0]}\n    addresses: [10.9.0.2]\n`;
    expect(folder.problems(`${INTERFACE}peers:\n  "bo b":\n${peer}`)).toEqual([
      '6:3: peers["bo b"]: "bo b" is not a name for a peer: up to 63 letters, digits or any of _ . -, beginning with a letter or digit (ERR_CONFIG_NAME)',
    ]);
  });
});
