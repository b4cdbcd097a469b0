// What the UAPI asks of a device, declared here and implemented by node/: the socket knows no node.

import type { DeviceChange, Errno, PeerEndpoint } from './change.ts';
import type { ModelPeer } from './model.ts';

/** What a lane has counted of a peer. */
export interface PeerTraffic {
  /** Where its messages come from; null = it was not heard and has no endpoint. */
  readonly endpoint: PeerEndpoint | null;
  /** Whole WireGuard messages. */
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  /** Milliseconds since 1970, 0 = never. */
  readonly lastHandshakeMs: number;
  /** Whether that was made with the second set of keys. */
  readonly isMadeWithOther: boolean;
}

/** A device at one moment. All of it is borrowed until the next turn of the event loop. */
export interface DeviceSnapshot {
  readonly privateKey: Uint8Array | undefined;
  readonly listenPort: number;
  /** 0 = none. */
  readonly fwmark: number;
  readonly peers: Iterable<ModelPeer>;
  /** Of a peer, by id; undefined while no lane runs, or for a peer newer than the question. */
  readonly traffic: (peer: number) => PeerTraffic | undefined;
}

export interface UapiDevice {
  get(): Promise<DeviceSnapshot>;
  /** Applies a change whole, or answers with a number other than 0 and has changed nothing. Never rejects. */
  set(change: DeviceChange): Promise<Errno>;
}
