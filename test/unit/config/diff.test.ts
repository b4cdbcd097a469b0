// What is different between two files of a node, key by key.

import { expect, test } from 'vitest';
import { type ConfigChange, diffConfigs } from '../../../src/config/diff.ts';
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
