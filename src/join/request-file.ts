// The request that is carried by hand where no tunnel can be made: who wants to join, sealed with the preshared key of the
// invite, so that only who has the invite can have made it. Nothing in it is secret.

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Parsed } from '../address/ip.ts';
import { decodeKey, renderPublicKey } from '../config/key.ts';

export interface JoinRequest {
  /** As the invite has it. */
  readonly name: string;
  readonly publicKey: Uint8Array;
  /** HMAC-SHA256 in hexadecimal: {@link isSealedWith}. */
  readonly seal: string;
}

/** More than any request has. */
export const LARGEST_REQUEST_BYTES = 4096;
const SEAL = /^[0-9a-f]{64}$/;

export function sealRequest(name: string, publicKey: Uint8Array, presharedKey: Uint8Array): JoinRequest {
  return { name, publicKey, seal: sealOf(name, publicKey, presharedKey).toString('hex') };
}

export function isSealedWith({ name, publicKey, seal }: JoinRequest, presharedKey: Uint8Array): boolean {
  const expected = sealOf(name, publicKey, presharedKey);
  const found = Buffer.from(SEAL.test(seal) ? seal : '', 'hex');
  return found.length === expected.length && timingSafeEqual(found, expected);
}

export function renderRequest({ name, publicKey, seal }: JoinRequest, node: string): string {
  return `# A request of ${name} to join. It is no secret. Carry it to ${node}, and there:
#
#   ringfence invite --accept ${name}.request.yaml

request: 1
name: ${name}
public_key: ${renderPublicKey(publicKey)}
seal: ${seal}
`;
}

export function parseRequest(text: string): Parsed<JoinRequest> {
  const lines = new Map(
    text.split('\n').map((line) => {
      const [key = '', ...value] = line.split(': ');
      return [key, value.join(': ').trim()] as const;
    }),
  );
  if (lines.get('request') !== '1') return { ok: false, problem: 'this is no request to join' };
  const publicKey = decodeKey(Buffer.from(lines.get('public_key') ?? ''));
  const name = lines.get('name') ?? '';
  const seal = lines.get('seal') ?? '';
  if (publicKey === null || name === '' || !SEAL.test(seal)) return { ok: false, problem: 'it is damaged' };
  return { ok: true, value: { name, publicKey, seal } };
}

function sealOf(name: string, publicKey: Uint8Array, presharedKey: Uint8Array): Buffer {
  return createHmac('sha256', presharedKey)
    .update(`ringfence join request 1\n${name}\n`)
    .update(publicKey)
    .digest();
}
