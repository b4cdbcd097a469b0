// `npm run bench`: implementations beside each other, in alternating rounds on the same ground, as ratios.
//
//   iperf3 client ─ left ═══ tunnel, MTU 1420 ═══ right ─ iperf3 server
//                    └────────── one veth ──────────┘
//
// Each round starts a pair anew, pings it while it is idle, then sends one TCP stream through it. Bytes are counted at the
// receiver, and again on the wire: a stream that bypassed the tunnel would not show up there as UDP.

import { mkdir, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { isInNamespace, runInNamespace, tunObstacle } from '../scripts/namespace.ts';
import { paint, print, renderTable } from '../scripts/report.ts';
import { OVERLAY, Scratch } from '../test/support/node-process.ts';
import { direct, type Host } from '../test/support/topology.ts';
import { measureTcp, ping } from '../test/support/traffic.ts';
import {
  cpuSeconds,
  describeCircumstances,
  machineCpuSeconds,
  median,
  memoryBytes,
  summarize,
} from './accounting.ts';
import { METRICS, type Result, ratio, type Sample, scores } from './metrics.ts';
import { MTU, type Peer } from './peers/peer.ts';
import { ringfence } from './peers/ringfence.ts';
import { wireguardGo } from './peers/wireguard-go.ts';

const PEERS: readonly Peer[] = [ringfence, wireguardGo];
const RESULTS = new URL('./results/', import.meta.url);
const PING_COUNT = 100;
const PING_INTERVAL_MS = 20;
const NOT_QUIET_CORES = 0.5;

const USAGE = `usage: npm run bench -- [--rounds N] [--seconds N] [--peers NAME,NAME] [--json] [--no-save]
  --rounds   rounds per implementation, alternating (3)
  --seconds  length of the TCP stream (10)
  --peers    of ${PEERS.map((peer) => peer.name).join(', ')}; ratios are of the first to the others
  --json     the result on standard output instead of the table
  --no-save  writes nothing to bench/results/
`;

type Options = {
  readonly rounds: number;
  readonly seconds: number;
  readonly peers: readonly Peer[];
  readonly json: boolean;
  readonly save: boolean;
};

function parseOptions(args: readonly string[]): Options | undefined {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        rounds: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '10' },
        peers: { type: 'string', default: PEERS.map((peer) => peer.name).join(',') },
        json: { type: 'boolean', default: false },
        'no-save': { type: 'boolean', default: false },
      },
    });
    const peers = values.peers.split(',').map((name) => PEERS.find((peer) => peer.name === name));
    const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
    if (!(rounds >= 1 && seconds >= 1) || peers.includes(undefined)) return undefined;
    return {
      rounds,
      seconds,
      peers: peers.filter((peer) => peer !== undefined),
      json: values.json,
      save: !values['no-save'],
    };
  } catch {
    return undefined;
  }
}

function progress(line: string): void {
  process.stderr.write(`${paint('dim', 'bench:')} ${line}\n`);
}

async function underlayBytes(host: Host): Promise<number> {
  const [link] = JSON.parse(await host.ip('-s', '-j', 'link', 'show', 'eth0')) as [
    { stats64: { tx: { bytes: number } } },
  ];
  return link.stats64.tx.bytes;
}

async function measure(peer: Peer, round: number, seconds: number): Promise<Sample> {
  await using scratch = await Scratch.create('ringfence-bench-');
  await using net = await direct();
  const { left, right } = net;
  const pair = await peer.start({ left, right, directory: scratch.path });
  const { pids } = pair;

  const warm = await ping(left, OVERLAY.right.v4, { count: 5 });
  if (warm.received === 0) throw new Error(`${peer.name}: nothing comes through\n${warm.output}`);
  const processes = async () => (await cpuSeconds(pids.left)) + (await cpuSeconds(pids.right));
  const idleBegan = { ms: performance.now(), own: await processes(), machine: await machineCpuSeconds() };
  const idle = await ping(left, OVERLAY.right.v4, { count: PING_COUNT, intervalMs: PING_INTERVAL_MS });
  const idleSeconds = (performance.now() - idleBegan.ms) / 1000;
  const idleOwn = (await processes()) - idleBegan.own;
  const idleOthers = (await machineCpuSeconds()) - idleBegan.machine - idleOwn;
  if (idle.received !== idle.sent) throw new Error(`${peer.name}: pings were lost\n${idle.output}`);

  const costs = async () => ({
    left: await cpuSeconds(pids.left),
    right: await cpuSeconds(pids.right),
    machine: await machineCpuSeconds(),
    wire: await underlayBytes(left),
  });
  const before = await costs();
  const stream = await measureTcp(left, right, OVERLAY.right.v4, seconds);
  const after = await costs();
  const peak = {
    left: await memoryBytes(pids.left, 'VmHWM'),
    right: await memoryBytes(pids.right, 'VmHWM'),
  };
  await pair.stop();

  const wire = after.wire - before.wire;
  if (wire < stream.bytes) {
    throw new Error(`${peer.name}: ${stream.bytes} bytes arrived, but only ${wire} crossed the wire`);
  }
  const cpu = {
    left: after.left - before.left,
    right: after.right - before.right,
    machine: after.machine - before.machine,
  };
  return {
    round,
    peer: peer.name,
    bytes: stream.bytes,
    seconds: stream.seconds,
    gigabitsPerSecond: stream.bitsPerSecond / 1e9,
    pingMedianMs: median(idle.rttsMs),
    busyCoresWhenIdle: { own: idleOwn / idleSeconds, others: idleOthers / idleSeconds },
    cpuSeconds: cpu,
    cpuSecondsPerGigabyte: (cpu.left + cpu.right) / (stream.bytes / 1e9),
    peakMemoryBytes: peak,
    underlayBytes: wire,
  };
}

async function measureAll({ peers, rounds, seconds }: Options): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    // Every other round runs the other way, so that none profits from being first.
    for (const peer of round % 2 === 1 ? peers : [...peers].reverse()) {
      const sample = await measure(peer, round, seconds);
      samples.push(sample);
      if (sample.busyCoresWhenIdle.others > NOT_QUIET_CORES) {
        progress(
          `this machine is not quiet: ${sample.busyCoresWhenIdle.others.toFixed(1)} cores are busy with other things`,
        );
      }
      progress(
        `round ${round} of ${rounds}: ${peer.name}: ${sample.gigabitsPerSecond.toFixed(2)} Gbit/s, ` +
          `ping ${sample.pingMedianMs.toFixed(3)} ms, ${sample.cpuSecondsPerGigabyte.toFixed(2)} CPU s per GB`,
      );
    }
  }
  return samples;
}

function printResult(result: Result, peers: readonly Peer[]): void {
  const [own] = peers;
  const rows: string[][] = [['', '', 'minimum', 'median', 'maximum', `${own?.name} ÷`]];
  for (const metric of METRICS) {
    const { title, better, digits } = metric;
    for (const peer of peers) {
      const { minimum, median: middle, maximum } = summarize(scores(result, metric, peer.name));
      const times = ratio(result, metric, own?.name ?? '', peer.name);
      const isBetter = better === 'more' ? times > 1 : times < 1;
      rows.push([
        peer === own ? title : '',
        peer.name,
        ...[minimum, middle, maximum].map((number) => number.toFixed(digits)),
        peer === own ? '' : paint(isBetter ? 'green' : 'red', times.toFixed(2)),
      ]);
    }
  }
  print(renderTable(rows));
  print();
  for (const [name, version] of Object.entries(result.versions)) print(`${name} ${version}`);
  const { machine, commit, clean } = result;
  print(`${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}; both ends on this machine`);
  print(
    `MTU ${MTU}, ${result.rounds} rounds of ${result.streamSeconds} s; commit ${commit.slice(0, 7)}${clean ? '' : ' and changes'}`,
  );
}

async function save(result: Result): Promise<void> {
  await mkdir(RESULTS, { recursive: true });
  const name = `${result.date.slice(0, 10)}-${result.commit.slice(0, 7)}${result.clean ? '' : '-dirty'}.json`;
  await writeFile(new URL(name, RESULTS), `${JSON.stringify(result, null, 2)}\n`);
  progress(`written: bench/results/${name}`);
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const options = parseOptions(args);
  if (options === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const obstacle = await tunObstacle();
  if (obstacle !== undefined) {
    process.stderr.write(`bench: ${obstacle}\n`);
    return 1;
  }
  if (!isInNamespace()) {
    // Building a peer needs the network, and what git says is the same inside: both come before.
    const versions: Record<string, string> = {};
    for (const peer of options.peers) versions[peer.name] = await peer.prepare(progress);
    return await runInNamespace('bench/run.ts', args, { RINGFENCE_BENCH_VERSIONS: JSON.stringify(versions) });
  }
  const circumstances = await describeCircumstances(
    `npm run bench -- ${args.join(' ')}`.replace(/ -- $/, ''),
  );
  const samples = await measureAll(options);
  const result: Result = {
    ...circumstances,
    mtu: MTU,
    rounds: options.rounds,
    streamSeconds: options.seconds,
    pings: { count: PING_COUNT, intervalMs: PING_INTERVAL_MS },
    versions: JSON.parse(process.env['RINGFENCE_BENCH_VERSIONS'] ?? '{}') as Record<string, string>,
    samples,
  };
  if (options.json) print(JSON.stringify(result, null, 2));
  else printResult(result, options.peers);
  if (options.save) await save(result);
  return 0;
}

process.exitCode = await main();
