// What the main thread and a lane say to each other: plain data, one union each way. The main thread writes to the
// lane's event after posting, because a lane that sleeps in the kernel sees no message.

import type { Fault } from 'node-tuntap2';

/** Where a peer is reached. `address` has 4 or 16 bytes. */
export interface LaneEndpoint {
  readonly address: Uint8Array;
  readonly port: number;
  readonly scope: number;
}

/** A prefix a peer may send from and is sent to. `address` has 4 or 16 bytes. */
export interface LanePrefix {
  readonly address: Uint8Array;
  readonly length: number;
}

export interface LanePeer {
  readonly name: string;
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array | undefined;
  readonly endpoint: LaneEndpoint | undefined;
  readonly keepaliveSeconds: number;
  readonly allowedIps: readonly LanePrefix[];
}

/** All a lane needs to begin. It wipes its copies of the keys once the core has them. */
export interface LaneSettings {
  readonly privateKey: Uint8Array;
  readonly mtu: number;
  readonly peers: readonly LanePeer[];
}

/** Borrowed by the lane; whoever opened them closes them after the lane has ended. */
export interface LaneDescriptors {
  readonly tun: number;
  readonly udp4: number;
  readonly udp6: number | undefined;
  readonly event: number;
  /** What was asked for and the host has. */
  readonly offloads: LaneOffloads;
}

/** Which offloads are asked for, or in use. */
export interface LaneOffloads {
  /** Trains of datagrams out (UDP_SEGMENT) and in (UDP_GRO). */
  readonly udpGso: boolean;
  readonly udpGro: boolean;
  /** Superpackets of TCP and UDP to and from the TUN device. */
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
}

export type ToLane =
  | { readonly type: 'stop' }
  | { readonly type: 'status'; readonly request: number }
  | { readonly type: 'endpoint'; readonly peer: string; readonly endpoint: LaneEndpoint };

export interface LanePeerStatus {
  readonly name: string;
  readonly endpoint: LaneEndpoint | null;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  /** Age of the last handshake; null = never. */
  readonly handshakeAgeMs: number | null;
}

export interface LaneStatus {
  readonly peers: readonly LanePeerStatus[];
  /** Dropped packets by reason. */
  readonly drops: ReadonlyMap<string, bigint>;
  /** System calls that failed, counted by call and errno. */
  readonly faults: readonly Fault[];
  /** Whether trains are sent: false once the host refused one. */
  readonly sendsTrains: boolean;
}

export type FromLane =
  | { readonly type: 'ready' }
  | { readonly type: 'status'; readonly request: number; readonly status: LaneStatus }
  /** New failures of system calls since the last such message; at most one a minute. */
  | { readonly type: 'faults'; readonly faults: readonly Fault[] }
  /** The TUN interface was deleted: the lane has ended. */
  | { readonly type: 'interface-gone' }
  /** The core refused or trapped: the lane has ended, and a fresh one may take its place. */
  | { readonly type: 'failed'; readonly reason: string };
