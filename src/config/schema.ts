// The one list of keys: what each may hold, how a wrong value is refused, and what a right one becomes.
// `section.ts` reads a file by it; `docs/config.md` is generated from it.

import { z } from 'zod';
import { type Endpoint, parseEndpoint, parseHostName } from '../address/endpoint.ts';
import { bitsOf, type IpAddress, type Parsed } from '../address/ip.ts';
import {
  hasHostBits,
  type IpInterface,
  type IpPrefix,
  parseInterface,
  parsePrefix,
} from '../address/prefix.ts';
import type { Place } from '../errors.ts';
import { keyFacts, list, type Refusal, text } from './facts.ts';
import type { FileText } from './file-text.ts';
import { peerAccess } from './firewall/peer.ts';
import type { FirewallConfig } from './firewall/schema.ts';
import { INTERFACE_NAME } from './interface-name.ts';
import { decodeKey } from './key.ts';
import { type ListenAddress, parseListen } from './listen.ts';
import { OFFLOAD_KEYS, type Offload } from './offloads.ts';
import { isKey } from './quote.ts';

/** A whole node, as every other folder sees it: plain data, no text left to parse, no secret. */
export interface NodeConfig {
  /** As it was given on the command line: messages name the file by it. */
  readonly file: string;
  readonly interface: InterfaceConfig;
  /** In file order, names unique. */
  readonly peers: readonly PeerConfig[];
  /** null: none are served. */
  readonly metrics: MetricsConfig | null;
  /** null: the file has no section `firewall`, and every peer may reach everything, as with plain WireGuard. */
  readonly firewall: FirewallConfig | null;
  readonly logging: LoggingConfig;
  /** What the file says of peers and policy, for the difference to another file, and for whoever loads that. */
  readonly text: FileText;
  /**
   * Where what can fail or be refused later stands, by path: the name, port and offloads of the interface, each `peers.NAME`,
   * each key file, and where metrics are served.
   */
  readonly places: ReadonlyMap<string, Place>;
}

export interface InterfaceConfig {
  readonly name: string;
  /** An absolute path, which `loadSecrets` reads. */
  readonly privateKeyFile: string;
  /** This node's own, 32 bytes, computed from the private key. */
  readonly publicKey: Uint8Array;
  /** At least one. */
  readonly addresses: readonly IpInterface[];
  /** 0: any free port. */
  readonly listenPort: number;
  /** `auto`: the MTU of the route to the peers, less what WireGuard adds. */
  readonly mtu: 'auto' | number;
  /** Where the routes to peers go: the main table, and a table of their own for default routes; nowhere; that one table. */
  readonly table: 'auto' | 'off' | number;
  /** Which offloads may be used, where the host has them. */
  readonly offloads: Readonly<Record<Offload, boolean>>;
}

export interface PeerConfig {
  readonly name: string;
  /** 32 bytes; no other peer has it, and it is not our own. */
  readonly publicKey: Uint8Array;
  /** An absolute path, or null where there is no preshared key. */
  readonly presharedKeyFile: string | null;
  /** Its addresses inside the overlay; no other peer has one of them. */
  readonly addresses: readonly IpAddress[];
  /** Networks behind it. None is the same in two peers, but one may lie inside another: the longest prefix wins. */
  readonly routes: readonly IpPrefix[];
  /** Of the routes to it; null: as the host does without one. Less is preferred. */
  readonly metric: number | null;
  /** None: the peer calls us. The best first. */
  readonly endpoints: readonly Endpoint[];
  /** 0: off. */
  readonly keepaliveSeconds: number;
}

export interface MetricsConfig {
  readonly listen: ListenAddress;
  /** Names that a client may ask for, beside addresses and `localhost`. */
  readonly hosts: readonly string[];
}

/** What a file may ask to be logged, from the least on. */
const LOGGED = ['silent', 'error', 'warn', 'info', 'debug'] as const;

export interface LoggingConfig {
  /** null: what the environment says, or `info`. */
  readonly level: (typeof LOGGED)[number] | null;
}

/** Tables and metrics have 32 bits; the last table number is not for use. */
const TABLE_LIMIT = 2 ** 32 - 2;
const METRIC_LIMIT = 2 ** 32 - 1;
const PEER_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;
/** What every IPv4 host takes in one piece (RFC 791), and what fits into one UDP datagram with what WireGuard adds. */
const MTU_RANGE = { least: 576, most: 65_535 - 80 } as const;

const GENKEY_HINT = '`ringfence genkey` makes a private key, `ringfence pubkey` gives the public key of one';

/** The section `interface.offloads`. */
export const offloadsSchema = z.strictObject({
  [OFFLOAD_KEYS.udpGso]: offload('Send trains: many datagrams of one size in one call (UDP_SEGMENT).'),
  [OFFLOAD_KEYS.udpGro]: offload('Receive trains: datagrams that the kernel joined (UDP_GRO).'),
  [OFFLOAD_KEYS.tunTcp]: offload('TCP superpackets of up to 64 KiB at the TUN device (TSO), both ways.'),
  [OFFLOAD_KEYS.tunUdp]: offload('UDP superpackets at the TUN device (USO), both ways; from Linux 6.2.'),
});

/** The section `interface`. */
export const interfaceSchema = z.strictObject({
  name: z.string().regex(INTERFACE_NAME).register(keyFacts, {
    description: 'The name of the tunnel interface.',
    expected: 'an interface name: 1 to 15 letters, digits or any of _ = + . -',
    code: 'ERR_CONFIG_NAME',
    example: 'rf0',
  }),
  private_key_file: keyFile('The file with the private key of this node.', 'rf0.key'),
  addresses: list(
    text(parseOwnAddress, {
      description: 'An address of this node inside the overlay, with the prefix length of its network.',
      expected: 'an address and its prefix length, as in 10.9.0.1/24',
      code: 'ERR_CONFIG_ADDRESS',
    }),
    {
      description: 'The addresses of this node inside the overlay.',
      expected: 'a list, as in [10.9.0.1/24]',
      example: '[10.9.0.1/24, "fd09::1/64"]',
    },
  ).min(1),
  listen_port: z.int().min(0).max(65_535).default(0).register(keyFacts, {
    description: 'The UDP port that peers send to. 0, or no such line: any free port.',
    expected: 'a port from 0 to 65535',
    code: 'ERR_CONFIG_PORT',
    example: '51820',
  }),
  mtu: z
    .union([z.literal('auto'), z.int().min(MTU_RANGE.least).max(MTU_RANGE.most)])
    .default('auto')
    .register(keyFacts, {
      description:
        'Bytes of the longest packet inside the tunnel. auto: the MTU of the route to the peers, less 80.',
      expected: `auto, or a number from ${MTU_RANGE.least} to ${MTU_RANGE.most}`,
      code: 'ERR_CONFIG_MTU',
      example: 'auto',
    }),
  table: z
    .union([z.enum(['auto', 'off']), z.int().min(1).max(TABLE_LIMIT)])
    .default('auto')
    .register(keyFacts, {
      description:
        "Where the routes to peers go. auto: into the main table; a default route into one of its own, by which everything goes but this node's own datagrams to its peers. off: there are none. A number: into that table, all of them, and the rules that lead there are yours.",
      expected: `auto, off, or a number from 1 to ${TABLE_LIMIT}`,
      code: 'ERR_CONFIG_ROUTE',
      example: 'auto',
    }),
  offloads: offloadsSchema.prefault({}).register(keyFacts, {
    description:
      'What the host may join or split for this node, each where it can; `ringfence status` shows which are in use. Switch one off where a driver or a network makes trouble. `RINGFENCE_OFFLOADS` wins over these keys.',
    expected: `a section with the keys ${Object.values(OFFLOAD_KEYS).join(', ')}`,
    code: 'ERR_CONFIG_TYPE',
    example: `{${Object.values(OFFLOAD_KEYS)
      .map((key) => `${key}: true`)
      .join(', ')}}`,
  }),
});

/** Each section `peers.NAME`. */
export const peerSchema = z.strictObject({
  public_key: text(parsePublicKey, {
    description: 'Who the peer is: what `ringfence pubkey` prints of its private key.',
    expected: 'a public key',
    code: 'ERR_CONFIG_KEY',
    hint: GENKEY_HINT,
    example: 'RTYkjKW1a29KcKrOYB/N+Pu1poawQM0w+YF/RA0n+XQ=',
  }),
  preshared_key_file: keyFile(
    'The file with the key that only this peer and this node have.',
    'alice.psk',
  ).optional(),
  addresses: list(
    text(parsePeerAddress, {
      description: 'An address of the peer inside the overlay.',
      expected: 'an address, as in 10.9.0.2',
      code: 'ERR_CONFIG_ADDRESS',
    }),
    {
      description: 'The addresses of the peer inside the overlay.',
      expected: 'a list, as in [10.9.0.2]',
      example: '[10.9.0.2, "fd09::2"]',
    },
  ).default([]),
  routes: list(
    text(parsePrefix, {
      description: 'A network behind the peer.',
      expected: 'a network, as in 192.168.7.0/24',
      code: 'ERR_CONFIG_ROUTE',
    }),
    {
      description:
        'The networks behind the peer. 0.0.0.0/0 and ::/0 are default routes: everything goes to the peer that no other route has.',
      expected: 'a list, as in [192.168.7.0/24]',
      example: '[192.168.7.0/24]',
    },
  ).default([]),
  metric: z
    .int()
    .min(0)
    .max(METRIC_LIMIT)
    .optional()
    .register(keyFacts, {
      description:
        'The metric of the routes to the peer: of two that the host has for one network, it takes the lesser. Not of default routes in a table of their own.',
      expected: `a number from 0 to ${METRIC_LIMIT}`,
      code: 'ERR_CONFIG_ROUTE',
      example: '100',
    }),
  endpoints: list(
    text(parseEndpoint, {
      description: 'An address or a name, and a UDP port.',
      expected: 'an endpoint',
      code: 'ERR_CONFIG_ENDPOINT',
    }),
    {
      description:
        'Where the peer is reached: an address or a name, and a UDP port. Several are tried in turn while nobody answers, the first is gone back to once it answers. Names are asked for again when their TTL ends or nobody answers. None: the peer calls us.',
      expected: 'a list, as in [vpn.example.org:51820]',
      example: '[vpn.example.org:51820]',
    },
  ).default([]),
  keepalive: z
    .union([z.literal('off').transform(() => 0), z.int().min(0).max(65_535)])
    .prefault('off')
    .register(keyFacts, {
      description:
        'Seconds of silence after which the peer is sent an empty message, to keep a NAT on the way open.',
      expected: 'a number of seconds from 1 to 65535, or off',
      code: 'ERR_CONFIG_KEEPALIVE',
      example: '25',
    }),
  ...peerAccess,
});

/** The NAME of `peers.NAME`. */
export const peerNameSchema = z.string().regex(PEER_NAME).register(keyFacts, {
  description: 'What the peer is called here.',
  expected: 'a name for a peer: up to 63 letters, digits or any of _ . -, beginning with a letter or digit',
  code: 'ERR_CONFIG_NAME',
  example: 'alice',
});

/** The section `metrics`. */
export const metricsSchema = z.strictObject({
  listen: text(parseListen, {
    description:
      'Where `/metrics` is served: an address of this host and a TCP port, or the path of a Unix socket, which only its owner may use. Whoever reaches it can read who the peers are and how much they send, so a loopback or overlay address is meant.',
    expected: 'an address and a port, as in 127.0.0.1:9586, or a path with a slash',
    code: 'ERR_CONFIG_LISTEN',
    example: '127.0.0.1:9586',
  }),
  hosts: list(
    text(parseHostName, {
      description: 'A name of this host.',
      expected: 'the name of a host',
      code: 'ERR_CONFIG_LISTEN',
    }),
    {
      description:
        'Names by which clients ask for this host, beside its addresses and localhost. Any other name is refused: it would be that of a web page that has its visitors ask here.',
      expected: 'a list, as in [metrics.example.org]',
      example: '[metrics.example.org]',
    },
  ).default([]),
});

/** The section `logging`. */
export const loggingSchema = z.strictObject({
  level: z
    .enum(LOGGED)
    .optional()
    .register(keyFacts, {
      description:
        'What is logged. `--log-level` and `LOG_LEVEL` win over it; `ringfence log-level` changes it until the node ends.',
      expected: `one of ${LOGGED.join(', ')}`,
      code: 'ERR_CONFIG_LOGGING',
      example: 'info',
    }),
});

/** The sections of a file. What is in them, `load.ts` reads by the schemas above. */
export const fileKeys = ['interface', 'peers', 'metrics', 'logging', 'firewall'] as const;

function offload(description: string) {
  const facts = { description, expected: 'true or false', code: 'ERR_CONFIG_TYPE', example: 'true' } as const;
  return z.boolean().default(true).register(keyFacts, facts);
}

/** The name of a key file. A key in its place is neither shown nor taken for a name. */
function keyFile(description: string, example: string) {
  const parse = (value: string): Parsed<string> | Refusal => {
    if (isKey(value)) {
      return {
        ok: false,
        code: 'ERR_CONFIG_SECRET',
        problem: 'this is a key itself, not the name of a file that holds one',
        hint: 'make a new key, for this one is in a file that others may read: umask 077; ringfence genkey > FILE; then name FILE here',
      };
    }
    const isName = value.trim() !== '' && !value.includes('\0');
    if (!isName) return { ok: false, problem: 'a name has visible characters' };
    return { ok: true, value };
  };
  return text(parse, { description, expected: 'the name of a file', code: 'ERR_CONFIG_KEY_FILE', example });
}

function parsePublicKey(value: string): Parsed<Uint8Array> | Refusal {
  const key = decodeKey(Buffer.from(value));
  // Never quoted: what is pasted here by mistake is a private key.
  const refuse = (problem: string): Refusal => ({
    ok: false,
    problem,
    code: 'ERR_CONFIG_KEY',
    hint: GENKEY_HINT,
  });
  if (key === null || value.length !== 44) {
    return refuse(
      `this is not a public key: it has 44 characters of base64, the last a "=" (here: ${value.length})`,
    );
  }
  if (key.every((byte) => byte === 0)) return refuse('all zeros is not the public key of anybody');
  return { ok: true, value: key };
}

function parseOwnAddress(value: string): Parsed<IpInterface> {
  const parsed = parseInterface(value);
  if (!parsed.ok) return parsed;
  const { address, prefixLength } = parsed.value;
  const problem = hostProblem(address);
  if (problem !== null) return { ok: false, problem };
  const bits = bitsOf(address.version);
  if (prefixLength < bits - 1 && !hasHostBits(parsed.value)) {
    return { ok: false, problem: 'this is the network itself, the address of the node in it is missing' };
  }
  if (prefixLength === 0) return { ok: false, problem: 'a prefix length of 0 would be the whole internet' };
  return parsed;
}

function parsePeerAddress(value: string): Parsed<IpAddress> | Refusal {
  const parsed = parseInterface(value);
  if (!parsed.ok) return parsed;
  const { address, prefixLength } = parsed.value;
  if (prefixLength < bitsOf(address.version)) {
    return { ok: false, problem: 'it is a network, which would belong under routes' };
  }
  const problem = hostProblem(address);
  return problem === null ? { ok: true, value: address } : { ok: false, problem };
}

/** Why no host can have this address, or null. */
function hostProblem({ version, bytes }: IpAddress): string | null {
  const [first = 0] = bytes;
  const last = bytes.at(-1);
  const isZeroBeforeLast = bytes.subarray(0, -1).every((byte) => byte === 0);
  if (version === 4 ? first === 0 : isZeroBeforeLast && last === 0) return 'it stands for no address';
  if (version === 4 ? first === 127 : isZeroBeforeLast && last === 1) return 'it is a loopback address';
  if (version === 4 ? first >= 224 && first < 240 : first === 0xff) return 'it is a multicast address';
  if (version === 4 && bytes.every((byte) => byte === 255)) return 'it is the broadcast address';
  return null;
}
