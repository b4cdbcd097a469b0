// What the host's rules cost with many peers, the mirror of the policy included: to load, to replace, to change by one peer, to
// put back after a flush, and a packet of the last peer that is forwarded. Each beside its limit.
//
//   scripts/in-namespace scripts/node bench/host-rules.ts [PEERS] [ROUNDS]
//
// Every peer has an address of each version, a profile and two grants; once all addresses lie in the networks of the node's own, and
// once, as `outside`, none, so that the guard of each has to be an element of a set. Forwarding is measured by how long a TUN
// takes a packet, which is until it has left by another; with rules, with conntrack alone and with nothing, in turns.

import { randomBytes } from 'node:crypto';
import { writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { openTun } from 'node-tuntap2';
import { loadConfig } from '../src/config/load.ts';
import type { NodeConfig } from '../src/config/schema.ts';
import { HostFirewall } from '../src/firewall/host-firewall.ts';
import { renderNft } from '../src/firewall/render-nft.ts';
import { markOf, renderRemoval, renderScript } from '../src/firewall/ruleset.ts';
import { createLog } from '../src/log.ts';
import { hostFacts } from '../src/node/host-facts.ts';
import type { HostPolicy } from '../src/policy/host.ts';

const [peers = 5_000, rounds = 7] = process.argv.slice(2).map(Number);
const folder = process.env['TMPDIR'] ?? '.';
const BURST = 20_000;

function addressOf(i: number): string {
  return `100.${64 + (i >> 14)}.${(i >> 6) & 0xff}.${((i & 0x3f) << 2) + 1}`;
}

type Place = 'inside' | 'outside';
const OWN: Readonly<Record<Place, string>> = {
  inside: '[100.127.0.1/10, "fd08::1/48"]',
  outside: '[10.9.0.1/24, "fd09::1/64"]',
};

function config(count: number, place: Place, former: NodeConfig | null = null): NodeConfig {
  const rows = Array.from({ length: count }, (_, i) => {
    const allow = `[{to: 10.9.0.22, ports: [tcp/443]}, {to: 192.168.7.5, ports: [udp/${(i % 60_000) + 1}]}]`;
    const addresses = `[${addressOf(i)}, "fd08:0:0:${i.toString(16)}::2"]`;
    return `  p${i}: {public_key: ${keys[i]}, addresses: ${addresses}, profile: std, allow: ${allow}}\n`;
  });
  const file = join(folder, 'many.yaml');
  writeFileSync(
    file,
    `interface: {name: rf0, private_key_file: many.key, addresses: ${OWN[place]}, listen_port: 51820}
firewall:
  version: 1
  network: many
  host: {mirror: on}
  leak_guard: {route: ${place === 'inside' ? 'unreachable' : 'off'}}
  profiles: {std: {internet: true}}
peers:
${rows.join('')}`,
  );
  return loadConfig(file, former);
}

const keys = Array.from({ length: peers + 1 }, () => randomBytes(32).toString('base64'));
writeFileSync(join(folder, 'many.key'), `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

async function nft(script: string): Promise<void> {
  await execa('nft', ['-f', '-'], { input: script });
}

/** `limit`: of the median, in the same unit. */
function show(what: string, values: readonly number[], limit: number | null = null, unit = 'ms'): void {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(unit === 'ms' ? 1 : 0);
  const verdict = limit === null ? '' : `  limit ${limit}: ${Number(at(0.5)) <= limit ? 'met' : 'missed'}`;
  process.stdout.write(`${what.padEnd(58)} ${at(0)}, ${at(0.5)}, ${at(1)} ${unit}${verdict}\n`);
}

function policyOf(of: NodeConfig): HostPolicy {
  const host = of.firewall?.host;
  if (host === null || host === undefined) throw new Error('the file has rules of the host');
  return host;
}

async function repeat(work: () => Promise<number>): Promise<number[]> {
  const values: number[] = [];
  for (let round = 0; round < rounds; round++) values.push(await work());
  return values;
}

/** What nft takes for the text, from its start to its end. */
async function measureLoad(place: Place): Promise<void> {
  const all = config(peers, place);
  const [policy, facts] = [policyOf(all), hostFacts(all)];
  const script = renderScript(renderNft(policy, facts), 'rf_is_bench', new Map());
  const load = async (): Promise<number> => await milliseconds(async () => await nft(script));
  const loads = await repeat(async () => {
    await nft(renderRemoval('rf_many'));
    return await load();
  });
  show(`${place}: loaded by nft -f`, loads, 150);
  show(`${place}: replaced by nft -f`, await repeat(load), 150);
  await nft(renderRemoval('rf_many'));
}

/** When the table of this network got a chain of each name, by the kernel's own word. */
async function watchChains(): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  const monitor = execa('nft', ['monitor', 'new', 'chains'], { buffer: false, reject: false });
  createInterface({ input: monitor.stdout }).on('line', (line) => {
    const [, chain = ''] = /^add chain inet rf_many (\S+)/.exec(line) ?? [];
    times.set(chain, performance.now());
  });
  await sleep(500);
  return times;
}

async function measureNode(place: Place): Promise<void> {
  const all = config(peers, place);
  const facts = hostFacts(all);
  const firewall = await HostFirewall.start({ policy: policyOf(all), facts, log, runDirectory: folder });
  await sleep(4_000); // the monitor reads all elements before it listens, and what it may have missed is looked at
  const more = config(peers + 1, place, all);
  const changes: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const next of [more, all]) {
      const changed = hostFacts(next, new Map(), firewall.facts);
      changes.push(await milliseconds(async () => await firewall.update(policyOf(next), changed)));
      await sleep(100);
    }
  }
  show(`${place}: one peer more, one less, by a reload`, changes, 40);
  await measurePutBack(place, firewall, markOf(renderNft(policyOf(all), firewall.facts)));
  if (place === 'inside') withRules.push(...(await repeat(async () => forward())));
  process.stdout.write(`dropped by the mirror: ${(await firewall.status()).counters['rf_policy']}\n`);
  await firewall.discard();
}

/** Five at most: what comes after them is fought at longer and longer intervals. */
async function measurePutBack(place: Place, firewall: HostFirewall, mark: string): Promise<void> {
  const times = await watchChains();
  const [denied, whole]: [number[], number[]] = [[], []];
  for (let round = 0; round < Math.min(rounds, 5); round++) {
    const { restored } = await firewall.status();
    times.clear();
    await execa('nft', ['flush', 'ruleset']);
    const begin = performance.now();
    while ((await firewall.status()).restored === restored || !times.has(mark)) await sleep(50);
    denied.push((times.get('rf_begun') ?? Number.NaN) - begin);
    whole.push((times.get(mark) ?? Number.NaN) - begin);
    await sleep(1_500);
  }
  show(`${place}: after nft flush ruleset, all rules in force`, denied, 100);
  show(`${place}: the same, their sets filled`, whole);
}

process.stdout.write(`${peers} peers, ${rounds} rounds: least, median, most\n`);
for (const place of ['inside', 'outside'] as const) await measureLoad(place);
const devices = ['rf0', 'lan0'].map((name) => openTun({ name, exclusive: true }).fd);
const [tunnel = -1] = devices;
await execa('ip', ['-batch', '-'], {
  input:
    'link set rf0 up\nlink set lan0 up\nroute add 192.168.7.0/24 dev lan0\nroute add 100.64.0.0/10 dev rf0\n',
});
await execa('sysctl', [
  '-qw',
  'net.ipv4.ip_forward=1',
  'net.ipv4.conf.all.rp_filter=0',
  'net.ipv4.conf.rf0.rp_filter=0',
]);

/** A datagram of the last peer to what its grant names, without a checksum. */
function datagram(): Uint8Array {
  const packet = Buffer.alloc(64);
  packet.set([0x45, 0, 0, 64, 0, 0, 0, 0, 64, 17]);
  packet.set(
    addressOf(peers - 1)
      .split('.')
      .map(Number),
    12,
  );
  packet.set([192, 168, 7, 5], 16);
  packet.writeUInt16BE(5_000, 20);
  packet.writeUInt16BE(((peers - 1) % 60_000) + 1, 22);
  packet.writeUInt16BE(44, 24);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += packet.readUInt16BE(at);
  packet.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 10);
  return packet;
}

const packet = datagram();
function forward(): number {
  const begin = performance.now();
  for (let sent = 0; sent < BURST; sent++) writeSync(tunnel, packet);
  return ((performance.now() - begin) * 1e6) / BURST;
}

/** An empty table with one rule that asks conntrack: from then on every packet is tracked. */
const CONNTRACK = `table inet rf_bench {
  chain c { type filter hook prerouting priority -110; policy accept; ct state invalid accept; }
}
`;

const log = createLog();
const [withRules, tracked, without]: [number[], number[], number[]] = [[], [], []];
async function measureBare(): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    without.push(forward());
    await nft(CONNTRACK);
    forward();
    tracked.push(forward());
    await nft('delete table inet rf_bench\n');
  }
}

forward();
await measureBare();
for (const place of ['inside', 'outside'] as const) await measureNode(place);
await measureBare();
show('a packet of the last peer forwarded, with rules', withRules, null, 'ns');
show('with conntrack alone', tracked, null, 'ns');
show('with nothing', without, null, 'ns');
process.exit(0);
