// A result of the benchmark that nobody measured: every number is MADE UP, by a formula, to show each kind of plot. It is for
// tests of what is drawn and printed, and must never be published.

import { CURRENT_VERSION, METRICS, type Metric, type Result } from '../../src/bench/result.ts';

const ROUNDS = 5;
const MTUS = [1420, 1280];

/** Made-up medians of our program; the others are multiples of them. */
const OWN: Readonly<Record<string, number>> = {
  'tcp1.up': 2.62,
  'tcp1.down': 2.55,
  'tcp8.up': 2.71,
  'tcp8.down': 2.66,
  'cpu.per-gb': 4.77,
  'udp64.delivered': 410,
  'udp64.loss': 21,
  'udp1200.delivered': 282,
  'udp1200.loss': 0,
  'ping.idle.p50': 0.506,
  'ping.idle.p99': 0.71,
  'ping.load.p50': 1.9,
  'ping.load.p99': 4.4,
  'memory.load': 100.1,
  handshakes: 3100,
  start: 410,
  'start.1000': 640,
  'memory.1000': 121,
};

/** How much more of everything that counts upwards they have; of what counts downwards they have as much less. */
const OTHERS: Readonly<Record<string, number>> = { ringfence: 1, 'wireguard-go': 0.68, gotatun: 0.31 };

function madeUpValue(metric: Metric, peer: string, place: number, round: number): number {
  const factor = OTHERS[peer] ?? 1;
  const base = (OWN[metric.id] ?? 1) * (metric.better === 'more' ? factor : 1 / factor);
  // Some losses among the wins, so that both are drawn.
  const turn = metric.group === 'start' || metric.group === 'handshakes' ? factor ** 2.4 : 1;
  const wobble = 1 + 0.16 * Math.sin(round * 2.3 + place * 1.7 + metric.id.length + peer.length * 2);
  return base * wobble * (1 - place * 0.07) * (metric.better === 'more' ? 1 / turn : turn);
}

/** Three implementations, two MTUs, five rounds, every metric. */
export function madeUpResult(): Result {
  const samples = Object.keys(OTHERS).flatMap((peer) =>
    METRICS.flatMap((metric) =>
      (metric.perMtu ? MTUS : [null]).flatMap((mtu, place) =>
        Array.from({ length: ROUNDS }, (_, index) => ({
          round: index + 1,
          peer,
          mtu,
          metric: metric.id,
          value: madeUpValue(metric, peer, place, index + 1),
        })),
      ),
    ),
  );
  return {
    version: CURRENT_VERSION,
    date: '2026-01-02T03:04:05.000Z',
    commit: '0123456789abcdef0123456789abcdef01234567',
    clean: true,
    command: 'ringfence bench --rounds 5 --seconds 6 --mtu 1420,1280',
    machine: { cpu: 'made up', cores: 2, memoryBytes: 25_276_510_208, kernel: '6.18.44' },
    settings: { rounds: ROUNDS, seconds: 6, mtus: MTUS },
    peers: [
      {
        name: 'ringfence',
        version: '0.1.0 (Node.js 26.10.0)',
        offloads: ['TSO', 'USO', 'UDP GSO', 'UDP GRO'],
      },
      {
        name: 'wireguard-go',
        version: 'v0.0.0-20260522210424-ecfc5a8d5446 (go1.26.8)',
        offloads: ['TSO', 'UDP GSO', 'UDP GRO'],
      },
      { name: 'gotatun', version: '0.8.0', offloads: [] },
    ],
    samples,
    notes: ['These numbers are made up.', 'Others were busy on this machine in round 3: 0.6 cores.'],
  };
}
