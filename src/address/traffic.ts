// What a packet carries, as a rule names it: a protocol by name or number, and of it a range of ports or ICMP types.
// One text means the same for both versions of IP: `icmp/echo-request` is type 8 of ICMP and type 128 of ICMPv6.

import type { Parsed } from './ip.ts';

/**
 * One protocol (IANA's number), and the destination ports or ICMP types from `first` to `last`, both included.
 * INVARIANT: a protocol that has neither ports nor types here stands with 0 to `MOST_PORT`, which means all of it.
 */
export interface Traffic {
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
}

export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const ICMPV6 = 58;
export const MOST_PORT = 65_535;
const MOST_ICMP_TYPE = 255;

/** Names of the IANA registry of protocol numbers, as /etc/protocols and nft have them. `icmp` is of both versions. */
const PROTOCOLS: Readonly<Record<string, readonly number[]>> = {
  icmp: [ICMP, ICMPV6],
  icmpv6: [ICMPV6],
  igmp: [2],
  ipip: [4],
  tcp: [TCP],
  udp: [UDP],
  dccp: [33],
  ipv6: [41],
  gre: [47],
  esp: [50],
  ah: [51],
  ospf: [89],
  pim: [103],
  vrrp: [112],
  sctp: [132],
  udplite: [136],
};

/** TCP, UDP, DCCP, SCTP, UDP-Lite: their destination port stands in the same two bytes. */
const PROTOCOLS_WITH_PORTS: readonly number[] = [TCP, UDP, 33, 132, 136];

/** Names as nft has them; the number in ICMP and in ICMPv6, null where that version has none. */
const ICMP_TYPES: Readonly<Record<string, readonly [v4: number | null, v6: number | null]>> = {
  'echo-request': [8, 128],
  'echo-reply': [0, 129],
  'destination-unreachable': [3, 1],
  'packet-too-big': [null, 2],
  'time-exceeded': [11, 3],
  'parameter-problem': [12, 4],
  redirect: [5, 137],
  'timestamp-request': [13, null],
  'timestamp-reply': [14, null],
  'address-mask-request': [17, null],
  'address-mask-reply': [18, null],
  'router-solicit': [10, 133],
  'router-advert': [9, 134],
  'neighbor-solicit': [null, 135],
  'neighbor-advert': [null, 136],
};

/** The other way: protocols that have a name of their own. */
const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(PROTOCOLS).flatMap(([name, [first, ...more]]) =>
    first === undefined || more.length > 0 ? [] : [[first, name]],
  ),
);

const TRAFFIC_EXAMPLES = 'tcp/443, udp/8000-8010, icmp/echo-request, gre or 47';

/** Reads `tcp/443`, `udp/8000-8010`, `tcp`, `icmp`, `icmp/echo-request`, `icmp/8`, `gre` or `47`. At least one entry; of `icmp` two. */
export function parseTraffic(text: string): Parsed<readonly Traffic[]> {
  const slash = text.indexOf('/');
  const name = slash === -1 ? text : text.slice(0, slash);
  const rest = slash === -1 ? null : text.slice(slash + 1);
  const protocols = protocolsOf(name);
  if (!protocols.ok) return protocols;
  const [first = 0] = protocols.value;
  if (rest === null) return { ok: true, value: protocols.value.map(allOf) };
  if (first === ICMP || first === ICMPV6) return icmpTraffic(protocols.value, rest);
  if (!PROTOCOLS_WITH_PORTS.includes(first)) return problem(`${name} has no ports`);
  const ports = parseRange(rest, 1, MOST_PORT);
  if (ports === null)
    return problem(`a port is a number from 1 to ${MOST_PORT}, a range as in tcp/8000-8010`);
  return { ok: true, value: [{ protocol: first, ...ports }] };
}

/** The text that `parseTraffic` reads back to the same entry, by numbers where a name would mean both versions. */
export function renderTraffic({ protocol, first, last }: Traffic): string {
  const name = protocol === ICMP ? '1' : nameOf(protocol);
  if (first === 0 && last === MOST_PORT) return name;
  const range = first === last ? String(first) : `${first}-${last}`;
  if (protocol !== ICMP && protocol !== ICMPV6) return `${name}/${range}`;
  const version = protocol === ICMP ? 0 : 1;
  const type =
    first === last ? Object.keys(ICMP_TYPES).find((key) => ICMP_TYPES[key]?.[version] === first) : undefined;
  return `${protocol === ICMP ? 'icmp' : 'icmpv6'}/${type ?? range}`;
}

/** Whether everything in `inner` is in `outer` too. */
export function coversTraffic(outer: Traffic, inner: Traffic): boolean {
  return outer.protocol === inner.protocol && outer.first <= inner.first && inner.last <= outer.last;
}

/** What is in both, or null. */
export function commonTraffic(a: Traffic, b: Traffic): Traffic | null {
  const first = Math.max(a.first, b.first);
  const last = Math.min(a.last, b.last);
  return a.protocol === b.protocol && first <= last ? { protocol: a.protocol, first, last } : null;
}

function protocolsOf(name: string): Parsed<readonly number[]> {
  if (Object.hasOwn(PROTOCOLS, name)) return { ok: true, value: PROTOCOLS[name] ?? [] };
  const number = parseNumber(name, 0, 255);
  if (number !== null) return { ok: true, value: [number] };
  return problem(`it begins with a protocol by name or number, as in ${TRAFFIC_EXAMPLES}`);
}

function icmpTraffic(protocols: readonly number[], text: string): Parsed<readonly Traffic[]> {
  if (Object.hasOwn(ICMP_TYPES, text)) {
    const numbers = ICMP_TYPES[text] ?? [null, null];
    const found = protocols.flatMap((protocol) => {
      const type = numbers[protocol === ICMP ? 0 : 1] ?? null;
      return type === null ? [] : [{ protocol, first: type, last: type }];
    });
    return found.length > 0 ? { ok: true, value: found } : problem(`ICMPv6 has no type ${text}`);
  }
  // The numbers of the two versions mean different things: `icmp/8` is that of ICMP, `icmpv6/128` that of ICMPv6.
  const types = parseRange(text, 0, MOST_ICMP_TYPE);
  const [protocol = ICMP] = protocols;
  if (types === null)
    return problem('an ICMP type is a name such as echo-request, or a number from 0 to 255');
  return { ok: true, value: [{ protocol, ...types }] };
}

function allOf(protocol: number): Traffic {
  return { protocol, first: 0, last: MOST_PORT };
}

function nameOf(protocol: number): string {
  return NAMES.get(protocol) ?? String(protocol);
}

function parseRange(text: string, least: number, most: number): { first: number; last: number } | null {
  const [firstText = '', lastText = firstText, ...more] = text.split('-');
  const first = parseNumber(firstText, least, most);
  const last = parseNumber(lastText, least, most);
  return more.length > 0 || first === null || last === null || last < first ? null : { first, last };
}

function parseNumber(text: string, least: number, most: number): number | null {
  const value = /^(0|[1-9][0-9]{0,4})$/.test(text) ? Number(text) : -1;
  return value >= least && value <= most ? value : null;
}

function problem(text: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem: text };
}
