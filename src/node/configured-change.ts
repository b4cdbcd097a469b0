// What files say of keys and peers → changes of a device: all of it at a start, the difference between two at a reload.

import { isDeepStrictEqual } from 'node:util';
import { renderEndpoint } from '../address/endpoint.ts';
import { packPrefix } from '../address/prefix.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import type { Secrets } from '../config/secrets.ts';
import type { AllowedIpEdit, DeviceChange, PeerChange } from '../control/uapi/change.ts';
import { type PeerKey, peerKey } from '../control/uapi/model.ts';
import { allowedIps } from './interface.ts';

const NO_KEY = new Uint8Array(32);

/** What a file says of keys and peers. It borrows the secrets. */
export function configuredChange(config: NodeConfig, { privateKey, presharedKeys }: Secrets): DeviceChange {
  return {
    privateKey,
    peers: config.peers.map((peer) => configuredPeer(peer, presharedKeys.get(peer.name))),
  };
}

/**
 * What makes a device that was told `from` what `to` says; what both say is left alone, also where somebody has changed it
 * since over the UAPI. It borrows the secrets, which are those of `to`.
 */
export function changeBetween(
  from: NodeConfig,
  to: NodeConfig,
  { privateKey, presharedKeys }: Secrets,
): DeviceChange {
  const former = byKey(from.peers);
  const present = byKey(to.peers);
  const gone = from.peers.filter(({ publicKey }) => !present.has(peerKey(publicKey)));
  const { listenPort } = to.interface;
  return {
    privateKey,
    ...(listenPort === from.interface.listenPort ? {} : { listenPort }),
    peers: [
      ...gone.map(({ publicKey }): PeerChange => ({ publicKey, remove: true, allowedIps: [] })),
      ...to.peers.flatMap((peer) => {
        const before = former.get(peerKey(peer.publicKey));
        const secret = presharedKeys.get(peer.name);
        return before === undefined
          ? configuredPeer(peer, secret)
          : (peerBetween(before, peer, secret) ?? []);
      }),
    ],
  };
}

function configuredPeer(peer: PeerConfig, presharedKey: Uint8Array | undefined): PeerChange {
  return {
    publicKey: peer.publicKey,
    keepaliveSeconds: peer.keepaliveSeconds,
    ...(presharedKey === undefined ? {} : { presharedKey }),
    ...firstAddress(peer),
    allowedIps: packedIps(peer).map((prefix) => ({ type: 'add', prefix })),
  };
}

/** undefined where nothing is different; the same preshared key again is for the device to see. */
function peerBetween(
  before: PeerConfig,
  after: PeerConfig,
  presharedKey: Uint8Array | undefined,
): PeerChange | undefined {
  const mayHaveOtherKey = before.presharedKeyFile !== null || presharedKey !== undefined;
  if (!mayHaveOtherKey && isDeepStrictEqual(before, after)) return undefined; // of thousands, most
  const endpoints = (peer: PeerConfig): string => peer.endpoints.map(renderEndpoint).join();
  const [former, present] = [new Set(packedIps(before)), new Set(packedIps(after))];
  const edits: AllowedIpEdit[] = [
    ...[...former]
      .filter((prefix) => !present.has(prefix))
      .map((prefix) => ({ type: 'remove' as const, prefix })),
    ...[...present]
      .filter((prefix) => !former.has(prefix))
      .map((prefix) => ({ type: 'add' as const, prefix })),
  ];
  const hasOtherKeepalive = before.keepaliveSeconds !== after.keepaliveSeconds;
  const hasOtherEndpoints = endpoints(before) !== endpoints(after);
  if (edits.length === 0 && !hasOtherKeepalive && !hasOtherEndpoints && !mayHaveOtherKey) return undefined;
  return {
    publicKey: after.publicKey,
    ...(mayHaveOtherKey ? { presharedKey: presharedKey ?? NO_KEY } : {}),
    ...(hasOtherKeepalive ? { keepaliveSeconds: after.keepaliveSeconds } : {}),
    ...(hasOtherEndpoints ? firstAddress(after) : {}),
    allowedIps: edits,
  };
}

/** The first endpoint that is an address; a name has yet to resolve. */
function firstAddress(peer: PeerConfig): Pick<PeerChange, 'endpoint'> {
  const literal = peer.endpoints.find((endpoint) => endpoint.kind === 'address');
  return literal === undefined ? {} : { endpoint: literal };
}

function packedIps(peer: PeerConfig) {
  return allowedIps(peer).map(packPrefix);
}

function byKey(peers: readonly PeerConfig[]): Map<PeerKey, PeerConfig> {
  return new Map(peers.map((peer) => [peerKey(peer.publicKey), peer]));
}
