// What the host's own rules are to do, as plain data: openings, forwarding, NAT, guards, egress by user. The core's filter
// judges what goes through the tunnel; this is the rest. `src/firewall/` renders it; docs/host-firewall.md is its manual.

import type { IpAddress } from '../address/ip.ts';
import type { IpPrefix } from '../address/prefix.ts';
import type { InboundSource } from './model.ts';

/** What applies the rules: `print` only shows them, `off` has none. `iptables` is of whichever kind the host uses. */
export type HostBackend = 'auto' | 'nft' | 'iptables' | 'iptables-nft' | 'iptables-legacy' | 'print' | 'off';

export interface HostPolicy {
  /** Marks table, comments and chains as ours: at most 15 letters, digits or `_`. */
  readonly network: string;
  readonly backend: HostBackend;
  /** `open`: also accepts inside chains of others that drop; `respect`: only ever restricts. */
  readonly stance: 'open' | 'respect';
  /** What becomes of the rules when the node stops; a crash always keeps them. */
  readonly onStop: 'keep-deny' | 'remove';
  /** `auto`: IP forwarding is switched on when a row needs it. */
  readonly forwarding: 'auto' | 'off';
  /** Whether the host's rules enforce the policy of the peers a second time, on what goes through the tunnel. */
  readonly mirrorsPolicy: boolean;
  readonly inbound: readonly InboundPort[];
  readonly leakGuard: LeakGuard;
  readonly masquerade: readonly MasqueradeRow[];
  readonly snat: readonly SnatRow[];
  readonly publish: readonly PublishRow[];
  readonly oneToOne: readonly OneToOneRow[];
  readonly process: readonly ProcessRow[];
  /** Whether the MSS of TCP through the tunnel is clamped to the MTU of the way. */
  readonly clampsMss: boolean;
  /** Networks of sites that use the internet of this host: what they send there gets its address. */
  readonly exitUsers: readonly IpPrefix[];
}

/** Each part drops what carries an overlay address in the clear: what comes in, what goes out, and its route when the tunnel is gone. */
export interface LeakGuard {
  readonly in: boolean;
  readonly out: boolean;
  readonly route: boolean;
}

/** Both ends belong to it. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export type Protocol = 'tcp' | 'udp';

/** A port of this host that only these sources reach. Several rows of one port add up: it closes with the last. */
export interface InboundPort {
  readonly name: string;
  readonly protocol: Protocol;
  /** `listen`: the node's own UDP port. */
  readonly ports: PortRange | 'listen';
  /** One of them must fit. */
  readonly from: readonly InboundSource[];
  /** Who asked for it, or null. */
  readonly owner: string | null;
}

/** What leaves by an interface gets the host's address there. */
export interface MasqueradeRow {
  readonly from: 'overlay' | IpPrefix;
  /** The name of an interface, or any but the tunnel. */
  readonly out: string | 'non-overlay';
}

export interface SnatRow {
  readonly from: 'overlay' | IpPrefix;
  readonly out: string;
  /** A host's address: of the same version as `from`. */
  readonly to: IpAddress;
}

/** Ports of this host that somebody else serves: DNAT. */
export interface PublishRow {
  /** Names the row; unique among rows of one protocol. */
  readonly owner: string;
  readonly protocol: Protocol;
  /** `any`: every address of this host; `overlay`: those in the overlay, through the tunnel only. */
  readonly listen: 'any' | 'overlay' | IpAddress;
  /** The interface through which clients come, or null: any. */
  readonly in: string | null;
  readonly ports: readonly PortMapping[];
  readonly to: PublishTarget;
  /** `masquerade`: the backend sees this host in place of the client. */
  readonly source: 'preserve' | 'masquerade';
  /** Whether hosts of the backend's own network, the backend and this host get there by the published address. */
  readonly hairpin: boolean;
  /** Whether 127.0.0.1 serves it, too. */
  readonly localhost: boolean;
  /** One of them must fit. */
  readonly from: readonly InboundSource[];
}

export type PublishTarget =
  | { readonly kind: 'address'; readonly address: IpAddress }
  /** Its addresses in the overlay. */
  | { readonly kind: 'peer'; readonly name: string };

export interface PortMapping {
  readonly ports: PortRange;
  /** What the first of them becomes; the others follow in step. */
  readonly to: number;
}

/** Two networks of one size, or two addresses: what is sent to the one goes to the other, and back. */
export interface OneToOneRow {
  readonly external: IpPrefix;
  readonly internal: IpPrefix;
}

/** Only processes of these users, and in these cgroups, reach these addresses from this host. */
export interface ProcessRow {
  /** Numbers or names of users, one of whom it must be; null: any. */
  readonly users: readonly (number | string)[] | null;
  /** Cgroups (v2), in or below one of which it must be, from the root of the hierarchy on; null: any. */
  readonly cgroups: readonly string[] | null;
  readonly to: readonly ProcessTarget[];
}

export type ProcessTarget =
  | { readonly kind: 'address'; readonly address: IpAddress; readonly port: number }
  /** Whatever the name resolves to. */
  | { readonly kind: 'name'; readonly name: string; readonly port: number };
