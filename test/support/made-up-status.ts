// A status that no node has given, for what renders one.

import type { MatrixTable } from '../../src/control/matrix-table.ts';
import type { DeniedStatus, NodeStatus, PeerStatus, PolicyStatus } from '../../src/control/target.ts';

/** A word that would be an attack where it became markup. */
export const HOSTILE = `"'><script>document.title='run'</script><img src="https://example.org/x.png">`;

export function peerStatusOf(name: string): PeerStatus {
  return {
    name,
    publicKey: `${name}=`,
    hasPresharedKey: false,
    endpoint: '192.0.2.1:51820',
    latestHandshakeSeconds: Math.floor(Date.now() / 1000) - 20,
    rxBytes: '1536',
    txBytes: '2048',
    keepaliveSeconds: 0,
    allowedIps: ['10.9.0.2/32'],
  };
}

export function nodeStatusOf(peers: readonly PeerStatus[]): NodeStatus {
  const active = { isActive: true, obstacle: null };
  return {
    version: '0.1.0',
    pid: 4711,
    startedSeconds: 0,
    interface: {
      name: 'rf0',
      publicKey: 'B=',
      listenPort: 51_820,
      mtu: 1420,
      addresses: ['10.9.0.1/24'],
      offloads: { udpGso: active, udpGro: active, tunTcp: active, tunUdp: active },
    },
    lane: { state: 'running', restarts: 0, lastFailure: null, asksCookiesOf: 'nobody' },
    hostRules: null,
    policy: null,
    names: null,
    rotations: [],
    peers,
    drops: {},
    faults: {},
  };
}

export function deniedOf(rule: string | null, peer: string | null, packets: number): DeniedStatus {
  return {
    peer,
    rule,
    place: rule === null ? null : '/etc/ringfence/rf0.yaml:28:9',
    stage: rule === null ? 'default' : 'deny',
    packets: String(packets),
    bytes: String(packets * 60),
  };
}

export function policyStatusOf(denied: readonly DeniedStatus[]): PolicyStatus {
  return {
    state: 'enforced',
    generation: 1,
    rules: 9,
    flows: 3,
    mostFlows: 65_536,
    evictedFlows: '0',
    exits: [],
    denied,
    accounts: [],
    services: [],
  };
}

/** Every kind of cell among so many ends. */
export function matrixOf(names: readonly string[]): MatrixTable {
  const kinds: MatrixTable['cells'][number] = [
    { kind: 'own', traffic: [], differs: false, via: null },
    { kind: 'all', traffic: [], differs: false, via: names[0] ?? null },
    { kind: 'some', traffic: ['tcp/443', 'icmp/echo-request'], differs: true, via: null },
    { kind: 'none', traffic: [], differs: false, via: null },
  ];
  return {
    rows: names.map((name) => ({ name })),
    columns: names.map((name) => ({ end: { name }, traffic: null })),
    cells: names.map((_, i) => names.flatMap((_name, j) => kinds[(i + j) % kinds.length] ?? [])),
  };
}
