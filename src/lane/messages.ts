// What the main thread and a lane say to each other: plain data, one union each way. The main thread writes to the
// lane's event after posting, because a lane that sleeps in the kernel sees no message.

import type { Fault } from 'node-tuntap2';
import type { FilterDrops, FilterLogEntry, FilterMeter, FilterStatus, Load, Tally } from 'wireguard-wasm';

/** Where a peer is reached. `address` has 4 or 16 bytes. */
export interface LaneEndpoint {
  readonly address: Uint8Array;
  readonly port: number;
  readonly scope: number;
}

export interface LanePeer {
  /** The main thread's number of it, never used for another. */
  readonly id: number;
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array | undefined;
  readonly endpoint: LaneEndpoint | undefined;
  readonly keepaliveSeconds: number;
  readonly otherKeys: LanePeerKeys | undefined;
}

/** A second set of keys. */
export interface LanePeerKeys {
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array | undefined;
}

/** What changes of a peer that the lane has; what is not given stays. */
export interface LanePeerEdit {
  readonly id: number;
  /** 32 bytes; zeros = none. */
  readonly presharedKey?: Uint8Array;
  readonly endpoint?: LaneEndpoint;
  /** Where the next initiation goes, to see whether the peer answers there. */
  readonly probe?: LaneEndpoint;
  readonly keepaliveSeconds?: number;
  readonly otherKeys?: LanePeerKeys;
  readonly prefersOther?: boolean;
  readonly settles?: 'first' | 'other';
  readonly renews?: boolean;
}

/** Who we are and who our peers are: all of it at first, then differences. Carried out in the order of the fields. */
export interface LaneChange {
  /** Ids of peers that go. */
  readonly removed: readonly number[];
  /** 32 bytes; zeros = none. The lane wipes its copies of the keys once the core has them. */
  readonly privateKey?: Uint8Array;
  /** The key that was to follow ours is ours from now on. */
  readonly adoptsNextKey?: boolean;
  /** Another key that is to follow ours, in the same form. */
  readonly nextPrivateKey?: Uint8Array;
  readonly added: readonly LanePeer[];
  readonly edited: readonly LanePeerEdit[];
  /** {@link PREFIX_BYTES} each: see lane/prefixes.ts. */
  readonly prefixes: Uint8Array;
}

/** The policy of a lane that has none. */
export interface LanePolicy {
  /** Records of the whole policy: see policy/encode.ts. */
  readonly records: Uint8Array;
  /** Whether connections may have been there before the lane: those that the policy allows are taken up. */
  readonly picksUp: boolean;
}

/** All a lane needs to begin. */
export interface LaneSettings {
  readonly mtu: number;
  /** null: everything passes. With one, nothing does before it is in force. */
  readonly policy: LanePolicy | null;
  /** Added to the lane's clock it makes the time that handshakes carry: the same for each lane of a device. */
  readonly clockOffsetSeconds: number;
  readonly change: LaneChange;
}

/** Borrowed by the lane; whoever opened them closes them after the lane has ended. */
export interface LaneDescriptors {
  readonly tun: number;
  /** Whether the TUN device lacks the header that the core expects. */
  readonly addsHeader: boolean;
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
  /** Counters, and those of the peers named. */
  | { readonly type: 'status'; readonly request: number; readonly peers: Uint32Array }
  | { readonly type: 'change'; readonly change: LaneChange }
  /** A piece of a change of the policy, in whole records; it counts once the last piece has come, all of it or nothing. */
  | {
      readonly type: 'policy';
      readonly records: Uint8Array;
      readonly isFirst: boolean;
      /** On the last piece: the answer says whether the core has taken the change. */
      readonly request: number | null;
    }
  /** There is no policy any more: everything passes. */
  | { readonly type: 'no-policy' }
  /** What the filter has counted, and logged since the last time it was asked. */
  | { readonly type: 'filter'; readonly request: number }
  /** From now on the packets of these peers are logged, and no others'. Answered with what was logged since the last time. */
  | { readonly type: 'follow'; readonly request: number; readonly peers: Uint32Array }
  /** What was counted of peers and services, where it has changed since it was last asked. */
  | { readonly type: 'meters'; readonly request: number }
  /** To the host of a peer, through the tunnel. */
  | { readonly type: 'say'; readonly peer: number; readonly message: Uint8Array }
  /** Other sockets from now on. The lane empties the former ones first, and no longer uses them once it has answered. */
  | { readonly type: 'sockets'; readonly udp4: number; readonly udp6: number | undefined }
  /** Answered when all before it is done. */
  | { readonly type: 'fence'; readonly request: number };

export interface LanePeerStatus {
  readonly id: number;
  readonly endpoint: LaneEndpoint | null;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  /** On the clock of {@link LaneStatus.nowMs}; null = never. */
  readonly lastHandshakeMs: number | null;
  /** Whether that was made with the second set of keys. */
  readonly isMadeWithOther: boolean;
}

export interface LaneStatus {
  /** When the lane answered, on the clock of its handshakes. */
  readonly nowMs: number;
  /** {@link LanePeerStatus} each, packed: see lane/peer-records.ts. */
  readonly peers: Uint8Array;
  /** Dropped packets by reason. */
  readonly drops: ReadonlyMap<string, bigint>;
  /** System calls that failed, counted by call and errno. */
  readonly faults: readonly Fault[];
  /** Whether trains are sent: false once the host refused one. */
  readonly sendsTrains: boolean;
  /** Of whom a cookie is asked before a handshake, because handshakes pile up. */
  readonly asksCookiesOf: Load;
}

/** The filter as it is now; peers are the main thread's numbers, rules and stages those of the encoder. */
export interface LaneFilter extends LanePackets {
  readonly status: FilterStatus;
  readonly drops: readonly FilterDrops[];
}

/** Packets that the filter has logged. */
export interface LanePackets {
  /** Now, on the clock of the entries. */
  readonly nowMs: number;
  readonly log: readonly FilterLogEntry[];
}

/** What was counted in one direction. */
export type LaneTally = Tally;

/** What was counted since the lane's start, of those that it has changed of; peers are the main thread's numbers. */
export interface LaneMeters {
  /** When the lane started, on its clock: tells it from the one before. */
  readonly startedMs: number;
  readonly peers: readonly FilterMeter[];
  readonly services: readonly FilterMeter[];
}

export type FromLane =
  | { readonly type: 'ready' }
  | { readonly type: 'followed'; readonly request: number; readonly packets: LanePackets }
  | { readonly type: 'filter'; readonly request: number; readonly filter: LaneFilter }
  | { readonly type: 'meters'; readonly request: number; readonly meters: LaneMeters }
  /** Whether a change of the policy was taken. If not, the policy stays as it was: a fault of ours. */
  | { readonly type: 'policy'; readonly request: number; readonly isTaken: boolean }
  | { readonly type: 'status'; readonly request: number; readonly status: LaneStatus }
  | { readonly type: 'done'; readonly request: number }
  /** New failures of system calls since the last such message; at most one a minute. */
  | { readonly type: 'faults'; readonly faults: readonly Fault[] }
  /** The host of a peer says something to ours. */
  | { readonly type: 'heard'; readonly peer: number; readonly message: Uint8Array }
  /** Somebody gave the interface another MTU. */
  | { readonly type: 'mtu'; readonly mtu: number }
  /** The TUN interface was deleted: the lane has ended. */
  | { readonly type: 'interface-gone' }
  /** The core refused or trapped: the lane has ended, and a fresh one may take its place. */
  | { readonly type: 'failed'; readonly reason: string };
