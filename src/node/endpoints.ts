// Where peers are: literal addresses as they stand, names through the host's resolver. A name that does not resolve
// yet keeps nobody waiting: the node starts, and the name is asked for again until it answers.

import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import type { Endpoint } from '../address/endpoint.ts';
import { renderEndpoint } from '../address/endpoint.ts';
import { type IpAddress, parseIp } from '../address/ip.ts';
import type { PeerConfig } from '../config/schema.ts';

export interface ResolvedEndpoint {
  readonly address: IpAddress;
  readonly port: number;
  /** IPv6 scope id, 0 for global addresses. */
  readonly scope: number;
}

/** Between two attempts at a name: doubled up to the last. */
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;

/** The address of an endpoint that needs no resolver; undefined for a name. */
export function literalEndpoint(endpoint: Endpoint & { readonly kind: 'address' }): ResolvedEndpoint;
export function literalEndpoint(endpoint: Endpoint): ResolvedEndpoint | undefined;
export function literalEndpoint(endpoint: Endpoint): ResolvedEndpoint | undefined {
  return endpoint.kind === 'address' ? addressed(endpoint) : undefined;
}

function addressed({ address, port, zone }: Endpoint & { readonly kind: 'address' }): ResolvedEndpoint {
  return { address, port, scope: scopeOf(zone) };
}

/**
 * One address of an endpoint, asked of the host's resolver where it is a name.
 * @throws Error with what the resolver says
 */
export async function lookupEndpoint(endpoint: Endpoint): Promise<ResolvedEndpoint> {
  if (endpoint.kind === 'address') return addressed(endpoint);
  const { address } = await lookup(endpoint.name);
  const parsed = parseIp(address);
  if (!parsed.ok) throw new Error(`the resolver answered ${address}`);
  return { address: parsed.value, port: endpoint.port, scope: 0 };
}

/** Asks for names until each has answered once. */
export class NameResolver implements Disposable {
  readonly #onResolved: (peer: PeerConfig, endpoint: ResolvedEndpoint) => void;
  readonly #onFailed: (peer: PeerConfig, endpoint: string, reason: string) => void;
  /** By the name of a peer: what is asked for it. */
  readonly #asked = new Map<string, Asked>();

  constructor(handlers: {
    onResolved: (peer: PeerConfig, endpoint: ResolvedEndpoint) => void;
    onFailed: (peer: PeerConfig, endpoint: string, reason: string) => void;
  }) {
    this.#onResolved = handlers.onResolved;
    this.#onFailed = handlers.onFailed;
  }

  /** Begins to ask for the names of these peers, as far as they are others than before; the answers come through the handlers. */
  update(peers: readonly PeerConfig[]): void {
    const present = new Map(peers.map((peer) => [peer.name, peer]));
    for (const [name, asked] of this.#asked) {
      const peer = present.get(name);
      if (peer === undefined || endpointsOf(peer) !== endpointsOf(asked.peer)) this.#forget(name, asked);
    }
    for (const peer of peers) {
      if (this.#asked.has(peer.name)) continue;
      const asked: Asked = { peer, timers: new Set(), isOver: false };
      this.#asked.set(peer.name, asked);
      for (const endpoint of peer.endpoints) this.#ask(asked, endpoint, FIRST_RETRY_MS);
    }
  }

  [Symbol.dispose](): void {
    for (const [name, asked] of [...this.#asked]) this.#forget(name, asked);
  }

  #forget(name: string, asked: Asked): void {
    asked.isOver = true;
    for (const timer of asked.timers) clearTimeout(timer);
    this.#asked.delete(name);
  }

  #ask(asked: Asked, endpoint: Endpoint, retryMs: number): void {
    if (endpoint.kind !== 'name') return;
    lookupEndpoint(endpoint).then(
      (resolved) => {
        if (!asked.isOver) this.#onResolved(asked.peer, resolved);
      },
      (error: Error) => {
        if (asked.isOver) return;
        this.#onFailed(asked.peer, renderEndpoint(endpoint), error.message);
        const timer = setTimeout(() => {
          asked.timers.delete(timer);
          this.#ask(asked, endpoint, Math.min(retryMs * 2, LAST_RETRY_MS));
        }, retryMs);
        asked.timers.add(timer);
      },
    );
  }
}

interface Asked {
  readonly peer: PeerConfig;
  readonly timers: Set<NodeJS.Timeout>;
  isOver: boolean;
}

function endpointsOf(peer: PeerConfig): string {
  return peer.endpoints.map(renderEndpoint).join();
}

/** The index behind a zone: `eth0` by name, `2` as it is. */
function scopeOf(zone: string | null): number {
  if (zone === null) return 0;
  if (/^[0-9]+$/.test(zone)) return Number(zone);
  const addresses = networkInterfaces()[zone] ?? [];
  return addresses.find((entry) => entry.family === 'IPv6' && (entry.scopeid ?? 0) !== 0)?.scopeid ?? 0;
}
