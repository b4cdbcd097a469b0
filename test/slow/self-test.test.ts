// What takes longer to show of the self-test: that it follows changes by itself, that the commands tell it, and a kill in its middle.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { until } from '../support/deadline.ts';
import { API, byPath, FIREWALL, foreign, WEB } from '../support/droppers.ts';
import { RINGFENCE } from '../support/node-process.ts';
import { at, HostRules, overlayHost, WAN } from '../support/overlay-host.ts';

test('tells what respect leaves closed, by itself what opening has opened, and so do the commands', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  const deny =
    '*filter\n:INPUT DROP [0:0]\n:ufw-before-input - [0:0]\n-A INPUT -j ufw-before-input\nCOMMIT\n';
  for (const program of ['iptables', 'ip6tables']) {
    await net.node.exec(`${program}-nft-restore`, ['--noflush'], { input: deny });
  }
  const respected = { ...FIREWALL, host: { ...FIREWALL.host, stance: 'respect' } };
  await rules.start(respected);
  await rules.test();
  const found = async (): Promise<string | undefined> => byPath((await rules.status()).paths ?? [])[API];
  expect(await found()).toBe('no: ip filter INPUT');
  const { code, stdout } = await net.node.try(RINGFENCE, ['doctor', await rules.file(respected)]);
  expect(code).toBe(1);
  expect(stdout).toMatch(/problem: not effective: inbound web .* is dropped by ip filter INPUT: policy drop/);
  expect(stdout).toContain('do: iptables -t filter -I INPUT 1 -i rf0 -p tcp --dport 13670 -j ACCEPT');

  await rules.update(FIREWALL);
  await until(async () => (await found()) === 'yes', 10_000, 'it is open');
  // Somebody closes it again, above ours, and has second thoughts.
  await net.node.exec('nft', ['-f', '-'], {
    input: 'table inet late { chain input { type filter hook input priority 40; tcp dport 13669 drop; }; }\n',
  });
  await until(async () => (await found()) === 'no: inet late input', 40_000, 'it is closed again');
  await net.node.exec('nft', ['delete', 'table', 'inet', 'late']);
  expect(byPath(await rules.test())[API]).toBe('yes');
  await rules.process.line(new RegExp(`effective on the host again: ${API}`), 5_000);

  const env = { RINGFENCE_RUN_DIR: rules.runDirectory };
  const file = await rules.file(respected);
  await rules.stop();
  const applied = await net.node.try(RINGFENCE, ['firewall', 'apply', file], { env });
  expect(applied.stdout).toMatch(
    /^not effective: inbound api .* is dropped by ip filter INPUT: policy drop/m,
  );
  expect((await net.node.try(RINGFENCE, ['firewall', 'remove', 'test'], { env })).code).toBe(0);
}, 120_000);

test('what is killed in the middle leaves no interface, and its table goes with the next test or with the rules', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  await rules.start(FIREWALL);
  await net.node.exec('nft', ['-f', '-'], { input: foreign(4) }); // who traces takes longer
  const tables = async (): Promise<string> => await net.node.exec('nft', ['list', 'tables']);
  const killInTheMiddle = async (): Promise<void> => {
    const running = rules.test().catch(() => null);
    await until(async () => (await tables()).includes('rf_test.probe.'), 10_000, 'a test runs');
    rules.process.signal('SIGKILL');
    await rules.process.exited;
    void running; // nobody answers it any more
    expect(await tables()).toContain('rf_test.probe.');
    expect(await net.node.exec('ip', ['-brief', 'link'])).not.toContain('rfprobe');
  };
  await killInTheMiddle();
  rules.restart(net.node);
  await rules.start(FIREWALL);
  expect(byPath(await rules.test())[WEB]).toBe('no: inet admin input');
  expect(await tables()).not.toContain('probe');

  await killInTheMiddle();
  const env = { RINGFENCE_RUN_DIR: rules.runDirectory };
  expect((await net.node.try(RINGFENCE, ['firewall', 'remove', 'test'], { env })).code).toBe(0);
  expect(await tables()).toBe('table inet admin\ntable inet firewalld');
}, 120_000);

test.each(['nft', 'iptables-nft', 'iptables-legacy'] as const)(
  'by %s, under strict reverse path filters: all passes, and a rule above ours is named',
  async (backend) => {
    await using net = await overlayHost();
    await using rules = await HostRules.create(net.node, backend);
    for (const name of ['all', 'rf0', 'lan', 'wan'])
      await net.node.sysctl({ [`net.ipv4.conf.${name}.rp_filter`]: 1 });
    await net.node.ipBatch(
      `route add default via ${at(WAN, 9, 4)}`,
      `route add ::/0 via ${at(WAN, 9, 6)}`,
      'route add 192.168.99.0/24 dev rf0',
    );
    const site = { subnets: ['192.168.99.0/24'], exit_relay: { provide: true } };
    const section = { ...FIREWALL, sites: { alice: site } };
    await rules.start(section);
    const found = byPath(await rules.test());
    expect(found['sites to the internet']).toBe('yes');
    expect(Object.entries(found).filter(([, one]) => one !== 'yes')).toEqual([]);

    const kind = backend === 'nft' ? 'iptables-nft' : backend;
    await net.node.exec(`${kind}-restore`, ['--noflush'], {
      input: '*mangle\n-I POSTROUTING 1 -o lan -j DROP\nCOMMIT\n',
    });
    const dropped = byPath(await rules.test());
    const by = `no: ip mangle POSTROUTING${kind === 'iptables-legacy' ? ' (iptables-legacy)' : ''}`;
    expect([dropped['overlay out by lan'], dropped['published svc/web4 tcp/80 IPv4']]).toEqual([by, by]);
    expect(dropped['published svc/web6 tcp/80 IPv6']).toBe('yes');
    await rules.stop();
  },
  120_000,
);

test('what the policy of the peers keeps from a peer is not told as a fault', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  const { host, nat } = FIREWALL;
  await rules.start({ host: { ...host, mirror: 'on' }, nat, profiles: { none: { internet: false } } });
  const paths = await rules.test();
  expect(paths.find(({ name }) => name === 'overlay to this host')).toMatchObject({
    effective: 'unknown',
    why: expect.stringContaining('is not for that peer, by the policy of the peers in inet rf_test'),
  });
  expect(byPath(paths)[API]).toBe('yes');
  expect(paths.filter(({ effective }) => effective === 'no')).toEqual([]);
}, 120_000);

test('hundreds of rows are tried, each by what the packets are enough for', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  const inbound = Array.from({ length: 300 }, (_, i) => ({
    name: `row${i}`,
    proto: i % 2 === 0 ? 'tcp' : 'udp',
    port: 20_000 + i,
    from: ['any'],
  }));
  await rules.start({ host: { inbound } });
  const paths = await rules.test();
  expect(paths).toHaveLength(251);
  expect(paths.filter(({ effective }) => effective === 'yes')).toHaveLength(250);
  expect(paths.at(-1)).toMatchObject({ name: '52 more', effective: 'unknown' });
  await net.node.exec('nft', ['-f', '-'], {
    input:
      'table inet admin { chain input { type filter hook input priority 9; th dport 20000-20299 drop; }; }\n',
  });
  const closed = await rules.test();
  expect(closed.filter(({ effective }) => effective === 'no')).toHaveLength(248);
  expect(closed.filter(({ by }) => by === 'inet admin input')).toHaveLength(60);
}, 120_000);

test('without tc nothing comes in, which is told; users of this host are tried still', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  const folder = join(rules.runDirectory, 'bin');
  await mkdir(folder);
  await writeFile(join(folder, 'tc'), '#!/bin/sh\necho no such thing >&2\nexit 2\n', { mode: 0o755 });
  const env = { RINGFENCE_RUN_DIR: rules.runDirectory, PATH: `${folder}:${process.env['PATH']}` };
  const links = await net.node.exec('ip', ['-brief', 'link']);
  const { stdout } = await net.node.try(RINGFENCE, ['firewall', 'apply', await rules.file(FIREWALL)], {
    env,
  });
  expect(stdout).toMatch(
    /^not known: inbound web .*: no packet can be put in: `tc -batch -` failed: no such thing$/m,
  );
  expect(stdout).not.toContain('process of user');
  expect(await net.node.exec('ip', ['-brief', 'link'])).toBe(links);
  expect(await net.node.exec('nft', ['list', 'tables'])).toBe('table inet rf_test');
}, 120_000);

test('CAP_NET_ADMIN alone, as a service has it, is enough for all but users of this host', async () => {
  await using net = await overlayHost();
  await using rules = await HostRules.create(net.node);
  await rules.start(FIREWALL);
  const only = ['--bounding-set', '--inh-caps', '--ambient-caps'].map((set) => `${set}=-all,+net_admin`);
  const { stdout } = await net.node.try('setpriv', [
    ...only,
    RINGFENCE,
    'doctor',
    await rules.file(FIREWALL),
  ]);
  const found = stdout.split('\n').filter((line) => /not (?:known|effective)/.test(line));
  expect(found.filter((line) => !line.includes('process of user'))).toEqual([]);
  expect(found).toContainEqual(
    expect.stringMatching(
      /^note: not known: process of user 0 to .*: cannot send a packet as user 0: .*EPERM/,
    ),
  );
}, 120_000);
