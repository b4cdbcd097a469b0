// The NAT of the table: published ports, 1:1, SNAT, hairpin, masquerade, and the conntrack zones of published flows.

import { type IpAddress, renderIp } from '../address/ip.ts';
import { contains, type IpPrefix } from '../address/prefix.ts';
import type { HostPolicy, OneToOneRow, PortMapping, PublishRow } from '../policy/host.ts';
import { type HostFacts, VERSIONS, type Version } from './facts.ts';
import {
  chain,
  FAMILY,
  mergePorts,
  ofVersion,
  oneOf,
  renderNetwork,
  renderPorts,
  sourceMatches,
  tunnelAndLoopback,
} from './render-nft-parts.ts';

export function renderNatChains(policy: HostPolicy, facts: HostFacts): string[] {
  const published = policy.publish.flatMap((row) => backends(row, facts));
  return [
    ...chain('rf_zone_in', 'filter hook prerouting priority -300', [
      ...published.flatMap((one) => zoneRule(one, listenMatch(one, facts))),
      ...policy.oneToOne.map(oneToOneZone),
    ]),
    ...chain('rf_zone_out', 'filter hook output priority -300', [
      ...published.flatMap((one) => localMatches(one, facts).flatMap((match) => zoneRule(one, match))),
    ]),
    ...chain('rf_nat_in', 'nat hook prerouting priority -101', [
      ...published.flatMap((one) => incomingRules(one, facts)),
      ...policy.oneToOne.map(oneToOneDnat),
    ]),
    ...chain('rf_nat_out', 'nat hook output priority -101', [
      ...published.flatMap((one) => localMatches(one, facts).flatMap((match) => dnatRules(one, match))),
      ...policy.oneToOne.map(oneToOneDnat),
    ]),
    ...chain('rf_nat_post', 'nat hook postrouting priority 99', [
      ...policy.oneToOne.flatMap((row) => oneToOneSnat(row, facts)),
      ...policy.snat.flatMap((row) => {
        const match = fromMatch(row.from, row.to.version);
        return match === null
          ? []
          : [`oifname "${row.out}" ${match} snat ${FAMILY[row.to.version]} to ${renderIp(row.to)}`];
      }),
      ...published.flatMap((one) => sourceRules(one, facts)),
      ...policy.oneToOne.flatMap((row) => hairpinOf(row.internal, facts)),
      ...policy.masquerade.flatMap(({ from, out }) => {
        const leaves = out === 'non-overlay' ? `oifname != ${tunnelAndLoopback(facts)}` : `oifname "${out}"`;
        return VERSIONS.flatMap((version) => {
          const match = fromMatch(from, version);
          return match === null ? [] : [`${leaves} ${match} masquerade`];
        });
      }),
    ]),
  ];
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
function listenMatch({ row, address }: Backend, facts: HostFacts): string {
  const family = FAMILY[address.version];
  if (row.listen === 'any') {
    return address.version === 4
      ? 'fib daddr type local ip daddr != 127.0.0.0/8 '
      : 'meta nfproto ipv6 fib daddr type local ';
  }
  if (row.listen !== 'overlay') return `${family} daddr ${renderIp(row.listen)} `;
  const own = ofVersion(facts.ownAddresses, address.version).map(renderIp);
  return `iifname "${facts.interface}" ${family} daddr ${oneOf(own)} `;
}

/** The published address as this host's own packets have it, where they are to get there. */
function localMatches(backend: Backend, facts: HostFacts): string[] {
  const { row, address } = backend;
  const loopback = row.localhost && address.version === 4 ? ['ip daddr 127.0.0.1 '] : [];
  if (!row.hairpin) return loopback;
  // The packets of this host have come in nowhere.
  return [withoutInterface(listenMatch(backend, facts)), ...loopback];
}

function withoutInterface(match: string): string {
  return match.replace(/^iifname "[^"]+" /, '');
}

function incomingRules(backend: Backend, facts: HostFacts): string[] {
  const { row, address } = backend;
  const listen = listenMatch(backend, facts);
  // What comes through the tunnel, as its address says, says so once.
  const sources = sourceMatches(row.from, address.version, facts).map((source) =>
    row.listen === 'overlay' ? withoutInterface(source) : source,
  );
  if (row.in === null) return sources.flatMap((source) => dnatRules(backend, `${source}${listen}`));
  const fromOutside = sources.flatMap((source) =>
    dnatRules(backend, `iifname "${row.in}" ${withoutInterface(source)}${listen}`),
  );
  if (!row.hairpin) return fromOutside;
  // By another interface come those who share a network with the backend.
  const neighbours = networksOf(address, facts).map(
    (network) => `${FAMILY[address.version]} saddr ${renderNetwork(network)} `,
  );
  return [...fromOutside, ...neighbours.flatMap((match) => dnatRules(backend, `${match}${listen}`))];
}

function dnatRules({ row, address }: Backend, match: string): string[] {
  const family = FAMILY[address.version];
  const target = renderIp(address);
  const counted = `counter name "${publishCounter(row)}"`;
  return row.ports.map(({ ports, to }) => {
    const rule = `${match}${row.protocol} dport ${renderPorts(ports)} ${counted} dnat ${family} to`;
    if (ports.first === ports.last) {
      return `${rule} ${address.version === 6 ? `[${target}]` : target}:${to}`;
    }
    if (ports.first === to) return `${rule} ${target}`;
    const count = ports.last - ports.first + 1;
    const elements = Array.from({ length: count }, (_, i) => `${ports.first + i} : ${target} . ${to + i}`);
    return `${rule} ${row.protocol} dport map { ${elements.join(', ')} }`;
  });
}

/**
 * What the backend sees in place of the client: this host, where its answer would otherwise not come back through it. A
 * client from beyond keeps its address, unless the row says otherwise.
 */
function sourceRules({ row, address }: Backend, facts: HostFacts): string[] {
  const family = FAMILY[address.version];
  const ports = mergePorts(row.ports.map(targetPorts)).map(renderPorts);
  const served = `${family} daddr ${renderIp(address)} ${row.protocol} dport ${oneOf(ports)}`;
  if (row.source === 'masquerade') return [`ct status dnat ${served} masquerade`];
  const loopback =
    row.localhost && address.version === 4
      ? [`ct status dnat ip saddr 127.0.0.0/8 ${served} masquerade`]
      : [];
  if (!row.hairpin) return loopback;
  return [
    ...loopback,
    `ct status dnat fib saddr type local ${served} masquerade`,
    ...hairpinNetworks(address, facts).map(
      (network) => `ct status dnat ${family} saddr ${renderNetwork(network)} ${served} masquerade`,
    ),
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

function targetPorts({ ports, to }: PortMapping): { readonly first: number; readonly last: number } {
  return { first: to, last: to + ports.last - ports.first };
}

/** The match of a `from`; null where it has nothing of this version. */
function fromMatch(from: 'overlay' | IpPrefix, version: Version): string | null {
  const family = FAMILY[version];
  if (from === 'overlay') return `${family} saddr @rf_overlay${version}`;
  return from.address.version === version ? `${family} saddr ${renderNetwork(from)}` : null;
}

/**
 * A row's flows are tracked in a zone that follows from what the row says. A client that was already sending when the row
 * came or moved is tracked anew there, and translated; in the one zone of all it would keep its old entry for as long as
 * it sends. Rows that stay as they are keep their zone, and so their flows, also over a restart.
 */
function zoneRule({ row, address }: Backend, match: string): string[] {
  const ports = row.ports.map(({ ports: range, to }) => `${renderPorts(range)}>${to}`);
  const listen = typeof row.listen === 'string' ? row.listen : renderIp(row.listen);
  const zone = zoneOf([row.owner, row.protocol, listen, ...ports, renderIp(address)].join(' '));
  const dports = mergePorts(row.ports.map(({ ports: range }) => range)).map(renderPorts);
  return [`${match}${row.protocol} dport ${oneOf(dports)} ct original zone set ${zone}`];
}

function oneToOneZone({ external, internal }: OneToOneRow): string {
  const zone = zoneOf(`${renderNetwork(external)} ${renderNetwork(internal)}`);
  return `${FAMILY[external.address.version]} daddr ${renderNetwork(external)} ct original zone set ${zone}`;
}

/** FNV-1a, folded to 16 bits; 0 is the zone of all others. */
function zoneOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return (((hash >>> 16) ^ (hash & 0xffff)) % 0xffff) + 1;
}

function oneToOneDnat({ external, internal }: OneToOneRow): string {
  return oneToOne('dnat', 'daddr', external, internal);
}

function oneToOneSnat({ external, internal }: OneToOneRow, facts: HostFacts): string[] {
  return [`oifname != ${tunnelAndLoopback(facts)} ${oneToOne('snat', 'saddr', internal, external)}`];
}

function oneToOne(verb: 'dnat' | 'snat', field: string, from: IpPrefix, to: IpPrefix): string {
  const family = FAMILY[from.address.version];
  const isHost = from.length === from.address.bytes.length * 8;
  const match = `${family} ${field} ${renderNetwork(from)}`;
  return isHost
    ? `${match} ${verb} ${family} to ${renderIp(to.address)}`
    : `${verb} ${family} prefix to ${family} ${field} map { ${renderNetwork(from)} : ${renderNetwork(to)} }`;
}

/** A neighbour of the internal host that asks for it by its external address. */
function hairpinOf(internal: IpPrefix, facts: HostFacts): string[] {
  const family = FAMILY[internal.address.version];
  return networksOf(internal.address, { ...facts, overlay: [] }).map(
    (network) =>
      `ct status dnat ${family} saddr ${renderNetwork(network)} ${family} daddr ${renderNetwork(internal)} masquerade`,
  );
}
