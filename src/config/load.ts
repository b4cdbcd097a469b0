// A configuration file → NodeConfig, or a ConfigError with every problem of the file at once.
//
//   file ──readSource──▶ text ──parseTree──▶ Tree ──readSection──▶ fields ──checkDraft──▶ NodeConfig

import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { Place } from '../errors.ts';
import type { Policy } from '../policy/model.ts';
import { checkDraft, type Draft, type PeerDraft } from './checks.ts';
import { type FileText, textOf } from './file-text.ts';
import { withIncluded } from './firewall/include.ts';
import { firewallOf } from './firewall/policy.ts';
import { firewallSchema } from './firewall/schema.ts';
import { checkShadows } from './firewall/shadows.ts';
import { publicKeyOf, wipe } from './key.ts';
import { type KeyFileResult, readKeyFile } from './key-file.ts';
import type { OFFLOAD_KEYS, Offload } from './offloads.ts';
import type { KnownLines } from './plain-yaml.ts';
import { quote } from './quote.ts';
import { type Path, Report } from './report.ts';
import {
  fileKeys,
  interfaceSchema,
  loggingSchema,
  type MetricsConfig,
  metricsSchema,
  type NodeConfig,
  type PeerConfig,
  peerNameSchema,
  peerSchema,
} from './schema.ts';
import { asMap, type Fields, ownText, readSection, readValue, reportUnknownKeys } from './section.ts';
import { readSource } from './source.ts';
import { offsetIn, parseTree, type Tree } from './tree.ts';

/**
 * Reads and judges a configuration, its key files too, of which it keeps only this node's public key.
 * All or nothing: a `ConfigError` lists everything that is wrong, in file order.
 * @param former what was loaded before: peers of whom the file says the same are not read again, which gives the same result
 */
export function loadConfig(file: string, former: NodeConfig | null = null): NodeConfig {
  const text = readSource(file);
  const report = new Report(file);
  const draft = readDraft(text, former?.text ?? null, report);
  checkDraft(draft, report);
  report.throwProblems();
  const known = knownPeers(draft, former);
  const config = configOf(draft, former, known, report);
  if (config.firewall !== null)
    checkShadows(config.firewall.policy, judgedBefore(known, config.firewall.policy), report);
  report.throwProblems();
  return config;
}

/** The peers of the former policy of whom the file says the same, under the same policy. */
function knownPeers({ root, peers }: Draft, former: NodeConfig | null): Policy['peers'] {
  if (former === null || former.firewall === null || former.text.firewall !== policyTextOf(root)) return [];
  const fields = new Map(peers.map((peer) => [peer.name, peer.fields]));
  return former.firewall.policy.peers.filter(
    ({ name }) => former.text.peers.get(name)?.fields === fields.get(name),
  );
}

/** Of those peers the ones that the very same lines say it of. */
function withSameLines(
  known: Policy['peers'],
  peers: Draft['peers'],
  former: NodeConfig | null,
): Policy['peers'] {
  const lines = new Map(peers.map((peer) => [peer.name, peer.lines]));
  return known.filter(({ name }) => {
    const before = former?.text.peers.get(name)?.lines ?? null;
    return before !== null && before === lines.get(name);
  });
}

/** Of those peers the ones whose rows are right still: rows that name a peer mean what that is now. */
function judgedBefore(known: Policy['peers'], { profiles }: Policy): ReadonlySet<string> {
  const namesPeer = ({ allow, deny }: Pick<Policy['peers'][number], 'allow' | 'deny'>): boolean =>
    [allow, deny].some((rows) => rows.some(({ to }) => to.kind === 'peer'));
  if (profiles.some(namesPeer)) return new Set();
  return new Set(known.filter((peer) => !namesPeer(peer)).map(({ name }) => name));
}

/** What the file says of the policy, beside its peers. */
function policyTextOf(root: Tree): string | null {
  const section = root.kind === 'map' ? root.entries.get('firewall') : undefined;
  return section === undefined ? null : textOf(section.value);
}

function linesOf(former: FileText | null): KnownLines {
  const lines = new Map<string, string>();
  for (const [name, peer] of former?.peers ?? []) if (peer.lines !== null) lines.set(name, peer.lines);
  return lines;
}

function readDraft(text: string, former: FileText | null, report: Report): Draft {
  const root = withIncluded(parseTree(text, report, [], linesOf(former)), report);
  const map = asMap(report, root, [], fileKeys);
  if (map === null) {
    return {
      root,
      interface: {},
      peers: [],
      metrics: undefined,
      logging: undefined,
      firewall: undefined,
      ownPublicKey: undefined,
    };
  }
  reportUnknownKeys(report, map, [], fileKeys);
  const section = map.entries.get('interface');
  if (section === undefined) {
    report.add('ERR_CONFIG_MISSING_KEY', root.offset, ['interface'], 'this section is missing');
  }
  const fields =
    section === undefined
      ? {}
      : readSection(report, interfaceSchema, section.value, section.offset, ['interface']);
  const peers = readPeers(root, former, report);
  const served = map.entries.get('metrics');
  const metrics = served && readSection(report, metricsSchema, served.value, served.offset, ['metrics']);
  const logged = map.entries.get('logging');
  const logging = logged && readSection(report, loggingSchema, logged.value, logged.offset, ['logging']);
  const policy = map.entries.get('firewall');
  const firewall = policy && readSection(report, firewallSchema, policy.value, policy.offset, ['firewall']);
  const ownPublicKey = readKeyFiles(root, fields.private_key_file, peers, report);
  return { root, interface: fields, peers, metrics, logging, firewall, ownPublicKey };
}

/** A section `peers` that is missing or empty is a node that has none yet. */
function readPeers(root: Tree, former: FileText | null, report: Report): PeerDraft[] {
  const section = root.kind === 'map' ? root.entries.get('peers')?.value : undefined;
  if (section === undefined || (section.kind === 'scalar' && section.value === null)) return [];
  const map = asMap(report, section, ['peers'], ['the names of the peers']);
  return [...(map?.entries ?? [])].map(([key, { offset, value, lines = null }]) => {
    const name = ownText(key);
    const known = former?.peers.get(name);
    const text = known !== undefined && lines !== null && known.lines === lines ? known.text : textOf(value);
    if (known?.text === text) return { name, lines, text, fields: known.fields };
    const path = ['peers', name];
    readValue(report, peerNameSchema, { kind: 'scalar', offset, value: name }, path);
    return { name, lines, text, fields: readSection(report, peerSchema, value, offset, path) };
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
function configOf(
  draft: Draft,
  former: NodeConfig | null,
  known: Policy['peers'],
  report: Report,
): NodeConfig {
  const folder = dirname(report.file);
  const { name, private_key_file, addresses, listen_port, mtu, table, offloads } = complete(draft.interface);
  const { publicKey } = complete({ publicKey: draft.ownPublicKey });
  const peers = draft.peers.map((peer) => ({ ...peer, fields: completeSection(peerSchema, peer.fields) }));
  return {
    file: report.file,
    interface: {
      name,
      privateKeyFile: resolve(folder, private_key_file),
      publicKey,
      addresses,
      listenPort: listen_port,
      mtu,
      table,
      offloads: offloadsOf(complete(offloads)),
    },
    peers: peersOf(peers, folder, former),
    metrics: draft.metrics === undefined ? null : metricsOf(folder, complete(draft.metrics)),
    logging: { level: draft.logging?.level ?? null },
    firewall:
      draft.firewall === undefined
        ? null
        : firewallOf({
            root: draft.root,
            report,
            section: completeSection(firewallSchema, draft.firewall),
            peers,
            known: new Map(withSameLines(known, draft.peers, former).map((peer) => [peer.name, peer])),
            addresses,
            interface: name,
            listenPort: listen_port,
          }),
    text: {
      firewall: policyTextOf(draft.root),
      peers: new Map(peers.map(({ name, ...said }) => [name, said])),
    },
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

interface CompletePeer {
  readonly name: string;
  readonly fields: z.output<typeof peerSchema>;
}

/** What is as before is the same object: a difference has not to look into it. */
function peersOf(peers: readonly CompletePeer[], folder: string, former: NodeConfig | null): PeerConfig[] {
  const isSameFolder = former !== null && resolve(dirname(former.file)) === resolve(folder);
  const known = new Map(isSameFolder ? former.peers.map((peer) => [peer.name, peer]) : []);
  return peers.map((peer) => {
    const isAsBefore = former?.text.peers.get(peer.name)?.fields === peer.fields;
    return (isAsBefore ? known.get(peer.name) : undefined) ?? peerOf(folder, peer);
  });
}

function peerOf(folder: string, { name, fields }: CompletePeer): PeerConfig {
  const { public_key, preshared_key_file, addresses, routes, metric, endpoints, keepalive } = fields;
  return {
    name,
    publicKey: public_key,
    presharedKeyFile: preshared_key_file === undefined ? null : resolve(folder, preshared_key_file),
    addresses,
    routes,
    metric: metric ?? null,
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

/** The same for a section with keys that may be missing. */
function completeSection<S extends z.ZodObject<z.core.$ZodShape>>(schema: S, fields: Fields<S>): z.output<S> {
  const values: Readonly<Record<string, unknown>> = fields;
  for (const key in schema.shape) {
    if (values[key] === undefined && !(schema.shape[key] instanceof z.ZodOptional))
      complete({ [key]: undefined });
  }
  return fields as z.output<S>;
}

function placesOf(draft: Draft, report: Report): Map<string, Place> {
  const places = new Map<string, Place>();
  const note = (path: Path): void => {
    const place = report.place(offsetIn(draft.root, path), path);
    places.set(place.path, place);
  };
  for (const key of ['name', 'private_key_file', 'listen_port', 'offloads']) note(['interface', key]);
  if (draft.metrics !== undefined) note(['metrics', 'listen']);
  for (const { name, fields } of draft.peers) {
    note(['peers', name]);
    if (fields.preshared_key_file !== undefined) note(['peers', name, 'preshared_key_file']);
  }
  return places;
}
