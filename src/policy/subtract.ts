// Networks without the networks inside them: what is left, as prefixes.

import { contains, type IpPrefix, overlaps } from '../address/prefix.ts';

/** What of `prefixes` lies in none of `holes`: for each hole at most as many prefixes as its address has bits. */
export function subtractPrefixes(prefixes: readonly IpPrefix[], holes: readonly IpPrefix[]): IpPrefix[] {
  return prefixes.flatMap((prefix) => subtract(prefix, holes));
}

function subtract(prefix: IpPrefix, holes: readonly IpPrefix[]): IpPrefix[] {
  const within = holes.filter((hole) => overlaps(prefix, hole));
  if (within.length === 0) return [prefix];
  const isCovered = within.some((hole) => hole.length <= prefix.length && contains(hole, prefix.address));
  return isCovered ? [] : halves(prefix).flatMap((half) => subtract(half, within));
}

function halves({ address, length }: IpPrefix): readonly [IpPrefix, IpPrefix] {
  const bytes = address.bytes.slice();
  bytes[length >> 3] = (bytes[length >> 3] ?? 0) | (0x80 >> (length & 7));
  return [
    { address, length: length + 1 },
    { address: { version: address.version, bytes }, length: length + 1 },
  ];
}
