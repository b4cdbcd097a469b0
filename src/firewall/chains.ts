// What the rules of the host are, in the terms of rule.ts. Pure: the same policy and facts give the same chains. What each
// hooks to is the renderers' business; NAT is nat-chains.ts.
//
// Chains of our own can only restrict: what another one drops stays dropped. Openings are render-openings.ts.

import { renderIp } from '../address/ip.ts';
import type { HostPolicy, InboundPort, PortRange, ProcessRow, Protocol } from '../policy/host.ts';
import { type HostFacts, VERSIONS } from './facts.ts';
import { natChains } from './nat-chains.ts';
import {
  ACCEPT,
  anyBut,
  DROP,
  inside,
  type Match,
  mergePorts,
  ofVersion,
  oneOfNetworks,
  only,
  type Rule,
  type RuleChain,
  sourceMatches,
} from './rule.ts';

/** Only chains that have rules. */
export function chainsOf(policy: HostPolicy, facts: HostFacts): RuleChain[] {
  const chains: RuleChain[] = [
    { name: 'leak_in', rules: leakIn(policy, facts) },
    { name: 'leak_out', rules: leakOut(policy, facts) },
    { name: 'inbound', rules: inbound(policy, facts) },
    { name: 'process', rules: processRules(policy, facts) },
    { name: 'mss', rules: clampMss(policy, facts) },
    ...natChains(policy, facts),
  ];
  return chains.filter(({ rules }) => rules.length > 0);
}

/** The names of all counters, sorted. */
export function countersOf(chains: readonly RuleChain[]): string[] {
  const names = chains.flatMap(({ rules }) => rules.flatMap(({ counter }) => counter ?? []));
  return [...new Set(names)].sort();
}

/**
 * The tunnel's addresses belong to the tunnel. A source among them that comes in anywhere else is forged, and our own
 * address there answers nobody but this host (CVE-2019-14899).
 */
function leakIn({ leakGuard, publish }: HostPolicy, facts: HostFacts): Rule[] {
  const dropped = { counter: 'rf_leak_in', verdict: DROP };
  const incoming = VERSIONS.flatMap((version): Rule[] => {
    const own = ofVersion(facts.ownAddresses, version).map(renderIp);
    return [
      { version, source: { kind: 'overlay' }, ...dropped },
      ...(own.length === 0
        ? []
        : [{ version, sourceIsLocal: false, destination: oneOfNetworks(own), ...dropped }]),
    ];
  });
  // route_localnet, which a port published on 127.0.0.1 needs, would open all of 127.0.0.0/8 to the next host.
  const localnet: Rule = {
    version: 4,
    inInterface: anyBut('lo'),
    destination: oneOfNetworks(['127.0.0.0/8']),
    counter: 'rf_localnet',
    verdict: DROP,
  };
  return [
    ...(publish.some(({ localhost }) => localhost) ? [localnet] : []),
    ...(leakGuard.in ? [{ inInterface: only(...inside(facts)), verdict: ACCEPT }, ...incoming] : []),
  ];
}

function leakOut({ leakGuard }: HostPolicy, facts: HostFacts): Rule[] {
  if (!leakGuard.out) return [];
  return [
    { outInterface: only(...inside(facts)), verdict: ACCEPT },
    ...VERSIONS.map(
      (version): Rule => ({
        version,
        destination: { kind: 'overlay' },
        counter: 'rf_leak_out',
        verdict: DROP,
      }),
    ),
  ];
}

export function inboundPorts({ ports }: InboundPort, { listenPort }: HostFacts): PortRange {
  return ports === 'listen' ? { first: listenPort, last: listenPort } : ports;
}

/** A port with rows is reached from their sources only; one without rows is not ours to judge. */
function inbound({ inbound: rows }: HostPolicy, facts: HostFacts): Rule[] {
  const isForAll = ({ from }: InboundPort): boolean => from.some(({ kind }) => kind === 'any');
  if (rows.every(isForAll)) return [];
  const accepts = rows.flatMap((row) =>
    sourceMatches(row.from, VERSIONS, facts).map(
      (source): Rule => ({
        ...source,
        protocol: row.protocol,
        ports: [inboundPorts(row, facts)],
        verdict: ACCEPT,
      }),
    ),
  );
  const drops = (['tcp', 'udp'] as const satisfies readonly Protocol[]).flatMap((protocol): Rule[] => {
    const own = rows.filter((row) => row.protocol === protocol && !isForAll(row));
    if (own.length === 0) return [];
    const ports = mergePorts(own.map((row) => inboundPorts(row, facts)));
    return [{ protocol, ports, counter: 'rf_inbound', verdict: DROP }];
  });
  // Answers to this host's own flows may come to any of its ports.
  return [
    { inInterface: only('lo'), verdict: ACCEPT },
    { flow: 'reply', verdict: ACCEPT },
    ...accepts,
    ...drops,
  ];
}

/** The names of `process` rows, in the order of their sets. */
export function processNames({ process }: HostPolicy): string[] {
  const targets = process.flatMap(({ to }) => to);
  return [...new Set(targets.flatMap((target) => (target.kind === 'name' ? [target.name] : [])))];
}

/**
 * Every packet is judged, not the first of a flow: a forbidden user's connection from before dies. A packet that belongs to
 * no socket any more, such as the last FIN of a permitted user, has no user and passes.
 */
function processRules(policy: HostPolicy, facts: HostFacts): Rule[] {
  const names = processNames(policy);
  return policy.process.flatMap(({ users, cgroups, to }) =>
    to.flatMap((target) => {
      const destinations: Match[] =
        target.kind === 'address'
          ? [
              {
                version: target.address.version,
                destination: oneOfNetworks([renderIp(target.address)]),
              },
            ]
          : VERSIONS.map((version) => ({
              version,
              destination: { kind: 'name', index: names.indexOf(target.name) },
            }));
      const ports = [{ first: target.port, last: target.port }];
      return destinations.flatMap((destination) =>
        (['tcp', 'udp'] as const).flatMap((protocol) =>
          outsiders(users, cgroups, facts).map(
            (outsider): Rule => ({
              ...destination,
              protocol,
              ports,
              ...outsider,
              counter: 'rf_process',
              verdict: { kind: 'reject' },
            }),
          ),
        ),
      );
    }),
  );
}

/** Who is none of these, each of which alone is enough. Nobody is in a cgroup that is not there. */
function outsiders(
  users: ProcessRow['users'],
  cgroups: ProcessRow['cgroups'],
  facts: HostFacts,
): Pick<Match, 'notUsers' | 'notCgroups'>[] {
  return [
    ...(users === null ? [] : [{ notUsers: users }]),
    ...(cgroups === null ? [] : [{ notCgroups: cgroups.flatMap((path) => facts.cgroups.get(path) ?? []) }]),
  ];
}

/** By either interface: clamped on one way only, the far side would still send segments that do not fit. */
function clampMss({ clampsMss }: HostPolicy, { interface: tunnel }: HostFacts): Rule[] {
  if (!clampsMss) return [];
  return [
    { outInterface: only(tunnel), verdict: { kind: 'clamp-mss' } },
    { inInterface: only(tunnel), verdict: { kind: 'clamp-mss' } },
  ];
}
