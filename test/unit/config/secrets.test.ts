// Secrets: read apart from the configuration, wiped, and in no message whatever stands where.

import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import {
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
  renderPublicKey,
} from '../../../src/config/key.ts';
import { writeKeyFile } from '../../../src/config/key-file.ts';
import { loadSecrets, wipeSecrets } from '../../../src/config/secrets.ts';
import { ConfigFolder, INTERFACE, KEYS, PEER } from './files.ts';

const folder = new ConfigFolder();
afterAll(() => folder[Symbol.dispose]());

const presharedKey = generatePresharedKey();
writeKeyFile(join(folder.path, 'alice.psk'), presharedKey);
const WITH_PSK = `${PEER}    preshared_key_file: alice.psk
    addresses: [10.9.0.2]
  bob:
    public_key: ${KEYS[1]}
    addresses: [10.9.0.3]
`;

test('secrets are read, by the name of the peer, and wiped', () => {
  const config = folder.load(WITH_PSK);
  const secrets = loadSecrets(config);
  expect(publicKeyOf(secrets.privateKey)).toEqual(config.interface.publicKey);
  expect([...secrets.presharedKeys]).toEqual([['alice', presharedKey]]);
  wipeSecrets(secrets);
  expect(secrets.privateKey).toEqual(new Uint8Array(32));
  expect(secrets.presharedKeys.get('alice')).toEqual(new Uint8Array(32));
});

test('a configuration holds no secret', () => {
  const shown = inspect(folder.load(WITH_PSK), { depth: 20, maxArrayLength: 1000 });
  expect(shown).not.toContain(renderPublicKey(presharedKey).slice(0, 20));
  expect(shown).not.toContain(inspect(presharedKey).slice(20, 60));
});

test('key files that changed since are named, all of them, with their lines', () => {
  using changed = new ConfigFolder();
  writeKeyFile(join(changed.path, 'alice.psk'), presharedKey);
  const config = changed.load(WITH_PSK);
  chmodSync(join(changed.path, 'rf0.key'), 0o644);
  rmSync(join(changed.path, 'alice.psk'));
  expect(() => loadSecrets(config)).toThrow(
    [
      `${config.file}:3:21: interface.private_key_file: key file "rf0.key": others can get at it: its mode is 0644 (ERR_CONFIG_KEY_FILE_MODE)`,
      `${config.file}:8:25: peers.alice.preshared_key_file: key file "alice.psk": there is no such file (ERR_CONFIG_KEY_FILE)`,
    ].join('\n'),
  );
});

describe('a key in the wrong place is refused, and not repeated', () => {
  const secret = renderPublicKey(generatePrivateKey());
  const rows: readonly [where: string, text: string, code: string][] = [
    ['for the name of its file', INTERFACE.replace('rf0.key', secret), 'ERR_CONFIG_SECRET'],
    ['the same in quotes', INTERFACE.replace('rf0.key', `" ${secret}"`), 'ERR_CONFIG_SECRET'],
    [
      'the same in hexadecimal',
      INTERFACE.replace('rf0.key', Buffer.from(secret, 'base64').toString('hex')),
      'ERR_CONFIG_SECRET',
    ],
    ['the same without its "="', INTERFACE.replace('rf0.key', secret.slice(0, 43)), 'ERR_CONFIG_KEY_FILE'],
    [
      'as preshared_key_file',
      `${PEER}    preshared_key_file: ${secret}\n    addresses: [10.9.0.2]\n`,
      'ERR_CONFIG_SECRET',
    ],
    ['under private_key', `${INTERFACE}  private_key: ${secret}\n`, 'ERR_CONFIG_UNKNOWN_KEY'],
    ['as a key', `${INTERFACE}  ${secret}: x\n`, 'ERR_CONFIG_UNKNOWN_KEY'],
    ['as a key, cut', `${INTERFACE}  ${secret.slice(0, 42)}: x\n`, 'ERR_CONFIG_UNKNOWN_KEY'],
    ['as a name', INTERFACE.replace('name: rf0', `name: ${secret}`), 'ERR_CONFIG_NAME'],
    ['as the name of a peer', `${INTERFACE}peers:\n  "${secret}": {}\n`, 'ERR_CONFIG_NAME'],
    [
      'as the name of two peers',
      `${INTERFACE}peers:\n  "${secret}": {}\n  "${secret}": {}\n`,
      'ERR_CONFIG_NAME',
    ],
    ['as a line of wg-quick', `${INTERFACE}  mtu: PrivateKey = ${secret}\n`, 'ERR_CONFIG_MTU'],
    ['as an address', INTERFACE.replace('10.9.0.1/24', secret), 'ERR_CONFIG_ADDRESS'],
    [
      'as an endpoint',
      `${PEER}    endpoints: ["${secret}"]\n    addresses: [10.9.0.2]\n`,
      'ERR_CONFIG_ENDPOINT',
    ],
    ['on a line of its own', `${INTERFACE}${secret}\n`, 'ERR_CONFIG_SYNTAX'],
    ['as the whole file', `${secret}\n`, 'ERR_CONFIG_TYPE'],
    ['in a list', `${INTERFACE}  mtu: [${secret}\n`, 'ERR_CONFIG_SYNTAX'],
    ['as an alias', `${INTERFACE}  mtu: *${secret}\n`, 'ERR_CONFIG_ALIAS'],
    ['as a tag', `${INTERFACE}  mtu: !${secret.slice(0, 42)} 1\n`, 'ERR_CONFIG_SYNTAX'],
    ['as a directive', `%${secret}\n---\n${INTERFACE}`, 'ERR_CONFIG_SYNTAX'],
    ['after a block header', `${INTERFACE}  mtu: |${secret}\n`, 'ERR_CONFIG_SYNTAX'],
    ['as a short public key', PEER.replace(KEYS[0] ?? '', secret.slice(0, 43)), 'ERR_CONFIG_KEY'],
  ];
  test.each(rows)('%s', (_, text, code) => {
    const error = folder.refusal(text);
    expect(error.problems.map((problem) => problem.code)).toContain(code);
    const everything = inspect(error, { depth: 10, showHidden: true }) + JSON.stringify(error.problems);
    for (const piece of [secret.slice(0, 12), secret.slice(16, 28), secret.slice(30, 42)]) {
      expect(everything).not.toContain(piece);
    }
  });
});
