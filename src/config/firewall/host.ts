// The keys of the section `firewall` that are about the host itself, beside the tunnel: `host`, `leak_guard`, `nat`, `process`,
// `mss`. What each may hold and what it becomes.

import { z } from 'zod';
import { parseEndpoint } from '../../address/endpoint.ts';
import { type IpAddress, type Parsed, parseIp } from '../../address/ip.ts';
import { type IpPrefix, parsePrefix } from '../../address/prefix.ts';
import type {
  HostPolicy,
  InboundPort,
  PortMapping,
  PortRange,
  ProcessRow,
  ProcessTarget,
  PublishRow,
} from '../../policy/host.ts';
import type { InboundSource } from '../../policy/model.ts';
import { keyFacts, list, text } from '../facts.ts';
import { INTERFACE_NAME } from '../interface-name.ts';
import { prefixFacts } from './rows.ts';

/** Who asked for a row: a word with slashes, as in svc/web. It is part of names in nft. */
const OWNER = /^[a-zA-Z0-9][a-zA-Z0-9_./-]{0,62}$/;
/** A user of the host. Nothing in it needs quoting. */
const USER = /^[a-z_][a-z0-9_-]{0,31}$/;
/** Names as service managers and containers give them; nothing in one ends the quotes around it. */
const CGROUP_PART = /^[a-zA-Z0-9_.:@+=,~\\-]+$/;
/** The kernel's side of iptables takes 511, of which those of a container's own root are some. */
const CGROUP_LENGTH = 400;
const PORT_RANGE = /^[0-9]{1,5}(?:-[0-9]{1,5})?$/;

function choice<const T extends readonly [string, ...string[]]>(
  values: T,
  byDefault: T[number],
  description: string,
) {
  return z
    .enum(values)
    .default(byDefault as z.util.NoUndefined<z.output<z.ZodEnum<z.util.ToEnum<T[number]>>>>)
    .register(keyFacts, {
      description,
      expected: `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`,
      code: 'ERR_CONFIG_GRANT',
      example: byDefault,
    });
}

function flag(description: string) {
  const facts = { description, expected: 'true or false', code: 'ERR_CONFIG_TYPE', example: 'true' } as const;
  return z.boolean().default(false).register(keyFacts, facts);
}

const protocol = z.enum(['tcp', 'udp']).register(keyFacts, {
  description: 'The protocol.',
  expected: 'tcp or udp',
  code: 'ERR_CONFIG_GRANT',
  example: 'tcp',
});

function owner(example: string) {
  return z.string().regex(OWNER).register(keyFacts, {
    description: 'Who asked for the row.',
    expected: 'up to 63 letters, digits or any of _ . / -, beginning with a letter or digit',
    code: 'ERR_CONFIG_NAME',
    example,
  });
}

const SOURCES_EXPECTED = 'overlay, lan, any, site:NAME, a network or an address';

function sources(byDefault: InboundSource['kind'] & ('overlay' | 'any'), example: string) {
  const item = text(parseSource, {
    description: 'Where packets come from.',
    expected: SOURCES_EXPECTED,
    code: 'ERR_CONFIG_GRANT',
  });
  return list(item, {
    description: `From where: overlay (through the tunnel), lan (private addresses on other interfaces), any, site:NAME (its subnets), networks and addresses. Without this key, ${byDefault}.`,
    expected: `a list of ${SOURCES_EXPECTED}`,
    example,
  })
    .min(1)
    .default([{ kind: byDefault }]);
}

function interfaceName(description: string, example: string) {
  return z.string().regex(INTERFACE_NAME).register(keyFacts, {
    description,
    expected: 'the name of an interface',
    code: 'ERR_CONFIG_NAME',
    example,
  });
}

function address(description: string, example: string) {
  return text(parseIp, {
    description,
    expected: `an address, as in ${example}`,
    code: 'ERR_CONFIG_ADDRESS',
    example,
  });
}

const rowFacts = (example: string) => ({
  description: 'One row.',
  expected: `a row, as in ${example}`,
  code: 'ERR_CONFIG_TYPE' as const,
});

const INBOUND_EXAMPLE = '{name: api, proto: tcp, port: 13669, from: [overlay], owner: svc/api}';

const inboundSchema = z
  .strictObject({
    name: owner('api'),
    proto: protocol,
    port: z
      .union([
        z
          .int()
          .min(1)
          .max(65_535)
          .transform((port): PortRange => ({ first: port, last: port })),
        text(parseInboundPort, { description: '', expected: '', code: 'ERR_CONFIG_PORT' }),
      ])
      .register(keyFacts, {
        description: 'A port, a range of ports, or $listen: the UDP port of this node.',
        expected: 'a port from 1 to 65535, a range as in 8000-8010, or $listen',
        code: 'ERR_CONFIG_PORT',
        example: '13669',
      }),
    from: sources('overlay', '[overlay]'),
    owner: owner('svc/api').optional(),
  })
  .register(keyFacts, rowFacts(INBOUND_EXAMPLE));

/** `firewall.host`. */
export const hostSchema = z
  .strictObject({
    backend: choice(
      ['auto', 'nft', 'iptables', 'iptables-nft', 'iptables-legacy', 'print', 'off'],
      'auto',
      'What applies the rules of the host. auto: nft where it works, else iptables. iptables: of the kind that this host uses. print: they are only shown, by `ringfence firewall show`. off: there are none.',
    ),
    stance: choice(
      ['open', 'respect'],
      'open',
      'open: what the rows allow is also accepted in chains of other programs that would drop it. respect: nothing of others is changed, and `ringfence doctor` says what is in the way.',
    ),
    on_stop: choice(
      ['remove', 'keep-deny'],
      'remove',
      'What becomes of the rules when the node stops. A crash always keeps them.',
    ),
    forwarding: choice(
      ['auto', 'off'],
      'auto',
      'auto: IP forwarding is switched on when rows or several peers need it, and put back when the rules go.',
    ),
    mirror: choice(
      ['off', 'on'],
      'off',
      'on: the policy of the peers is enforced a second time, by rules of the host, on all that goes through the tunnel.',
    ),
    inbound: list(inboundSchema, {
      description:
        'Ports of this host that only these sources reach. Rows of one port add up; it closes with the last.',
      expected: `a list of rows, as in [${INBOUND_EXAMPLE}]`,
      example: `[${INBOUND_EXAMPLE}]`,
    }).default([]),
  })
  .prefault({})
  .register(keyFacts, {
    description:
      'The rules of the host. Without `host`, `leak_guard`, `nat`, `process` and `mss` there are none; with one of them the others have their defaults.',
    expected: 'a section with the keys backend, stance, on_stop, forwarding, mirror, inbound',
    code: 'ERR_CONFIG_TYPE',
    example: `{backend: auto, inbound: [${INBOUND_EXAMPLE}]}`,
  });

/** `firewall.leak_guard`. */
export const leakGuardSchema = z
  .strictObject({
    in: choice(['drop', 'off'], 'drop', 'Overlay addresses that come in elsewhere than through the tunnel.'),
    out: choice(['drop', 'off'], 'drop', 'Packets for the overlay that would leave elsewhere.'),
    route: choice(
      ['unreachable', 'off'],
      'unreachable',
      'A route for the overlay that counts when the tunnel is gone: nothing follows the default route.',
    ),
  })
  .prefault({})
  .register(keyFacts, {
    description:
      'Overlay addresses are never seen in the clear, also while the tunnel is down. What cannot be guarded does not start.',
    expected: 'a section with the keys in, out, route',
    code: 'ERR_CONFIG_TYPE',
    example: '{in: drop, out: drop, route: unreachable}',
  });

const overlayOrNetwork = {
  expected: 'overlay, or a network or address, as in 10.9.0.8',
  code: 'ERR_CONFIG_GRANT',
} as const;

const masqueradeSchema = z
  .strictObject({
    from: text(parseOverlayOrPrefix, {
      ...overlayOrNetwork,
      description: 'Whose packets: overlay, or a network.',
      example: 'overlay',
    }),
    out: text(parseOut, {
      description: 'By which interface they leave: its name, or non-overlay for any but the tunnel.',
      expected: 'the name of an interface, or non-overlay',
      code: 'ERR_CONFIG_NAME',
      example: 'non-overlay',
    }),
  })
  .register(keyFacts, rowFacts('{from: overlay, out: non-overlay}'));

const snatSchema = z
  .strictObject({
    from: text(parseOverlayOrPrefix, {
      ...overlayOrNetwork,
      description: 'Whose packets: overlay, or a network.',
      example: '10.9.0.8',
    }),
    out: interfaceName('By which interface they leave.', 'eth0'),
    to: address('What their source becomes.', '203.0.113.2'),
  })
  .register(keyFacts, rowFacts('{from: 10.9.0.8, out: eth0, to: 203.0.113.2}'));

const PUBLISH_EXAMPLE = '{owner: svc/web, listen: 203.0.113.1, proto: tcp, ports: {80: 8080}, to: 10.9.0.2}';

const publishSchema = z
  .strictObject({
    owner: owner('svc/web'),
    listen: text(parseListen, {
      description:
        'The address that clients ask: one of them; any, for every address of this host; overlay, for its addresses in the overlay, through the tunnel only.',
      expected: 'an address, any or overlay',
      code: 'ERR_CONFIG_ADDRESS',
      example: '203.0.113.1',
    }).default('any'),
    in: interfaceName('The interface through which clients come. Without this key, any.', 'eth0').optional(),
    proto: protocol,
    ports: z
      .record(
        z.string().regex(PORT_RANGE).register(keyFacts, {
          description: 'A port, or a range of ports.',
          expected: 'a port, or a range as in 8000-8010',
          code: 'ERR_CONFIG_PORT',
        }),
        z.union([z.literal('same'), z.int().min(1).max(65_535)]).register(keyFacts, {
          description: 'Its port at the backend: of a range, the first.',
          expected: 'a port from 1 to 65535, or same',
          code: 'ERR_CONFIG_PORT',
        }),
      )
      .register(keyFacts, {
        description: 'Ports, and what each becomes; of a range, its first port, the others follow in step.',
        expected: 'ports and what they become, as in {80: 8080, 8000-8010: same}',
        code: 'ERR_CONFIG_PORT',
        example: '{80: 8080, 8000-8010: same}',
      }),
    to: text(parseBackend, {
      description: 'Who serves it: an address, or the name of a peer.',
      expected: 'an address or the name of a peer',
      code: 'ERR_CONFIG_ADDRESS',
      example: '10.9.0.2',
    }),
    source: choice(
      ['preserve', 'masquerade'],
      'preserve',
      'masquerade: the backend sees this host in place of its clients.',
    ),
    hairpin: flag(
      "Whether hosts of the backend's own network, the backend itself and this host get there by the published address.",
    ),
    localhost: flag('Whether 127.0.0.1 of this host serves it, too. There is no such thing for ::1.'),
    from: sources('any', '[any]'),
  })
  .register(keyFacts, rowFacts(PUBLISH_EXAMPLE));

const oneToOneSchema = z
  .strictObject({
    ext: text(parsePrefix, {
      ...prefixFacts,
      description: 'The address seen from outside, or a network.',
      example: '203.0.113.2',
    }),
    int: text(parsePrefix, {
      ...prefixFacts,
      description: 'Whose it is: as large as `ext`.',
      example: '10.9.0.2',
    }),
  })
  .register(keyFacts, rowFacts('{ext: 203.0.113.2, int: 10.9.0.2}'));

/** `firewall.nat`. */
export const natSchema = z
  .strictObject({
    masquerade: list(masqueradeSchema, {
      description: 'Packets that leave with the address of this host as their source.',
      expected: 'a list of rows, as in [{from: overlay, out: non-overlay}]',
      example: '[{from: overlay, out: non-overlay}]',
    }).default([]),
    snat: list(snatSchema, {
      description: 'Packets that leave with another source.',
      expected: 'a list of rows, as in [{from: 10.9.0.8, out: eth0, to: 203.0.113.2}]',
      example: '[{from: 10.9.0.8, out: eth0, to: 203.0.113.2}]',
    }).default([]),
    publish: list(publishSchema, {
      description: 'Ports of this host that somebody else serves.',
      expected: `a list of rows, as in [${PUBLISH_EXAMPLE}]`,
      example: `[${PUBLISH_EXAMPLE}]`,
    }).default([]),
    one_to_one: list(oneToOneSchema, {
      description: 'Addresses that stand for others, both ways.',
      expected: 'a list of rows, as in [{ext: 203.0.113.2, int: 10.9.0.2}]',
      example: '[{ext: 10.55.0.0/24, int: 192.168.7.0/24}]',
    }).default([]),
  })
  .prefault({})
  .register(keyFacts, {
    description: 'Translation of addresses.',
    expected: 'a section with the keys masquerade, snat, publish, one_to_one',
    code: 'ERR_CONFIG_TYPE',
    example: '{masquerade: [{from: overlay, out: non-overlay}]}',
  });

const PROCESS_EXAMPLE = '{only: {uid: [0]}, to: ["127.0.0.1:2822", "[::1]:2822"]}';

const processRowSchema = z
  .strictObject({
    only: z
      .strictObject({
        uid: list(
          z.union([z.int().min(0).max(0xffff_fffe), z.string().regex(USER)]).register(keyFacts, {
            description: 'A user of this host.',
            expected: 'the number or the name of a user',
            code: 'ERR_CONFIG_NAME',
          }),
          {
            description: 'Users of this host, by number or name.',
            expected: 'a list of numbers and names of users, as in [0, nobody]',
            example: '[0]',
          },
        )
          .min(1)
          .optional(),
        cgroup: list(
          text(parseCgroup, {
            description: 'A cgroup (v2): a process in it, or in one below it, may.',
            expected: 'the path of a cgroup, as in system.slice/nats.service',
            code: 'ERR_CONFIG_NAME',
          }),
          {
            description:
              'Cgroups of this host (v2), from the root of their hierarchy on. While one is not there, nobody is in it.',
            expected: 'a list of paths, as in [system.slice/nats.service]',
            example: '[system.slice/nats.service]',
          },
        )
          .min(1)
          .optional(),
      })
      .register(keyFacts, {
        description: 'Who may. With both keys: who is one of the users and in one of the cgroups.',
        expected: 'a section with the keys uid, cgroup',
        code: 'ERR_CONFIG_TYPE',
        example: '{uid: [0], cgroup: [system.slice]}',
      }),
    to: list(
      text(parseAddressPort, {
        description: 'An address and a port, of TCP and of UDP.',
        expected: 'an address and a port, as in 127.0.0.1:2822',
        code: 'ERR_CONFIG_ENDPOINT',
      }),
      {
        description: 'Addresses that nobody else on this host may send to.',
        expected: 'a list, as in ["127.0.0.1:2822", "[::1]:2822"]',
        example: '["127.0.0.1:2822"]',
      },
    ).default([]),
    to_dns: text(parseNamePort, {
      description: 'The same for whatever a name resolves to.',
      expected: 'a name and a port, as in nats.example.org:4222',
      code: 'ERR_CONFIG_ENDPOINT',
      example: 'nats.example.org:4222',
    }).optional(),
  })
  .register(keyFacts, rowFacts(PROCESS_EXAMPLE));

/** `firewall.process`. */
export const processSchema = list(processRowSchema, {
  description:
    'What only some users of this host may send to. Everybody else is refused at once, also on a connection made before.',
  expected: `a list of rows, as in [${PROCESS_EXAMPLE}]`,
  example: `[${PROCESS_EXAMPLE}]`,
}).default([]);

/** `firewall.mss`. */
export const mssSchema = choice(
  ['auto', 'off'],
  'auto',
  'auto: TCP through the tunnel agrees on segments that fit, both ways, where this host forwards it.',
);

/** The keys of this page. */
export interface HostSections {
  readonly host: z.output<typeof hostSchema>;
  readonly leak_guard: z.output<typeof leakGuardSchema>;
  readonly nat: z.output<typeof natSchema>;
  readonly process: z.output<typeof processSchema>;
  readonly mss: z.output<typeof mssSchema>;
}

export const HOST_KEYS = [
  'host',
  'leak_guard',
  'nat',
  'process',
  'mss',
] as const satisfies readonly (keyof HostSections)[];

/** What of the sites concerns the host: those that use its internet. */
interface ExitSites {
  readonly sites: Readonly<
    Record<
      string,
      { readonly exit_relay: { readonly provide: boolean }; readonly subnets: readonly IpPrefix[] }
    >
  >;
}

export function hostPolicyOf(network: string, sections: HostSections & ExitSites): HostPolicy {
  const { host, leak_guard, nat, process, mss, sites } = sections;
  return {
    network,
    backend: host.backend,
    stance: host.stance,
    onStop: host.on_stop,
    forwarding: host.forwarding,
    mirrorsPolicy: host.mirror === 'on',
    inbound: host.inbound.map(inboundOf),
    leakGuard: {
      in: leak_guard.in === 'drop',
      out: leak_guard.out === 'drop',
      route: leak_guard.route === 'unreachable',
    },
    masquerade: nat.masquerade,
    snat: nat.snat,
    publish: nat.publish.map(publishOf),
    oneToOne: nat.one_to_one.map(({ ext, int }) => ({ external: ext, internal: int })),
    process: process.map(processRowOf),
    clampsMss: mss === 'auto',
    exitUsers: Object.values(sites).flatMap(({ exit_relay, subnets }) => (exit_relay.provide ? subnets : [])),
  };
}

function inboundOf({ name, proto, port, from, owner: by }: z.output<typeof inboundSchema>): InboundPort {
  return { name, protocol: proto, ports: port, from, owner: by ?? null };
}

function publishOf(row: z.output<typeof publishSchema>): PublishRow {
  const { owner: by, proto, listen, in: incoming, to, source, hairpin, localhost, from } = row;
  return {
    owner: by,
    protocol: proto,
    listen,
    in: incoming ?? null,
    ports: portMappings(row.ports),
    to,
    source,
    hairpin,
    localhost,
    from,
  };
}

/** The mappings of a row, by their first port. A range that is upside down, or leaves what ports there are, is for the checks. */
export function portMappings(ports: Readonly<Record<string, 'same' | number>>): PortMapping[] {
  return Object.entries(ports)
    .map(([range, to]) => {
      const [first = 0, last = first] = range.split('-').map(Number);
      return { ports: { first, last }, to: to === 'same' ? first : to };
    })
    .toSorted((a, b) => a.ports.first - b.ports.first);
}

function processRowOf({ only, to, to_dns }: z.output<typeof processRowSchema>): ProcessRow {
  const { uid, cgroup } = only;
  return { users: uid ?? null, cgroups: cgroup ?? null, to: to_dns === undefined ? to : [...to, to_dns] };
}

function parseSource(value: string): Parsed<InboundSource> {
  if (value === 'overlay' || value === 'lan' || value === 'any') return { ok: true, value: { kind: value } };
  if (value.startsWith('site:')) return { ok: true, value: { kind: 'site', name: value.slice(5) } };
  const prefix = parsePrefix(value);
  return prefix.ok ? { ok: true, value: { kind: 'prefix', prefix: prefix.value } } : prefix;
}

function parseInboundPort(value: string): Parsed<PortRange | 'listen'> {
  if (value === '$listen') return { ok: true, value: 'listen' };
  const [, first = '0', last = '0'] = /^([0-9]{1,5})-([0-9]{1,5})$/.exec(value) ?? [];
  const range = { first: Number(first), last: Number(last) };
  return range.first >= 1 && range.first <= range.last && range.last <= 65_535
    ? { ok: true, value: range }
    : { ok: false, problem: 'write 443, 8000-8010 or $listen' };
}

function parseOverlayOrPrefix(value: string): Parsed<'overlay' | IpPrefix> {
  return value === 'overlay' ? { ok: true, value } : parsePrefix(value);
}

function parseOut(value: string): Parsed<string> {
  return INTERFACE_NAME.test(value)
    ? { ok: true, value }
    : { ok: false, problem: 'an interface name has 1 to 15 letters, digits or any of _ = + . -' };
}

function parseListen(value: string): Parsed<'any' | 'overlay' | IpAddress> {
  return value === 'any' || value === 'overlay' ? { ok: true, value } : parseIp(value);
}

function parseBackend(value: string): Parsed<PublishRow['to']> {
  const parsed = parseIp(value);
  if (parsed.ok) return { ok: true, value: { kind: 'address', address: parsed.value } };
  if (/[:/]/.test(value) || /^[0-9.]+$/.test(value)) return parsed;
  return { ok: true, value: { kind: 'peer', name: value } };
}

function parseAddressPort(value: string): Parsed<ProcessTarget> {
  const parsed = parseEndpoint(value);
  if (!parsed.ok) return parsed;
  if (parsed.value.kind === 'name') return { ok: false, problem: 'a name goes under to_dns' };
  const { address: destination, port, zone } = parsed.value;
  if (zone !== null) return { ok: false, problem: 'an address here has no zone' };
  return { ok: true, value: { kind: 'address', address: destination, port } };
}

/** Without the slash at its beginning, with which /proc/PID/cgroup shows it. */
function parseCgroup(value: string): Parsed<string> {
  const path = value.replace(/^\//, '');
  if (path.length > CGROUP_LENGTH) return { ok: false, problem: `it has more than ${CGROUP_LENGTH} letters` };
  const isPath = path.split('/').every((part) => CGROUP_PART.test(part) && part !== '.' && part !== '..');
  return isPath
    ? { ok: true, value: path }
    : { ok: false, problem: 'each part has letters, digits or any of _ . : @ + = , ~ \\ -' };
}

function parseNamePort(value: string): Parsed<ProcessTarget> {
  const parsed = parseEndpoint(value);
  if (!parsed.ok) return parsed;
  return parsed.value.kind === 'name'
    ? { ok: true, value: parsed.value }
    : { ok: false, problem: 'an address goes under to' };
}
