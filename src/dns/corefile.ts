// The names of a policy as a configuration of CoreDNS (coredns.io/manual/configuration): pure text. CoreDNS stops at the first
// rule of an `acl` that fits, and takes the server block of the longest name, so each name has a block of its own in which
// everyone who is refused stands before everyone who is not.

import { createHash } from 'node:crypto';
import { bitsOf, type IpAddress, renderIp } from '../address/ip.ts';
import { hostPrefix, type IpPrefix, renderPrefix } from '../address/prefix.ts';
import type { Policy } from '../policy/model.ts';
import type { NamePolicy, NameServer } from '../policy/names.ts';
import { Access, type Asker } from './access.ts';
import { TTL_SECONDS } from './resolver.ts';
import { type OverlayName, reverseName, Zone } from './zone.ts';

/** Where CoreDNS says that it is there: on loopback, or everyone could ask. */
const HEALTH = 'localhost:8080';
const CACHE_SECONDS = 3_600;

export interface RenderedCorefile {
  readonly text: string;
  /** A TXT question for this name is answered with `digest` by the server that has taken this very text. */
  readonly markName: string;
  readonly digest: string;
}

/** Sources that are one asker to the policy. */
interface Group {
  readonly owner: string;
  readonly network: IpPrefix;
  readonly asker: Asker;
}

/** @param hostAddresses what this host has beside its overlay addresses */
export function renderCorefile(
  policy: Policy,
  names: NamePolicy,
  hostAddresses: readonly IpAddress[],
): RenderedCorefile {
  const renderer = new Renderer(policy, names, hostAddresses);
  const blocks = renderer.blocks();
  const digest = createHash('sha256').update(blocks.join('\n')).digest('hex').slice(0, 32);
  const markName = `_ringfence.${names.domain}`;
  const head = '# Made by `ringfence dns corefile`: the next one replaces it.\n';
  return { text: [head, ...blocks, renderer.mark(markName, digest)].join('\n'), markName, digest };
}

class Renderer {
  readonly #names: NamePolicy;
  readonly #policy: Policy;
  readonly #access: Access;
  readonly #zone: Zone;
  readonly #groups: readonly Group[];

  constructor(policy: Policy, names: NamePolicy, hostAddresses: readonly IpAddress[]) {
    this.#policy = policy;
    this.#names = names;
    this.#access = new Access(policy, names, hostAddresses);
    this.#zone = new Zone(policy, names);
    this.#groups = groupsOf(policy, this.#access);
  }

  blocks(): string[] {
    const { names, sites, ownName, domain } = this.#zone;
    const mayLearn = (named: OverlayName) => (asker: Asker) =>
      named.name === ownName || this.#access.mayLearn(asker, named);
    return [
      ...names.map((named) => this.#block(named.name, mayLearn(named), this.#addressTemplates(named))),
      ...this.#reverseBlocks(),
      this.#block(domain, () => true, [this.#missing(domain)]),
      ...sites.map((site) =>
        this.#block(site.domain, (asker) => this.#access.mayReachSome(asker, site.subnets), [
          ...forwardTo([{ address: site.server, port: 53 }]),
        ]),
      ),
      ...this.#deniedElsewhere().map((name) => this.#block(name, () => true, this.#elsewhere())),
      this.#block('.', () => true, [...this.#elsewhere(), `health ${HEALTH}`]),
    ];
  }

  mark(name: string, digest: string): string {
    return this.#block(name, () => true, [template('TXT', [`answer "{{ .Name }} 0 IN TXT ${digest}"`])]);
  }

  /** One server block. Nobody but peers and this node is answered. */
  #block(name: string, mayAsk: (asker: Asker) => boolean, plugins: readonly string[]): string {
    const bind = this.#policy.addresses.map(({ address }) => renderIp(address)).join(' ');
    const isAllowed = ({ asker }: Group): boolean => mayAsk(asker) && !this.#isDeniedBelow(asker, name);
    const lines = [`bind ${bind}`, 'errors', ...acl(this.#groups, isAllowed), ...plugins];
    return `${name} {\n${indent(lines.join('\n'))}\n}\n`;
  }

  /** A server block is of a name and all below it, and so is what it denies. */
  #isDeniedBelow(asker: Asker, name: string): boolean {
    return this.#access.isDenied(asker, name) || (name !== '.' && this.#access.isDenied(asker, `x.${name}`));
  }

  #reverseBlocks(): string[] {
    const byAddress = new Map<string, { address: IpAddress; names: OverlayName[] }>();
    for (const named of this.#zone.names) {
      for (const address of named.addresses) {
        const entry = byAddress.get(renderIp(address)) ?? { address, names: [] };
        entry.names.push(named);
        byAddress.set(renderIp(address), entry);
      }
    }
    return Array.from(byAddress.values(), ({ address, names }) => {
      const reverse = reverseName(address);
      const answers = names.map(({ name }) => `answer "{{ .Name }} ${TTL_SECONDS} IN PTR ${name}."`);
      const mayLearn = (asker: Asker): boolean =>
        names.every((named) => named.name === this.#zone.ownName || this.#access.mayLearn(asker, named));
      return this.#block(reverse, mayLearn, [
        template('PTR', [`match "${exactly(reverse)}"`, ...answers, 'fallthrough']),
        this.#missing(reverse),
      ]);
    });
  }

  #addressTemplates({ name, addresses }: OverlayName): string[] {
    const match = `match "${exactly(name)}"`;
    const records = ([4, 6] as const).flatMap((version) => {
      const own = addresses.filter((address) => address.version === version);
      const type = version === 4 ? 'A' : 'AAAA';
      const answers = own.map(
        (address) => `answer "{{ .Name }} ${TTL_SECONDS} IN ${type} ${renderIp(address)}"`,
      );
      return own.length === 0 ? [] : [template(type, [match, ...answers, 'fallthrough'])];
    });
    const zone = name.endsWith(`.${this.#zone.domain}`) ? this.#zone.domain : name;
    const nothing = template('ANY', [match, `authority "${this.#soa(zone)}"`, 'fallthrough']);
    return [...records, nothing, this.#missing(zone)];
  }

  #missing(zone: string): string {
    return template('ANY', ['rcode NXDOMAIN', `authority "${this.#soa(zone)}"`]);
  }

  #soa(zone: string): string {
    const numbers = `1 3600 600 86400 ${TTL_SECONDS}`;
    return `${zone}. ${TTL_SECONDS} IN SOA ${this.#zone.ownName}. hostmaster.${zone}. ${numbers}`;
  }

  #elsewhere(): string[] {
    const { upstream } = this.#names;
    return upstream.length === 0 ? [template('ANY', ['rcode REFUSED'])] : forwardTo(upstream);
  }

  /** Names of others that a profile denies: where they begin, a block of their own. */
  #deniedElsewhere(): string[] {
    const denied = [...this.#names.denied.values()].flat().map(({ name }) => name);
    const isElsewhere = (name: string): boolean => name !== '' && this.#zone.find(name).kind === 'elsewhere';
    return [...new Set(denied)].filter(isElsewhere);
  }
}

/** Every source that a peer may ask from; what it has behind it, as far as that is known. */
function groupsOf(policy: Policy, access: Access): Group[] {
  const group = (owner: string, network: IpPrefix): Group[] => {
    const asker = access.askerAt(lastOf(network)); // at its begin lies, more often, a smaller one
    return asker === null ? [] : [{ owner, network, asker }];
  };
  const own = policy.addresses.flatMap(({ address }) => group('this node', hostPrefix(address)));
  const peers = policy.peers.flatMap(({ name, addresses, routes }) => [
    ...addresses.flatMap((address) => group(name, hostPrefix(address))),
    ...routes.flatMap((route) => group(name, route)),
  ]);
  const sites = policy.sites.flatMap(({ peer, subnets }) =>
    subnets.flatMap((subnet) => group(`site ${peer}`, subnet)),
  );
  return [...own, ...peers, ...sites];
}

/** The smaller network first, and of equal ones whoever is refused: what fits first counts. */
function acl(groups: readonly Group[], isAllowed: (group: Group) => boolean): string[] {
  const sizes = [...new Set(groups.map(sizeOf))].toSorted((a, b) => a - b);
  const lines = sizes.flatMap((size) => {
    const ofSize = groups.filter((group) => sizeOf(group) === size);
    const blocked = Map.groupBy(
      ofSize.filter((group) => !isAllowed(group)),
      ({ owner }) => owner,
    );
    const allowed = ofSize.filter(isAllowed);
    return [
      ...Array.from(blocked, ([owner, own]) => `block net ${nets(own)} # ${owner}`),
      ...(allowed.length === 0 ? [] : [`allow net ${nets(allowed)}`]),
    ];
  });
  return [`acl {\n${indent([...lines, 'drop'].join('\n'))}\n}`];
}

function lastOf({ address: { version, bytes }, length }: IpPrefix): IpAddress {
  const last = bytes.map((byte, i) => byte | (0xff >> Math.min(Math.max(length - 8 * i, 0), 8)));
  return { version, bytes: last };
}

function sizeOf({ network: { address, length } }: Group): number {
  return bitsOf(address.version) - length;
}

function nets(groups: readonly Group[]): string {
  return groups.map(({ network }) => renderPrefix(network)).join(' ');
}

function template(type: string, lines: readonly string[]): string {
  return `template IN ${type} {\n${indent(lines.join('\n'))}\n}`;
}

function forwardTo(servers: readonly NameServer[]): string[] {
  const targets = servers.map(({ address, port }) =>
    address.version === 4 ? `${renderIp(address)}:${port}` : `[${renderIp(address)}]:${port}`,
  );
  return [`forward . ${targets.join(' ')} {\n    policy sequential\n}`, `cache ${CACHE_SECONDS}`];
}

/** A regular expression of one name, with its dot at the end. INVARIANT: a name that was checked has no other special character. */
function exactly(name: string): string {
  return `^${name.replaceAll('.', '[.]')}[.]$`;
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '    ');
}
