// What a self-test tries: for each opening, published port and path that the policy asks for, the packets that somebody would
// send who uses it. Where a packet comes in follows from where it says it is from: the interface by which the kernel
// would answer it, as reverse path filters want it.

import { type IpAddress, renderIp } from '../address/ip.ts';
import { contains, type IpPrefix, overlaps } from '../address/prefix.ts';
import type { HostPolicy, PortRange, ProcessTarget, Protocol } from '../policy/host.ts';
import type { InboundSource } from '../policy/model.ts';
import { inboundPorts } from './chains.ts';
import { type HostFacts, VERSIONS, type Version } from './facts.ts';
import { type Backend, backends } from './nat-chains.ts';
import type { RenderedProbe } from './render-probe.ts';
import { ofVersion, renderNetwork } from './rule.ts';

/** One packet. */
export interface Probe extends RenderedProbe {
  readonly protocol: Protocol;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly port: number;
  /** The interface by which it comes in, or the user who sends it. */
  readonly from: { readonly interface: string } | { readonly user: number };
}

/** Something that is to work, and how that is tried. */
export interface PlannedPath {
  /** For people: `inbound api tcp/13669 from overlay`. */
  readonly name: string;
  readonly probes: readonly Probe[];
  /** Why it cannot be tried, where there is no probe. */
  readonly obstacle: string | null;
}

/** What the host is asked for. */
export interface HostView {
  /** The addresses of each interface that is up, the loopback not among them. */
  readonly interfaces: ReadonlyMap<string, readonly OwnAddress[]>;
  /** Whom the kernel has seen there lately, by interface. */
  readonly seen: ReadonlyMap<string, readonly IpAddress[]>;
  /** By which interface and with which source this host sends to an address; null: it has no way there. */
  readonly routeTo: (address: IpAddress) => Promise<Route | null>;
  /** The number of a user; null: there is none. */
  readonly userOf: (user: number | string) => Promise<number | null>;
}

export interface OwnAddress {
  readonly address: IpAddress;
  readonly prefix: IpPrefix;
}

export interface Route {
  readonly interface: string;
  readonly source: IpAddress | null;
}

/** More is not tried: neither paths, nor packets of one. */
const MOST_PATHS = 200;
const MOST_PROBES = 12;
const MOST_SEEN = 8;
/** Somebody beyond the default route, who is in no list of special networks: a root name server. No packet gets to it. */
const BEYOND: Readonly<Record<Version, IpAddress>> = {
  4: { version: 4, bytes: Uint8Array.of(193, 0, 14, 129) },
  6: { version: 6, bytes: Uint8Array.of(0x20, 0x01, 0x07, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) },
};
/** A port that no rule is about: what is tried with it is a path for all of them. */
export const ANY_PORT = 47_808;

/** A client: where its packets come in, and from which address. */
interface Client {
  readonly interface: string;
  readonly address: IpAddress;
}

/** All that is to work, in the order of the file; nothing beyond {@link MOST_PATHS}. */
export async function planProbes(
  policy: HostPolicy,
  facts: HostFacts,
  host: HostView,
): Promise<PlannedPath[]> {
  const clients = new Clients(facts, host);
  await clients.look();
  const paths = [
    ...tunnelPaths(policy, facts, clients),
    ...(await inboundPaths(policy, facts, clients)),
    ...(await publishedPaths(policy, facts, clients)),
    ...oneToOnePaths(policy, clients),
    ...(await processPaths(policy, facts, host)),
  ];
  return mergePaths(paths).slice(0, MOST_PATHS);
}

/** Rows that ask for the same are one path. */
function mergePaths(paths: readonly PlannedPath[]): PlannedPath[] {
  const merged = new Map<string, PlannedPath>();
  for (const one of paths) {
    const before = merged.get(one.name);
    merged.set(one.name, before === undefined || before.probes.length === 0 ? one : before);
  }
  return [...merged.values()];
}

/** Who may send here, from where. */
class Clients {
  readonly #facts: HostFacts;
  readonly #host: HostView;
  /** Beyond the default routes. */
  #beyond: readonly Client[] = [];

  constructor(facts: HostFacts, host: HostView) {
    this.#facts = facts;
    this.#host = host;
  }

  async look(): Promise<void> {
    const found = await Promise.all(VERSIONS.map(async (version) => await this.#routed(BEYOND[version])));
    this.#beyond = found.flat().filter(({ interface: name }) => name !== this.#facts.interface);
  }

  /** Beyond the default routes, by version. */
  get beyond(): readonly Client[] {
    return this.#beyond;
  }

  /** This host's own address, as those ask for it who come in by an interface. */
  ownAddress(interfaceName: string, version: Version): IpAddress | null {
    if (interfaceName === this.#facts.interface) {
      return ofVersion(this.#facts.ownAddresses, version)[0] ?? null;
    }
    const own = this.#host.interfaces.get(interfaceName) ?? [];
    return own.find(({ address }) => address.version === version && !isLinkLocal(address))?.address ?? null;
  }

  /** Peers with an address of this version, through the tunnel. */
  peers(version: Version): Client[] {
    const { interface: tunnel, peers } = this.#facts;
    if (!this.#host.interfaces.has(tunnel)) return [];
    const addresses = [...peers.values()].flatMap((own) => ofVersion(own, version).slice(0, 1));
    return addresses.map((address) => ({ interface: tunnel, address }));
  }

  /** Neighbours: one for each network of the host's other interfaces. */
  neighbours(): Client[] {
    const { interface: tunnel, overlay } = this.#facts;
    return [...this.#host.interfaces].flatMap(([name, addresses]) =>
      name === tunnel
        ? []
        : addresses.flatMap(({ address, prefix }): Client[] => {
            if (isLinkLocal(address) || overlay.some((one) => overlaps(one, prefix))) return [];
            const neighbour = someoneIn(prefix, addresses);
            return neighbour === null ? [] : [{ interface: name, address: neighbour }];
          }),
    );
  }

  /** Who was seen lately in the networks of the other interfaces. */
  seen(): Client[] {
    return [...this.#host.seen].flatMap(([name, addresses]) =>
      name === this.#facts.interface
        ? []
        : addresses.slice(0, MOST_SEEN).map((address) => ({ interface: name, address })),
    );
  }

  /** Those whom a source of a row means. */
  async of(source: InboundSource): Promise<Client[]> {
    const firstPeers = VERSIONS.flatMap((version) => this.peers(version).slice(0, 1));
    switch (source.kind) {
      case 'overlay':
        return firstPeers;
      case 'any':
        return [...firstPeers, ...this.neighbours(), ...this.#beyond];
      case 'lan':
        return this.neighbours().filter(({ address }) => isPrivate(address));
      case 'site': {
        if (!this.#host.interfaces.has(this.#facts.interface)) return [];
        const subnets = this.#facts.sites.get(source.name) ?? [];
        return subnets.flatMap((subnet) => {
          const address = someoneIn(subnet, []);
          return address === null ? [] : [{ interface: this.#facts.interface, address }];
        });
      }
      case 'prefix':
        return await this.#routed(someoneIn(source.prefix, this.#own) ?? source.prefix.address);
      default:
        return source satisfies never;
    }
  }

  get #own(): OwnAddress[] {
    return [...this.#host.interfaces.values()].flat();
  }

  async #routed(address: IpAddress): Promise<Client[]> {
    const route = await this.#host.routeTo(address);
    if (route === null || !this.#host.interfaces.has(route.interface)) return [];
    return [{ interface: route.interface, address }];
  }

  async ofAll(sources: readonly InboundSource[]): Promise<Client[]> {
    return (await Promise.all(sources.map(async (source) => await this.of(source)))).flat();
  }
}

/** What passes by itself: peers to this host, to each other, and to where they are masqueraded. */
function tunnelPaths(
  { masquerade }: HostPolicy,
  { interface: tunnel }: HostFacts,
  clients: Clients,
): PlannedPath[] {
  const through = (client: Client, destination: IpAddress | null, way: 'in' | 'through'): Probe[] =>
    destination === null ? [] : [arriving(client, destination, 'tcp', ANY_PORT, way)];
  const each = (make: (peers: readonly Client[], version: Version) => Probe[]): Probe[] =>
    VERSIONS.flatMap((version) => make(clients.peers(version), version));
  const toHost = each(([peer], version) =>
    peer === undefined ? [] : through(peer, clients.ownAddress(tunnel, version), 'in'),
  );
  const toPeer = each(([peer, other]) =>
    peer === undefined || other === undefined ? [] : through(peer, other.address, 'through'),
  );
  return [
    path('overlay to this host', toHost, `the interface ${tunnel} is not there, or there is no peer`),
    ...(toPeer.length === 0 ? [] : [path('overlay to overlay', toPeer, '')]),
    ...leavingPaths(masquerade, clients),
  ];
}

/** A path for each interface by which peers are masqueraded. */
function leavingPaths(masquerade: HostPolicy['masquerade'], clients: Clients): PlannedPath[] {
  const isMeant = (name: string): boolean =>
    masquerade.some(({ out }) => out === 'non-overlay' || out === name);
  const targets = [...clients.seen(), ...clients.neighbours(), ...clients.beyond];
  const names = [...new Set(targets.map(({ interface: name }) => name))].filter(isMeant);
  return names.map((name) => {
    const probes = targets
      .filter((target) => target.interface === name)
      .flatMap(({ address }) =>
        clients
          .peers(address.version)
          .slice(0, 1)
          .map((peer) => arriving(peer, address, 'tcp', ANY_PORT, 'through')),
      );
    return path(`overlay out by ${name}`, probes, 'the tunnel is not there, or there is no peer');
  });
}

const NO_CLIENT = 'nobody could be found on this host whose packets are meant';

async function inboundPaths(
  { inbound }: HostPolicy,
  facts: HostFacts,
  clients: Clients,
): Promise<PlannedPath[]> {
  return await Promise.all(
    inbound.map(async (row) => {
      const ports = inboundPorts(row, facts);
      const probes = (await clients.ofAll(row.from)).flatMap((client) => {
        const own = clients.ownAddress(client.interface, client.address.version);
        if (own === null) return [];
        return endsOf(ports).map((port) => arriving(client, own, row.protocol, port, 'in'));
      });
      const name = `inbound ${row.name} ${row.protocol}/${portText(ports)} from ${row.from.map(sourceText).join(', ')}`;
      return path(name, probes, NO_CLIENT);
    }),
  );
}

async function publishedPaths(
  policy: HostPolicy,
  facts: HostFacts,
  clients: Clients,
): Promise<PlannedPath[]> {
  const served = policy.publish.flatMap((row) => backends(row, facts));
  return await Promise.all(
    served.map(async (backend) => {
      const { row, address } = backend;
      const found = (await clients.ofAll(row.from)).filter((client) => isServed(backend, client, facts));
      const probes = found.flatMap((client) => {
        const { listen } = row;
        const own =
          typeof listen === 'string' ? clients.ownAddress(client.interface, address.version) : listen;
        if (own === null) return [];
        return row.ports.flatMap(({ ports, to }) =>
          endsOf(ports).map((port): Probe => {
            const arrival = { address, port: to + port - ports.first };
            return { ...arriving(client, own, row.protocol, port, 'through'), arrival };
          }),
        );
      });
      const ports = row.ports.map((mapping) => portText(mapping.ports)).join(', ');
      return path(`published ${row.owner} ${row.protocol}/${ports} IPv${address.version}`, probes, NO_CLIENT);
    }),
  );
}

/** Whether a row is for a client of this kind. Neighbours of the backend are served by hairpin only. */
function isServed(
  { row, address }: Backend,
  client: Client,
  { interface: tunnel, connected }: HostFacts,
): boolean {
  if (client.address.version !== address.version) return false;
  if (row.listen === 'overlay' && client.interface !== tunnel) return false;
  const isNeighbour = connected.some(
    ({ prefix }) => contains(prefix, address) && contains(prefix, client.address),
  );
  if (isNeighbour) return row.hairpin;
  return row.in === null || row.in === client.interface;
}

function oneToOnePaths({ oneToOne }: HostPolicy, clients: Clients): PlannedPath[] {
  return oneToOne.map(({ external, internal }) => {
    const probes = [...clients.beyond, ...clients.neighbours()]
      .filter(({ address }) => address.version === external.address.version && !contains(internal, address))
      .map((client): Probe => {
        const arrival = { address: internal.address, port: ANY_PORT };
        return { ...arriving(client, external.address, 'tcp', ANY_PORT, 'through'), arrival };
      });
    return path(`1:1 ${renderNetwork(external)} to ${renderNetwork(internal)}`, probes, NO_CLIENT);
  });
}

async function processPaths(
  { process: rows }: HostPolicy,
  facts: HostFacts,
  host: HostView,
): Promise<PlannedPath[]> {
  const paths = rows.flatMap(({ users, cgroups, to }) =>
    to.flatMap((target): Promise<PlannedPath>[] => {
      // A socket of ours is in the cgroup of this process.
      if (users === null || cgroups !== null) {
        const name = `process of cgroup ${(cgroups ?? []).join(', ')} to ${targetText(target)}`;
        return [Promise.resolve(path(name, [], 'nothing can be sent from another cgroup'))];
      }
      return users.map(async (user) => await processPath(user, target, facts, host));
    }),
  );
  return await Promise.all(paths);
}

async function processPath(
  user: number | string,
  target: ProcessTarget,
  facts: HostFacts,
  host: HostView,
): Promise<PlannedPath> {
  const uid = await host.userOf(user);
  const addresses = target.kind === 'address' ? [target.address] : (facts.resolved.get(target.name) ?? []);
  const name = `process of user ${user} to ${targetText(target)}`;
  if (uid === null) return path(name, [], `there is no user ${user}`);
  const probes = await Promise.all(
    addresses.map(async (destination): Promise<Probe[]> => {
      const route = await host.routeTo(destination);
      if (route === null || route.source === null) return [];
      const common = { way: 'out', source: route.source, destination, port: target.port } as const;
      return (['tcp', 'udp'] as const).map((protocol) => ({
        ...common,
        protocol,
        arrival: null,
        from: { user: uid },
      }));
    }),
  );
  return path(name, probes.flat(), 'this host has no way there');
}

function path(name: string, probes: readonly Probe[], obstacle: string): PlannedPath {
  return { name, probes: probes.slice(0, MOST_PROBES), obstacle: probes.length === 0 ? obstacle : null };
}

function arriving(
  { interface: name, address: source }: Client,
  destination: IpAddress,
  protocol: Protocol,
  port: number,
  way: 'in' | 'through',
): Probe {
  const arrival = { address: destination, port };
  return { way, protocol, source, destination, port, arrival, from: { interface: name } };
}

function endsOf({ first, last }: PortRange): number[] {
  return first === last ? [first] : [first, last];
}

function portText({ first, last }: PortRange): string {
  return first === last ? `${first}` : `${first}-${last}`;
}

function sourceText(source: InboundSource): string {
  if (source.kind === 'site') return `site:${source.name}`;
  return source.kind === 'prefix' ? renderNetwork(source.prefix) : source.kind;
}

function targetText(target: ProcessTarget): string {
  if (target.kind === 'name') return `${target.name}:${target.port}`;
  const { address, port } = target;
  return address.version === 6 ? `[${renderIp(address)}]:${port}` : `${renderIp(address)}:${port}`;
}

/**
 * An address of a network that is none of `own`, nor that of the network or of its broadcast: the last but some. null where there
 * is none. Always the same, so that what a rule of somebody notes of it is one entry.
 */
function someoneIn({ address, length }: IpPrefix, own: readonly OwnAddress[]): IpAddress | null {
  const hostBits = address.bytes.length * 8 - length;
  if (hostBits === 0) return own.some((one) => isEqual(one.address, address)) ? null : address;
  if (hostBits === 1) {
    const pair = [0, 1].map((bit) => withLast(address, bit));
    return pair.find((one) => !own.some((mine) => isEqual(mine.address, one))) ?? null;
  }
  const span = 2 ** Math.min(hostBits, 8);
  for (let number = span - 2; number > 0; number--) {
    const candidate = withLast(address, number);
    if (!own.some((mine) => isEqual(mine.address, candidate))) return candidate;
  }
  return null;
}

/** The address of a network with other last bits. */
function withLast({ version, bytes }: IpAddress, number: number): IpAddress {
  const changed = bytes.slice();
  changed[changed.length - 1] = (changed.at(-1) ?? 0) | number;
  return { version, bytes: changed };
}

function isEqual(a: IpAddress, b: IpAddress): boolean {
  return a.version === b.version && a.bytes.every((byte, i) => byte === b.bytes[i]);
}

function isLinkLocal({ version, bytes: [first = 0, second = 0] }: IpAddress): boolean {
  return version === 6 ? first === 0xfe && (second & 0xc0) === 0x80 : first === 169 && second === 254;
}

/** As {@link PRIVATE_NETWORKS}, without link-local addresses, by which no probe comes. */
function isPrivate({ version, bytes: [first = 0, second = 0] }: IpAddress): boolean {
  if (version === 6) return (first & 0xfe) === 0xfc;
  if (first === 10) return true;
  if (first === 100) return second >= 64 && second < 128;
  return first === 172 ? second >= 16 && second < 32 : first === 192 && second === 168;
}
