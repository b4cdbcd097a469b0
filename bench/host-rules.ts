// What the host's rules cost with many peers, the mirror of the policy included: to load, to replace, to change by one peer, to
// put back after a flush, and a packet of the last peer that is forwarded.
//
//   scripts/in-namespace scripts/node bench/host-rules.ts [PEERS] [ROUNDS]
//
// Every peer has an address of each version outside the networks of the node's own, a profile and two grants. Forwarding is
// measured by how long a TUN takes a packet, which is until it has left by another; with rules and without in turns.

import { randomBytes } from 'node:crypto';
import { writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { openTun } from 'node-tuntap2';
import { loadConfig } from '../src/config/load.ts';
import type { NodeConfig } from '../src/config/schema.ts';
import { HostFirewall } from '../src/firewall/host-firewall.ts';
import { renderNft } from '../src/firewall/render-nft.ts';
import { renderRemoval, renderScript } from '../src/firewall/ruleset.ts';
import { createLog } from '../src/log.ts';
import { hostFacts } from '../src/node/host-facts.ts';
import type { HostPolicy } from '../src/policy/host.ts';

const [peers = 5_000, rounds = 7] = process.argv.slice(2).map(Number);
const folder = process.env['TMPDIR'] ?? '.';
const BURST = 20_000;

function addressOf(i: number): string {
  return `100.${64 + (i >> 14)}.${(i >> 6) & 0xff}.${((i & 0x3f) << 2) + 1}`;
}

function config(count: number): NodeConfig {
  const rows = Array.from({ length: count }, (_, i) => {
    const allow = `[{to: 10.9.0.22, ports: [tcp/443]}, {to: 192.168.7.5, ports: [udp/${(i % 60_000) + 1}]}]`;
    const addresses = `[${addressOf(i)}, "fd08:0:0:${i.toString(16)}::2"]`;
    return `  p${i}: {public_key: ${keys[i]}, addresses: ${addresses}, profile: std, allow: ${allow}}\n`;
  });
  const file = join(folder, 'many.yaml');
  writeFileSync(
    file,
    `interface: {name: rf0, private_key_file: many.key, addresses: [10.9.0.1/24, "fd09::1/64"], listen_port: 51820}
firewall:
  version: 1
  network: many
  host: {mirror: on}
  leak_guard: {route: off}
  profiles: {std: {internet: true}}
peers:
${rows.join('')}`,
  );
  return loadConfig(file);
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

function show(what: string, values: readonly number[], unit = 'ms'): void {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): string =>
    (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(unit === 'ms' ? 1 : 0);
  process.stdout.write(`${what.padEnd(52)} ${at(0)}, ${at(0.5)}, ${at(1)} ${unit}\n`);
}

function policyOf(of: NodeConfig): HostPolicy {
  const host = of.firewall?.host;
  if (host === null || host === undefined) throw new Error('the file has rules of the host');
  return host;
}

process.stdout.write(`${peers} peers, ${rounds} rounds: least, median, most\n`);
const [all, more] = [config(peers), config(peers + 1)];
const facts = hostFacts(all);
const moreFacts = hostFacts(more, new Map(), facts);
const policy = policyOf(all);
const script = renderScript(renderNft(policy, facts), 'bench', new Map());
const repeat = async (work: () => Promise<number>): Promise<number[]> => {
  const values: number[] = [];
  for (let round = 0; round < rounds; round++) values.push(await work());
  return values;
};

show('rendered', await repeat(async () => await milliseconds(async () => renderNft(policy, facts))));
show(
  'loaded by nft -f',
  await repeat(async () => {
    await nft(renderRemoval('rf_many'));
    return await milliseconds(async () => await nft(script));
  }),
);
show('replaced by nft -f', await repeat(async () => await milliseconds(async () => await nft(script))));
await nft(renderRemoval('rf_many'));

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

const log = createLog();
const firewall = await HostFirewall.start({ policy, facts, log, runDirectory: folder });
const both = policyOf(more);
const changes: number[] = [];
for (let round = 0; round < rounds; round++) {
  changes.push(
    await milliseconds(async () => await firewall.update(both, hostFacts(more, new Map(), facts))),
  );
  changes.push(
    await milliseconds(async () => await firewall.update(policy, hostFacts(all, new Map(), moreFacts))),
  );
  await sleep(300);
}
show('one peer more, one less, by a reload', changes);

const back: number[] = [];
for (let round = 0; round < Math.min(rounds, 5); round++) {
  const { restored } = await firewall.status();
  await sleep(500);
  await execa('nft', ['flush', 'ruleset']);
  const begin = performance.now();
  for (;;) {
    const { stdout } = await execa('nft', ['-t', 'list', 'chains']);
    if (stdout.includes('rf_policy_in')) break;
  }
  back.push(performance.now() - begin);
  while ((await firewall.status()).restored === restored) await sleep(20);
}
show('put back after nft flush ruleset, from its end', back);

const [withRules, without]: [number[], number[]] = [[], []];
forward();
for (let round = 0; round < rounds; round++) withRules.push(forward());
const dropped = (await firewall.status()).counters['rf_policy'];
await firewall.discard();
for (let round = 0; round < rounds; round++) without.push(forward());
show('a packet of the last peer forwarded, with rules', withRules, 'ns');
show('the same without', without, 'ns');
process.stdout.write(`dropped by the mirror: ${dropped}\n`);
process.exit(0);
