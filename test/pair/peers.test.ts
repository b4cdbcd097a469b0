// Many peers of one node: a hub with its spokes, and a file of a thousand.

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeFile, NodeProcess, Scratch, writeNode } from '../support/node-process.ts';
import { addHost, routed } from '../support/topology.ts';
import { endpoint, ping } from '../support/traffic.ts';

const HUB = { v4: '10.9.0.1', v6: 'fd09::1' };

test('a hub talks to each of three spokes, and they to each other only when it forwards', async () => {
  await using scratch = await Scratch.create();
  await using net = await routed(1500, { left: 'hub', right: 'spoke1' });
  const hub = net.left;
  const hosts = [net.right, await addHost(net, 'spoke2', 3), await addHost(net, 'spoke3', 4)];
  const hubKeys = generateKeyPair();
  const spokes = hosts.map((host, i) => ({
    host,
    keys: generateKeyPair(),
    v4: `10.9.0.${11 + i}`,
    v6: `fd09::${11 + i}`,
  }));
  const hubFile: NodeFile = {
    interface: {
      name: 'rf-hub',
      private_key_file: 'node.key',
      addresses: [`${HUB.v4}/24`, `${HUB.v6}/64`],
      listen_port: 51820,
    },
    peers: Object.fromEntries(
      spokes.map(({ host, keys, v4, v6 }) => [
        host.name,
        { public_key: keys.publicKey, addresses: [v4, v6] },
      ]),
    ),
  };
  await using undo = new AsyncDisposableStack();
  const hubNode = undo.use(
    await NodeProcess.start(hub, await writeNode(join(scratch.path, 'hub'), hubKeys, hubFile)),
  );
  for (const { host, keys, v4, v6 } of spokes) {
    const file: NodeFile = {
      interface: {
        name: `rf-${host.name}`,
        private_key_file: 'node.key',
        addresses: [`${v4}/24`, `${v6}/64`],
      },
      peers: {
        hub: {
          public_key: hubKeys.publicKey,
          addresses: [HUB.v4, HUB.v6],
          routes: ['10.9.0.0/24', 'fd09::/64'],
          endpoints: [endpoint(hub.v4, 51820)],
        },
      },
    };
    undo.use(await NodeProcess.start(host, await writeNode(join(scratch.path, host.name), keys, file)));
  }

  for (const { host, v4, v6 } of spokes) {
    expect(await ping(host, HUB.v4), `${host.name} to hub`).toMatchObject({ received: 3 });
    expect(await ping(hub, v4), `hub to ${host.name}`).toMatchObject({ received: 3 });
    expect(await ping(hub, v6), `hub to ${host.name}`).toMatchObject({ received: 3 });
    expect((await hubNode.peer(host.name)).endpoint).toMatch(host.v4);
  }
  const [first, , third] = spokes;
  if (first === undefined || third === undefined) throw new Error('there are three spokes');
  expect(await ping(first.host, third.v4, { count: 1, waitMs: 300 })).toMatchObject({ received: 0 });
  expect(await ping(first.host, third.v6, { count: 1, waitMs: 300 })).toMatchObject({ received: 0 });
  await hub.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  expect(await ping(first.host, third.v4)).toMatchObject({ received: 3 });
  expect(await ping(third.host, first.v6)).toMatchObject({ received: 3 });
});

test('a node with 1,000 peers becomes ready, and the one that is there works', async () => {
  await using scratch = await Scratch.create();
  await using net = await routed();
  const keys = { left: generateKeyPair(), right: generateKeyPair() };
  const others = Array.from({ length: 999 }, (_, i) => [
    `peer${i}`,
    {
      public_key: generateKeyPair().publicKey,
      addresses: [`10.9.${4 + (i >> 8)}.${i & 255}`, `fd09::${(i + 256).toString(16)}`],
      routes: [`10.${100 + (i >> 8)}.${i & 255}.0/24`],
      endpoints: [endpoint('203.0.113.77', 10_000 + i)],
    },
  ]);
  const leftFile: NodeFile = {
    interface: {
      name: 'rf-left',
      private_key_file: 'node.key',
      addresses: ['10.9.0.1/16', 'fd09::1/64'],
      listen_port: 51820,
    },
    peers: {
      ...Object.fromEntries(others.slice(0, 500)),
      right: { public_key: keys.right.publicKey, addresses: ['10.9.0.2', 'fd09::2'] },
      ...Object.fromEntries(others.slice(500)),
    },
  };
  const rightFile: NodeFile = {
    interface: { name: 'rf-right', private_key_file: 'node.key', addresses: ['10.9.0.2/16', 'fd09::2/64'] },
    peers: {
      left: {
        public_key: keys.left.publicKey,
        addresses: ['10.9.0.1', 'fd09::1'],
        endpoints: [endpoint(net.left.v4, 51820)],
      },
    },
  };
  await using left = await NodeProcess.start(
    net.left,
    await writeNode(join(scratch.path, 'left'), keys.left, leftFile),
  );
  await using _right = await NodeProcess.start(
    net.right,
    await writeNode(join(scratch.path, 'right'), keys.right, rightFile),
  );
  expect(left.process.output).toContain('1000 peers');
  for (const [from, address] of [
    [net.right, '10.9.0.1'],
    [net.left, 'fd09::2'],
  ] as const) {
    expect(await ping(from, address)).toMatchObject({ received: 3 });
  }
  expect((await left.status()).peers).toHaveLength(1_000);
  expect((await left.peer('right')).latestHandshakeSeconds).not.toBeNull();
  expect((await net.left.ip('route', 'show', 'dev', 'rf-left')).split('\n')).toHaveLength(1_000);
});
