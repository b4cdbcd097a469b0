// Policies from the text a user writes, and packets to ask them about.

import { type IpAddress, parseIp } from '../../../src/address/ip.ts';
import { parseTraffic } from '../../../src/address/traffic.ts';
import type { FlowStart } from '../../../src/policy/evaluate.ts';
import type { Policy } from '../../../src/policy/model.ts';
import { parsed } from '../address/parsed.ts';
import { ConfigFolder } from '../config/files.ts';

/** The node is 10.9.0.1 and fd09::1; alice, bob and carol are peers, cellb carries 10.5.0.0/24 and more. */
export const NODE = `interface:
  name: rf0
  private_key_file: rf0.key
  addresses: [10.9.0.1/24, "fd09::1/64"]
`;

/** A node of that kind with these rows for its peers and this section `firewall`, both as YAML maps in one line each. */
export function document(section: string, rows: Readonly<Record<string, string>> = {}): string {
  const peer = (name: string, key: number, keys: string): string => {
    const more = rows[name] === undefined ? '' : `, ${rows[name]}`;
    return `  ${name}: {public_key: "${Buffer.alloc(32, key).toString('base64')}", ${keys}${more}}\n`;
  };
  return `${NODE}peers:
${peer('alice', 11, 'addresses: [10.9.0.2, "fd09::2"], routes: [192.168.7.0/24]')}${peer('bob', 12, 'addresses: [10.9.0.3, "fd09::3"]')}${peer('carol', 13, 'addresses: [10.9.0.4, "fd09::4"]')}${peer('cellb', 14, 'addresses: [10.9.0.5, 10.5.0.1], routes: [10.5.0.0/16, "fd05::/64"]')}firewall: {version: 1${section === '' ? '' : `, ${section}`}}
`;
}

/** The model of a document, in a folder that is gone when it returns. */
export function policyOf(text: string): Policy {
  using folder = new ConfigFolder();
  const { firewall } = folder.load(text);
  if (firewall === null) throw new Error('the document has no section firewall');
  return firewall.policy;
}

export function ip(text: string): IpAddress {
  return parsed(parseIp, text);
}

/** A packet with the traffic of a row: `tcp/443`, `icmp/echo-request` in the version of the addresses, `47`. */
export function packet(source: string, destination: string, traffic: string): FlowStart {
  const from = ip(source);
  const entries = parsed(parseTraffic, traffic);
  const entry = entries[entries.length > 1 && from.version === 6 ? 1 : 0];
  if (entry === undefined) throw new Error(`no traffic ${traffic}`);
  const port = entry.first === entry.last ? entry.first : null;
  return { source: from, destination: ip(destination), protocol: entry.protocol, port };
}
