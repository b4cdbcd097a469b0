// The host's rules for systems that no node runs on yet: an anchor of macOS's pf, and PowerShell's NetSecurity for the Windows
// Defender Firewall. Inbound ports, masquerade and strict networks; what else a file asks for is named. Text for an
// administrator, held by golden files: nothing here was run on those systems.
//
// pf.conf(5) of macOS; New-NetFirewallRule, New-NetNat of Microsoft's NetSecurity and NetNat modules.

import { renderIp } from '../address/ip.ts';
import type { HostPolicy, InboundPort, PortRange } from '../policy/host.ts';
import type { InboundSource, Network } from '../policy/model.ts';
import { inboundPorts } from './chains.ts';
import { type HostFacts, PRIVATE_NETWORKS, reducePrefixes, VERSIONS } from './facts.ts';
import { renderNetwork } from './rule.ts';

/** Lines for the other system, and a sentence for each thing that they leave out. */
export interface Elsewhere {
  readonly text: string;
  readonly missing: readonly string[];
}

/** `networks`: those of the policy, of which strict ones divide peers. */
export function renderPf(policy: HostPolicy, facts: HostFacts, networks: readonly Network[]): Elsewhere {
  const tunnel = facts.interface;
  const strict = strictTables(networks, facts);
  const peers = [...facts.peers.values()].flat().map(renderIp);
  const overlay = overlayOf(facts);
  const missing = missingOf(policy);
  const isolation = strict.flatMap(({ table }) => [
    `pass quick on ${tunnel} from <${table}> to <${table}>`,
    `block drop quick on ${tunnel} from <${table}> to <rf_peers>`,
    `block drop quick on ${tunnel} from <rf_peers> to <${table}>`,
  ]);
  const lines = [
    `# Not run on macOS by those who made it. To load: pfctl -a ringfence/${policy.network} -f FILE`,
    ...missing.map((sentence) => `# not here: ${sentence}`),
    pfTable('rf_overlay', overlay),
    ...(strict.length === 0 ? [] : [pfTable('rf_peers', peers)]),
    ...strict.flatMap(({ id, table, members }) => [`# networks.${id}`, pfTable(table, members)]),
    ...policy.masquerade.flatMap((row) => pfMasquerade(row)),
    ...isolation,
    ...policy.inbound.flatMap((row) => pfInbound(row, facts)),
    ...closedPorts(policy, facts).map(
      ({ protocol, ports }) =>
        `block drop in quick on ! lo0 proto ${protocol} from any to self port ${pfPorts(ports)}`,
    ),
  ];
  return { text: `${lines.join('\n')}\n`, missing };
}

/** As {@link renderPf}, for PowerShell. Rules are found again by their group. */
export function renderWindows(policy: HostPolicy, facts: HostFacts, networks: readonly Network[]): Elsewhere {
  const strict = networks.filter(({ isStrict }) => isStrict).map(({ id }) => id);
  const missing = [
    ...missingOf(policy),
    ...strict.map(
      (id) => `networks.${id}: this firewall has no rules for what it forwards from peer to peer`,
    ),
    ...policy.inbound
      .filter(({ from }) => from.some(({ kind }) => kind === 'lan'))
      .map(({ name }) => `host.inbound ${name}: from lan is by address, also through the tunnel`),
    ...policy.masquerade.flatMap(({ from, out }) => [
      ...(out === 'non-overlay' ? [] : [`nat.masquerade out ${out}: New-NetNat chooses the interface`]),
      ...(from === 'overlay' || from.address.version === 4
        ? []
        : [`nat.masquerade from ${renderNetwork(from)}: New-NetNat has no IPv6`]),
    ]),
  ];
  const sources = policy.masquerade.flatMap(({ from }) =>
    from === 'overlay' ? overlayOf(facts).filter((network) => !network.includes(':')) : [renderNetwork(from)],
  );
  const lines = [
    '# Not run on Windows by those who made it. PowerShell, as administrator.',
    ...missing.map((sentence) => `# not here: ${sentence}`),
    `Get-NetFirewallRule -Group 'rf:${policy.network}' -ErrorAction SilentlyContinue | Remove-NetFirewallRule`,
    ...policy.inbound.flatMap((row) => windowsInbound(row, policy, facts)),
    `Get-NetNat -Name 'rf_${policy.network}_*' -ErrorAction SilentlyContinue | Remove-NetNat -Confirm:$false`,
    ...[...new Set(sources)]
      .filter((network) => !network.includes(':'))
      .map(
        (network, i) =>
          `New-NetNat -Name 'rf_${policy.network}_${i}' -InternalIPInterfaceAddressPrefix '${network.includes('/') ? network : `${network}/32`}'`,
      ),
  ];
  return { text: `${lines.join('\n')}\n`, missing };
}

function overlayOf({ overlay }: HostFacts): string[] {
  return VERSIONS.flatMap((version) => reducePrefixes(overlay, version).map(renderNetwork));
}

/** The strict networks that have addresses, each with a name that pf takes: it has 31 characters at most. */
function strictTables(
  networks: readonly Network[],
  { peers }: HostFacts,
): { readonly id: string; readonly table: string; readonly members: readonly string[] }[] {
  return networks
    .filter(({ isStrict }) => isStrict)
    .map(({ id, members }, i) => ({
      id,
      table: `rf_net_${i}`,
      members: members.flatMap((name) => (peers.get(name) ?? []).map(renderIp)),
    }))
    .filter(({ members }) => members.length > 0);
}

function missingOf(policy: HostPolicy): string[] {
  const { leakGuard, publish, snat, oneToOne, process, clampsMss, mirrorsPolicy } = policy;
  return [
    ...(leakGuard.in || leakGuard.out || leakGuard.route ? ['leak_guard'] : []),
    ...publish.map(({ owner }) => `nat.publish ${owner}`),
    ...(snat.length === 0 ? [] : ['nat.snat']),
    ...(oneToOne.length === 0 ? [] : ['nat.one_to_one']),
    ...(process.length === 0 ? [] : ['process']),
    ...(clampsMss ? ['mss'] : []),
    ...(mirrorsPolicy ? ['host.mirror'] : []),
  ];
}

/** Ports with rows, none of which is for everybody: others are to be kept from them. */
function closedPorts({ inbound }: HostPolicy, facts: HostFacts): { protocol: string; ports: PortRange }[] {
  return inbound
    .filter(({ from }) => from.every(({ kind }) => kind !== 'any'))
    .map((row) => ({ protocol: row.protocol, ports: inboundPorts(row, facts) }));
}

function pfTable(name: string, addresses: readonly string[]): string {
  return `table <${name}> const { ${addresses.join(', ')} }`;
}

function pfPorts({ first, last }: PortRange): string {
  return first === last ? `${first}` : `${first}:${last}`;
}

/** pf has to be told an interface: by any but the tunnel is by that of the default route, which the reader knows. */
function pfMasquerade({ from, out }: HostPolicy['masquerade'][number]): string[] {
  const [source, versions] =
    from === 'overlay' ? ['<rf_overlay>', VERSIONS] : [renderNetwork(from), [from.address.version]];
  const device = out === 'non-overlay' ? '$ext_if' : out;
  return [
    ...(out === 'non-overlay' ? ['# the interface of the default route:', 'ext_if = "en0"'] : []),
    ...versions.map(
      (version) =>
        `nat on ${device} ${version === 4 ? 'inet' : 'inet6'} from ${source} to any -> (${device})`,
    ),
  ];
}

function pfInbound(row: InboundPort, facts: HostFacts): string[] {
  const to = `to self port ${pfPorts(inboundPorts(row, facts))}`;
  return row.from.flatMap((source) => {
    const { isTunnel, addresses } = sourceOf(source, facts);
    if (addresses?.length === 0) return [];
    const on = isTunnel === null ? '' : ` on ${isTunnel ? '' : '! '}${facts.interface}`;
    const from = addresses === null ? 'any' : `{ ${addresses.join(', ')} }`;
    return [`pass in quick${on} proto ${row.protocol} from ${from} ${to}`];
  });
}

function windowsInbound(row: InboundPort, { network }: HostPolicy, facts: HostFacts): string[] {
  const { first, last } = inboundPorts(row, facts);
  const ports = first === last ? `${first}` : `${first}-${last}`;
  return row.from.flatMap((source) => {
    const { isTunnel, addresses } = sourceOf(source, facts);
    if (addresses?.length === 0) return [];
    const words = [
      `New-NetFirewallRule -Group 'rf:${network}' -DisplayName 'Ringfence ${network}: ${row.name}'`,
      `-Direction Inbound -Action Allow -Profile Private,Domain -Protocol ${row.protocol.toUpperCase()} -LocalPort ${ports}`,
      ...(isTunnel === true ? [`-InterfaceAlias '${facts.interface}'`] : []),
      ...(addresses === null ? [] : [`-RemoteAddress ${addresses.map((one) => `'${one}'`).join(',')}`]),
    ];
    return [words.join(' ')];
  });
}

/** Whether it is the tunnel, or any interface but it, or null: either; and its addresses, or null: any. */
function sourceOf(
  source: InboundSource,
  facts: HostFacts,
): { readonly isTunnel: boolean | null; readonly addresses: readonly string[] | null } {
  switch (source.kind) {
    case 'any':
      return { isTunnel: null, addresses: null };
    case 'overlay':
      return { isTunnel: true, addresses: null };
    case 'lan':
      return {
        isTunnel: false,
        addresses: VERSIONS.flatMap((version) => PRIVATE_NETWORKS[version].split(', ')),
      };
    case 'site': {
      const subnets = facts.sites.get(source.name) ?? [];
      return { isTunnel: true, addresses: subnets.map(renderNetwork) };
    }
    case 'prefix':
      return { isTunnel: null, addresses: [renderNetwork(source.prefix)] };
    default:
      return source satisfies never;
  }
}
