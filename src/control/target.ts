// What the control surfaces ask of a node, declared here and implemented by node/: they know no node.

import type { Offload } from '../config/offloads.ts';

/** A node as a status reader sees it. Counts are decimal strings: they outgrow a JavaScript number. */
export interface NodeStatus {
  readonly version: string;
  readonly pid: number;
  readonly startedSeconds: number;
  readonly interface: {
    readonly name: string;
    /** null = it has no private key yet. */
    readonly publicKey: string | null;
    readonly listenPort: number;
    readonly mtu: number;
    readonly addresses: readonly string[];
    readonly offloads: Readonly<Record<Offload, OffloadStatus>>;
  };
  readonly lane: {
    readonly state: 'running' | 'restarting';
    readonly restarts: number;
    /** Why the last one failed; null if none did. */
    readonly lastFailure: string | null;
    /** Who has to show a cookie before a handshake: anyone but `nobody` means that handshakes pile up. */
    readonly asksCookiesOf: 'nobody' | 'busy-sources' | 'everyone';
  };
  /** The host's own rules; null where the file says nothing of them. */
  readonly hostRules: HostRulesStatus | null;
  /** null: the file has no section `firewall`, and every peer may reach everything, as with plain WireGuard. */
  readonly policy: PolicyStatus | null;
  /** null: the node answers no names. */
  readonly names: NamesStatus | null;
  /** Keys that are being changed, or are to be. */
  readonly rotations: readonly RotationStatus[];
  readonly peers: readonly PeerStatus[];
  /** Dropped packets by reason, zeros too. */
  readonly drops: Readonly<Record<string, string>>;
  /** System calls that failed, as `sendmmsg ENETUNREACH`. */
  readonly faults: Readonly<Record<string, number>>;
}

/** What the packet filter does. While no lane runs nothing passes. */
export type PolicyStatus =
  | { readonly state: 'restarting' }
  | {
      readonly state: 'enforced';
      /** Counts the changes of the policy since the lane started. */
      readonly generation: number;
      readonly rules: number;
      readonly flows: number;
      readonly mostFlows: number;
      /** Flows that gave way to new ones: the table was full. */
      readonly evictedFlows: string;
      /** Peers that others use the internet of, in file order. */
      readonly exits: readonly ExitStatus[];
      /** Most packets first; at most 4,096 pairs of rule and peer. */
      readonly denied: readonly DeniedStatus[];
      /** Peers that the policy limits, or that have used something; over restarts, as far as the file of the accounts reaches. */
      readonly accounts: readonly PeerAccountStatus[];
      readonly services: readonly ServiceAccountStatus[];
    };

/** What was counted in one direction. Bytes are those of IP packets inside the tunnel; flows were opened in it. */
export interface TallyStatus {
  readonly bytes: string;
  readonly packets: string;
  readonly flows: string;
}

export interface AccountStatus {
  /** From the peer; to the service. */
  readonly up: TallyStatus;
  /** To the peer; from the service. */
  readonly down: TallyStatus;
}

export interface ServiceAccountStatus extends AccountStatus {
  readonly service: string;
}

export interface PeerAccountStatus extends AccountStatus {
  readonly peer: string;
  /** In bytes of IP packets per second; null = as fast as can be. */
  readonly rate: { readonly up: number | null; readonly down: number | null } | null;
  readonly quota: {
    readonly bytes: string;
    readonly usedBytes: string;
    readonly period: 'day' | 'week' | 'month';
    /** When the period ends, in seconds since 1970. */
    readonly endsSeconds: number;
    /** Past it: nothing passes, or so many bytes per second each way. */
    readonly over: 'deny' | number;
    readonly isOver: boolean;
  } | null;
}

/** By whose tunnel the internet of some peers leaves. */
export interface ExitStatus {
  readonly peer: string;
  readonly users: readonly string[];
}

/** What one rule has denied one peer since the lane started. */
export interface DeniedStatus {
  /** null: a peer that is gone. */
  readonly peer: string | null;
  /** null: nothing allowed it. */
  readonly rule: string | null;
  /** Where the rule stands, as `file:line:column`. */
  readonly place: string | null;
  readonly stage: string;
  readonly packets: string;
  readonly bytes: string;
}

/**
 * Why an offload is not in use: the file has it off, `RINGFENCE_OFFLOADS` has, the host lacks it, or it refused a train
 * (`EIO`: its device makes no checksums), after which they leave datagram by datagram.
 */
export type OffloadObstacle = 'config' | 'environment' | 'host' | 'eio';

export interface OffloadStatus {
  readonly isActive: boolean;
  /** null while it is active. */
  readonly obstacle: OffloadObstacle | null;
}

export interface NamesStatus {
  readonly domain: string;
  readonly addresses: readonly string[];
  /** Questions by how they ended, zeros too. */
  readonly questions: Readonly<Record<string, string>>;
}

/** A key that is being changed. While it is `offered` or `confirmed`, the old one and the new one are both accepted. */
export interface RotationStatus {
  /** Our own key pair, the preshared key with a peer, or the key pair of a peer. */
  readonly what: 'identity' | 'psk' | 'peer';
  /** null: our own key pair. */
  readonly peer: string | null;
  /** `scheduled`: it begins later. `offered`: somebody has yet to use the new key. `confirmed`: all do; the old one goes. */
  readonly state: 'scheduled' | 'offered' | 'confirmed';
  /** Which rotation of this key it is, on this node; null while it is scheduled, and where nobody has counted. */
  readonly generation: number | null;
  /** Since when the new key is accepted, in seconds since 1970; of a scheduled one when it begins. null: not known. */
  readonly sinceSeconds: number | null;
  /** The peers with which no handshake was made with the new key. */
  readonly unconfirmed: readonly string[];
}

export interface PeerStatus {
  readonly name: string;
  readonly publicKey: string;
  readonly hasPresharedKey: boolean;
  readonly endpoint: string | null;
  /** Seconds since 1970; null = never. */
  readonly latestHandshakeSeconds: number | null;
  readonly rxBytes: string;
  readonly txBytes: string;
  readonly keepaliveSeconds: number;
  readonly allowedIps: readonly string[];
}

export interface HostRulesStatus {
  /** What applies them; `none`: nothing does. */
  readonly backend: 'nft' | 'iptables-nft' | 'iptables-legacy' | 'none';
  /** Of nft, in family `inet`; of iptables, what names of chains begin with. */
  readonly table: string;
  /** What was asked for and does not hold, one sentence each, with what to do. */
  readonly notEnforced: readonly string[];
  /** How often somebody took the rules away and they were put back. */
  readonly restored: number;
  /** What is to pass this host's rules, and whether a packet that was tried did; null before that. */
  readonly paths: readonly HostPathStatus[] | null;
  /** Packets by counter, as decimal strings. */
  readonly counters: Readonly<Record<string, string>>;
}

/** An opening, a published port or another path, of which packets were sent that nobody hears of. */
export interface HostPathStatus {
  readonly name: string;
  /** `no`: something drops its packets; `unknown`: it could not be tried. */
  readonly effective: 'yes' | 'no' | 'unknown';
  /** What drops them, such as the chain `inet admin input`; null where they pass, or nobody can say. */
  readonly by: string | null;
  /** A sentence: which packet was dropped by which rule, or why none could be tried; null where they pass. */
  readonly why: string | null;
  /** What lets it pass, to be typed; null where there is no such line. */
  readonly remedy: string | null;
}

/** What a client asks for: a word, and what else the request of that word has. All of it is unchecked. */
export interface NodeRequest {
  readonly request: string;
  readonly [field: string]: unknown;
}

/** A packet of a peer that is followed, at the tunnel, and what became of it. */
export interface FollowedPacket {
  /** Since 1970, to the turn of the loop in which it came. */
  readonly timeMs: number;
  readonly leg: 'in' | 'out';
  /** null: it could not be read. */
  readonly source: string | null;
  readonly destination: string | null;
  readonly protocol: number;
  /** Of ICMP the identifier and the type. null: its protocol has none, or it is a later piece of a datagram. */
  readonly sourcePort: number | null;
  readonly port: number | null;
  readonly lengthBytes: number;
  /** `drop`: not the policy says so but what the packet is; see `reason`. */
  readonly verdict: 'allow' | 'deny' | 'drop';
  /** Where the policy decided; null for a drop. */
  readonly stage: string | null;
  /** null: no row did. */
  readonly rule: string | null;
  /** Where the row stands, as `file:line:column`. */
  readonly place: string | null;
  readonly reason: string | null;
}

/** The answer when a peer is no longer followed. */
export interface FollowedAnswer {
  /** Packets that were not told of: they came too fast, or the client read too slowly. */
  readonly missed: number;
}

/** Who asks something that takes a while. */
export interface Asker {
  /** Says something before the answer, as JSON. False: the client reads too slowly, and is not told this. */
  tell(word: unknown): boolean;
  /** Aborted when the client has gone, or has ended its half of the connection. */
  readonly gone: AbortSignal;
}

/** The requests of a target beside `status`, by their word. What one settles with is the answer, as JSON. */
export type RequestHandlers = Readonly<
  Record<string, (asked: NodeRequest, asker: Asker) => Promise<unknown>>
>;

/** The running node behind a socket. */
export interface ControlTarget {
  status(): Promise<NodeStatus>;
  readonly requests: RequestHandlers;
}
