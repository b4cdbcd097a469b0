// Random policies and packets. Addresses come from few, close to each other, so that rows overlap, fit, and just miss.

import fc from 'fast-check';
import type { IpAddress } from '../../../src/address/ip.ts';
import { type IpPrefix, networkOf } from '../../../src/address/prefix.ts';
import type { Traffic } from '../../../src/address/traffic.ts';
import type { Crossing, FlowStart } from '../../../src/policy/evaluate.ts';
import type { AccessRow, InboundRow, Policy, PolicyPeer, Rule, Site } from '../../../src/policy/model.ts';
import { ip } from './documents.ts';

const NAMES = ['alice', 'bob', 'carol', 'cellb'] as const;
type Name = (typeof NAMES)[number];

/** The node has these two; the host has one more of each version. */
export const OWN = ['10.9.0.1', 'fd09::1', '203.0.113.7', '2606:4700::7'].map(ip);

const ADDRESSES: Readonly<Record<Name, readonly IpAddress[]>> = {
  alice: ['10.9.0.2', 'fd09::2'].map(ip),
  bob: ['10.9.0.3', 'fd09::3'].map(ip),
  carol: ['10.9.0.4', 'fd09::4'].map(ip),
  // Inside the subnet of its site: the peer itself, and the site around it.
  cellb: ['10.5.0.1', 'fd05::1'].map(ip),
};

const ROUTES: Readonly<Record<Name, readonly IpPrefix[]>> = {
  alice: ['192.168.7.0/24', 'fd07::/64'].map(net),
  // The way to the internet: nobody behind it is bob.
  bob: ['0.0.0.0/0', '2000::/3'].map(net),
  carol: ['10.5.0.128/25'].map(net),
  cellb: ['10.5.0.0/16', '10.5.0.0/24', 'fd05::/64'].map(net),
};

const SUBNETS = ['10.5.0.0/24', 'fd05::/64'].map(net);

const anyAddress = fc.constantFrom(
  ...OWN,
  ...Object.values(ADDRESSES).flat(),
  ...[
    '192.168.7.9',
    '10.5.0.9',
    '10.5.0.130',
    '10.5.1.9',
    '10.9.0.22',
    '192.168.1.9',
    '9.9.9.9',
    '203.0.113.8',
  ].map(ip),
  ...['fd07::9', 'fd05::9', 'fd09::22', '2620:fe::fe', '2001:db8::1', 'fe80::1'].map(ip),
);

const anyPrefix = fc.tuple(anyAddress, fc.constantFrom(0, 1, 2, 8, 16, 32)).map(
  ([address, cut]): IpPrefix =>
    networkOf({
      address,
      prefixLength: 8 * address.bytes.length - Math.min(cut, 8 * address.bytes.length),
    }),
);

const anyTraffic: fc.Arbitrary<Traffic> = fc.oneof(
  fc.constantFrom(6, 17, 47, 1, 58).map((protocol) => ({ protocol, first: 0, last: 65_535 })),
  fc
    .tuple(fc.constantFrom(6, 17), fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 3 }))
    .map(([protocol, first, more]) => ({ protocol, first, last: first + more })),
  fc.constantFrom({ protocol: 1, first: 8, last: 8 }, { protocol: 58, first: 128, last: 128 }),
);

const someTraffic = fc.array(anyTraffic, { maxLength: 2 });

/** Names are given at the end, by position. */
const UNNAMED: Rule = { name: '', place: { file: 'policy.yaml', line: 1, column: 1 } };

const anyRow: fc.Arbitrary<AccessRow> = fc.record({
  name: fc.constant(''),
  place: fc.constant(UNNAMED.place),
  to: fc.oneof(
    { weight: 4, arbitrary: anyPrefix.map((prefix) => ({ kind: 'prefix', prefix }) as const) },
    fc.constantFrom({ kind: 'service', name: 'files' } as const, { kind: 'service', name: 'web' } as const),
    fc.constantFrom(...NAMES).map((name) => ({ kind: 'peer', name }) as const),
    fc.constantFrom({ kind: 'self' } as const, { kind: 'internet' } as const, { kind: 'any' } as const),
    fc.constant({ kind: 'site', name: 'cellb' } as const),
  ),
  from: fc.option(anyPrefix, { freq: 4 }),
  traffic: someTraffic,
});

const someRows = fc.array(anyRow, { maxLength: 2 });
const someServices = fc.subarray(['files', 'web']);

const anyInbound: fc.Arbitrary<InboundRow> = fc.record({
  name: fc.constant(''),
  place: fc.constant(UNNAMED.place),
  from: fc.array(
    fc.oneof(
      fc.constantFrom({ kind: 'overlay' } as const, { kind: 'lan' } as const, { kind: 'any' } as const),
      fc.constant({ kind: 'site', name: 'cellb' } as const),
      anyPrefix.map((prefix) => ({ kind: 'prefix', prefix }) as const),
    ),
    { minLength: 1, maxLength: 2 },
  ),
  traffic: someTraffic,
});

const anySite = fc.record({
  inbound: someServices,
  outbound: fc.oneof(
    fc.constantFrom('any' as const, 'none' as const),
    fc.array(fc.tuple(fc.constantFrom('10.5.0.9/32', '10.5.0.0/28', 'fd05::9/128'), someTraffic), {
      maxLength: 2,
    }),
  ),
  provides: fc.boolean(),
});

const anyPeer = fc.record({
  profile: fc.constantFrom('std', 'guest', null),
  allow: someRows,
  deny: someRows,
  reachableFrom: fc.array(fc.tuple(fc.oneof(anyPrefix, fc.constant('any' as const)), someTraffic), {
    maxLength: 1,
  }),
  routeVia: fc.boolean(),
});

const anyProfile = fc.record({
  internet: fc.boolean(),
  services: someServices,
  peers: fc.constantFrom('none', 'network', 'all'),
  allow: someRows,
  deny: someRows,
});

const service = (id: string, addresses: readonly string[], traffic: readonly Traffic[]) => ({
  ...rule(`services.${id}`),
  id,
  addresses: addresses.map(ip),
  traffic,
  dnsName: null,
});

/** Policies over one set of peers and addresses. */
export const anyPolicy: fc.Arbitrary<Policy> = fc
  .record({
    peers: fc.tuple(...NAMES.map(() => anyPeer)),
    profiles: fc.tuple(anyProfile, anyProfile),
    /** The strict network of each, and the open ones. */
    strict: fc.tuple(...NAMES.map(() => fc.constantFrom('s1', 's2', null, null))),
    open: fc.array(fc.subarray([...NAMES]), { maxLength: 2 }),
    site: fc.option(anySite, { freq: 3 }),
    inbound: fc.array(anyInbound, { maxLength: 2 }),
    traffic: fc.tuple(
      fc.array(anyTraffic, { minLength: 1, maxLength: 2 }),
      fc.array(anyTraffic, { minLength: 1, maxLength: 2 }),
    ),
  })
  .map(({ peers, profiles, strict, open, site, inbound, traffic }) => {
    const hasSite = site !== null;
    const withSite = (rows: readonly AccessRow[], path: string): AccessRow[] =>
      rows
        .filter(({ to }) => hasSite || to.kind !== 'site')
        .map((row, i) => ({ ...row, ...rule(`${path}[${i}]`) }));
    const networks = ['s1', 's2'].map((id) => ({
      ...rule(`networks.${id}`),
      id,
      isStrict: true,
      members: NAMES.filter((_, i) => strict[i] === id),
    }));
    return {
      action: 'drop',
      rule: rule('firewall'),
      addresses: [
        { address: ip('10.9.0.1'), prefixLength: 24 },
        { address: ip('fd09::1'), prefixLength: 64 },
      ],
      peers: NAMES.map((name, i): PolicyPeer => {
        const peer = peers[i];
        if (peer === undefined) throw new Error('as many peers as names');
        const path = `peers.${name}`;
        return {
          name,
          publicKey: new Uint8Array(32).fill(i + 1),
          rule: rule(path),
          addresses: ADDRESSES[name],
          routes: ROUTES[name],
          profile: peer.profile,
          allow: withSite(peer.allow, `${path}.allow`),
          deny: withSite(peer.deny, `${path}.deny`),
          reachableFrom: peer.reachableFrom.map(([from, row], j) => ({
            ...rule(`${path}.reachable_from[${j}]`),
            from,
            traffic: row,
          })),
          routeVia: peer.routeVia && hasSite ? { ...rule(`${path}.route_via`), site: 'cellb' } : null,
        };
      }),
      services: [
        service('files', ['10.9.0.22', 'fd09::22', '10.9.0.3'], traffic[0]),
        service('web', ['192.168.1.9', '10.9.0.1'], traffic[1]),
      ],
      profiles: profiles.map((profile, i) => {
        const id = i === 0 ? 'std' : 'guest';
        const path = `profiles.${id}`;
        return {
          ...rule(path),
          id,
          internet: profile.internet ? rule(`${path}.internet`) : null,
          services: profile.services.map((name, j) => ({ ...rule(`${path}.services[${j}]`), service: name })),
          peers: profile.peers,
          peersRule: rule(`${path}.peers`),
          allow: withSite(profile.allow, `${path}.allow`),
          deny: withSite(profile.deny, `${path}.deny`),
          rate: null,
          quota: null,
        };
      }),
      networks: [
        ...networks,
        ...open.map((members, i) => ({ ...rule(`networks.o${i}`), id: `o${i}`, isStrict: false, members })),
      ],
      sites: site === null ? [] : [siteOf(site)],
      inbound: inbound
        .filter(({ from }) => hasSite || from.every(({ kind }) => kind !== 'site'))
        .map((row, i) => ({ ...row, ...rule(`inbound[${i}]`) })),
    };
  });

function siteOf({
  inbound,
  outbound,
  provides,
}: typeof anySite extends fc.Arbitrary<infer T> ? T : never): Site {
  return {
    ...rule('sites.cellb'),
    peer: 'cellb',
    subnets: SUBNETS,
    inbound: inbound.map((name, i) => ({ ...rule(`sites.cellb.inbound[${i}]`), service: name })),
    outbound: Array.isArray(outbound)
      ? outbound.map(([to, traffic], i) => ({ ...rule(`sites.cellb.outbound[${i}]`), to: net(to), traffic }))
      : outbound,
    outboundRule: rule('sites.cellb.outbound'),
    providesExit: provides ? rule('sites.cellb.exit_relay.provide') : null,
    consumesExit: true,
    dns: null,
  };
}

const anyStart: fc.Arbitrary<FlowStart> = fc
  .record({
    source: anyAddress,
    destination: anyAddress,
    what: fc.oneof(
      fc.tuple(fc.constantFrom(6, 17), fc.integer({ min: 1, max: 8 })),
      fc.constantFrom(
        [1, 8] as const,
        [58, 128] as const,
        [1, 13] as const,
        [47, null] as const,
        [6, null] as const,
      ),
    ),
  })
  .filter(({ source, destination }) => source.version === destination.version)
  .map(({ source, destination, what: [protocol, port] }) => ({ source, destination, protocol, port }));

/** First packets of flows on either leg; on leg in with sources that the peer may have, and others. */
export const anyCrossing: fc.Arbitrary<Crossing> = fc.record({
  leg: fc.constantFrom('in', 'out'),
  peer: fc.constantFrom<Name>(...NAMES),
  packet: anyStart,
});

function rule(name: string): Rule {
  return { name, place: UNNAMED.place };
}

function net(text: string): IpPrefix {
  const [address = '', length = ''] = text.split('/');
  return networkOf({ address: ip(address), prefixLength: Number(length) });
}
