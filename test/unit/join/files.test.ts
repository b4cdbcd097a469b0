// The files of joining: what is written is read again, and of what is read in their place nothing throws or gets through.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseEndpoint } from '../../../src/address/endpoint.ts';
import { parseInterface } from '../../../src/address/prefix.ts';
import { type Invite, type InviteSecrets, parseInvite, renderInvite } from '../../../src/join/invite-file.ts';
import { isSealedWith, parseRequest, renderRequest, sealRequest } from '../../../src/join/request-file.ts';
import { parsed } from '../address/parsed.ts';

const bytes = (value: number): Uint8Array => new Uint8Array(32).fill(value);
const INVITE: Invite = {
  name: 'bob',
  createdSeconds: 1_790_000_000,
  expiresSeconds: 1_790_086_400,
  addresses: [parsed(parseInterface, '10.9.0.2/24'), parsed(parseInterface, 'fd09::2/64')],
  node: {
    name: 'alice',
    publicKey: bytes(5),
    addresses: [parsed(parseInterface, '10.9.0.1/24')],
    endpoints: [parsed(parseEndpoint, 'vpn.example.org:51820'), parsed(parseEndpoint, '[2001:db8::1]:51820')],
  },
};
const SECRETS: InviteSecrets = { presharedKey: bytes(6), oneTimeKey: bytes(7) };

describe('an invite', () => {
  test('is read as it was written, with a one-time key and without', () => {
    for (const secrets of [SECRETS, { ...SECRETS, oneTimeKey: null }]) {
      expect(parseInvite(renderInvite(INVITE, secrets))).toEqual({
        ok: true,
        value: { invite: INVITE, secrets },
      });
    }
  });

  test('with any byte changed, cut or put in is refused, and never shown', () => {
    const file = renderInvite(INVITE, SECRETS);
    const refused = (changed: Uint8Array): void => {
      const result = parseInvite(changed);
      expect(result.ok).toBe(false);
      if (!result.ok)
        expect(result.problem).toMatch(
          /^(this is no invite|it is an invite of another|its end is missing|it was changed)/,
        );
    };
    for (let at = 0; at < file.length; at++) {
      const changed = file.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x21;
      refused(changed);
    }
    for (let length = 0; length < file.length - 1; length += 7) refused(file.subarray(0, length));
    refused(Buffer.concat([file.subarray(0, 200), Buffer.from('x'), file.subarray(200)]));
  });

  test('of anybody else throws nothing', () => {
    const lines = fc.array(
      fc.constantFrom('invite: 1', 'checksum: 0', 'name: ', ':', 'one_time_key: none', '\n\n'),
    );
    fc.assert(fc.property(lines, (some) => void parseInvite(Buffer.from(some.join('\n')))));
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (some) => void parseInvite(some)));
  });
});

describe('a request', () => {
  test('is read as it was written, and only the invite seals it', () => {
    const request = sealRequest('bob', bytes(9), bytes(6));
    expect(parseRequest(renderRequest(request, 'alice'))).toEqual({ ok: true, value: request });
    expect(isSealedWith(request, bytes(6))).toBe(true);
    expect(isSealedWith(request, bytes(7))).toBe(false);
    expect(isSealedWith({ ...request, name: 'eve' }, bytes(6))).toBe(false);
    expect(isSealedWith({ ...request, publicKey: bytes(8) }, bytes(6))).toBe(false);
    for (const seal of ['', request.seal.slice(1), `${request.seal}0`, request.seal.toUpperCase()])
      expect(isSealedWith({ ...request, seal }, bytes(6))).toBe(seal === request.seal);
  });

  test('of anybody else throws nothing', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseRequest(text)));
    expect(parseRequest('request: 1\nname: bob\n').ok).toBe(false);
  });
});
