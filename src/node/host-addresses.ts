// The addresses of this host, as it has them now.

import { networkInterfaces } from 'node:os';
import { type IpAddress, parseIp } from '../address/ip.ts';

export function hostAddresses(): IpAddress[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .flatMap(({ address }) => {
      const parsed = parseIp(address);
      return parsed.ok ? [parsed.value] : [];
    });
}
