// Openings: what has to pass chains of others that would drop it. No accept in a table of ours can lift a drop in theirs, so
// each opening is a rule in the chain that drops, in the words of the program that owns it, and carries our comment.

import { type IpAddress, renderIp } from '../address/ip.ts';
import type { IpPrefix } from '../address/prefix.ts';
import type { HostPolicy, PortRange, Protocol } from '../policy/host.ts';
import type { InboundSource } from '../policy/model.ts';
import { inboundPorts } from './chains.ts';
import { type HostFacts, PRIVATE_NETWORKS, VERSIONS, type Version } from './facts.ts';
import { backends, targetPorts } from './nat-chains.ts';
import { FAMILY, renderPorts } from './render-nft-parts.ts';
import { mergePorts, renderNetwork } from './rule.ts';

export type Hook = 'input' | 'forward';

/** One accept. What is not there fits anything. */
export interface Opening {
  readonly hook: Hook;
  /** Absent: both. */
  readonly version?: Version;
  readonly inInterface?: string;
  readonly outInterface?: string;
  /** A network, or several with commas between them. */
  readonly source?: string;
  readonly destination?: string;
  readonly protocol?: Protocol;
  readonly ports?: PortRange;
  /** Only answers within flows that were let through before. */
  readonly isReply?: true;
  /** Only what DNAT sent here. */
  readonly isTranslated?: true;
}

/**
 * What must pass: the tunnel by its interface, never by its addresses, which others could forge; the rows of `inbound`;
 * published ports and 1:1 on their way through.
 */
export function openingsOf(policy: HostPolicy, facts: HostFacts): Opening[] {
  const tunnel = facts.interface;
  return [
    { hook: 'input', inInterface: tunnel },
    ...policy.inbound.flatMap((row) =>
      row.from.flatMap((source) =>
        sourcesOf(source).map(
          (from): Opening => ({
            hook: 'input',
            ...from,
            protocol: row.protocol,
            ports: inboundPorts(row, facts),
          }),
        ),
      ),
    ),
    { hook: 'forward', inInterface: tunnel },
    { hook: 'forward', outInterface: tunnel, isReply: true },
    ...translated(policy, facts),
  ];
}

/** The tunnel has an opening of its own. */
function sourcesOf(source: InboundSource): Pick<Opening, 'version' | 'source'>[] {
  switch (source.kind) {
    case 'any':
      return [{}];
    case 'lan':
      return VERSIONS.map((version) => ({ version, source: PRIVATE_NETWORKS[version].replaceAll(' ', '') }));
    case 'prefix':
      return [{ version: source.prefix.address.version, source: renderNetwork(source.prefix) }];
    case 'overlay':
    case 'site':
      return [];
    default:
      return source satisfies never;
  }
}

function translated(policy: HostPolicy, facts: HostFacts): Opening[] {
  const to = (address: IpAddress): Opening => ({
    hook: 'forward',
    version: address.version,
    destination: renderIp(address),
    isTranslated: true,
  });
  const published = policy.publish.flatMap((row) =>
    backends(row, facts).flatMap(({ address }) =>
      mergePorts(row.ports.map(targetPorts)).map(
        (ports): Opening => ({ ...to(address), protocol: row.protocol, ports }),
      ),
    ),
  );
  const network = (field: 'source' | 'destination', prefix: IpPrefix): Opening => ({
    hook: 'forward',
    version: prefix.address.version,
    [field]: renderNetwork(prefix),
  });
  const oneToOne = policy.oneToOne.flatMap(({ internal }): Opening[] => [
    { ...network('destination', internal), isTranslated: true },
    network('source', internal),
  ]);
  const all = [...published, ...oneToOne];
  return all.length === 0 ? [] : [...all, { hook: 'forward', isReply: true, isTranslated: true }];
}

/** An opening as an nft rule, without its comment, for a chain of `family`; null where it cannot fit there. */
export function renderNftOpening(opening: Opening, family: 'ip' | 'ip6' | 'inet'): string | null {
  const { version, inInterface, outInterface, source, destination, protocol, ports, isReply, isTranslated } =
    opening;
  if (version !== undefined && family !== 'inet' && family !== FAMILY[version]) return null;
  const word = version === undefined ? '' : FAMILY[version];
  return [
    ...(inInterface === undefined ? [] : [`iifname "${inInterface}"`]),
    ...(outInterface === undefined ? [] : [`oifname "${outInterface}"`]),
    ...(source === undefined
      ? []
      : [`${word} saddr ${source.includes(',') ? `{ ${source.replaceAll(',', ', ')} }` : source}`]),
    ...(destination === undefined ? [] : [`${word} daddr ${destination}`]),
    ...(protocol === undefined || ports === undefined ? [] : [`${protocol} dport ${renderPorts(ports)}`]),
    ...(isTranslated === true ? ['ct status dnat'] : []),
    ...(isReply === true ? ['ct state established,related'] : []),
    'accept',
  ].join(' ');
}

/** An opening as the match of an iptables rule of one version, or null where it is of the other. */
export function renderIptablesOpening(opening: Opening, version: Version): string | null {
  const { inInterface, outInterface, source, destination, protocol, ports, isReply, isTranslated } = opening;
  if (opening.version !== undefined && opening.version !== version) return null;
  return [
    ...(inInterface === undefined ? [] : [`-i ${inInterface}`]),
    ...(outInterface === undefined ? [] : [`-o ${outInterface}`]),
    ...(source === undefined ? [] : [`-s ${source}`]),
    ...(destination === undefined ? [] : [`-d ${destination}`]),
    ...(protocol === undefined || ports === undefined
      ? []
      : [
          `-p ${protocol} --dport ${ports.first === ports.last ? ports.first : `${ports.first}:${ports.last}`}`,
        ]),
    ...(isTranslated === true ? ['-m conntrack --ctstate DNAT'] : []),
    ...(isReply === true ? ['-m conntrack --ctstate ESTABLISHED,RELATED'] : []),
    '-j ACCEPT',
  ].join(' ');
}
