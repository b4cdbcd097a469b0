// The user's configuration file, changed by the node itself: a peer that joined, a key that was rotated. What is written is
// loaded first, and takes the place of the file whole.

import { realpathSync, statSync } from 'node:fs';
import { addPeer, type NewPeer, setPeerKey } from '../config/edit.ts';
import { loadConfig } from '../config/load.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import { readSource } from '../config/source.ts';
import { NodeError } from '../errors.ts';
import { replaceFile } from './replace-file.ts';

/** Adds a peer to the file, and gives it as the file has it now. @throws ConfigError, or what the file system says */
export async function writePeer(config: NodeConfig, name: string, peer: NewPeer): Promise<PeerConfig> {
  return await edit(config, name, (text) => addPeer(text, name, peer));
}

/** Changes a key of a peer in the file, and gives the peer as the file has it now. */
export async function writePeerKey(
  config: NodeConfig,
  name: string,
  key: 'public_key' | 'preshared_key_file',
  value: string,
): Promise<PeerConfig> {
  return await edit(config, name, (text) => setPeerKey(text, name, key, value));
}

/** The rest of the file may have changed since the node read it: that is left for a reload. */
async function edit(config: NodeConfig, name: string, change: (text: string) => string): Promise<PeerConfig> {
  const file = realpathSync(config.file); // a link stays one
  let written: NodeConfig | undefined;
  await replaceFile(file, change(readSource(file)), {
    mode: statSync(file).mode & 0o777,
    check: (path) => {
      written = loadConfig(path);
    },
  });
  const peer = written?.peers.find((one) => one.name === name);
  if (peer === undefined)
    throw new NodeError('ERR_INTERNAL', `${file} has no peer ${name} after it was written`);
  return peer;
}

/** The configuration with a peer in the place of the one of its name, or behind the others. */
export function withPeer(config: NodeConfig, peer: PeerConfig): NodeConfig {
  const isKnown = config.peers.some(({ name }) => name === peer.name);
  const peers = isKnown
    ? config.peers.map((one) => (one.name === peer.name ? peer : one))
    : [...config.peers, peer];
  return { ...config, peers };
}
