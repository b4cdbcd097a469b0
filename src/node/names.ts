// Names of hosts → their addresses, and how long that holds: /etc/hosts first, then DNS, then whatever else the host asks.

import { lookup, Resolver } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type IpAddress, parseIp } from '../address/ip.ts';

export interface ResolvedName {
  /** At least one; of the family first that the host has a global address of, IPv6 before IPv4. */
  readonly addresses: readonly IpAddress[];
  /** How long it holds, within bounds: a TTL of 0 asks nobody to ask without end. */
  readonly ttlMs: number;
  /** The IP versions of which nothing could be learnt: it may have such addresses as well. */
  readonly unknown: readonly Version[];
}

type Version = IpAddress['version'];

const LEAST_TTL_MS = 2_000;
const MOST_TTL_MS = 3_600_000;
/** Of what has no TTL: a line of /etc/hosts, an answer of another service. */
const OTHER_TTL_MS = 60_000;
const HOSTS_TTL_MS = 5_000;
const HOSTS_FILE = '/etc/hosts';
const QUERY_TIMEOUT_MS = 2_000;
const QUERY_TRIES = 2;
/** /etc/resolv.conf is read by a new resolver only. */
const RESOLVER_MS = 30_000;

/** A server says that there are no such addresses; any other failure says nothing of them. */
const NONE: readonly unknown[] = ['ENODATA', 'ENOTFOUND'];
/** So long no server is waited for: each try waits longer than the one before. */
const QUERY_LIMIT_MS = 20_000;

let resolver: { readonly dns: Resolver; readonly madeMs: number } | undefined;

/**
 * `limitMs`: how long DNS, and then the rest of what the host asks, is waited for.
 * @throws Error with what the resolver says
 */
export async function resolveName(name: string, limitMs = QUERY_LIMIT_MS): Promise<ResolvedName> {
  const listed = hostsOf(name);
  if (listed.length > 0) return { addresses: sorted(listed), ttlMs: HOSTS_TTL_MS, unknown: [] };
  const dns = currentResolver();
  const [v6, v4] = await Promise.allSettled([
    inTime(dns.resolve6(name, { ttl: true }), limitMs),
    inTime(dns.resolve4(name, { ttl: true }), limitMs),
  ]);
  const records = [v6, v4].flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  const failed: Version[] = [...(isUnknown(v6) ? [6 as const] : []), ...(isUnknown(v4) ? [4 as const] : [])];
  if (records.length === 0) {
    const found = await inTime(lookup(name, { all: true }), limitMs);
    const families = found.map(({ family }) => family);
    return {
      addresses: sorted(found.map(({ address }) => address)),
      ttlMs: OTHER_TTL_MS,
      unknown: failed.filter((version) => !families.includes(version)),
    };
  }
  const leastMs = Math.min(...records.map(({ ttl }) => ttl * 1000));
  return {
    addresses: sorted(records.map(({ address }) => address)),
    ttlMs: Math.min(Math.max(leastMs, LEAST_TTL_MS), MOST_TTL_MS),
    unknown: failed,
  };
}

function isUnknown(answer: PromiseSettledResult<unknown>): boolean {
  if (answer.status === 'fulfilled') return false;
  const { reason } = answer;
  return !(reason instanceof Error && 'code' in reason && NONE.includes(reason.code));
}

/** Rejects once it has taken too long; it goes on, and nobody listens. */
async function inTime<T>(work: Promise<T>, limitMs: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${limitMs / 1000} s`)), limitMs);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function currentResolver(): Resolver {
  const nowMs = performance.now();
  if (resolver === undefined || nowMs - resolver.madeMs > RESOLVER_MS) {
    resolver = { dns: new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES }), madeMs: nowMs };
  }
  return resolver.dns;
}

/** What /etc/hosts says of a name; nothing where it cannot be read. */
function hostsOf(name: string): string[] {
  let text: string;
  try {
    text = readFileSync(HOSTS_FILE, 'utf8');
  } catch {
    return [];
  }
  const wanted = name.toLowerCase();
  return text.split('\n').flatMap((line) => {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    return names.some((one) => one.toLowerCase() === wanted) ? [address] : [];
  });
}

/** The order of RFC 6724 as far as it matters here; in itself each family stays in the order of the answer. */
function sorted(texts: readonly string[]): IpAddress[] {
  const addresses = texts.flatMap((text) => {
    const parsed = parseIp(text);
    return parsed.ok ? [parsed.value] : [];
  });
  if (addresses.length === 0) throw new Error('the answer has no address');
  const first = hasGlobalIpv6() ? 6 : 4;
  return addresses.toSorted((a, b) => Number(b.version === first) - Number(a.version === first));
}

function hasGlobalIpv6(): boolean {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .some(({ address, internal }) => !internal && isIPv6(address) && /^[23]/.test(address));
}
