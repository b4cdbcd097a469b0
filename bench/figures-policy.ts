// A policy of thousands of peers: how long its file takes to be read and to be in force, one row of it to change, and what
// stands still meanwhile. The file is written as one would by hand, a peer a line.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { stringify } from 'yaml';
import { loadConfig } from '../src/config/load.ts';
import type { NodeConfig } from '../src/config/schema.ts';
import { loadSecrets, wipeSecrets } from '../src/config/secrets.ts';
import { askNode } from '../src/control/node-socket.ts';
import { Descriptors } from '../src/lane/descriptors.ts';
import { createLog } from '../src/log.ts';
import { configuredChange } from '../src/node/configured-change.ts';
import { Device } from '../src/node/device.ts';
import { compile } from '../src/policy/compile.ts';
import { generateKeyPair } from '../test/support/keys.ts';
import { type NodeProcess, OVERLAY } from '../test/support/node-process.ts';
import { type Pair, startPair } from '../test/support/pair.ts';
import { ping } from '../test/support/traffic.ts';
import { besidePing, type Figure, reload } from './figure.ts';

const ROWS = 10;
const LOADS = 7;
const WHOLE_RELOADS = 3;
const RELOADS = 12;
const DEVICES = 3;
const CHANGES = 40;
const OFFLOADS = { udpGso: true, udpGro: true, tunTcp: true, tunUdp: true } as const;

/** Texts of a file that say the same but for the rows. */
interface Texts {
  /** No peer has a row. */
  readonly bare: string;
  /** The two differ in one row of one peer. */
  readonly first: string;
  readonly second: string;
}

export async function measurePolicy(peerCount: number): Promise<Figure[]> {
  await using pair = await startPair();
  const texts = textsFor(pair, peerCount);
  const reloads = await measureReloads(pair, texts);
  const { loads, first, second } = await measureLoads(pair, texts);
  const device = await measureDevice(first, second);
  const what = `${peerCount} peers with ${ROWS} rows`;
  return [
    { what: `policy of ${what}: file to parsed document`, mostMs: 1_000, samples: loads },
    ...device.map((figure) => ({ ...figure, what: `policy of ${what}: ${figure.what}` })),
    ...reloads.map((figure) => ({ ...figure, what: `policy of ${what}: ${figure.what}` })),
  ];
}

function textsFor({ left }: Pair, peerCount: number): Texts {
  const { peers, ...rest } = left.files.file;
  const own = Object.entries(peers).map(([name, peer]) => [name, { ...peer, allow: [{ to: 'self' }] }]);
  const head =
    stringify({ ...rest, firewall: { version: 1 } }) + stringify({ peers: Object.fromEntries(own) });
  const keys = Array.from({ length: peerCount }, () => generateKeyPair().publicKey);
  const text = (port: number | null): string =>
    head +
    keys
      .map((key, i) => peerLine(i, key, port !== null && i === peerCount >> 1 ? port : 443, port !== null))
      .join('');
  return { bare: text(null), first: text(443), second: text(444) };
}

function peerLine(index: number, key: string, port: number, hasRows: boolean): string {
  const [high, low] = [index >> 8, index & 255];
  const rows = Array.from({ length: hasRows ? ROWS : 0 }, (_, i) => {
    return `{to: 10.${64 + high}.${low}.${i + 1}, ports: [tcp/${i === 0 ? port : 443}]}`;
  });
  return `  peer${index}: {public_key: ${key}, addresses: [10.10.${high}.${low}], allow: [${rows.join(', ')}]}\n`;
}

/** By a running node: all rows at once, there and away, then one row, to and fro. */
async function measureReloads({ left, net }: Pair, { bare, first, second }: Texts): Promise<Figure[]> {
  const to = async <T>(text: string, work: () => Promise<T>) => {
    await writeFile(left.files.configFile, text);
    return await besidePing(net.right, OVERLAY.left.v4, work);
  };
  await writeFile(left.files.configFile, bare);
  await reload(left);
  await ping(net.left, OVERLAY.right.v4);
  const whole = { took: [] as number[], pings: [] as number[] };
  for (let round = 0; round < WHOLE_RELOADS; round += 1) {
    const came = await to(first, () => reload(left));
    const went = await to(bare, () => reload(left));
    whole.took.push(came.result);
    whole.pings.push(came.longestMs, went.longestMs);
  }
  await to(second, () => reload(left));
  const one = { took: [] as number[], pings: [] as number[], answers: [] as number[] };
  for (let round = 0; round < RELOADS; round += 1) {
    const { result, longestMs } = await to(round % 2 === 0 ? first : second, () => reloadAsking(left));
    one.took.push(result.tookMs);
    one.answers.push(result.longestAnswerMs);
    one.pings.push(longestMs);
  }
  return [
    { what: 'all rows by a reload', mostMs: 3_000, samples: whole.took },
    { what: 'all rows, longest ping beside it', mostMs: 20, samples: whole.pings },
    { what: 'one row by a reload', mostMs: 300, samples: one.took },
    { what: 'one row, longest ping beside it', mostMs: 20, samples: one.pings },
    { what: 'one row, longest answer beside it', mostMs: 100, samples: one.answers },
  ];
}

/** A reload, while the node is asked for something small again and again: an answer waits for the turn that is under way. */
async function reloadAsking(node: NodeProcess): Promise<{ tookMs: number; longestAnswerMs: number }> {
  let isDone = false;
  let longestAnswerMs = 0;
  const ask = async (): Promise<void> => {
    while (!isDone) {
      const began = performance.now();
      await askNode(node.files.runDirectory, node.interfaceName, { request: 'log-level' });
      longestAnswerMs = Math.max(longestAnswerMs, performance.now() - began);
      await wait(2);
    }
  };
  const asking = ask();
  const tookMs = await reload(node);
  isDone = true;
  await asking;
  return { tookMs, longestAnswerMs };
}

/** Without a former document, as at a start; the last two with it, as at a reload. */
async function measureLoads({ left }: Pair, { first, second }: Texts) {
  const file = join(left.files.directory, 'policy.yaml');
  const load = async (text: string, former: NodeConfig | null): Promise<NodeConfig> => {
    await writeFile(file, text);
    return loadConfig(file, former);
  };
  const loads: number[] = [];
  for (let round = 0; round < LOADS; round += 1) {
    await writeFile(file, first);
    const began = performance.now();
    loadConfig(file);
    loads.push(performance.now() - began);
  }
  const one = await load(first, null);
  return { loads, first: one, second: await load(second, one) };
}

/** From two parsed documents to a lane that has the policy: whole, then what one row changes, to and fro. */
async function measureDevice(first: NodeConfig, second: NodeConfig): Promise<Figure[]> {
  const whole: number[] = [];
  const one: number[] = [];
  const models = [first, second].flatMap(({ firewall }) => (firewall === null ? [] : [firewall.policy]));
  const [model, other] = models;
  if (model === undefined || other === undefined) throw new TypeError('both have a policy');
  for (let round = 0; round < DEVICES; round += 1) {
    await using device = await startDevice(first);
    let began = performance.now();
    let compilation = compile(model);
    await device.value.setPolicy(compilation.policy, () => new Map());
    whole.push(performance.now() - began);
    for (let change = 0; change < CHANGES; change += 1) {
      began = performance.now();
      compilation = compile(change % 2 === 0 ? other : model, compilation);
      await device.value.setPolicy(compilation.policy, () => new Map());
      one.push(performance.now() - began);
    }
  }
  return [
    { what: 'parsed document to in force', mostMs: 300, samples: whole },
    { what: 'one row, parsed document to in force', mostMs: 10, samples: one },
  ];
}

/** A device of its own in this namespace, with the peers of a file and no policy. */
async function startDevice(config: NodeConfig): Promise<AsyncDisposable & { readonly value: Device }> {
  const descriptors = Descriptors.open({ interfaceName: 'rf-policy', port: 0, offloads: OFFLOADS });
  const secrets = loadSecrets(config);
  try {
    const value = await Device.start({
      descriptors,
      listenPort: 0,
      mtu: 1420,
      change: configuredChange(config, secrets),
      log: createLog({ level: 'error' }),
      onGone: () => {},
    });
    const end = async (): Promise<void> => {
      await value.stop();
      descriptors.close();
    };
    return { value, [Symbol.asyncDispose]: end };
  } finally {
    wipeSecrets(secrets);
  }
}
