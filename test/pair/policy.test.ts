// Who may reach what, by packets: a hub with a policy, three peers, a site behind one of them, a private network and the
// internet behind the hub. Every pair is tried with TCP and UDP, in IPv4 and IPv6, on a port that is granted and on one beside
// it, and what passes is what the evaluator says passes.
//
//   alice 10.9.0.2 ┐
//   bob   10.9.0.3 ┼ hub 10.9.0.1 ┬ vips    172.20.0.5 (a service), .6 (another)
//   carol 10.9.0.4 ┘              └ outside 9.9.9.9
//     └ site 10.5.0.9, and behind bob yard 10.6.0.9   (IPv6: fd09::, fd05::, fd06::, fd20::, 2620:fe::, with the same last numbers)

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { type IpAddress, parseIp } from '../../src/address/ip.ts';
import { build, type Host, type Topology } from '../../src/bench/topology.ts';
import { loadConfig } from '../../src/config/load.ts';
import { Evaluator } from '../../src/policy/evaluate.ts';
import { pathOf } from '../../src/policy/path.ts';
import { generateKeyPair } from '../support/keys.ts';
import { type NodeFile, type NodeFiles, NodeProcess, Scratch, writeNode } from '../support/node-process.ts';
import { Prober } from '../support/prober.ts';
import { ping } from '../support/traffic.ts';

type Net = { readonly v4: string; readonly v6: string };

const OVERLAY: Net = { v4: '10.9.0', v6: 'fd09::' };
const SITE: Net = { v4: '10.5.0', v6: 'fd05::' };
const YARD: Net = { v4: '10.6.0', v6: 'fd06::' };
const VIPS: Net = { v4: '172.20.0', v6: 'fd20::' };
const WORLD: Net = { v4: '9.9.9', v6: '2620:fe::' };
const NETS = [OVERLAY, SITE, YARD, VIPS, WORLD];
/** Behind whom there is a site. */
const SITES: Readonly<Record<string, Net>> = { carol: SITE, bob: YARD };
const GRANTED = 443;
const BESIDE = 444;
const PEERS = { alice: 2, bob: 3, carol: 4 } as const;

/** `10.9.0.2` or `fd09::2`. */
const at = ({ v4, v6 }: Net, number: number, version: number): string =>
  version === 4 ? `${v4}.${number}` : `${v6}${number}`;
const both = (net: Net, number: number): string[] => [`${at(net, number, 4)}/24`, `${at(net, number, 6)}/64`];
const networks = (net: Net): string[] => [`${net.v4}.0/24`, `${net.v6}/64`];

/** Where somebody is who knocks and is knocked at; `peer` is the tunnel behind which that is. */
const PLACES = [
  { name: 'hub', host: 'hub', net: OVERLAY, number: 1, peer: null },
  { name: 'alice', host: 'alice', net: OVERLAY, number: 2, peer: 'alice' },
  { name: 'bob', host: 'bob', net: OVERLAY, number: 3, peer: 'bob' },
  { name: 'carol', host: 'carol', net: OVERLAY, number: 4, peer: 'carol' },
  { name: 'site', host: 'carol', net: SITE, number: 9, peer: 'carol' },
  { name: 'yard', host: 'bob', net: YARD, number: 9, peer: 'bob' },
  { name: 'service', host: 'vips', net: VIPS, number: 5, peer: null },
  { name: 'other', host: 'vips', net: VIPS, number: 6, peer: null },
  { name: 'outside', host: 'outside', net: WORLD, number: 9, peer: null },
] as const;
type Place = (typeof PLACES)[number];

type Ground = {
  readonly hub: Host;
  readonly alice: Host;
  readonly bob: Host;
  readonly carol: Host;
  readonly vips: Host;
  readonly outside: Host;
};

async function ground(): Promise<AsyncDisposable & { readonly topology: Topology } & Ground> {
  return await build(async (topology) => {
    const names = ['hub', 'alice', 'bob', 'carol', 'vips', 'outside'];
    const hosts = await Promise.all(names.map((name) => topology.host(name)));
    const [hub, alice, bob, carol, vips, outside] = hosts as [Host, Host, Host, Host, Host, Host];
    for (const [i, host] of [alice, bob, carol].entries()) {
      await topology.connect(
        { host, device: 'eth0', addresses: [`198.18.${i}.2/24`] },
        { host: hub, device: host.name, addresses: [`198.18.${i}.1/24`] },
      );
    }
    for (const [host, net, number] of [
      [vips, VIPS, 5],
      [outside, WORLD, 9],
    ] as const) {
      await topology.connect(
        { host, device: 'eth0', addresses: both(net, number) },
        { host: hub, device: host.name, addresses: both(net, 1) },
      );
      await host.ipBatch(`route add default via ${at(net, 1, 4)}`, `route add ::/0 via ${at(net, 1, 6)}`);
    }
    await vips.ipBatch(...both(VIPS, 6).map((address) => `addr add ${address} dev eth0`));
    await carol.ipBatch(...both(SITE, 9).map((address) => `addr add ${address} dev lo`));
    await bob.ipBatch(...both(YARD, 9).map((address) => `addr add ${address} dev lo`));
    await hub.sysctl({
      'net.ipv4.ip_forward': 1,
      'net.ipv6.conf.all.forwarding': 1,
      'net.ipv4.conf.all.send_redirects': 0,
      'net.ipv4.conf.default.send_redirects': 0,
    });
    return { hub, alice, bob, carol, vips, outside };
  });
}

let net: Awaited<ReturnType<typeof ground>>;
let scratch: Scratch;
let hubFiles: NodeFiles;
let hub: NodeProcess;
const nodes: NodeProcess[] = [];
const probers = new Map<string, Prober>();

beforeAll(async () => {
  [scratch, net] = await Promise.all([Scratch.create(), ground()]);
  const keys = {
    hub: generateKeyPair(),
    alice: generateKeyPair(),
    bob: generateKeyPair(),
    carol: generateKeyPair(),
  };
  const own = (name: keyof typeof keys, number: number): NodeFile['interface'] => ({
    name: `pol-${name}`,
    private_key_file: 'own.key',
    addresses: both(OVERLAY, number),
    listen_port: 51_820,
  });
  const peerOf = (name: keyof typeof PEERS) => ({
    public_key: keys[name].publicKey,
    addresses: [at(OVERLAY, PEERS[name], 4), at(OVERLAY, PEERS[name], 6)],
    routes: SITES[name] === undefined ? [] : networks(SITES[name]),
  });
  hubFiles = await writeNode(join(scratch.path, 'hub'), keys.hub, {
    interface: own('hub', 1),
    peers: { alice: peerOf('alice'), bob: peerOf('bob'), carol: peerOf('carol') },
    firewall: { version: 1 },
  });
  hub = await NodeProcess.start(net.hub, hubFiles);
  nodes.push(hub);
  const start = async (name: keyof typeof PEERS, i: number): Promise<void> => {
    const routes = NETS.filter((one) => one !== SITES[name]).flatMap(networks);
    const files = await writeNode(join(scratch.path, name), keys[name], {
      interface: own(name, PEERS[name]),
      peers: {
        hub: {
          public_key: keys.hub.publicKey,
          addresses: [],
          routes,
          endpoints: [`198.18.${i}.1:51820`],
          keepalive: 5,
        },
      },
    });
    nodes.push(await NodeProcess.start(net[name], files));
  };
  await Promise.all((['alice', 'bob', 'carol'] as const).map(start));
  await Promise.all(
    PLACES.map(async ({ host, net: one, number }) => {
      const prober = probers.get(host) ?? Prober.start(net[host]);
      probers.set(host, prober);
      for (const protocol of ['tcp', 'udp'] as const) {
        for (const version of [4, 6])
          await prober.listen(protocol, at(one, number, version), GRANTED, BESIDE);
      }
    }),
  );
}, 60_000);

afterAll(async () => {
  await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
  await net[Symbol.asyncDispose]();
  await scratch[Symbol.asyncDispose]();
});

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.value;
}

/** The rows of the peers and the section `firewall`, as the hub runs them from now on. */
async function reload(rows: Readonly<Record<string, object>>, firewall: object): Promise<Evaluator> {
  const { file, configFile } = hubFiles;
  const peers = Object.entries(file.peers).map(([name, peer]) => [name, { ...peer, ...rows[name] }]);
  await writeFile(
    configFile,
    stringify({ ...file, peers: Object.fromEntries(peers), firewall: { version: 1, ...firewall } }),
  );
  await hub.command('reload');
  const { firewall: loaded } = loadConfig(configFile);
  if (loaded === null) throw new Error('there is no policy');
  const addresses = [VIPS, WORLD].flatMap((one) => [4, 6].map((version) => ip(at(one, 1, version))));
  return new Evaluator(loaded.policy, addresses);
}

type Try = {
  readonly from: Place;
  readonly to: Place;
  readonly protocol: 'tcp' | 'udp';
  readonly version: 4 | 6;
  readonly port: number;
};

/** From each to each, unless no tunnel is on the way. */
function tries(): Try[] {
  return PLACES.flatMap((from) =>
    PLACES.filter((to) => to.host !== from.host && (from.peer !== null || to.peer !== null)).flatMap((to) =>
      (['tcp', 'udp'] as const).flatMap((protocol) =>
        ([4, 6] as const).flatMap((version) =>
          [GRANTED, BESIDE].map((port) => ({ from, to, protocol, version, port })),
        ),
      ),
    ),
  );
}

function isAllowed(evaluator: Evaluator, { from, to, protocol, version, port }: Try): boolean {
  const source = ip(at(from.net, from.number, version));
  const end = { name: from.name, addresses: [source], peer: from.peer };
  const destination = ip(at(to.net, to.number, version));
  const number = protocol === 'tcp' ? 6 : 17;
  return pathOf(evaluator, end, { source, destination, protocol: number, port }).verdict === 'allow';
}

function nameOf({ from, to, protocol, version, port }: Try): string {
  return `${from.name} to ${to.name}, IPv${version} ${protocol}/${port}`;
}

/** Tries everything; returns what passed that should not, and what did not that should. */
async function differences(
  evaluator: Evaluator,
): Promise<{ readonly passed: number; readonly wrong: string[] }> {
  const results = await Promise.all(
    tries().map(async (one) => {
      const { from, to, protocol, version, port } = one;
      const wanted = isAllowed(evaluator, one);
      const prober = probers.get(from.host);
      if (prober === undefined) throw new Error(`nobody knocks at ${from.host}`);
      const [source, target] = [at(from.net, from.number, version), at(to.net, to.number, version)];
      const answer = await prober[wanted ? 'knock' : 'knockInVain'](protocol, target, port, source);
      const hasPassed = 'by' in answer;
      return { hasPassed, wrong: hasPassed === wanted ? [] : [`${nameOf(one)}: ${JSON.stringify(answer)}`] };
    }),
  );
  return {
    passed: results.filter(({ hasPassed }) => hasPassed).length,
    wrong: results.flatMap(({ wrong }) => wrong),
  };
}

const services = {
  files: { addr: [at(VIPS, 5, 4), at(VIPS, 5, 6)], ports: [`tcp/${GRANTED}`, 'icmp/echo-request'] },
  names: { addr: [at(OVERLAY, 1, 4), at(OVERLAY, 1, 6)], ports: [`udp/${GRANTED}`] },
};

test('profiles, services, peers and the internet; a peer without a profile has nothing; sites have their own', async () => {
  const evaluator = await reload(
    { alice: { profile: 'full' }, bob: { profile: 'guest' } },
    {
      services,
      profiles: {
        full: { internet: true, services: ['files', 'names'], peers: 'none' },
        guest: { services: ['names'], peers: 'all', deny: [{ to: 'carol', ports: [`tcp/${BESIDE}`] }] },
      },
      sites: {
        carol: {
          subnets: networks(SITE),
          inbound: ['files'],
          outbound: 'any',
          exit_relay: { provide: true },
        },
        bob: { subnets: networks(YARD), inbound: ['names'], outbound: 'none' },
      },
    },
  );
  const { passed, wrong } = await differences(evaluator);
  expect(wrong).toEqual([]);
  expect(passed).toBeGreaterThan(50);
  const pinged = async (host: Host, number: number, version: number): Promise<number> =>
    (await ping(host, at(VIPS, number, version), { waitMs: 300 })).received;
  for (const version of [4, 6]) {
    expect(await ping(net.alice, at(VIPS, 5, version))).toMatchObject({ received: 3 });
    expect(await Promise.all([pinged(net.alice, 6, version), pinged(net.bob, 5, version)])).toEqual([0, 0]);
  }
});

test('strict networks divide peers, members reach each other and this node, and the site lost its internet', async () => {
  const evaluator = await reload(
    {
      alice: { allow: [{ to: 'internet' }, { to: 'carol' }] },
      carol: { allow: [{ to: 'any' }], reachable_from: [{ from: 'any', ports: [`tcp/${GRANTED}`] }] },
    },
    {
      services,
      networks: { n1: { isolation: 'strict', members: ['alice', 'bob'] }, n2: { members: ['carol'] } },
      sites: {
        carol: { subnets: networks(SITE), inbound: ['files'], outbound: 'none' },
        bob: {
          subnets: networks(YARD),
          inbound: [],
          outbound: [{ to: networks(YARD)[0], ports: [`udp/${GRANTED}`] }],
        },
      },
    },
  );
  const { passed, wrong } = await differences(evaluator);
  expect(wrong).toEqual([]);
  expect(passed).toBeGreaterThan(30);
});
