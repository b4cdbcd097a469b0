// The mirror of the policy: its text by nft and by iptables, and that a change of one peer is a change of its elements. What packets make of it is
// test/firewall/mirror.test.ts.

import { expect, test } from 'vitest';
import type { NodeConfig } from '../../../src/config/schema.ts';
import { type IptablesRuleset, renderIptables } from '../../../src/firewall/render-iptables.ts';
import {
  type OwnTables,
  renderRestore,
  sameChains,
  tablesOf,
  withoutChains,
} from '../../../src/firewall/render-iptables-restore.ts';
import { renderMirror } from '../../../src/firewall/render-mirror.ts';
import { markOf, type Ruleset, renderChange, renderScript } from '../../../src/firewall/ruleset.ts';
import { renderRules } from '../../../src/firewall/shown.ts';
import { hostFacts } from '../../../src/node/host-facts.ts';
import { type Compilation, compile } from '../../../src/policy/compile.ts';
import { ConfigFolder } from '../config/files.ts';

const KEYS = [
  'CwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCws=',
  'DAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw=',
  'DQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0=',
];

function configOf(...peers: readonly string[]): NodeConfig {
  using folder = new ConfigFolder();
  return folder.load(`
interface: {name: rf0, private_key_file: rf0.key, addresses: [10.9.0.1/24, "fd09::1/64"], listen_port: 51820}
peers:
${peers.map((peer, i) => `  ${peer.replace('{', `{public_key: ${KEYS[i]}, `)}\n`).join('')}
firewall:
  version: 1
  host: {mirror: on}
  services: {files: {addr: [10.9.0.22, "fd09::22"], ports: [tcp/443, icmp/echo-request]}}
  profiles: {std: {internet: true, services: [files], deny: [{to: internet, ports: [tcp/25]}]}}
  networks: {app1: {isolation: strict, members: [alice]}}
  sites: {alice: {subnets: [10.5.0.0/24], inbound: [files]}}
`);
}

function rulesetOf(...peers: readonly string[]): Ruleset {
  const { firewall } = configOf(...peers);
  if (firewall === null) throw new Error('there is a section');
  return { table: 'rf_test', ...renderMirror(compile(firewall.policy), 'rf0') };
}

const ALICE =
  'alice: {addresses: [10.9.0.2, "fd09::2"], routes: [10.5.0.0/16], profile: std, allow: [{to: 192.168.7.0/24, ports: [tcp/8000-8010]}]}';
const BOB =
  'bob: {addresses: [10.9.0.3], profile: std, allow: [{to: 10.9.0.2, ports: [tcp/80-81, udp/53]}], reachable_from: [{from: any, ports: [tcp/22]}]}';

test('a class for the profile, sets for who may what, a chain for what fits no set', async () => {
  const script = renderScript(rulesetOf(ALICE, BOB), 'rf_is_golden', new Map());
  await expect(script).toMatchFileSnapshot('golden/mirror.nft');
});

test('the same as chains, by the names of what they say', async () => {
  const config = configOf(ALICE, BOB);
  const policy = config.firewall?.host;
  if (policy === null || policy === undefined) throw new Error('there are rules of the host');
  const facts = { ...hostFacts(config), connected: [], local: [] };
  await expect(renderRules(policy, facts, 'iptables')).toMatchFileSnapshot('golden/mirror.iptables');
});

test('a row of one peer changes the chains on the way to it, and no others', () => {
  const denied = BOB.replace('to: 10.9.0.2,', 'to: 10.9.0.22,');
  const [from, to] = [
    [ALICE, BOB],
    [ALICE, denied],
  ].map((peers) => {
    const config = configOf(...peers);
    const policy = config.firewall?.host;
    if (policy === null || policy === undefined) throw new Error('there are rules of the host');
    return renderIptables(policy, { ...hostFacts(config), connected: [], local: [] });
  }) as [IptablesRuleset, IptablesRuleset];
  const kept = sameChains(from, to);
  const all = to.tables[4].mangle.chains.map(({ name }) => name.replace(`RF-${to.network}-`, ''));
  const said = all.filter((name) => !kept.has(`4 mangle RF-${to.network}-${name}`));
  // Those that a packet comes to first, and the one for translated answers, which has another name now.
  expect(said.filter((name) => !name.startsWith('p')).toSorted()).toEqual(
    ['POLH', 'POLI', 'POLIB', 'POLOB'].toSorted(),
  );
  expect(said.filter((name) => name.startsWith('p')).length).toBeLessThan(3);
  expect(all.length).toBeGreaterThan(25);
  const [before, after] = [from, to].map((one) => tablesOf(one, 'rf:test:0', new Map())[4]) as [
    OwnTables,
    OwnTables,
  ];
  const text = renderRestore(withoutChains(4, before, kept), withoutChains(4, after, kept));
  expect(text).toContain(
    `-A RF-${to.network}-POLI -s 10.9.0.3 -p tcp --dport 80:81 -d 10.9.0.22 -j RETURN\n`,
  );
  expect(text).not.toContain(`RF-${to.network}-MSS - `);
  expect(text.length).toBeLessThan(renderRestore(before, after).length / 2);
});

test('a peer more, or less, is a few elements', () => {
  const carol = 'carol: {addresses: [10.9.0.4], profile: std, allow: [{to: 10.9.0.3, ports: [tcp/80]}]}';
  const [two, three] = [rulesetOf(ALICE, BOB), rulesetOf(ALICE, BOB, carol)];
  const kind = /goto (rf_class_\w+)/.exec(
    two.sets.find(({ name }) => name === 'rf_who4')?.elements[1] ?? '',
  )?.[1];
  const elements = [
    'rf_peers4 { 10.9.0.4 }',
    `rf_who4 { 10.9.0.4 : goto ${kind} }`,
    'rf_grant4_6 { 10.9.0.4 . 10.9.0.3 . 80 }',
  ];
  // What it is known by changes with it.
  const change = (verb: 'add' | 'delete', from: Ruleset, to: Ruleset): string =>
    [
      `delete chain inet rf_test ${markOf(from)}\nadd chain inet rf_test ${markOf(to)}\n`,
      ...elements.map((one) => `${verb} element inet rf_test ${one}\n`),
    ].join('');
  expect(renderChange(two, three)).toBe(change('add', two, three));
  expect(renderChange(three, two)).toBe(change('delete', three, two));
  expect(renderChange(two, two)).toBe('');
});

test('a row that fits no set changes the chain of its peer', () => {
  const denied = ALICE.replace('192.168.7.0/24', '192.168.8.0/24');
  const change = renderChange(rulesetOf(ALICE, BOB), rulesetOf(denied, BOB)) ?? '';
  expect(change).toContain('flush chain inet rf_test rf_peer_alice\n');
  expect(change).toContain(
    'add rule inet rf_test rf_peer_alice ip daddr 192.168.8.0/24 meta l4proto 6 th dport 8000-8010 accept\n',
  );
  expect(change).not.toMatch(/element|bob|class_\w+ /);
});

test('what a reload leaves as it is says the same as if it were made anew', () => {
  const compiled = (profile: string, former: Compilation | null = null): Compilation => {
    using folder = new ConfigFolder();
    const { firewall } = folder.load(`
interface: {name: rf0, private_key_file: rf0.key, addresses: [10.9.0.1/24], listen_port: 51820}
peers:
  alice: {public_key: ${KEYS[0]}, addresses: [10.9.0.2], profile: some}
  bob: {public_key: ${KEYS[1]}, addresses: [10.9.0.3], profile: ${profile}}
firewall: {version: 1, host: {mirror: on}, profiles: {some: {}, all: {peers: all}}}
`);
    if (firewall === null) throw new Error('there is a section');
    return compile(firewall.policy, former);
  };
  const text = (compilation: Compilation): string =>
    renderScript({ table: 'rf_test', ...renderMirror(compilation, 'rf0') }, 'rf_is_golden', new Map());
  const before = compiled('some');
  // Nobody is asked for as a peer until somebody may reach them all.
  expect(text(before)).not.toContain('rf_peers4');
  const after = compiled('all', before);
  expect(after.policy.subjects.get('peers/alice')).toBe(before.policy.subjects.get('peers/alice'));
  expect(text(after)).toBe(text(compiled('all')));
});
