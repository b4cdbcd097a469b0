// What no key can see alone: peers that claim the same address, network or public key; values that exclude each other.
// Every check is linear in the peers: 10,000 of them are no reason to wait.

import { bitsOf, renderIp } from '../address/ip.ts';
import { hostPrefix, type IpPrefix, renderPrefix } from '../address/prefix.ts';
import type { ErrorCode, Place } from '../errors.ts';
import { checkFirewall } from './firewall/checks.ts';
import type { firewallSchema } from './firewall/schema.ts';
import { renderPublicKey } from './key.ts';
import { renderName } from './quote.ts';
import type { Path, Report } from './report.ts';
import type { interfaceSchema, loggingSchema, metricsSchema, peerSchema } from './schema.ts';
import type { Fields } from './section.ts';
import { offsetIn, type Tree } from './tree.ts';

/** The interface and the peers of a file, as far as their keys are right. */
export interface Draft {
  readonly root: Tree;
  readonly interface: Fields<typeof interfaceSchema>;
  readonly peers: readonly PeerDraft[];
  /** Where the file has such a section. */
  readonly metrics: Fields<typeof metricsSchema> | undefined;
  /** Where the file has such a section. */
  readonly firewall: Fields<typeof firewallSchema> | undefined;
  readonly logging: Fields<typeof loggingSchema> | undefined;
  /** Computed from the private key, where that could be read. */
  readonly ownPublicKey: Uint8Array | undefined;
}

export interface PeerDraft {
  readonly name: string;
  /** Its lines, where the file is plain. */
  readonly lines: string | null;
  /** What its section says, by `textOf`. */
  readonly text: string;
  readonly fields: Fields<typeof peerSchema>;
}

/** RFC 8200 §5: below this an interface carries no IPv6. */
export const LEAST_IPV6_MTU = 1280;

export function checkDraft(draft: Draft, report: Report): void {
  checkMtu(draft, report);
  checkClaims(draft, report);
  checkPublicKeys(draft, report);
  for (const peer of draft.peers) {
    checkReachable(draft, peer, report);
  }
  const { firewall, root, peers } = draft;
  const { listen_port: listenPort = 0, addresses = [] } = draft.interface;
  const own = addresses.map(({ address }) => address);
  checkFirewall({ root, section: firewall, peers, listenPort, addresses: own }, report);
}

/** Linux takes IPv6 off an interface of a smaller MTU, without a word. */
function checkMtu(draft: Draft, report: Report): void {
  const { mtu, addresses = [] } = draft.interface;
  const index = addresses.findIndex(({ address }) => address.version === 6);
  if (typeof mtu !== 'number' || mtu >= LEAST_IPV6_MTU || index === -1) return;
  const { line } = placeIn(draft, report, ['interface', 'addresses', index]);
  const message = `${mtu} is too small for the IPv6 address in line ${line}: IPv6 needs ${LEAST_IPV6_MTU}`;
  add(draft, report, 'ERR_CONFIG_MTU', ['interface', 'mtu'], message);
}

/** Who claimed something first, and where. */
interface Claim {
  readonly owner: string;
  readonly path: Path;
}

/** An address counts as the network of itself: addresses and routes are one table, as they are in the core. */
function checkClaims(draft: Draft, report: Report): void {
  const claims = new Map<string, Claim>();
  const claim = (owner: string, path: Path, prefix: IpPrefix): void => {
    const text = renderPrefix(prefix);
    const first = claims.get(text);
    if (first === undefined) {
      claims.set(text, { owner, path });
      return;
    }
    const shown = prefix.length === bitsOf(prefix.address.version) ? renderIp(prefix.address) : text;
    const { line } = placeIn(draft, report, first.path);
    const message = `${shown} is taken: ${first.owner} has it in line ${line}`;
    add(draft, report, 'ERR_CONFIG_OVERLAP', path, message, 'what is sent there can go to one place only');
  };
  for (const [i, { address }] of (draft.interface.addresses ?? []).entries()) {
    claim('this node', ['interface', 'addresses', i], hostPrefix(address));
  }
  for (const { name, fields } of draft.peers) {
    const owner = `peer ${renderName(name)}`;
    for (const [i, address] of (fields.addresses ?? []).entries()) {
      claim(owner, ['peers', name, 'addresses', i], hostPrefix(address));
    }
    for (const [i, route] of (fields.routes ?? []).entries())
      claim(owner, ['peers', name, 'routes', i], route);
  }
}

function checkPublicKeys(draft: Draft, report: Report): void {
  const owners = new Map<string, PeerDraft>();
  const own = draft.ownPublicKey === undefined ? undefined : renderPublicKey(draft.ownPublicKey);
  for (const peer of draft.peers) {
    if (peer.fields.public_key === undefined) continue;
    const path = ['peers', peer.name, 'public_key'];
    const text = renderPublicKey(peer.fields.public_key);
    const first = owners.get(text);
    if (first === undefined) owners.set(text, peer);
    else {
      const { line } = placeIn(draft, report, ['peers', first.name, 'public_key']);
      const message = `this is also the public key of peer ${renderName(first.name)}, in line ${line}`;
      add(draft, report, 'ERR_CONFIG_KEY', path, message, 'every peer has a key of its own');
    }
    if (text === own) {
      const message = 'this is the public key of this node itself';
      add(draft, report, 'ERR_CONFIG_KEY', path, message, 'the public key of the peer belongs here');
    }
  }
}

/** A peer without addresses and routes could be sent nothing, and nothing from it would be let in. */
function checkReachable(draft: Draft, { name, fields }: PeerDraft, report: Report): void {
  if (fields.addresses?.length !== 0 || fields.routes?.length !== 0) return;
  const message = 'the peer has neither addresses nor routes, so nothing could ever reach it';
  add(
    draft,
    report,
    'ERR_CONFIG_MISSING_KEY',
    ['peers', name],
    message,
    'give it one, as in addresses: [10.9.0.2]',
  );
}

function add(
  draft: Draft,
  report: Report,
  code: ErrorCode,
  path: Path,
  message: string,
  hint?: string,
): void {
  report.add(code, offsetIn(draft.root, path), path, message, hint);
}

function placeIn(draft: Draft, report: Report, path: Path): Place {
  return report.place(offsetIn(draft.root, path), path);
}
