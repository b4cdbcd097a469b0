// What a node tells Prometheus: the one list of metrics, and a status as text in the exposition format. docs/metrics.md is
// generated from the list. Loaded only where the file has a section `metrics`.

import { readdirSync } from 'node:fs';
import { Counter, Gauge, Registry } from 'prom-client';
import { OFFLOAD_KEYS, OFFLOADS } from '../config/offloads.ts';
import type { AccountStatus, NodeStatus, PeerAccountStatus, PeerStatus, TallyStatus } from './target.ts';

/** One value of a metric, and the labels that tell it from the others. */
interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metric {
  readonly name: string;
  /** A counter only grows, until the node starts anew. */
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  /** Beside `interface`, which every metric has. */
  readonly labels: readonly string[];
  readonly samples: (status: NodeStatus) => readonly Sample[];
}

/** In the order of the page. */
export const METRICS: readonly Metric[] = [
  gauge(
    'ringfence_info',
    'The version that runs, and the public key of the node, if it has one yet; always 1.',
    {
      labels: ['version', 'public_key'],
      samples: ({ version, interface: own }) => [
        { labels: { version, public_key: own.publicKey ?? '' }, value: 1 },
      ],
    },
  ),
  gauge('ringfence_start_time_seconds', 'When the node was started, in seconds since 1970.', {
    samples: ({ startedSeconds }) => [{ value: startedSeconds }],
  }),
  gauge('ringfence_mtu_bytes', 'The longest packet inside the tunnel.', {
    samples: ({ interface: own }) => [{ value: own.mtu }],
  }),
  gauge('ringfence_peer_info', 'Who a peer is and where it was seen last; always 1.', {
    labels: ['peer', 'public_key', 'endpoint'],
    samples: ({ peers }) =>
      peers.map(({ name, publicKey, endpoint }) => ({
        labels: { peer: name, public_key: publicKey, endpoint: endpoint ?? '' },
        value: 1,
      })),
  }),
  counter('ringfence_peer_received_bytes_total', 'Bytes of WireGuard messages from a peer.', {
    labels: ['peer'],
    samples: perPeer(({ rxBytes }) => Number(rxBytes)),
  }),
  counter('ringfence_peer_sent_bytes_total', 'Bytes of WireGuard messages to a peer.', {
    labels: ['peer'],
    samples: perPeer(({ txBytes }) => Number(txBytes)),
  }),
  gauge(
    'ringfence_peer_last_handshake_seconds',
    'When the last handshake with a peer was, in seconds since 1970; absent before the first. `time()` less this is its age.',
    { labels: ['peer'], samples: perPeer(({ latestHandshakeSeconds }) => latestHandshakeSeconds) },
  ),
  ...used('bytes', 'Bytes of IP packets inside the tunnel'),
  ...used('packets', 'Packets inside the tunnel'),
  ...used('flows', 'Flows that were opened'),
  gauge('ringfence_peer_quota_bytes', 'The quota of a peer, where the policy gives it one.', {
    labels: ['peer'],
    samples: perQuota(({ bytes }) => Number(bytes)),
  }),
  gauge('ringfence_peer_quota_used_bytes', 'What a peer has used of its quota in the present period.', {
    labels: ['peer'],
    samples: perQuota(({ usedBytes }) => Number(usedBytes)),
  }),
  gauge(
    'ringfence_peer_quota_period_end_seconds',
    'When the period of a quota ends, in seconds since 1970.',
    {
      labels: ['peer'],
      samples: perQuota(({ endsSeconds }) => endsSeconds),
    },
  ),
  counter(
    'ringfence_dropped_packets_total',
    'Packets that went no further, by reason; every reason is there.',
    {
      labels: ['reason'],
      samples: ({ drops }) =>
        Object.entries(drops).map(([reason, count]) => ({ labels: { reason }, value: Number(count) })),
    },
  ),
  counter(
    'ringfence_system_call_faults_total',
    'System calls on packets that failed; absent before the first.',
    {
      labels: ['call', 'errno'],
      samples: ({ faults }) =>
        Object.entries(faults).map(([fault, value]) => {
          const [call = '', errno = ''] = fault.split(' ');
          return { labels: { call, errno }, value };
        }),
    },
  ),
  gauge('ringfence_offload_active', 'Whether an offload is in use: 1, or 0.', {
    labels: ['offload'],
    samples: ({ interface: { offloads } }) =>
      OFFLOADS.map((offload) => ({
        labels: { offload: OFFLOAD_KEYS[offload] },
        value: offloads[offload].isActive ? 1 : 0,
      })),
  }),
  gauge(
    'ringfence_offload_obstacle',
    'Why an offload is not in use; always 1, absent while it is. `config`: the file has it off; `environment`: `RINGFENCE_OFFLOADS` has; `host`: the host lacks it; `eio`: the host refused a train.',
    {
      labels: ['offload', 'obstacle'],
      samples: ({ interface: { offloads } }) =>
        OFFLOADS.flatMap((offload) => {
          const { obstacle } = offloads[offload];
          return obstacle === null
            ? []
            : [{ labels: { offload: OFFLOAD_KEYS[offload], obstacle }, value: 1 }];
        }),
    },
  ),
  counter(
    'ringfence_dns_questions_total',
    'Questions for names, by how they ended. `own`: answered from the policy; `forwarded`, `kept`: by another server, now or before; `refused`: the policy refuses it; `failed`: no other server answered; `overload`: too many waited; `malformed`; `stranger`: from no peer, not answered.',
    {
      labels: ['outcome'],
      samples: ({ names }) =>
        Object.entries(names?.questions ?? {}).map(([outcome, count]) => ({
          labels: { outcome },
          value: Number(count),
        })),
    },
  ),
  gauge(
    'ringfence_host_path_effective',
    "Whether packets of an opening, a published port or another path pass all rules of the host: 1, or 0; absent where that is not known, or the file says nothing of the host's rules.",
    {
      labels: ['path'],
      samples: ({ hostRules }) =>
        (hostRules?.paths ?? []).flatMap(({ name, effective }) =>
          effective === 'unknown' ? [] : [{ labels: { path: name }, value: effective === 'yes' ? 1 : 0 }],
        ),
    },
  ),
  gauge('ringfence_lane_up', 'Whether packets flow: 1, or 0 while a lane that failed is replaced.', {
    samples: ({ lane }) => [{ value: lane.state === 'running' ? 1 : 0 }],
  }),
  counter('ringfence_lane_restarts_total', 'Lanes that failed and were replaced.', {
    samples: ({ lane }) => [{ value: lane.restarts }],
  }),
  counter('process_cpu_user_seconds_total', 'CPU time of the process outside the kernel.', {
    samples: () => [{ value: process.cpuUsage().user / 1e6 }],
  }),
  counter('process_cpu_system_seconds_total', 'CPU time of the process inside the kernel.', {
    samples: () => [{ value: process.cpuUsage().system / 1e6 }],
  }),
  gauge('process_resident_memory_bytes', 'Memory of the process that is in RAM.', {
    samples: () => [{ value: process.memoryUsage.rss() }],
  }),
  gauge('process_open_fds', 'File descriptors that are open.', {
    samples: () => [{ value: readdirSync('/proc/self/fd').length }],
  }),
];

/** The page of a status, and its content type. */
export async function renderMetrics(status: NodeStatus): Promise<{ contentType: string; body: string }> {
  // Made anew for each page: two that are made at a time share nothing, and a peer that is gone leaves nothing behind.
  const registry = new Registry();
  registry.setDefaultLabels({ interface: status.interface.name });
  for (const metric of METRICS) register(registry, metric, status);
  return { contentType: registry.contentType, body: await registry.metrics() };
}

function register(
  registry: Registry,
  { name, type, help, labels, samples }: Metric,
  status: NodeStatus,
): void {
  const options = { name, help, labelNames: [...labels], registers: [registry] };
  const kept = type === 'counter' ? new Counter(options) : new Gauge(options);
  for (const { labels: own = {}, value } of samples(status)) kept.inc(own, value);
}

type Rest = Pick<Metric, 'samples'> & Partial<Pick<Metric, 'labels'>>;

function counter(name: string, help: string, { labels = [], samples }: Rest): Metric {
  return { name, type: 'counter', help, labels, samples };
}

function gauge(name: string, help: string, { labels = [], samples }: Rest): Metric {
  return { name, type: 'gauge', help, labels, samples };
}

/** Of the peers and the services of the policy, each way. */
function used(what: keyof TallyStatus, help: string): Metric[] {
  const both = (labels: Readonly<Record<string, string>>, { up, down }: AccountStatus): Sample[] => [
    { labels: { ...labels, direction: 'up' }, value: Number(up[what]) },
    { labels: { ...labels, direction: 'down' }, value: Number(down[what]) },
  ];
  return [
    counter(
      `ringfence_policy_peer_${what}_total`,
      `${help}: from a peer (up) and to it (down); over restarts.`,
      {
        labels: ['peer', 'direction'],
        samples: (status) => accountsOf(status).flatMap((account) => both({ peer: account.peer }, account)),
      },
    ),
    counter(
      `ringfence_policy_service_${what}_total`,
      `${help}: to a service of the policy (up) and from it (down); over restarts.`,
      {
        labels: ['service', 'direction'],
        samples: ({ policy }) =>
          policy?.state === 'enforced'
            ? policy.services.flatMap((account) => both({ service: account.service }, account))
            : [],
      },
    ),
  ];
}

function accountsOf({ policy }: NodeStatus): readonly PeerAccountStatus[] {
  return policy?.state === 'enforced' ? policy.accounts : [];
}

function perQuota(read: (quota: NonNullable<PeerAccountStatus['quota']>) => number): Metric['samples'] {
  return (status) =>
    accountsOf(status).flatMap(({ peer, quota }) =>
      quota === null ? [] : [{ labels: { peer }, value: read(quota) }],
    );
}

function perPeer(read: (peer: PeerStatus) => number | null): Metric['samples'] {
  return ({ peers }) =>
    peers.flatMap((peer) => {
      const value = read(peer);
      return value === null ? [] : [{ labels: { peer: peer.name }, value }];
    });
}
