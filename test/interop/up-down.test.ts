// `ringfence up` and `down` with wg-quick files: what they set up carries packets, what they take down is gone to the last
// rule, and the real wg-quick takes down what we brought up, as we do what it did.

import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { networkState } from '../support/host-state.ts';
import { generateKeyPair } from '../support/keys.ts';
import { OVERLAY, RINGFENCE, Scratch, writePair } from '../support/node-process.ts';
import { type Direct, direct, type Host } from '../support/topology.ts';
import { ping } from '../support/traffic.ts';

/** Interfaces of their own in each test: the sockets of all hosts lie in one folder. */
const NEAR = 'qk-near';
const FAR = 'qk-far';
/** Beyond the tunnel, on the far side. */
const BEYOND = { v4: '203.0.113.9', v6: '2001:db8:9::9' };

let scratch: Scratch;
let net: Direct;
let near: Host;
let far: Host;

beforeEach(async () => {
  scratch = await Scratch.create('ringfence-quick-');
  net = await direct();
  near = net.left;
  far = net.right;
});

afterEach(async () => {
  await net[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

/** Lines of the near end's sections beside what both ends need. */
type Extra = { readonly interface?: readonly string[]; readonly allowedIps?: string };

async function writeFiles(extra: Extra = {}): Promise<{ nearFile: string; farFile: string }> {
  const keys = { near: generateKeyPair(), far: generateKeyPair() };
  const nearFile = join(scratch.path, `${NEAR}.conf`);
  const farFile = join(scratch.path, `${FAR}.conf`);
  const write = async (file: string, lines: readonly string[]): Promise<void> => {
    await writeFile(file, `${lines.join('\n')}\n`, { mode: 0o600 });
  };
  await write(nearFile, [
    '[Interface]',
    `PrivateKey = ${keys.near.privateKey}`,
    'Address = 10.9.0.1/24, fd09::1/64',
    ...(extra.interface ?? []),
    '[Peer]',
    `PublicKey = ${keys.far.publicKey}`,
    `Endpoint = ${far.v4}:51821`,
    `AllowedIPs = ${extra.allowedIps ?? '10.9.0.2, fd09::2'}`,
  ]);
  await write(farFile, [
    '[Interface]',
    `PrivateKey = ${keys.far.privateKey}`,
    'ListenPort = 51821',
    'Address = 10.9.0.2/24, fd09::2/64',
    '[Peer]',
    `PublicKey = ${keys.near.publicKey}`,
    'AllowedIPs = 10.9.0.1/32, fd09::1/128',
  ]);
  return { nearFile, farFile };
}

async function everything(host: Host): Promise<string> {
  const rules = await Promise.all([
    host.exec('nft', ['list', 'ruleset']),
    host.exec('iptables-save', []),
    host.exec('ip6tables-save', []),
  ]);
  // Of iptables only rules: asking makes empty tables.
  const iptables = rules.slice(1).flatMap((text) => text.split('\n').filter((line) => line.startsWith('-')));
  return [await networkState(host), iptables.join('\n')].join('\n');
}

/** Tables of nft by name: an empty ruleset has none of ours. */
async function nftTables(host: Host): Promise<string> {
  return await host.exec('nft', ['list', 'tables']);
}

async function run(host: Host, ...args: readonly string[]): Promise<string> {
  const { code, stderr, stdout } = await host.try(RINGFENCE, args);
  expect(code, `${stdout}${stderr}`).toBe(0);
  return stderr;
}

async function wgQuick(host: Host, ...args: readonly string[]): Promise<void> {
  await host.exec('wg-quick', args, {
    env: { WG_QUICK_USERSPACE_IMPLEMENTATION: RINGFENCE, PATH: process.env['PATH'] ?? '' },
  });
}

async function expectPings(from: Host, ...addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    const result = await ping(from, address, { count: 3 });
    expect(result.received, result.output).toBe(3);
  }
}

describe('a file with its hooks', () => {
  test('comes up, carries packets, and leaves the host as it was', async () => {
    const log = join(scratch.path, 'hooks');
    const { nearFile, farFile } = await writeFiles({
      interface: [
        'MTU = 1380',
        `PreUp = echo pre-up %i >> ${log}`,
        `PostUp = echo post-up $(ip -o link show %i | grep -o 'mtu [0-9]*') >> ${log}; true`,
        `PreDown = ip link show %i > /dev/null && echo pre-down >> ${log}`,
        `PostDown = ip link show %i 2> /dev/null || echo post-down >> ${log}`,
      ],
    });
    const before = await everything(near);
    await run(far, 'up', farFile);
    const said = await run(near, 'up', nearFile);
    expect(said).toContain(`[#] ip link set mtu 1380 up dev ${NEAR}\n`);
    await expectPings(near, '10.9.0.2', 'fd09::2');
    await run(near, 'down', nearFile);
    await run(far, 'down', farFile);
    expect(await everything(near)).toBe(before);
    expect(await readFile(log, 'utf8')).toBe(`pre-up ${NEAR}\npost-up mtu 1380\npre-down\npost-down\n`);
  });

  test('a hook that fails undoes the rest', async () => {
    const { nearFile } = await writeFiles({ interface: ['PostUp = false'], allowedIps: '0.0.0.0/0, ::/0' });
    const before = await everything(near);
    const { code, stderr } = await near.try(RINGFENCE, ['up', nearFile]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/`false` failed: it ended with status 1 \(ERR_NODE_HOST_COMMAND\)$/);
    expect(await everything(near)).toBe(before);
    expect(await nftTables(near)).not.toContain(NEAR);
  });

  test('an interface that exists is left alone', async () => {
    const { nearFile } = await writeFiles();
    await near.ip('link', 'add', NEAR, 'type', 'bridge');
    const { code, stderr } = await near.try(RINGFENCE, ['up', nearFile]);
    expect(code).toBe(1);
    expect(stderr).toContain(`an interface ${NEAR} exists already (ERR_NODE_INTERFACE)`);
    await near.ip('link', 'show', 'dev', NEAR);
  });

  test('a file that is wrong is refused before anything is done', async () => {
    const { nearFile } = await writeFiles({ interface: ['MTU = large'] });
    const { code, stderr } = await near.try(RINGFENCE, ['up', nearFile]);
    expect(code).toBe(2);
    expect(stderr).toBe(`${nearFile}:4:7: MTU: "large": it is a number from 0 to 65455 (ERR_CONFIG_MTU)`);
  });
});

describe('a default route', () => {
  beforeEach(async () => {
    await far.ip('address', 'add', `${BEYOND.v4}/32`, 'dev', 'lo');
    await far.ip('address', 'add', `${BEYOND.v6}/128`, 'dev', 'lo');
  });

  test('leads everything but the tunnel itself through the tunnel, and shields our overlay addresses', async () => {
    const { nearFile, farFile } = await writeFiles({ allowedIps: '0.0.0.0/0, ::/0' });
    await run(far, 'up', farFile);
    const before = await everything(near);
    await run(near, 'up', nearFile);
    await expectPings(near, BEYOND.v4, BEYOND.v6, '10.9.0.2');
    expect(await near.ip('route', 'get', BEYOND.v4)).toContain(`dev ${NEAR}`);
    expect(await near.ip('route', 'get', far.v4, 'mark', '51820')).toContain('dev eth0');
    expect(await nftTables(near)).toContain(`table ip wg-quick-${NEAR}`);

    // CVE-2019-14899: a neighbour asks on the wire for the address inside the tunnel.
    await far.ip('route', 'add', '10.9.0.1/32', 'via', near.v4, 'table', '77');
    await far.ip('rule', 'add', 'from', far.v4, 'to', '10.9.0.1', 'table', '77', 'priority', '10');
    const spoofed = await far.try('ping', ['-c', '2', '-i', '0.2', '-W', '1', '-I', far.v4, '10.9.0.1']);
    expect(spoofed.stdout).toContain('100% packet loss');

    await run(near, 'down', nearFile);
    expect(await everything(near)).toBe(before);
    expect(await nftTables(near)).not.toContain(NEAR);
    await run(far, 'down', farFile);
  });

  test('wg-quick takes down what we brought up', async () => {
    const { nearFile } = await writeFiles({ allowedIps: '0.0.0.0/0, ::/0' });
    const before = await everything(near);
    await run(near, 'up', nearFile);
    await wgQuick(near, 'down', nearFile);
    expect(await everything(near)).toBe(before);
    expect(await nftTables(near)).not.toContain(NEAR);
  });

  test('and we what it brought up', async () => {
    const { nearFile, farFile } = await writeFiles({ allowedIps: '0.0.0.0/0, ::/0' });
    await run(far, 'up', farFile);
    const before = await everything(near);
    await wgQuick(near, 'up', nearFile);
    await expectPings(near, BEYOND.v4, BEYOND.v6);
    await run(near, 'down', nearFile);
    expect(await everything(near)).toBe(before);
    expect(await nftTables(near)).not.toContain(NEAR);
    await run(far, 'down', farFile);
  });

  test('without nft, iptables holds the rules', async () => {
    const tools = join(scratch.path, 'tools');
    await mkdir(tools);
    const names = [
      'ip',
      'sysctl',
      'bash',
      'iptables-restore',
      'ip6tables-restore',
      'iptables-save',
      'ip6tables-save',
      'env',
      'sh',
    ];
    for (const name of [...names, 'dirname', 'readlink', 'nsenter', 'node']) {
      const { stdout, failed } = await execa('which', [name], { reject: false });
      if (!failed) await symlink(stdout, join(tools, name));
    }
    const { nearFile } = await writeFiles({ allowedIps: '0.0.0.0/0' });
    const before = await everything(near);
    const withTools = async (command: string): Promise<void> => {
      await near.exec(RINGFENCE, [command, nearFile], { env: { PATH: tools } });
    };
    await withTools('up');
    const saved = await near.exec('iptables-save', []);
    expect(saved).toMatch(new RegExp(`-A PREROUTING -d 10.9.0.1/32 ! -i ${NEAR} .*-j DROP`));
    expect(saved.match(/wg-quick\(8\) rule/g)).toHaveLength(3);
    await withTools('down');
    expect(await everything(near)).toBe(before);
  });
});

test('Table: off adds no route, a number adds them there', async () => {
  const { nearFile } = await writeFiles({
    interface: ['Table = 1234'],
    allowedIps: '192.168.77.0/24, 0.0.0.0/0',
  });
  await run(near, 'up', nearFile);
  const table = await near.ip('route', 'show', 'table', '1234');
  expect(table).toContain(`192.168.77.0/24 dev ${NEAR}`);
  expect(table).toContain(`default dev ${NEAR}`);
  await run(near, 'down', nearFile);

  const off = await writeFiles({ interface: ['Table = off'], allowedIps: '192.168.77.0/24' });
  await run(near, 'up', off.nearFile);
  expect(await near.ip('route')).not.toContain('192.168.77.0/24');
  await run(near, 'down', off.nearFile);
});

test('DNS is handed to resolvconf and taken back', async () => {
  // What it is given is written down: the real one would change the resolver of this machine.
  const tools = join(scratch.path, 'tools');
  const log = join(scratch.path, 'resolvconf.log');
  await mkdir(tools);
  await writeFile(
    join(tools, 'resolvconf'),
    `#!/bin/sh\necho "$*" >> ${log}\n[ "$1" = -d ] || cat >> ${log}\n`,
  );
  await chmod(join(tools, 'resolvconf'), 0o755);
  const { nearFile } = await writeFiles({ interface: ['DNS = 10.9.0.53, corp.example, fd09::53'] });
  const env = { PATH: `${tools}:${process.env['PATH']}` };
  await near.exec(RINGFENCE, ['up', nearFile], { env });
  await near.exec(RINGFENCE, ['down', nearFile], { env });
  expect(await readFile(log, 'utf8')).toBe(
    `-a ${NEAR} -m 0 -x\nnameserver 10.9.0.53\nnameserver fd09::53\nsearch corp.example\n-d ${NEAR} -f\n`,
  );
});

test('SaveConfig writes what runs over the file, and it comes up again', async () => {
  const { nearFile, farFile } = await writeFiles({
    interface: ['SaveConfig = true', 'PostUp = true # kept'],
  });
  await run(far, 'up', farFile);
  await run(near, 'up', nearFile);
  await expectPings(near, '10.9.0.2');
  const other = generateKeyPair().publicKey;
  await near.exec('wg', [
    'set',
    NEAR,
    'peer',
    other,
    'allowed-ips',
    '10.9.0.7/32',
    'persistent-keepalive',
    '21',
  ]);
  await run(near, 'down', nearFile);
  const saved = await readFile(nearFile, 'utf8');
  expect(saved).toContain(
    `[Peer]\nPublicKey = ${other}\nAllowedIPs = 10.9.0.7/32\nPersistentKeepalive = 21\n`,
  );
  expect(saved).toMatch(
    /^\[Interface\]\nAddress = 10\.9\.0\.1\/24\nAddress = fd09::1\/64\nSaveConfig = true\nPostUp = true\nListenPort = \d+\nPrivateKey = /,
  );
  await run(near, 'up', nearFile);
  await expectPings(near, '10.9.0.2');
  await run(near, 'down', nearFile);
  await run(far, 'down', farFile);
});

test('a node of a YAML file goes to the background and is stopped by file or by name', async () => {
  const files = await writePair(scratch.path, {
    left: { host: near, addresses: OVERLAY.left.addresses },
    right: { host: far, addresses: OVERLAY.right.addresses },
  });
  const runIn = (host: Host, runDirectory: string, ...args: readonly string[]) =>
    host.try(RINGFENCE, args, { env: { RINGFENCE_RUN_DIR: runDirectory } });
  const { left, right } = files;
  const before = await networkState(near);
  expect(await runIn(near, left.runDirectory, 'up', left.configFile)).toMatchObject({ code: 0, stderr: '' });
  expect(await runIn(far, right.runDirectory, 'up', right.configFile)).toMatchObject({ code: 0, stderr: '' });
  await expectPings(near, OVERLAY.right.v4);

  const second = await runIn(near, left.runDirectory, 'up', left.configFile);
  expect(second.code).toBe(1);
  expect(second.stderr).toMatch(/did not start in the background \(ERR_NODE_START\)/);

  expect(await runIn(near, left.runDirectory, 'down', left.configFile)).toMatchObject({
    code: 0,
    stderr: '',
  });
  expect(await networkState(near)).toBe(before);
  const name = right.file.interface.name;
  expect(await runIn(far, right.runDirectory, 'down', name)).toMatchObject({ code: 0, stderr: '' });
  const again = await runIn(far, right.runDirectory, 'down', name);
  expect(again.code).toBe(1);
  expect(again.stderr).toContain(`no node runs on ${name} (ERR_NODE_NOT_RUNNING)`);
});
