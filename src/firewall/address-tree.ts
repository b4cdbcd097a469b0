// Networks as a tree that is descended by their bits: what iptables has in the place of sets. Pure.

import { type IpPrefix, networkOf } from '../address/prefix.ts';

/** So many alternatives are rules one below the other; more are a tree, each chain of which has no more. */
export const FLAT_LIMIT = 16;

/** Something about a network. */
export interface Placed {
  readonly prefix: IpPrefix;
}

/**
 * Sorted networks that do not overlap, more than a chain takes → groups of neighbours, as even as their bits allow: not
 * more than a chain takes, and none of them smaller than it has to be.
 */
export function split<T extends Placed>(sorted: readonly T[]): (readonly T[])[] {
  const groups: (readonly T[])[] = [sorted];
  while (groups.length < FLAT_LIMIT) {
    const largest = groups.reduce(
      (most, { length }, i) => (length > (groups[most]?.length ?? 0) ? i : most),
      0,
    );
    const group = groups[largest] ?? [];
    if (group.length <= FLAT_LIMIT) break; // it is a chain without branches
    const bit = coverOf(group).length;
    const second = group.findIndex(({ prefix }) => bitOf(prefix.address.bytes, bit) === 1);
    groups.splice(largest, 1, group.slice(0, second), group.slice(second));
  }
  return groups;
}

/** The smallest network of all of a sorted group. */
export function coverOf(group: readonly Placed[]): IpPrefix {
  const [first, last] = [group[0]?.prefix, group.at(-1)?.prefix];
  if (first === undefined || last === undefined) throw new RangeError('an empty group has no network');
  let length = 0;
  while (
    length < Math.min(first.length, last.length) &&
    bitOf(first.address.bytes, length) === bitOf(last.address.bytes, length)
  ) {
    length += 1;
  }
  return networkOf({ address: first.address, prefixLength: length });
}

function bitOf(bytes: Uint8Array, index: number): number {
  return ((bytes[index >> 3] ?? 0) >> (7 - (index & 7))) & 1;
}
