// The verdict of the reference evaluator, a row per claim: what passes, what beside it does not, and which row said so.

import { describe, expect, test } from 'vitest';
import { Evaluator } from '../../../src/policy/evaluate.ts';
import { document, ip, packet, policyOf } from './documents.ts';

const SERVICES =
  'services: {files: {addr: [10.9.0.22, "fd09::22"], ports: [tcp/443, icmp/echo-request]}, web: {addr: 10.9.0.23, ports: [tcp/80]}}';

type Row = readonly [
  leg: 'in' | 'out',
  peer: string,
  source: string,
  destination: string,
  traffic: string,
  said: string,
];

/** What the policy says to each packet: the verdict, the stage, and the row. */
function check(section: string, peers: Readonly<Record<string, string>>, rows: readonly Row[]): void {
  const evaluator = new Evaluator(policyOf(document(section, peers)), [
    ip('198.51.100.7'),
    ip('2606:4700::7'),
  ]);
  test.each(rows)('%s %s %s -> %s %s: %s', (leg, peer, source, destination, traffic, said) => {
    const { verdict, stage, rule } = evaluator.judge({
      leg,
      peer,
      packet: packet(source, destination, traffic),
    });
    expect(`${verdict} ${stage} ${rule.name}`).toBe(said);
  });
}

const denied = 'deny default firewall';

describe('nothing is granted by being a peer', () => {
  check(`${SERVICES}, profiles: {std: {internet: true, services: [files]}}`, {}, [
    ['in', 'alice', '10.9.0.2', '10.9.0.1', 'icmp/echo-request', denied],
    ['in', 'alice', '10.9.0.2', '10.9.0.3', 'tcp/22', denied],
    ['in', 'alice', '10.9.0.2', '10.9.0.22', 'tcp/443', denied],
    ['in', 'alice', '10.9.0.2', '9.9.9.9', 'tcp/443', denied],
    ['in', 'alice', 'fd09::2', '2620:fe::fe', 'tcp/443', denied],
    ['in', 'alice', '10.9.0.2', '192.168.1.1', 'tcp/443', denied],
  ]);
});

describe('a profile: services exact to the port, and the internet without what is private or ours', () => {
  const service = 'allow grant firewall.profiles.std.services[0]';
  const internet = 'allow internet firewall.profiles.std.internet';
  check(`${SERVICES}, profiles: {std: {internet: true, services: [files]}}`, { alice: 'profile: std' }, [
    ['in', 'alice', '10.9.0.2', '10.9.0.22', 'tcp/443', service],
    ['in', 'alice', 'fd09::2', 'fd09::22', 'tcp/443', service],
    ['in', 'alice', '10.9.0.2', '10.9.0.22', 'icmp/echo-request', service],
    ['in', 'alice', 'fd09::2', 'fd09::22', 'icmp/echo-request', service],
    ['in', 'alice', '10.9.0.2', '10.9.0.22', 'icmp/echo-reply', denied],
    ['in', 'alice', '10.9.0.2', '10.9.0.22', 'udp/443', denied],
    ['in', 'alice', '10.9.0.2', '10.9.0.22', 'tcp/444', denied],
    ['in', 'alice', '10.9.0.2', '10.9.0.22', 'tcp', denied],
    ['in', 'alice', '10.9.0.2', '10.9.0.23', 'tcp/80', denied],
    ['in', 'bob', '10.9.0.3', '10.9.0.22', 'tcp/443', denied],
    ['in', 'alice', '10.9.0.2', '9.9.9.9', '47', internet],
    ['in', 'alice', 'fd09::2', '2620:fe::fe', 'udp/53', internet],
    ['in', 'alice', '10.9.0.2', '172.20.0.5', 'tcp/443', denied],
    ['in', 'alice', '10.9.0.2', '100.64.0.1', 'tcp/443', denied],
    ['in', 'alice', '10.9.0.2', '169.254.169.254', 'tcp/80', denied],
    ['in', 'alice', '10.9.0.2', '198.51.100.7', 'tcp/22', denied],
    ['in', 'alice', 'fd09::2', '2606:4700::7', 'tcp/22', denied],
    ['in', 'alice', 'fd09::2', 'fd05::1', 'tcp/22', denied],
    ['in', 'alice', 'fd09::2', '2002:a09:1::1', 'tcp/22', denied],
    ['in', 'alice', 'fd09::2', '64:ff9b::a09:1', 'tcp/22', denied],
    ['in', 'alice', '10.9.0.2', '255.255.255.255', 'udp/67', denied],
  ]);
});

describe('deny comes first, and all selectors of a row must fit', () => {
  const own = 'deny deny peers.alice.deny[0]';
  const shared = 'deny deny firewall.profiles.std.deny[0]';
  const peers = {
    alice:
      'profile: std, allow: [{to: 192.168.1.0/24, ports: [tcp/22, udp/1000-2000]}, {to: any, from: 192.168.7.9}], deny: [{to: 192.168.1.9, from: 10.9.0.2}]',
  };
  check('profiles: {std: {internet: true, deny: [{to: internet, ports: [tcp/25]}]}}', peers, [
    ['in', 'alice', '10.9.0.2', '192.168.1.8', 'tcp/22', 'allow grant peers.alice.allow[0]'],
    ['in', 'alice', '10.9.0.2', '192.168.1.8', 'udp/2000', 'allow grant peers.alice.allow[0]'],
    ['in', 'alice', '10.9.0.2', '192.168.1.8', 'udp/2001', denied],
    ['in', 'alice', '10.9.0.2', '192.168.1.9', 'tcp/22', own],
    ['in', 'alice', '192.168.7.1', '192.168.1.9', 'tcp/22', 'allow grant peers.alice.allow[0]'],
    ['in', 'alice', '192.168.7.9', '172.16.0.1', '47', 'allow grant peers.alice.allow[1]'],
    ['in', 'alice', '192.168.7.8', '172.16.0.1', '47', denied],
    ['in', 'alice', '10.9.0.2', '9.9.9.9', 'tcp/25', shared],
    ['in', 'alice', '10.9.0.2', '9.9.9.9', 'tcp/26', 'allow internet firewall.profiles.std.internet'],
  ]);
});

describe('networks: A and B in one, C in another', () => {
  const section =
    'networks: {n1: {isolation: strict, members: [alice, bob]}, n2: {members: [carol, cellb]}}, profiles: {free: {peers: all}, mute: {peers: none}}';
  const peers = {
    alice: 'allow: [{to: carol}, {to: internet}]',
    bob: 'profile: mute',
    carol: 'allow: [{to: any}]',
    cellb: 'profile: free',
  };
  check(section, peers, [
    ['in', 'alice', '10.9.0.2', '10.9.0.3', 'tcp/22', 'allow network firewall.networks.n1'],
    ['out', 'bob', '10.9.0.2', '10.9.0.3', 'tcp/22', 'allow network firewall.networks.n1'],
    ['in', 'alice', 'fd09::2', 'fd09::3', 'icmp/echo-request', 'allow network firewall.networks.n1'],
    ['in', 'alice', '10.9.0.2', '10.9.0.4', 'tcp/22', 'deny isolation firewall.networks.n1'],
    ['out', 'carol', '10.9.0.2', '10.9.0.4', 'tcp/22', 'deny isolation firewall.networks.n1'],
    ['in', 'carol', '10.9.0.4', '10.9.0.2', 'tcp/22', 'deny isolation firewall.networks.n1'],
    ['in', 'carol', 'fd09::4', 'fd09::2', 'tcp/22', 'deny isolation firewall.networks.n1'],
    ['in', 'carol', '10.9.0.4', '192.168.7.1', 'tcp/22', 'allow grant peers.carol.allow[0]'],
    ['in', 'alice', '10.9.0.2', '10.9.0.1', 'udp/53', 'allow network firewall.networks.n1'],
    ['in', 'alice', '10.9.0.2', '9.9.9.9', 'udp/53', 'allow grant peers.alice.allow[1]'],
    ['in', 'bob', '10.9.0.3', '10.9.0.1', 'udp/53', 'allow network firewall.networks.n1'],
    ['in', 'bob', '10.9.0.3', '10.9.0.2', 'udp/53', denied],
    ['in', 'cellb', '10.9.0.5', '10.9.0.4', 'udp/53', 'allow network firewall.networks.n2'],
    ['in', 'cellb', '10.9.0.5', '10.9.0.2', 'udp/53', 'deny isolation firewall.networks.n1'],
    ['in', 'alice', '10.9.0.2', '10.5.0.9', 'udp/53', denied],
  ]);
});

describe('peers: all', () => {
  check('profiles: {free: {peers: all}}', { alice: 'profile: free' }, [
    ['in', 'alice', '10.9.0.2', '10.9.0.3', 'tcp/22', 'allow network firewall.profiles.free.peers'],
    ['in', 'alice', '10.9.0.2', '10.9.0.1', 'tcp/22', denied],
    ['in', 'alice', '10.9.0.2', '10.5.0.9', 'tcp/22', denied],
    ['in', 'bob', '10.9.0.3', '10.9.0.2', 'tcp/22', denied],
  ]);
});

describe('a site has rights of its own, by its subnets', () => {
  const section = `${SERVICES}, profiles: {std: {internet: true}}, sites: {cellb: {subnets: [10.5.0.0/24, "fd05::/64"], inbound: [web], outbound: [{to: 10.5.0.9, ports: [tcp/443]}], exit_relay: {provide: true}}}`;
  check(section, { cellb: 'profile: std, allow: [{to: self}]' }, [
    ['in', 'cellb', '10.5.0.9', '10.9.0.23', 'tcp/80', 'allow grant firewall.sites.cellb.inbound[0]'],
    ['in', 'cellb', '10.5.0.9', '10.9.0.23', 'tcp/443', denied],
    ['in', 'cellb', '10.5.0.9', '10.9.0.2', 'tcp/80', denied],
    ['in', 'cellb', '10.5.0.9', '10.9.0.1', 'tcp/80', denied],
    ['in', 'cellb', '10.5.0.9', '172.20.0.5', 'tcp/80', denied],
    ['in', 'cellb', '10.5.0.9', '9.9.9.9', 'tcp/80', 'allow grant firewall.sites.cellb.exit_relay.provide'],
    [
      'in',
      'cellb',
      'fd05::9',
      '2620:fe::fe',
      'tcp/80',
      'allow grant firewall.sites.cellb.exit_relay.provide',
    ],
    ['in', 'cellb', '10.5.0.1', '10.9.0.1', 'tcp/80', 'allow grant peers.cellb.allow[0]'],
    ['in', 'cellb', '10.5.1.9', '10.9.0.1', 'tcp/80', 'allow grant peers.cellb.allow[0]'],
    ['out', 'cellb', '10.9.0.1', '10.5.0.9', 'tcp/443', 'allow grant firewall.sites.cellb.outbound[0]'],
    ['out', 'cellb', '10.9.0.1', '10.5.0.9', 'tcp/80', denied],
    ['out', 'cellb', '198.51.100.7', '10.5.1.9', 'tcp/80', 'allow grant self'],
    ['out', 'cellb', '192.168.1.5', '10.5.0.9', 'tcp/443', 'allow grant firewall.sites.cellb.outbound[0]'],
    ['out', 'cellb', '192.168.1.5', '10.5.1.9', 'tcp/443', denied],
    ['out', 'cellb', '10.9.0.2', '10.5.0.9', 'tcp/443', denied],
    ['out', 'alice', '10.5.0.9', '10.9.0.2', 'tcp/443', denied],
  ]);
});

describe('this node, and who is outside', () => {
  const peers = { alice: 'reachable_from: [{from: 192.168.1.0/24, ports: [tcp/22]}]' };
  const site = 'sites: {cellb: {subnets: [10.5.0.0/24], outbound: any}}';
  check(site, peers, [
    ['out', 'alice', '10.9.0.1', '10.9.0.2', '47', 'allow grant self'],
    ['out', 'alice', 'fd09::1', 'fd09::2', 'icmp/echo-request', 'allow grant self'],
    ['out', 'alice', '192.168.1.5', '10.9.0.2', 'tcp/22', 'allow grant peers.alice.reachable_from[0]'],
    ['out', 'alice', '192.168.1.5', '192.168.7.2', 'tcp/22', 'allow grant peers.alice.reachable_from[0]'],
    ['out', 'alice', '192.168.1.5', '10.9.0.2', 'tcp/23', denied],
    ['out', 'alice', '192.168.2.5', '10.9.0.2', 'tcp/22', denied],
    ['out', 'bob', '192.168.1.5', '10.9.0.3', 'tcp/22', denied],
    ['out', 'cellb', '192.168.1.5', '10.5.0.3', 'tcp/22', 'allow grant firewall.sites.cellb.outbound'],
    ['out', 'cellb', '10.9.0.1', '10.5.0.3', 'tcp/22', 'allow grant firewall.sites.cellb.outbound'],
  ]);
});

describe('route_via grants the internet of the site', () => {
  const site = 'sites: {cellb: {subnets: [10.5.0.0/24], exit_relay: {consume: true}}}';
  const rows = { alice: 'route_via: cellb, reachable_from: [{from: any}]', cellb: 'allow: [{to: any}]' };
  check(site, rows, [
    ['in', 'alice', '10.9.0.2', '9.9.9.9', 'tcp/443', 'allow grant peers.alice.route_via'],
    ['out', 'cellb', '10.9.0.2', '9.9.9.9', 'tcp/443', 'allow grant peers.alice.route_via'],
    ['in', 'alice', '10.9.0.2', '10.5.0.2', 'tcp/443', denied],
    ['in', 'bob', '10.9.0.3', '9.9.9.9', 'tcp/443', denied],
    // The exit answers for the internet and opens nothing in its name, whatever it may open itself.
    ['in', 'cellb', '9.9.9.9', '10.9.0.2', 'tcp/443', denied],
    ['in', 'cellb', '9.9.9.9', '10.9.0.3', 'tcp/443', 'allow grant peers.cellb.allow[0]'],
    ['in', 'cellb', '10.6.0.1', '10.9.0.2', 'tcp/443', 'allow grant peers.cellb.allow[0]'],
  ]);
});

describe('a peer that is the way to the internet is not the internet', () => {
  const rows = {
    bob: 'routes: [0.0.0.0/1, 128.0.0.0/1, "::/0"], allow: [{to: any}]',
    alice: 'profile: std',
    carol: 'reachable_from: [{from: 192.168.1.5}]',
  };
  check('profiles: {std: {internet: true}}', rows, [
    ['in', 'alice', '10.9.0.2', '9.9.9.9', 'tcp/443', 'allow internet firewall.profiles.std.internet'],
    ['out', 'bob', '10.9.0.2', '9.9.9.9', 'tcp/443', 'allow internet firewall.profiles.std.internet'],
    ['out', 'bob', 'fd09::2', '2620:fe::fe', 'tcp/443', 'allow internet firewall.profiles.std.internet'],
    ['out', 'carol', '192.168.1.5', '10.9.0.4', 'tcp/1', 'allow grant peers.carol.reachable_from[0]'],
    ['out', 'carol', '192.168.1.6', '10.9.0.4', 'tcp/1', denied],
    ['out', 'carol', '9.9.9.9', '10.9.0.4', 'tcp/1', denied],
    ['in', 'bob', '9.9.9.9', '10.9.0.4', 'tcp/1', 'allow grant peers.bob.allow[0]'],
  ]);
});

test('an IPv4 address in its IPv6 form is that address', () => {
  const policy = policyOf(document('', { alice: 'allow: [{to: "::ffff:192.168.1.9"}]' }));
  const evaluator = new Evaluator(policy, []);
  const crossing = {
    leg: 'in',
    peer: 'alice',
    packet: packet('::ffff:10.9.0.2', '192.168.1.9', 'tcp/1'),
  } as const;
  expect(evaluator.judge(crossing)).toMatchObject({ verdict: 'allow', stage: 'grant' });
});
