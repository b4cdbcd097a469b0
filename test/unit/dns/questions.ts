// Questions to a resolver, and what its answers say.

import dns, { type DecodedPacket, type Packet, type RecordType } from 'dns-packet';
import { Forwarder } from '../../../src/dns/forwarder.ts';
import { Resolver } from '../../../src/dns/resolver.ts';
import type { NameServer } from '../../../src/policy/names.ts';
import { ConfigFolder } from '../config/files.ts';
import { document, ip } from '../policy/documents.ts';

/** A query as a stub resolver sends it. */
export function question(name: string, type: string, more: Packet = {}): Buffer {
  const questions = [{ name, type: type as RecordType }];
  return dns.encode({ id: 4711, type: 'query', flags: dns.RECURSION_DESIRED, questions, ...more });
}

/** EDNS0 with this many bytes. */
export function edns(udpPayloadSize: number, ednsVersion = 0): Packet {
  const opt = { extendedRcode: 0, ednsVersion, flags: 0, flag_do: false, options: [] };
  return { additionals: [{ type: 'OPT', name: '.', udpPayloadSize, ...opt }] };
}

/** An answer in few words: `NOERROR 10.9.0.22`, `NXDOMAIN cell`, where what follows is the SOA's name. */
export function words(message: Buffer | null): string {
  if (message === null) return 'nothing';
  const answer: DecodedPacket & { rcode?: string } = dns.decode(message);
  const data = (answer.answers ?? []).map((record) => ('data' in record ? String(record.data) : ''));
  const soa = (answer.authorities ?? []).map(({ name }) => name);
  return [answer.rcode, ...data, ...soa].join(' ');
}

/** A resolver of a document with these keys of `firewall` and rows of peers, and who asks it from an address. */
export function resolverOf(
  section: string,
  rows: Readonly<Record<string, string>> = {},
  forwarder = new Forwarder(),
): { ask: (from: string, name: string, type: string) => Promise<string>; resolver: Resolver } {
  using folder = new ConfigFolder();
  const { firewall } = folder.load(document(section, rows));
  if (firewall === null || firewall.names === null)
    throw new Error('the document has no section firewall.dns');
  const resolver = new Resolver(firewall.policy, firewall.names, [], forwarder);
  const ask = async (from: string, name: string, type: string): Promise<string> => {
    const asker = resolver.askerAt(ip(from));
    if (asker === null) return 'stranger';
    return words((await resolver.answer(asker, question(name, type), 'udp')).message);
  };
  return { ask, resolver };
}

export function server(address: string, port: number): NameServer {
  return { address: ip(address), port };
}
