// One task of a plan, measured: a pair of ends under one load after the other, or one end alone.
//
//   iperf3, ping, flood ─ left ═══════ tunnel ═══════ right ─ iperf3, sink
//                          └──────── one veth ────────┘
//
// Every stream is counted at its receiver, and again at the sender's tunnel device and on the wire: one that bypassed the tunnel
// would not show up there.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cpuSeconds, memoryMebibytes } from './cost.ts';
import { type EndOptions, generateKeyPair, type Program, type RunningEnd } from './implementation.ts';
import {
  type LONE_LOADS,
  type MetricId,
  type PAIR_LOADS,
  PING_COUNT,
  PING_INTERVAL_MS,
  type Plan,
} from './plan.ts';
import { quantile } from './result.ts';
import { startRingfence } from './ringfence.ts';
import { type Direct, direct, type Host, Topology } from './topology.ts';
import { knock, ping, type TcpOptions, tcpThroughput, udpFlood } from './traffic.ts';
import { startUapi } from './uapi.ts';

export type Values = Partial<Record<MetricId, number>>;

const PORT = 51_820;
/** The IP packet of a ping. */
const PING_BYTES = 84;
/** IPv6, UDP and WireGuard around a packet: what the wire must take beyond the tunnel's MTU. */
const OVERHEAD_BYTES = 80;
/** For benchmarks, RFC 2544. */
const INITIATOR_NETWORK = '198.18.0.0/15';
const INITIATOR_COUNT = 1000;
const LEFT = { address: '10.9.0.1', interface: '10.9.0.1/24' };
const RIGHT = { address: '10.9.0.2', interface: '10.9.0.2/24' };

interface BytesSent {
  readonly tunnel: number;
  readonly wire: number;
}

/** Unique among all pairs that are up. */
function deviceOf(pair: number, host: string): string {
  return `bench${pair}-${host}`;
}

/** A folder below TMPDIR that ends with its owner. */
async function scratch(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'ringfence-bench-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Starts one end, in a folder of its own below `directory`. */
async function startEnd(
  program: Program,
  directory: string,
  options: Omit<EndOptions, 'directory'>,
): Promise<RunningEnd> {
  const own = join(directory, options.device);
  await mkdir(own);
  const start = program.kind === 'ringfence' ? startRingfence : startUapi;
  return await start(program, { ...options, directory: own });
}

/** Two ends of one program that know each other, and the wire between them. Several may be up at once. */
export class Pair implements AsyncDisposable {
  readonly left: Host;
  readonly right: Host;
  readonly ends: readonly [RunningEnd, RunningEnd];
  readonly #number: number;
  readonly #owned: AsyncDisposableStack;
  static #count = 0;

  private constructor(
    number: number,
    net: Direct,
    ends: readonly [RunningEnd, RunningEnd],
    owned: AsyncDisposableStack,
  ) {
    this.#number = number;
    this.left = net.left;
    this.right = net.right;
    this.ends = ends;
    this.#owned = owned;
  }

  /** Resolves once pings have come back through the tunnel. `cpus`: what left and right are kept to, with all that runs there. */
  static async start(program: Program, mtu: number, cpus: readonly string[] = []): Promise<Pair> {
    await using undo = new AsyncDisposableStack();
    const { path } = undo.use(await scratch());
    const net = undo.use(await direct(mtu + OVERHEAD_BYTES));
    [net.left.cpus, net.right.cpus] = cpus;
    const keys = { left: generateKeyPair(), right: generateKeyPair() };
    const number = ++Pair.#count;
    const start = async (own: 'left' | 'right', other: 'left' | 'right') =>
      undo.use(
        await startEnd(program, path, {
          host: net[own],
          device: deviceOf(number, own),
          privateKey: keys[own].privateKey,
          listenPort: PORT,
          addresses: [own === 'left' ? LEFT.interface : RIGHT.interface],
          mtu,
          peers: [
            {
              publicKey: keys[other].publicKey,
              endpoint: `${net[other].v4}:${PORT}`,
              addresses: [other === 'left' ? LEFT.address : RIGHT.address],
            },
          ],
        }),
      );
    const pair = new Pair(
      number,
      net,
      [await start('left', 'right'), await start('right', 'left')],
      undo.move(),
    );
    try {
      const warm = await ping(pair.left, RIGHT.address, { count: 5 });
      if (warm.received === 0) throw new Error(`nothing comes through\n${warm.output}`);
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
    return pair;
  }

  /** What a host of this pair has sent into its tunnel, and on the wire below it. */
  async bytesSent(host: Host): Promise<BytesSent> {
    const links = JSON.parse(await host.ip('-s', '-j', 'link')) as {
      ifname: string;
      stats64: { tx: { bytes: number } };
    }[];
    const sentBy = (name: string): number =>
      links.find(({ ifname }) => ifname === name)?.stats64.tx.bytes ?? 0;
    return { tunnel: sentBy(deviceOf(this.#number, host.name)), wire: sentBy('eth0') };
  }

  /** CPU seconds of both ends so far. */
  async cpuSeconds(): Promise<number> {
    const [left, right] = this.ends;
    return (await cpuSeconds(left.pid)) + (await cpuSeconds(right.pid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

type Measurement<Load extends string> = Readonly<Record<Load, (of: Pair, plan: Plan) => Promise<Values>>>;

const PAIR_MEASUREMENTS: Measurement<keyof typeof PAIR_LOADS> = {
  async idle(pair) {
    const { p50, p99 } = await pings(pair);
    return { 'ping.idle.p50': p50, 'ping.idle.p99': p99 };
  },
  async tcpUp(pair, { seconds }) {
    const before = await pair.cpuSeconds();
    const { gigabits, bytes } = await stream(pair, 'up', { seconds, streams: 1 });
    const cpu = (await pair.cpuSeconds()) - before;
    return { 'tcp1.up': gigabits, 'cpu.per-gb': cpu / (bytes / 1e9) };
  },
  tcpDown: async (pair, { seconds }) => ({
    'tcp1.down': (await stream(pair, 'down', { seconds, streams: 1 })).gigabits,
  }),
  tcp8Up: async (pair, { seconds }) => ({
    'tcp8.up': (await stream(pair, 'up', { seconds, streams: 8 })).gigabits,
  }),
  tcp8Down: async (pair, { seconds }) => ({
    'tcp8.down': (await stream(pair, 'down', { seconds, streams: 8 })).gigabits,
  }),
  async loaded(pair, { seconds }) {
    const load = stream(pair, 'up', { seconds: seconds + 1, streams: 1 });
    // All but the first and the last half second of the stream, which is not yet, or no longer, at full speed.
    const [{ p50, p99 }] = await Promise.all([pings(pair, (seconds * 1000) / PING_INTERVAL_MS), load]);
    return { 'ping.load.p50': p50, 'ping.load.p99': p99 };
  },
  async udp64(pair, { seconds }) {
    const { kpps, loss } = await datagrams(pair, 64, seconds);
    return { 'udp64.delivered': kpps, 'udp64.loss': loss };
  },
  async udp1200(pair, { seconds }) {
    const { kpps, loss } = await datagrams(pair, 1200, seconds);
    return { 'udp1200.delivered': kpps, 'udp1200.loss': loss };
  },
  async memory({ ends }) {
    const peaks = await Promise.all(ends.map(({ pid }) => memoryMebibytes(pid, 'VmHWM')));
    return { 'memory.load': Math.max(...peaks) };
  },
};

/** Puts one load on a pair and returns the metrics that come of it. */
export async function measurePair(load: keyof typeof PAIR_LOADS, pair: Pair, plan: Plan): Promise<Values> {
  return await PAIR_MEASUREMENTS[load](pair, plan);
}

async function pings(pair: Pair, count = PING_COUNT): Promise<{ p50: number; p99: number }> {
  const options = { count: Math.max(10, count), intervalMs: PING_INTERVAL_MS };
  const { left } = pair;
  const before = await pair.bytesSent(left);
  const { rttsMs, output } = await ping(left, RIGHT.address, options);
  if (rttsMs.length === 0) throw new Error(`no ping came back\n${output}`);
  await expectTunnelled(pair, left, before, rttsMs.length * PING_BYTES);
  const sorted = rttsMs.toSorted((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
}

async function stream(
  pair: Pair,
  direction: 'up' | 'down',
  options: TcpOptions,
): Promise<{ gigabits: number; bytes: number }> {
  const { left, right } = pair;
  const [from, to, address] = direction === 'up' ? [left, right, RIGHT.address] : [right, left, LEFT.address];
  const before = await pair.bytesSent(from);
  const { bytes, bitsPerSecond } = await tcpThroughput(from, to, address, options);
  await expectTunnelled(pair, from, before, bytes);
  return { gigabits: bitsPerSecond / 1e9, bytes };
}

async function datagrams(
  pair: Pair,
  payloadBytes: number,
  seconds: number,
): Promise<{ kpps: number; loss: number }> {
  const { left, right } = pair;
  const before = await pair.bytesSent(left);
  const { sent, received, packetsPerSecond } = await udpFlood(
    left,
    right,
    RIGHT.address,
    payloadBytes,
    seconds,
  );
  if (received === 0) throw new Error(`none of ${sent} datagrams arrived`);
  await expectTunnelled(pair, left, before, received * payloadBytes);
  return { kpps: packetsPerSecond / 1000, loss: (1 - received / sent) * 100 };
}

/** What arrived must have gone into the tunnel, and out of it over the wire: else it took another way. */
async function expectTunnelled(pair: Pair, host: Host, before: BytesSent, bytes: number): Promise<void> {
  const after = await pair.bytesSent(host);
  for (const place of ['tunnel', 'wire'] as const) {
    const crossed = after[place] - before[place];
    if (crossed < bytes) throw new Error(`${bytes} bytes arrived, but only ${crossed} crossed the ${place}`);
  }
}

const LONE_MEASUREMENTS: Readonly<
  Record<keyof typeof LONE_LOADS, (program: Program, plan: Plan) => Promise<Values>>
> = {
  handshakes,
  start: async (program) => ({ start: (await timeStart(program, 1)).readyMs }),
  async start1000(program) {
    const { readyMs, mebibytes } = await timeStart(program, 1000);
    return { 'start.1000': readyMs, 'memory.1000': mebibytes };
  },
};

/** Measures one end alone. */
export async function measureLone(
  load: keyof typeof LONE_LOADS,
  program: Program,
  plan: Plan,
): Promise<Values> {
  return await LONE_MEASUREMENTS[load](program, plan);
}

/** From the start of a process to configured and up, with peers that never answer. */
async function timeStart(
  program: Program,
  peerCount: number,
): Promise<{ readyMs: number; mebibytes: number }> {
  await using folder = await scratch();
  await using topology = new Topology();
  const host = await topology.host('alone');
  const peers = Array.from({ length: peerCount }, (_, index) => ({
    publicKey: generateKeyPair().publicKey,
    addresses: [peerAddress(index + 1)],
  }));
  const { privateKey } = generateKeyPair();
  await using end = await startEnd(program, folder.path, {
    host,
    device: 'bench-alone',
    privateKey,
    listenPort: PORT,
    addresses: ['10.10.255.1/16'],
    mtu: 1420,
    peers,
  });
  return { readyMs: end.readyMs, mebibytes: await memoryMebibytes(end.pid, 'VmRSS') };
}

/** One end that many initiators knock at, all of them on a host with 198.18.0.0/15 as its own. */
async function handshakes(program: Program, { seconds }: Plan): Promise<Values> {
  await using folder = await scratch();
  await using net = await direct();
  const { left, right } = net;
  await left.ip('route', 'add', 'local', INITIATOR_NETWORK, 'dev', 'lo');
  await right.ip('route', 'add', INITIATOR_NETWORK, 'via', left.v4);
  const own = generateKeyPair();
  const initiators = Array.from({ length: INITIATOR_COUNT }, (_, index) => ({
    ...generateKeyPair(),
    address: `198.18.${(index + 1) >> 8}.${(index + 1) & 255}`,
  }));
  await using _end = await startEnd(program, folder.path, {
    host: right,
    device: 'bench-right',
    privateKey: own.privateKey,
    listenPort: PORT,
    addresses: ['10.10.255.1/16'],
    mtu: 1420,
    peers: initiators.map(({ publicKey }, index) => ({ publicKey, addresses: [peerAddress(index + 1)] })),
  });
  const responder = { address: right.v4, port: PORT, publicKey: own.publicKey };
  const { answered, seconds: measured } = await knock(left, { responder, initiators, seconds });
  if (answered === 0) throw new Error('no handshake was answered');
  return { handshakes: answered / measured };
}

/** The overlay address of the peer with this number, from 1 on; unique up to 65,000. */
function peerAddress(number: number): string {
  return `10.10.${number >> 8}.${number & 255}`;
}
