// A hub with a policy, peers with sites behind them, a bridge with two hosts and the internet behind the hub; everybody can
// knock at everybody. What a policy lets through is tried by TCP, UDP and ICMP, in IPv4 and IPv6.
//
//   spoke 10.9.0.N ┬ hub 10.9.0.1 ┬ bridge 172.20.0.1 ┬ vips .5, .6 (addresses of services)
//     └ its site   ┘              │                   └ box  .9
//                                 └ uplink 9.9.9.1 ──── outside 9.9.9.9    (IPv6: fd09::, fd20::, 2620:fe::, with the same last numbers)

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { type IpAddress, parseIp } from '../../src/address/ip.ts';
import { build, type Host, type Topology } from '../../src/bench/topology.ts';
import { loadConfig } from '../../src/config/load.ts';
import { Evaluator } from '../../src/policy/evaluate.ts';
import { pathOf } from '../../src/policy/path.ts';
import { until } from './deadline.ts';
import { generateKeyPair, type KeyPair } from './keys.ts';
import { type NodeFiles, NodeProcess, Scratch, writeNode } from './node-process.ts';
import { Prober } from './prober.ts';

export type Net = { readonly v4: string; readonly v6: string };
export const VERSIONS = [4, 6] as const;
export type Version = (typeof VERSIONS)[number];

export const OVERLAY_NET: Net = { v4: '10.9.0', v6: 'fd09::' };
export const BRIDGE: Net = { v4: '172.20.0', v6: 'fd20::' };
export const WORLD: Net = { v4: '9.9.9', v6: '2620:fe::' };
/** Everybody listens on both. */
export const PORT = 443;
export const OTHER_PORT = 444;

/** `10.9.0.2` or `fd09::2`. */
export const at = ({ v4, v6 }: Net, number: number, version: Version): string =>
  version === 4 ? `${v4}.${number}` : `${v6}${number}`;
export const networks = (net: Net): string[] => [`${net.v4}.0/24`, `${net.v6}/64`];
const both = (net: Net, number: number): string[] => [`${at(net, number, 4)}/24`, `${at(net, number, 6)}/64`];

/** Somebody who knocks and is knocked at; `peer` is the tunnel behind which that is, null: no tunnel. */
export type Place = {
  readonly host: string;
  readonly net: Net;
  readonly number: number;
  readonly peer: string | null;
};

export type Spoke = { readonly name: string; readonly number: number; readonly site?: Net };

/** The last number of every site's only host. */
export const SITE_HOST = 9;

export const placeOf = ({ name, number }: Spoke): Place => ({
  host: name,
  net: OVERLAY_NET,
  number,
  peer: name,
});

export function siteOf({ name, site }: Spoke): Place {
  if (site === undefined) throw new Error(`there is no site behind ${name}`);
  return { host: name, net: site, number: SITE_HOST, peer: name };
}

/** Where there is no tunnel. */
export const PLACES = {
  hub: { host: 'hub', net: OVERLAY_NET, number: 1, peer: null },
  hubOnBridge: { host: 'hub', net: BRIDGE, number: 1, peer: null },
  hubInWorld: { host: 'hub', net: WORLD, number: 1, peer: null },
  service: { host: 'vips', net: BRIDGE, number: 5, peer: null },
  otherService: { host: 'vips', net: BRIDGE, number: 6, peer: null },
  box: { host: 'box', net: BRIDGE, number: 9, peer: null },
  outside: { host: 'outside', net: WORLD, number: 9, peer: null },
} as const satisfies Readonly<Record<string, Place>>;

export const TRAFFIC = [`tcp/${PORT}`, `udp/${PORT}`, 'icmp'] as const;
export type TrafficName = (typeof TRAFFIC)[number] | `tcp/${typeof OTHER_PORT}` | `udp/${typeof OTHER_PORT}`;

export type Try = {
  readonly from: Place;
  readonly to: Place;
  readonly traffic: TrafficName;
  readonly version: Version;
};

/** A try, and whether it is to pass. */
export type Case = Try & { readonly isWanted: boolean };

/** What a reload changes: rows of peers by name, and the section `firewall`. */
export type Rules = { readonly peers: Readonly<Record<string, object>>; readonly firewall: object };

export class PolicyHub implements AsyncDisposable {
  readonly topology: Topology;
  readonly node: NodeProcess;
  readonly #hosts: ReadonlyMap<string, Host>;
  readonly #probers: ReadonlyMap<string, Prober>;
  readonly #owned: AsyncDisposableStack;

  private constructor(
    topology: Topology,
    node: NodeProcess,
    hosts: ReadonlyMap<string, Host>,
    probers: ReadonlyMap<string, Prober>,
    owned: AsyncDisposableStack,
  ) {
    this.topology = topology;
    this.node = node;
    this.#hosts = hosts;
    this.#probers = probers;
    this.#owned = owned;
  }

  /** All nodes with their tunnels up; the hub denies everything. `prefix` begins the names of the interfaces. */
  static async start(prefix: string, spokes: readonly Spoke[]): Promise<PolicyHub> {
    await using undo = new AsyncDisposableStack();
    const scratch = undo.use(await Scratch.create());
    const { hosts, topology } = undo.use(await build((one) => wire(one, spokes)));
    const files = await writeNodes(scratch.path, prefix, spokes);
    const hub = await NodeProcess.start(hostOf(hosts, 'hub'), files.hub);
    const starting = spokes.map(({ name }, i) =>
      NodeProcess.start(hostOf(hosts, name), files.spokes[i] as NodeFiles),
    );
    const nodes = [hub, ...(await Promise.all(starting))];
    undo.defer(async () => {
      await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()));
    });
    const probers = await listenEverywhere(hosts, spokes);
    await until(
      async () => (await hub.status()).peers.every((peer) => peer.latestHandshakeSeconds !== null),
      30_000,
      'a handshake with every spoke',
    );
    return new PolicyHub(topology, hub, hosts, probers, undo.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }

  host(name: string): Host {
    return hostOf(this.#hosts, name);
  }

  prober(name: string): Prober {
    const prober = this.#probers.get(name);
    if (prober === undefined) throw new Error(`nobody knocks at ${name}`);
    return prober;
  }

  /** The interface of a spoke, or of the hub. */
  deviceOf(name: string): string {
    return this.node.interfaceName.replace(/hub$/, name);
  }

  /** The hub's policy from now on, and what judges as it should. */
  async reload({ peers: rows, firewall }: Rules): Promise<Evaluator> {
    const { file, configFile } = this.node.files;
    const peers = Object.entries(file.peers).map(([name, peer]) => [name, { ...peer, ...rows[name] }]);
    await writeFile(
      configFile,
      stringify({ ...file, peers: Object.fromEntries(peers), firewall: { version: 1, ...firewall } }),
    );
    await this.node.command('reload');
    const { firewall: loaded } = loadConfig(configFile);
    if (loaded === null) throw new Error('there is no policy');
    const own = [BRIDGE, WORLD].flatMap((net) => VERSIONS.map((version) => ip(at(net, 1, version))));
    return new Evaluator(loaded.policy, own);
  }

  /** Whether it passes. What should is waited for; what should not is given up early. */
  async passes(one: Try, isWanted: boolean): Promise<boolean> {
    const { from, to, traffic, version } = one;
    if (traffic === 'icmp') return (await this.#pinged(from.host, [{ ...one, isWanted }])).length > 0;
    const [source, target] = endsOf(one);
    const [protocol, port] = traffic.split('/') as ['tcp' | 'udp', string];
    const knock = isWanted ? 'knock' : 'knockInVain';
    const answer = await this.prober(from.host)[knock](protocol, target, Number(port), source);
    if ('by' in answer && answer.by !== to.host) throw new Error(`IPv${version} ${target}: by ${answer.by}`);
    return 'by' in answer;
  }

  /** Of the tries those that pass and should not, or do not and should. */
  async wrong(tries: readonly Case[]): Promise<string[]> {
    const pings = tries.filter(({ traffic }) => traffic === 'icmp');
    const knocks = tries.filter(({ traffic }) => traffic !== 'icmp');
    const passed = new Set<Case>();
    const pingers = [...new Set(pings.map(({ from }) => from.host))].map(async (host) => {
      const own = pings.filter(({ from }) => from.host === host);
      for (const one of await this.#pinged(host, own)) passed.add(one);
    });
    // As many at once as the sockets of the hub hold.
    for (let i = 0; i < knocks.length; i += AT_ONCE) {
      const some = knocks.slice(i, i + AT_ONCE);
      await Promise.all(
        some.map(async (one) => {
          if (await this.passes(one, one.isWanted)) passed.add(one);
        }),
      );
    }
    await Promise.all(pingers);
    return tries
      .filter((one) => passed.has(one) !== one.isWanted)
      .map((one) => `${nameOf(one)} ${passed.has(one) ? 'passed' : 'did not pass'}`);
  }

  /** Those of a host's echo requests that are answered. A process for each of them would take longer to start than they take. */
  async #pinged<T extends Case>(host: string, tries: readonly T[]): Promise<T[]> {
    const lines = tries.map((one, i) => {
      const [source, target] = endsOf(one);
      const wait = one.isWanted ? PASS_SECONDS : SILENCE_SECONDS;
      return `ping -n -c 1 -W ${wait} -I ${source} ${target} > /dev/null 2>&1 && echo ${i} &`;
    });
    const answered = await this.host(host).exec('sh', [], { input: `${lines.join('\n')}\nwait\n` });
    const numbers = new Set(answered.split('\n'));
    return tries.filter((_, i) => numbers.has(String(i)));
  }

  /** How many packets the policy has denied, by peer. */
  async denied(): Promise<ReadonlyMap<string | null, number>> {
    const { policy } = await this.node.status();
    if (policy?.state !== 'enforced') throw new Error('no policy is enforced');
    const counts = new Map<string | null, number>();
    for (const { peer, packets } of policy.denied)
      counts.set(peer, (counts.get(peer) ?? 0) + Number(packets));
    return counts;
  }
}

const AT_ONCE = 512;
const PASS_SECONDS = 10;
const SILENCE_SECONDS = 0.4;

function endsOf({ from, to, version }: Try): [source: string, target: string] {
  return [at(from.net, from.number, version), at(to.net, to.number, version)];
}

/** What the evaluator says of it. */
export function isAllowed(evaluator: Evaluator, { from, to, traffic, version }: Try): boolean {
  const source = ip(at(from.net, from.number, version));
  const destination = ip(at(to.net, to.number, version));
  const end = { name: from.host, addresses: [source], peer: from.peer };
  return pathOf(evaluator, end, { source, destination, ...startOf(traffic, version) }).verdict === 'allow';
}

export function nameOf(one: Try): string {
  const { from, to, traffic } = one;
  const [source, target] = endsOf(one);
  return `${from.host} ${source} to ${to.host} ${target}, ${traffic}`;
}

function startOf(traffic: TrafficName, version: Version): { protocol: number; port: number } {
  if (traffic === 'icmp') return version === 4 ? { protocol: 1, port: 8 } : { protocol: 58, port: 128 };
  const [protocol, port] = traffic.split('/');
  return { protocol: protocol === 'tcp' ? 6 : 17, port: Number(port) };
}

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.value;
}

function hostOf(hosts: ReadonlyMap<string, Host>, name: string): Host {
  const host = hosts.get(name);
  if (host === undefined) throw new Error(`there is no host ${name}`);
  return host;
}

async function wire(
  topology: Topology,
  spokes: readonly Spoke[],
): Promise<{ readonly hosts: ReadonlyMap<string, Host> }> {
  const names = ['hub', 'vips', 'box', 'outside', ...spokes.map(({ name }) => name)];
  const made = await Promise.all(names.map(async (name) => [name, await topology.host(name)] as const));
  const hosts = new Map(made);
  const hub = hostOf(hosts, 'hub');
  for (const [i, { name, site }] of spokes.entries()) {
    const host = hostOf(hosts, name);
    await topology.connect(
      { host, device: 'eth0', addresses: [`198.18.${i}.2/24`] },
      { host: hub, device: name, addresses: [`198.18.${i}.1/24`] },
    );
    if (site !== undefined) {
      await host.ipBatch(...both(site, SITE_HOST).map((address) => `addr add ${address} dev lo`));
    }
  }
  await hub.ipBatch('link add name br0 type bridge', 'link set br0 up');
  await hub.ipBatch(...both(BRIDGE, 1).map((address) => `addr add ${address} dev br0`));
  for (const { host: name, net, number } of [PLACES.service, PLACES.box, PLACES.outside]) {
    const host = hostOf(hosts, name);
    const addresses = net === BRIDGE ? [] : both(net, 1);
    await topology.connect(
      { host, device: 'eth0', addresses: both(net, number) },
      { host: hub, device: name, addresses },
    );
    if (net === BRIDGE) await hub.ipBatch(`link set ${name} master br0`);
    await host.ipBatch(`route add default via ${at(net, 1, 4)}`, `route add ::/0 via ${at(net, 1, 6)}`);
  }
  const other = both(BRIDGE, PLACES.otherService.number).map((address) => `addr add ${address} dev eth0`);
  await hostOf(hosts, 'vips').ipBatch(...other);
  await hub.sysctl({
    'net.ipv4.ip_forward': 1,
    'net.ipv6.conf.all.forwarding': 1,
    'net.ipv4.conf.all.send_redirects': 0,
    'net.ipv4.conf.default.send_redirects': 0,
  });
  return { hosts };
}

async function writeNodes(
  directory: string,
  prefix: string,
  spokes: readonly Spoke[],
): Promise<{ readonly hub: NodeFiles; readonly spokes: readonly NodeFiles[] }> {
  const hubKeys = generateKeyPair();
  const keys = new Map(spokes.map(({ name }) => [name, generateKeyPair()]));
  const keysOf = (name: string): KeyPair => keys.get(name) ?? hubKeys;
  const own = (name: string, number: number) => ({
    name: `${prefix}-${name}`,
    private_key_file: 'own.key',
    addresses: both(OVERLAY_NET, number),
    listen_port: 51_820,
  });
  const peers = spokes.map((spoke) => {
    const addresses = VERSIONS.map((version) => at(OVERLAY_NET, spoke.number, version));
    const routes = spoke.site === undefined ? [] : networks(spoke.site);
    return [spoke.name, { public_key: keysOf(spoke.name).publicKey, addresses, routes }] as const;
  });
  const hub = await writeNode(join(directory, 'hub'), hubKeys, {
    interface: own('hub', 1),
    peers: Object.fromEntries(peers),
    firewall: { version: 1 },
  });
  const nets = [OVERLAY_NET, BRIDGE, WORLD, ...spokes.flatMap(({ site }) => site ?? [])];
  const written = spokes.map(({ name, number, site }, i) =>
    writeNode(join(directory, name), keysOf(name), {
      interface: own(name, number),
      peers: {
        hub: {
          public_key: hubKeys.publicKey,
          addresses: [],
          routes: nets.filter((net) => net !== site).flatMap(networks),
          endpoints: [`198.18.${i}.1:51820`],
          keepalive: 5,
        },
      },
    }),
  );
  return { hub, spokes: await Promise.all(written) };
}

async function listenEverywhere(
  hosts: ReadonlyMap<string, Host>,
  spokes: readonly Spoke[],
): Promise<ReadonlyMap<string, Prober>> {
  const probers = new Map([...hosts].map(([name, host]) => [name, Prober.start(host)]));
  const sites = spokes.filter(({ site }) => site !== undefined).map(siteOf);
  const places: readonly Place[] = [...Object.values(PLACES), ...spokes.map(placeOf), ...sites];
  await Promise.all(
    places.flatMap(({ host, net, number }) =>
      VERSIONS.flatMap((version) =>
        (['tcp', 'udp'] as const).map((protocol) =>
          probers.get(host)?.listen(protocol, at(net, number, version), PORT, OTHER_PORT),
        ),
      ),
    ),
  );
  return probers;
}
