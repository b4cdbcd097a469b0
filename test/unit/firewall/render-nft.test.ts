// The table, option by option, as golden files. That nft takes them, and what packets make of them, is test/firewall.

import { expect, test } from 'vitest';
import { parseIp } from '../../../src/address/ip.ts';
import { parsePrefix } from '../../../src/address/prefix.ts';
import type { HostFacts } from '../../../src/firewall/facts.ts';
import { renderNft } from '../../../src/firewall/render-nft.ts';
import {
  openingsOf,
  renderIptablesOpening,
  renderNftOpening,
} from '../../../src/firewall/render-openings.ts';
import { renderScript } from '../../../src/firewall/ruleset.ts';
import { renderRules } from '../../../src/firewall/shown.ts';
import type { HostPolicy } from '../../../src/policy/host.ts';
import { ConfigFolder } from '../config/files.ts';

function value<T>(parsed: { readonly ok: true; readonly value: T } | { readonly ok: false }): T {
  if (!parsed.ok) throw new Error('a test writes its addresses right');
  return parsed.value;
}

const FACTS: HostFacts = {
  interface: 'rf0',
  listenPort: 51820,
  overlay: ['10.9.0.0/24', 'fd09::/64', '10.9.0.2', '10.8.0.7'].map((text) => value(parsePrefix(text))),
  ownAddresses: ['10.9.0.1', 'fd09::1'].map((text) => value(parseIp(text))),
  peers: new Map([['alice', ['10.9.0.2', 'fd09::2'].map((text) => value(parseIp(text)))]]),
  sites: new Map([['alice', [value(parsePrefix('10.5.0.0/24'))]]]),
  local: [],
  connected: [{ interface: 'lan', prefix: value(parsePrefix('192.168.7.0/24')) }],
  resolved: new Map([
    ['nats.example.org', ['198.51.100.4', '2001:db8::4'].map((text) => value(parseIp(text)))],
  ]),
  cgroups: new Map([
    ['nats.service', { nftPath: 'unified/nats.service', path: 'nats.service', level: 1, id: '5383' }],
    [
      'a.slice/b\\x2d.scope',
      { nftPath: 'unified/a.slice/b\\x2d.scope', path: 'a.slice/b\\x2d.scope', level: 2, id: '5384' },
    ],
  ]),
  mirrored: null,
};

const CASES: readonly (readonly [name: string, section: string, site?: string])[] = [
  ['guard', 'host: {}'],
  ['guard-off', 'leak_guard: {in: off, out: off, route: off}\n  mss: off'],
  [
    'inbound',
    `mss: off
  host:
    inbound:
      - {name: wg, proto: udp, port: $listen, from: [any]}
      - {name: api, proto: tcp, port: 13669, from: [overlay, lan]}
      - {name: api, proto: tcp, port: 13669-13700, from: [192.0.2.0/24, "site:alice"], owner: svc/api}`,
  ],
  [
    'nat',
    `mss: off
  nat:
    masquerade: [{from: overlay, out: non-overlay}, {from: 192.168.7.0/24, out: wan}]
    snat: [{from: 10.9.0.8, out: wan, to: 203.0.113.2}]
    one_to_one: [{ext: 203.0.113.3, int: 192.168.7.5}, {ext: 10.55.0.0/24, int: 192.168.9.0/24}, {ext: "fd55::/64", int: "fd56::/64"}]`,
  ],
  [
    'exit-relay',
    `mss: off
  leak_guard: {in: off, out: off, route: off}`,
    'exit_relay: {provide: true}',
  ],
  [
    'publish',
    `mss: off
  nat:
    publish:
      - {owner: svc/web, listen: 203.0.113.1, proto: tcp, ports: {80: 8080, 8000-8002: same, 9000-9002: 7000}, to: 192.168.7.5, hairpin: true}
      - {owner: svc/dns, proto: udp, ports: {53: same}, to: alice, localhost: true, from: [overlay, 192.0.2.0/24]}
      - {owner: api, listen: overlay, proto: tcp, ports: {3000: same}, to: 192.168.7.6, source: masquerade, from: ["site:alice"]}
      - {owner: wan, listen: 203.0.113.2, in: wan, proto: tcp, ports: {80: same}, to: 192.168.7.5, hairpin: true}`,
  ],
  [
    'process',
    `mss: off
  process:
    - {only: {uid: [0]}, to: ["127.0.0.1:2822", "[::1]:2822"]}
    - {only: {uid: [0, nats]}, to_dns: "nats.example.org:4222"}`,
  ],
  [
    'process-cgroup',
    `mss: off
  leak_guard: {in: off, out: off, route: off}
  process:
    - {only: {cgroup: [nats.service, 'a.slice/b\\x2d.scope']}, to: ["127.0.0.1:2822"], to_dns: "nats.example.org:4222"}
    - {only: {uid: [0], cgroup: [/nats.service]}, to: ["[::1]:2822"]}
    - {only: {cgroup: [not/there]}, to: ["127.0.0.1:2823"]}`,
  ],
];

function policyOf(section: string, site = 'inbound: []'): HostPolicy {
  using folder = new ConfigFolder();
  const config = folder.load(`
interface: {name: rf0, private_key_file: rf0.key, addresses: [10.9.0.1/24, "fd09::1/64"], listen_port: 51820}
peers:
  alice: {public_key: RTYkjKW1a29KcKrOYB/N+Pu1poawQM0w+YF/RA0n+XQ=, addresses: [10.9.0.2, "fd09::2"], routes: [10.5.0.0/24, "fd05::/64"]}
firewall:
  version: 1
  network: home0
  sites: {alice: {subnets: [10.5.0.0/24, "fd05::/64"], ${site}}}
  ${section}
`);
  const host = config.firewall?.host ?? null;
  if (host === null) throw new Error('the section says nothing of the host');
  return host;
}

test.each(CASES.map(([name, section, site]) => ({ name, section, site })))('$name', async (one) => {
  const { name, section, site } = one;
  const policy = policyOf(section, site);
  const ruleset = renderNft(policy, FACTS);
  const openings = openingsOf(policy, FACTS);
  const shown = [
    renderScript(ruleset, 'rf_is_golden', new Map([['rf_leak_in', { packets: 7n, bytes: 700n }]])),
    ...openings.map((one) => `${one.hook}: ${renderNftOpening(one, 'inet')}\n`),
    ...openings.map((one) => `${one.hook}, iptables: ${renderIptablesOpening(one, 4)}\n`),
  ].join('');
  await expect(shown).toMatchFileSnapshot(`golden/${name}.nft`);
  const iptables = renderRules(policy, FACTS, 'iptables');
  await expect(iptables).toMatchFileSnapshot(`golden/${name}.iptables`);
});

test('a section that says nothing of the host has no rules of it', () => {
  expect(() => policyOf('profiles: {}')).toThrow('nothing of the host');
});

test('a site that uses our internet has it masqueraded, whatever else the section says', () => {
  const { exitUsers, masquerade } = policyOf('profiles: {}', 'exit_relay: {provide: true}');
  expect([exitUsers.length, masquerade]).toEqual([2, []]);
});

test('the order of peers and facts changes nothing', () => {
  const policy = policyOf('host: {}');
  const turned = { ...FACTS, overlay: FACTS.overlay.toReversed() };
  expect(renderNft(policy, turned)).toEqual(renderNft(policy, FACTS));
});
