// What a self-test of the host's rules would send, and what it reads; that it is right about a host, test/firewall shows.

import { expect, test } from 'vitest';
import { type IpAddress, parseIp, renderIp } from '../../../src/address/ip.ts';
import { networkOf, parseInterface, parsePrefix } from '../../../src/address/prefix.ts';
import type { HostFacts } from '../../../src/firewall/facts.ts';
import type { HostView, OwnAddress } from '../../../src/firewall/probe-clients.ts';
import { planProbes } from '../../../src/firewall/probe-plan.ts';
import { TraceReader } from '../../../src/firewall/probe-trace.ts';
import type { HostPolicy } from '../../../src/policy/host.ts';
import type { InboundSource } from '../../../src/policy/model.ts';

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.value;
}

function own(text: string): OwnAddress {
  const parsed = parseInterface(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return { address: parsed.value.address, prefix: networkOf(parsed.value) };
}

function prefix(text: string): InboundSource {
  const parsed = parsePrefix(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return { kind: 'prefix', prefix: parsed.value };
}

const FACTS: HostFacts = {
  interface: 'rf0',
  listenPort: 51820,
  overlay: [own('10.9.0.1/24').prefix],
  ownAddresses: [ip('10.9.0.1')],
  peers: new Map([['alice', [ip('10.9.0.2')]]]),
  sites: new Map([['bob', [own('192.168.9.0/24').prefix]]]),
  connected: [],
  resolved: new Map(),
  cgroups: new Map(),
  local: [],
  mirrored: null,
};

const NOTHING = { masquerade: [], publish: [], oneToOne: [], process: [], exitUsers: [] };

/** Who is tried, as `address by interface to own address`, for one source of an inbound row. */
async function clients(
  source: InboundSource,
  interfaces: Readonly<Record<string, readonly string[]>>,
): Promise<string[]> {
  const host: HostView = {
    interfaces: new Map(Object.entries(interfaces).map(([name, list]) => [name, list.map(own)])),
    seen: new Map(),
    routeTo: async ({ version }) => (version === 4 ? { interface: 'wan', source: ip('198.51.100.1') } : null),
    userOf: async () => null,
  };
  const row = {
    name: 'x',
    protocol: 'tcp',
    ports: { first: 80, last: 80 },
    from: [source],
    owner: null,
  } as const;
  const paths = await planProbes({ ...NOTHING, inbound: [row] } as unknown as HostPolicy, FACTS, host);
  const [path] = paths.filter(({ name }) => name.startsWith('inbound'));
  return (path?.probes ?? []).map(
    ({ source: from, destination, from: by }) =>
      `${renderIp(from)} by ${'interface' in by ? by.interface : by.user} to ${renderIp(destination)}`,
  );
}

const TUNNEL = { rf0: ['10.9.0.1/24'] };

test.each<[string, InboundSource, Readonly<Record<string, readonly string[]>>, string[]]>([
  ['a peer', { kind: 'overlay' }, TUNNEL, ['10.9.0.2 by rf0 to 10.9.0.1']],
  ['no peer without the tunnel', { kind: 'overlay' }, {}, []],
  ['a site', { kind: 'site', name: 'bob' }, TUNNEL, ['192.168.9.254 by rf0 to 10.9.0.1']],
  [
    'a neighbour of a private network',
    { kind: 'lan' },
    { lan: ['192.168.7.254/24'], wan: ['198.51.100.1/24'] },
    ['192.168.7.253 by lan to 192.168.7.254'],
  ],
  ['the other end of a pair', { kind: 'lan' }, { lan: ['10.1.1.1/31'] }, ['10.1.1.0 by lan to 10.1.1.1']],
  [
    'nobody beside a host alone, nor by link-local addresses',
    { kind: 'lan' },
    { lan: ['10.1.1.1/32', 'fe80::1/64', '169.254.3.4/16'] },
    [],
  ],
  [
    'all, and somebody far away',
    { kind: 'any' },
    { ...TUNNEL, wan: ['198.51.100.1/24'] },
    [
      '10.9.0.2 by rf0 to 10.9.0.1',
      '198.51.100.254 by wan to 198.51.100.1',
      '193.0.14.129 by wan to 198.51.100.1',
    ],
  ],
  [
    'who is meant',
    prefix('203.0.113.0/28'),
    { wan: ['198.51.100.1/24'] },
    ['203.0.113.14 by wan to 198.51.100.1'],
  ],
  ['nobody where there is no way', prefix('2001:db8::/64'), { wan: ['198.51.100.1/24'] }, []],
])('tries %s', async (_, source, interfaces, expected) => {
  expect(await clients(source, interfaces)).toEqual(expected);
});

test('reads who dropped which packet, of a monitor that says much', () => {
  const reader = new TraceReader('rf_home0.probe.7');
  const lines = `
trace id 01 inet rf_home0.probe.7 rf_first packet: iif "wan" ip saddr 203.0.113.9 ip daddr 203.0.113.1 ip protocol tcp tcp sport 40001 tcp dport 80
trace id 01 inet admin input rule tcp dport 80 jump services (verdict jump services)
trace id 01 inet admin services rule ip saddr 203.0.113.0/24 counter packets 3 bytes 120 drop (verdict drop)
trace id 02 inet rf_home0.probe.7 rf_first packet: iif "wan" ip6 saddr 2001:db8::9 udp sport 40002 udp dport 53 udp length 16
trace id 02 ip6 filter INPUT packet: iif "wan" udp sport 9 udp dport 53
trace id 02 ip6 filter INPUT policy drop 
trace id 03 inet rf_home0.probe.7 rf_first packet: iif "wan" tcp sport 40003 tcp dport 80
trace id 03 inet admin input policy accept 
trace id 03 inet rf_home0.probe.7 rf_end rule counter drop (verdict drop)
trace id 04 inet admin input policy drop
nonsense
trace id`;
  for (const line of lines.split('\n')) reader.read(line);
  expect(reader.dropperOf(40_001)).toEqual({
    chain: 'inet admin services',
    rule: 'ip saddr 203.0.113.0/24 drop',
  });
  expect(reader.dropperOf(40_002)).toEqual({ chain: 'ip6 filter INPUT', rule: 'policy drop' });
  expect(reader.dropperOf(40_003)).toBeNull();
  expect([40_001, 40_003, 9].map((port) => reader.hasSeen(port))).toEqual([true, true, false]);
});
