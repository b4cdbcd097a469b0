// What this host is itself, as the kernel has it now: the addresses of all its interfaces, also of one without a carrier, on which
// it answers just so, and the networks that are routed to itself.

import { networkInterfaces } from 'node:os';
import { localPrefixes } from 'node-tuntap2';
import { bitsOf, type IpAddress } from '../address/ip.ts';
import { type IpPrefix, parsePrefix } from '../address/prefix.ts';

/** Of single addresses their own networks; in no order, some twice. */
export function hostPrefixes(): IpPrefix[] {
  return texts().flatMap((text) => {
    const parsed = parsePrefix(text);
    return parsed.ok ? [parsed.value] : [];
  });
}

export function hostAddresses(): IpAddress[] {
  return hostPrefixes().flatMap(({ address, length }) =>
    length === bitsOf(address.version) ? [address] : [],
  );
}

/** A sandbox may refuse rtnetlink; then what libuv can find out has to do. */
function texts(): string[] {
  try {
    return localPrefixes();
  } catch {
    return Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? []);
  }
}
