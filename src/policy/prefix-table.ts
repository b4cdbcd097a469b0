// Which of many prefixes holds an address: the longest. One look per length that occurs, however many prefixes there are.

import { bitsOf, type IpAddress } from '../address/ip.ts';
import { type IpPrefix, networkOf, type PackedPrefix, packPrefix } from '../address/prefix.ts';

export class PrefixTable<T> {
  readonly #owners = new Map<PackedPrefix, T>();
  /** Those that occur, the longest first. */
  readonly #lengths: Readonly<Record<4 | 6, readonly number[]>>;

  /** Of two with the same prefix the first counts. */
  constructor(entries: Iterable<readonly [prefix: IpPrefix, owner: T]>) {
    const lengths = { 4: new Set<number>(), 6: new Set<number>() };
    for (const [prefix, owner] of entries) {
      const packed = packPrefix(prefix);
      if (this.#owners.has(packed)) continue;
      this.#owners.set(packed, owner);
      lengths[prefix.address.version].add(prefix.length);
    }
    const ordered = (version: 4 | 6): number[] => [...lengths[version]].sort((a, b) => b - a);
    this.#lengths = { 4: ordered(4), 6: ordered(6) };
  }

  /** The owner of the longest prefix that holds the address; null if there is none. */
  find(address: IpAddress): T | null {
    for (const length of this.#lengths[address.version]) {
      const prefix =
        length === bitsOf(address.version)
          ? { address, length }
          : networkOf({ address, prefixLength: length });
      const owner = this.#owners.get(packPrefix(prefix));
      if (owner !== undefined) return owner;
    }
    return null;
  }
}
