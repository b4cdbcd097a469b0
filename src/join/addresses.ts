// Which overlay addresses a new node gets: of each network of the inviting node the lowest that nobody has.

import { bitsOf, type IpAddress, renderIp } from '../address/ip.ts';
import {
  contains,
  hostPrefix,
  type IpInterface,
  type IpPrefix,
  networkOf,
  packPrefix,
} from '../address/prefix.ts';
import type { NodeConfig } from '../config/schema.ts';
import { NodeError } from '../errors.ts';

/**
 * One address in each network of the node, with its prefix length.
 * @param taken those that are promised already
 * @throws NodeError `ERR_JOIN_ADDRESSES` when a network is full
 */
export function freeAddresses(config: NodeConfig, taken: readonly IpAddress[]): IpInterface[] {
  const own = config.interface.addresses;
  const peers = config.peers.flatMap(({ addresses }) => addresses);
  const used = new Set([...own.map(({ address }) => address), ...peers, ...taken].map(keyOf));
  const routes = config.peers.flatMap((peer) => peer.routes);
  const networks = new Map(own.map((one) => [packPrefix(networkOf(one)), networkOf(one)]));
  return [...networks.values()].map((network) => {
    // What a peer has a part of the network for is its own to give away.
    const parts = routes.filter((route) => route.length > network.length && contains(network, route.address));
    const address = lowestFree(network, used, parts);
    if (address !== null) return { address, prefixLength: network.length };
    throw new NodeError(
      'ERR_JOIN_ADDRESSES',
      `no address is free in ${renderIp(network.address)}/${network.length}`,
      {
        hint: 'remove peers that are no more, or give the interface an address in a larger network',
      },
    );
  });
}

function lowestFree(
  network: IpPrefix,
  used: ReadonlySet<string>,
  parts: readonly IpPrefix[],
): IpAddress | null {
  const { version } = network.address;
  const hostBits = bitsOf(version) - network.length;
  const base = network.address.bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  // IPv4 has a broadcast address, but not in networks of one or two.
  const last = (1n << BigInt(hostBits)) - (version === 4 && hostBits > 1 ? 2n : 1n);
  for (let host = hostBits > 1 ? 1n : 0n; host <= last; host++) {
    const address = addressOf(version, base + host);
    const part = parts.find((one) => contains(one, address));
    if (part === undefined && !used.has(keyOf(address))) return address;
    if (part !== undefined) {
      const first = part.address.bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
      host = first + (1n << BigInt(bitsOf(version) - part.length)) - 1n - base;
    }
  }
  return null;
}

function addressOf(version: 4 | 6, value: bigint): IpAddress {
  const length = bitsOf(version) / 8;
  const bytes = Uint8Array.from({ length }, (_, i) =>
    Number((value >> BigInt(8 * (length - 1 - i))) & 0xffn),
  );
  return { version, bytes };
}

function keyOf(address: IpAddress): string {
  return packPrefix(hostPrefix(address));
}
