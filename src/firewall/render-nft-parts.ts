// Pieces of nft rules that several chains need: chains, addresses, ports, sources. All of it is pure text.

import { type IpAddress, renderIp } from '../address/ip.ts';
import { type IpPrefix, renderPrefix } from '../address/prefix.ts';
import type { PortRange } from '../policy/host.ts';
import type { InboundSource } from '../policy/model.ts';
import { type HostFacts, PRIVATE_NETWORKS, reducePrefixes, type Version } from './facts.ts';

/** How nft calls the header of a version. */
export const FAMILY: Readonly<Record<Version, 'ip' | 'ip6'>> = { 4: 'ip', 6: 'ip6' };

/** Interface names, as nft wants several: the tunnel and the loopback, which the guards let pass. */
export function tunnelAndLoopback({ interface: tunnel }: HostFacts): string {
  return `{ "lo", "${tunnel}" }`;
}

/** One element, or an anonymous set of several. */
export function oneOf(elements: readonly string[]): string {
  return elements.length === 1 ? `${elements[0]}` : `{ ${elements.join(', ')} }`;
}

/** A host's prefix as the address alone, which is how nft lists it. */
export function renderNetwork(prefix: IpPrefix): string {
  return prefix.length === prefix.address.bytes.length * 8 ? renderIp(prefix.address) : renderPrefix(prefix);
}

export function renderPorts({ first, last }: PortRange): string {
  return first === last ? `${first}` : `${first}-${last}`;
}

/** Sorted and joined where they touch: an nft set takes no overlaps. */
export function mergePorts(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of ranges.toSorted((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before === undefined || range.first > before.last + 1) merged.push(range);
    else merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
  }
  return merged;
}

export function ofVersion(addresses: readonly IpAddress[], version: Version): IpAddress[] {
  return addresses.filter((address) => address.version === version);
}

/**
 * The match of a source in one version, to stand at the beginning of a rule: empty for any packet, null where the source
 * has nothing of this version.
 */
export function sourceMatch(source: InboundSource, version: Version, facts: HostFacts): string | null {
  const family = FAMILY[version];
  switch (source.kind) {
    case 'any':
      return '';
    case 'overlay':
      return `iifname "${facts.interface}" `;
    case 'lan':
      return `iifname != "${facts.interface}" ${family} saddr { ${PRIVATE_NETWORKS[version]} } `;
    case 'site': {
      const subnets = reducePrefixes(facts.sites.get(source.name) ?? [], version).map(renderNetwork);
      return subnets.length === 0 ? null : `iifname "${facts.interface}" ${family} saddr ${oneOf(subnets)} `;
    }
    case 'prefix':
      return source.prefix.address.version === version
        ? `${family} saddr ${renderNetwork(source.prefix)} `
        : null;
    default:
      return source satisfies never;
  }
}

/** The matches of several sources, one of which must fit: none where no source has anything of this version. */
export function sourceMatches(
  sources: readonly InboundSource[],
  version: Version,
  facts: HostFacts,
): string[] {
  if (sources.some(({ kind }) => kind === 'any')) return [''];
  const matches = sources.map((source) => sourceMatch(source, version, facts));
  return [...new Set(matches.filter((match) => match !== null))];
}

/** A base chain that accepts what its rules do not drop; none without rules. `hook` is its type, hook and priority. */
export function chain(name: string, hook: string, rules: readonly string[]): string[] {
  if (rules.length === 0) return [];
  const lines = rules.map((rule) => `\t\t${rule}\n`);
  return [`\tchain ${name} {\n\t\ttype ${hook}; policy accept;\n${lines.join('')}\t}\n`];
}
