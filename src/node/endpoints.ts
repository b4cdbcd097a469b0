// Where peers are: literal addresses as they stand, names through the host's resolver, once. endpoint-keeper.ts asks again.

import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import type { Endpoint } from '../address/endpoint.ts';
import { type IpAddress, parseIp } from '../address/ip.ts';

export interface ResolvedEndpoint {
  readonly address: IpAddress;
  readonly port: number;
  /** IPv6 scope id, 0 for global addresses. */
  readonly scope: number;
}

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

/** The index behind a zone: `eth0` by name, `2` as it is. */
function scopeOf(zone: string | null): number {
  if (zone === null) return 0;
  if (/^[0-9]+$/.test(zone)) return Number(zone);
  const addresses = networkInterfaces()[zone] ?? [];
  return addresses.find((entry) => entry.family === 'IPv6' && (entry.scopeid ?? 0) !== 0)?.scopeid ?? 0;
}
