// What no key can see alone: peers that claim the same address, network or public key; values that exclude each other.
// Every check is linear in the peers: 10,000 of them are no reason to wait.

import { renderIp } from '../address/ip.ts';
import { hostPrefix, type IpPrefix, renderPrefix } from '../address/prefix.ts';
import { renderPublicKey } from './key.ts';
import type { interfaceSchema, peerSchema } from './schema.ts';
import type { Fields } from './section.ts';
import { type Locator, type Path, type Position, positionIn, type Tree } from './yaml-tree.ts';

/** The interface and the peers of a file, as far as their keys are right. */
export interface Draft {
  readonly root: Tree;
  readonly interface: Fields<typeof interfaceSchema>;
  readonly peers: readonly PeerDraft[];
  /** Computed from the private key, where that could be read. */
  readonly ownPublicKey: Uint8Array | undefined;
}

export interface PeerDraft {
  readonly name: string;
  readonly fields: Fields<typeof peerSchema>;
}

/** RFC 8200 §5. */
const LEAST_IPV6_MTU = 1280;

export function checkDraft(draft: Draft, locator: Locator): void {
  checkMtu(draft, locator);
  checkClaims(draft, locator);
  checkPublicKeys(draft, locator);
  for (const peer of draft.peers) {
    checkReachable(draft, peer, locator);
    checkEndpointCount(draft, peer, locator);
  }
}

/** Linux takes IPv6 off an interface of a smaller MTU, without a word. */
function checkMtu(draft: Draft, locator: Locator): void {
  const { mtu, addresses = [] } = draft.interface;
  const index = addresses.findIndex(({ address }) => address.version === 6);
  if (typeof mtu !== 'number' || mtu >= LEAST_IPV6_MTU || index === -1) return;
  const path = ['interface', 'mtu'];
  const line = positionIn(draft.root, ['interface', 'addresses', index]).line;
  const message = `${mtu} is too small for the IPv6 address in line ${line}: IPv6 needs ${LEAST_IPV6_MTU}`;
  locator.report('ERR_CONFIG_MTU', positionIn(draft.root, path), path, message);
}

/** Something claimed by one place in the file, so that a second claim can name the first. */
interface Claim {
  readonly owner: string;
  readonly at: Position;
}

/** An address counts as its own network, so addresses and routes are looked up in one table: the core's allowed IPs. */
function checkClaims(draft: Draft, locator: Locator): void {
  const claims = new Map<string, Claim>();
  const claim = (owner: string, path: Path, prefix: IpPrefix): void => {
    const at = positionIn(draft.root, path);
    const text = renderPrefix(prefix);
    const first = claims.get(text);
    if (first === undefined) {
      claims.set(text, { owner, at });
      return;
    }
    const shownText = text.endsWith(hostSuffix(prefix)) ? renderIp(prefix.address) : text;
    const message = `${shownText} is taken: ${first.owner} has it in line ${first.at.line}`;
    locator.report('ERR_CONFIG_OVERLAP', at, path, message, 'what is sent there can go to one place only');
  };
  for (const [i, { address }] of (draft.interface.addresses ?? []).entries()) {
    claim('this node', ['interface', 'addresses', i], hostPrefix(address));
  }
  for (const { name, fields } of draft.peers) {
    const owner = `peer ${name}`;
    for (const [i, address] of (fields.addresses ?? []).entries()) {
      claim(owner, ['peers', name, 'addresses', i], hostPrefix(address));
    }
    for (const [i, route] of (fields.routes ?? []).entries())
      claim(owner, ['peers', name, 'routes', i], route);
  }
}

function checkPublicKeys(draft: Draft, locator: Locator): void {
  const claims = new Map<string, Claim>();
  for (const { name, fields } of draft.peers) {
    if (fields.public_key === undefined) continue;
    const path = ['peers', name, 'public_key'];
    const at = positionIn(draft.root, path);
    const text = renderPublicKey(fields.public_key);
    const first = claims.get(text);
    if (first !== undefined) {
      const message = `this is also the public key of ${first.owner}, in line ${first.at.line}`;
      locator.report('ERR_CONFIG_KEY', at, path, message, 'every peer has a key of its own');
    } else if (draft.ownPublicKey !== undefined && text === renderPublicKey(draft.ownPublicKey)) {
      const message = 'this is the public key of this node itself';
      locator.report('ERR_CONFIG_KEY', at, path, message, 'put the public key of the peer here');
    }
    if (first === undefined) claims.set(text, { owner: `peer ${name}`, at });
  }
}

/** A peer without addresses and networks could be sent nothing, and nothing from it would be let in. */
function checkReachable(draft: Draft, { name, fields }: PeerDraft, locator: Locator): void {
  if (fields.addresses?.length !== 0 || fields.routes?.length !== 0) return;
  const path = ['peers', name];
  const message = 'the peer has neither addresses nor routes, so nothing could ever reach it';
  locator.report(
    'ERR_CONFIG_MISSING_KEY',
    positionIn(draft.root, path),
    path,
    message,
    'add addresses: [10.9.0.2]',
  );
}

function checkEndpointCount(draft: Draft, { name, fields }: PeerDraft, locator: Locator): void {
  if (fields.endpoints === undefined || fields.endpoints.length < 2) return;
  const path = ['peers', name, 'endpoints', 1];
  const message = `there are ${fields.endpoints.length} endpoints, and this version tries only one`;
  locator.report(
    'ERR_CONFIG_UNSUPPORTED',
    positionIn(draft.root, path),
    path,
    message,
    'keep the best of them',
  );
}

function hostSuffix(prefix: IpPrefix): string {
  return prefix.address.version === 4 ? '/32' : '/128';
}
