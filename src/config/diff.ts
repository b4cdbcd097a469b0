// Two configurations of one node → what is different, key by key, for whoever is to read it or to apply it. Pure: what is in
// key files is the caller's to compare.

import { isDeepStrictEqual } from 'node:util';
import { renderEndpoint } from '../address/endpoint.ts';
import { renderIp } from '../address/ip.ts';
import { renderInterface, renderPrefix } from '../address/prefix.ts';
import { type FileText, policyKeys } from './file-text.ts';
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
    ...diffPolicy(before.text, after.text),
  ];
}

/** The keys that are gone come first. */
function diffPolicy(before: FileText, after: FileText): ConfigChange[] {
  const [former, present] = [policyKeys(before, after), policyKeys(after, before)];
  const gone = [...former].filter(([path]) => !present.has(path));
  return [
    ...gone.map(([path, values]) => ({ path, removed: values, added: [], isLive: true })),
    ...[...present].flatMap(([path, values]) => diffValues(path, former.get(path) ?? [], values)),
  ];
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
    return diffValues(renderPath([...path, row.key]), former, present, row.needsRestart !== true);
  });
}

/** What both have is left out, unless all that is different is the order. */
function diffValues(
  path: string,
  before: readonly string[],
  after: readonly string[],
  isLive = true,
): ConfigChange[] {
  if (before.length === after.length && before.every((value, i) => value === after[i])) return [];
  const removed = before.filter((value) => !after.includes(value));
  const added = after.filter((value) => !before.includes(value));
  const isOrder = removed.length === 0 && added.length === 0;
  return [{ path, removed: isOrder ? before : removed, added: isOrder ? after : added, isLive }];
}

function summary(peer: PeerConfig): string[] {
  return PEER.flatMap(({ key, values }) => {
    const all = values(peer);
    return all.length === 0 ? [] : [`${key}: ${all.join(', ')}`];
  });
}

function change(path: readonly string[], removed: readonly string[], added: readonly string[]): ConfigChange {
  return { path: renderPath(path), removed, added, isLive: true };
}

function keepaliveText(seconds: number): string {
  return seconds === 0 ? 'off' : String(seconds);
}
