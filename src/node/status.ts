// A device → what a status reader sees, by peer name. A peer that no file names is called by its public key.

import { renderEndpoint } from '../address/endpoint.ts';
import { renderPrefix, unpackPrefix } from '../address/prefix.ts';
import { renderPublicKey } from '../config/key.ts';
import type { PeerConfig } from '../config/schema.ts';
import type {
  HostRulesStatus,
  NamesStatus,
  NodeStatus,
  PeerStatus,
  PolicyStatus,
  RotationStatus,
} from '../control/target.ts';
import type { PeerTraffic } from '../control/uapi/device.ts';
import { type ModelPeer, type PeerKey, peerKey } from '../control/uapi/model.ts';
import type { Device, DeviceCounters } from './device.ts';
import { type OffloadChoice, offloadStatuses } from './offloads.ts';

/** What a device does not know of itself. */
export interface NodeFacts {
  readonly name: string;
  readonly version: string;
  readonly startedSeconds: number;
  readonly addresses: readonly string[];
  readonly offloads: OffloadChoice;
  readonly hostRules: HostRulesStatus | null;
  readonly policy: PolicyStatus | null;
  readonly names: NamesStatus | null;
  /** Those that a file names. */
  readonly peers: ReadonlyMap<PeerKey, PeerConfig>;
  /** Keys that are being changed; it is told whether a peer uses the new one. */
  readonly rotations: (isConfirmed: (publicKey: Uint8Array) => boolean) => readonly RotationStatus[];
  /** Those that are no peers of a user: the one-time keys of invites. */
  readonly isHidden: (publicKey: Uint8Array) => boolean;
}

export async function nodeStatus(device: Device, facts: NodeFacts): Promise<NodeStatus> {
  const { counters, ...own } = await device.status();
  const shown = Array.from(own.peers).filter(({ publicKey }) => !facts.isHidden(publicKey));
  const peers = shown.map((peer) =>
    peerStatus(peer, own.traffic(peer.id), facts.peers.get(peerKey(peer.publicKey))),
  );
  return {
    version: facts.version,
    pid: process.pid,
    startedSeconds: facts.startedSeconds,
    interface: {
      name: facts.name,
      publicKey: own.publicKey === undefined ? null : renderPublicKey(own.publicKey),
      listenPort: own.listenPort,
      mtu: own.mtu,
      addresses: facts.addresses,
      offloads: offloadStatuses(facts.offloads, own.offloads, counters?.sendsTrains ?? true),
    },
    lane: {
      state: device.lane?.isRunning === true ? 'running' : 'restarting',
      restarts: device.lane?.restarts ?? 0,
      lastFailure: device.lane?.lastFailure ?? null,
      asksCookiesOf: counters?.asksCookiesOf ?? 'nobody',
    },
    hostRules: facts.hostRules,
    policy: facts.policy,
    names: facts.names,
    rotations: facts.rotations(
      (publicKey) => own.traffic(device.peer(publicKey)?.id ?? -1)?.isMadeWithOther === true,
    ),
    peers,
    drops: Object.fromEntries(
      Array.from(counters?.drops ?? [], ([reason, count]) => [reason, String(count)]),
    ),
    faults: faultTable(counters),
  };
}

function peerStatus(
  peer: ModelPeer,
  traffic: PeerTraffic | undefined,
  configured: PeerConfig | undefined,
): PeerStatus {
  const endpoint = traffic?.endpoint ?? peer.endpoint;
  const [named] = configured?.endpoints ?? [];
  const lastHandshakeMs = traffic?.lastHandshakeMs ?? 0;
  return {
    name: configured?.name ?? renderPublicKey(peer.publicKey),
    publicKey: renderPublicKey(peer.publicKey),
    hasPresharedKey: peer.presharedKey !== undefined,
    endpoint:
      endpoint === undefined
        ? ((named && renderEndpoint(named)) ?? null)
        : renderEndpoint({ kind: 'address', ...endpoint }),
    latestHandshakeSeconds: lastHandshakeMs === 0 ? null : Math.floor(lastHandshakeMs / 1000),
    rxBytes: String(traffic?.rxBytes ?? 0n),
    txBytes: String(traffic?.txBytes ?? 0n),
    keepaliveSeconds: peer.keepaliveSeconds,
    allowedIps: Array.from(peer.allowedIps, (prefix) => renderPrefix(unpackPrefix(prefix))),
  };
}

function faultTable(counters: DeviceCounters | undefined): Record<string, number> {
  return Object.fromEntries(
    (counters?.faults ?? []).map(({ call, code, count }) => [`${call} ${code}`, count]),
  );
}
