// A new machine joins with a file: two hosts, a node on the left that invites, nothing on the right. What is promised: the
// key of the new node never leaves it, a file is good once, and whoever is refused is told why.

import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { decodeKey, renderPublicKey } from '../../src/config/key.ts';
import { readKeyFile } from '../../src/config/key-file.ts';
import { askNode, askStatus } from '../../src/control/node-socket.ts';
import { sealRequest } from '../../src/join/request-file.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeFiles, NodeProcess, RINGFENCE, Scratch, writeNode } from '../support/node-process.ts';
import { Prober } from '../support/prober.ts';
import { type Routed, routed } from '../support/topology.ts';
import { ping } from '../support/traffic.ts';

const WALL_CLOCK = fileURLToPath(new URL('../support/wall-clock.ts', import.meta.url));
const DAY_MS = 86_400_000;
const COMMENTS = '# All our peers.\n';

let scratch: Scratch;
let net: Routed;
let left: NodeProcess;

beforeAll(async () => {
  scratch = await Scratch.create();
  net = await routed(1500, { left: 'jleft', right: 'jright' });
  const files = await writeNode(join(scratch.path, 'left'), generateKeyPair(), {
    interface: {
      name: 'rf-jleft',
      private_key_file: 'node.key',
      addresses: ['10.9.0.1/24', 'fd09::1/64'],
      listen_port: 51820,
    },
    peers: {},
  });
  const text = (await readFile(files.configFile, 'utf8')).replace(
    'peers: {}',
    `peers: # below\n  # nobody yet\n${COMMENTS}`,
  );
  await writeFile(files.configFile, text);
  left = await NodeProcess.start(net.left, files, {
    env: { RINGFENCE_STATE_DIR: join(scratch.path, 'left-state') },
  });
});

afterAll(async () => {
  await left?.[Symbol.asyncDispose]();
  await net?.[Symbol.asyncDispose]();
  await scratch?.[Symbol.asyncDispose]();
});

/** The new machine: a folder of its own, where everything of it lies. */
class Machine {
  readonly path: string;
  readonly env: Record<string, string>;
  readonly interfaceName: string;

  constructor(name: string, clockShiftMs = 0) {
    this.path = join(scratch.path, name);
    this.interfaceName = `rf-${name}`;
    const shift = {
      NODE_OPTIONS: `--import=${WALL_CLOCK}`,
      RINGFENCE_TEST_CLOCK_SHIFT_MS: `${clockShiftMs}`,
    };
    this.env = {
      RINGFENCE_RUN_DIR: join(this.path, 'run'),
      RINGFENCE_STATE_DIR: join(this.path, 'state'),
      ...(clockShiftMs === 0 ? {} : shift),
    };
  }

  /** `ringfence join FILE`, in its folder. */
  async join(invite: string, ...options: readonly string[]) {
    await mkdir(this.path, { recursive: true });
    const args = [
      'join',
      invite,
      '--file',
      join(this.path, 'ringfence.yaml'),
      '--name',
      this.interfaceName,
      ...options,
    ];
    return await net.right.try(RINGFENCE, args, { env: this.env, timeoutMs: 60_000 });
  }

  async down(): Promise<void> {
    await net.right.exec(RINGFENCE, ['down', this.interfaceName], { env: this.env });
  }
}

/** `ringfence invite NAME …` on the left; the path of the file it has made. */
async function invite(name: string, ...options: readonly string[]): Promise<string> {
  const file = join(scratch.path, `${name}.yaml`);
  await left.command('invite', name, '--file', file, ...options);
  return file;
}

const configText = (): Promise<string> => readFile(left.files.configFile, 'utf8');

test('it joins, is connected, and both files say so', async () => {
  const before = await configText();
  const file = await invite('bob');
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const secrets = (await readFile(file, 'utf8'))
    .match(/^(?:preshared|one_time)_key: (.*)$/gm)
    ?.map((line) => line.split(': ')[1] ?? '');
  expect(secrets).toHaveLength(2);
  const machine = new Machine('bob');
  const { code, stdout, stderr } = await machine.join(file);
  const firstPing = await ping(net.right, '10.9.0.1', { count: 1 });
  expect({ code, stderr }).toMatchObject({ code: 0 });
  expect(stdout).toContain(`${machine.interfaceName} is up and connected`);
  expect(firstPing.received).toBe(1);
  expect((await ping(net.left, 'fd09::2', { count: 2 })).received).toBe(2);

  const bob = await left.peer('bob');
  expect(bob).toMatchObject({ hasPresharedKey: true, allowedIps: ['10.9.0.2/32', 'fd09::2/128'] });
  const status = await askStatus(machine.env['RINGFENCE_RUN_DIR'] ?? '', machine.interfaceName);
  expect(status?.interface.publicKey).toBe(bob.publicKey);
  expect((await left.status()).peers.map(({ name }) => name)).toEqual(['bob']);

  const after = await configText();
  expect(parse(after).peers.bob).toEqual({
    public_key: bob.publicKey,
    preshared_key_file: 'bob.psk',
    addresses: ['10.9.0.2', 'fd09::2'],
  });
  const rest = after.split('\n').filter((line) => before.split('\n').includes(line));
  expect(rest).toEqual(before.split('\n'));
  const modes = ['ringfence.yaml', `${machine.interfaceName}.key`].map(
    async (name) => (await stat(join(machine.path, name))).mode & 0o777,
  );
  expect(await Promise.all(modes)).toEqual([0o644, 0o600]);

  // The very file again changes nothing here, and another machine is told.
  const other = await new Machine('thief').join(file, '--no-up');
  expect(other.code).toBe(1);
  expect(other.stderr).toMatch(/this invite was used: .*\(ERR_JOIN_USED\)/);
  expect(parse(await configText())).toEqual(parse(after));
  for (const secret of secrets ?? []) {
    for (const output of [stdout, stderr, other.stderr, left.process.output, after])
      expect(output).not.toContain(secret);
  }

  // After a restart the file is what counts.
  await left.command('reload');
  expect((await ping(net.right, '10.9.0.1', { count: 2 })).received).toBe(2);
  await machine.down();
});

test('it outlives the node that made it, and an interrupted join goes on', async () => {
  const file = await invite('carol');
  await left.process.stop('SIGKILL');
  left = await NodeProcess.start(net.left, left.files, {
    env: { RINGFENCE_STATE_DIR: join(scratch.path, 'left-state') },
  });
  const machine = new Machine('carol');
  expect((await machine.join(file, '--no-up')).code).toBe(0);
  // As if it had been killed before it wrote its file: the same key asks again, and is answered as before.
  await net.right.exec('rm', [join(machine.path, 'ringfence.yaml')]);
  const again = await machine.join(file);
  expect(again.code, again.stderr).toBe(0);
  expect((await ping(net.right, '10.9.0.1', { count: 1 })).received).toBe(1);
  expect(await left.command('invite', '--list')).toMatch(/carol +used/);
  await machine.down();
});

describe.concurrent('one beside the other', () => {
  test('revoked, over, and taken: whoever comes is told', async () => {
    const revoked = await invite('dave');
    expect(await left.command('invite', '--list')).toMatch(/dave +open/);
    await expect(invite('dave')).rejects.toThrow(/ERR_FILE_EXISTS/);
    await expect(left.command('invite', 'dave', '--file', join(scratch.path, 'd2.yaml'))).rejects.toThrow(
      /invited already.*ERR_JOIN_NAME/s,
    );
    await left.command('invite', 'dave', '--revoke');
    const dave = new Machine('dave');
    expect((await dave.join(revoked)).stderr).toMatch(/has taken this invite back.*\(ERR_JOIN_REVOKED\)/);
    await expect(left.command('invite', 'dave', '--revoke')).rejects.toThrow(/no invite of "dave" is open/);

    const short = await invite('erin', '--expires', '1s');
    await until(
      async () => /erin +expired/.test(await left.command('invite', '--list')),
      10_000,
      'the end of the invite',
    );
    expect((await new Machine('erin').join(short)).stderr).toMatch(/was good until .*\(ERR_JOIN_EXPIRED\)/);
    // A machine whose clock is behind asks, and the node says.
    expect((await new Machine('erin', -60_000).join(short)).stderr).toMatch(
      /is over by the clock of .*\(ERR_JOIN_EXPIRED\)/,
    );

    await expect(invite('bob')).rejects.toThrow(/ERR_FILE_EXISTS/);
    await expect(left.command('invite', 'bob', '--file', join(scratch.path, 'b2.yaml'))).rejects.toThrow(
      /there is a peer bob already.*ERR_JOIN_NAME/s,
    );
    await expect(left.command('invite', 'no/name', '--file', join(scratch.path, 'n.yaml'))).rejects.toThrow(
      /ERR_JOIN_NAME/,
    );
    expect(parse(await configText()).peers).not.toHaveProperty('dave');
    expect((await readdir(left.files.directory)).filter((name) => /dave|erin/.test(name))).toEqual([]);
  });

  test('a clock that is off by a day, or by hours, is named', async () => {
    const file = await invite('frank');
    expect((await new Machine('frank', -DAY_MS).join(file)).stderr).toMatch(
      /clock is wrong: it says .*\(ERR_JOIN_CLOCK\)/,
    );
    expect((await new Machine('frank', DAY_MS / 2).join(file)).stderr).toMatch(
      /clocks are too far apart.*\(ERR_JOIN_CLOCK\)/,
    );
    // Put right, the same machine joins: what it said before does not stand in its way.
    const frank = new Machine('frank');
    const { code, stderr } = await frank.join(file, '--no-up');
    expect(code, stderr).toBe(0);
  });

  test('a file that others can read, was changed or is none is refused before anything is asked', async () => {
    const file = await invite('grace');
    const bytes = await readFile(file);
    const grace = new Machine('grace');
    await chmod(file, 0o640);
    expect((await grace.join(file)).stderr).toMatch(/others can get at .*0640 \(ERR_JOIN_FILE_MODE\)/);
    await chmod(file, 0o600);
    for (const at of [3, 200, bytes.indexOf('one_time_key') + 20, bytes.length - 4]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      await writeFile(file, changed);
      const { code, stderr } = await grace.join(file);
      expect(code).toBe(1);
      expect(stderr, `byte ${at}`).toMatch(/\(ERR_JOIN_FILE\)/);
    }
    await writeFile(file, bytes.subarray(0, 300));
    expect((await grace.join(file)).stderr).toMatch(/its end is missing \(ERR_JOIN_FILE\)/);
    await writeFile(file, bytes);
    await left.command('invite', 'grace', '--revoke');
    expect(await readdir(grace.path)).toEqual([]);
  });

  test('where nobody answers, it says where it asked', async () => {
    const file = await invite('heidi', '--endpoint', '192.0.2.10:9');
    const { code, stderr } = await new Machine('heidi').join(file);
    expect(code).toBe(1);
    expect(stderr).toMatch(/does not answer: 192\.0\.2\.10:9: no answer in .*\(ERR_JOIN_UNREACHABLE\)/);
    await left.command('invite', 'heidi', '--revoke');
  });

  test('by hand: a request carried to the node', async () => {
    const file = await invite('ivan', '--offline');
    const ivan = new Machine('ivan');
    expect((await ivan.join(file)).stderr).toContain('--offline');
    const { code, stderr } = await ivan.join(file, '--offline');
    expect(code, stderr).toBe(0);
    const request = join(ivan.path, 'ivan.request.yaml');
    const text = await readFile(request, 'utf8');
    await writeFile(
      request,
      text.replace(/public_key: ./, (found) => `public_key: ${found.endsWith('A') ? 'B' : 'A'}`),
    );
    await expect(left.command('invite', '--accept', request)).rejects.toThrow(
      /was not made with its invite.*ERR_JOIN_FILE/s,
    );
    await writeFile(request, text);
    expect(await left.command('invite', '--accept', request)).toBe('ivan has joined');
    await net.right.exec(RINGFENCE, ['up', join(ivan.path, 'ringfence.yaml')], { env: ivan.env });
    expect((await ping(net.right, '10.9.0.1', { count: 1 })).received).toBe(1);
    await ivan.down();
  });

  test.each(['accept', 'revoke'] as const)(
    'taken in and taken back at once, %s first: one wins, the other is told',
    async (first) => {
      const name = `one-of-two-${first}`;
      const ask = (request: string, fields: object) =>
        askNode(left.files.runDirectory, left.interfaceName, { request, name, ...fields });
      await ask('invite', { kind: 'hand', seconds: 600 });
      const presharedKey = readKeyFile(join(left.files.directory, `${name}.psk`));
      if (!presharedKey.ok) throw new Error(presharedKey.problem);
      const publicKey = decodeKey(Buffer.from(generateKeyPair().publicKey)) ?? new Uint8Array();
      const { seal } = sealRequest(name, publicKey, presharedKey.key);
      const accept = () => ask('accept-join', { publicKey: renderPublicKey(publicKey), seal });
      const revoke = () => ask('revoke-invite', {});
      const begun = first === 'accept' ? [accept(), revoke()] : [revoke(), accept()];
      const ends = await Promise.allSettled(begun);
      const [accepted, revoked] = first === 'accept' ? ends : ends.toReversed();
      const hasJoined = accepted?.status === 'fulfilled';
      expect(revoked?.status).toBe(hasJoined ? 'rejected' : 'fulfilled');
      const told = [accepted, revoked].flatMap((end) =>
        end?.status === 'rejected' ? [end.reason.code] : [],
      );
      expect(told).toEqual([hasJoined ? 'ERR_JOIN_NAME' : 'ERR_JOIN_REVOKED']);
      const { peers } = parse(await configText());
      expect(Object.hasOwn(peers, name)).toBe(hasJoined);
      expect((await left.status()).peers.some((peer) => peer.name === name)).toBe(hasJoined);
    },
  );

  test('for a phone: a plain configuration, and its QR code', async () => {
    const file = join(scratch.path, 'phone.conf');
    const { stdout, stderr, code } = await net.left.try(
      RINGFENCE,
      ['invite', 'phone', '--wg', '--file', file],
      {
        env: { RINGFENCE_RUN_DIR: left.files.runDirectory },
      },
    );
    expect(code, stderr).toBe(0);
    expect(await readFile(file, 'utf8')).toBe(`${stdout}\n`);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(stdout).toMatch(
      /^\[Interface\]\nPrivateKey = .{44}\nAddress = 10\.9\.0\.\d+\/24, fd09::\w+\/64\nMTU = 1420\n\n\[Peer\]\nPublicKey = .{44}\nPresharedKey = .{44}\nAllowedIPs = 10\.9\.0\.0\/24, fd09::\/64\nEndpoint = 192\.0\.2\.10:51820\nPersistentKeepalive = 25$/m,
    );
    expect(await readQr(stderr)).toBe(`${stdout}\n`);

    // wg-quick's file format, brought up by us as wg-quick would.
    await net.right.exec(RINGFENCE, ['up', file], { env: new Machine('phone').env });
    expect((await ping(net.right, '10.9.0.1', { count: 1 })).received).toBe(1);
    await net.right.exec(RINGFENCE, ['down', file], { env: new Machine('phone').env });
  });
});

/** A node whose firewall has the profile `std`: one port of the node itself. */
async function startFirewalled(): Promise<NodeProcess> {
  const files = await writeNode(join(scratch.path, 'firewalled'), generateKeyPair(), {
    interface: {
      name: 'rf-jfirewall',
      private_key_file: 'node.key',
      addresses: ['10.8.0.1/24', 'fd08::1/64'],
      listen_port: 51821,
    },
    peers: {},
    firewall: { version: 1, profiles: { std: { allow: [{ to: 'self', ports: ['tcp/7001'] }] } } },
  });
  return await startWith(files);
}

/** With the files and the state that it had. */
async function startWith(files: NodeFiles): Promise<NodeProcess> {
  return await NodeProcess.start(net.left, files, {
    env: { RINGFENCE_STATE_DIR: join(scratch.path, 'firewalled-state') },
  });
}

/** Whether the new machine gets through to two ports of the firewalled node, of which `std` grants the first. */
async function reached(prober: Prober, isGranted: boolean): Promise<boolean[]> {
  const ends = ['10.8.0.1', 'fd08::1'];
  const granted = ends.map((to) =>
    isGranted ? prober.knock('tcp', to, 7001) : prober.knockInVain('tcp', to, 7001),
  );
  const others = ends.map((to) => prober.knockInVain('tcp', to, 7002));
  return (await Promise.all([...granted, ...others])).map((knock) => 'by' in knock);
}

describe('on a node with a firewall', () => {
  let node: NodeProcess;
  const list = (): Promise<string> => node.command('invite', '--list', '--interface', node.interfaceName);
  /** What `ringfence invite NAME …` says beside what it prints. */
  const inviteHere = async (name: string, ...options: readonly string[]) => {
    const file = join(scratch.path, `fw-${name}.${options.includes('--wg') ? 'conf' : 'yaml'}`);
    const args = ['invite', name, '--file', file, '--interface', node.interfaceName, ...options];
    const env = { RINGFENCE_RUN_DIR: node.files.runDirectory };
    const { code, stderr } = await net.left.try(RINGFENCE, args, { env });
    return { file, code, stderr };
  };
  const peersInFile = async () => parse(await readFile(node.files.configFile, 'utf8')).peers;

  beforeAll(async () => {
    node = await startFirewalled();
  });
  afterAll(() => node?.[Symbol.asyncDispose]());

  test('a profile that is not there is refused, and nothing is left of it', async () => {
    const unknown = await inviteHere('bob', '--profile', 'staff');
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('has no profile "staff"') });
    expect(unknown.stderr).toMatch(/\(ERR_JOIN_PROFILE\)\n.*its profiles are: std/);
    await expect(left.command('invite', 'judy', '--profile', 'std')).rejects.toThrow(
      /has no firewall.*ERR_JOIN_PROFILE/s,
    );
    expect(await list()).toBe('nobody is invited');
    expect((await readdir(node.files.directory)).filter((name) => name.includes('bob'))).toEqual([]);
    expect((await readdir(left.files.directory)).filter((name) => name.includes('judy'))).toEqual([]);
  });

  test('who joins reaches what its profile grants and nothing else, also after a restart', async () => {
    const { file, stderr } = await inviteHere('bob', '--profile', 'std');
    expect(stderr).toContain('bob may reach what the profile std grants');
    await node.process.stop('SIGKILL');
    node = await startWith(node.files);
    expect(await list()).toMatch(/bob +open .* std /);

    const served = Prober.start(net.left);
    for (const address of ['10.8.0.1', 'fd08::1']) await served.listen('tcp', address, 7001, 7002);
    const knocking = Prober.start(net.right);
    const machine = new Machine('fwbob');
    expect(await machine.join(file)).toMatchObject({ code: 0 });
    expect(await reached(knocking, true)).toEqual([true, true, false, false]);
    expect(await ping(net.right, '10.8.0.1', { count: 2, waitMs: 300 })).toMatchObject({ received: 0 });
    expect((await peersInFile()).bob).toMatchObject({ profile: 'std', addresses: ['10.8.0.2', 'fd08::2'] });
    expect(await list()).toMatch(/bob +used .* std /);
    // The node runs by what its file says: there is nothing left to read.
    expect(await node.command('reload', node.interfaceName)).toBe('nothing is different');
    expect(await reached(knocking, true)).toEqual([true, true, false, false]);
    await machine.down();

    // For a phone, with the profile and without.
    const phone = await inviteHere('phone', '--wg', '--profile', 'std');
    const bare = await inviteHere('bare', '--wg');
    expect(bare.stderr).toContain('bare has no profile, so nothing is granted to it here');
    expect(bare.stderr).toContain('--profile (std)');
    const peers = await peersInFile();
    expect(peers.phone.profile).toBe('std');
    expect(peers.bare).not.toHaveProperty('profile');
    for (const { file: conf, isGranted } of [
      { file: phone.file, isGranted: true },
      { file: bare.file, isGranted: false },
    ]) {
      const { env } = new Machine('fwphone');
      await net.right.exec(RINGFENCE, ['up', conf], { env });
      expect(await reached(knocking, isGranted)).toEqual([isGranted, isGranted, false, false]);
      // The tunnel itself is there: this node may reach everybody.
      const address = isGranted ? '10.8.0.3' : '10.8.0.4';
      expect((await ping(net.left, address, { count: 1, waitMs: 10_000 })).received).toBe(1);
      await net.right.exec(RINGFENCE, ['down', conf], { env });
    }
  });

  test('by hand, the profile comes with the request that is carried back', async () => {
    const { file } = await inviteHere('mallory', '--offline', '--profile', 'std');
    const machine = new Machine('mallory');
    expect(await machine.join(file, '--offline')).toMatchObject({ code: 0 });
    const request = join(machine.path, 'mallory.request.yaml');
    await node.command('invite', '--accept', request, '--interface', node.interfaceName);
    expect((await peersInFile()).mallory.profile).toBe('std');
  });
});

/** What a camera would read off the terminal: half blocks are two rows of modules. */
async function readQr(text: string): Promise<string> {
  const { decodeQR } = await import('qr/decode.js');
  const rows = text.split('\n').filter((line) => /^[█▀▄ ]{20,}$/.test(line));
  const width = rows[0]?.length ?? 0;
  const modules = rows.flatMap((row) => [
    Array.from(row, (cell) => cell === '█' || cell === '▀'),
    Array.from(row, (cell) => cell === '█' || cell === '▄'),
  ]);
  const scale = 4;
  const data = new Uint8Array(width * scale * modules.length * scale * 4);
  for (let y = 0; y < modules.length * scale; y++) {
    for (let x = 0; x < width * scale; x++) {
      const isLight = modules[Math.floor(y / scale)]?.[Math.floor(x / scale)] === true;
      data.fill(isLight ? 255 : 0, (y * width * scale + x) * 4, (y * width * scale + x) * 4 + 4);
    }
  }
  return decodeQR({ width: width * scale, height: modules.length * scale, data });
}
