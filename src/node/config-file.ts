// The user's configuration file, changed by the node itself: a peer that joined, a key that was rotated. What is written is
// loaded first, and takes the place of the file whole.

import { realpathSync, statSync } from 'node:fs';
import { addPeer, type NewPeer, setPeerKey } from '../config/edit.ts';
import type { FirewallConfig } from '../config/firewall/schema.ts';
import { loadConfig } from '../config/load.ts';
import type { NodeConfig } from '../config/schema.ts';
import { readSource } from '../config/source.ts';
import { NodeError } from '../errors.ts';
import { replaceFile } from './replace-file.ts';

/** Adds a peer to the file, and gives what the file says now. @throws ConfigError, or what the file system says */
export async function writePeer(config: NodeConfig, name: string, peer: NewPeer): Promise<NodeConfig> {
  return await edit(config, name, (text) => addPeer(text, name, peer));
}

/** Changes a key of a peer in the file, and gives what the file says now. */
export async function writePeerKey(
  config: NodeConfig,
  name: string,
  key: 'public_key' | 'preshared_key_file',
  value: string,
): Promise<NodeConfig> {
  return await edit(config, name, (text) => setPeerKey(text, name, key, value));
}

async function edit(config: NodeConfig, name: string, change: (text: string) => string): Promise<NodeConfig> {
  const file = realpathSync(config.file); // a link stays one
  let written: NodeConfig | undefined;
  await replaceFile(file, change(readSource(file)), {
    mode: statSync(file).mode & 0o777,
    check: (path) => {
      written = loadConfig(path, config);
    },
  });
  if (written?.peers.some((peer) => peer.name === name) !== true)
    throw new NodeError('ERR_INTERNAL', `${file} has no peer ${name} after it was written`);
  return written;
}

/**
 * The configuration with a peer, and what the policy says of it, as `written` has them: in the place of those of its name,
 * or behind the others. The rest of the file may have changed since the node read it: that is left for a reload.
 */
export function withPeer(config: NodeConfig, written: NodeConfig, name: string): NodeConfig {
  const text = written.text.peers.get(name);
  return {
    ...config,
    peers: withNamed(config.peers, written.peers, name),
    firewall: config.firewall && withPolicyPeer(config.firewall, written.firewall, name),
    text:
      text === undefined
        ? config.text
        : { ...config.text, peers: new Map(config.text.peers).set(name, text) },
  };
}

function withPolicyPeer(
  firewall: FirewallConfig,
  written: FirewallConfig | null,
  name: string,
): FirewallConfig {
  const peers = withNamed(firewall.policy.peers, written?.policy.peers ?? [], name);
  return { ...firewall, policy: { ...firewall.policy, peers } };
}

function withNamed<T extends { readonly name: string }>(
  list: readonly T[],
  written: readonly T[],
  name: string,
): readonly T[] {
  const item = written.find((one) => one.name === name);
  if (item === undefined) return list;
  const isKnown = list.some((one) => one.name === name);
  return isKnown ? list.map((one) => (one.name === name ? item : one)) : [...list, item];
}
