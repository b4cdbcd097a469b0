// A configuration file → NodeConfig, or a ConfigError with every problem of the file at once.
//
//   file ──readSource──▶ text ──parseTree──▶ Tree ──readSection──▶ fields ──checkDraft──▶ NodeConfig

import { dirname, resolve } from 'node:path';
import type { Place } from '../errors.ts';
import { checkDraft, type Draft, type PeerDraft } from './checks.ts';
import { publicKeyOf, wipe } from './key.ts';
import { type KeyFileResult, readKeyFile } from './key-file.ts';
import { quote, renderPath } from './quote.ts';
import {
  fileKeys,
  interfaceSchema,
  type NodeConfig,
  type PeerConfig,
  peerNameSchema,
  peerSchema,
} from './schema.ts';
import { asMap, readSection, readValue, reportUnknownKeys } from './section.ts';
import { readSource } from './source.ts';
import { Locator, type Path, parseTree, positionIn, type Tree } from './yaml-tree.ts';

/**
 * Reads and judges a configuration, its key files too, of which it keeps only this node's public key.
 * All or nothing: a `ConfigError` lists everything that is wrong, in file order.
 */
export function loadConfig(file: string): NodeConfig {
  const text = readSource(file);
  const locator = new Locator(file);
  const draft = readDraft(text, locator);
  checkDraft(draft, locator);
  locator.throwProblems();
  return configOf(file, draft);
}

function readDraft(text: string, locator: Locator): Draft {
  const root = parseTree(text, locator);
  const map = asMap(locator, root, [], fileKeys);
  if (map === null) return { root, interface: {}, peers: [], ownPublicKey: undefined };
  reportUnknownKeys(locator, map, [], fileKeys);
  const section = map.entries.get('interface');
  if (section === undefined) {
    locator.report('ERR_CONFIG_MISSING_KEY', root.at, ['interface'], 'this section is missing');
  }
  const fields =
    section === undefined
      ? {}
      : readSection(locator, interfaceSchema, section.value, section.at, ['interface']);
  const peers = readPeers(root, locator);
  const ownPublicKey = readKeyFiles(root, fields.private_key_file, peers, locator);
  return { root, interface: fields, peers, ownPublicKey };
}

/** A section `peers` that is missing or empty is a node that has none yet. */
function readPeers(root: Tree, locator: Locator): PeerDraft[] {
  const section = root.kind === 'map' ? root.entries.get('peers')?.value : undefined;
  if (section === undefined || (section.kind === 'scalar' && section.value === null)) return [];
  const map = asMap(locator, section, ['peers'], ['the names of the peers']);
  return [...(map?.entries ?? [])].map(([name, { at, value }]) => {
    const path = ['peers', name];
    readValue(locator, peerNameSchema, { kind: 'scalar', at, value: name }, path);
    return { name, fields: readSection(locator, peerSchema, value, at, path) };
  });
}

/** Judges every key file. What it gives is this node's public key; the keys themselves are gone when it returns. */
function readKeyFiles(
  root: Tree,
  privateKeyFile: string | undefined,
  peers: readonly PeerDraft[],
  locator: Locator,
): Uint8Array | undefined {
  const read = (name: string, path: Path): KeyFileResult => {
    const result = readKeyFile(resolve(dirname(locator.file), name));
    if (!result.ok) {
      const message = `key file ${quote(name)}: ${result.problem}`;
      locator.report(result.code, positionIn(root, path), path, message, result.hint);
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

/** Only for a draft without problems, in which nothing is missing. */
function configOf(file: string, draft: Draft): NodeConfig {
  const { name, private_key_file, addresses, listen_port, mtu } = draft.interface;
  const { ownPublicKey } = draft;
  if (
    name === undefined ||
    private_key_file === undefined ||
    addresses === undefined ||
    listen_port === undefined ||
    mtu === undefined ||
    ownPublicKey === undefined
  ) {
    throw new TypeError('a key of the interface is missing, and no problem was reported');
  }
  const folder = dirname(file);
  return {
    file,
    interface: {
      name,
      privateKeyFile: resolve(folder, private_key_file),
      publicKey: ownPublicKey,
      addresses,
      listenPort: listen_port,
      mtu,
    },
    peers: draft.peers.map((peer) => peerOf(folder, peer)),
    places: placesOf(file, draft),
  };
}

function peerOf(folder: string, { name, fields }: PeerDraft): PeerConfig {
  const { public_key, preshared_key_file, addresses, routes, endpoints, keepalive } = fields;
  if (
    public_key === undefined ||
    addresses === undefined ||
    routes === undefined ||
    endpoints === undefined ||
    keepalive === undefined
  ) {
    throw new TypeError('a key of a peer is missing, and no problem was reported');
  }
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

function placesOf(file: string, draft: Draft): Map<string, Place> {
  const places = new Map<string, Place>();
  const note = (path: Path): void => {
    const text = renderPath(path);
    places.set(text, { file, ...positionIn(draft.root, path), path: text });
  };
  note(['interface', 'private_key_file']);
  for (const { name, fields } of draft.peers) {
    note(['peers', name]);
    if (fields.preshared_key_file !== undefined) note(['peers', name, 'preshared_key_file']);
  }
  return places;
}
