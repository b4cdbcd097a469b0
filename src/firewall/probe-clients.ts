// Who would send to a host: where a packet comes in follows from where it says it is from, for it is the interface by which the kernel
// would answer it, as reverse path filters want it.

import type { IpAddress } from '../address/ip.ts';
import { type IpPrefix, overlaps } from '../address/prefix.ts';
import type { InboundSource } from '../policy/model.ts';
import { type HostFacts, VERSIONS, type Version } from './facts.ts';
import { ofVersion } from './rule.ts';

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

/** A client: where its packets come in, and from which address. */
export interface Client {
  readonly interface: string;
  readonly address: IpAddress;
}

/** More are not tried of each kind: two peers are enough for a way between them. */
const MOST_PEERS = 2;
const MOST_NEIGHBOURS = 16;
const MOST_SEEN = 8;
/** Somebody beyond the default route, who is in no list of special networks: a root name server. No packet gets to it. */
const BEYOND: Readonly<Record<Version, IpAddress>> = {
  4: { version: 4, bytes: Uint8Array.of(193, 0, 14, 129) },
  6: { version: 6, bytes: Uint8Array.of(0x20, 0x01, 0x07, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) },
};

/** Who may send here, from where. */
export class Clients {
  readonly #facts: HostFacts;
  readonly #host: HostView;
  readonly #peers: Readonly<Record<Version, readonly Client[]>>;
  /** Beyond the default routes. */
  readonly beyond: readonly Client[];
  /** One for each network of the host's other interfaces. */
  readonly neighbours: readonly Client[];

  private constructor(facts: HostFacts, host: HostView, beyond: readonly Client[]) {
    this.#facts = facts;
    this.#host = host;
    this.beyond = beyond;
    this.neighbours = neighboursOf(facts, host).slice(0, MOST_NEIGHBOURS);
    this.#peers = { 4: peersOf(facts, host, 4), 6: peersOf(facts, host, 6) };
  }

  static async find(facts: HostFacts, host: HostView): Promise<Clients> {
    const found = await Promise.all(VERSIONS.map(async (version) => await routed(BEYOND[version], host)));
    return new Clients(
      facts,
      host,
      found.flat().filter(({ interface: name }) => name !== facts.interface),
    );
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
  peers(version: Version): readonly Client[] {
    return this.#peers[version];
  }

  /** Who was seen lately in the networks of the other interfaces. */
  seen(): Client[] {
    return [...this.#host.seen].flatMap(([name, addresses]) =>
      name === this.#facts.interface
        ? []
        : addresses.slice(0, MOST_SEEN).map((address) => ({ interface: name, address })),
    );
  }

  /** Somebody in a network behind a peer; nobody without the tunnel. */
  behind(network: IpPrefix): Client[] {
    const { interface: name } = this.#facts;
    const address = this.#host.interfaces.has(name) ? someoneIn(network) : null;
    return address === null ? [] : [{ interface: name, address }];
  }

  /** Those whom the sources of a row mean. */
  async ofAll(sources: readonly InboundSource[]): Promise<Client[]> {
    return (await Promise.all(sources.map(async (source) => await this.#of(source)))).flat();
  }

  async #of(source: InboundSource): Promise<readonly Client[]> {
    const firstPeers = VERSIONS.flatMap((version) => this.peers(version).slice(0, 1));
    switch (source.kind) {
      case 'overlay':
        return firstPeers;
      case 'any':
        return [...firstPeers, ...this.neighbours, ...this.beyond];
      case 'lan':
        return this.neighbours.filter(({ address }) => isPrivate(address));
      case 'site':
        return (this.#facts.sites.get(source.name) ?? []).flatMap((subnet) => this.behind(subnet));
      case 'prefix': {
        const own = [...this.#host.interfaces.values()].flat();
        return await routed(someoneIn(source.prefix, own) ?? source.prefix.address, this.#host);
      }
      default:
        return source satisfies never;
    }
  }
}

function peersOf({ interface: tunnel, peers }: HostFacts, host: HostView, version: Version): Client[] {
  const found: Client[] = [];
  if (!host.interfaces.has(tunnel)) return found;
  for (const addresses of peers.values()) {
    const [address] = ofVersion(addresses, version);
    if (address !== undefined) found.push({ interface: tunnel, address });
    if (found.length === MOST_PEERS) break;
  }
  return found;
}

function neighboursOf({ interface: tunnel, overlay }: HostFacts, { interfaces }: HostView): Client[] {
  return [...interfaces].flatMap(([name, addresses]) =>
    name === tunnel
      ? []
      : addresses.flatMap(({ address, prefix }): Client[] => {
          if (isLinkLocal(address) || overlay.some((one) => overlaps(one, prefix))) return [];
          const neighbour = someoneIn(prefix, addresses);
          return neighbour === null ? [] : [{ interface: name, address: neighbour }];
        }),
  );
}

async function routed(address: IpAddress, host: HostView): Promise<Client[]> {
  const route = await host.routeTo(address);
  if (route === null || !host.interfaces.has(route.interface)) return [];
  return [{ interface: route.interface, address }];
}

/**
 * An address of a network that is none of `own`, nor that of the network or of its broadcast: the last but some. null where there
 * is none. Always the same, so that what a rule of somebody notes of it is one entry.
 */
export function someoneIn({ address, length }: IpPrefix, own: readonly OwnAddress[] = []): IpAddress | null {
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
