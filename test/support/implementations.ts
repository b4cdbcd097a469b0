// Who there is to speak to: our own kind, and the other userspace implementations, as pairs on the same ground.

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { MixedPair } from './mixed-pair.ts';
import { startPair } from './pair.ts';
import type { Routed } from './topology.ts';

export type GroundOptions = {
  readonly underlay?: 'v4' | 'v6';
  readonly mtu?: number;
  readonly underlayMtu?: number;
  readonly keepalive?: number;
  /** Who knows the other's endpoint; both without it. */
  readonly initiator?: 'left' | 'right' | 'both';
  readonly endpoints?: { readonly left?: string; readonly right?: string };
};

/** A tunnel between `net.left`, which is ours, and `net.right`, with the addresses of OVERLAY. */
export type Ground = AsyncDisposable & { readonly net: Routed };

export type Implementation = {
  readonly name: string;
  /** Why it cannot take part, or undefined: for `test.skipIf`. scripts/setup builds what is not a package. */
  readonly obstacle: string | undefined;
  /** A package of the system, of whatever age. */
  readonly isSystems: boolean;
  /** It loses packets of 30 kB. */
  readonly hasSmallPacketsOnly?: true;
  start(options: GroundOptions): Promise<Ground>;
};

/** Where bench/peers.sh puts what it builds. */
function built(name: string): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'ringfence', 'bench', name);
}

async function startOurs(options: GroundOptions): Promise<Ground> {
  const { underlay = 'v4', initiator = 'both', ...rest } = options;
  const initiators = initiator === 'both' ? (['left', 'right'] as const) : [initiator];
  return await startPair({ ...rest, underlay: underlay === 'v4' ? 4 : 6, initiators });
}

function other(name: string, binary?: string): Implementation {
  return {
    name,
    isSystems: binary === undefined,
    obstacle:
      binary === undefined || existsSync(binary) ? undefined : `there is no ${name}: run scripts/setup test`,
    start: async ({ initiator = 'both', endpoints, ...rest }) => {
      const roles = { left: 'ours', right: 'theirs', both: 'both' } as const;
      return await MixedPair.start({
        ...rest,
        binary,
        initiator: roles[initiator],
        ...(endpoints === undefined
          ? {}
          : {
              endpoints: {
                ...(endpoints.left === undefined ? {} : { ours: endpoints.left }),
                ...(endpoints.right === undefined ? {} : { theirs: endpoints.right }),
              },
            }),
      });
    },
  };
}

export const IMPLEMENTATIONS: readonly Implementation[] = [
  { name: 'ours', obstacle: undefined, isSystems: false, start: startOurs },
  other('the newest wireguard-go', built('wireguard-go')),
  other("the system's wireguard-go"),
  { ...other('boringtun-cli', built('boringtun-cli')), hasSmallPacketsOnly: true },
];
