// Routes to peers: metrics, tables, and default routes whose endpoint stays outside the tunnel. Nothing is left of them.

import { readdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { networkState } from '../support/host-state.ts';
import { NodeProcess, OVERLAY, type PairFiles, Scratch, writePair } from '../support/node-process.ts';
import { type Routed, routed } from '../support/topology.ts';
import { ping } from '../support/traffic.ts';

/** Addresses of the right host that nobody but the tunnel leads to. */
const BEYOND = { v4: '100.64.7.1', v6: '2001:db8:beef::1' };

let net: Routed;
let scratch: Scratch;
let files: PairFiles;
let right: NodeProcess;
let before: string;

beforeAll(async () => {
  scratch = await Scratch.create();
  net = await routed(1500, { left: 'via-l', right: 'via-r' });
  files = await writePair(scratch.path, {
    left: { host: net.left, addresses: OVERLAY.left.addresses },
    right: { host: net.right, addresses: OVERLAY.right.addresses },
  });
  await net.right.ipBatch(`address add ${BEYOND.v4}/32 dev lo`, `address add ${BEYOND.v6}/128 dev lo`);
  right = await NodeProcess.start(net.right, files.right);
  before = await hostState();
});
afterAll(async () => {
  await right[Symbol.asyncDispose]();
  await net[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

/** What a node must leave as it was: addresses, routes, rules, nft. */
async function hostState(): Promise<string> {
  return `${await networkState(net.left)}\n${await net.left.exec('nft', ['list', 'ruleset'])}`;
}

/** The left file with other keys of its interface and its peer. */
async function write(own: object, peer: object): Promise<void> {
  const { file, configFile } = files.left;
  const peers = { 'via-r': { ...file.peers['via-r'], ...peer } };
  await writeFile(configFile, stringify({ ...file, interface: { ...file.interface, ...own }, peers }));
}

async function start(own: object, peer: object): Promise<NodeProcess> {
  await write(own, peer);
  return await NodeProcess.start(net.left, files.left);
}

async function wayTo(address: string): Promise<string | undefined> {
  const { code, stdout } = await net.left.try('ip', ['-json', 'route', 'get', address]);
  const [route] = code === 0 ? (JSON.parse(stdout) as { dev?: string }[]) : [];
  return route?.dev;
}

const DEFAULTS = { routes: ['0.0.0.0/0', '::/0'] };

describe('a default route', () => {
  test('sends everything through the tunnel but the tunnel itself, and is gone after the end', async () => {
    await using left = await start({}, DEFAULTS);
    expect(await ping(net.left, BEYOND.v4, { waitMs: 5_000 })).toMatchObject({ received: 3 });
    expect(await ping(net.left, BEYOND.v6)).toMatchObject({ received: 3 });
    expect([await wayTo('203.0.113.7'), await wayTo('2001:db8:77::7')]).toEqual(['rf-via-l', 'rf-via-l']);
    expect(await wayTo('192.0.2.1')).toBe('eth0'); // what other routes the host has go first
    expect(await net.left.exec('nft', ['list', 'tables'])).toBe(
      'table ip wg-quick-rf-via-l\ntable ip6 wg-quick-rf-via-l',
    );
    expect(await left.stop()).toMatchObject({ code: 0 });
    expect(await hostState()).toBe(before);
    expect(await readdir(files.left.runDirectory)).toEqual([]);
  });

  test('of a node that was killed is cleared away by the next start, also one without any', async () => {
    const killed = await start({}, DEFAULTS);
    await killed.process.stop('SIGKILL');
    expect(await hostState()).not.toBe(before);
    await using again = await start({}, DEFAULTS);
    expect(await ping(net.left, BEYOND.v4, { waitMs: 20_000 })).toMatchObject({ received: 3 });
    expect((await net.left.ip('rule')).match(/suppress_prefixlength/g)).toHaveLength(1);
    await again.process.stop('SIGKILL');
    await using plain = await start({}, {});
    expect(await net.left.exec('nft', ['list', 'ruleset'])).toBe('');
    expect(await net.left.ip('rule')).not.toContain('51820');
    await plain.stop();
    expect(await hostState()).toBe(before);
  });

  test('comes and goes with a reload, beside the traffic; another address of the node is guarded too', async () => {
    await using left = await start({}, {});
    const calm = await hostState();
    await ping(net.left, OVERLAY.right.v4, { waitMs: 20_000 });
    const pinging = ping(net.left, OVERLAY.right.v4, { count: 150, waitMs: 5_000 });
    await write({}, DEFAULTS);
    expect(await left.command('reload')).toContain('peers.via-r.routes: + 0.0.0.0/0, + ::/0');
    expect(await ping(net.left, BEYOND.v6)).toMatchObject({ received: 3 });
    await write({ addresses: [...OVERLAY.left.addresses, '10.44.0.1/16'] }, DEFAULTS);
    await left.command('reload');
    expect(await net.left.exec('nft', ['list', 'ruleset'])).toContain('ip daddr 10.44.0.1');
    await write({}, {});
    await left.command('reload');
    expect(await hostState()).toBe(calm);
    expect(await wayTo(BEYOND.v4)).toBe('eth0');
    const { sent, received } = await pinging;
    expect(received).toBe(sent);
  });
});

test('metrics and tables of the file', async () => {
  const routes = { routes: ['100.64.7.0/24', '2001:db8:beef::/48', '0.0.0.0/0'], metric: 77 };
  await using left = await start({ table: 7777 }, routes);
  const tables = await net.left.ip('route', 'show', 'table', '7777');
  expect(tables).toMatch(/^default dev rf-via-l .*metric 77/m);
  expect(tables).toMatch(/^100\.64\.7\.0\/24 dev rf-via-l .*metric 77/m);
  expect(await net.left.ip('-6', 'route', 'show', 'table', '7777')).toMatch(
    /^2001:db8:beef::\/48 .*metric 77/m,
  );
  expect(await wayTo(BEYOND.v4)).toBe('eth0'); // no rule leads there
  await write({ table: 'off' }, routes);
  await left.command('reload');
  expect(await net.left.ip('route', 'show', 'table', 'all')).not.toContain('100.64.7.0/24');
  await write({}, { ...routes, routes: ['100.64.7.0/24'] });
  await left.command('reload');
  expect(await net.left.ip('route', 'show')).toMatch(/^100\.64\.7\.0\/24 dev rf-via-l .*metric 77/m);
  expect(await ping(net.left, BEYOND.v4, { waitMs: 20_000 })).toMatchObject({ received: 3 });
  await left.stop();
  expect(await hostState()).toBe(before);
});
