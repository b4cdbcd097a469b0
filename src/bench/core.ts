// `ringfence bench core`: packets in memory through two connected cores, no kernel and no native code in between: nanoseconds
// a packet and where they go.
//
// The shipped core has no clocks in it. A stage is the difference between two runs, of which one ends before it: a packet for
// nobody ends at the route, one for a peer without endpoint before the copy, a repeated message at the replay window. The
// AEAD is measured by itself. What is left is named for what it holds.

import { readFileSync } from 'node:fs';
import { wasmNs } from './aead.ts';
import { CorePair, OVERLAY, tcpPacket, udpPacket, vnetHeader } from './core-pair.ts';
import { medianOf, type Progress, spread, warmUp } from './repeat.ts';
import type { Spread } from './result.ts';

const SEGMENT_PAYLOAD = 1380;

interface Shape {
  readonly name: string;
  readonly title: string;
  /** Frames of a batch: as many as a lane takes in one turn before it has 192 KiB. */
  readonly frames: number;
  readonly header: Uint8Array;
  /** The `index`th of its flow. */
  packet(destination: string, index: number): Uint8Array;
  /** Messages that a frame becomes, and the bytes that each seals. */
  readonly segments: number;
  readonly sealedBytes: number;
}

const SUPERPACKET_SEGMENTS = 47;
const SHAPES: readonly Shape[] = [
  {
    name: 'udp64',
    title: 'UDP, 64 bytes',
    frames: 64,
    header: vnetHeader('udp', 0),
    packet: (destination) => udpPacket(destination, 64),
    segments: 1,
    sealedBytes: 64,
  },
  {
    name: 'tcp1420',
    title: 'TCP, 1420 bytes',
    frames: 64,
    header: vnetHeader('tcp', 0),
    packet: (destination, index) => tcpPacket(destination, 1420, index),
    segments: 1,
    sealedBytes: 1420,
  },
  {
    name: 'tso64k',
    title: 'TCP superpacket, 64 KiB',
    frames: 3,
    header: vnetHeader('tcp', SEGMENT_PAYLOAD),
    packet: (destination, index) =>
      tcpPacket(destination, 40 + SUPERPACKET_SEGMENTS * SEGMENT_PAYLOAD, index),
    segments: SUPERPACKET_SEGMENTS,
    sealedBytes: 1420,
  },
];

export const CORE_SHAPES: readonly string[] = SHAPES.map(({ name }) => name);

export interface Stage {
  readonly name: string;
  /** Of one packet as it comes from the TUN device: a superpacket counts once. */
  readonly ns: number;
}

export interface Walk {
  readonly nsPerPacket: Spread;
  /** At {@link CoreResult.cyclesPerNs}; null where it is not known. */
  readonly cyclesPerPacket: number | null;
  /** Of IP packets, headers and all. */
  readonly gigabitsPerSecond: number;
  /** Medians; together they are the median of the whole. A difference of two near times may come out below zero. */
  readonly stages: readonly Stage[];
}

/** What `--json` prints. */
export interface CoreResult {
  readonly rounds: number;
  /** Gigahertz as /proc/cpuinfo says: on many machines the rate of the time stamp counter and not that of a boosted core. */
  readonly cyclesPerNs: number | null;
  readonly packets: readonly {
    readonly name: string;
    readonly title: string;
    readonly bytes: number;
    readonly messages: number;
    readonly outbound: Walk;
    readonly inbound: Walk;
  }[];
}

export interface CoreSettings {
  readonly rounds: number;
  /** Batches of one measurement. */
  readonly batches: number;
  readonly shapes: readonly string[];
  readonly warmMs?: number;
}

export function measureCore(settings: CoreSettings, progress: Progress): CoreResult {
  const shapes = SHAPES.filter(({ name }) => settings.shapes.includes(name));
  const cyclesPerNs = clockOf(readFileSync('/proc/cpuinfo', 'utf8'));
  const pairs = [new CorePair(false), new CorePair(true)] as const;
  const packets = shapes.map((shape, index) => {
    const pair = pairs[shape.segments > 1 ? 1 : 0];
    warmUp(() => timesOf(pair, shape, 20), settings.warmMs);
    const runs: Times[] = [];
    for (let round = 0; round < settings.rounds; round++) {
      progress(index * settings.rounds + round, shapes.length * settings.rounds, shape.title);
      runs.push(timesOf(pair, shape, settings.batches));
    }
    const bytes = shape.packet(OVERLAY.right, 0).length;
    const walk = (totals: readonly number[], stages: readonly Stage[]): Walk => ({
      nsPerPacket: spread(totals),
      cyclesPerPacket: cyclesPerNs === null ? null : medianOf(totals) * cyclesPerNs,
      gigabitsPerSecond: (bytes * 8) / medianOf(totals),
      stages,
    });
    const all = (key: keyof Times): number[] => runs.map((times) => times[key]);
    const median = (key: keyof Times): number => medianOf(all(key));
    return {
      name: shape.name,
      title: shape.title,
      bytes,
      messages: shape.segments,
      outbound: walk(all('outbound'), [
        { name: 'parse, route', ns: median('routed') },
        { name: 'split, checksum, pad', ns: median('split') - median('routed') },
        { name: 'AEAD seal', ns: median('seal') },
        { name: 'copy, header, queue', ns: median('outbound') - median('split') - median('seal') },
      ]),
      inbound: walk(all('inbound'), [
        { name: 'form, index', ns: median('refused') },
        { name: 'session, replay window', ns: median('repeated') - median('refused') },
        { name: 'AEAD open', ns: median('open') },
        { name: 'copy, source check', ns: median('single') - median('repeated') - median('open') },
        { name: 'coalesce', ns: median('inbound') - median('single') },
      ]),
    };
  });
  return { rounds: settings.rounds, cyclesPerNs, packets };
}

/** Nanoseconds for a packet, by where it ends. */
interface Times {
  readonly routed: number;
  readonly split: number;
  readonly outbound: number;
  readonly seal: number;
  readonly refused: number;
  readonly repeated: number;
  readonly single: number;
  readonly inbound: number;
  readonly open: number;
}

function timesOf(pair: CorePair, shape: Shape, batches: number): Times {
  const messages = (ns: number): number => ns * shape.segments;
  return {
    routed: outboundNs(pair, shape, OVERLAY.nobody, batches),
    split: outboundNs(pair, shape, OVERLAY.lost, batches),
    outbound: outboundNs(pair, shape, OVERLAY.right, batches),
    seal: messages(wasmNs(pair.left, 'seal', shape.sealedBytes, batches * 50_000)),
    ...inboundTimes(pair, shape, batches),
    open: messages(wasmNs(pair.left, 'open', shape.sealedBytes, batches * 50_000)),
  };
}

/** The same frames again and again: what the core writes into them does not change what it does with them. */
function outboundNs(pair: CorePair, shape: Shape, destination: string, batches: number): number {
  const { left } = pair;
  pair.fill(framesOf(shape, destination));
  const began = process.hrtime.bigint();
  for (let n = 0; n < batches; n++) left.outbound(shape.frames);
  return Number(process.hrtime.bigint() - began) / batches / shape.frames;
}

function framesOf(
  { frames, header, packet }: Shape,
  destination: string,
): { header: Uint8Array; packet: Uint8Array }[] {
  return Array.from({ length: frames }, (_, index) => ({ header, packet: packet(destination, index) }));
}

/** Fresh messages for each batch, made and carried while the clock stands; then the same ones again, which are refused. */
function inboundTimes(
  pair: CorePair,
  shape: Shape,
  batches: number,
): Pick<Times, 'refused' | 'repeated' | 'single' | 'inbound'> {
  const { left, right } = pair;
  const frames = framesOf(shape, OVERLAY.right);
  const sums = { refused: 0, repeated: 0, single: 0, inbound: 0 };
  const timed = (count: number, passes: boolean): number => {
    const began = process.hrtime.bigint();
    const written = right.inbound(count);
    const ns = Number(process.hrtime.bigint() - began);
    if (written > 0 !== passes) throw new Error(`${shape.name}: ${written} pieces for the TUN device`);
    return ns;
  };
  for (let n = 0; n < batches; n++) {
    for (const key of ['single', 'inbound'] as const) {
      const joins = key === 'inbound';
      right.setOffloads({ trains: false, tcp: joins, udp: joins });
      pair.fill(frames);
      const count = left.outbound(shape.frames);
      pair.carry(left, count, right);
      sums[key] += timed(count, true);
      sums.repeated += timed(count, false) / 2;
      pair.misaddress(count);
      sums.refused += timed(count, false) / 2;
    }
  }
  const perPacket = (sum: number): number => sum / batches / shape.frames;
  return {
    refused: perPacket(sums.refused),
    repeated: perPacket(sums.repeated),
    single: perPacket(sums.single),
    inbound: perPacket(sums.inbound),
  };
}

/** Gigahertz of the first processor of /proc/cpuinfo, or null where it does not say. */
export function clockOf(cpuinfo: string): number | null {
  const megahertz = /^cpu MHz\s*:\s*([\d.]+)/m.exec(cpuinfo)?.[1];
  return megahertz === undefined ? null : Number(megahertz) / 1000;
}
