// What a node has written into its own file, taken in: the peer, and what the policy says of it, and nothing else that the
// file may say by now.

import { readFileSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { diffConfigs } from '../../../src/config/diff.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { NodeConfig } from '../../../src/config/schema.ts';
import { withPeer, writePeer, writePeerKey } from '../../../src/node/config-file.ts';
import { ConfigFolder, INTERFACE, KEYS } from '../config/files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

const [ALICE = '', BOB = '', OTHER = ''] = KEYS;
const FILE = `${INTERFACE}peers:
  alice:
    public_key: ${ALICE}
    addresses: [10.9.0.2]
    profile: std
firewall:
  version: 1
  profiles: {std: {allow: [{to: self}]}}
`;

const bob = { public_key: BOB, addresses: ['10.9.0.3'], profile: 'std' };
const changesTo = (config: NodeConfig) =>
  diffConfigs(config, loadConfig(folder.file), () => false).map(({ path }) => path);
const inPolicy = ({ firewall }: NodeConfig) =>
  firewall?.policy.peers.map(({ name, publicKey, profile }) => [
    name,
    Buffer.from(publicKey).toString('base64'),
    profile,
  ]);

test('one more peer is in the policy as well, with its profile', async () => {
  const before = folder.load(FILE);
  const config = withPeer(before, await writePeer(before, 'bob', bob), 'bob');
  expect(changesTo(config)).toEqual([]);
  expect(inPolicy(config)).toEqual([
    ['alice', ALICE, 'std'],
    ['bob', BOB, 'std'],
  ]);
  expect(config.text.peers.get('bob')?.fields.profile).toBe('std');
});

test('another key of a peer is that of the policy, too', async () => {
  const before = folder.load(FILE);
  const config = withPeer(before, await writePeerKey(before, 'alice', 'public_key', OTHER), 'alice');
  expect(inPolicy(config)).toEqual([['alice', OTHER, 'std']]);
  expect(changesTo(config)).toEqual([]);
});

test('what its user has changed in the meantime waits for a reload', async () => {
  const before = folder.load(FILE);
  folder.load(FILE.replace('{to: self}', '{to: self, ports: [icmp]}').replace('10.9.0.2', '10.9.0.9'));
  const config = withPeer(before, await writePeer(before, 'bob', bob), 'bob');
  expect(changesTo(config)).toEqual(['peers.alice.addresses', 'firewall.profiles.std.allow[0].ports']);
  expect(config.firewall?.policy.profiles).toEqual(before.firewall?.policy.profiles);
});

test('a profile that is gone leaves the file as it was', async () => {
  const before = folder.load(FILE);
  const changed = FILE.replaceAll('std', 'staff');
  folder.load(changed);
  await expect(writePeer(before, 'bob', bob)).rejects.toThrow(/profile/);
  expect(readFileSync(folder.file, 'utf8')).toBe(changed);
});

test('without a firewall there is no policy to be in', async () => {
  const before = folder.load(INTERFACE);
  const { profile: _, ...plain } = bob;
  const config = withPeer(before, await writePeer(before, 'bob', plain), 'bob');
  expect(config.firewall).toBeNull();
  expect(changesTo(config)).toEqual([]);
});
