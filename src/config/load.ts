// A configuration file → NodeConfig, or a ConfigError with every problem of the file at once.
//
//   file ──readSource──▶ text ──parseTree──▶ Tree ──readSection──▶ fields ──checkDraft──▶ NodeConfig

import { dirname, resolve } from 'node:path';
import type { Place } from '../errors.ts';
import { checkDraft, type Draft, type PeerDraft } from './checks.ts';
import { publicKeyOf, wipe } from './key.ts';
import { type KeyFileResult, readKeyFile } from './key-file.ts';
import type { OFFLOAD_KEYS, Offload } from './offloads.ts';
import { quote } from './quote.ts';
import { type Path, Report } from './report.ts';
import {
  fileKeys,
  interfaceSchema,
  type MetricsConfig,
  metricsSchema,
  type NodeConfig,
  type PeerConfig,
  peerNameSchema,
  peerSchema,
} from './schema.ts';
import { asMap, readSection, readValue, reportUnknownKeys } from './section.ts';
import { readSource } from './source.ts';
import { offsetIn, parseTree, type Tree } from './tree.ts';

/**
 * Reads and judges a configuration, its key files too, of which it keeps only this node's public key.
 * All or nothing: a `ConfigError` lists everything that is wrong, in file order.
 */
export function loadConfig(file: string): NodeConfig {
  const text = readSource(file);
  const report = new Report(file);
  const draft = readDraft(text, report);
  checkDraft(draft, report);
  report.throwProblems();
  return configOf(draft, report);
}

function readDraft(text: string, report: Report): Draft {
  const root = parseTree(text, report);
  const map = asMap(report, root, [], fileKeys);
  if (map === null) return { root, interface: {}, peers: [], metrics: undefined, ownPublicKey: undefined };
  reportUnknownKeys(report, map, [], fileKeys);
  const section = map.entries.get('interface');
  if (section === undefined) {
    report.add('ERR_CONFIG_MISSING_KEY', root.offset, ['interface'], 'this section is missing');
  }
  const fields =
    section === undefined
      ? {}
      : readSection(report, interfaceSchema, section.value, section.offset, ['interface']);
  const peers = readPeers(root, report);
  const served = map.entries.get('metrics');
  const metrics = served && readSection(report, metricsSchema, served.value, served.offset, ['metrics']);
  const ownPublicKey = readKeyFiles(root, fields.private_key_file, peers, report);
  return { root, interface: fields, peers, metrics, ownPublicKey };
}

/** A section `peers` that is missing or empty is a node that has none yet. */
function readPeers(root: Tree, report: Report): PeerDraft[] {
  const section = root.kind === 'map' ? root.entries.get('peers')?.value : undefined;
  if (section === undefined || (section.kind === 'scalar' && section.value === null)) return [];
  const map = asMap(report, section, ['peers'], ['the names of the peers']);
  return [...(map?.entries ?? [])].map(([name, { offset, value }]) => {
    const path = ['peers', name];
    readValue(report, peerNameSchema, { kind: 'scalar', offset, value: name }, path);
    return { name, fields: readSection(report, peerSchema, value, offset, path) };
  });
}

/** Judges every key file. What it gives is this node's public key; the keys themselves are gone when it returns. */
function readKeyFiles(
  root: Tree,
  privateKeyFile: string | undefined,
  peers: readonly PeerDraft[],
  report: Report,
): Uint8Array | undefined {
  const read = (name: string, path: Path): KeyFileResult => {
    const result = readKeyFile(resolve(dirname(report.file), name));
    if (!result.ok) {
      const message = `key file ${quote(name)}: ${result.problem}`;
      report.add(result.code, offsetIn(root, path), path, message, result.hint);
    }
    return result;
  };
  for (const { name, fields } of peers) {
    if (fields.preshared_key_file === undefined) continue;
    const result = read(fields.preshared_key_file, ['peers', name, 'preshared_key_file']);
    if (result.ok) wipe(result.key);
  }
  if (privateKeyFile === undefined) return undefined;
  const result = read(privateKeyFile, ['interface', 'private_key_file']);
  if (!result.ok) return undefined;
  try {
    return publicKeyOf(result.key);
  } finally {
    wipe(result.key);
  }
}

/** Only for a draft that has no problems. */
function configOf(draft: Draft, report: Report): NodeConfig {
  const folder = dirname(report.file);
  const { name, private_key_file, addresses, listen_port, mtu, offloads } = complete(draft.interface);
  const { publicKey } = complete({ publicKey: draft.ownPublicKey });
  return {
    file: report.file,
    interface: {
      name,
      privateKeyFile: resolve(folder, private_key_file),
      publicKey,
      addresses,
      listenPort: listen_port,
      mtu,
      offloads: offloadsOf(complete(offloads)),
    },
    peers: draft.peers.map((peer) => peerOf(folder, peer)),
    metrics: draft.metrics === undefined ? null : metricsOf(folder, complete(draft.metrics)),
    places: placesOf(draft, report),
  };
}

function offloadsOf(
  fields: Readonly<Record<(typeof OFFLOAD_KEYS)[Offload], boolean>>,
): Readonly<Record<Offload, boolean>> {
  const { udp_gso, udp_gro, tun_tcp, tun_udp } = fields;
  return { udpGso: udp_gso, udpGro: udp_gro, tunTcp: tun_tcp, tunUdp: tun_udp };
}

function metricsOf(folder: string, { listen, hosts }: MetricsConfig): MetricsConfig {
  return {
    hosts,
    listen: listen.kind === 'path' ? { ...listen, path: resolve(folder, listen.path) } : listen,
  };
}

function peerOf(folder: string, { name, fields }: PeerDraft): PeerConfig {
  const { preshared_key_file, ...rest } = fields;
  const { public_key, addresses, routes, endpoints, keepalive } = complete(rest);
  return {
    name,
    publicKey: public_key,
    presharedKeyFile: preshared_key_file === undefined ? null : resolve(folder, preshared_key_file),
    addresses,
    routes,
    endpoints,
    keepaliveSeconds: keepalive,
  };
}

/** INVARIANT: `readSection` and `readKeyFiles` leave something out only after a report, which ended the loading. */
function complete<T extends object>(fields: T): { [K in keyof T]-?: Exclude<T[K], undefined> } {
  const missing = Object.entries(fields).find(([, value]) => value === undefined);
  if (missing !== undefined) throw new TypeError(`${missing[0]} is missing, and no problem was reported`);
  return fields as { [K in keyof T]-?: Exclude<T[K], undefined> };
}

function placesOf(draft: Draft, report: Report): Map<string, Place> {
  const places = new Map<string, Place>();
  const note = (path: Path): void => {
    const place = report.place(offsetIn(draft.root, path), path);
    places.set(place.path, place);
  };
  note(['interface', 'private_key_file']);
  if (draft.interface.listen_port !== undefined) note(['interface', 'listen_port']);
  for (const { name, fields } of draft.peers) {
    note(['peers', name]);
    if (fields.preshared_key_file !== undefined) note(['peers', name, 'preshared_key_file']);
  }
  return places;
}
