// The lines of `set=1`: what each becomes, what is refused with which number, and that no bytes whatever throw.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { renderEndpoint } from '../../../../src/address/endpoint.ts';
import { renderPrefix, unpackPrefix } from '../../../../src/address/prefix.ts';
import type { DeviceChange } from '../../../../src/control/uapi/change.ts';
import { parseSet } from '../../../../src/control/uapi/parse.ts';
import { FUZZ_TIMEOUT_MS, runs } from '../../../support/fuzzing.ts';

const KEY = 'a8dac1d8a70a751f0f699fb14ba1cff7b79cf4fbd8f09f44c6e6a90d0369604f';
const PSK = 'ff'.repeat(32);
const ZEROS = '0'.repeat(64);

/** A change as lines to read: what it holds, in its words. */
function shown(change: DeviceChange) {
  const hex = (key: Uint8Array | undefined): string | undefined => key && Buffer.from(key).toString('hex');
  return {
    ...change,
    ...(change.privateKey === undefined ? {} : { privateKey: hex(change.privateKey) }),
    peers: change.peers.map((peer) => ({
      ...peer,
      publicKey: hex(peer.publicKey),
      ...(peer.presharedKey === undefined ? {} : { presharedKey: hex(peer.presharedKey) }),
      ...(peer.endpoint === undefined
        ? {}
        : { endpoint: renderEndpoint({ kind: 'address', ...peer.endpoint }) }),
      allowedIps: peer.allowedIps.map((edit) =>
        edit.type === 'clear' ? 'clear' : `${edit.type} ${renderPrefix(unpackPrefix(edit.prefix))}`,
      ),
    })),
  };
}

function parse(...lines: readonly string[]) {
  const result = parseSet(Buffer.from(lines.map((line) => `${line}\n`).join('')));
  return result.ok ? shown(result.change) : result.errno;
}

const peer = (...lines: readonly string[]) => parse(`public_key=${KEY}`, ...lines);

describe('a request', () => {
  test.each([
    { name: 'nothing', lines: [], want: { peers: [] } },
    {
      name: 'a private key, clamped',
      lines: [`private_key=${PSK}`],
      want: { privateKey: `f8${'ff'.repeat(30)}7f`, peers: [] },
    },
    { name: 'no private key', lines: [`private_key=${ZEROS}`], want: { privateKey: ZEROS, peers: [] } },
    {
      name: 'all that a device has',
      lines: ['listen_port=51820', 'fwmark=4294967295', 'replace_peers=true'],
      want: { listenPort: 51820, fwmark: 0xffff_ffff, replacePeers: true, peers: [] },
    },
    {
      name: 'a number with leading zeros, and the last of two',
      lines: ['listen_port=1', 'listen_port=0000065535'],
      want: { listenPort: 65535, peers: [] },
    },
    {
      name: 'a key in capitals',
      lines: [`public_key=${KEY.toUpperCase()}`],
      want: { peers: [{ publicKey: KEY, allowedIps: [] }] },
    },
    {
      name: 'all that a peer has',
      lines: [
        `public_key=${KEY}`,
        'update_only=true',
        `preshared_key=${PSK}`,
        'endpoint=[2001:db8::1]:1',
        'persistent_keepalive_interval=25',
        'replace_allowed_ips=true',
        'allowed_ip=10.9.0.7/24',
        'allowed_ip=-10.9.0.0/24',
        'allowed_ip=fd09::/0',
        'protocol_version=1',
        `public_key=${ZEROS}`,
        'remove=true',
      ],
      want: {
        peers: [
          {
            publicKey: KEY,
            updateOnly: true,
            presharedKey: PSK,
            endpoint: '[2001:db8::1]:1',
            keepaliveSeconds: 25,
            allowedIps: ['clear', 'add 10.9.0.0/24', 'remove 10.9.0.0/24', 'add ::/0'],
          },
          { publicKey: ZEROS, remove: true, allowedIps: [] },
        ],
      },
    },
  ])('$name', ({ lines, want }) => expect(parse(...lines)).toEqual(want));

  test('ends with the blank line', () => {
    expect(parseSet(Buffer.from('listen_port=1\n\nwhat follows'))).toMatchObject({
      ok: true,
      change: { listenPort: 1 },
    });
  });
});

describe('what is refused', () => {
  test.each([
    'listen_port=65536',
    'listen_port=-1',
    'listen_port=',
    'listen_port= 1',
    'listen_port=1 ',
    'listen_port=0x10',
    'listen_port=1e3',
    'fwmark=4294967296',
    'fwmark=off',
    'replace_peers=false',
    'replace_peers=',
    'private_key=',
    `private_key=${KEY}0`,
    `private_key=${KEY.slice(1)}`,
    `private_key=${KEY.slice(1)}g`,
    `private_key=${KEY.slice(1)}ü`,
    'public_key=',
    `public_key=${KEY}\r`,
    'endpoint=192.0.2.1:1',
    'colour=blue',
    '=',
    '=true',
    'Listen_Port=1',
  ])('%s: −22', (line) => expect(parse(line)).toBe(-22));

  test.each([
    'endpoint=192.0.2.1',
    'endpoint=vpn.example.org:51820',
    'endpoint=192.0.2.1:65536',
    'endpoint=2001:db8::1:51820',
    'endpoint=[192.0.2.1]:51820',
    'preshared_key=',
    `preshared_key=${KEY.slice(2)}`,
    'persistent_keepalive_interval=65536',
    'persistent_keepalive_interval=off',
    'allowed_ip=10.9.0.1',
    'allowed_ip=10.9.0.1/33',
    'allowed_ip=fd09::/129',
    'allowed_ip=--10.9.0.0/24',
    'allowed_ip=+10.9.0.0/24',
    'allowed_ip=',
    'remove=1',
    'update_only=yes',
    'replace_allowed_ips=',
    'protocol_version=2',
    'listen_port=1',
    `private_key=${KEY}`,
    'replace_peers=true',
  ])('%s in a peer: −22', (line) => expect(peer(line)).toBe(-22));

  test.each(['listen_port', 'x', ' '])('%j, a line without =: −71', (line) => expect(parse(line)).toBe(-71));

  test('a line longer than any: −5', () => expect(parse(`private_key=${'0'.repeat(300)}`)).toBe(-5));

  test('one bad line among good ones refuses all of them', () => {
    expect(parse('listen_port=1', `public_key=${KEY}`, 'allowed_ip=10.0.0.0/8', 'remove=maybe')).toBe(-22);
  });
});

describe('any bytes', () => {
  const lines = fc.constantFrom(
    `private_key=${KEY}`,
    'listen_port=51820',
    'fwmark=1',
    'replace_peers=true',
    `public_key=${KEY}`,
    'remove=true',
    'update_only=true',
    `preshared_key=${PSK}`,
    'endpoint=192.0.2.1:51820',
    'endpoint=[fe80::1%eth0]:51820',
    'persistent_keepalive_interval=25',
    'replace_allowed_ips=true',
    'allowed_ip=10.9.0.0/24',
    'allowed_ip=-fd09::/64',
    'protocol_version=1',
  );
  const request = fc
    .array(lines, { maxLength: 20 })
    .map((list) => Buffer.from(list.map((line) => `${line}\n`).join('')));

  test(
    'give a change or a number',
    () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
          const result = parseSet(bytes);
          expect(result.ok || [-5, -22, -71].includes(result.errno)).toBe(true);
        }),
        runs(1_000, 2),
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  test(
    'also when a request was changed in some places',
    () => {
      const change = fc.tuple(
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        fc.constantFrom('set', 'cut', 'insert'),
      );
      fc.assert(
        fc.property(request, fc.array(change, { maxLength: 5 }), (original, changes) => {
          let bytes = original;
          for (const [place, byte, kind] of changes) {
            const at = place % (bytes.length + 1);
            const rest = bytes.subarray(kind === 'insert' ? at : at + 1);
            bytes = Buffer.concat([
              bytes.subarray(0, at),
              ...(kind === 'cut' ? [] : [Buffer.of(byte)]),
              rest,
            ]);
          }
          const result = parseSet(bytes);
          expect(result.ok || [-5, -22, -71].includes(result.errno)).toBe(true);
        }),
        runs(3_000, 2),
      );
    },
    FUZZ_TIMEOUT_MS,
  );
});
