// What a test sends between two hosts: pings, a TCP transfer with its checksum, UDP datagrams that come back. The programs
// at both ends are ping and transfer.ts.

import { isIPv6 } from 'node:net';
import { fileURLToPath } from 'node:url';
import { tcpThroughput } from '../../src/bench/traffic.ts';
import { within } from './deadline.ts';
import type { LineProcess } from './line-process.ts';
import type { Host } from './topology.ts';

export { type PingResult, ping } from '../../src/bench/traffic.ts';

/** The Node.js of this checkout. */
export const NODE = fileURLToPath(new URL('../../scripts/node', import.meta.url));
const TRANSFER = fileURLToPath(new URL('./transfer.ts', import.meta.url));
const DATAGRAMS = fileURLToPath(new URL('./datagrams.ts', import.meta.url));
const TRAINS = fileURLToPath(new URL('./trains.ts', import.meta.url));
const START_DEADLINE_MS = 10_000;

export type TransferEnd = { readonly bytes: number; readonly sha256: string; readonly seconds: number };
export type TransferResult = { readonly sent: TransferEnd; readonly received: TransferEnd };

/** Sends `bytes` random bytes over one TCP connection to `address`, an address of `to`. */
export async function transferTcp(
  from: Host,
  to: Host,
  address: string,
  bytes: number,
  deadlineMs = 60_000,
): Promise<TransferResult> {
  const receiver = to.spawn(NODE, [TRANSFER, 'receive', address]);
  const port = await portOf(receiver);
  const sending = from.exec(NODE, [TRANSFER, 'send', address, port, `${bytes}`], { timeoutMs: deadlineMs });
  const [stdout, match] = await Promise.all([sending, receiver.line(/^\{"bytes".*/, deadlineMs)]);
  await receiver.exited;
  return { sent: JSON.parse(stdout) as TransferEnd, received: JSON.parse(match[0]) as TransferEnd };
}

/** Sends `bytes` random bytes over each of `count` TCP connections at once. */
export async function transferTcpStreams(
  from: Host,
  to: Host,
  address: string,
  count: number,
  bytes: number,
  deadlineMs = 60_000,
): Promise<readonly TransferResult[]> {
  const receiver = to.spawn(NODE, [TRANSFER, 'receive', address, '0', `${count}`]);
  const port = await portOf(receiver);
  const stdout = await from.exec(NODE, [TRANSFER, 'send', address, port, `${bytes}`, `${count}`], {
    timeoutMs: deadlineMs,
  });
  await within(receiver.exited, deadlineMs, `${count} streams received`);
  const received = receiver.lines.flatMap(({ text }) =>
    text.startsWith('{"bytes"') ? [JSON.parse(text) as TransferEnd] : [],
  );
  // Which stream is which, its digest says.
  return stdout.split('\n').map((line) => {
    const sent = JSON.parse(line) as TransferEnd;
    const match = received.find(({ sha256 }) => sha256 === sent.sha256);
    return { sent, received: match ?? { bytes: 0, sha256: 'not received', seconds: 0 } };
  });
}

/** A ping carries 16 bits of its number. */
const PING_NUMBERS = 65_536;

/** A thousand pings a second while `work` runs; how many of them were lost. Those after the last answer are still on their way. */
export async function lostDuring(
  from: Host,
  address: string,
  work: () => Promise<void>,
): Promise<{ sent: number; lost: number }> {
  await using flood = from.spawn('ping', ['-n', '-i', '0.001', '-W', '3', address]);
  await work();
  flood.signal('SIGINT');
  await flood.exited;
  const answers = [...flood.output.matchAll(/icmp_seq=(\d+) .*time=/g)];
  let sent = Number(answers.at(-1)?.[1] ?? 0);
  while (sent < answers.length) sent += PING_NUMBERS;
  return { sent, lost: sent - answers.length };
}

export type Throughput = {
  readonly tool: string;
  /** Counted at the receiver. */
  readonly bytes: number;
  readonly bitsPerSecond: number;
};

/** One TCP stream for `seconds` to `address`, an address of `to`: by iperf3 where there is one, else by transfer.ts. */
export async function measureTcp(
  from: Host,
  to: Host,
  address: string,
  seconds: number,
): Promise<Throughput> {
  if ((await to.try('iperf3', ['--version'])).code === 0) {
    return { tool: 'iperf3', ...(await tcpThroughput(from, to, address, { seconds, streams: 1 })) };
  }
  const deadlineMs = seconds * 1000 + 30_000;
  await using server = to.spawn(NODE, [TRANSFER, 'sink', address]);
  const port = await portOf(server);
  await from.exec(NODE, [TRANSFER, 'flood', address, port, `${seconds}`], { timeoutMs: deadlineMs });
  const [text] = await server.line(/^\{"bytes".*/, deadlineMs);
  const received = JSON.parse(text) as { bytes: number; seconds: number };
  return { tool: 'node', bytes: received.bytes, bitsPerSecond: (received.bytes * 8) / received.seconds };
}

export type EchoResult = { readonly size: number; readonly echoed: boolean; readonly rttMs: number };

/** Sends one UDP datagram of each size to `address`, an address of `to`, and says which came back unchanged. */
export async function echoUdp(
  from: Host,
  to: Host,
  address: string,
  sizes: readonly number[],
): Promise<readonly EchoResult[]> {
  await using server = to.spawn(NODE, [TRANSFER, 'echo-server', address]);
  const port = await portOf(server);
  const stdout = await from.exec(NODE, [TRANSFER, 'echo', address, port, ...sizes.map(String)]);
  return stdout.split('\n').map((line) => JSON.parse(line) as EchoResult);
}

/**
 * Sends each payload as a datagram from one socket of `host`. The process goes on listening until it is stopped: what it
 * is sent shows as a line `{"from","length"}`.
 */
export async function sendDatagrams(
  host: Host,
  to: string,
  port: number,
  payloads: readonly Uint8Array[],
): Promise<LineProcess> {
  const lines = payloads.map((payload) =>
    JSON.stringify({ to, port, data: Buffer.from(payload).toString('base64') }),
  );
  const address = isIPv6(to) ? '::' : '0.0.0.0';
  const started = host.spawn(NODE, [DATAGRAMS, address], { input: `${lines.join('\n')}\n` });
  await started.line(new RegExp(`"sent":${payloads.length}`), 30_000);
  return started;
}

export type Trains = {
  readonly count: number;
  readonly lengthBytes: number;
  readonly segmentBytes: number;
};

/** Sends trains of UDP datagrams, each by one call, as programs that speak QUIC do. */
export async function sendTrains(host: Host, address: string, port: number, trains: Trains): Promise<void> {
  const { count, lengthBytes, segmentBytes } = trains;
  await host.exec(NODE, [TRAINS, address, ...[port, count, lengthBytes, segmentBytes].map(String)]);
}

/** Has a program bind a UDP port, until it is stopped. It answers nothing; what it is sent shows as a line `{"from",…}`. */
export async function holdPort(host: Host, address: string, port: number): Promise<LineProcess> {
  const holder = host.spawn(NODE, [DATAGRAMS, address, `${port}`]);
  await portOf(holder);
  return holder;
}

/** `address` and `port` as endpoints are written: `192.0.2.1:51820`, `[2001:db8::1]:51820`. */
export function endpoint(address: string, port: number): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

async function portOf(server: ReturnType<Host['spawn']>): Promise<string> {
  const [, port = ''] = await server.line(/"port":(\d+)/, START_DEADLINE_MS);
  return port;
}
