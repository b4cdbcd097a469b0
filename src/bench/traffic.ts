// What a measurement sends between two hosts: pings, TCP streams by iperf3, floods of UDP datagrams. Counts at the receiver.

import type { LineProcess, SpawnOptions } from './line-process.ts';
import { ownProgram } from './own-program.ts';
import type { StormOptions, StormReport } from './storm.ts';
import type { Host } from './topology.ts';
import type { FloodReport, SinkReport } from './udp-load.ts';

const START_DEADLINE_MS = 30_000;
const SPARE_MS = 30_000;

export type PingOptions = {
  readonly count?: number;
  readonly intervalMs?: number;
  /** ICMP payload; 8 bytes of ICMP and the IP header come on top. */
  readonly sizeBytes?: number;
  /** Sets DF (IPv4) and forbids fragments at the source (both families). */
  readonly doNotFragment?: boolean;
  /** How long to wait for each answer. */
  readonly waitMs?: number;
};

export type PingResult = {
  readonly sent: number;
  readonly received: number;
  /** Round trips in the order of arrival. */
  readonly rttsMs: readonly number[];
  readonly output: string;
};

/** Pings from `host`; no answer is a result and no error. */
export async function ping(host: Host, address: string, options: PingOptions = {}): Promise<PingResult> {
  const { count = 3, intervalMs = 20, sizeBytes = 56, doNotFragment = false, waitMs = 2_000 } = options;
  const args = [
    '-n',
    '-c',
    `${count}`,
    '-i',
    `${intervalMs / 1000}`,
    '-W',
    `${waitMs / 1000}`,
    '-s',
    `${sizeBytes}`,
  ];
  if (doNotFragment) args.push('-M', 'do');
  const timeoutMs = count * (intervalMs + waitMs) + 10_000;
  const { code, stdout, stderr } = await host.try('ping', [...args, address], { timeoutMs });
  const summary = /(\d+) packets transmitted, (\d+) received/.exec(stdout);
  if (summary === null) throw new Error(`${host.name}: ping ${address}: exit ${code}: ${stdout}${stderr}`);
  return {
    sent: Number(summary[1]),
    received: Number(summary[2]),
    rttsMs: [...stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1])),
    output: stdout + stderr,
  };
}

export type TcpOptions = { readonly seconds: number; readonly streams: number };
export type TcpResult = { readonly bytes: number; readonly bitsPerSecond: number };

/** TCP streams by iperf3 to `address`, an address of `to`. What counts is what the receiver has counted. */
export async function tcpThroughput(
  from: Host,
  to: Host,
  address: string,
  { seconds, streams }: TcpOptions,
): Promise<TcpResult> {
  await using server = to.spawn('iperf3', ['-s', '-1', '-B', address, '--forceflush']);
  await server.line(/Server listening/, START_DEADLINE_MS);
  const args = ['-c', address, '-t', `${seconds}`, '-P', `${streams}`, '-J'];
  const { stdout, stderr } = await from.try('iperf3', args, { timeoutMs: seconds * 1000 + SPARE_MS });
  const report = JSON.parse(stdout) as Iperf3Report;
  if (report.end?.sum_received === undefined) throw new Error(`iperf3: ${report.error ?? stderr}`);
  const { bytes, bits_per_second: bitsPerSecond } = report.end.sum_received;
  return { bytes, bitsPerSecond };
}

type Iperf3Report = {
  readonly error?: string;
  readonly end?: { readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number } };
};

export type UdpResult = {
  readonly sent: number;
  readonly received: number;
  readonly packetsPerSecond: number;
};

/** A flood of UDP datagrams with `payloadBytes` each to `address`, an address of `to`; udp-load.ts is both its ends. */
export async function udpFlood(
  from: Host,
  to: Host,
  address: string,
  payloadBytes: number,
  seconds: number,
): Promise<UdpResult> {
  await using sink = spawnOwn(to, ['sink']);
  const [, port = ''] = await sink.line(/"port":(\d+)/, START_DEADLINE_MS);
  await using sender = spawnOwn(from, ['flood', address, port, `${payloadBytes}`, `${seconds}`]);
  const [flooded] = await sender.line(/^\{"sent".*/, seconds * 1000 + SPARE_MS);
  sink.signal('SIGTERM');
  const [counted] = await sink.line(/^\{"received".*/, SPARE_MS);
  const { sent } = JSON.parse(flooded) as FloodReport;
  const { received, seconds: measured } = JSON.parse(counted) as SinkReport;
  return { sent, received, packetsPerSecond: measured > 0 ? received / measured : 0 };
}

/** Handshakes as fast as they are answered, from `host`. */
export async function knock(host: Host, options: StormOptions): Promise<StormReport> {
  await using initiators = spawnOwn(host, ['storm'], { input: JSON.stringify(options) });
  const [report] = await initiators.line(/^\{"answered".*/, options.seconds * 1000 + 2 * SPARE_MS);
  return JSON.parse(report) as StormReport;
}

/** Starts one of the programs that `ringfence bench inside` has, in a namespace. */
function spawnOwn(host: Host, args: readonly string[], options: SpawnOptions = {}): LineProcess {
  const [file, ...rest] = ownProgram('bench', 'inside', ...args);
  return host.spawn(file, rest, options);
}
