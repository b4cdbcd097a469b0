// The NAT of the host: published ports, 1:1, SNAT, hairpin, masquerade, and the conntrack zones of published flows, in the
// terms of rule.ts.

import { type IpAddress, renderIp } from '../address/ip.ts';
import { contains, type IpPrefix } from '../address/prefix.ts';
import type { HostPolicy, OneToOneRow, PortMapping, PortRange, PublishRow } from '../policy/host.ts';
import { SPECIAL_NETWORKS } from '../policy/internet.ts';
import { type HostFacts, reducePrefixes, VERSIONS, type Version } from './facts.ts';
import { fnv1a } from './fnv.ts';
import {
  ACCEPT,
  anyBut,
  inside,
  isHost,
  MASQUERADE,
  type Match,
  mergePorts,
  ofVersion,
  oneOfNetworks,
  only,
  type Rule,
  type RuleChain,
  renderNetwork,
  sourceMatches,
} from './rule.ts';

export function natChains(policy: HostPolicy, facts: HostFacts): RuleChain[] {
  const published = policy.publish.flatMap((row) => backends(row, facts));
  return [
    {
      name: 'zone_in',
      rules: [
        ...published.map((one) => zoneRule(one, listenMatch(one, facts))),
        ...policy.oneToOne.map(oneToOneZone),
      ],
    },
    {
      name: 'zone_out',
      rules: published.flatMap((one) => localMatches(one, facts).map((match) => zoneRule(one, match))),
    },
    {
      name: 'nat_in',
      rules: [
        ...published.flatMap((one) => incomingMatches(one, facts).flatMap((match) => dnatRules(one, match))),
        ...policy.oneToOne.map(oneToOneDnat),
      ],
    },
    {
      name: 'nat_out',
      rules: [
        ...published.flatMap((one) => localMatches(one, facts).flatMap((match) => dnatRules(one, match))),
        ...policy.oneToOne.map(oneToOneDnat),
      ],
    },
    { name: 'nat_post', rules: sourceNat(policy, published, facts) },
  ];
}

/** The most particular first: what has its source changed here keeps that. */
function sourceNat(policy: HostPolicy, published: readonly Backend[], facts: HostFacts): Rule[] {
  return [
    ...policy.oneToOne.map((row) => oneToOneSnat(row, facts)),
    ...policy.snat.flatMap((row): Rule[] => {
      const match = fromMatch(row.from, row.to.version);
      return match === null
        ? []
        : [{ ...match, outInterface: only(row.out), verdict: { kind: 'snat', address: row.to } }];
    }),
    ...published.flatMap((one) =>
      servedMatches(one, facts).map((match): Rule => ({ ...match, verdict: MASQUERADE })),
    ),
    ...policy.oneToOne.flatMap((row) => hairpinOf(row.internal, facts)),
    ...policy.masquerade.flatMap(({ from, out }) => {
      const outInterface = out === 'non-overlay' ? anyBut(...inside(facts)) : only(out);
      return VERSIONS.flatMap((version): Rule[] => {
        const match = fromMatch(from, version);
        return match === null ? [] : [{ ...match, outInterface, verdict: MASQUERADE }];
      });
    }),
    ...exitRelay(policy, facts),
  ];
}

/** Sites that use the internet of this host: who they are is nobody's business there. Elsewhere they keep their addresses. */
function exitRelay({ exitUsers }: HostPolicy, facts: HostFacts): Rule[] {
  return VERSIONS.flatMap((version): Rule[] => {
    const networks = reducePrefixes(exitUsers, version).map(renderNetwork);
    if (networks.length === 0) return [];
    const from: Match = { version, source: oneOfNetworks(networks) };
    const special = reducePrefixes(SPECIAL_NETWORKS, version).map(renderNetwork);
    return [
      { ...from, destination: oneOfNetworks(special), verdict: ACCEPT },
      { ...from, outInterface: anyBut(...inside(facts)), verdict: MASQUERADE },
    ];
  });
}

/** A row with one backend, in one version. */
export interface Backend {
  readonly row: PublishRow;
  readonly address: IpAddress;
}

/** A row whose peer has addresses of both versions serves both. */
export function backends(row: PublishRow, facts: HostFacts): Backend[] {
  const { to, listen } = row;
  const addresses =
    to.kind === 'address'
      ? [to.address]
      : VERSIONS.flatMap((version) => ofVersion(facts.peers.get(to.name) ?? [], version).slice(0, 1));
  const fits = ({ version }: IpAddress): boolean => {
    if (listen === 'any') return true;
    if (listen === 'overlay') return ofVersion(facts.ownAddresses, version).length > 0;
    return listen.version === version;
  };
  return addresses.filter(fits).map((address) => ({ row, address }));
}

/** What the counter of a row is called. */
export function publishCounter({ owner, protocol }: PublishRow): string {
  return `rf_publish_${owner}_${protocol}`;
}

/** The published address as a packet has it that comes in. */
function listenMatch({ row, address }: Backend, facts: HostFacts): Match {
  const { version } = address;
  if (row.listen === 'any') {
    // Sent on, what this host says to itself would never have an answer.
    const loopback = version === 4 ? '127.0.0.0/8' : '::1';
    return {
      version,
      destinationIsLocal: true,
      destination: { kind: 'networks', networks: [loopback], isNot: true },
    };
  }
  if (row.listen !== 'overlay') return { version, destination: oneOfNetworks([renderIp(row.listen)]) };
  const own = ofVersion(facts.ownAddresses, version).map(renderIp);
  return { version, inInterface: only(facts.interface), destination: oneOfNetworks(own) };
}

/** The published address as this host's own packets have it, where they are to get there. */
function localMatches(backend: Backend, facts: HostFacts): Match[] {
  const { row, address } = backend;
  const loopback: Match[] =
    row.localhost && address.version === 4 ? [{ version: 4, destination: oneOfNetworks(['127.0.0.1']) }] : [];
  if (!row.hairpin) return loopback;
  // The packets of this host have come in nowhere.
  return [withoutInterface(listenMatch(backend, facts)), ...loopback];
}

function withoutInterface<M extends Match>({ inInterface: _, ...match }: M): Omit<M, 'inInterface'> {
  return match;
}

/** Who is served by a row, at its address. */
function incomingMatches(backend: Backend, facts: HostFacts): Match[] {
  const { row, address } = backend;
  const listen = listenMatch(backend, facts);
  const sources = sourceMatches(row.from, [address.version], facts);
  // What comes through the tunnel, as its address says, says so once.
  if (row.in === null) return sources.map((source) => ({ ...source, ...listen }));
  const inInterface = only(row.in);
  // The overlay's addresses are published in the tunnel only.
  const isElsewhere = row.listen === 'overlay' && row.in !== facts.interface;
  const fromOutside = isElsewhere ? [] : sources.map((source) => ({ ...source, ...listen, inInterface }));
  if (!row.hairpin) return fromOutside;
  // By another interface come those who share a network with the backend.
  const neighbours = networksOf(address, facts).map((network) => oneOfNetworks([renderNetwork(network)]));
  return [...fromOutside, ...neighbours.map((source) => ({ ...listen, source }))];
}

function dnatRules({ row, address }: Backend, match: Match): Rule[] {
  return row.ports.map(
    (mapping): Rule => ({
      ...match,
      protocol: row.protocol,
      ports: [mapping.ports],
      counter: publishCounter(row),
      verdict: { kind: 'dnat', address, ports: mapping },
    }),
  );
}

/**
 * Whose packets the backend gets as from this host, where its answer would otherwise not come back through it. A client from
 * beyond keeps its address, unless the row says otherwise.
 */
function servedMatches({ row, address }: Backend, facts: HostFacts): Match[] {
  const served: Match = {
    version: address.version,
    flow: 'translated',
    destination: oneOfNetworks([renderIp(address)]),
    protocol: row.protocol,
    ports: mergePorts(row.ports.map(targetPorts)),
  };
  if (row.source === 'masquerade') return [served];
  const loopback: Match[] =
    row.localhost && address.version === 4 ? [{ ...served, source: oneOfNetworks(['127.0.0.0/8']) }] : [];
  if (!row.hairpin) return loopback;
  return [
    ...loopback,
    { ...served, sourceIsLocal: true },
    ...hairpinNetworks(address, facts).map((network) => ({
      ...served,
      source: oneOfNetworks([renderNetwork(network)]),
    })),
  ];
}

/** Whose answers would go past this host: neighbours of the backend. In the overlay that is the backend itself. */
function hairpinNetworks(address: IpAddress, facts: HostFacts): IpPrefix[] {
  const isOverlay = facts.overlay.some((prefix) => contains(prefix, address));
  return isOverlay ? [{ address, length: address.bytes.length * 8 }] : networksOf(address, facts);
}

function networksOf(address: IpAddress, { connected, overlay }: HostFacts): IpPrefix[] {
  return [...connected.map(({ prefix }) => prefix), ...overlay].filter((prefix) => contains(prefix, address));
}

export function targetPorts({ ports, to }: PortMapping): PortRange {
  return { first: to, last: to + ports.last - ports.first };
}

/** The match of a `from`; null where it has nothing of this version. */
function fromMatch(from: 'overlay' | IpPrefix, version: Version): Match | null {
  if (from === 'overlay') return { version, source: { kind: 'overlay' } };
  return from.address.version === version ? { version, source: oneOfNetworks([renderNetwork(from)]) } : null;
}

/**
 * A row's flows are tracked in a zone that follows from what the row says. A client that was already sending when the row
 * came or moved is tracked anew there, and translated; in the one zone of all it would keep its old entry for as long as
 * it sends. Rows that stay as they are keep their zone, and so their flows, also over a restart.
 */
function zoneRule({ row, address }: Backend, match: Match): Rule {
  const ports = row.ports.map(({ ports: { first, last }, to }) =>
    first === last ? `${first}>${to}` : `${first}-${last}>${to}`,
  );
  const listen = typeof row.listen === 'string' ? row.listen : renderIp(row.listen);
  const zone = zoneOf([row.owner, row.protocol, listen, ...ports, renderIp(address)].join(' '));
  return {
    ...match,
    protocol: row.protocol,
    ports: mergePorts(row.ports.map(({ ports: range }) => range)),
    verdict: { kind: 'zone', zone },
  };
}

function oneToOneZone({ external, internal }: OneToOneRow): Rule {
  const zone = zoneOf(`${renderNetwork(external)} ${renderNetwork(internal)}`);
  return { ...to(external), verdict: { kind: 'zone', zone } };
}

function to(network: IpPrefix): Match {
  return { version: network.address.version, destination: oneOfNetworks([renderNetwork(network)]) };
}

/** A digest folded to 16 bits; 0 is the zone of all others. */
function zoneOf(text: string): number {
  const hash = fnv1a(text);
  return (((hash >>> 16) ^ (hash & 0xffff)) % 0xffff) + 1;
}

function oneToOneDnat({ external, internal }: OneToOneRow): Rule {
  const { version } = external.address;
  if (!isHost(external)) {
    return { version, verdict: { kind: 'map', field: 'destination', from: external, to: internal } };
  }
  return { ...to(external), verdict: { kind: 'dnat', address: internal.address, ports: null } };
}

function oneToOneSnat({ external, internal }: OneToOneRow, facts: HostFacts): Rule {
  const { version } = external.address;
  const outInterface = anyBut(...inside(facts));
  if (!isHost(external)) {
    return { version, outInterface, verdict: { kind: 'map', field: 'source', from: internal, to: external } };
  }
  const source = oneOfNetworks([renderNetwork(internal)]);
  return { version, outInterface, source, verdict: { kind: 'snat', address: external.address } };
}

/** A neighbour of the internal host that asks for it by its external address. */
function hairpinOf(internal: IpPrefix, facts: HostFacts): Rule[] {
  return networksOf(internal.address, { ...facts, overlay: [] }).map((network) => ({
    ...to(internal),
    flow: 'translated',
    source: oneOfNetworks([renderNetwork(network)]),
    verdict: MASQUERADE,
  }));
}
