// `ringfence explain --live PEER`: the packets of a peer as they cross its tunnel, each with what decided on it, and at the end
// how many each row has decided on.

import { styleText } from 'node:util';
import { MOST_PORT, renderTraffic } from '../address/traffic.ts';
import type { FollowedAnswer, FollowedPacket } from '../control/target.ts';
import { askRunning, onlyInterface } from './running-node.ts';
import { alignColumns } from './table.ts';

export interface LiveOptions {
  readonly seconds: number;
  readonly interface: string | undefined;
  readonly json: boolean;
}

/** How long a node may be late with its answer. */
const GRACE_MS = 10_000;
const ICMP_PROTOCOLS: readonly number[] = [1, 58];
const COLOURS = { allow: 'green', deny: 'red', drop: 'yellow' } as const;
const VERDICTS = { allow: 'allowed', deny: 'denied', drop: 'dropped' } as const;

/** Follows the peer until the time is over, the reader has seen enough, or Ctrl-C. */
export async function explainLive(peer: string, options: LiveOptions): Promise<void> {
  const { seconds, json } = options;
  const iface = options.interface ?? onlyInterface();
  const stop = stopped();
  const counts = new Map<string, Count>();
  const onTold = (word: unknown): void => {
    if (word === 'begun') {
      const until = `for ${seconds} s, or until Ctrl-C`;
      if (!json) process.stderr.write(`Following the packets of ${peer} through ${iface}, ${until}.\n`);
      return;
    }
    const packet = word as FollowedPacket;
    count(counts, packet);
    process.stdout.write(json ? `${JSON.stringify(packet)}\n` : `${renderPacket(packet)}\n`);
  };
  const request = { request: 'follow', peer, seconds };
  const timeoutMs = seconds * 1000 + GRACE_MS;
  const { missed } = await askRunning<FollowedAnswer>(iface, request, { timeoutMs, onTold, stop });
  process.stdout.write(json ? `${JSON.stringify(toJson(counts, missed))}\n` : renderSummary(counts, missed));
}

/** The first Ctrl-C ends the following, not the program; so does a reader that goes away. */
function stopped(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  process.stdout.once('error', () => stop.abort());
  return stop.signal;
}

interface Count {
  readonly packet: FollowedPacket;
  packets: number;
  bytes: number;
}

function count(counts: Map<string, Count>, packet: FollowedPacket): void {
  const { leg, verdict } = packet;
  const key = [leg, verdict, decidedBy(packet)].join(' ');
  const known = counts.get(key) ?? { packet, packets: 0, bytes: 0 };
  known.packets++;
  known.bytes += packet.lengthBytes;
  counts.set(key, known);
}

function renderPacket(packet: FollowedPacket): string {
  const { timeMs, leg, verdict, lengthBytes } = packet;
  const time = new Date(timeMs).toISOString().slice(11, 23);
  const verdictText = styleText(COLOURS[verdict], VERDICTS[verdict], { stream: process.stdout });
  const ends = `${renderEnd(packet.source, sourcePort(packet))} → ${packet.destination ?? '?'}`;
  const traffic = `${trafficOf(packet)}, ${lengthBytes} bytes`;
  return `${time}  ${leg.padEnd(3)}  ${ends}  ${traffic}  ${verdictText}  ${decidedBy(packet)}`;
}

/** `grant by peers.bob.allow[0], ringfence.yaml:18:9`, the stage alone where no row decided, or why it was dropped. */
function decidedBy({ stage, rule, place, reason }: FollowedPacket): string {
  if (reason !== null) return reason;
  if (rule === null) return `${stage}`;
  return place === null ? `${stage} by ${rule}` : `${stage} by ${rule}, ${place}`;
}

/** Of ICMP there is none. */
function sourcePort({ protocol, sourcePort: port }: FollowedPacket): number | null {
  return ICMP_PROTOCOLS.includes(protocol) ? null : port;
}

function renderEnd(address: string | null, port: number | null): string {
  if (address === null) return '?';
  if (port === null) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function trafficOf({ protocol, port }: FollowedPacket): string {
  return renderTraffic({ protocol, first: port ?? 0, last: port ?? MOST_PORT });
}

function sorted(counts: ReadonlyMap<string, Count>): Count[] {
  return [...counts.values()].sort((a, b) => b.packets - a.packets);
}

function renderSummary(counts: ReadonlyMap<string, Count>, missed: number): string {
  const rows = sorted(counts).map(({ packet, packets, bytes }) => [
    packet.leg,
    VERDICTS[packet.verdict],
    String(packets),
    String(bytes),
    decidedBy(packet),
  ]);
  const table = alignColumns([['LEG', 'VERDICT', 'PACKETS', 'BYTES', 'BY'], ...rows]);
  const lines = rows.length === 0 ? ['No packet crossed the tunnel.'] : ['', ...table];
  if (missed > 0) lines.push(`${missed} more packets came too fast to be shown.`);
  return `${lines.join('\n')}\n`;
}

function toJson(counts: ReadonlyMap<string, Count>, missed: number): unknown {
  const summary = sorted(counts).map(({ packet, packets, bytes }) => {
    const { leg, verdict, stage, rule, place, reason } = packet;
    return { leg, verdict, stage, rule, place, reason, packets, bytes };
  });
  return { summary, missed };
}
