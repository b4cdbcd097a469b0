// What `ringfence init` writes is a configuration as it stands, names every key, and its comments are true.

import { afterAll, expect, test } from 'vitest';
import { parseInterface } from '../../../src/address/prefix.ts';
import { peerAccess } from '../../../src/config/firewall/peer.ts';
import { interfaceSchema, metricsSchema, peerSchema } from '../../../src/config/schema.ts';
import { renderTemplate } from '../../../src/config/template.ts';
import { parsed } from '../address/parsed.ts';
import { ConfigFolder, KEYS } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

function template(interfaceName = 'rf0'): string {
  const addresses = ['10.9.0.1/24', 'fd09::1/64'].map((text) => parsed(parseInterface, text));
  const publicKey = new Uint8Array(32).fill(9);
  return renderTemplate({
    fileName: 'ringfence.yaml',
    interfaceName,
    keyFileName: 'rf0.key',
    publicKey,
    addresses,
    listenPort: 51_820,
  });
}

test.each(['rf0', 'true', 'null', '7', '0x1', '-', '=', '1e3', 'a.b', '+.inf', '.nan', 'no'])(
  'for an interface %s',
  (name) => {
    const config = folder.load(template(name));
    expect(config.interface).toMatchObject({ name, listenPort: 51_820, mtu: 'auto' });
    expect(config.peers).toEqual([]);
  },
);

test('with its peer uncommented', () => {
  const [head = '', peers = ''] = template().split('\npeers:\n');
  const text = peers
    .replaceAll(/^ {2}# ?/gm, '  ')
    .replace('6Zk…=', KEYS[0] ?? '')
    .replace('preshared_key_file: alice.psk', '');
  const [alice] = folder.load(`${head}\npeers:\n${text}`).peers;
  expect(alice).toMatchObject({ name: 'alice', keepaliveSeconds: 25 });
  expect(alice?.routes).toHaveLength(1);
});

test('every key of the schema stands in it', () => {
  for (const { shape } of [interfaceSchema, peerSchema, metricsSchema]) {
    for (const key of Object.keys(shape).filter((name) => !(name in peerAccess))) {
      expect(template()).toMatch(new RegExp(`^(#| ) +(# +)?${key}: \\S`, 'm'));
    }
  }
});
