// The section `firewall`: its keys, what each may hold, and what a section becomes.

import { z } from 'zod';
import { parseHostName } from '../../address/endpoint.ts';
import { type Parsed, parseIp } from '../../address/ip.ts';
import { parsePrefix } from '../../address/prefix.ts';
import type { Place } from '../../errors.ts';
import type { HostPolicy } from '../../policy/host.ts';
import type { Policy } from '../../policy/model.ts';
import type { NamePolicy } from '../../policy/names.ts';
import { keyFacts, list, text } from '../facts.ts';
import { parseQuota, parseRate } from './amounts.ts';
import { dnsSchema, profileDnsSchema } from './dns.ts';
import { hostSchema, leakGuardSchema, mssSchema, natSchema, processSchema } from './host.ts';
import { nameOf } from './peer.ts';
import { accessRowSchema, outboundRowSchema, POLICY_NAME, prefixFacts, traffic } from './rows.ts';

/** What the section and the peers' own rows mean. */
export interface FirewallConfig {
  /** Where the section stands. */
  readonly place: Place;
  /** What marks the rules of this node on the host; null: the name of the interface. */
  readonly network: string | null;
  readonly policy: Policy;
  /** The rules of the host; null where the section has none of their keys. */
  readonly host: HostPolicy | null;
  /** null: the node answers no names. */
  readonly names: NamePolicy | null;
}

/** The NAME of a section of services, profiles or networks. */
const policyName = z.string().regex(POLICY_NAME).register(keyFacts, {
  description: 'What it is called in this policy.',
  expected: 'a name: up to 63 letters, digits, _ or -, beginning with a letter',
  code: 'ERR_CONFIG_NAME',
});

const address = text(parseIp, {
  description: 'An address.',
  expected: 'an address, as in 10.9.0.22',
  code: 'ERR_CONFIG_ADDRESS',
});

const serviceNames = list(nameOf('The name of a service.'), {
  description: 'Names of services that it may use.',
  expected: 'a list of names, as in [files]',
  example: '[files]',
}).default([]);

function flag(description: string, byDefault: boolean) {
  const facts = { description, expected: 'true or false', code: 'ERR_CONFIG_TYPE', example: 'true' } as const;
  return z.boolean().default(byDefault).register(keyFacts, facts);
}

function rate(description: string, example: string) {
  return text(parseRate, { description, expected: 'a rate, as in 20mbit', code: 'ERR_CONFIG_RATE', example });
}

export const serviceSchema = z.strictObject({
  addr: z
    .union([
      address,
      list(address, { description: '', expected: 'a list of addresses, as in [10.9.0.22, "fd09::22"]' }).min(
        1,
      ),
    ])
    .register(keyFacts, {
      description: 'Its address, or addresses: those that its users send to.',
      expected: 'an address or a list of them, as in 10.9.0.22',
      code: 'ERR_CONFIG_ADDRESS',
      example: '[10.9.0.22, "fd09::22"]',
    }),
  ports: traffic('Its traffic, exact: a grant of the service opens nothing else at its addresses.'),
  dns: text(parseHostName, {
    description: 'Its name in the DNS of the overlay. Without it, NAME.DOMAIN.',
    expected: 'the name of a host',
    code: 'ERR_CONFIG_ENDPOINT',
    example: 'files.cell',
  }).optional(),
});

export const profileSchema = z.strictObject({
  internet: flag(
    'Whether its peers may use the internet through this node: what is not private, not of the overlay, and no address of this host.',
    false,
  ),
  services: serviceNames,
  peers: z.enum(['none', 'network', 'all']).default('network').register(keyFacts, {
    description:
      'Which peers its peers may open flows to: none; those of their networks; all, save those that a strict network shuts off.',
    expected: 'none, network or all',
    code: 'ERR_CONFIG_GRANT',
    example: 'network',
  }),
  allow: list(accessRowSchema, {
    description: 'What its peers may reach beside that.',
    expected: 'a list of rows, as in [{to: 10.5.0.0/24, ports: [tcp/443]}]',
    example: '[{to: self, ports: [icmp/echo-request]}]',
  }).default([]),
  deny: list(accessRowSchema, {
    description: 'What its peers may not reach, whatever else grants it.',
    expected: 'a list of rows, as in [{to: 10.5.0.9}]',
    example: '[{to: internet, ports: [tcp/25]}]',
  }).default([]),
  rate: z
    .strictObject({
      up: rate('From each of its peers.', '20mbit').optional(),
      down: rate('To each of its peers.', '100mbit').optional(),
    })
    .register(keyFacts, {
      description: 'How fast each of its peers may send and receive, all flows together.',
      expected: 'a section with the keys up, down',
      code: 'ERR_CONFIG_TYPE',
      example: '{up: 20mbit, down: 100mbit}',
    })
    .optional(),
  quota: text(parseQuota, {
    description: 'How much each of its peers may send and receive in a calendar day, week or month.',
    expected: 'an amount and a period, as in 50GB/month',
    code: 'ERR_CONFIG_RATE',
    example: '50GB/month',
  }).optional(),
  over_quota: z
    .union([z.literal('deny'), rate('', '')])
    .default('deny')
    .register(keyFacts, {
      description:
        'What becomes of a peer past its quota, until the next period: deny, or a rate for each direction.',
      expected: 'deny, or a rate, as in 1mbit',
      code: 'ERR_CONFIG_RATE',
      example: '1mbit',
    }),
  dns: profileDnsSchema,
});

export const networkSchema = z.strictObject({
  isolation: z.enum(['open', 'strict']).default('open').register(keyFacts, {
    description:
      'open: members reach each other and this node, beside what else they are granted. strict: and they reach, and are reached by, no other peer.',
    expected: 'open or strict',
    code: 'ERR_CONFIG_GRANT',
    example: 'strict',
  }),
  members: list(nameOf('The name of a peer.'), {
    description: 'The peers in it.',
    expected: 'a list of names, as in [alice, bob]',
    example: '[alice]',
  }).default([]),
});

export const siteSchema = z.strictObject({
  subnets: list(text(parsePrefix, { ...prefixFacts, code: 'ERR_CONFIG_ROUTE' }), {
    description:
      'The networks of the site, all within the routes of its peer. A packet from there has the rights of the site, not those of the peer.',
    expected: 'a list, as in [10.5.0.0/24]',
    example: '[10.5.0.0/24]',
  }).min(1),
  inbound: serviceNames,
  outbound: z
    .union([
      z.enum(['any', 'none']),
      list(outboundRowSchema, { description: '', expected: 'a list of rows' }),
    ])
    .default('none')
    .register(keyFacts, {
      description:
        'What this host, and networks beyond the overlay, may open there: any, none, or rows. Peers need rows of their own.',
      expected: 'any, none, or a list of rows, as in [{to: 10.5.0.10, ports: [tcp/443]}]',
      code: 'ERR_CONFIG_GRANT',
      example: 'any',
    }),
  exit_relay: z
    .strictObject({
      provide: flag('Whether the site may use the internet of this node.', false),
      consume: flag(
        'Whether peers of this node may use the internet of the site, each by its `route_via`.',
        false,
      ),
    })
    .prefault({})
    .register(keyFacts, {
      description: 'Internet of one for the other.',
      expected: 'a section with the keys provide, consume',
      code: 'ERR_CONFIG_TYPE',
      example: '{provide: true, consume: true}',
    }),
  dns: z
    .strictObject({
      domain: text(parseHostName, {
        description: 'Names that end so are asked of its server.',
        expected: 'the name of a domain',
        code: 'ERR_CONFIG_ENDPOINT',
        example: 'cellb',
      }),
      server: text(parseIp, {
        description: 'The address of its server.',
        expected: 'an address, as in 10.5.0.1',
        code: 'ERR_CONFIG_ADDRESS',
        example: '10.5.0.1',
      }),
    })
    .register(keyFacts, {
      description: 'Names of the site.',
      expected: 'a section with the keys domain, server',
      code: 'ERR_CONFIG_TYPE',
      example: '{domain: cellb, server: 10.5.0.1}',
    })
    .optional(),
});

function named<S extends z.ZodType>(section: S, description: string, example: string) {
  return z.record(policyName, section).default({}).register(keyFacts, {
    description,
    expected: 'sections by name',
    code: 'ERR_CONFIG_TYPE',
    example,
  });
}

/** The section `firewall`. */
export const firewallSchema = z.strictObject({
  version: z.literal(1).register(keyFacts, {
    description: 'The version of the policy language.',
    expected: '1, the one version there is',
    code: 'ERR_CONFIG_UNSUPPORTED',
    example: '1',
  }),
  file: text(parseFileName, {
    description:
      'A file with more keys of this section, which many nodes can share. Each key stands in one of the two.',
    expected: 'the name of a file',
    code: 'ERR_CONFIG_FILE',
    example: 'policy.yaml',
  }).optional(),
  network: z
    .string()
    .regex(/^[a-z][a-z0-9_]{0,11}$/)
    .register(keyFacts, {
      description: 'What marks the rules of this node on the host. Without it, the name of the interface.',
      expected: 'up to 12 lower-case letters, digits and _, beginning with a letter',
      code: 'ERR_CONFIG_NAME',
      example: 'home0',
    })
    .optional(),
  action: z.enum(['drop', 'reject']).default('drop').register(keyFacts, {
    description:
      'What becomes of what is not allowed: dropped, or refused so that its sender learns it at once.',
    expected: 'drop or reject',
    code: 'ERR_CONFIG_GRANT',
    example: 'reject',
  }),
  services: named(serviceSchema, 'What is offered, each with its address and ports.', 'files'),
  profiles: named(profileSchema, 'What many peers have in common.', 'std'),
  networks: named(networkSchema, 'Peers that belong together.', 'app1'),
  sites: named(
    siteSchema,
    'Networks behind peers that have rights of their own. The name is that of the peer.',
    'cellb',
  ),
  host: hostSchema,
  leak_guard: leakGuardSchema,
  nat: natSchema,
  process: processSchema,
  mss: mssSchema,
  dns: dnsSchema.optional(),
});

function parseFileName(value: string): Parsed<string> {
  const isName = value.trim() !== '' && !value.includes('\0');
  return isName ? { ok: true, value } : { ok: false, problem: 'a name has visible characters' };
}
