// Two configurations of one node → what is different, key by key, for whoever is to read it or to apply it. Pure: what is in
// key files is the caller's to compare.

import { isDeepStrictEqual } from 'node:util';
import { renderEndpoint } from '../address/endpoint.ts';
import { renderIp } from '../address/ip.ts';
import { renderInterface, renderPrefix } from '../address/prefix.ts';
import type { Policy } from '../policy/model.ts';
import type { NamePattern, NamePolicy } from '../policy/names.ts';
import { HOST_ROWS } from './firewall/host-diff.ts';
import type { FirewallConfig } from './firewall/schema.ts';
import { renderPublicKey } from './key.ts';
import { renderListen } from './listen.ts';
import { OFFLOAD_KEYS, OFFLOADS } from './offloads.ts';
import { renderPath } from './quote.ts';
import type { InterfaceConfig, LoggingConfig, MetricsConfig, NodeConfig, PeerConfig } from './schema.ts';

/** One key, or one peer, that is different. */
export interface ConfigChange {
  /** As messages name it: `interface.mtu`, `peers.alice.routes`. */
  readonly path: string;
  /** What it no longer says, as in the file: the items of a list, the one value of another key; of a peer, its keys. */
  readonly removed: readonly string[];
  /** What it says now. */
  readonly added: readonly string[];
  /** Whether a running node takes it; else it has to be started again. */
  readonly isLive: boolean;
}

/** How a key of a section is shown. What gives the same values is no change. */
interface Row<Section> {
  readonly key: string;
  readonly values: (section: Section) => readonly string[];
  readonly needsRestart?: true;
}

const INTERFACE: readonly Row<InterfaceConfig>[] = [
  { key: 'name', values: ({ name }) => [name], needsRestart: true },
  { key: 'private_key_file', values: ({ publicKey }) => [`the key of ${renderPublicKey(publicKey)}`] },
  { key: 'addresses', values: ({ addresses }) => addresses.map(renderInterface) },
  { key: 'listen_port', values: ({ listenPort }) => [String(listenPort)] },
  { key: 'mtu', values: ({ mtu }) => [String(mtu)] },
  { key: 'table', values: ({ table }) => [String(table)] },
  {
    key: 'offloads',
    values: ({ offloads }) => OFFLOADS.map((offload) => `${OFFLOAD_KEYS[offload]}: ${offloads[offload]}`),
    needsRestart: true,
  },
];

const PEER: readonly Row<PeerConfig>[] = [
  { key: 'public_key', values: ({ publicKey }) => [renderPublicKey(publicKey)] },
  {
    key: 'preshared_key_file',
    values: ({ presharedKeyFile }) => (presharedKeyFile === null ? [] : ['a preshared key']),
  },
  { key: 'addresses', values: ({ addresses }) => addresses.map(renderIp) },
  { key: 'routes', values: ({ routes }) => routes.map(renderPrefix) },
  { key: 'metric', values: ({ metric }) => (metric === null ? [] : [String(metric)]) },
  { key: 'endpoints', values: ({ endpoints }) => endpoints.map(renderEndpoint) },
  { key: 'keepalive', values: ({ keepaliveSeconds }) => [keepaliveText(keepaliveSeconds)] },
];

const METRICS: readonly Row<MetricsConfig>[] = [
  { key: 'listen', values: ({ listen }) => [renderListen(listen)] },
  { key: 'hosts', values: ({ hosts }) => hosts },
];

const LOGGING: readonly Row<LoggingConfig>[] = [
  { key: 'level', values: ({ level }) => (level === null ? [] : [level]) },
];

const NAMES: readonly Row<NamePolicy>[] = [
  { key: 'domain', values: ({ domain }) => [domain] },
  {
    key: 'upstream',
    values: ({ upstream }) => upstream.map((one) => renderEndpoint({ kind: 'address', zone: null, ...one })),
  },
];

/**
 * What `after` says that `before` does not, in the order of the file; peers that are gone come before those that came.
 * @param hasOtherPresharedKey of a peer, by its name in `after`, that has one in both: whether it is another
 */
export function diffConfigs(
  before: NodeConfig,
  after: NodeConfig,
  hasOtherPresharedKey: (peer: PeerConfig) => boolean,
): ConfigChange[] {
  return [
    ...diffSection(['interface'], INTERFACE, before.interface, after.interface),
    ...diffPeers(before.peers, after.peers, hasOtherPresharedKey),
    ...diffSection(['metrics'], METRICS, before.metrics, after.metrics),
    ...diffSection(['logging'], LOGGING, before.logging, after.logging),
    ...diffSection(['firewall'], HOST_ROWS, before.firewall?.host ?? null, after.firewall?.host ?? null),
    ...diffFirewalls(before.firewall, after.firewall),
    ...diffSection(['firewall', 'dns'], NAMES, namesOf(before), namesOf(after)),
    ...diffDenied(namesOf(before), namesOf(after)),
  ];
}

/** Names that profiles deny, which are no part of the policy for packets. */
function diffDenied(before: NamePolicy | null, after: NamePolicy | null): ConfigChange[] {
  const profiles = new Set([...(before?.denied.keys() ?? []), ...(after?.denied.keys() ?? [])]);
  return [...profiles].flatMap((id) => {
    const row: Row<NamePolicy> = {
      key: 'deny',
      values: ({ denied }) => (denied.get(id) ?? []).map(renderPattern),
    };
    return diffSection(['firewall', 'profiles', id, 'dns'], [row], before, after);
  });
}

function renderPattern({ name, isBelow }: NamePattern): string {
  if (!isBelow) return name;
  return name === '' ? '*' : `*.${name}`;
}

/** The policy by its parts: what is different in one is for `ringfence explain`. */
function diffFirewalls(before: FirewallConfig | null, after: FirewallConfig | null): ConfigChange[] {
  const path = ['firewall'];
  if (before === null || after === null) {
    return before === after ? [] : [change(path, before ? ['a policy'] : [], after ? ['a policy'] : [])];
  }
  const [former, present] = [policyParts(before.policy), policyParts(after.policy)];
  const names = new Set([...former.keys(), ...present.keys()]);
  return [...names].flatMap((name) => {
    const [was, is] = [former.get(name), present.get(name)];
    if (was === is) return [];
    const removed = was === undefined ? [] : ['the former rows'];
    return [{ path: name, removed, added: is === undefined ? [] : ['other rows'], isLive: true }];
  });
}

/** Each part as one text, in which it makes no difference where a row stands. */
function policyParts(policy: Policy): Map<string, string> {
  const { action, peers, services, profiles, networks, sites, inbound } = policy;
  const named = [...peers.map(({ rule, ...rows }) => ({ ...rows, name: rule.name })), ...services];
  const parts = [
    { name: 'firewall.action', action },
    { name: 'firewall.inbound', inbound },
    ...named,
    ...profiles,
    ...networks,
    ...sites,
  ];
  const withoutPlace = (key: string, value: unknown): unknown => (key === 'place' ? undefined : value);
  return new Map(parts.map((part) => [part.name, JSON.stringify(part, withoutPlace)]));
}

/** A peer is who has its name; one whose key has another name now was renamed. */
function diffPeers(
  before: readonly PeerConfig[],
  after: readonly PeerConfig[],
  hasOtherPresharedKey: (peer: PeerConfig) => boolean,
): ConfigChange[] {
  const byName = new Map(before.map((peer) => [peer.name, peer]));
  const names = new Set(after.map(({ name }) => name));
  const gone = new Map(
    before.filter(({ name }) => !names.has(name)).map((peer) => [renderPublicKey(peer.publicKey), peer]),
  );
  const changes = after.flatMap((peer): ConfigChange[] => {
    const path = ['peers', peer.name];
    const renamed = byName.has(peer.name) ? undefined : gone.get(renderPublicKey(peer.publicKey));
    const former = byName.get(peer.name) ?? renamed;
    if (former === undefined) return [change(path, [], summary(peer))];
    gone.delete(renderPublicKey(former.publicKey));
    return [
      ...(renamed === undefined ? [] : [change(path, [renamed.name], [peer.name])]),
      ...(isDeepStrictEqual(former, peer) ? [] : diffSection(path, PEER, former, peer)), // of thousands, most
      ...(isSecretOther(former, peer, hasOtherPresharedKey)
        ? [change([...path, 'preshared_key_file'], ['a preshared key'], ['another preshared key'])]
        : []),
    ];
  });
  const removed = [...gone.values()].map((peer) => change(['peers', peer.name], summary(peer), []));
  return [...removed, ...changes];
}

function isSecretOther(
  former: PeerConfig,
  peer: PeerConfig,
  hasOther: (peer: PeerConfig) => boolean,
): boolean {
  return former.presharedKeyFile !== null && peer.presharedKeyFile !== null && hasOther(peer);
}

/** A section that is not there says nothing. */
function diffSection<Section>(
  path: readonly string[],
  rows: readonly Row<Section>[],
  before: Section | null,
  after: Section | null,
): ConfigChange[] {
  const valuesOf = (row: Row<Section>, section: Section | null): readonly string[] =>
    section === null ? [] : row.values(section);
  return rows.flatMap((row) => {
    const [former, present] = [valuesOf(row, before), valuesOf(row, after)];
    if (former.length === present.length && former.every((value, i) => value === present[i])) return [];
    const removed = former.filter((value) => !present.includes(value));
    const added = present.filter((value) => !former.includes(value));
    const isOrder = removed.length === 0 && added.length === 0;
    const [from, to] = isOrder ? [former, present] : [removed, added];
    return [change([...path, row.key], from, to, row.needsRestart !== true)];
  });
}

function namesOf({ firewall }: NodeConfig): NamePolicy | null {
  return firewall?.names ?? null;
}

function summary(peer: PeerConfig): string[] {
  return PEER.flatMap(({ key, values }) => {
    const all = values(peer);
    return all.length === 0 ? [] : [`${key}: ${all.join(', ')}`];
  });
}

function change(
  path: readonly string[],
  removed: readonly string[],
  added: readonly string[],
  isLive = true,
): ConfigChange {
  return { path: renderPath(path), removed, added, isLive };
}

function keepaliveText(seconds: number): string {
  return seconds === 0 ? 'off' : String(seconds);
}
