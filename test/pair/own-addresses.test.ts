// What a hub is itself is not the internet: an address that it gets while it runs is out of reach of a peer that may only have the
// internet from the moment of the kernel's word on, and is the internet again once it is gone.
//
//   alice 10.9.0.2 ── hub 10.9.0.1, 9.9.1.1 ── outside 9.9.1.9, 9.9.9.9   (IPv6: fd09::, 2620:f1::, 2620:fe::9)

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build, type Host } from '../../src/bench/topology.ts';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeFiles, NodeProcess, Scratch, writeNode } from '../support/node-process.ts';
import { Prober } from '../support/prober.ts';

const WORLD = { 4: '9.9.9.9', 6: '2620:fe::9' } as const;
const VERSIONS = [4, 6] as const;
const PORT = 443;
const FIREWALL = {
  version: 1,
  profiles: { std: { internet: true } },
};

let net: Awaited<ReturnType<typeof ground>>;
let scratch: Scratch;
let files: NodeFiles;
let alice: Prober;
let peer: NodeProcess;

async function ground() {
  return await build(async (topology) => {
    const [alice, hub, outside] = (await Promise.all(
      ['alice', 'hub', 'outside'].map((name) => topology.host(name)),
    )) as [Host, Host, Host];
    await topology.connect(
      { host: alice, device: 'eth0', addresses: ['198.18.0.2/24'] },
      { host: hub, device: 'alice', addresses: ['198.18.0.1/24'] },
    );
    await topology.connect(
      { host: hub, device: 'wan', addresses: ['9.9.1.1/24', '2620:f1::1/64'] },
      { host: outside, device: 'hub', addresses: ['9.9.1.9/24', '2620:f1::9/64'] },
    );
    await hub.ipBatch(
      'route add 0.0.0.0/0 via 9.9.1.9',
      'route add ::/0 via 2620:f1::9',
      // Up, and nobody at the other end.
      'link add name bare type veth peer name nobody',
      'link set bare up',
    );
    await outside.ipBatch(
      `address add ${WORLD[4]}/32 dev lo`,
      `address add ${WORLD[6]}/128 dev lo nodad`,
      'route add 10.9.0.0/24 via 9.9.1.1',
      'route add fd09::/64 via 2620:f1::1',
    );
    await hub.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
    return { alice, hub, outside };
  });
}

beforeAll(async () => {
  [scratch, net] = await Promise.all([Scratch.create(), ground()]);
  const keys = { hub: generateKeyPair(), alice: generateKeyPair() };
  const own = (name: string, number: number) => ({
    name,
    private_key_file: 'own.key',
    addresses: [`10.9.0.${number}/24`, `fd09::${number}/64`],
    listen_port: 51_820,
  });
  files = await writeNode(join(scratch.path, 'hub'), keys.hub, {
    interface: own('own-hub', 1),
    peers: {
      alice: {
        public_key: keys.alice.publicKey,
        addresses: ['10.9.0.2', 'fd09::2'],
        endpoints: ['198.18.0.2:51820'],
        keepalive: 5,
        profile: 'std',
      },
    },
    firewall: FIREWALL,
  } as never);
  const peerFiles = await writeNode(join(scratch.path, 'alice'), keys.alice, {
    interface: own('own-alice', 2),
    peers: {
      hub: {
        public_key: keys.hub.publicKey,
        addresses: ['10.9.0.1', 'fd09::1'],
        routes: ['9.0.0.0/8', '2620::/16'],
        endpoints: ['198.18.0.1:51820'],
      },
    },
  });
  peer = await NodeProcess.start(net.alice, peerFiles);
  alice = Prober.start(net.alice);
  for (const host of [net.hub, net.outside]) {
    const prober = Prober.start(host);
    for (const any of ['0.0.0.0', '::']) await prober.listen('tcp', any, PORT);
  }
}, 60_000);

afterAll(async () => {
  await peer[Symbol.asyncDispose]();
  await net[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

async function expectWorld(): Promise<void> {
  for (const version of VERSIONS) {
    expect(await alice.knock('tcp', WORLD[version], PORT)).toMatchObject({ by: 'outside' });
  }
}

/** Has the hub take the addresses of the world for its own, or give them back, and waits until it knows. */
async function change(hub: NodeProcess, verb: 'add' | 'delete', device: string): Promise<void> {
  const from = hub.process.lines.length;
  await net.hub.ipBatch(
    `address ${verb} ${WORLD[4]}/32 dev ${device}`,
    `address ${verb} ${WORLD[6]}/128 dev ${device}${verb === 'add' ? ' nodad' : ''}`,
  );
  const told = verb === 'add' ? 'come' : 'gone';
  for (const address of Object.values(WORLD)) {
    const pattern = new RegExp(`"${told}":\\[[^\\]]*"${address}/.*addresses of this host have changed`);
    await hub.process.line(pattern, 10_000, from);
  }
}

async function expectNothing(): Promise<void> {
  const knocks = VERSIONS.map((version) => alice.knockInVain('tcp', WORLD[version], PORT));
  expect(await Promise.all(knocks)).toEqual(knocks.map(() => ({ error: 'silence' })));
}

test('an address is of the host from the word of the kernel on, with and without a carrier', async () => {
  await using hub = await NodeProcess.start(net.hub, files, { env: { LOG_LEVEL: 'debug' } });
  await expectWorld();
  for (const device of ['lo', 'bare']) {
    await change(hub, 'add', device);
    await expectNothing();
    await change(hub, 'delete', device);
    await expectWorld();
  }
  expect(hub.process.output).not.toContain('addresses are seen within');
});

test('where the kernel tells nobody it is looked for', async () => {
  const shim = join(scratch.path, 'no-netlink-news.so');
  const source = fileURLToPath(new URL('../support/no-netlink-news.c', import.meta.url));
  await execa('cc', ['-shared', '-fPIC', '-o', shim, source]);
  await using hub = await NodeProcess.start(net.hub, files, {
    env: { LOG_LEVEL: 'debug' },
    inside: ['env', `LD_PRELOAD=${shim}`],
  });
  expect(hub.process.output).toMatch(/addresses are seen within 2 s: cannot watch the network: bind failed/);
  await expectWorld();
  await change(hub, 'add', 'lo');
  await expectNothing();
});
