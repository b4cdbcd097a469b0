// The file that invites: who is invited by whom, and the secrets that let one node join, once. It is made and read whole;
// what was changed on the way is refused. Secrets are bytes, here as everywhere; YAML only in that people can read it.

import { createHash, timingSafeEqual } from 'node:crypto';
import { type Endpoint, parseEndpoint, renderEndpoint } from '../address/endpoint.ts';
import type { Parsed } from '../address/ip.ts';
import { type IpInterface, parseInterface, renderInterface } from '../address/prefix.ts';
import { decodeKey, encodeKey, renderPublicKey, wipe } from '../config/key.ts';

/** What an invite says, beside its secrets. */
export interface Invite {
  /** What the inviting node calls the new one. */
  readonly name: string;
  readonly createdSeconds: number;
  readonly expiresSeconds: number;
  /** Those of the new node, with the prefix lengths of their networks. */
  readonly addresses: readonly IpInterface[];
  /** The inviting node. */
  readonly node: {
    readonly name: string;
    readonly publicKey: Uint8Array;
    readonly addresses: readonly IpInterface[];
    /** Where it is reached, best first. */
    readonly endpoints: readonly Endpoint[];
  };
}

/** 32 bytes each; whoever holds them wipes them. */
export interface InviteSecrets {
  readonly presharedKey: Uint8Array;
  /** The private key of the one-time tunnel; null: the request is to be carried by hand. */
  readonly oneTimeKey: Uint8Array | null;
}

/** No invite is larger: two addresses and some endpoints are less than 2 KiB. */
export const LARGEST_INVITE_BYTES = 16 * 1024;
const MOST_ITEMS = 16;
const VERSION = '1';
const NO_KEY = 'none';

/** The bytes of the file, which the caller wipes. */
export function renderInvite(invite: Invite, secrets: InviteSecrets): Uint8Array {
  const { name, node } = invite;
  const until = new Date(invite.expiresSeconds * 1000).toISOString();
  const head = `# An invitation of ${node.name}. Whoever has this file can join as ${name}, once, until ${until}: keep it secret.
#
#   ringfence join ${name}.yaml

invite: ${VERSION}
name: ${name}
created: ${invite.createdSeconds}
expires: ${invite.expiresSeconds}
addresses: ${list(invite.addresses.map(renderInterface))}
node: ${node.name}
node_public_key: ${renderPublicKey(node.publicKey)}
node_addresses: ${list(node.addresses.map(renderInterface))}
node_endpoints: ${list(node.endpoints.map(renderEndpoint))}
`;
  const body = Buffer.concat([
    Buffer.from(`${head}preshared_key: `),
    encodeKey(secrets.presharedKey),
    Buffer.from('one_time_key: '),
    secrets.oneTimeKey === null ? Buffer.from(`${NO_KEY}\n`) : encodeKey(secrets.oneTimeKey),
  ]);
  const file = Buffer.concat([body, Buffer.from(`checksum: ${checksumOf(body)}\n`)]);
  wipe(body);
  return file;
}

/** Reads an invite. What is wrong with it is one sentence, and never shows what it says. */
export function parseInvite(bytes: Uint8Array): Parsed<{ invite: Invite; secrets: InviteSecrets }> {
  const lines = linesOf(bytes);
  if (!lines.has('invite')) return problem('this is no invite');
  if (textOf(lines, 'invite') !== VERSION) return problem('it is an invite of another version of ringfence');
  const end = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).lastIndexOf('\nchecksum: ');
  if (end < 0) return problem('its end is missing');
  const expected = Buffer.from(checksumOf(bytes.subarray(0, end + 1)));
  const found = Buffer.from(textOf(lines, 'checksum'));
  if (found.length !== expected.length || !timingSafeEqual(found, expected))
    return problem('it was changed, or is cut: its checksum is wrong');
  return parseLines(lines);
}

function parseLines(
  lines: ReadonlyMap<string, Uint8Array>,
): Parsed<{ invite: Invite; secrets: InviteSecrets }> {
  const publicKey = keyOf(lines, 'node_public_key');
  const presharedKey = keyOf(lines, 'preshared_key');
  const isByHand = lines.get('one_time_key')?.length === NO_KEY.length;
  const oneTimeKey = isByHand ? null : keyOf(lines, 'one_time_key');
  const addresses = itemsOf(lines, 'addresses', parseInterface);
  const nodeAddresses = itemsOf(lines, 'node_addresses', parseInterface);
  const endpoints = itemsOf(lines, 'node_endpoints', parseEndpoint);
  const created = Number(textOf(lines, 'created'));
  const expires = Number(textOf(lines, 'expires'));
  const hasTimes = Number.isSafeInteger(created) && Number.isSafeInteger(expires);
  const isMissing = [publicKey, presharedKey, addresses, nodeAddresses, endpoints].includes(null);
  if (isMissing || !hasTimes || (oneTimeKey === null && !isByHand)) return problem('it is damaged');
  return {
    ok: true,
    value: {
      invite: {
        name: textOf(lines, 'name'),
        createdSeconds: created,
        expiresSeconds: expires,
        addresses: addresses ?? [],
        node: {
          name: textOf(lines, 'node'),
          publicKey: publicKey ?? new Uint8Array(),
          addresses: nodeAddresses ?? [],
          endpoints: endpoints ?? [],
        },
      },
      secrets: { presharedKey: presharedKey ?? new Uint8Array(), oneTimeKey },
    },
  };
}

/** `key: value`, a line each; the rest is comment. */
function linesOf(bytes: Uint8Array): Map<string, Uint8Array> {
  const lines = new Map<string, Uint8Array>();
  for (let at = 0; at < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, at);
    const end = newline < 0 ? bytes.length : newline;
    const colon = bytes.subarray(at, end).indexOf(0x3a);
    if (colon > 0) {
      const key = Buffer.from(bytes.subarray(at, at + colon)).toString('latin1');
      lines.set(key, bytes.subarray(Math.min(at + colon + 2, end), end));
    }
    at = end + 1;
  }
  return lines;
}

/** Never of a secret. */
function textOf(lines: ReadonlyMap<string, Uint8Array>, key: string): string {
  const value = lines.get(key) ?? new Uint8Array();
  return value.length > LARGEST_INVITE_BYTES ? '' : Buffer.from(value).toString('utf8');
}

function keyOf(lines: ReadonlyMap<string, Uint8Array>, key: string): Uint8Array | null {
  const value = lines.get(key);
  return value === undefined ? null : decodeKey(value);
}

function itemsOf<T>(
  lines: ReadonlyMap<string, Uint8Array>,
  key: string,
  parse: (text: string) => Parsed<T>,
): T[] | null {
  const texts = textOf(lines, key)
    .replace(/^\[|\]$/g, '')
    .split(', ')
    .filter((text) => text !== '');
  const items = texts.map((text) => parse(text.replaceAll('"', '')));
  const values = items.flatMap((item) => (item.ok ? [item.value] : []));
  return values.length === items.length && items.length > 0 && items.length <= MOST_ITEMS ? values : null;
}

function list(texts: readonly string[]): string {
  return `[${texts.map((text) => JSON.stringify(text)).join(', ')}]`;
}

function checksumOf(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex').slice(0, 32);
}

function problem(text: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem: text };
}
