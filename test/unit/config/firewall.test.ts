// The section `firewall`: what a good one becomes, and what is said of a wrong one, in the file where it stands.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ConfigFolder, INTERFACE, KEYS } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

/** Lines 5 to 12; the keys of alice follow in line 13 when `alice` has some. */
const peers = (alice = ''): string => `${INTERFACE}peers:
  cellb:
    public_key: ${KEYS[0]}
    routes: [10.5.0.0/16]
  bob: {public_key: ${KEYS[1]}, addresses: [10.9.0.3]}
  alice:
    public_key: ${KEYS[2]}
    addresses: [10.9.0.2, "fd09::2"]
${alice}`;

const GOOD = `${peers('    profile: std\n    allow: [{to: bob, ports: [tcp/22, icmp]}]\n')}firewall:
  version: 1
  services:
    files: {addr: 10.9.0.22, ports: [tcp/443]}
  profiles:
    std: {internet: true, services: [files], rate: {up: 20mbit}, quota: 1.5GB/week}
  networks:
    app1: {isolation: strict, members: [alice, bob]}
  sites:
    cellb: {subnets: [10.5.0.0/24], inbound: [files], outbound: [{to: 10.5.0.7}]}
`;

test('a good section is the policy', () => {
  const { firewall } = folder.load(GOOD);
  expect(firewall?.network).toBeNull();
  expect(firewall?.policy).toMatchObject({
    action: 'drop',
    services: [{ id: 'files', name: 'firewall.services.files', place: { line: 18, column: 5 } }],
    profiles: [
      {
        id: 'std',
        internet: { name: 'firewall.profiles.std.internet' },
        services: [{ service: 'files' }],
        peers: 'network',
        rate: { up: 2_500_000, down: null },
        quota: {
          name: 'firewall.profiles.std.quota',
          place: { line: 20, column: 73 },
          bytes: 1.5e9,
          period: 'week',
          over: 'deny',
        },
      },
    ],
    networks: [{ id: 'app1', isStrict: true, members: ['alice', 'bob'] }],
    sites: [{ peer: 'cellb', outbound: [{ traffic: [] }], providesExit: null, consumesExit: false }],
  });
  expect(firewall?.policy.peers.find(({ name }) => name === 'alice')).toMatchObject({
    profile: 'std',
    allow: [
      {
        name: 'peers.alice.allow[0]',
        place: { file: folder.file, line: 14, column: 13 },
        to: { kind: 'peer', name: 'bob' },
        traffic: [
          { protocol: 6, first: 22, last: 22 },
          { protocol: 1, first: 0, last: 65_535 },
          { protocol: 58, first: 0, last: 65_535 },
        ],
      },
    ],
  });
});

test('without the section there is no policy', () => {
  expect(folder.load(peers()).firewall).toBeNull();
});

test.each(['nft', 'iptables-legacy'])('%s mirrors the policy', (backend) => {
  const mirrored = GOOD.replace('version: 1', `version: 1\n  host: {backend: ${backend}, mirror: on}`);
  expect(folder.load(mirrored).firewall?.host).toMatchObject({ backend, mirrorsPolicy: true });
});

test.each([
  ['{}', '16:8: firewall.process[0].only: it does not say who may (ERR_CONFIG_MISSING_KEY)'],
  ['{cgroup: [a, /b/c.scope]}', null],
  [
    '{cgroup: [a/../b]}',
    '16:24: firewall.process[0].only.cgroup[0]: "a/../b" is not the path of a cgroup, as in system.slice/nats.service: each part has letters, digits or any of _ . : @ + = , ~ \\ - (ERR_CONFIG_NAME)',
  ],
  ['{cgroup: [/]}', expect.stringContaining('"/" is not the path of a cgroup')],
  ["{cgroup: ['a\"b']}", expect.stringContaining('is not the path of a cgroup')],
])('who may: %s', (only, problem) => {
  const rows = `  process:\n    - {only: ${only}, to: ["127.0.0.1:1"]}\n`;
  const file = `${peers()}firewall:\n  version: 1\n  network: home0\n${rows}`;
  if (problem === null) {
    expect(folder.load(file).firewall?.host?.process).toMatchObject([
      { users: null, cgroups: ['a', 'b/c.scope'] },
    ]);
  } else expect(folder.problems(file.replace('  network: home0\n', ''))).toEqual([problem]);
});

describe('what is wrong with a peer', () => {
  test.each([
    ['profile: guest', '13:14: peers.alice.profile: there is no profile "guest" (ERR_CONFIG_UNKNOWN_NAME)'],
    [
      'allow: [{to: carol}]',
      '13:18: peers.alice.allow[0].to: there is no service or peer "carol" (ERR_CONFIG_UNKNOWN_NAME)',
    ],
    [
      'allow: [{to: site:alice}]',
      '13:18: peers.alice.allow[0].to: there is no site "alice" (ERR_CONFIG_UNKNOWN_NAME)',
    ],
    [
      'allow: [{to: 10.5.0.1/24}]',
      '13:18: peers.alice.allow[0].to: "10.5.0.1/24" is not a network, an address, the name of a service or peer, site:NAME, self, internet or any: bits are set beyond the prefix length; its network is 10.5.0.0/24 (ERR_CONFIG_GRANT)',
    ],
    [
      'deny: [{to: any, ports: [tcp/70000]}]',
      '13:30: peers.alice.deny[0].ports[0]: "tcp/70000" is not a protocol, with ports or an ICMP type, as in tcp/443: a port is a number from 1 to 65535, a range as in tcp/8000-8010 (ERR_CONFIG_GRANT)',
    ],
    [
      'allow: [{port: tcp/443, to: any}]',
      '13:14: peers.alice.allow[0].port: unknown key; did you mean ports? (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'allow: [{ports: [tcp/443]}]',
      '13:13: peers.alice.allow[0].to: this key is missing; it takes a network, an address, the name of a service or peer, site:NAME, self, internet or any (ERR_CONFIG_MISSING_KEY)',
    ],
    ['route_via: bob', '13:16: peers.alice.route_via: there is no site "bob" (ERR_CONFIG_UNKNOWN_NAME)'],
    [
      'route_via: cellb',
      '13:16: peers.alice.route_via: site cellb gives no internet to our peers (ERR_CONFIG_GRANT)',
    ],
  ])('%s', (line, problem) => {
    const text = `${peers(`    ${line}\n`)}firewall: {version: 1, sites: {cellb: {subnets: [10.5.0.0/24]}}}\n`;
    expect(folder.problems(text)).toEqual([problem]);
  });

  test.each([
    [
      'an exit that has one itself',
      ['route_via: cellb', 'route_via: bob'],
      ['site cellb has no internet to give: its own peer uses that of site bob'],
    ],
    [
      'exits of each other',
      ['route_via: cellb', 'route_via: alice'],
      [
        'site cellb has no internet to give: its own peer uses that of site alice',
        'site alice has no internet to give: its own peer uses that of site cellb',
      ],
    ],
    [
      'two ways to the internet',
      ['route_via: cellb, routes: [0.0.0.0/0]', 'profile: p'],
      ['the peer is a way to the internet itself, by its route 0.0.0.0/0'],
    ],
    [
      'both halves of it',
      ['route_via: cellb, routes: [10.7.0.0/24, "2000::/3"]', 'profile: p'],
      ['the peer is a way to the internet itself, by its route 2000::/3'],
    ],
  ])('%s', (_, [alice, cellb], problems) => {
    const site = (network: string) => `{subnets: [${network}], exit_relay: {consume: true}}`;
    const text = `${INTERFACE}peers:
  alice: {${alice}, public_key: ${KEYS[0]}, addresses: [10.9.0.2]${alice?.includes('routes') ? '' : ', routes: [10.7.0.0/24]'}}
  bob: {public_key: ${KEYS[1]}, addresses: [10.9.0.3], routes: [10.6.0.0/24]}
  cellb: {${cellb}, public_key: ${KEYS[2]}, addresses: [10.9.0.5], routes: [10.5.0.0/24]}
firewall: {version: 1, profiles: {p: {}}, sites: {cellb: ${site('10.5.0.0/24')}, bob: ${site('10.6.0.0/24')}, alice: ${site(alice?.includes('0.0.0.0') ? '10.8.0.0/24' : '10.7.0.0/24')}}}
`;
    const places = ['6:22: peers.alice', '8:22: peers.cellb'];
    expect(folder.problems(text)).toEqual(
      problems.map((problem, i) => `${places[i]}.route_via: ${problem} (ERR_CONFIG_GRANT)`),
    );
  });

  test('rows without a section firewall', () => {
    expect(folder.problems(peers('    allow: [{to: any}]\n'))).toEqual([
      '13:12: peers.alice.allow: this means nothing without a section firewall, which the file does not have (ERR_CONFIG_MISSING_KEY)',
    ]);
  });
});

describe('what is wrong with the section', () => {
  test.each([
    [
      'services: {bob: {addr: 10.9.0.22, ports: [tcp/443]}}',
      '15:14: firewall.services.bob: a peer is called "bob" as well (ERR_CONFIG_NAME)',
    ],
    [
      'services: {self: {addr: 10.9.0.22, ports: [tcp/443]}}',
      '15:14: firewall.services.self: "self" has a meaning of its own in rows (ERR_CONFIG_NAME)',
    ],
    [
      'services: {a: {addr: 10.9.0.22, ports: [tcp/1-9]}, b: {addr: ["::ffff:10.9.0.22"], ports: [udp, tcp/9]}}',
      '15:54: firewall.services.b: 10.9.0.22 tcp/9 is taken: service a has it in FILE:15 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'services: {a: {addr: x, ports: [tcp/1]}}',
      '15:24: firewall.services.a.addr: "x" is not an address or a list of them, as in 10.9.0.22 (ERR_CONFIG_ADDRESS)',
    ],
    [
      'services: {a: {addr: 10.9.0.22}}',
      '15:14: firewall.services.a.ports: this key is missing; it takes a list, as in [tcp/443, udp/8000-8010, icmp/echo-request, gre] (ERR_CONFIG_MISSING_KEY)',
    ],
    [
      'profiles: {std: {services: [a]}}',
      '15:31: firewall.profiles.std.services[0]: there is no service "a" (ERR_CONFIG_UNKNOWN_NAME)',
    ],
    [
      'profiles: {std: {peers: some}}',
      '15:27: firewall.profiles.std.peers: "some" is not none, network or all (ERR_CONFIG_GRANT)',
    ],
    [
      'profiles: {std: {rate: {up: 20}}}',
      '15:31: firewall.profiles.std.rate.up: 20 is not a rate, as in 20mbit (ERR_CONFIG_TYPE)',
    ],
    [
      'profiles: {std: {rate: {up: 20mb}}}',
      '15:31: firewall.profiles.std.rate.up: "20mb" is not a rate, as in 20mbit: it is a number and one of bit, kbit, mbit, gbit (ERR_CONFIG_RATE)',
    ],
    [
      'profiles: {std: {rate: {up: 2000gbit}}}',
      '15:31: firewall.profiles.std.rate.up: "2000gbit" is not a rate, as in 20mbit: it is at most 1000gbit (ERR_CONFIG_RATE)',
    ],
    [
      'profiles: {std: {over_quota: 1mbit}}',
      '15:32: firewall.profiles.std.over_quota: there is no quota that could be used up (ERR_CONFIG_MISSING_KEY)',
    ],
    [
      'networks: {n: {members: [bob, eve, bob]}}',
      '15:33: firewall.networks.n.members[1]: there is no peer "eve" (ERR_CONFIG_UNKNOWN_NAME)',
      '15:38: firewall.networks.n.members[2]: "bob" is a member already (ERR_CONFIG_GRANT)',
    ],
    [
      'networks: {n: }',
      '15:17: firewall.networks.n: the section is empty; it has the keys isolation, members (ERR_CONFIG_TYPE)',
    ],
    [
      'sites: {bob: {subnets: [10.5.0.0/24]}}',
      '15:27: firewall.sites.bob.subnets[0]: 10.5.0.0/24 is not in the routes of peer bob (ERR_CONFIG_ROUTE)',
    ],
    [
      'sites: {cellb: {subnets: [10.5.0.0/24, 10.5.0.0/25]}}',
      '15:42: firewall.sites.cellb.subnets[1]: 10.5.0.0/25 overlaps 10.5.0.0/24 of site cellb in FILE:15 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'sites: {cellb: {subnets: [10.5.0.0/24], outbound: [{to: 10.5.1.1}]}}',
      '15:59: firewall.sites.cellb.outbound[0].to: 10.5.1.1/32 is not in the subnets of the site (ERR_CONFIG_GRANT)',
    ],
    [
      'sites: {cellb: {subnets: [10.5.0.0/24], outbound: all}}',
      '15:53: firewall.sites.cellb.outbound: "all" is not any, none, or a list of rows, as in [{to: 10.5.0.10, ports: [tcp/443]}] (ERR_CONFIG_GRANT)',
    ],
    [
      'dns: {domain: cell, upstream: [9.9.9.9, 10.9.0.1]}',
      '15:43: firewall.dns.upstream[1]: 10.9.0.1 is this node itself, which would ask itself (ERR_CONFIG_ADDRESS)',
    ],
    [
      'dns: {domain: cell, upstream: [dns.example]}',
      '15:34: firewall.dns.upstream[0]: "dns.example" is not an address, with a port where that is not 53: an IPv4 address is four numbers, an IPv6 address has colons (ERR_CONFIG_ADDRESS)',
    ],
    [
      'dns: {domain: "ce ll"}',
      '15:17: firewall.dns.domain: "ce ll" is not the name of a domain: a host name has labels of 1 to 63 letters, digits and hyphens (other alphabets in their xn-- form) (ERR_CONFIG_ENDPOINT)',
    ],
    [
      'dns: {domain: cell, corefile: C, reload: {signal: HUP, pid_file: p}}',
      '15:53: firewall.dns.reload.signal: "HUP" is not USR1, the one that CoreDNS reloads on (ERR_CONFIG_UNSUPPORTED)',
    ],
    [
      'dns: {domain: cell}\n  services: {a: {addr: 10.9.0.22, ports: [tcp/1], dns: BOB.cell}}',
      '16:56: firewall.services.a.dns: the name "bob.cell" is taken in FILE:9 (ERR_CONFIG_OVERLAP)',
    ],
    [
      'profiles: {std: {dns: {deny: ["*.a.*"]}}}',
      '15:33: firewall.profiles.std.dns.deny[0]: "*.a.*" is not a name, or a name after *., or *: a host name has labels of 1 to 63 letters, digits and hyphens (other alphabets in their xn-- form) (ERR_CONFIG_ENDPOINT)',
    ],
    ['profile: {}', '15:3: firewall.profile: unknown key; did you mean profiles? (ERR_CONFIG_UNKNOWN_KEY)'],
    [
      'network: Home',
      '15:12: firewall.network: "Home" is not up to 12 lower-case letters, digits and _, beginning with a letter (ERR_CONFIG_NAME)',
    ],
  ])('%s', (line, ...problems) => {
    const told = folder.problems(`${peers()}firewall:\n  version: 1\n  ${line}\n`);
    expect(told.map((problem) => problem.replace(folder.file, 'FILE'))).toEqual(problems);
  });
});

describe('rows that never decide', () => {
  const services = 'services: {files: {addr: [10.9.0.22, "fd09::22"], ports: [tcp/443, udp/443]}}';
  const told = (rows: string, profile = ''): string[] =>
    folder
      .problems(
        `${peers(`    profile: std\n    ${rows}\n`)}firewall:\n  version: 1\n  ${services}\n  profiles: {std: {${profile}}}\n`,
      )
      .map((problem) => problem.replace(folder.file, 'FILE'));

  test.each([
    [
      'allow: [{to: bob}, {to: bob}]',
      '',
      '14:24: peers.alice.allow[1]: this says the same as peers.alice.allow[0] in FILE:14 (ERR_CONFIG_SHADOWED)',
    ],
    [
      '{allow: [{to: 10.9.0.22, ports: [tcp/443]}, {to: files, ports: [tcp/443]}, {to: "fd09::22", ports: [tcp/443]}]}'.slice(
        1,
        -1,
      ),
      'services: [files], deny: [{to: "fd09::/64"}, {to: 10.9.0.0/24, ports: [tcp]}]',
      '14:13: peers.alice.allow[0]: nothing of this is ever allowed: firewall.profiles.std.deny[1] in FILE:18 denies all of it (ERR_CONFIG_SHADOWED)',
      '14:79: peers.alice.allow[2]: nothing of this is ever allowed: firewall.profiles.std.deny[0] in FILE:18 denies all of it (ERR_CONFIG_SHADOWED)',
    ],
    [
      'deny: [{to: internet}]',
      'services: [files], deny: [{to: any}]',
      '18:31: firewall.profiles.std.services[0]: nothing of this is ever allowed: firewall.profiles.std.deny[0] in FILE:18 denies all of it (ERR_CONFIG_SHADOWED)',
    ],
  ])('%s under %s', (rows, profile, ...problems) => expect(told(rows, profile)).toEqual(problems));

  test.each([
    ['allow: [{to: bob}, {to: bob, ports: [tcp/1]}]', ''],
    ['allow: [{to: bob}], deny: [{to: bob, from: 10.9.0.2}]'.replace('], deny', ']\n    deny'), ''],
    ['deny: [{to: files}]', 'services: [files]'],
    ['allow: [{to: files}]', 'deny: [{to: files, ports: [tcp]}, {to: files, ports: [udp]}]'],
    ['allow: [{to: any}]', 'deny: [{to: 0.0.0.0/0}, {to: "::/0"}]'],
  ])('but not %s under %s', (rows, profile) => {
    const text = `${peers(`    profile: std\n    ${rows}\n`)}firewall:\n  version: 1\n  ${services}\n  profiles: {std: {${profile}}}\n`;
    expect(folder.load(text).firewall).not.toBeNull();
  });
});

describe('a policy in a file of its own', () => {
  const policy = join(folder.path, 'policy.yaml');
  const including = `${peers()}firewall: {file: policy.yaml, action: reject}\n`;

  test('is a part of the section', () => {
    writeFileSync(policy, 'version: 1\nservices:\n  files: {addr: 10.9.0.22, ports: [tcp/443]}\n');
    expect(folder.load(including).firewall?.policy).toMatchObject({
      action: 'reject',
      services: [{ id: 'files', place: { file: policy, line: 3, column: 3 } }],
    });
  });

  test('what is wrong in it is told with its place, and after what is wrong in the configuration', () => {
    writeFileSync(policy, 'version: 1\naction: drop\nprofiles: {std: {services: [a]}}\n');
    const text = including
      .replace('routes:', 'route:')
      .replace('10.5.0.0/16]', '10.5.0.0/16]\n    addresses: [10.9.0.9]');
    expect(
      folder.refusal(text).problems.map(({ place, code }) => [place.file, place.line, place.column, code]),
    ).toEqual([
      [folder.file, 8, 5, 'ERR_CONFIG_UNKNOWN_KEY'],
      [policy, 2, 1, 'ERR_CONFIG_DUPLICATE_KEY'],
      [policy, 3, 29, 'ERR_CONFIG_UNKNOWN_NAME'],
    ]);
  });

  test.each([
    ['a: [', 1, 5, 'ERR_CONFIG_SYNTAX'],
    ['\n', 1, 1, 'ERR_CONFIG_EMPTY'],
    ['version: 1\nfile: other.yaml', 2, 1, 'ERR_CONFIG_UNKNOWN_KEY'],
    ['- 1', 1, 1, 'ERR_CONFIG_TYPE'],
  ])('%j in it', (text, line, column, code) => {
    writeFileSync(policy, text);
    expect(folder.refusal(including).problems[0]).toMatchObject({
      code,
      place: { file: policy, line, column },
    });
  });

  test('one that is not there', () => {
    expect(folder.problems(including.replace('policy.yaml', 'none.yaml'))).toEqual([
      '13:18: firewall.file: policy file "none.yaml": there is no such file (ERR_CONFIG_FILE)',
    ]);
  });
});
