// wg-quick files: what wg(8) and wg-quick(8) take is taken, and what they would choke on is named by its place.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { renderEndpoint } from '../../../src/address/endpoint.ts';
import { renderIp } from '../../../src/address/ip.ts';
import { renderInterface, renderPrefix } from '../../../src/address/prefix.ts';
import { loadQuickConfig, type QuickConfig, wipeQuickConfig } from '../../../src/config/wg-quick.ts';
import { ConfigError } from '../../../src/errors.ts';
import { KEYS } from './files.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringfence-quick-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const [KEY = '', OTHER = ''] = KEYS;

function load(text: string | Uint8Array, name = 'wg0.conf'): QuickConfig {
  const file = join(folder, name);
  writeFileSync(file, text);
  return loadQuickConfig(file);
}

function problems(text: string | Uint8Array, name = 'wg0.conf'): string[] {
  try {
    load(text, name);
  } catch (error) {
    if (error instanceof ConfigError)
      return error.message.replaceAll(`${join(folder, name)}:`, '').split('\n');
    throw error;
  }
  throw new Error('the file is fine');
}

test('every key, in any case, with comments, lists by comma and by repetition', () => {
  const config = load(`# my tunnel
[interface]
privatekey = ${KEY} # mine
LISTENPORT=51820
FwMark = 0xca6c
Address = 10.9.0.1/24, fd09::1/64
Address = 10.9.1.1
DNS = 10.9.0.53, fd09::53,corp.example
MTU = 1400
Table = 1234
PreUp = echo pre %i
PostUp = echo one; echo two
PostUp = echo three
PreDown =  true
PostDown = echo down
SaveConfig = true

[Peer]
PublicKey = ${OTHER}
PresharedKey=${KEY}
AllowedIPs = 10.9.0.2/32, fd09::2/128
AllowedIPs = 192.168.7.9/24
Endpoint = vpn.example.org:51820
PersistentKeepalive = 25
[Peer]
PublicKey=${KEY}
PersistentKeepalive = off
AllowedIPs =
`);
  expect(config).toMatchObject({
    name: 'wg0',
    listenPort: 51_820,
    fwmark: 0xca6c,
    mtu: 1400,
    table: { name: '1234' },
    hooks: {
      PreUp: ['echo pre %i'],
      PostUp: ['echo one; echo two', 'echo three'],
      PreDown: ['true'],
      PostDown: ['echo down'],
    },
    saveConfig: true,
    dns: { search: ['corp.example'] },
  });
  expect(config.privateKey).toEqual(new Uint8Array(32).fill(1));
  expect(config.addresses.map(renderInterface)).toEqual(['10.9.0.1/24', 'fd09::1/64', '10.9.1.1/32']);
  expect(config.dns.servers.map(renderIp)).toEqual(['10.9.0.53', 'fd09::53']);
  const [first, second] = config.peers;
  expect(first?.allowedIps.map(renderPrefix)).toEqual(['10.9.0.2/32', 'fd09::2/128', '192.168.7.0/24']);
  expect(first?.endpoint && renderEndpoint(first.endpoint)).toBe('vpn.example.org:51820');
  expect(first).toMatchObject({ keepaliveSeconds: 25, publicKey: new Uint8Array(32).fill(2) });
  expect(second).toMatchObject({ keepaliveSeconds: 0, allowedIps: [], endpoint: null, presharedKey: null });
});

test('an empty file is a device without anything, as for wg-quick', () => {
  expect(load('')).toMatchObject({ privateKey: null, listenPort: null, fwmark: 0, table: 'auto', peers: [] });
  expect(load('[Interface]\r\nTable = off\r\nMTU = 1280')).toMatchObject({ table: 'off', mtu: 1280 });
});

test('wiping leaves no key', () => {
  const config = load(`[Interface]\nPrivateKey=${KEY}\n[Peer]\nPublicKey=${OTHER}\nPresharedKey=${OTHER}\n`);
  wipeQuickConfig(config);
  expect(config.privateKey).toEqual(new Uint8Array(32));
  expect(config.peers[0]?.presharedKey).toEqual(new Uint8Array(32));
});

describe('what is wrong is named by its place, all at once, and no key is shown', () => {
  test.each([
    ['a line that is none', '[Interface]\nhello\n', '2:1: this line is not KEY = VALUE (ERR_CONFIG_SYNTAX)'],
    [
      'a key before any section',
      `PrivateKey = ${KEY}\n`,
      '1:1: a key before any section (ERR_CONFIG_SYNTAX)',
    ],
    [
      'an unknown section',
      '[Peers]\nx=1\n',
      '1:1: unknown section; there are [Interface] and [Peer] (ERR_CONFIG_UNKNOWN_KEY)',
    ],
    [
      'a peer without key',
      '[Peer]\nAllowedIPs = 10.0.0.0/8\n',
      '1:1: this peer has no PublicKey (ERR_CONFIG_MISSING_KEY)',
    ],
    [
      'a key that lost a character',
      `[Interface]\nPrivateKey = ${KEY.slice(1)}\n`,
      '2:14: PrivateKey: this is not a key: it has 44 characters of base64, the last a "=" (ERR_CONFIG_KEY)',
    ],
    [
      'a port too large',
      '[Interface]\nListenPort = 65536\n',
      '2:14: ListenPort: "65536": it is a number from 0 to 65535 (ERR_CONFIG_PORT)',
    ],
    [
      'a mark that is none',
      '[Interface]\n FwMark = x\n',
      '2:11: FwMark: "x": it is a number from 0 to 4294967295 (ERR_CONFIG_TYPE)',
    ],
    [
      'a table that is none',
      '[Interface]\nTable = a b\n',
      '2:9: Table: "a b": a table is off, auto, a number or a name (ERR_CONFIG_TYPE)',
    ],
    [
      'neither true nor false',
      '[Interface]\nSaveConfig = yes\n',
      '2:14: SaveConfig: "yes": it is true or false (ERR_CONFIG_TYPE)',
    ],
  ])('%s', (_name, text, problem) => expect(problems(text)).toEqual([problem]));

  test('several problems come in the order of the file', () => {
    const text = '[Interface]\nAddress = 10.9.0.300/24\nDns = 1.2.3\n[Peer]\nEndpoint = here\n';
    expect(problems(text).map((line) => line.split(' ')[0])).toEqual(['2:11:', '3:7:', '4:1:', '5:12:']);
  });

  test('the name of the file is that of an interface', () => {
    expect(problems('', 'a name.conf')).toEqual([
      '1:1: the name of the file is not that of an interface and .conf (ERR_CONFIG_NAME)',
    ]);
  });
});

test('whatever stands in a file, it is a configuration or a ConfigError', () => {
  const line = fc.oneof(
    fc.constantFrom(
      '[Interface]',
      '[Peer]',
      'Address=',
      'AllowedIPs = 0.0.0.0/0',
      `PublicKey=${KEY}`,
      '#',
      '=',
    ),
    fc.string(),
  );
  const text = fc.array(line).map((lines) => Buffer.from(lines.join('\n')));
  fc.assert(
    fc.property(fc.oneof(text, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      try {
        load(bytes);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        expect(error.message).not.toContain(KEY);
      }
    }),
    { numRuns: 500 },
  );
});
