// Where a peer is reached on the underlay: an address or a name, and a UDP port. Resolving names is the node's work.

import { type IpAddress, type Parsed, parseIp, renderIp } from './ip.ts';

/** `zone` is the interface of a link-local IPv6 address (RFC 4007), as in `[fe80::1%eth0]:51820`. */
export type Endpoint =
  | {
      readonly kind: 'address';
      readonly address: IpAddress;
      readonly zone: string | null;
      readonly port: number;
    }
  | { readonly kind: 'name'; readonly name: string; readonly port: number };

/** Reads `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820` or `vpn.example.org:51820`. */
export function parseEndpoint(text: string): Parsed<Endpoint> {
  if (text.startsWith('[')) return parseBracketed(text);
  const colon = text.lastIndexOf(':');
  if (colon === -1) return refuse('the port is missing, as in vpn.example.org:51820');
  if (text.indexOf(':') !== colon) return refuse('an IPv6 address stands in brackets, as in [fd09::1]:51820');
  const port = parsePort(text.slice(colon + 1));
  if (!port.ok) return port;
  const host = text.slice(0, colon);
  // Whatever ends in a number is meant as an IPv4 address, as in the URL standard: "10.9.0.256" is no name.
  if (/(^|\.)[0-9]+$/.test(host)) {
    const address = parseIp(host);
    if (!address.ok) return address;
    return { ok: true, value: { kind: 'address', address: address.value, zone: null, port: port.value } };
  }
  const name = parseHostName(host);
  return name.ok ? { ok: true, value: { kind: 'name', name: name.value, port: port.value } } : name;
}

/** The text that `parseEndpoint` reads back to the same value. */
export function renderEndpoint(endpoint: Endpoint): string {
  if (endpoint.kind === 'name') return `${endpoint.name}:${endpoint.port}`;
  const host = renderIp(endpoint.address);
  if (endpoint.address.version === 4) return `${host}:${endpoint.port}`;
  return `[${host}${endpoint.zone === null ? '' : `%${endpoint.zone}`}]:${endpoint.port}`;
}

function parseBracketed(text: string): Parsed<Endpoint> {
  const match = /^\[([^\]%]*)(?:%([^\]]*))?\](.*)$/s.exec(text);
  if (match === null) return refuse('the bracket is not closed, as in [fd09::1]:51820');
  const [, host = '', zone, rest = ''] = match;
  if (!rest.startsWith(':')) return refuse('the port is missing, as in [fd09::1]:51820');
  if (!host.includes(':')) return refuse('only an IPv6 address stands in brackets');
  const address = parseIp(host);
  if (!address.ok) return address;
  const port = parsePort(rest.slice(1));
  if (!port.ok) return port;
  if (zone !== undefined && !/^[a-zA-Z0-9_=+.-]{1,15}$/.test(zone)) {
    return refuse('the zone after the "%" is the name of an interface, as in [fe80::1%eth0]:51820');
  }
  if (zone !== undefined && address.value.version === 4) return refuse('an IPv4 address has no zone');
  return {
    ok: true,
    value: { kind: 'address', address: address.value, zone: zone ?? null, port: port.value },
  };
}

function parsePort(text: string): Parsed<number> {
  const port = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65535) return refuse('the port is a number from 1 to 65535');
  return { ok: true, value: port };
}

/** RFC 1123 §2.1, and the underscore that DNS itself allows. */
export function parseHostName(text: string): Parsed<string> {
  if (text === '') return refuse('the host is missing, as in vpn.example.org:51820');
  if (text.length > 253) return refuse('a host name has at most 253 characters');
  const labels = (text.endsWith('.') ? text.slice(0, -1) : text).split('.');
  if (labels.every((label) => /^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?$/.test(label))) {
    return { ok: true, value: text };
  }
  return refuse(
    'a host name has labels of 1 to 63 letters, digits and hyphens (other alphabets in their xn-- form)',
  );
}

function refuse(problem: string): { readonly ok: false; readonly problem: string } {
  return { ok: false, problem };
}
