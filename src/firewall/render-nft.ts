// The host's rules as one nft table of our own, `inet rf_NETWORK`. Pure: the same policy and facts give the same text.
// What each chain hooks to, in the order in which a packet meets them:
//
//   prerouting  -305 rf_leak_in    overlay addresses that come in the clear are dropped: before Docker's raw rules
//               -300 rf_zone_in    published flows get a conntrack zone of their row
//               -101 rf_nat_in     published ports, 1:1
//   forward     -150 rf_mss        both ways through the tunnel
//   input         -5 rf_inbound    ports that only their sources reach
//   output      -300 rf_zone_out, -101 rf_nat_out: the same for this host's own packets; -1 rf_process: only these users
//   postrouting   90 rf_leak_out   overlay addresses that would leave in the clear are dropped
//                 99 rf_nat_post   1:1, SNAT, hairpin, masquerade
//
// A table of our own can only restrict: what another table drops stays dropped. Openings are render-openings.ts.

import { renderIp } from '../address/ip.ts';
import type { HostPolicy, InboundPort, PortRange, Protocol } from '../policy/host.ts';
import { type HostFacts, reducePrefixes, VERSIONS } from './facts.ts';
import { renderNatChains } from './render-nat.ts';
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

/** What a table holds, without its frame. */
export interface Ruleset {
  readonly table: string;
  /** The named counters, sorted. */
  readonly counters: readonly string[];
  /** Sets and chains. */
  readonly body: string;
}

/** What a named counter has counted. */
export interface Total {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** The name of the table, in family `inet`. */
export function tableName(network: string): string {
  return `rf_${network}`;
}

/** What stands in the comment of each rule of ours in chains of others. */
export function ruleComment(network: string): string {
  return `rf:${network}`;
}

export function renderNft(policy: HostPolicy, facts: HostFacts): Ruleset {
  const body = [
    ...overlaySets(facts),
    ...resolvedSets(policy, facts),
    ...leakChains(policy, facts),
    ...inboundChain(policy, facts),
    ...processChain(policy),
    ...mssChain(policy, facts),
    ...renderNatChains(policy, facts),
  ].join('');
  const counters = [...new Set([...body.matchAll(/counter name "([^"]+)"/g)].map(([, name = '']) => name))];
  return { table: tableName(policy.network), counters: counters.sort(), body };
}

/**
 * One transaction for `nft -f -` that puts the table in place of any of its name: no packet meets neither or both. Counters
 * begin at their totals, for a replaced table starts at zero.
 */
export function renderScript(
  { table, counters, body }: Ruleset,
  comment: string,
  totals: ReadonlyMap<string, Total>,
): string {
  const declared = counters.map((name) => {
    const { packets = 0n, bytes = 0n } = totals.get(name) ?? {};
    return `\tcounter ${name} { packets ${packets} bytes ${bytes}; }\n`;
  });
  return `add table inet ${table}
delete table inet ${table}
table inet ${table} {
\tcomment "${comment}"
${declared.join('')}${body}}
`;
}

/** Removes the table, also one that is not there. */
export function renderRemoval(table: string): string {
  return `add table inet ${table}\ndelete table inet ${table}\n`;
}

function set(name: string, type: string, elements: readonly string[]): string {
  const list = elements.length === 0 ? '' : `\t\telements = { ${elements.join(', ')} }\n`;
  return `\tset ${name} {\n\t\t${type}\n${list}\t}\n`;
}

function overlaySets({ overlay }: HostFacts): string[] {
  return VERSIONS.map((version) => {
    const networks = reducePrefixes(overlay, version).map(renderNetwork);
    return set(`rf_overlay${version}`, `type ipv${version}_addr\n\t\tflags interval`, networks);
  });
}

/**
 * The tunnel's addresses belong to the tunnel. A source among them that comes in anywhere else is forged, and our own
 * address there answers nobody but this host (CVE-2019-14899).
 */
function leakChains({ leakGuard, publish }: HostPolicy, facts: HostFacts): string[] {
  const inside = tunnelAndLoopback(facts);
  const incoming = VERSIONS.flatMap((version) => {
    const own = ofVersion(facts.ownAddresses, version).map(renderIp);
    const family = FAMILY[version];
    return [
      `${family} saddr @rf_overlay${version} counter name "rf_leak_in" drop`,
      ...(own.length === 0
        ? []
        : [`${family} daddr ${oneOf(own)} fib saddr type != local counter name "rf_leak_in" drop`]),
    ];
  });
  const outgoing = VERSIONS.map(
    (version) => `${FAMILY[version]} daddr @rf_overlay${version} counter name "rf_leak_out" drop`,
  );
  // route_localnet, which a port published on 127.0.0.1 needs, would open all of 127.0.0.0/8 to the next host.
  const localnet = publish.some(({ localhost }) => localhost)
    ? ['iifname != "lo" ip daddr 127.0.0.0/8 counter name "rf_localnet" drop']
    : [];
  return [
    ...chain('rf_leak_in', 'filter hook prerouting priority -305', [
      ...localnet,
      ...(leakGuard.in ? [`iifname ${inside} accept`, ...incoming] : []),
    ]),
    ...chain('rf_leak_out', 'filter hook postrouting priority 90', [
      ...(leakGuard.out ? [`oifname ${inside} accept`, ...outgoing] : []),
    ]),
  ];
}

export function inboundPorts({ ports }: InboundPort, { listenPort }: HostFacts): PortRange {
  return ports === 'listen' ? { first: listenPort, last: listenPort } : ports;
}

/** A port with rows is reached from their sources only; one without rows is not ours to judge. */
function inboundChain({ inbound }: HostPolicy, facts: HostFacts): string[] {
  const isForAll = ({ from }: InboundPort): boolean => from.some(({ kind }) => kind === 'any');
  if (inbound.every(isForAll)) return [];
  const accepts = inbound.flatMap((row) => {
    const port = `${row.protocol} dport ${renderPorts(inboundPorts(row, facts))}`;
    const matches = VERSIONS.flatMap((version) => sourceMatches(row.from, version, facts));
    return [...new Set(matches)].map((match) => `${match}${port} accept`);
  });
  const drops = (['tcp', 'udp'] as const satisfies readonly Protocol[]).flatMap((protocol) => {
    const rows = inbound.filter((row) => row.protocol === protocol && !isForAll(row));
    if (rows.length === 0) return [];
    const ports = mergePorts(rows.map((row) => inboundPorts(row, facts))).map(renderPorts);
    return [`${protocol} dport ${oneOf(ports)} counter name "rf_inbound" drop`];
  });
  // Answers to this host's own flows may come to any of its ports.
  return chain('rf_inbound', 'filter hook input priority -5', [
    'iifname "lo" accept',
    'ct direction reply accept',
    ...accepts,
    ...drops,
  ]);
}

/** The names of `process` rows, in the order of their sets. */
export function processNames({ process }: HostPolicy): string[] {
  const targets = process.flatMap(({ to }) => to);
  return [...new Set(targets.flatMap((target) => (target.kind === 'name' ? [target.name] : [])))];
}

/** The set of what a name resolves to. */
export function resolvedSet(index: number, version: 4 | 6): string {
  return `rf_name${index}_${version}`;
}

function resolvedSets(policy: HostPolicy, { resolved }: HostFacts): string[] {
  return processNames(policy).flatMap((name, i) =>
    VERSIONS.map((version) => {
      const addresses = ofVersion(resolved.get(name) ?? [], version).map(renderIp);
      return set(resolvedSet(i, version), `type ipv${version}_addr`, addresses.sort());
    }),
  );
}

/**
 * Every packet is judged, not the first of a flow: a forbidden user's connection from before dies. A packet that belongs to
 * no socket any more, such as the last FIN of a permitted user, has no user and passes.
 */
function processChain(policy: HostPolicy): string[] {
  const names = processNames(policy);
  const rules = policy.process.flatMap(({ users, to }) => {
    const known = users.map((user) => (typeof user === 'number' ? `${user}` : `"${user}"`));
    const others = `meta skuid != { ${known.join(', ')} } counter name "rf_process" reject`;
    return to.flatMap((target) => {
      const destinations =
        target.kind === 'address'
          ? [`${FAMILY[target.address.version]} daddr ${renderIp(target.address)}`]
          : VERSIONS.map(
              (version) => `${FAMILY[version]} daddr @${resolvedSet(names.indexOf(target.name), version)}`,
            );
      return destinations.flatMap((destination) => [
        `${destination} tcp dport ${target.port} ${others} with tcp reset`,
        `${destination} udp dport ${target.port} ${others}`,
      ]);
    });
  });
  return chain('rf_process', 'filter hook output priority -1', rules);
}

/** By either interface: clamped on one way only, the far side would still send segments that do not fit. */
function mssChain({ clampsMss }: HostPolicy, facts: HostFacts): string[] {
  if (!clampsMss) return [];
  const rule = 'tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu';
  return chain('rf_mss', 'filter hook forward priority -150', [
    `oifname "${facts.interface}" ${rule}`,
    `iifname "${facts.interface}" ${rule}`,
  ]);
}
