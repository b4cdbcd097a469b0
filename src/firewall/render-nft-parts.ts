// Words of nft that rules of our own table and openings in tables of others share. All of it is pure text.

import type { PortRange } from '../policy/host.ts';
import type { Version } from './facts.ts';

/** How nft calls the header of a version. */
export const FAMILY: Readonly<Record<Version, 'ip' | 'ip6'>> = { 4: 'ip', 6: 'ip6' };

/** One element, or an anonymous set of several. */
export function oneOf(elements: readonly string[]): string {
  return elements.length === 1 ? `${elements[0]}` : `{ ${elements.join(', ')} }`;
}

export function renderPorts({ first, last }: PortRange): string {
  return first === last ? `${first}` : `${first}-${last}`;
}
