// The host's rules of a node: there before its tunnel, after its crash, and gone with it; without them it does not start.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { direct } from '../../src/bench/topology.ts';
import { until } from '../support/deadline.ts';
import { networkState } from '../support/host-state.ts';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeFile, NodeProcess, Scratch, writeNode } from '../support/node-process.ts';
import { DENY_ALL, ruleset } from '../support/overlay-host.ts';
import { Prober } from '../support/prober.ts';

function nodeFile(firewall: object): NodeFile {
  return {
    interface: {
      name: 'rf-guarded',
      private_key_file: 'node.key',
      addresses: ['10.9.0.1/24', 'fd09::1/64'],
      listen_port: 51820,
    },
    peers: { right: { public_key: generateKeyPair().publicKey, addresses: ['10.9.0.2', 'fd09::2'] } },
    firewall: { version: 1, network: 'home0', ...firewall },
  };
}

test('rules come before the tunnel, stay after a crash, change at a reload and go at the end', async () => {
  await using net = await direct();
  await using scratch = await Scratch.create();
  const host = net.left;
  const keys = generateKeyPair();
  const file = nodeFile({
    host: { inbound: [{ name: 'wg', proto: 'udp', port: '$listen', from: ['any'] }] },
  });
  const files = await writeNode(scratch.path, keys, file);
  const [before, networkBefore] = [await ruleset(host), await networkState(host)];

  const first = await NodeProcess.start(host, files);
  const rules = await ruleset(host);
  expect(rules).toContain('table inet rf_home0');
  expect((await first.status()).hostRules).toMatchObject({
    backend: 'nft',
    table: 'rf_home0',
    notEnforced: [],
  });
  // What is to pass is tried once the tunnel is there.
  await until(async () => ((await first.status()).hostRules?.paths ?? null) !== null, 10_000, 'it is tried');
  const { paths } = (await first.status()).hostRules ?? {};
  expect(paths?.map(({ name, effective }) => `${effective} ${name}`)).toEqual([
    'yes overlay to this host',
    'yes inbound wg udp/51820 from any',
  ]);
  const shown = await first.command('status');
  expect(shown).toContain('host rules  table inet rf_home0');
  expect(shown).toContain('effective   2 of 2 openings and paths, tried by packets');
  await first.process.stop('SIGKILL');
  expect(await ruleset(host)).toBe(rules);
  // Its routes went with the tunnel; those of the guard are what counts now.
  for (const address of ['10.9.0.2', 'fd09::2']) {
    const { stdout, stderr } = await host.try('ip', ['route', 'get', address]);
    expect(stdout + stderr).toMatch(/unreachable|No route to host/);
  }

  const second = await NodeProcess.start(host, files, { env: { LOG_LEVEL: 'debug' } });
  expect(second.process.output).toContain('table inet rf_home0 adopted');
  expect(await ruleset(host)).toBe(rules);
  await writeFile(
    files.configFile,
    stringify({
      ...file,
      firewall: { ...(file.firewall as object), process: [{ only: { uid: [0] }, to: ['127.0.0.1:9'] }] },
    }),
  );
  expect(await second.command('reload', 'rf-guarded')).toContain('firewall.process');
  expect(await ruleset(host)).toContain('rf_process');
  await host.exec('nft', ['flush', 'ruleset']);
  await until(async () => (await ruleset(host)).includes('rf_process'), 5_000, 'the rules are back');
  // It is counted once the rules have been looked at again.
  await until(async () => ((await second.status()).hostRules?.restored ?? 0) > 0, 5_000, 'it is counted');
  // The networks of the host's interfaces, which are the neighbours of a published address, are followed while it runs.
  const published = {
    ...(file.firewall as object),
    nat: {
      publish: [{ owner: 'web', proto: 'tcp', ports: { '80': 'same' }, to: '198.51.100.5', hairpin: true }],
    },
  };
  await writeFile(files.configFile, stringify({ ...file, firewall: published }));
  await second.command('reload', 'rf-guarded');
  expect(await ruleset(host)).not.toContain('198.51.100.0/24');
  await host.ipBatch('address add 198.51.100.1/24 dev eth0');
  await second.process.line(/the host rules follow the networks/, 10_000);
  expect(await ruleset(host)).toContain('198.51.100.0/24');
  await host.ipBatch('address delete 198.51.100.1/24 dev eth0');
  await until(async () => !(await ruleset(host)).includes('198.51.100.0/24'), 10_000, 'its network is gone');
  // What nft refuses is not taken, and the rest of the reload with it.
  const there = await ruleset(host);
  await writeFile(
    files.configFile,
    stringify({
      ...file,
      firewall: {
        ...(file.firewall as object),
        process: [{ only: { uid: ['no_such_user'] }, to: ['127.0.0.1:9'] }],
      },
    }),
  );
  await expect(second.command('reload', 'rf-guarded')).rejects.toThrow('ERR_FIREWALL_COMMAND');
  expect(await ruleset(host)).toBe(there);

  await second.stop();
  expect(await ruleset(host)).toBe(before);
  expect(await networkState(host)).toBe(networkBefore);
});

test('keeps its rules at the end where the file says so, and does not start without them', async () => {
  await using net = await direct();
  await using scratch = await Scratch.create();
  const host = net.left;
  const files = await writeNode(
    scratch.path,
    generateKeyPair(),
    nodeFile({ host: { backend: 'nft', on_stop: 'keep-deny' } }),
  );
  const folder = join(scratch.path, 'bin');
  await mkdir(folder);
  await writeFile(join(folder, 'nft'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  const networkBefore = await networkState(host);
  const env = { PATH: `${folder}:${process.env['PATH']}` };
  await expect(NodeProcess.start(host, files, { env })).rejects.toThrow('ERR_FIREWALL_COMMAND');
  expect(await networkState(host)).toBe(networkBefore);
  expect((await host.try('ip', ['link', 'show', 'rf-guarded'])).code).not.toBe(0);

  const node = await NodeProcess.start(host, files);
  const rules = await ruleset(host);
  await node.stop();
  expect(await ruleset(host)).toBe(rules);
  await node.command('firewall', 'remove', 'home0');
  expect(await ruleset(host)).toBe('');
  expect(await networkState(host)).toBe(networkBefore);
});

test.concurrent.each(['iptables-nft', 'iptables-legacy'])(
  'by %s: does not start without all of its rules, and those of IPv4 are taken back where IPv6 refuses its own',
  async (backend) => {
    await using net = await direct();
    await using scratch = await Scratch.create();
    const host = net.left;
    const files = await writeNode(scratch.path, generateKeyPair(), nodeFile({ host: { backend } }));
    const folder = join(scratch.path, 'bin');
    await mkdir(folder);
    const restore = backend.replace('iptables', 'ip6tables');
    await writeFile(join(folder, `${restore}-restore`), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const before = await networkState(host);
    const env = { PATH: `${folder}:${process.env['PATH']}` };
    await expect(NodeProcess.start(host, files, { env })).rejects.toThrow('ERR_FIREWALL_COMMAND');
    expect(await networkState(host)).toBe(before);
    expect((await host.try('ip', ['link', 'show', 'rf-guarded'])).code).not.toBe(0);
    expect((await host.try(`${backend}-save`)).stdout).not.toContain('RF-');
  },
);

test.concurrent.each(['nft', 'iptables-nft', 'iptables-legacy'])(
  'by %s: the port that the node listens on is the one that is open, also when it is another one',
  async (backend) => {
    await using net = await direct();
    await using scratch = await Scratch.create();
    const { left: host, right } = net;
    await host.exec('nft', ['-f', '-'], { input: DENY_ALL });
    const inbound = [{ name: 'wg', proto: 'udp', port: '$listen', from: ['any'] }];
    const file = nodeFile({ host: { backend, inbound } });
    const listensOn = (port: number): NodeFile => ({
      ...file,
      interface: { ...file.interface, name: `rf-${backend}`.slice(0, 15), listen_port: port },
    });
    const files = await writeNode(scratch.path, generateKeyPair(), listensOn(51_820));
    await using node = await NodeProcess.start(host, files);
    const stranger = Prober.start(right);
    // What comes in is counted, for it is no message; what is let in where nobody listens would be refused.
    const expectOpen = async (open: number, closed: number) => {
      for (const address of [host.v4, host.v6]) {
        const before = await node.drops('malformed-message');
        expect(await stranger.knockInVain('udp', address, closed)).toEqual({ error: 'silence' });
        expect(await node.drops('malformed-message')).toBe(before);
        expect(await stranger.knockInVain('udp', address, open)).toEqual({ error: 'silence' });
        await node.dropped('malformed-message', before);
      }
    };
    await expectOpen(51_820, 51_821);
    await writeFile(files.configFile, stringify(listensOn(51_821)));
    expect(await node.command('reload')).toContain('interface.listen_port');
    await expectOpen(51_821, 51_820);
  },
);
