// Keys change on two nodes, and on one beside wireguard-go, while a thousand pings a second pass: none is lost, both files say
// so in the end, and whoever comes second is told.

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { askNode } from '../../src/control/node-socket.ts';
import type { RotationAnswer } from '../../src/node/rotations.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair, generatePresharedKey } from '../support/keys.ts';
import { NodeProcess, OVERLAY, RINGFENCE, Scratch, writeNode } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { addHost, type Routed, routed } from '../support/topology.ts';
import { lostDuring, ping } from '../support/traffic.ts';
import { WireguardGo } from '../support/wireguard-go.ts';

let scratch: Scratch;
const stateOf = (name: string) => ({ env: { RINGFENCE_STATE_DIR: join(scratch.path, name) } });

beforeAll(async () => {
  scratch = await Scratch.create();
});

afterAll(async () => {
  await scratch[Symbol.asyncDispose]();
});

/** What `ringfence rotate …` prints and returns, whatever it is. */
async function rotate(node: NodeProcess, ...words: readonly string[]) {
  const env = { RINGFENCE_RUN_DIR: node.files.runDirectory };
  const { code, stdout, stderr } = await node.host.try(RINGFENCE, ['rotate', ...words], {
    env,
    timeoutMs: 60_000,
  });
  return { code, said: stdout + stderr };
}

const fileOf = (node: NodeProcess, name: string): Promise<string> =>
  readFile(join(node.files.directory, name), 'utf8');
const filesOf = async (node: NodeProcess): Promise<string[]> => (await readdir(node.files.directory)).sort();

describe.concurrent('rotation', () => {
  test('between two nodes: a session, a preshared key, a key pair, and not one ping is lost', async () => {
    await using pair: Pair = await startPair({
      names: { left: 'roleft', right: 'roright' },
      presharedKey: true,
      initiators: ['left'],
      start: { left: stateOf('roleft'), right: stateOf('roright') },
    });
    const { left, right, net } = pair;
    expect((await ping(net.left, OVERLAY.right.v4)).received).toBe(3);
    const before = {
      files: await filesOf(left),
      psk: await fileOf(left, 'peer.psk'),
      key: await fileOf(left, 'node.key'),
    };
    const publicKey = (await left.status()).interface.publicKey;

    const { sent, lost } = await lostDuring(net.left, OVERLAY.right.v4, async () => {
      expect(await rotate(left, 'session', 'roright')).toEqual({
        code: 0,
        said: expect.stringContaining('in use'),
      });
      expect(await rotate(left, 'psk', 'roright')).toEqual({
        code: 0,
        said: expect.stringContaining('have another preshared key'),
      });
      expect(await rotate(right, 'psk', 'roleft')).toEqual({
        code: 0,
        said: expect.stringContaining('have another preshared key'),
      });
      expect(await rotate(left, 'identity')).toEqual({
        code: 0,
        said: expect.stringContaining('the old key pair is gone'),
      });
    });
    expect(sent).toBeGreaterThan(100); // a loaded machine sends fewer than it should
    expect(lost, `of ${sent}`).toBe(0);

    const psk = await fileOf(left, 'peer.psk');
    expect(psk).not.toBe(before.psk);
    expect(await fileOf(right, 'peer.psk')).toBe(psk);
    expect(await fileOf(left, 'node.key')).not.toBe(before.key);
    const now = (await left.status()).interface.publicKey;
    expect(now).not.toBe(publicKey);
    expect(parse(await fileOf(right, 'ringfence.yaml')).peers.roleft.public_key).toBe(now);
    expect((await right.peer('roleft')).publicKey).toBe(now);
    for (const node of [left, right]) expect(await filesOf(node)).toEqual(before.files);
    for (const node of [left, right]) expect(await node.command('reload')).toMatch(/nothing|no change|same/i);
    for (const secret of [psk, before.psk])
      expect(left.process.output + right.process.output).not.toContain(secret.trim());

    // What is on disk is what a restart finds.
    const again = await pair.restart('left');
    expect((await ping(net.left, OVERLAY.right.v4, { count: 1, waitMs: 20_000 })).received).toBe(1);
    await again.stop();
  });

  test('two operators at once: one wins, the other is told, and both sides agree', async () => {
    await using pair: Pair = await startPair({
      names: { left: 'twleft', right: 'twright' },
      start: { left: stateOf('twleft'), right: stateOf('twright') },
    });
    const { net } = pair;
    let { left, right } = pair;
    expect((await ping(net.left, OVERLAY.right.v4)).received).toBe(3);
    // Past the command line, whose start takes longer than a rotation.
    const ask = ({ files, interfaceName }: NodeProcess, peer: string) =>
      askNode<RotationAnswer>(files.runDirectory, interfaceName, { request: 'rotate-psk', peer });
    const asked = await Promise.allSettled([
      ask(left, 'twright'),
      ask(right, 'twleft'),
      ask(left, 'twright'),
    ]);
    const outcomes = asked.map((one) =>
      one.status === 'fulfilled'
        ? (one.value?.peers[0]?.reason ?? one.value?.peers[0]?.state)
        : one.reason.code,
    );
    expect(outcomes).toContain('done');
    expect(outcomes.filter((outcome) => outcome !== 'done').length).toBeGreaterThan(0);
    for (const outcome of outcomes)
      expect(['done', 'busy', 'unconfirmed', 'ERR_ROTATE_BUSY']).toContain(outcome);
    const settled = async (): Promise<boolean> => {
      const [one, other] = await Promise.all([filesOf(left), filesOf(right)]);
      return (
        one.includes('twright.psk') &&
        other.includes('twleft.psk') &&
        [...one, ...other].every((name) => !name.endsWith('.next'))
      );
    };
    await until(settled, 40_000, 'both to have settled');
    expect(await fileOf(left, 'twright.psk')).toBe(await fileOf(right, 'twleft.psk'));
    expect(parse(await fileOf(left, 'ringfence.yaml')).peers.twright.preshared_key_file).toBe('twright.psk');
    expect((await ping(net.left, OVERLAY.right.v4)).received).toBe(3);
    // A rotation writes the file that a reload reads: none ever sees the one without the other.
    for (let round = 0; round < 3; round++) {
      let isOver = false;
      const { files, interfaceName } = right;
      const rotating = askNode<RotationAnswer>(files.runDirectory, interfaceName, {
        request: 'rotate-identity',
      }).finally(() => {
        isOver = true;
      });
      while (!isOver) {
        const reload = { request: 'reload' };
        expect(await askNode(left.files.runDirectory, left.interfaceName, reload)).toEqual([]);
      }
      expect((await rotating)?.peers).toEqual([{ peer: 'twleft', state: 'done' }]);
    }
    // At the very same moment: both have a key of their own on disk before either hears of the other's.
    await Promise.all([left.process.stop('SIGKILL'), right.process.stop('SIGKILL')]);
    const offered = [generatePresharedKey(), generatePresharedKey()];
    await writeFile(join(left.files.directory, 'twright.psk.next'), `${offered[0]}\n`, { mode: 0o600 });
    await writeFile(join(right.files.directory, 'twleft.psk.next'), `${offered[1]}\n`, { mode: 0o600 });
    [left, right] = await Promise.all([pair.restart('left'), pair.restart('right')]);
    expect((await ping(net.left, OVERLAY.right.v4, { waitMs: 10_000 })).received).toBe(3);
    await until(settled, 40_000, 'one of the two to win');
    expect(await fileOf(left, 'twright.psk')).toBe(await fileOf(right, 'twleft.psk'));
    expect(offered).toContain((await fileOf(left, 'twright.psk')).trim());

    expect((await rotate(left, 'psk', 'nobody')).said).toContain('ERR_ROTATE_PEER');
    for (const end of ['--prune', '--cancel'])
      expect((await rotate(left, 'psk', 'twright', end)).said).toContain('ERR_ROTATE_NONE');
    expect(await rotate(left, 'identity', '--at', '+1h')).toEqual({
      code: 0,
      said: expect.stringContaining('changes at'),
    });
    expect((await left.status()).rotations).toMatchObject([{ what: 'identity', state: 'scheduled' }]);
    expect(await rotate(left, 'identity', '--cancel')).toEqual({
      code: 0,
      said: expect.stringContaining('stays what it was'),
    });
    expect(await rotate(right, 'identity', '--at', '+1s')).toMatchObject({ code: 0 });
    const formerKey = right.files.keys.publicKey;
    await until(
      async () => (await left.peer('twright')).publicKey !== formerKey,
      30_000,
      'the key pair to change by itself',
    );
  });

  test('three nodes: who is away is waited for, and goes over when it comes back', async () => {
    await using net: Routed = await routed(1500, { left: 'r3hub', right: 'r3one' });
    const two = await addHost(net, 'r3two');
    const hosts = { hub: net.left, one: net.right, two };
    const keys = { hub: generateKeyPair(), one: generateKeyPair(), two: generateKeyPair() };
    const spokes = ['one', 'two'] as const;
    const address = { hub: '10.9.0.1', one: '10.9.0.2', two: '10.9.0.3' };
    const start = async (name: keyof typeof hosts): Promise<NodeProcess> => {
      const peers =
        name === 'hub'
          ? spokes.map(
              (spoke) => [spoke, { public_key: keys[spoke].publicKey, addresses: [address[spoke]] }] as const,
            )
          : [
              [
                'hub',
                {
                  public_key: keys.hub.publicKey,
                  addresses: [address.hub],
                  endpoints: [`${hosts.hub.v4}:51820`],
                  keepalive: 5,
                },
              ] as const,
            ];
      const file = {
        interface: {
          name: `rf-r3${name}`,
          private_key_file: 'node.key',
          addresses: [`${address[name]}/24`],
          listen_port: 51820,
        },
        peers: Object.fromEntries(peers),
      };
      const files = await writeNode(join(scratch.path, `r3${name}`), keys[name], file);
      return await NodeProcess.start(hosts[name], files, stateOf(`r3${name}-state`));
    };
    await using hub = await start('hub');
    await using one = await start('one');
    const away = await start('two');
    for (const spoke of spokes) expect((await ping(hosts[spoke], address.hub)).received).toBe(3);
    await away.process.stop('SIGKILL');

    const { code, said } = await rotate(hub, 'identity');
    expect(code, said).toBe(0);
    expect(said).toMatch(/two runs no ringfence, or is not there now/);
    const publicKey = /public key of this node is (\S+)/.exec(said)?.[1];
    const [pending] = (await hub.status()).rotations;
    expect(pending).toMatchObject({ what: 'identity', peer: null, generation: 1, unconfirmed: ['two'] });
    expect((await one.peer('hub')).publicKey).toBe(publicKey);
    expect((await hub.status()).interface.publicKey, 'both are answered').toBe(keys.hub.publicKey);
    expect((await ping(hosts.one, address.hub)).received).toBe(3);

    await using back = await NodeProcess.start(two, away.files, stateOf('r3two-state'));
    await until(
      async () => (await back.peer('hub')).publicKey === publicKey,
      40_000,
      'the one that was away to go over',
    );
    await until(
      async () => (await hub.status()).interface.publicKey === publicKey,
      20_000,
      'the old key pair to go',
    );
    for (const spoke of spokes) expect((await ping(hosts[spoke], address.hub)).received).toBe(3);
  });

  test('beside wireguard-go: it says what to change, accepts both, and the last key that works is never pruned', async () => {
    await using net = await routed(1500, { left: 'wgleft', right: 'wgright' });
    const keys = { left: generateKeyPair(), right: generateKeyPair() };
    const psk = generatePresharedKey();
    await using _go = await WireguardGo.start(net.right, {
      device: 'wg-rotate',
      privateKey: keys.right.privateKey,
      listenPort: 51820,
      addresses: OVERLAY.right.addresses,
      peers: [{ publicKey: keys.left.publicKey, presharedKey: psk, allowedIps: ['10.9.0.1/32'] }],
    });
    const file = {
      interface: {
        name: 'rf-wgleft',
        private_key_file: 'node.key',
        addresses: OVERLAY.left.addresses,
        listen_port: 51820,
      },
      peers: {
        go: {
          public_key: keys.right.publicKey,
          preshared_key_file: 'go.psk',
          addresses: ['10.9.0.2'],
          endpoints: [`${net.right.v4}:51820`],
        },
      },
    };
    const files = await writeNode(join(scratch.path, 'wgleft'), keys.left, file, { 'go.psk': psk });
    await using left = await NodeProcess.start(net.left, files, stateOf('wgleft-state'));
    expect((await ping(net.left, OVERLAY.right.v4)).received).toBe(3);
    const set = (words: string, secret: string) =>
      net.right.exec('sh', ['-c', `cat | wg set wg-rotate ${words}`], { input: secret });

    const begun = await rotate(left, 'psk', 'go');
    expect(begun.said).toMatch(/go runs no ringfence.*set its PresharedKey .* to what is in .*go\.psk\.next/);
    const [pending] = (await left.status()).rotations;
    expect(pending).toMatchObject({ what: 'psk', peer: 'go', state: 'offered', unconfirmed: ['go'] });
    expect(pending).toMatchObject({ generation: 1, sinceSeconds: expect.any(Number) });
    expect(await left.command('status')).toMatch(
      /rotation +preshared key with go, generation 1: both keys accepted for \d+ s, the new one not used yet by go/,
    );
    expect((await rotate(left, 'psk', 'go')).said).toContain('ERR_ROTATE_BUSY');
    expect(await rotate(left, 'psk', 'go', '--prune')).toEqual({
      code: 1,
      said: expect.stringContaining('ERR_ROTATE_UNCONFIRMED'),
    });
    await rotate(left, 'session', 'go'); // with the old one, which is still good
    await set(`peer ${keys.left.publicKey} preshared-key /dev/stdin`, await fileOf(left, 'go.psk.next'));
    await rotate(left, 'session', 'go');
    expect((await ping(net.left, OVERLAY.right.v4)).received).toBe(3);
    const pruned = await rotate(left, 'psk', 'go', '--prune');
    expect(pruned.said).toMatch(/have another preshared key|ERR_ROTATE_NONE/); // or it has gone by itself meanwhile
    expect(await filesOf(left)).not.toContain('go.psk.next');
    expect(await fileOf(left, 'go.psk')).not.toBe(`${psk}\n`);
    expect((await left.status()).rotations).toEqual([]);

    const identity = await rotate(left, 'identity');
    const publicKey = /public key of this node is (\S+)/.exec(identity.said)?.[1] ?? '';
    expect(await rotate(left, 'identity', '--prune')).toEqual({
      code: 1,
      said: expect.stringContaining('ERR_ROTATE_UNCONFIRMED'),
    });
    expect((await ping(net.left, OVERLAY.right.v4)).received).toBe(3);
    await net.right.exec('wg', ['set', 'wg-rotate', 'peer', keys.left.publicKey, 'remove']);
    await set(
      `peer ${publicKey} allowed-ips 10.9.0.1/32 preshared-key /dev/stdin`,
      await fileOf(left, 'go.psk'),
    );
    await rotate(left, 'session', 'go');
    expect((await ping(net.left, OVERLAY.right.v4)).received).toBe(3);
    expect((await rotate(left, 'identity', '--prune')).said).toMatch(
      /the old key pair is gone|ERR_ROTATE_NONE/,
    );
    expect((await left.status()).interface.publicKey).toBe(publicKey);
    expect(dirname(left.files.configFile)).toBe(left.files.directory);
  });
});
