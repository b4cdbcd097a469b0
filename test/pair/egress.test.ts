// The internet of a peer by way of a site. alice's leaves by cellb, later by bob, and bob's own by the hub; outside sees who
// it was by the address it comes from. Both exits are nodes with `exit_relay: {provide: true}` for the hub.
//
//   alice 10.9.0.2 ┐               ┌ wan 9.9.1.1 ┐
//   bob   10.9.0.3 ┼ hub 10.9.0.1 ─┘             │
//     │ └ wan 9.9.3.1 ───────────────────────────┼ outside 9.9.9.9, 9.9.10.9
//   cellb 10.9.0.5 ── wan 9.9.2.1 ───────────────┘   (IPv6: fd09::, 2620:f1:: to f3::, 2620:fe::9, 2620:fd::9)

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { build, type Host } from '../../src/bench/topology.ts';
import { until } from '../support/deadline.ts';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeFile, type NodeFiles, NodeProcess, Scratch, writeNode } from '../support/node-process.ts';
import { Prober } from '../support/prober.ts';
import { ping } from '../support/traffic.ts';

const NAMES = ['hub', 'alice', 'bob', 'cellb'] as const;
type Name = (typeof NAMES)[number];
const NUMBER: Readonly<Record<Name, number>> = { hub: 1, alice: 2, bob: 3, cellb: 5 };
/** The networks of the uplinks; what outside sees is their first address. */
const UPLINK = { hub: 1, cellb: 2, bob: 3 } as const;
const VERSIONS = [4, 6] as const;
type Version = (typeof VERSIONS)[number];

const overlay = (name: Name, version: Version): string =>
  version === 4 ? `10.9.0.${NUMBER[name]}` : `fd09::${NUMBER[name]}`;
const uplink = (name: keyof typeof UPLINK, version: Version, last = 1): string =>
  version === 4 ? `9.9.${UPLINK[name]}.${last}` : `2620:f${UPLINK[name]}::${last}`;
/** What everybody asks for, and what bob has no way to but the hub's. */
const WORLD: Readonly<Record<Version, string>> = { 4: '9.9.9.9', 6: '2620:fe::9' };
const BY_HUB: Readonly<Record<Version, string>> = { 4: '9.9.10.9', 6: '2620:fd::9' };
const PORT = 443;

type Ground = Readonly<Record<Name, Host>> & { readonly outside: Host };

async function ground() {
  return await build(async (topology): Promise<Ground> => {
    const [hub, alice, bob, cellb, outside] = (await Promise.all(
      [...NAMES, 'outside'].map((name) => topology.host(name)),
    )) as [Host, Host, Host, Host, Host];
    const hosts = { hub, alice, bob, cellb, outside };
    for (const [i, host] of [alice, bob, cellb].entries()) {
      await topology.connect(
        { host, device: 'eth0', addresses: [`198.18.${i}.2/24`] },
        { host: hub, device: host.name, addresses: [`198.18.${i}.1/24`] },
      );
    }
    for (const name of ['hub', 'cellb', 'bob'] as const) {
      const at = (last: number): string[] => [`${uplink(name, 4, last)}/24`, `${uplink(name, 6, last)}/64`];
      await topology.connect(
        { host: hosts[name], device: 'wan', addresses: at(1) },
        { host: outside, device: name, addresses: at(9) },
      );
      const to = VERSIONS.map((version) => [version, uplink(name, version, 9)] as const);
      await hosts[name].ipBatch(
        ...to.map(([version, via]) => `route add ${version === 4 ? '0.0.0.0/0' : '::/0'} via ${via}`),
      );
    }
    await outside.ipBatch(
      ...[WORLD, BY_HUB].flatMap((one) => [
        `addr add ${one[4]}/32 dev lo`,
        `addr add ${one[6]}/128 dev lo nodad`,
      ]),
    );
    // What leaves by the hub's own uplink for the world.
    const rules = VERSIONS.map((version) => {
      const family = version === 4 ? 'ip' : 'ip6';
      return `oifname "wan" ${family} daddr ${WORLD[version]} counter name leaked`;
    });
    const chain = `chain out { type filter hook postrouting priority 200; ${rules.join('; ')}; };`;
    await hub.exec('nft', ['-f', '-'], { input: `table inet watch { counter leaked { }; ${chain} }\n` });
    return hosts;
  });
}

let net: Awaited<ReturnType<typeof ground>>;
let scratch: Scratch;
const files = {} as Record<Name, NodeFiles>;
const nodes = {} as Record<Name, NodeProcess>;
let alice: Prober;
let bob: Prober;

beforeAll(async () => {
  [scratch, net] = await Promise.all([Scratch.create(), ground()]);
  const keys = Object.fromEntries(NAMES.map((name) => [name, generateKeyPair()])) as Record<
    Name,
    ReturnType<typeof generateKeyPair>
  >;
  const own = (name: Name): NodeFile['interface'] => ({
    name: `via-${name}`,
    private_key_file: 'own.key',
    addresses: [`${overlay(name, 4)}/24`, `${overlay(name, 6)}/64`],
    listen_port: 51_820,
  });
  const subnets: Readonly<Record<string, string>> = { bob: '10.6.0.0/24', cellb: '10.5.0.0/24' };
  const peerOfHub = (name: Name) => ({
    public_key: keys[name].publicKey,
    addresses: VERSIONS.map((version) => overlay(name, version)),
    routes: subnets[name] === undefined ? [] : [subnets[name]],
  });
  files.hub = await writeNode(join(scratch.path, 'hub'), keys.hub, {
    interface: own('hub'),
    peers: { alice: peerOfHub('alice'), bob: peerOfHub('bob'), cellb: peerOfHub('cellb') },
  });
  nodes.hub = await startHub({ route_via: 'cellb' });
  const start = async (name: Exclude<Name, 'hub'>, i: number): Promise<void> => {
    const far = { alice: [WORLD, BY_HUB], bob: [BY_HUB], cellb: [] }[name];
    files[name] = await writeNode(join(scratch.path, name), keys[name], {
      interface: own(name),
      peers: {
        hub: {
          public_key: keys.hub.publicKey,
          addresses: VERSIONS.map((version) => overlay('hub', version)),
          routes: ['10.9.0.0/24', 'fd09::/64', ...far.flatMap((one) => [`${one[4]}/32`, `${one[6]}/128`])],
          endpoints: [`198.18.${i}.1:51820`],
          keepalive: 5,
        },
      },
      ...(name === 'alice' ? {} : { firewall: relay(true) }),
    });
    nodes[name] = await NodeProcess.start(net[name], files[name]);
  };
  await Promise.all((['alice', 'bob', 'cellb'] as const).map(start));
  [alice, bob] = [Prober.start(net.alice), Prober.start(net.bob)];
  const [outside, hub] = [Prober.start(net.outside), Prober.start(net.hub)];
  for (const protocol of ['tcp', 'udp'] as const) {
    for (const version of VERSIONS) {
      await outside.listen(protocol, WORLD[version], PORT);
      await outside.listen(protocol, BY_HUB[version], PORT);
      await hub.listen(protocol, overlay('hub', version), PORT);
    }
  }
}, 60_000);

afterAll(async () => {
  await Promise.all(Object.values(nodes).map((node) => node[Symbol.asyncDispose]()));
  await net[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

/** What an exit says of the hub: the peers behind it may use the internet of this host, or not. */
function relay(provide: boolean): object {
  const site = {
    subnets: [`${overlay('alice', 4)}/32`, `${overlay('alice', 6)}/128`],
    exit_relay: { provide },
  };
  return { version: 1, sites: { hub: site } };
}

/** The hub's file, in which alice has these rows. */
function hubFile(rows: object): string {
  const { file } = files.hub;
  const consume = (subnet: string) => ({ subnets: [subnet], exit_relay: { consume: true } });
  const profile = { profile: 'std' };
  return stringify({
    ...file,
    peers: {
      ...file.peers,
      alice: { ...file.peers['alice'], ...profile, allow: [{ to: 'self' }], ...rows },
      bob: { ...file.peers['bob'], ...profile },
    },
    firewall: {
      version: 1,
      profiles: { std: { internet: true } },
      sites: { cellb: consume('10.5.0.0/24'), bob: consume('10.6.0.0/24') },
      nat: { masquerade: [{ from: 'overlay', out: 'non-overlay' }] },
    },
  });
}

async function startHub(rows: object): Promise<NodeProcess> {
  await writeFile(files.hub.configFile, hubFile(rows));
  return await NodeProcess.start(net.hub, files.hub);
}

async function reloadHub(rows: object): Promise<void> {
  await writeFile(files.hub.configFile, hubFile(rows));
  await nodes.hub.command('reload');
}

async function leaked(): Promise<number> {
  const stdout = await net.hub.exec('nft', ['list', 'counter', 'inet', 'watch', 'leaked']);
  return Number(/packets (\d+)/.exec(stdout)?.[1]);
}

/** Who alice is to the world: the address that is seen, or why there was no answer, by TCP and UDP in both versions. */
async function seenAs(
  prober: Prober,
  world: Readonly<Record<Version, string>>,
  inVain = false,
): Promise<string[]> {
  return await Promise.all(
    VERSIONS.flatMap((version) =>
      (['tcp', 'udp'] as const).map(async (protocol) => {
        const knock = await prober[inVain ? 'knockInVain' : 'knock'](protocol, world[version], PORT);
        return 'as' in knock ? knock.as : 'nobody';
      }),
    ),
  );
}

const by = (name: keyof typeof UPLINK): string[] =>
  VERSIONS.flatMap((version) => [uplink(name, version), uplink(name, version)]);
const NOBODY = ['nobody', 'nobody', 'nobody', 'nobody'];

test('outside sees the site for alice and the hub for bob, and what is of the overlay stays at the hub', async () => {
  expect(await seenAs(alice, WORLD)).toEqual(by('cellb'));
  expect(await seenAs(bob, BY_HUB)).toEqual(by('hub'));
  for (const version of VERSIONS) {
    expect(await ping(net.alice, WORLD[version])).toMatchObject({ sent: 3, received: 3 });
    expect(await alice.knock('tcp', overlay('hub', version), PORT)).toMatchObject({
      by: 'hub',
      as: overlay('alice', version),
    });
  }
  expect(await leaked()).toBe(0);
  const { policy } = await nodes.hub.status();
  expect(policy).toMatchObject({ exits: [{ peer: 'cellb', users: ['alice'] }] });
});

test('another site at a reload: alice goes that way from the next packet on', async () => {
  await reloadHub({ route_via: 'bob' });
  expect(await seenAs(alice, WORLD)).toEqual(by('bob'));
  await reloadHub({ route_via: 'cellb' });
  expect(await seenAs(alice, WORLD)).toEqual(by('cellb'));
  expect(await leaked()).toBe(0);
});

test('a site that takes its internet back ends what is open, and one that is gone leads nowhere', async () => {
  const stream = alice.stream(WORLD[4], PORT);
  await until(() => stream.answers.length > 0 || null, 10_000, 'an answer from outside');
  await writeFile(files.cellb.configFile, stringify({ ...files.cellb.file, firewall: relay(false) }));
  await nodes.cellb.command('reload');
  // What was on its way at the reload has come once the next questions are out.
  const sent = stream.sent;
  await until(() => stream.sent > sent + 5 || null, 10_000, 'more questions');
  const answers = stream.answers.length;
  expect(await seenAs(alice, WORLD, true)).toEqual(NOBODY);
  expect(stream.answers.length).toBe(answers);
  await nodes.cellb[Symbol.asyncDispose]();
  expect(await seenAs(alice, WORLD, true)).toEqual(NOBODY);
  expect(await leaked()).toBe(0);
  // The watch at the uplink can tell: without the row she leaves there.
  await reloadHub({});
  expect(await seenAs(alice, WORLD)).toEqual(by('hub'));
  expect(await leaked()).toBeGreaterThan(0);
});
