// The names of one policy: what each leads to, and whose it is to answer. Who may learn which is `access.ts`.

import { type IpAddress, renderIp } from '../address/ip.ts';
import { contains, type IpPrefix, networkOf } from '../address/prefix.ts';
import type { Traffic } from '../address/traffic.ts';
import type { Policy } from '../policy/model.ts';
import type { NamePolicy } from '../policy/names.ts';

/** One name of a peer, a service or this node. Lower case, no dot at the end, as everywhere here. */
export interface OverlayName {
  readonly name: string;
  /** At least one. */
  readonly addresses: readonly IpAddress[];
  /** That of a service; null: any. */
  readonly traffic: readonly Traffic[] | null;
}

/** A site whose names are asked of its own server. */
export interface NamedSite {
  /** The peer that carries it. */
  readonly peer: string;
  readonly subnets: readonly IpPrefix[];
  readonly domain: string;
  readonly server: IpAddress;
}

/** Where the answer to a question is to be found. */
export type Place =
  | { readonly kind: 'name'; readonly found: OverlayName; readonly zone: string }
  /** The names that an address has: those of a PTR question. */
  | {
      readonly kind: 'address';
      readonly names: readonly OverlayName[];
      readonly address: IpAddress;
      readonly zone: string;
    }
  /** The top of a zone of ours. */
  | { readonly kind: 'apex'; readonly zone: string }
  /** There is nothing at this name, but there is below it. */
  | { readonly kind: 'empty'; readonly zone: string }
  | { readonly kind: 'missing'; readonly zone: string }
  /** Its server is to be asked; `address` is what the question is about, where its name says so. */
  | { readonly kind: 'site'; readonly site: NamedSite; readonly address: IpAddress | null }
  /** None of ours. */
  | { readonly kind: 'elsewhere' };

export class Zone {
  readonly domain: string;
  /** What answers for this node itself, unless a peer or service is called so. */
  readonly ownName: string;
  readonly names: readonly OverlayName[];
  readonly sites: readonly NamedSite[];
  readonly #byName = new Map<string, OverlayName>();
  readonly #byAddress = new Map<string, OverlayName[]>();
  /** Names that others end in. */
  readonly #above = new Set<string>();
  readonly #networks: readonly IpPrefix[];

  constructor(policy: Policy, { domain }: NamePolicy) {
    this.domain = domain;
    this.ownName = `ns.${domain}`;
    this.#networks = policy.addresses.map(networkOf);
    this.sites = policy.sites.flatMap(({ peer, subnets, dns }) =>
      dns === null ? [] : [{ peer, subnets, domain: plainName(dns.domain), server: dns.server }],
    );
    const addresses = policy.addresses.map(({ address }) => address);
    const own = { name: this.ownName, addresses, traffic: null };
    for (const named of [...overlayNames(policy, domain), own]) this.#add(named);
    this.names = [...this.#byName.values()];
  }

  #add(named: OverlayName): void {
    if (named.addresses.length === 0 || this.#byName.has(named.name)) return;
    this.#byName.set(named.name, named);
    for (const address of named.addresses) {
      const key = renderIp(address);
      this.#byAddress.set(key, [...(this.#byAddress.get(key) ?? []), named]);
    }
    for (const above of namesAbove(named.name)) this.#above.add(above);
  }

  /** Whose a name is. The longest domain counts, so a site may have one inside the overlay's. */
  find(name: string): Place {
    const found = this.#byName.get(name);
    const site = this.#siteOf(name);
    const isOurs = isWithin(name, this.domain);
    if (found !== undefined) return { kind: 'name', found, zone: isOurs ? this.domain : name };
    if (site !== null && !(isOurs && this.domain.length > site.domain.length))
      return { kind: 'site', site, address: null };
    if (name === this.domain) return { kind: 'apex', zone: name };
    if (isOurs) return { kind: this.#above.has(name) ? 'empty' : 'missing', zone: this.domain };
    return this.#findReverse(name);
  }

  #siteOf(name: string): NamedSite | null {
    const holding = this.sites.filter(({ domain }) => isWithin(name, domain));
    const [longest] = holding.toSorted((a, b) => b.domain.length - a.domain.length);
    return longest ?? null;
  }

  #findReverse(name: string): Place {
    const address = addressOfReverse(name);
    if (address === null) return { kind: 'elsewhere' };
    const names = this.#byAddress.get(renderIp(address)) ?? [];
    const network = this.#networks.find((one) => contains(one, address));
    if (names.length === 0 && network === undefined) {
      const site = this.sites.find(({ subnets }) => subnets.some((subnet) => contains(subnet, address)));
      return site === undefined ? { kind: 'elsewhere' } : { kind: 'site', site, address };
    }
    return {
      kind: 'address',
      names,
      address,
      zone: network === undefined ? name : reverseZone(network, name),
    };
  }
}

/** In file order: peers, then services. */
function* overlayNames(policy: Policy, domain: string): Generator<OverlayName> {
  for (const { name, addresses } of policy.peers)
    yield { name: plainName(`${name}.${domain}`), addresses, traffic: null };
  for (const { id, dnsName, addresses, traffic } of policy.services) {
    yield { name: plainName(dnsName ?? `${id}.${domain}`), addresses, traffic };
  }
}

/** Whether a name is `domain` or below it. */
export function isWithin(name: string, domain: string): boolean {
  return name === domain || name.endsWith(`.${domain}`);
}

/** The name under which the name of an address is found: RFC 1035 §3.5, RFC 3596 §2.5. */
export function reverseName({ version, bytes }: IpAddress): string {
  if (version === 4) return `${bytes.toReversed().join('.')}.in-addr.arpa`;
  const nibbles = Array.from(bytes, (byte) => [byte >> 4, byte & 15]).flat();
  return `${nibbles
    .toReversed()
    .map((nibble) => nibble.toString(16))
    .join('.')}.ip6.arpa`;
}

/** The address that a reverse name is of, or null for any other name. */
function addressOfReverse(name: string): IpAddress | null {
  const labels = name.split('.').toReversed();
  const [arpa, family, ...rest] = labels;
  if (arpa !== 'arpa') return null;
  if (
    family === 'in-addr' &&
    rest.length === 4 &&
    rest.every((label) => /^(0|[1-9][0-9]{0,2})$/.test(label))
  ) {
    const numbers = rest.map(Number);
    return numbers.every((number) => number < 256) ? { version: 4, bytes: Uint8Array.from(numbers) } : null;
  }
  if (family !== 'ip6' || rest.length !== 32 || !rest.every((label) => /^[0-9a-f]$/.test(label))) return null;
  return { version: 6, bytes: Uint8Array.from(Buffer.from(rest.join(''), 'hex')) };
}

/** The largest part of a network that is a zone of its own: one that ends at a label. */
function reverseZone({ address: { version }, length }: IpPrefix, name: string): string {
  const [perLabel, total] = version === 4 ? [8, 4] : [4, 32];
  return name
    .split('.')
    .slice(total - Math.ceil(length / perLabel))
    .join('.');
}

function* namesAbove(name: string): Generator<string> {
  for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) yield name.slice(dot + 1);
}

function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
