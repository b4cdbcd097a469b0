// `scripts/node bench/figures.ts`: what it costs to start. For each implementation, from its start to configured and up,
// with one peer and with 1,000, and the memory it then holds. Beside run.ts, which says what it costs to run.

import { mkdir, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { isInNamespace, runInNamespace, tunObstacle } from '../scripts/namespace.ts';
import { paint, print, renderTable } from '../scripts/report.ts';
import { Scratch } from '../test/support/node-process.ts';
import { Topology } from '../test/support/topology.ts';
import { type Circumstances, describeCircumstances, median, memoryBytes, summarize } from './accounting.ts';
import type { Peer } from './peers/peer.ts';
import { ringfence } from './peers/ringfence.ts';
import { wireguardGo } from './peers/wireguard-go.ts';

const PEERS: readonly Peer[] = [ringfence, wireguardGo];
const PEER_COUNTS = [1, 1000];
const RESULTS = new URL('./results/', import.meta.url);

type Sample = {
  readonly round: number;
  readonly peer: string;
  readonly peerCount: number;
  readonly readyMs: number;
  readonly memoryBytes: number;
};

type Result = Circumstances & {
  readonly versions: Readonly<Record<string, string>>;
  readonly samples: readonly Sample[];
};

const METRICS: readonly { readonly title: string; readonly digits: number; value(sample: Sample): number }[] =
  [
    { title: 'start to ready, ms', digits: 0, value: (sample) => sample.readyMs },
    { title: 'memory then, MiB', digits: 1, value: (sample) => sample.memoryBytes / 1024 / 1024 },
  ];

function progress(line: string): void {
  process.stderr.write(`${paint('dim', 'figures:')} ${line}\n`);
}

async function measure(peer: Peer, round: number, peerCount: number): Promise<Sample> {
  await using scratch = await Scratch.create('ringfence-bench-');
  await using topology = new Topology();
  const host = await topology.host('alone');
  const end = await peer.startAlone(host, scratch.path, peerCount);
  const memory = await memoryBytes(end.pid, 'VmRSS');
  await end.stop();
  return { round, peer: peer.name, peerCount, readyMs: end.readyMs, memoryBytes: memory };
}

function printResult(result: Result, peers: readonly Peer[]): void {
  const [own] = peers;
  const rows: string[][] = [['', '', '', 'minimum', 'median', 'maximum', `${own?.name} ÷`]];
  for (const { title, digits, value } of METRICS) {
    for (const peerCount of PEER_COUNTS) {
      const of = (peer: Peer | undefined) =>
        result.samples
          .filter((sample) => sample.peer === peer?.name && sample.peerCount === peerCount)
          .map(value);
      for (const peer of peers) {
        const { minimum, median: middle, maximum } = summarize(of(peer));
        const ratio = median(of(own)) / middle;
        rows.push([
          peer === own ? title : '',
          peer === own ? `${peerCount} ${peerCount === 1 ? 'peer' : 'peers'}` : '',
          peer.name,
          ...[minimum, middle, maximum].map((number) => number.toFixed(digits)),
          peer === own ? '' : ratio.toFixed(2),
        ]);
      }
    }
  }
  print(renderTable(rows));
  print();
  for (const [name, version] of Object.entries(result.versions)) print(`${name} ${version}`);
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: 'string', default: '5' },
      peers: { type: 'string', default: PEERS.map((peer) => peer.name).join(',') },
      json: { type: 'boolean', default: false },
      'no-save': { type: 'boolean', default: false },
    },
  });
  const peers = PEERS.filter((peer) => values.peers.split(',').includes(peer.name));
  const obstacle = await tunObstacle();
  if (obstacle !== undefined) {
    process.stderr.write(`figures: ${obstacle}\n`);
    return 1;
  }
  if (!isInNamespace()) {
    const versions: Record<string, string> = {};
    for (const peer of peers) versions[peer.name] = await peer.prepare(progress);
    return await runInNamespace('bench/figures.ts', args, {
      RINGFENCE_BENCH_VERSIONS: JSON.stringify(versions),
    });
  }
  const circumstances = await describeCircumstances(`scripts/node bench/figures.ts ${args.join(' ')}`.trim());
  const samples: Sample[] = [];
  for (let round = 1; round <= Number(values.rounds); round += 1) {
    for (const peer of round % 2 === 1 ? peers : [...peers].reverse()) {
      for (const peerCount of PEER_COUNTS) {
        const sample = await measure(peer, round, peerCount);
        samples.push(sample);
        progress(
          `round ${round}: ${peer.name}, peers: ${peerCount}: ready after ${sample.readyMs.toFixed(0)} ms`,
        );
      }
    }
  }
  const result: Result = {
    ...circumstances,
    versions: JSON.parse(process.env['RINGFENCE_BENCH_VERSIONS'] ?? '{}') as Record<string, string>,
    samples,
  };
  if (values.json) print(JSON.stringify(result, null, 2));
  else printResult(result, peers);
  if (!values['no-save']) {
    await mkdir(RESULTS, { recursive: true });
    const name = `${result.date.slice(0, 10)}-${result.commit.slice(0, 7)}${result.clean ? '' : '-dirty'}-start.json`;
    await writeFile(new URL(name, RESULTS), `${JSON.stringify(result, null, 2)}\n`);
    progress(`written: bench/results/${name}`);
  }
  return 0;
}

process.exitCode = await main();
