// What a client asks of an invite, unchecked → what is to be made of it.

import { type Endpoint, parseEndpoint } from '../address/endpoint.ts';
import { decodeKey } from '../config/key.ts';
import { peerNameSchema } from '../config/schema.ts';
import { parseValue } from '../config/section.ts';
import type { NodeRequest } from '../control/target.ts';
import { NodeError } from '../errors.ts';

/** An invite that is good for longer is a key lying about. */
const LONGEST_SECONDS = 30 * 86_400;

/** Redeemed through a tunnel, by a request that is carried by hand, or a plain WireGuard configuration, which nobody redeems. */
export type InviteKind = 'tunnel' | 'hand' | 'wg';

export interface InviteRequest {
  readonly name: string;
  readonly kind: InviteKind;
  readonly publicKey: Uint8Array | null;
  readonly seconds: number;
  readonly profile: string | null;
  readonly endpoints: readonly Endpoint[] | null;
}

/** @throws NodeError for what is not as it should be */
export function parseInviteRequest({
  name,
  kind,
  publicKey,
  seconds,
  profile,
  endpoints,
}: NodeRequest): InviteRequest {
  const parsed = parseValue(peerNameSchema, name);
  if (!parsed.ok) throw new NodeError('ERR_JOIN_NAME', `${JSON.stringify(name)} is not ${parsed.problem}`);
  if (kind !== 'tunnel' && kind !== 'hand' && kind !== 'wg')
    throw new NodeError('ERR_NODE_REQUEST', 'there is no such kind of invite');
  const key = kind === 'hand' ? null : decodeKey(Buffer.from(String(publicKey)));
  if (kind !== 'hand' && key === null)
    throw new NodeError('ERR_NODE_REQUEST', 'the key of the invite is missing');
  if (typeof seconds !== 'number' || !(seconds >= 1 && seconds <= LONGEST_SECONDS)) {
    throw new NodeError('ERR_NODE_REQUEST', 'an invite is good for a second at least and 30 days at most');
  }
  return {
    name: parsed.value,
    kind,
    publicKey: key,
    seconds: Math.floor(seconds),
    profile: profile === undefined ? null : String(profile),
    endpoints: parseEndpoints(endpoints),
  };
}

function parseEndpoints(texts: unknown): Endpoint[] | null {
  if (texts === undefined) return null;
  const list = Array.isArray(texts) ? texts.map((text) => parseEndpoint(String(text))) : [];
  const endpoints = list.flatMap((parsed) => (parsed.ok ? [parsed.value] : []));
  if (endpoints.length > 0 && endpoints.length === list.length && list.length <= 4) return endpoints;
  throw new NodeError(
    'ERR_NODE_REQUEST',
    'there are one to four endpoints, each an address or name and a port',
  );
}
