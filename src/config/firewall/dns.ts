// What a file says of names in the overlay: the section `firewall.dns`, and `dns` of profiles.

import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { parseEndpoint, parseHostName } from '../../address/endpoint.ts';
import { compareIps, type IpAddress, type Parsed, parseIp, renderIp } from '../../address/ip.ts';
import type { Rule } from '../../policy/model.ts';
import type { NamePattern, NamePolicy, NameServer } from '../../policy/names.ts';
import type { PeerDraft } from '../checks.ts';
import { keyFacts, list, text } from '../facts.ts';
import { quote } from '../quote.ts';
import type { Path, Report } from '../report.ts';
import type { Fields } from '../section.ts';
import { offsetIn, type Tree } from '../tree.ts';

export const DNS_PORT = 53;
/** RFC 1035 §2.3.4, as text without the dot at the end. */
const NAME_LENGTH_LIMIT = 253;

function fileName(description: string, example: string) {
  const facts = {
    description,
    expected: 'the name of a file',
    code: 'ERR_CONFIG_FILE',
    example,
  } as const;
  return text(parseFileName, facts);
}

/** The section `firewall.dns`. */
export const dnsSchema = z
  .strictObject({
    domain: text(parseDomain, {
      description:
        'What names of peers and services end in: NAME.DOMAIN. A service may have another name by its own key `dns`.',
      expected: 'the name of a domain',
      code: 'ERR_CONFIG_ENDPOINT',
      example: 'cell',
    }),
    upstream: list(
      text(parseNameServer, {
        description: 'A name server.',
        expected: 'an address, with a port where that is not 53',
        code: 'ERR_CONFIG_ADDRESS',
      }),
      {
        description:
          'Who is asked for all other names: name servers, tried in turn. Without any, other names are refused.',
        expected: 'a list, as in [9.9.9.9, "[2620:fe::fe]:53"]',
        example: '[9.9.9.9]',
      },
    ).default([]),
    corefile: fileName(
      'With this key CoreDNS answers in place of the node: where `ringfence dns corefile --write` puts its configuration.',
      'Corefile',
    ).optional(),
    reload: z
      .strictObject({
        signal: z.literal('USR1').default('USR1').register(keyFacts, {
          description: 'The signal that has CoreDNS read its file again. HUP would end it.',
          expected: 'USR1, the one that CoreDNS reloads on',
          code: 'ERR_CONFIG_UNSUPPORTED',
          example: 'USR1',
        }),
        pid_file: fileName('The file with the number of its process.', 'coredns.pid'),
      })
      .register(keyFacts, {
        description: 'How CoreDNS learns that its file is another one.',
        expected: 'a section with the keys signal, pid_file',
        code: 'ERR_CONFIG_TYPE',
        example: '{signal: USR1, pid_file: coredns.pid}',
      })
      .optional(),
  })
  .register(keyFacts, {
    description:
      'Names in the overlay: the node answers them on its overlay addresses, port 53, each peer by what it may reach. Without this section it answers none.',
    expected: 'a section with the keys domain, upstream, corefile, reload',
    code: 'ERR_CONFIG_TYPE',
    example: '{domain: cell, upstream: [9.9.9.9], corefile: Corefile, reload: {pid_file: coredns.pid}}',
  });

/** `firewall.profiles.P.dns`. */
export const profileDnsSchema = z
  .strictObject({
    deny: list(
      text(parsePattern, {
        description: 'A name; with *. before it, every name below; * alone, every name.',
        expected: 'a name, or a name after *., or *',
        code: 'ERR_CONFIG_ENDPOINT',
      }),
      {
        description:
          'Names that its peers are refused, whatever they may reach: a name, *.NAME for all names below it, or * for all.',
        expected: 'a list, as in ["*.cell", ads.example.org]',
        example: '["*.cell"]',
      },
    ).default([]),
  })
  .prefault({})
  .register(keyFacts, {
    description: 'Names for its peers.',
    expected: 'a section with the key deny',
    code: 'ERR_CONFIG_TYPE',
    example: '{deny: ["*.cell"]}',
  });

type DnsDraft = Fields<z.ZodObject<(typeof dnsSchema)['shape']>>;

/** What names are checked against. A section may lack keys that were reported. */
export interface NamesDraft {
  readonly root: Tree;
  /** Where the file has such a section. */
  readonly section: DnsDraft | undefined;
  readonly addresses: readonly IpAddress[];
  readonly peers: readonly PeerDraft[];
  readonly services: ReadonlyMap<string, { readonly dns?: string | undefined }>;
  readonly sites: ReadonlyMap<string, { readonly dns?: { readonly domain?: string } | undefined }>;
}

/** One name is one peer or service; a node does not ask itself for what it does not know. */
export function checkNames(draft: NamesDraft, report: Report): void {
  if (draft.section === undefined) return;
  checkUpstream(draft, draft.section, report);
  const { domain } = draft.section;
  if (domain === undefined) return;
  const owners = new Map<string, Path>();
  for (const [name, path] of namesOf(draft, domain)) {
    const offset = offsetIn(draft.root, path);
    const first = owners.get(name);
    if (!isName(name)) {
      const hint = 'labels of up to 63 letters, digits, _ and -, with dots between';
      report.add('ERR_CONFIG_NAME', offset, path, `${quote(name)} can be no name in DNS`, hint);
    } else if (first !== undefined) {
      const { file, line } = report.place(offsetIn(draft.root, first), first);
      const message = `the name ${quote(name)} is taken in ${file}:${line}`;
      report.add('ERR_CONFIG_OVERLAP', offset, path, message, 'a name leads to one place');
    } else owners.set(name, path);
  }
}

function checkUpstream({ root, addresses }: NamesDraft, section: DnsDraft, report: Report): void {
  for (const [i, { address, port }] of (section.upstream ?? []).entries()) {
    if (port !== DNS_PORT || !addresses.some((own) => compareIps(own, address) === 0)) continue;
    const path = ['firewall', 'dns', 'upstream', i];
    const message = `${renderIp(address)} is this node itself, which would ask itself`;
    report.add('ERR_CONFIG_ADDRESS', offsetIn(root, path), path, message, 'name another server');
  }
}

/** Every name that leads somewhere, and where the file gives it: the overlay's domain, peers, services, domains of sites. */
function* namesOf({ peers, services, sites }: NamesDraft, domain: string): Generator<[string, Path]> {
  yield [domain, ['firewall', 'dns', 'domain']];
  for (const { name } of peers) yield [`${name.toLowerCase()}.${domain}`, ['peers', name]];
  for (const [id, { dns }] of services) {
    const path = ['firewall', 'services', id];
    yield dns === undefined ? [`${id.toLowerCase()}.${domain}`, path] : [plainName(dns), [...path, 'dns']];
  }
  for (const [id, { dns }] of sites) {
    if (dns?.domain !== undefined) yield [plainName(dns.domain), ['firewall', 'sites', id, 'dns', 'domain']];
  }
}

/** The section of a file without problems → what the node does about it. */
export function namePolicyOf(
  section: z.output<typeof dnsSchema>,
  profiles: Readonly<Record<string, { readonly dns: z.output<typeof profileDnsSchema> }>>,
  rule: Rule,
  configFile: string,
): NamePolicy {
  const folder = dirname(configFile);
  const { domain, upstream, corefile, reload } = section;
  return {
    ...rule,
    domain,
    upstream,
    denied: new Map(Object.entries(profiles).map(([id, { dns }]) => [id, dns.deny])),
    corefile:
      corefile === undefined
        ? null
        : {
            file: resolve(folder, corefile),
            pidFile: reload === undefined ? null : resolve(folder, reload.pid_file),
          },
  };
}

function isName(name: string): boolean {
  return name.length <= NAME_LENGTH_LIMIT && parseHostName(name).ok;
}

/** As names are compared. */
function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

function parseDomain(value: string): Parsed<string> {
  const name = parseHostName(value);
  return name.ok ? { ok: true, value: plainName(name.value) } : name;
}

function parseNameServer(value: string): Parsed<NameServer> {
  const plain = parseIp(value);
  if (plain.ok) return { ok: true, value: { address: plain.value, port: DNS_PORT } };
  if (!/^\[|^[0-9.]+:[0-9]+$/.test(value)) return plain;
  const endpoint = parseEndpoint(value);
  if (!endpoint.ok) return endpoint;
  if (endpoint.value.kind === 'name') return plain;
  if (endpoint.value.zone !== null) return { ok: false, problem: 'a zone (%) does not belong here' };
  return { ok: true, value: { address: endpoint.value.address, port: endpoint.value.port } };
}

function parsePattern(value: string): Parsed<NamePattern> {
  if (value === '*') return { ok: true, value: { name: '', isBelow: true } };
  const isBelow = value.startsWith('*.');
  const name = parseHostName(isBelow ? value.slice(2) : value);
  return name.ok ? { ok: true, value: { name: plainName(name.value), isBelow } } : name;
}

function parseFileName(value: string): Parsed<string> {
  const isFile = value.trim() !== '' && !value.includes('\0');
  return isFile ? { ok: true, value } : { ok: false, problem: 'a name has visible characters' };
}
