// The rows that grant and deny, as the file writes them: what they name, and what traffic.

import { z } from 'zod';
import type { Parsed } from '../../address/ip.ts';
import { type IpPrefix, parsePrefix } from '../../address/prefix.ts';
import { parseTraffic } from '../../address/traffic.ts';
import { type KeyFacts, keyFacts, list, text } from '../facts.ts';

/** What a row names, before names are looked up: `checks.ts` says what each is. */
export type NamedTarget =
  | { readonly kind: 'prefix'; readonly prefix: IpPrefix }
  | { readonly kind: 'self' | 'internet' | 'any' }
  | { readonly kind: 'site'; readonly name: string }
  | { readonly kind: 'name'; readonly name: string };

/** Words that `to` gives a meaning: no service and no peer of a policy has such a name. */
export const TARGET_WORDS: readonly string[] = ['self', 'internet', 'any'];

/** The NAME of a service, profile or network. */
export const POLICY_NAME = /^[a-zA-Z][a-zA-Z0-9_-]{0,62}$/;

/** Each item becomes one or more entries. */
export function traffic(description: string) {
  const item = text(parseTraffic, {
    description: 'A protocol by name or number, and a port, a range of ports or an ICMP type of it.',
    expected: 'a protocol, with ports or an ICMP type, as in tcp/443',
    code: 'ERR_CONFIG_GRANT',
  });
  return list(item, {
    description,
    expected: 'a list, as in [tcp/443, udp/8000-8010, icmp/echo-request, gre]',
    example: '[tcp/443, tcp/8000-8010]',
  }).min(1);
}

const ROW_TRAFFIC =
  'The traffic: protocols by name or number, ports and ranges of tcp and udp, types of icmp. One of them must fit. Without this key, anything.';

export const prefixFacts = {
  description: 'A network, or one address.',
  expected: 'a network or an address, as in 192.168.7.0/24',
  code: 'ERR_CONFIG_GRANT',
} as const;

/** Items of `allow` and `deny`. */
export const accessRowSchema = z
  .strictObject({
    to: text(parseTarget, {
      description:
        'The destination: a network or address; the name of a service or of a peer (its addresses); site:NAME (its subnets); self (this host); internet; any.',
      expected: 'a network, an address, the name of a service or peer, site:NAME, self, internet or any',
      code: 'ERR_CONFIG_GRANT',
      example: '10.5.0.0/24',
    }),
    ports: traffic(ROW_TRAFFIC).optional(),
    from: text(parsePrefix, {
      ...prefixFacts,
      description: 'Only from these sources, of those that the subject has.',
      example: '10.9.0.2',
    }).optional(),
  })
  .register(keyFacts, row('{to: 10.5.0.0/24, ports: [tcp/443]}'));

/** Items of `reachable_from`. */
export const reachRowSchema = z
  .strictObject({
    from: text(parseAnyOrPrefix, {
      ...prefixFacts,
      description: 'Sources beyond the overlay: a network, an address, or any.',
      expected: 'a network, an address, or any',
      example: '192.168.1.0/24',
    }),
    ports: traffic(ROW_TRAFFIC).optional(),
  })
  .register(keyFacts, row('{from: 192.168.1.0/24, ports: [tcp/22]}'));

/** Items of a site's `outbound`. */
export const outboundRowSchema = z
  .strictObject({
    to: text(parsePrefix, {
      ...prefixFacts,
      description: "A network or an address in the site's subnets.",
      example: '10.5.0.10',
    }),
    ports: traffic(ROW_TRAFFIC).optional(),
  })
  .register(keyFacts, row('{to: 10.5.0.10, ports: [tcp/443]}'));

function row(example: string): KeyFacts {
  return { description: 'One row.', expected: `a row, as in ${example}`, code: 'ERR_CONFIG_TYPE' };
}

function parseTarget(value: string): Parsed<NamedTarget> {
  if (value === 'self' || value === 'internet' || value === 'any')
    return { ok: true, value: { kind: value } };
  if (value.startsWith('site:')) return { ok: true, value: { kind: 'site', name: value.slice(5) } };
  // A peer may be called 10.9.0.2 as well; what reads as an address is one.
  const prefix = parsePrefix(value);
  if (prefix.ok) return { ok: true, value: { kind: 'prefix', prefix: prefix.value } };
  if (/[:/]/.test(value) || /^[0-9.]+$/.test(value)) return prefix;
  return { ok: true, value: { kind: 'name', name: value } };
}

function parseAnyOrPrefix(value: string): Parsed<IpPrefix | 'any'> {
  return value === 'any' ? { ok: true, value } : parsePrefix(value);
}
