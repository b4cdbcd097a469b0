// `ringfence bench filter`: what the packet filter costs. Packets in memory through two connected cores, without a policy and with
// policies of more and more rules in the same run, in turns; then how long a large policy takes to apply. A known flow is what
// nearly every packet is of; what a new one costs is asked of `judge`, whose own call is in that time. The least of many short
// rounds is told: what else a machine does only ever adds.

import { nobody } from '../policy/compile.ts';
import { type CompiledPolicy, type CompiledSubject, OUTSIDE, SELF } from '../policy/compiled.ts';
import { PolicyEncoder } from '../policy/encode.ts';
import { CorePair, OVERLAY, publicKeyOf, tcpPacket, udpPacket, vnetHeader } from './core-pair.ts';
import { type Progress, warmUp } from './repeat.ts';

const RULES = [10, 1_000, 100_000] as const;
const LARGE = { peers: 5_000, grantsEach: 10 };
/** What a lane takes in at once: `POLICY_BYTES_AT_ONCE` in src/lane/lane.ts. */
const PIECE_BYTES = 64 * 1024;
const SUPERPACKET_BYTES = 40 + 47 * 1380;

const SHAPES = [
  {
    name: 'UDP, 64 bytes',
    frames: 64,
    header: vnetHeader('udp', 0),
    packet: () => udpPacket(OVERLAY.right, 64),
  },
  {
    name: 'UDP, 64 bytes, 64 flows',
    frames: 64,
    header: vnetHeader('udp', 0),
    packet: (index: number) => udpPacket(OVERLAY.right, 64, index),
  },
  {
    name: 'TCP superpacket, 64 KiB',
    frames: 3,
    header: vnetHeader('tcp', 1380),
    packet: (index: number) => tcpPacket(OVERLAY.right, SUPERPACKET_BYTES, index),
  },
] as const;

export interface FilterResult {
  readonly rounds: number;
  /** Nanoseconds of one packet as it comes from the TUN device, the least of all rounds, by the number of rules; 0 = no policy. */
  readonly packets: readonly {
    readonly name: string;
    readonly rules: number;
    readonly outboundNs: number;
    readonly inboundNs: number;
  }[];
  /** Nanoseconds to judge the first packet of a flow. */
  readonly newFlowNs: readonly { readonly rules: number; readonly ns: number }[];
  /** 5,000 peers with ten grants each, whole, and one peer of them changed. Milliseconds inside the core. */
  readonly apply: {
    readonly wholeMs: number;
    readonly longestCallMs: number;
    readonly onePeerMs: number;
    /** What writing the records took outside of the core. */
    readonly encodeMs: number;
  };
  /** Of the core's memory, beyond what it takes without a filter: room for every flow included. */
  readonly memoryBytes: number;
}

export function measureFilter(rounds: number, batches: number, progress: Progress): FilterResult {
  const variants = [0, ...RULES].map((rules) => ({ rules, pair: pairWith(rules) }));
  const times = new Map<string, { outbound: number[]; inbound: number[] }>();
  const key = (shape: string, rules: number): string => `${shape} ${rules}`;
  for (const { pair } of variants) warmUp(() => void SHAPES.map((shape) => walkNs(pair, shape, 10)));
  for (let round = 0; round < rounds; round++) {
    progress(round, rounds, 'packets');
    for (const shape of SHAPES) {
      for (const { rules, pair } of variants) {
        const { outbound, inbound } = walkNs(pair, shape, batches);
        const all = times.get(key(shape.name, rules)) ?? { outbound: [], inbound: [] };
        all.outbound.push(outbound);
        all.inbound.push(inbound);
        times.set(key(shape.name, rules), all);
      }
    }
  }
  const packets = SHAPES.flatMap(({ name }) =>
    variants.map(({ rules }) => {
      const { outbound = [], inbound = [] } = times.get(key(name, rules)) ?? {};
      return { name, rules, outboundNs: Math.min(...outbound), inboundNs: Math.min(...inbound) };
    }),
  );
  const newFlowNs = variants.slice(1).map(({ rules, pair }) => ({ rules, ns: judgeNs(pair) }));
  const [none, some] = variants;
  const memoryBytes = bytesOf(some?.pair) - bytesOf(none?.pair);
  return { rounds, packets, newFlowNs, apply: applyMs(), memoryBytes };
}

const bytesOf = (pair: CorePair | undefined): number => pair?.right.memory.buffer.byteLength ?? 0;

/** Two cores of which both enforce a policy of so many rules; 0 = neither has one. */
function pairWith(rules: number): CorePair {
  const pair = new CorePair(true);
  if (rules === 0) return pair;
  const records = new PolicyEncoder();
  const policy = policyOf(rules);
  const bytes = records.encode(policy);
  const own = (address: string) => new PolicyEncoder().encodeOwn([host(address)]) ?? new Uint8Array();
  for (const [core, address] of [
    [pair.left, OVERLAY.left],
    [pair.right, OVERLAY.right],
  ] as const) {
    core.enableFilter(true); // the streams have no beginning
    core.beginPolicy();
    core.stagePolicy(bytes);
    core.stagePolicy(own(address));
    core.commitPolicy();
  }
  return pair;
}

/** Grants to as many hosts and ports, of which the last is what the packets need. */
function policyOf(rules: number): CompiledPolicy {
  const grant = (i: number, to: string, protocol: number, port: number) => ({
    rule: `allow[${i}]`,
    action: 'allow' as const,
    legs: ['in', 'out'] as const,
    to: host(to),
    protocol,
    ports: [port, port] as const,
  });
  const many = Array.from({ length: rules - 2 }, (_, i) => grant(i, manyAddress(i), 6, 1 + (i % 60_000)));
  const needed = [grant(rules - 2, OVERLAY.right, 6, 443), grant(rules - 1, OVERLAY.right, 17, 443)];
  const peer = { ruleSets: ['all'], isPeer: true };
  return {
    denial: 'drop',
    ruleSets: new Map([['all', [...many, ...needed]]]),
    networks: new Map(),
    subjects: new Map([
      [SELF, { ...NOBODY, ruleSets: ['all'] }],
      [OUTSIDE, NOBODY],
      ['left', { ...NOBODY, ...peer, addresses: [host(OVERLAY.left)] }],
      ['right', { ...NOBODY, ...peer, addresses: [host(OVERLAY.right)] }],
    ]),
    peers: new Map([
      [
        'left',
        { publicKey: publicKeyOf(new Uint8Array(32).fill(1)), subject: 'left', sites: [], limits: null },
      ],
      [
        'right',
        { publicKey: publicKeyOf(new Uint8Array(32).fill(2)), subject: 'right', sites: [], limits: null },
      ],
    ]),
    services: null,
    notInternet: [{ address: { version: 4, bytes: Uint8Array.of(10, 0, 0, 0) }, length: 8 }],
  };
}

const NOBODY = nobody([]);

function manyAddress(i: number): string {
  return `10.${128 + ((i >> 16) & 0x7f)}.${(i >> 8) & 0xff}.${i & 0xff}`;
}

function host(address: string) {
  return { address: { version: 4 as const, bytes: Uint8Array.from(address.split('.'), Number) }, length: 32 };
}

/** Nanoseconds of a packet through the sender, and through the receiver, which joins what belongs together. */
function walkNs(pair: CorePair, shape: (typeof SHAPES)[number], batches: number) {
  const { left, right } = pair;
  const frames = Array.from({ length: shape.frames }, (_, i) => ({
    header: shape.header,
    packet: shape.packet(i),
  }));
  right.setOffloads({ trains: false, tcp: true, udp: true });
  let [outbound, inbound] = [0n, 0n];
  for (let n = 0; n < batches; n++) {
    pair.fill(frames);
    const began = process.hrtime.bigint();
    const count = left.outbound(shape.frames);
    outbound += process.hrtime.bigint() - began;
    pair.carry(left, count, right);
    const arrived = process.hrtime.bigint();
    const written = right.inbound(count);
    inbound += process.hrtime.bigint() - arrived;
    if (written === 0) throw new Error(`${shape.name}: nothing reached the TUN device`);
  }
  const perPacket = (sum: bigint): number => Number(sum) / batches / shape.frames;
  return { outbound: perPacket(outbound), inbound: perPacket(inbound) };
}

function judgeNs({ right }: CorePair): number {
  const packet = udpPacket(OVERLAY.right, 64);
  const times = Array.from({ length: 9 }, () => {
    const began = process.hrtime.bigint();
    for (let n = 0; n < 10_000; n++) right.judge('in', 0, packet, 'first');
    return Number(process.hrtime.bigint() - began) / 10_000;
  });
  return Math.min(...times);
}

function applyMs(): FilterResult['apply'] {
  const all = Array.from({ length: 5 }, applyOnce);
  const least = (key: keyof FilterResult['apply']): number => Math.min(...all.map((times) => times[key]));
  return {
    wholeMs: least('wholeMs'),
    longestCallMs: least('longestCallMs'),
    onePeerMs: least('onePeerMs'),
    encodeMs: least('encodeMs'),
  };
}

function applyOnce(): FilterResult['apply'] {
  const { right } = new CorePair(false);
  right.enableFilter(false);
  const encoder = new PolicyEncoder();
  const apply = (policy: CompiledPolicy) => {
    const began = performance.now();
    const records = encoder.encode(policy);
    const encodeMs = performance.now() - began;
    const calls: number[] = [];
    const timed = (work: () => void): void => {
      const start = performance.now();
      work();
      calls.push(performance.now() - start);
    };
    right.beginPolicy();
    for (let at = 0; at < records.length; at += PIECE_BYTES)
      timed(() => right.stagePolicy(records.subarray(at, at + PIECE_BYTES)));
    timed(() => right.commitPolicy());
    return { all: calls.reduce((sum, ms) => sum + ms, 0), longest: Math.max(...calls), encodeMs };
  };
  const [whole, one] = [apply(largePolicy(null)), apply(largePolicy(7))];
  return {
    wholeMs: whole.all,
    longestCallMs: whole.longest,
    onePeerMs: one.all,
    encodeMs: whole.encodeMs,
  };
}

function largePolicy(changed: number | null): CompiledPolicy {
  const names = Array.from({ length: LARGE.peers }, (_, i) => `p${i}`);
  const grants = (i: number) =>
    Array.from({ length: i === changed ? 1 : LARGE.grantsEach }, (_, j) => ({
      rule: `peers.p${i}.allow[${j}]`,
      action: 'allow' as const,
      legs: ['in', 'out'] as const,
      to: host(manyAddress(i * LARGE.grantsEach + j)),
      protocol: 6,
      ports: [443, 443 + j] as const,
    }));
  const key = (i: number): Uint8Array => {
    const bytes = new Uint8Array(32).fill(9);
    new DataView(bytes.buffer).setUint32(0, i);
    return bytes;
  };
  return {
    denial: 'drop',
    ruleSets: new Map(names.map((name, i) => [name, grants(i)])),
    networks: new Map(),
    subjects: new Map([
      [SELF, NOBODY],
      [OUTSIDE, NOBODY],
      ...names.map((name, i): [string, CompiledSubject] => [
        name,
        {
          ...NOBODY,
          ruleSets: [name],
          isPeer: true,
          addresses: [host(`10.${i >> 16}.${(i >> 8) & 0xff}.${i & 0xff}`)],
        },
      ]),
    ]),
    peers: new Map(
      names.map((name, i) => [name, { publicKey: key(i), subject: name, sites: [], limits: null }]),
    ),
    services: null,
    notInternet: [],
  };
}
