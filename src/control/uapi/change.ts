// What one `set=1` asks for, as plain data: parsed, valid in itself, not yet held against any device.

import type { IpAddress } from '../../address/ip.ts';
import type { PackedPrefix } from '../../address/prefix.ts';

/** What the answer `errno=` says. Negative, as wireguard-go has it. */
export const ERRNO = {
  ok: 0,
  /** EIO: the connection ended inside a request, or a line is longer than any line is. */
  io: -5,
  /** EINVAL: a bad value or an unknown key. */
  invalid: -22,
  /** What has no number of its own. */
  other: -55,
  /** EPROTO: a line without `=`. */
  protocol: -71,
  /** EADDRINUSE: the port is taken, or the mark refused. */
  portInUse: -98,
} as const;

export type Errno = (typeof ERRNO)[keyof typeof ERRNO];

/** A literal address; `zone` is the interface of a link-local one. */
export interface PeerEndpoint {
  readonly address: IpAddress;
  readonly zone: string | null;
  readonly port: number;
}

/** Edits of a peer's allowed IPs, in the order in which they take effect. */
export type AllowedIpEdit =
  | { readonly type: 'add' | 'remove'; readonly prefix: PackedPrefix }
  /** `replace_allowed_ips=true`: all that it has by now. */
  | { readonly type: 'clear' };

/** What changes of one peer; what is not given stays. Whoever applied it wipes the preshared key. */
export interface PeerChange {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly remove?: boolean;
  /** Without it, a peer that is not there is made. */
  readonly updateOnly?: boolean;
  /** 32 bytes; zeros = none. */
  readonly presharedKey?: Uint8Array;
  readonly endpoint?: PeerEndpoint;
  /** 0 = off. */
  readonly keepaliveSeconds?: number;
  /** A second set of keys, whose handshakes are answered as well; in the place of an earlier second set. */
  readonly otherKeys?: PeerKeys;
  /** Handshakes begin with the second set from now on. */
  readonly prefersOther?: boolean;
  /** One of the two sets is kept, the other goes. */
  readonly settles?: KeySet;
  /** A handshake begins now, also where there is a good session. */
  readonly renews?: boolean;
  readonly allowedIps: readonly AllowedIpEdit[];
}

/** What a handshake is made of, beside our own key pair. */
export interface PeerKeys {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 32 bytes; undefined = none. */
  readonly presharedKey: Uint8Array | undefined;
}

export type KeySet = 'first' | 'other';

/** One request, to be applied whole or not at all. Whoever applied it wipes the private key. */
export interface DeviceChange {
  /** 32 bytes, clamped; zeros = none. */
  readonly privateKey?: Uint8Array;
  /** The key that is to follow ours, in the same form: handshakes with either are answered. */
  readonly nextPrivateKey?: Uint8Array;
  /** The key that was to follow ours is ours, and the former one is no more. */
  readonly adoptsNextKey?: boolean;
  /** 0 = any. */
  readonly listenPort?: number;
  /** 0 = none. */
  readonly fwmark?: number;
  /** All peers go before `peers` come. */
  readonly replacePeers?: boolean;
  /** In the order of the request; one peer may come twice. */
  readonly peers: readonly PeerChange[];
}
