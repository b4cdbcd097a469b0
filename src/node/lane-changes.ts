// What the model did → what a lane is told: in pieces, so that data passes between them however large a change is.

import { unpackPrefix } from '../address/prefix.ts';
import type { PeerEndpoint } from '../control/uapi/change.ts';
import type { DeviceModel, DeviceSteps, ModelPeer, PeerStep, PrefixStep } from '../control/uapi/model.ts';
import type { LaneChange, LaneEndpoint, LanePeer, LanePeerEdit } from '../lane/messages.ts';
import { PREFIX_BYTES, PrefixPacker } from '../lane/prefixes.ts';
import { literalEndpoint } from './endpoints.ts';

/** What a lane does in a few milliseconds. */
const PEERS_AT_ONCE = 32;
const PREFIXES_AT_ONCE = 2048;

/** Our own keys, as {@link DeviceModel} has them. */
export type OwnKeys = Pick<DeviceModel, 'privateKey' | 'nextPrivateKey'>;

const NO_KEY = new Uint8Array(32);
const NOTHING: LaneChange = { removed: [], added: [], edited: [], prefixes: new Uint8Array() };

/** All that a lane has to know at its start. */
export function wholeChange(model: DeviceModel): LaneChange {
  const peers = [...model.peers()];
  const allowed = peers.flatMap((peer) =>
    Array.from(peer.allowedIps, (prefix) => ({ peer: peer.id, prefix })),
  );
  return {
    removed: [],
    ...(model.privateKey === undefined ? {} : { privateKey: model.privateKey }),
    ...(model.nextPrivateKey === undefined ? {} : { nextPrivateKey: model.nextPrivateKey }),
    added: peers.map(lanePeer),
    edited: [],
    prefixes: pack([], allowed),
  };
}

/** The steps, in their order. A small change is one piece. */
export function laneChanges(steps: DeviceSteps, own: OwnKeys): LaneChange[] {
  const prefixes = pack(steps.disallowed, steps.allowed);
  const freed = pack(steps.removed.flatMap(prefixesOf), []);
  const removed = steps.removed.map(({ id }) => id);
  const key = {
    ...(steps.hasNewPrivateKey ? { privateKey: own.privateKey ?? NO_KEY } : {}),
    ...(steps.adoptsNextKey ? { adoptsNextKey: true } : {}),
    ...(steps.hasNewNextKey ? { nextPrivateKey: own.nextPrivateKey ?? NO_KEY } : {}),
  };
  const peers = Math.max(removed.length, steps.added.length, steps.changed.length);
  if (peers <= PEERS_AT_ONCE && freed.length + prefixes.length <= PREFIXES_AT_ONCE * PREFIX_BYTES) {
    const { added, changed } = steps;
    return [{ removed, ...key, added: added.map(lanePeer), edited: changed.map(laneEdit), prefixes }];
  }
  return [
    ...piecesOfPrefixes(freed), // what a peer takes with it when it goes is not small either
    ...pieces(removed, PEERS_AT_ONCE).map((some) => ({ ...NOTHING, removed: some })),
    { ...NOTHING, ...key },
    ...pieces(steps.added, PEERS_AT_ONCE).map((added) => ({ ...NOTHING, added: added.map(lanePeer) })),
    ...pieces(steps.changed, PEERS_AT_ONCE).map((changed) => ({ ...NOTHING, edited: changed.map(laneEdit) })),
    ...piecesOfPrefixes(prefixes),
  ];
}

/** One edit as a change of its own. */
export function peerEdit(edit: LanePeerEdit): LaneChange {
  return { ...NOTHING, edited: [edit] };
}

function prefixesOf({ id, allowedIps }: ModelPeer): PrefixStep[] {
  return Array.from(allowedIps, (prefix) => ({ peer: id, prefix }));
}

export function laneEndpoint({ address, zone, port }: PeerEndpoint): LaneEndpoint {
  const { scope } = literalEndpoint({ kind: 'address', address, zone, port });
  return { address: address.bytes, port, scope };
}

function lanePeer({
  id,
  publicKey,
  presharedKey,
  endpoint,
  keepaliveSeconds,
  otherKeys,
}: ModelPeer): LanePeer {
  const at = endpoint && laneEndpoint(endpoint);
  return { id, publicKey, presharedKey, endpoint: at, keepaliveSeconds, otherKeys };
}

function laneEdit({
  peer,
  hasNewPresharedKey,
  hasNewEndpoint,
  hasNewKeepalive,
  ...keys
}: PeerStep): LanePeerEdit {
  return {
    ...(keys.hasNewOtherKeys && peer.otherKeys !== undefined ? { otherKeys: peer.otherKeys } : {}),
    ...(keys.prefersOther ? { prefersOther: true } : {}),
    ...(keys.settles === undefined ? {} : { settles: keys.settles }),
    ...(keys.renews ? { renews: true } : {}),
    id: peer.id,
    ...(hasNewPresharedKey ? { presharedKey: peer.presharedKey ?? NO_KEY } : {}),
    ...(hasNewEndpoint && peer.endpoint !== undefined ? { endpoint: laneEndpoint(peer.endpoint) } : {}),
    ...(hasNewKeepalive ? { keepaliveSeconds: peer.keepaliveSeconds } : {}),
  };
}

function pack(disallowed: readonly PrefixStep[], allowed: readonly PrefixStep[]): Uint8Array {
  const packer = new PrefixPacker(disallowed.length + allowed.length);
  const add = (isGiven: boolean, { peer, prefix }: PrefixStep): void => {
    const { address, length } = unpackPrefix(prefix);
    packer.add(peer, isGiven, address.bytes, length);
  };
  for (const step of disallowed) add(false, step);
  for (const step of allowed) add(true, step);
  return packer.bytes();
}

function pieces<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size));
}

/** Copies: a message takes all of the memory that a view is of. */
function piecesOfPrefixes(packed: Uint8Array): LaneChange[] {
  const size = PREFIXES_AT_ONCE * PREFIX_BYTES;
  return Array.from({ length: Math.ceil(packed.length / size) }, (_, i) => ({
    ...NOTHING,
    prefixes: packed.slice(i * size, (i + 1) * size),
  }));
}
