// A host with a tunnel, peers behind it, a LAN and the world, for rules that are to be met by packets. The tunnel is a wire of
// its name to a switch with the peers, so packets are where the rules see them, without handshakes. Every network has its IPv6
// beside it: fd09::/64, fd07::/64 and 2001:db8:9::/64, with the last numbers of IPv4.
//
//   alice 10.9.0.2 ┐                          ┌ lan 192.168.7.1/24 ┬ server .5
//   bob   10.9.0.3 ┼ switch ─ rf0 10.9.0.1 node                    └ client .6
//   carol 10.9.0.4 ┘                          └ wan 203.0.113.1/24 ─ outside .9

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { build, type Host, type Topology } from '../../src/bench/topology.ts';
import { generateKeyPair } from './keys.ts';
import type { LineProcess } from './line-process.ts';
import { Scratch } from './node-process.ts';
import { NODE } from './traffic.ts';

export type OverlayHost = AsyncDisposable & {
  readonly topology: Topology;
  readonly node: Host;
  readonly alice: Host;
  readonly bob: Host;
  readonly carol: Host;
  readonly server: Host;
  readonly client: Host;
  readonly outside: Host;
};

type Net = { readonly v4: string; readonly v6: string };

export const OVERLAY_NET: Net = { v4: '10.9.0', v6: 'fd09::' };
export const LAN: Net = { v4: '192.168.7', v6: 'fd07::' };
export const WAN: Net = { v4: '203.0.113', v6: '2001:db8:9::' };

/** An administrator's firewall that lets nothing in and nothing through. */
export const DENY_ALL = `
table inet filter {
  chain input { type filter hook input priority filter; policy drop; iifname "lo" accept; ct state established,related accept; meta l4proto ipv6-icmp accept; }
  chain forward { type filter hook forward priority filter; policy drop; ct state established,related accept; }
}
`;

/** `10.9.0.2` or `fd09::2`. */
export function at(net: Net, number: number, version: 4 | 6): string {
  return version === 4 ? `${net.v4}.${number}` : `${net.v6}${number}`;
}

export async function overlayHost(): Promise<OverlayHost> {
  return await build(async (topology) => {
    const names = ['node', 'overlay', 'lan', 'alice', 'bob', 'carol', 'server', 'client', 'outside'];
    const [node, overlay, lan, alice, bob, carol, server, client, outside] = (await Promise.all(
      names.map((name) => topology.host(name)),
    )) as [Host, Host, Host, Host, Host, Host, Host, Host, Host];
    await Promise.all([
      bridged(topology, node, 'rf0', overlay, OVERLAY_NET, [
        [alice, 2],
        [bob, 3],
        [carol, 4],
      ]),
      bridged(topology, node, 'lan', lan, LAN, [
        [server, 5],
        [client, 6],
      ]),
      topology
        .connect(
          { host: node, device: 'wan', addresses: both(WAN, 1) },
          { host: outside, device: 'eth0', addresses: both(WAN, 9) },
        )
        .then(() => defaultRoute(outside, WAN)),
    ]);
    // A hub would tell peers of a shorter way, which a tunnel does not have.
    await node.sysctl({
      'net.ipv4.conf.all.send_redirects': 0,
      'net.ipv4.conf.rf0.send_redirects': 0,
      'net.ipv4.conf.all.rp_filter': 0,
    });
    return { node, alice, bob, carol, server, client, outside };
  });
}

/** Several hosts behind one interface of the node, each of which sends everything to it. */
async function bridged(
  topology: Topology,
  node: Host,
  device: string,
  bridge: Host,
  net: Net,
  members: readonly (readonly [host: Host, number: number])[],
): Promise<void> {
  await bridge.ipBatch('link add name br0 type bridge', 'link set br0 up');
  await topology.connect(
    { host: node, device, addresses: both(net, 1) },
    { host: bridge, device: 'node', addresses: [] },
  );
  const isTunnel = device === 'rf0';
  for (const [host, number] of members) {
    await topology.connect(
      { host, device: 'eth0', addresses: isTunnel ? single(net, number) : both(net, number) },
      { host: bridge, device: host.name, addresses: [] },
    );
    if (isTunnel) {
      // Linux says it by IPv6 whatever it is told: nobody listens.
      await host.sysctl({ 'net.ipv6.conf.eth0.accept_redirects': 0 });
      await host.ipBatch(`route add ${at(net, 1, 4)} dev eth0`, `route add ${at(net, 1, 6)} dev eth0`);
    }
    await defaultRoute(host, net);
  }
  await bridge.ipBatch(
    ...['node', ...members.map(([{ name }]) => name)].map((port) => `link set ${port} master br0`),
  );
}

async function defaultRoute(host: Host, net: Net): Promise<void> {
  await host.ipBatch(`route add default via ${at(net, 1, 4)}`, `route add ::/0 via ${at(net, 1, 6)}`);
}

function both(net: Net, number: number): string[] {
  return [`${at(net, number, 4)}/24`, `${at(net, number, 6)}/64`];
}

function single(net: Net, number: number): string[] {
  return [`${at(net, number, 4)}/32`, `${at(net, number, 6)}/128`];
}

export type HostPath = {
  readonly name: string;
  readonly effective: 'yes' | 'no' | 'unknown';
  readonly by: string | null;
  readonly why: string | null;
  readonly remedy: string | null;
};

export type HostStatus = {
  readonly notEnforced: readonly string[];
  readonly restored: number;
  readonly paths: readonly HostPath[] | null;
  readonly counters: Readonly<Record<string, string>>;
};

/** `firewall` in a file; who applies it is added. */
type Section = Readonly<Record<string, unknown>> & {
  readonly host?: object;
  /** What each peer has beside its key and addresses. */
  readonly peers?: Readonly<Record<string, object>>;
  /** By the peer behind which each is. */
  readonly sites?: Readonly<Record<string, { readonly subnets: readonly string[] }>>;
};

/** The rules of a host: the engine as it runs inside a node. */
export class HostRules implements AsyncDisposable {
  process: LineProcess;
  readonly #scratch: Scratch;
  readonly #backend: string;
  readonly #key = generateKeyPair();
  readonly #peers = [generateKeyPair(), generateKeyPair(), generateKeyPair()];
  #lastId = 0;

  private constructor(process: LineProcess, scratch: Scratch, backend: string) {
    this.process = process;
    this.#scratch = scratch;
    this.#backend = backend;
  }

  /** `backend` as in the file. */
  static async create(node: Host, backend = 'auto'): Promise<HostRules> {
    const scratch = await Scratch.create();
    return new HostRules(spawnRules(node, scratch), scratch, backend);
  }

  /** Another process in place of one that was killed. */
  restart(node: Host): void {
    this.process = spawnRules(node, this.#scratch);
  }

  /** The file with this section `firewall`, as both the engine and the program read it. */
  async file({ peers = {}, ...firewall }: Section): Promise<string> {
    const path = join(this.#scratch.path, 'ringfence.yaml');
    await writeFile(join(this.#scratch.path, 'node.key'), `${this.#key.privateKey}\n`, { mode: 0o600 });
    const peer = (name: string, i: number) => ({
      public_key: this.#peers[i]?.publicKey,
      addresses: [at(OVERLAY_NET, i + 2, 4), at(OVERLAY_NET, i + 2, 6)],
      routes: firewall.sites?.[name]?.subnets ?? [],
      ...peers[name],
    });
    const config = {
      interface: {
        name: 'rf0',
        private_key_file: 'node.key',
        addresses: both(OVERLAY_NET, 1),
        listen_port: 51820,
      },
      peers: Object.fromEntries(['alice', 'bob', 'carol'].map((name, i) => [name, peer(name, i)])),
      firewall: {
        version: 1,
        network: 'test',
        ...firewall,
        host: { backend: this.#backend, ...firewall.host },
      },
    };
    await writeFile(path, stringify(config));
    return path;
  }

  get runDirectory(): string {
    return this.#scratch.path;
  }

  async start(firewall: Section): Promise<void> {
    await this.ask({ op: 'start', file: await this.file(firewall) });
  }

  async update(firewall: Section): Promise<void> {
    await this.ask({ op: 'update', file: await this.file(firewall) });
  }

  async resolve(names: Readonly<Record<string, readonly string[]>>): Promise<void> {
    await this.ask({ op: 'resolve', names });
  }

  async stop(): Promise<void> {
    await this.ask({ op: 'stop' });
  }

  async status(): Promise<HostStatus> {
    return (await this.ask({ op: 'status' })) as HostStatus;
  }

  /** Has every path tried. */
  async test(): Promise<readonly HostPath[]> {
    return (await this.ask({ op: 'test' })) as readonly HostPath[];
  }

  async ask(request: object): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    await this.process.write(`${JSON.stringify({ id, ...request })}\n`);
    const [text] = await this.process.line(new RegExp(`^\\{"id":${id},.*`), 30_000);
    const answer = JSON.parse(text) as { ok?: unknown; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.ok;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
    await this.#scratch[Symbol.asyncDispose]();
  }
}

function spawnRules(node: Host, scratch: Scratch): LineProcess {
  const program = fileURLToPath(new URL('./host-rules.ts', import.meta.url));
  return node.spawn(NODE, [program, scratch.path], { isInteractive: true });
}

/**
 * What the host has of rules, without counters: equal byte for byte when nothing has changed. A self-test that runs at the moment
 * has a table, which is left out.
 */
export async function ruleset(host: Host): Promise<string> {
  const all = await host.exec('nft', ['-s', 'list', 'ruleset']);
  const listed = all.replace(/^table inet rf_\w+\.probe\.\d+ \{\n.*?^\}\n?/ms, '');
  const legacy = await Promise.all(['iptables', 'ip6tables'].map((name) => legacyRules(host, name)));
  return [listed, ...legacy].filter((text) => text !== '').join('\n');
}

/** Of a legacy iptables; a table that was ever used stays there empty, and is not told of. */
async function legacyRules(host: Host, program: string): Promise<string> {
  const saved = await host.exec(`${program}-legacy-save`);
  const tables = saved.replaceAll(/^#.*\n|\[\d+:\d+\]/gm, '').split(/^COMMIT$/m);
  return tables
    .filter((table) => /^-A|^:\S+ (?!ACCEPT)/m.test(table))
    .map((table) => `${table.trim()}\n`)
    .join('');
}
