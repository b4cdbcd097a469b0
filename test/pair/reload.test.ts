// A node takes another file while it runs: what is different is applied whole or not at all, and nobody is disconnected.

import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { ConfigChange } from '../../src/config/diff.ts';
import { networkState } from '../support/host-state.ts';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeFile, OVERLAY, type PeerFile } from '../support/node-process.ts';
import { type Pair, startPair } from '../support/pair.ts';
import { holdPort, ping, transferTcp } from '../support/traffic.ts';

let pair: Pair;
let first: NodeFile;
const carol = generateKeyPair();

beforeAll(async () => {
  pair = await startPair({ metrics: { left: { listen: '127.0.0.1:9586' } } });
  first = pair.left.files.file;
});
afterAll(() => pair[Symbol.asyncDispose]());

/** Another file for the left node. */
async function write(file: unknown): Promise<void> {
  await writeFile(pair.left.files.configFile, stringify(file));
}

function peerRight(): PeerFile {
  const peer = first.peers['right'];
  if (peer === undefined) throw new Error('there is no peer');
  return peer;
}

async function reload(): Promise<readonly ConfigChange[]> {
  return JSON.parse(await pair.left.command('reload', '--json')) as readonly ConfigChange[];
}

/** The first file again, and the host as it was with it. */
async function restore(): Promise<void> {
  await write(first);
  await reload();
}

async function servesMetrics(port: number): Promise<boolean> {
  const { code } = await pair.net.left.try('curl', [
    '-sf',
    '-o',
    '/dev/null',
    `http://127.0.0.1:${port}/metrics`,
  ]);
  return code === 0;
}

test('addresses, routes, MTU, port, peers, metrics and level change under a transfer, and change back', async () => {
  const before = await networkState(pair.net.left);
  await ping(pair.net.left, OVERLAY.right.v4);
  const { latestHandshakeSeconds } = await pair.left.peer('right');
  expect(latestHandshakeSeconds).not.toBeNull();
  await write({
    ...first,
    interface: {
      ...first.interface,
      addresses: ['10.9.0.11/24', '10.9.0.1/24', 'fd09::1/48', '10.44.0.1/16'],
      mtu: 1300,
      listen_port: 51999,
    },
    peers: {
      right: { ...peerRight(), routes: ['10.77.0.0/16', 'fd77::/48'], keepalive: 7 },
      carol: { public_key: carol.publicKey, addresses: ['10.9.0.30'], routes: ['10.78.0.0/16'] },
    },
    metrics: { listen: '127.0.0.1:9587' },
    logging: { level: 'debug' },
  });
  const shown = await pair.left.command('diff', pair.left.files.configFile);
  const transfer = transferTcp(pair.net.left, pair.net.right, OVERLAY.right.v4, 30_000_000);
  const [changes] = await Promise.all([reload(), transfer]);
  const { sent, received } = await transfer;
  expect(received.sha256).toBe(sent.sha256);

  expect(changes.map(({ path }) => path)).toEqual([
    'interface.addresses',
    'interface.listen_port',
    'interface.mtu',
    'peers.right.routes',
    'peers.right.keepalive',
    'peers.carol',
    'metrics.listen',
    'logging.level',
  ]);
  for (const line of [
    'interface.addresses: - fd09::1/64, + 10.9.0.11/24, + fd09::1/48, + 10.44.0.1/16',
    'interface.mtu: auto → 1300',
    'logging.level: + debug',
  ])
    expect(shown.split('\n')).toContain(line);
  const during = await networkState(pair.net.left);
  for (const made of ['10.44.0.1', '10.9.0.11', '10.77.0.0/16', 'fd77::/48', '10.78.0.0/16', 'fd09::/48'])
    expect(during).toContain(made);
  const status = await pair.left.status();
  expect(status.interface).toMatchObject({ mtu: 1300, listenPort: 51999 });
  expect(status.peers).toMatchObject([{ name: 'right', keepaliveSeconds: 7 }, { name: 'carol' }]);
  expect(await pair.left.command('log-level', 'rf-left')).toBe('debug');
  expect([await servesMetrics(9586), await servesMetrics(9587)]).toEqual([false, true]);
  expect((await pair.left.peer('right')).latestHandshakeSeconds).toBe(latestHandshakeSeconds);
  expect(await ping(pair.net.right, OVERLAY.left.v6)).toMatchObject({ received: 3 });

  await restore();
  expect(await networkState(pair.net.left)).toBe(before);
  expect((await pair.left.status()).peers.map(({ name }) => name)).toEqual(['right']);
  expect([await servesMetrics(9586), await servesMetrics(9587)]).toEqual([true, false]);
  expect(await pair.left.command('reload')).toBe('nothing is different');
});

test('a peer that has another name keeps its session, one that has another key is another', async () => {
  await ping(pair.net.left, OVERLAY.right.v4);
  const { latestHandshakeSeconds } = await pair.left.peer('right');
  expect(latestHandshakeSeconds).not.toBeNull();
  await write({ ...first, peers: { bob: peerRight() } });
  expect(await reload()).toEqual([{ path: 'peers.bob', removed: ['right'], added: ['bob'], isLive: true }]);
  expect(await pair.left.peer('bob')).toMatchObject({ latestHandshakeSeconds });
  await write({ ...first, peers: { bob: { ...peerRight(), public_key: carol.publicKey } } });
  await reload();
  expect(await pair.left.peer('bob')).toMatchObject({
    publicKey: carol.publicKey,
    latestHandshakeSeconds: null,
  });
  await restore();
  expect(await ping(pair.net.left, OVERLAY.right.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
});

test('a file with an error applies nothing and says where, also by SIGHUP', async () => {
  const before = await networkState(pair.net.left);
  const file = { ...first, interface: { ...first.interface, mtu: 1300 }, peers: { right: { routes: 7 } } };
  await write(file);
  const text = await readFile(pair.left.files.configFile, 'utf8');
  const line = text.split('\n').findIndex((one) => one.includes('routes')) + 1;
  await expect(pair.left.command('reload')).rejects.toThrow(
    `${pair.left.files.configFile}:${line}:13: peers.right.routes: 7 is not a list`,
  );
  pair.left.process.signal('SIGHUP');
  await pair.left.process.line(/not reloaded, nothing was changed: .*peers\.right\.routes/, 10_000);
  expect(await networkState(pair.net.left)).toBe(before);
  await write(first);
  pair.left.process.signal('SIGHUP');
  await pair.left.process.line(/reloaded .*: 0 changes/, 10_000);
});

test('what the host refuses half way is taken back: a port that is taken, a route that another interface has', async () => {
  const before = await networkState(pair.net.left);
  const other = {
    ...first,
    interface: { ...first.interface, addresses: [...first.interface.addresses, '10.44.0.1/16'], mtu: 1300 },
    peers: { right: { ...peerRight(), routes: ['10.76.0.0/16', '10.77.0.0/16'] } },
    metrics: { listen: '127.0.0.1:9587' },
    logging: { level: 'debug' },
  };
  const isAsBefore = async (): Promise<void> => {
    expect(await networkState(pair.net.left)).toBe(before);
    expect([await servesMetrics(9586), await servesMetrics(9587)]).toEqual([true, false]);
    expect(await pair.left.command('log-level', 'rf-left')).toBe('info');
    expect(await pair.left.status()).toMatchObject({ interface: { mtu: 1420, listenPort: 51820 } });
    expect(await ping(pair.net.left, OVERLAY.right.v4)).toMatchObject({ received: 3 });
  };

  await using _held = await holdPort(pair.net.left, '127.0.0.1', 51999);
  await write({ ...other, interface: { ...other.interface, listen_port: 51999 } });
  await expect(pair.left.command('reload')).rejects.toThrow(
    /ringfence\.yaml:\d+:\d+: interface\.listen_port: UDP port 51999 is in use/,
  );
  await isAsBefore();

  await pair.net.left.ip('route', 'add', '10.77.0.0/16', 'dev', 'eth0');
  await write(other);
  await expect(pair.left.command('reload')).rejects.toThrow(/route add 10\.77\.0\.0\/16.*File exists/);
  await pair.net.left.ip('route', 'delete', '10.77.0.0/16', 'dev', 'eth0');
  await isAsBefore();

  await write({ ...other, metrics: { listen: '192.0.2.99:9587' } });
  await expect(pair.left.command('reload')).rejects.toThrow(
    /ringfence\.yaml:\d+:\d+: metrics\.listen: .*EADDRNOTAVAIL/,
  );
  await isAsBefore();
  await write(first);
});

test('what needs a restart is refused at its place; of two at once, one is told', async () => {
  await write({ ...first, interface: { ...first.interface, offloads: { udp_gso: false }, mtu: 1300 } });
  await expect(pair.left.command('reload')).rejects.toThrow(
    /ringfence\.yaml:\d+:\d+: interface\.offloads: a running node cannot take this.*ERR_CONFIG_RESTART/,
  );
  expect(await pair.left.command('diff', pair.left.files.configFile)).toContain('(needs a restart)');
  expect((await pair.left.status()).interface.mtu).toBe(1420);
  await write({ ...first, interface: { ...first.interface, name: 'rf-other' } });
  await expect(pair.left.command('reload', pair.left.interfaceName)).rejects.toThrow(
    /ringfence\.yaml:\d+:\d+: interface\.name: a running node cannot take this.*ERR_CONFIG_RESTART/,
  );
  const named = ['diff', pair.left.files.configFile, '--interface', pair.left.interfaceName];
  expect(await pair.left.command(...named)).toBe('interface.name: rf-left → rf-other (needs a restart)');
  await write({ ...first, interface: { ...first.interface, mtu: 1300 } });
  // Both questions are there when the node looks: it was stopped while they were put.
  const { pid } = await pair.left.status();
  process.kill(pid, 'SIGSTOP');
  const clients = [connect(pair.left.socket), connect(pair.left.socket)];
  const answers = clients.map((client) => text(client));
  await Promise.all(clients.map((client) => once(client, 'connect')));
  for (const client of clients) client.write('{"request":"reload"}\n');
  process.kill(pid, 'SIGCONT');
  const [one = '', other = ''] = (await Promise.all(answers)).sort();
  expect(one).toContain('interface.mtu');
  expect(JSON.parse(other)).toMatchObject({ error: { code: 'ERR_NODE_BUSY' } });
  await restore();
});
