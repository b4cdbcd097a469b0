// What is different between two files of a node, key by key.

import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type ConfigChange, diffConfigs } from '../../../src/config/diff.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { ConfigFolder, INTERFACE, KEYS } from './files.ts';

const FILE = `${INTERFACE}  listen_port: 51820
peers:
  alice:
    public_key: ${KEYS[0]}
    addresses: [10.9.0.2]
    routes: [192.168.7.0/24, 192.168.8.0/24]
    endpoints: [vpn.example.org:51820]
  bob:
    public_key: ${KEYS[1]}
    addresses: [10.9.0.3]
metrics:
  listen: 127.0.0.1:9586
`;

function diff(change: (text: string) => string, hasOtherKey = false): readonly ConfigChange[] {
  using folder = new ConfigFolder();
  const before = folder.load(FILE);
  return diffConfigs(before, folder.load(change(FILE)), () => hasOtherKey);
}

test.each<[string, (text: string) => string, string, string[], string[], boolean]>([
  [
    'a value',
    (text) => text.replace('51820\n', '51821\n'),
    'interface.listen_port',
    ['51820'],
    ['51821'],
    true,
  ],
  ['a name', (text) => text.replace('rf0\n', 'rf1\n'), 'interface.name', ['rf0'], ['rf1'], false],
  [
    'an item of a list',
    (text) => text.replace('192.168.7.0/24', '10.0.0.0/8'),
    'peers.alice.routes',
    ['192.168.7.0/24'],
    ['10.0.0.0/8'],
    true,
  ],
  [
    'the order of a list',
    (text) => text.replace('192.168.7.0/24, 192.168.8.0/24', '192.168.8.0/24, 192.168.7.0/24'),
    'peers.alice.routes',
    ['192.168.7.0/24', '192.168.8.0/24'],
    ['192.168.8.0/24', '192.168.7.0/24'],
    true,
  ],
  [
    'a section that goes',
    (text) => text.replace(/metrics:[\s\S]*/, ''),
    'metrics.listen',
    ['http://127.0.0.1:9586'],
    [],
    true,
  ],
  ['a section that comes', (text) => `${text}logging: {level: warn}\n`, 'logging.level', [], ['warn'], true],
  ['another name for a peer', (text) => text.replace('bob:', 'carl:'), 'peers.carl', ['bob'], ['carl'], true],
  [
    'a peer that goes',
    (text) => text.replace(/ {2}bob:[\s\S]*(?=metrics)/, ''),
    'peers.bob',
    [`public_key: ${KEYS[1]}`, 'addresses: 10.9.0.3', 'keepalive: off'],
    [],
    true,
  ],
  [
    'a peer that comes',
    (text) => text.replace('metrics:', `  carol: {public_key: ${KEYS[2]}, addresses: [10.9.0.4]}\nmetrics:`),
    'peers.carol',
    [],
    [`public_key: ${KEYS[2]}`, 'addresses: 10.9.0.4', 'keepalive: off'],
    true,
  ],
])('%s', (_, change, path, removed, added, isLive) => {
  expect(diff(change)).toEqual([{ path, removed, added, isLive }]);
});

test('what says the same is no change: other words, comments, the order of peers', () => {
  const other = (text: string): string =>
    text.replace('[10.9.0.2]', '["10.9.0.2/32"] # alice').replace('10.9.0.1/24', '"10.9.0.1/24"');
  expect(diff(other)).toEqual([]);
  expect(diff((text) => `${text}logging: {}\n`, true)).toEqual([]);
});

test('the policy: each key on its own, rows by their number, wherever they stand', () => {
  using folder = new ConfigFolder();
  const policy = `services:
    files: {addr: 10.9.0.22, ports: [tcp/443]}
  profiles:
    std: {services: [files], allow: [{to: 10.5.0.0/24, ports: [tcp/22]}]}
`;
  const before = loadConfig(write(folder, `${FILE}firewall:\n  version: 1\n  ${policy}`));
  const other = policy.replace('tcp/443', 'tcp/443, tcp/80').replace('10.5.0.0/24', '10.6.0.0/24');
  const moved = `firewall:\n  version: 1\n  ${other}${FILE.replace('    addresses: [10.9.0.3]', '    addresses: [10.9.0.3]\n    profile: std')}`;
  const after = loadConfig(write(folder, moved));
  const paths = diffConfigs(before, after, () => false);
  expect(paths).toEqual([
    { path: 'firewall.services.files.ports', removed: [], added: ['tcp/80'], isLive: true },
    {
      path: 'firewall.profiles.std.allow[0].to',
      removed: ['10.5.0.0/24'],
      added: ['10.6.0.0/24'],
      isLive: true,
    },
    { path: 'peers.bob.profile', removed: [], added: ['std'], isLive: true },
  ]);
});

test('NAT, names and the host: each key that is different', () => {
  using folder = new ConfigFolder();
  const withFirewall = (text: string) =>
    loadConfig(write(folder, `${FILE}firewall:\n  version: 1\n${text}logging: {level: info}\n`));
  const before = withFirewall('  dns: {domain: cell}\n');
  const after = withFirewall(
    '  nat: {masquerade: [{from: overlay, out: non-overlay}]}\n  dns: {domain: home}\n  host: {backend: print}\n',
  );
  expect(diffConfigs(before, after, () => false)).toEqual([
    { path: 'firewall.nat.masquerade[0].from', removed: [], added: ['overlay'], isLive: true },
    { path: 'firewall.nat.masquerade[0].out', removed: [], added: ['non-overlay'], isLive: true },
    { path: 'firewall.dns.domain', removed: ['cell'], added: ['home'], isLive: true },
    { path: 'firewall.host.backend', removed: [], added: ['print'], isLive: true },
  ]);
});

function write(folder: ConfigFolder, text: string): string {
  writeFileSync(folder.file, text);
  return folder.file;
}
