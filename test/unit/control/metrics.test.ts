// The page of metrics: every metric of the list with its samples, in the format that Prometheus reads, and the status as
// the numbers on it.

import { describe, expect, test } from 'vitest';
import { METRICS, renderMetrics } from '../../../src/control/metrics.ts';
import type { NodeStatus } from '../../../src/control/target.ts';

const ACCOUNT = {
  up: { bytes: '1000', packets: '10', flows: '1' },
  down: { bytes: '2000', packets: '20', flows: '2' },
};

const STATUS: NodeStatus = {
  version: '0.1.0',
  pid: 4711,
  startedSeconds: 1_700_000_000,
  interface: {
    name: 'rf0',
    publicKey: 'B=',
    listenPort: 51_820,
    mtu: 1420,
    addresses: ['10.9.0.1/24'],
    offloads: {
      udpGso: { isActive: false, obstacle: 'eio' },
      udpGro: { isActive: true, obstacle: null },
      tunTcp: { isActive: true, obstacle: null },
      tunUdp: { isActive: false, obstacle: 'host' },
    },
  },
  lane: { state: 'restarting', restarts: 2, lastFailure: 'a trap', asksCookiesOf: 'everyone' },
  hostRules: {
    backend: 'nft',
    table: 'rf_home0',
    notEnforced: [],
    restored: 0,
    counters: {},
    paths: (['yes', 'no', 'unknown'] as const).map((effective) => ({
      name: `inbound ${effective}`,
      effective,
      by: null,
      why: null,
      remedy: null,
    })),
  },
  policy: {
    state: 'enforced',
    generation: 1,
    rules: 9,
    flows: 3,
    mostFlows: 65_536,
    evictedFlows: '0',
    exits: [],
    denied: [],
    accounts: [
      {
        peer: 'alice',
        ...ACCOUNT,
        rate: null,
        quota: {
          bytes: '50000',
          usedBytes: '3000',
          period: 'day',
          endsSeconds: 1_700_006_400,
          over: 'deny',
          isOver: false,
        },
      },
      { peer: 'bob', ...ACCOUNT, rate: { up: 1_500, down: null }, quota: null },
    ],
    services: [{ service: 'files', ...ACCOUNT }],
  },
  rotations: [],
  peers: [
    {
      name: 'alice',
      publicKey: 'A=',
      hasPresharedKey: true,
      endpoint: '[2001:db8::1]:51820',
      latestHandshakeSeconds: 1_700_000_100,
      rxBytes: '9007199254740993',
      txBytes: '1536',
      keepaliveSeconds: 25,
      allowedIps: ['10.9.0.2/32'],
    },
    {
      name: 'bob',
      publicKey: 'C=',
      hasPresharedKey: false,
      endpoint: null,
      latestHandshakeSeconds: null,
      rxBytes: '0',
      txBytes: '0',
      keepaliveSeconds: 0,
      allowedIps: ['10.9.0.3/32'],
    },
  ],
  drops: { 'bad-tag': '2', 'no-route': '0' },
  names: { domain: 'cell', addresses: ['10.9.0.1'], questions: { own: '7', refused: '2' } },
  faults: { 'sendmmsg ENETUNREACH': 3 },
};

const page = async (): Promise<string[]> => (await renderMetrics(STATUS)).body.split('\n');

describe('the page', () => {
  test.each([
    'ringfence_info{version="0.1.0",public_key="B=",interface="rf0"} 1',
    'ringfence_start_time_seconds{interface="rf0"} 1700000000',
    'ringfence_mtu_bytes{interface="rf0"} 1420',
    'ringfence_peer_info{peer="alice",public_key="A=",endpoint="[2001:db8::1]:51820",interface="rf0"} 1',
    'ringfence_peer_info{peer="bob",public_key="C=",endpoint="",interface="rf0"} 1',
    'ringfence_peer_received_bytes_total{peer="alice",interface="rf0"} 9007199254740992',
    'ringfence_peer_sent_bytes_total{peer="alice",interface="rf0"} 1536',
    'ringfence_peer_last_handshake_seconds{peer="alice",interface="rf0"} 1700000100',
    'ringfence_dropped_packets_total{reason="bad-tag",interface="rf0"} 2',
    'ringfence_dropped_packets_total{reason="no-route",interface="rf0"} 0',
    'ringfence_system_call_faults_total{call="sendmmsg",errno="ENETUNREACH",interface="rf0"} 3',
    'ringfence_offload_active{offload="udp_gso",interface="rf0"} 0',
    'ringfence_offload_active{offload="udp_gro",interface="rf0"} 1',
    'ringfence_offload_obstacle{offload="udp_gso",obstacle="eio",interface="rf0"} 1',
    'ringfence_offload_obstacle{offload="tun_udp",obstacle="host",interface="rf0"} 1',
    'ringfence_policy_peer_bytes_total{peer="alice",direction="up",interface="rf0"} 1000',
    'ringfence_policy_peer_flows_total{peer="bob",direction="down",interface="rf0"} 2',
    'ringfence_policy_service_packets_total{service="files",direction="down",interface="rf0"} 20',
    'ringfence_peer_quota_bytes{peer="alice",interface="rf0"} 50000',
    'ringfence_peer_quota_used_bytes{peer="alice",interface="rf0"} 3000',
    'ringfence_peer_quota_period_end_seconds{peer="alice",interface="rf0"} 1700006400',
    'ringfence_host_path_effective{path="inbound yes",interface="rf0"} 1',
    'ringfence_host_path_effective{path="inbound no",interface="rf0"} 0',
    'ringfence_lane_up{interface="rf0"} 0',
    'ringfence_lane_restarts_total{interface="rf0"} 2',
  ])('has %s', async (line) => expect(await page()).toContain(line));

  test('says nothing of a handshake that never was, nor of an obstacle that is none', async () => {
    const lines = await page();
    expect(lines.filter((line) => line.includes('last_handshake') && line.includes('bob'))).toEqual([]);
    expect(lines.filter((line) => line.includes('obstacle{') && line.includes('udp_gro'))).toEqual([]);
  });

  test('has each metric of the list with its help and type, at least one sample, and nothing else', async () => {
    const lines = await page();
    const typed = lines.filter((line) => line.startsWith('# TYPE ')).map((line) => line.slice(7));
    expect(typed).toEqual(METRICS.map(({ name, type }) => `${name} ${type}`));
    for (const { name } of METRICS) {
      expect(lines.some((line) => line.startsWith(`# HELP ${name} `))).toBe(true);
      expect(lines.some((line) => line.startsWith(`${name}{`))).toBe(true);
    }
  });

  test('names counters _total and nothing else so', () => {
    for (const { name, type } of METRICS) expect(name.endsWith('_total'), name).toBe(type === 'counter');
  });
});

test('two pages at a time are whole', async () => {
  const [one, other] = await Promise.all([page(), page()]);
  const stable = (lines: string[]) => lines.filter((line) => !line.startsWith('process_'));
  expect(stable(one)).toEqual(stable(other));
});
