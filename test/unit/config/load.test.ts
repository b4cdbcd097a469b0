// A file becomes a NodeConfig, or every problem it has, each with the line and column where a user finds it.

import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { renderEndpoint } from '../../../src/address/endpoint.ts';
import { renderIp } from '../../../src/address/ip.ts';
import { renderInterface, renderPrefix } from '../../../src/address/prefix.ts';
import { generatePresharedKey, renderPublicKey } from '../../../src/config/key.ts';
import { writeKeyFile } from '../../../src/config/key-file.ts';
import { ConfigFolder, INTERFACE, KEYS, PEER } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

describe('what a good file means', () => {
  test('every key', () => {
    writeKeyFile(join(folder.path, 'alice.psk'), generatePresharedKey());
    const config = folder.load(`interface:
  name: rf0
  private_key_file: rf0.key
  addresses: [10.9.0.1/24, "fd09::1/64"]
  listen_port: 51820
  mtu: 1380
peers:
  alice:
    public_key: ${KEYS[0]}
    preshared_key_file: alice.psk
    addresses: [10.9.0.2, "fd09::2", 10.9.0.3/32]
    routes: [192.168.7.0/24, "2001:db8::/32"]
    endpoints: ["[2001:db8:1::1]:51820"]
    keepalive: 25
`);
    expect(config.file).toBe(folder.file);
    expect(config.interface).toMatchObject({
      name: 'rf0',
      privateKeyFile: join(folder.path, 'rf0.key'),
      listenPort: 51_820,
      mtu: 1380,
    });
    expect(renderPublicKey(config.interface.publicKey)).toBe(folder.publicKey);
    expect(config.interface.addresses.map(renderInterface)).toEqual(['10.9.0.1/24', 'fd09::1/64']);
    const [alice] = config.peers;
    expect(config.peers).toHaveLength(1);
    expect(alice).toMatchObject({
      name: 'alice',
      presharedKeyFile: join(folder.path, 'alice.psk'),
      keepaliveSeconds: 25,
    });
    expect(renderPublicKey(alice?.publicKey ?? new Uint8Array())).toBe(KEYS[0]);
    expect(alice?.addresses.map(renderIp)).toEqual(['10.9.0.2', 'fd09::2', '10.9.0.3']);
    expect(alice?.routes.map(renderPrefix)).toEqual(['192.168.7.0/24', '2001:db8::/32']);
    expect(alice?.endpoints.map(renderEndpoint)).toEqual(['[2001:db8:1::1]:51820']);
    expect(config.places.get('peers.alice')).toEqual({
      file: folder.file,
      line: 8,
      column: 3,
      path: 'peers.alice',
    });
    expect(config.places.get('peers.alice.preshared_key_file')).toMatchObject({ line: 10, column: 25 });
  });

  test('the least: what is not said has a default', () => {
    const config = folder.load(`${PEER}    addresses: [10.9.0.2]\n`);
    expect(config.interface).toMatchObject({
      listenPort: 0,
      mtu: 'auto',
      offloads: { udpGso: true, udpGro: true, tunTcp: true, tunUdp: true },
    });
    expect(config.peers[0]).toMatchObject({
      presharedKeyFile: null,
      routes: [],
      endpoints: [],
      keepaliveSeconds: 0,
    });
  });

  test.each([
    ['127.0.0.1:9586', { kind: 'address', zone: null, port: 9586 }],
    ['"[::1]:9586"', { kind: 'address', zone: null, port: 9586 }],
    ['10.9.0.1:9586', { kind: 'address', zone: null, port: 9586 }],
    ['/run/ringfence/metrics.sock', { kind: 'path', path: '/run/ringfence/metrics.sock' }],
    ['./metrics.sock', { kind: 'path', path: join(folder.path, 'metrics.sock') }],
  ])('metrics at %s', (listen, expected) => {
    const { metrics } = folder.load(`${INTERFACE}metrics: {listen: ${listen}, hosts: [node.example.org]}\n`);
    expect(metrics).toMatchObject({ listen: expected, hosts: ['node.example.org'] });
  });

  test('no metrics where none are asked for', () => expect(folder.load(INTERFACE).metrics).toBeNull());

  test('an offload that is off, the others stay on', () => {
    const { offloads } = folder.load(`${INTERFACE}  offloads: {tun_udp: false, udp_gro: false}\n`).interface;
    expect(offloads).toEqual({ udpGso: true, udpGro: false, tunTcp: true, tunUdp: false });
  });

  test.each([
    ['no peers', INTERFACE],
    ['peers all commented out', `${INTERFACE}peers:\n  # alice:\n`],
    ['CRLF line ends', `${PEER}    addresses: [10.9.0.2]\n`.replaceAll('\n', '\r\n')],
    ['a byte order mark', `\u{feff}${INTERFACE}`],
    [
      'JSON, which is YAML',
      '{"interface":{"name":"rf0","private_key_file":"rf0.key","addresses":["10.9.0.1/24"]}}',
    ],
    ['a document marker', `---\n${INTERFACE}...\n`],
    ['keepalive: off', `${PEER}    addresses: [10.9.0.2]\n    keepalive: off\n`],
    ['keepalive: 0', `${PEER}    addresses: [10.9.0.2]\n    keepalive: 0\n`],
    [
      'YAML 1.1, where off would be false',
      `%YAML 1.1\n---\n${PEER}    addresses: [10.9.0.2]\n    keepalive: off\n`,
    ],
    ['the least and the most', `${INTERFACE}  listen_port: 65535\n  mtu: 576\n`],
    ['the greatest MTU', `${INTERFACE}  listen_port: 0\n  mtu: 65455\n`],
    [
      'an anchor and its alias',
      `${PEER}    addresses: [10.9.0.2]\n    keepalive: &k 25\n  bob: {public_key: "${KEYS[1]}", routes: [10.1.0.0/16], keepalive: *k}\n`,
    ],
    ['a route that holds our own network', `${PEER}    routes: [10.0.0.0/8]\n`],
    ['a route that is our own network', `${PEER}    routes: [10.9.0.0/24]\n`],
  ])('%s', (_, text) => expect(() => folder.load(text)).not.toThrow());

  test('peers whose names look like other things keep them, in file order', () => {
    const peer = (name: string, i: number): string =>
      `  ${name}:\n    public_key: ${KEYS[i]}\n    addresses: [10.9.0.${i + 2}]\n`;
    const config = folder.load(`${INTERFACE}peers:\n${['42', 'true', 'a.b'].map(peer).join('')}`);
    expect(config.peers.map(({ name }) => name)).toEqual(['42', 'true', 'a.b']);
  });
});

test('every problem of a file comes at once, in file order', () => {
  const text = `peers:
  alice:
    public_key: short
    addresses: [10.9.0.2, 10.9.0]
    colour: red
  bob: 5
  alice:
    public_key: ${KEYS[1]}
interface:
  name: rf0
  addresses: [10.9.0.1/24]
  mtu: 1
wireguard: {}
`;
  expect(folder.problems(text).map((line) => line.replace(/: .*\(/, ' ('))).toEqual([
    '3:17 (ERR_CONFIG_KEY)',
    '4:27 (ERR_CONFIG_ADDRESS)',
    '5:5 (ERR_CONFIG_UNKNOWN_KEY)',
    '6:8 (ERR_CONFIG_TYPE)',
    '7:3 (ERR_CONFIG_DUPLICATE_KEY)',
    '9:1 (ERR_CONFIG_MISSING_KEY)',
    '12:8 (ERR_CONFIG_MTU)',
    '13:1 (ERR_CONFIG_UNKNOWN_KEY)',
  ]);
});

test('what is missing is named where its section begins', () => {
  expect(folder.problems('interface: {}\n')).toEqual([
    '1:1: interface.name: this key is missing; it takes an interface name: 1 to 15 letters, digits or any of _ = + . - (ERR_CONFIG_MISSING_KEY)',
    '1:1: interface.private_key_file: this key is missing; it takes the name of a file (ERR_CONFIG_MISSING_KEY)',
    '1:1: interface.addresses: this key is missing; it takes a list, as in [10.9.0.1/24] (ERR_CONFIG_MISSING_KEY)',
  ]);
  expect(folder.problems(`${INTERFACE}peers:\n  alice: {addresses: [10.9.0.2]}\n`)).toEqual([
    '6:3: peers.alice.public_key: this key is missing; it takes a public key (ERR_CONFIG_MISSING_KEY)',
  ]);
  expect(folder.problems(`${INTERFACE}peers:\n  alice:\n`)).toEqual([
    '6:9: peers.alice: the section is empty; it has the keys public_key, preshared_key_file, addresses, routes, metric, endpoints, keepalive, profile, allow, deny, reachable_from, route_via (ERR_CONFIG_TYPE)',
  ]);
  expect(folder.problems('peers: {}\n')).toEqual([
    '1:1: interface: this section is missing (ERR_CONFIG_MISSING_KEY)',
  ]);
});

test('hints say what to do', () => {
  const hintOf = (text: string): string | undefined => folder.refusal(text).hint;
  expect(hintOf(`${INTERFACE}  listen_port: "51820"\n`)).toBe('write it without quotes');
  expect(hintOf(INTERFACE.replace('rf0\n', '7\n'))).toBe('write it in quotes');
  expect(hintOf(`${PEER}    addresses: [fd09::]\n`)).toBe('a value with colons may need quotes');
  expect(hintOf(`${PEER}    addresses: [10.9.0.2]\n    AllowedIPs: x\n`)).toBe(
    'the addresses of the peer go under addresses, the networks behind it under routes',
  );
  expect(hintOf(`${INTERFACE}  private_key: x\n`)).toBe(
    'a key stands in a file of its own, which private_key_file names',
  );
  expect(hintOf(`interface:\n\tname: rf0\n`)).toBe('indent with spaces');
});
