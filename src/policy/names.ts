// Names that a node answers for its overlay, as plain data: what the file says of them. `dns/` makes answers of it, and of the
// policy, which says who may learn which of them.

import type { IpAddress } from '../address/ip.ts';
import type { Rule } from './model.ts';

export interface NamePolicy extends Rule {
  /** What the names of peers and services end in: lower case, no dot at the end. */
  readonly domain: string;
  /** Who is asked for all other names, in this order; empty: they are refused. */
  readonly upstream: readonly NameServer[];
  /** By the name of a profile, which names its peers are refused, whatever they may reach. */
  readonly denied: ReadonlyMap<string, readonly NamePattern[]>;
  /** Where the equivalent configuration of CoreDNS goes; null: nowhere. */
  readonly corefile: Corefile | null;
}

export interface NameServer {
  readonly address: IpAddress;
  readonly port: number;
}

/** `files.cell`: this name. `*.cell`: every name below it. `*`: every name. Lower case, no dot at the end. */
export interface NamePattern {
  readonly name: string;
  readonly isBelow: boolean;
}

/** Absolute paths. */
export interface Corefile {
  readonly file: string;
  /** Holds the process that is sent SIGUSR1 when the file is another; null: nobody is told. */
  readonly pidFile: string | null;
}
