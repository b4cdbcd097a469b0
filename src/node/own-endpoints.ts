// Where this node is probably reached: the addresses that its host sends from. Behind a NAT that is wrong, and its
// operator has to say.

import { networkInterfaces } from 'node:os';
import { execa } from 'execa';
import type { Endpoint } from '../address/endpoint.ts';
import { type IpAddress, parseIp, renderIp } from '../address/ip.ts';

/** Documentation prefixes: nobody is there, but the way to there is the way to the internet. */
const FAR = ['198.51.100.1', '2001:db8::1'];
const COMMAND_TIMEOUT_MS = 10_000;
const MOST_ENDPOINTS = 4;

/** Best first: what the default route sends from, then any other address that is no link-local one. */
export async function ownEndpoints(interfaceName: string, port: number): Promise<Endpoint[]> {
  const sources = (await Promise.all(FAR.map(sourceTowards))).filter((address) => address !== null);
  const others = Object.entries(networkInterfaces())
    .filter(([name]) => name !== interfaceName)
    .flatMap(([, addresses = []]) => addresses)
    .filter(({ internal, address }) => !internal && !/^(fe80:|169\.254\.)/i.test(address))
    .flatMap(({ address }) => {
      const parsed = parseIp(address);
      return parsed.ok ? [parsed.value] : [];
    });
  const unique = new Map([...sources, ...others].map((address) => [renderIp(address), address]));
  return [...unique.values()]
    .slice(0, MOST_ENDPOINTS)
    .map((address) => ({ kind: 'address', address, zone: null, port }));
}

async function sourceTowards(target: string): Promise<IpAddress | null> {
  const result = await execa('ip', ['-json', 'route', 'get', target], {
    timeout: COMMAND_TIMEOUT_MS,
    reject: false,
  });
  if (result.failed) return null;
  const [route] = JSON.parse(result.stdout) as { readonly prefsrc?: string }[];
  const parsed = parseIp(route?.prefsrc ?? '');
  return parsed.ok ? parsed.value : null;
}
