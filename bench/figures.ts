// `scripts/node bench/figures.ts [NAME…]`: what a node's users wait for, measured on this machine, beside what it may take:
// joining, a reload of a thousand peers, `status` of five thousand, the status page of a thousand in Chromium, and a policy of
// five thousand with ten rows each.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { isInNamespace, runInNamespace, tunObstacle } from '../scripts/namespace.ts';
import { paint, print, renderTable } from '../scripts/report.ts';
import { findChromium, launchBrowser } from '../test/support/browser.ts';
import { generateKeyPair } from '../test/support/keys.ts';
import {
  type NodeFile,
  NodeProcess,
  OVERLAY,
  type PeerFile,
  RINGFENCE,
  Scratch,
  writeNode,
} from '../test/support/node-process.ts';
import { type Pair, startPair } from '../test/support/pair.ts';
import { routed } from '../test/support/topology.ts';
import { ping } from '../test/support/traffic.ts';
import { besidePing, type Figure, reload } from './figure.ts';
import { measurePolicy } from './figures-policy.ts';

const MEASUREMENTS: Readonly<Record<string, () => Promise<readonly Figure[]>>> = {
  join: async () => [await measureJoin(5)],
  reload: () => measureReload(12, 1_000, 10),
  status: () => measureStatus(15, 5_000),
  page: () => measurePage(15, 1_000),
  policy: () => measurePolicy(5_000),
};

/** From the command that redeems the invite to the answer to the first ping. */
async function measureJoin(rounds: number): Promise<Figure> {
  const samples: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await using scratch = await Scratch.create('ringfence-figures-');
    await using net = await routed();
    const file = {
      interface: { name: 'rf-left', private_key_file: 'node.key', addresses: OVERLAY.left.addresses },
      peers: {},
    };
    const files = await writeNode(join(scratch.path, 'left'), generateKeyPair(), file);
    const stateOf = (name: string) => ({ RINGFENCE_STATE_DIR: join(scratch.path, name) });
    await using left = await NodeProcess.start(net.left, files, { env: stateOf('left-state') });
    const invite = join(scratch.path, 'invite.yaml');
    await left.command('invite', 'guest', '--file', invite);
    const env = { RINGFENCE_RUN_DIR: join(scratch.path, 'run'), ...stateOf('right-state') };
    const own = join(scratch.path, 'guest.yaml');
    const began = performance.now();
    await net.right.exec(RINGFENCE, ['join', invite, '--file', own, '--name', 'rf-right'], { env });
    const { received } = await ping(net.right, OVERLAY.left.v4, { count: 1, waitMs: 5_000 });
    samples.push(performance.now() - began);
    await net.right.exec(RINGFENCE, ['down', 'rf-right'], { env });
    if (received !== 1) throw new Error('the first ping was not answered');
  }
  return { what: 'join: command to first ping', mostMs: 2_000, samples };
}

/** A reload of many peers of which some change, back and forth, and the longest ping beside each: a pause of the data path. */
async function measureReload(rounds: number, peerCount: number, changed: number): Promise<Figure[]> {
  await using pair = await startPair();
  const { net, left } = pair;
  const peers = peersOf(peerCount);
  const first = withPeers(left.files.file, peers);
  const others = Object.entries(peers)
    .slice(0, changed)
    .map(([name, peer], index): [string, PeerFile] => [name, { ...peer, routes: [`10.20.${index}.0/24`] }]);
  const second = withPeers(first, Object.fromEntries(others));
  await reloadWith(left, first);
  await ping(net.left, OVERLAY.right.v4);
  const samples: number[] = [];
  const pauses: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const file = round % 2 === 0 ? second : first;
    await writeFile(left.files.configFile, stringify(file));
    const { result, longestMs } = await besidePing(net.right, OVERLAY.left.v4, () => reload(left));
    samples.push(result);
    pauses.push(longestMs);
  }
  const what = `reload: ${peerCount} peers, ${changed} changed`;
  return [
    { what, mostMs: 300, samples },
    { what: `${what}: longest ping beside it`, mostMs: 20, samples: pauses },
  ];
}

/** The whole command, as a user waits for it. */
async function measureStatus(rounds: number, peerCount: number): Promise<Figure[]> {
  await using pair = await startPair();
  const { left } = pair;
  await reloadWith(left, withPeers(left.files.file, peersOf(peerCount)));
  const figures: Figure[] = [];
  for (const options of [[], ['--json']]) {
    const samples: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const began = performance.now();
      await left.command('status', left.interfaceName, ...options);
      samples.push(performance.now() - began);
    }
    const what = ['status', ...options].join(' ');
    figures.push({ what: `${what}: ${peerCount} peers`, mostMs: 200, samples });
  }
  return figures;
}

/** As Chromium loads it, until its `load` event. */
async function measurePage(rounds: number, peerCount: number): Promise<Figure[]> {
  if (findChromium() === null) {
    process.stderr.write('figures: the page is left out: no Chromium (Debian: apt-get install chromium)\n');
    return [];
  }
  await using pair: Pair = await startPair({ metrics: { left: { listen: '127.0.0.1:9586' } } });
  const { left, net } = pair;
  await reloadWith(left, withPeers(left.files.file, peersOf(peerCount)));
  await ping(net.left, OVERLAY.right.v4);
  const browser = await launchBrowser(net.left, left.files.directory);
  try {
    const page = await browser.newPage();
    const samples: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const began = performance.now();
      await page.goto('http://127.0.0.1:9586/');
      samples.push(performance.now() - began);
    }
    return [{ what: `status page: ${peerCount} peers`, mostMs: 300, samples }];
  } finally {
    await browser.close();
  }
}

async function reloadWith(node: NodeProcess, file: NodeFile): Promise<void> {
  await writeFile(node.files.configFile, stringify(file));
  await reload(node);
}

function peersOf(count: number): Record<string, PeerFile> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, index): [string, PeerFile] => [
      `peer${index}`,
      {
        public_key: generateKeyPair().publicKey,
        addresses: [`10.10.${index >> 8}.${index & 255}`],
        endpoints: [`203.0.113.${index & 255}:${10_000 + index}`],
      },
    ]),
  );
}

function withPeers(file: NodeFile, peers: Readonly<Record<string, PeerFile>>): NodeFile {
  return { ...file, peers: { ...file.peers, ...peers } };
}

function row({ what, mostMs, samples }: Figure): string[] {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.round((sorted.length - 1) * share)] ?? Number.NaN;
  const isMet = at(0.5) <= mostMs;
  const numbers = [at(0), at(0.5), at(1), mostMs].map((ms) => ms.toFixed(0));
  return [what, ...numbers, isMet ? 'met' : paint('red', 'missed')];
}

async function main(names: readonly string[]): Promise<number> {
  const obstacle = await tunObstacle();
  const unknown = names.find((name) => !Object.hasOwn(MEASUREMENTS, name));
  const complaint =
    unknown === undefined
      ? obstacle
      : `there is no ${unknown}: choose among ${Object.keys(MEASUREMENTS).join(', ')}`;
  if (complaint !== undefined) {
    process.stderr.write(`figures: ${complaint}\n`);
    return 1;
  }
  if (!isInNamespace()) return await runInNamespace('bench/figures.ts', names);
  const rows = [['ms', 'least', 'median', 'most', 'may take', '']];
  for (const [name, measure] of Object.entries(MEASUREMENTS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    process.stderr.write(`${paint('dim', 'figures:')} ${name} …\n`);
    rows.push(...(await measure()).map(row));
  }
  print(renderTable(rows));
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
