// What a self-test tries: for each opening, published port and path that the policy asks for, the packets that somebody would
// send who uses it. Who that is, is probe-clients.ts.

import { type IpAddress, renderIp } from '../address/ip.ts';
import { contains } from '../address/prefix.ts';
import type { HostPolicy, PortRange, ProcessTarget, Protocol } from '../policy/host.ts';
import type { InboundSource } from '../policy/model.ts';
import { inboundPorts } from './chains.ts';
import { type HostFacts, VERSIONS, type Version } from './facts.ts';
import { type Backend, backends } from './nat-chains.ts';
import { type Client, Clients, type HostView, someoneIn } from './probe-clients.ts';
import type { RenderedProbe } from './render-probe.ts';
import { renderNetwork } from './rule.ts';

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

/** More is not tried: paths, packets of one, and packets. */
const MOST_PATHS = 250;
const MOST_PROBES_OF_PATH = 12;
const MOST_PROBES = 500;
/** A port that no rule is about: what is tried with it is a path for all of them. */
export const ANY_PORT = 47_808;

/** All that is to work, at most {@link MOST_PROBES} packets. */
export async function planProbes(
  policy: HostPolicy,
  facts: HostFacts,
  host: HostView,
): Promise<PlannedPath[]> {
  const clients = await Clients.find(facts, host);
  const paths = [
    ...tunnelPaths(policy, facts, clients),
    ...(await inboundPaths(policy, facts, clients)),
    ...(await publishedPaths(policy, facts, clients)),
    ...oneToOnePaths(policy, clients),
    ...(await processPaths(policy, facts, host)),
  ];
  return sampled(mergePaths(paths));
}

/** Of many paths each has fewer packets, and what is beyond the most paths is told as one. */
function sampled(paths: readonly PlannedPath[]): PlannedPath[] {
  const tried = paths.slice(0, MOST_PATHS);
  const share = Math.max(1, Math.min(MOST_PROBES_OF_PATH, Math.floor(MOST_PROBES / tried.length)));
  const rest = paths.length - tried.length;
  return [
    ...tried.map((one) => ({ ...one, probes: spread(one.probes, share) })),
    ...(rest === 0 ? [] : [path(`${rest} more`, [], `more than ${MOST_PATHS} are not tried`)]),
  ];
}

/** At most so many of a list, from all over it. */
function spread<T>(list: readonly T[], most: number): readonly T[] {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, i) => list[Math.floor((i * list.length) / most)] as T);
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

/** What passes by itself: peers to this host, to each other, and to where they are masqueraded. */
function tunnelPaths(policy: HostPolicy, { interface: tunnel }: HostFacts, clients: Clients): PlannedPath[] {
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
    ...leavingPaths(policy, clients),
  ];
}

/** A path for each interface by which peers are masqueraded, and by which sites use the internet of this host. */
function leavingPaths({ masquerade, exitUsers }: HostPolicy, clients: Clients): PlannedPath[] {
  const targets = [...clients.seen(), ...clients.neighbours, ...clients.beyond];
  const names = [...new Set(targets.map(({ interface: name }) => name))];
  const toOne = (from: readonly Client[], to: Client): Probe[] =>
    from
      .filter(({ address }) => address.version === to.address.version)
      .slice(0, 1)
      .map((one) => arriving(one, to.address, 'tcp', ANY_PORT, 'through'));
  const leaving = names.flatMap((name): PlannedPath[] => {
    const rows = masquerade.filter(({ out }) => out === 'non-overlay' || out === name);
    const peers = VERSIONS.flatMap((version) => clients.peers(version)).filter(({ address }) =>
      rows.some(({ from }) => from === 'overlay' || contains(from, address)),
    );
    if (rows.length === 0) return [];
    const probes = targets.filter((to) => to.interface === name).flatMap((to) => toOne(peers, to));
    return [path(`overlay out by ${name}`, probes, 'the tunnel is not there, or there is no peer')];
  });
  const users = exitUsers.flatMap((network) => clients.behind(network));
  const exits = clients.beyond.flatMap((to) => toOne(users, to));
  const obstacle = 'the tunnel is not there, or this host has no default route';
  return [...leaving, ...(exitUsers.length === 0 ? [] : [path('sites to the internet', exits, obstacle)])];
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
    const [asked, served] = [someoneIn(external), someoneIn(internal)];
    const probes = [...clients.beyond, ...clients.neighbours].flatMap((client): Probe[] => {
      const { address } = client;
      if (asked === null || served === null) return [];
      if (address.version !== external.address.version || contains(internal, address)) return [];
      const arrival = { address: served, port: ANY_PORT };
      return [{ ...arriving(client, asked, 'tcp', ANY_PORT, 'through'), arrival }];
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
  return { name, probes, obstacle: probes.length === 0 ? obstacle : null };
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
