// The secrets of a configuration, read apart from it: what holds them can wipe them, and the configuration can be shown.

import { basename } from 'node:path';
import { ConfigError, type Place, type Problem } from '../errors.ts';
import { wipe } from './key.ts';
import { readKeyFile } from './key-file.ts';
import { quote, renderPath } from './quote.ts';
import type { NodeConfig } from './schema.ts';

/** 32 bytes each. Whoever holds them calls `wipeSecrets` as soon as the core has its copy. */
export interface Secrets {
  readonly privateKey: Uint8Array;
  /** By the name of the peer; one without a preshared key is not in it. */
  readonly presharedKeys: ReadonlyMap<string, Uint8Array>;
}

/**
 * Reads the key files of a configuration. `loadConfig` has judged them already, so a `ConfigError` here means that one
 * changed since; nothing is left behind then.
 */
export function loadSecrets(config: NodeConfig): Secrets {
  const problems: Problem[] = [];
  const read = (file: string, path: string): Uint8Array => {
    const result = readKeyFile(file);
    if (result.ok) return result.key;
    const place: Place = config.places.get(path) ?? { file: config.file, line: 1, column: 1, path };
    const message = `key file ${quote(basename(file))}: ${result.problem}`;
    problems.push({ code: result.code, message, hint: result.hint, place });
    return new Uint8Array();
  };
  const privateKey = read(config.interface.privateKeyFile, 'interface.private_key_file');
  const presharedKeys = new Map<string, Uint8Array>();
  for (const { name, presharedKeyFile } of config.peers) {
    if (presharedKeyFile === null) continue;
    presharedKeys.set(name, read(presharedKeyFile, renderPath(['peers', name, 'preshared_key_file'])));
  }
  const secrets = { privateKey, presharedKeys };
  const [first, ...more] = problems;
  if (first === undefined) return secrets;
  wipeSecrets(secrets);
  throw new ConfigError([first, ...more]);
}

/** Overwrites them with zeros. */
export function wipeSecrets(secrets: Secrets): void {
  wipe(secrets.privateKey, ...secrets.presharedKeys.values());
}
