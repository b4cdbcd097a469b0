// The section `firewall` and the rows of the peers → the policy model. Only for a file without problems.

import type { z } from 'zod';
import type { IpAddress } from '../../address/ip.ts';
import { hostPrefix } from '../../address/prefix.ts';
import { TCP, type Traffic, UDP } from '../../address/traffic.ts';
import type { Place } from '../../errors.ts';
import type { HostPolicy } from '../../policy/host.ts';
import type {
  AccessRow,
  InboundRow,
  Policy,
  PolicyPeer,
  Profile,
  Quota,
  Rule,
  RulePlace,
  Service,
  ServiceRef,
  Site,
  Target,
} from '../../policy/model.ts';
import type { NamePolicy } from '../../policy/names.ts';
import { renderPath } from '../quote.ts';
import type { Path, Report } from '../report.ts';
import type { InterfaceConfig, peerSchema } from '../schema.ts';
import { offsetIn, type Tree, treeIn } from '../tree.ts';
import { DNS_PORT, namePolicyOf } from './dns.ts';
import { HOST_KEYS, hostPolicyOf } from './host.ts';
import type { accessRowSchema, NamedTarget } from './rows.ts';
import type { FirewallConfig, firewallSchema, profileSchema, serviceSchema, siteSchema } from './schema.ts';

/** What a name server is asked by. */
const QUESTIONS: readonly Traffic[] = [UDP, TCP].map((protocol) => ({
  protocol,
  first: DNS_PORT,
  last: DNS_PORT,
}));

type Section = z.output<typeof firewallSchema>;

interface SourcePeer {
  readonly name: string;
  readonly fields: z.output<typeof peerSchema>;
}

/** What the model is made from. */
export interface PolicySource {
  readonly root: Tree;
  readonly report: Report;
  readonly section: Section;
  readonly peers: readonly SourcePeer[];
  /** Those of a former policy whose lines are the same: one of them that begins where it began is taken as it is. */
  readonly known: ReadonlyMap<string, PolicyPeer>;
  readonly addresses: InterfaceConfig['addresses'];
  /** Of the tunnel. */
  readonly interface: string;
  readonly listenPort: number;
}

export function firewallOf(source: PolicySource): FirewallConfig {
  const builder = new Builder(source);
  return {
    place: builder.place(['firewall']),
    network: source.section.network ?? null,
    policy: builder.policy(),
    host: builder.host(),
    names: builder.names(),
  };
}

class Builder {
  readonly #source: PolicySource;

  constructor(source: PolicySource) {
    this.#source = source;
  }

  place(path: Path): Place {
    const { root, report } = this.#source;
    return report.place(offsetIn(root, path), path);
  }

  policy(): Policy {
    const { section, peers, addresses } = this.#source;
    const networks = Object.entries(section.networks).map(([id, { isolation, members }]) => ({
      ...this.#rule(['firewall', 'networks', id]),
      id,
      isStrict: isolation === 'strict',
      members,
    }));
    return {
      action: section.action,
      rule: this.#rule(['firewall']),
      addresses,
      peers: peers.map((peer) => this.#peer(peer)),
      services: Object.entries(section.services).map(([id, fields]) => this.#service(id, fields)),
      profiles: Object.entries(section.profiles).map(([id, fields]) => this.#profile(id, fields)),
      networks,
      sites: Object.entries(section.sites).map(([peer, fields]) => this.#site(peer, fields)),
      inbound: [...this.#inbound(), ...this.#questions()],
    };
  }

  /** Null where the section says nothing of the host, and no site uses its internet, which takes masquerading. */
  host(): HostPolicy | null {
    const { section, interface: name } = this.#source;
    const provides = Object.values(section.sites).some(({ exit_relay }) => exit_relay.provide);
    return this.#has(HOST_KEYS) || provides
      ? hostPolicyOf(section.network ?? name.replaceAll(/\W/g, '_'), section)
      : null;
  }

  /** Whether one of these keys is written in the section. */
  #has(keys: readonly string[]): boolean {
    const { root } = this.#source;
    const own = root.kind === 'map' ? root.entries.get('firewall')?.value : undefined;
    return own?.kind === 'map' && keys.some((key) => own.entries.has(key));
  }

  /** What may reach this node through the tunnel, as the core's filter has to know it, too. */
  #inbound(): InboundRow[] {
    const { section, listenPort } = this.#source;
    return section.host.inbound.map(({ proto, port, from }, i) => {
      const ports = port === 'listen' ? { first: listenPort, last: listenPort } : port;
      return {
        ...this.#rule(['firewall', 'host', 'inbound', i]),
        from,
        traffic: [{ protocol: proto === 'tcp' ? 6 : 17, ...ports }],
      };
    });
  }

  /** A node that answers names may be asked. */
  #questions(): InboundRow[] {
    if (this.#source.section.dns === undefined) return [];
    return [{ ...this.#rule(['firewall', 'dns']), from: [{ kind: 'overlay' }], traffic: QUESTIONS }];
  }

  names(): NamePolicy | null {
    const { section, report } = this.#source;
    if (section.dns === undefined) return null;
    return namePolicyOf(section.dns, section.profiles, this.#rule(['firewall', 'dns']), report.file);
  }

  #rule(path: Path): Rule {
    const { root, report } = this.#source;
    return { name: renderPath(path), place: report.position(offsetIn(root, path)) };
  }

  #peer({ name, fields }: SourcePeer): PolicyPeer {
    const path = ['peers', name];
    const { public_key, addresses, routes, profile, allow, deny, reachable_from, route_via } = fields;
    const rule = this.#rule(path);
    const known = this.#source.known.get(name);
    if (known !== undefined && isSamePlace(known.rule.place, rule.place)) return known;
    return {
      name,
      publicKey: public_key,
      rule,
      addresses,
      routes,
      profile: profile ?? null,
      allow: this.#rows(allow, [...path, 'allow']),
      deny: this.#rows(deny, [...path, 'deny']),
      reachableFrom: reachable_from.map(({ from, ports = [] }, i) => ({
        ...this.#rule([...path, 'reachable_from', i]),
        from,
        traffic: ports.flat(),
      })),
      routeVia: route_via === undefined ? null : { ...this.#rule([...path, 'route_via']), site: route_via },
    };
  }

  #rows(rows: readonly z.output<typeof accessRowSchema>[], path: Path): AccessRow[] {
    const { root, report } = this.#source;
    const list = treeIn(root, path); // looked up once: a policy has tens of thousands of rows
    const offsets = list?.kind === 'list' ? list.items.map(({ offset }) => offset) : [];
    const name = renderPath(path);
    return rows.map(({ to, from, ports = [] }, i) => ({
      name: `${name}[${i}]`,
      place: report.position(offsets[i] ?? 0),
      to: this.#target(to),
      from: from ?? null,
      traffic: ports.flat(),
    }));
  }

  #target(to: NamedTarget): Target {
    if (to.kind !== 'name') return to;
    const isService = Object.hasOwn(this.#source.section.services, to.name);
    return { kind: isService ? 'service' : 'peer', name: to.name };
  }

  #service(id: string, { addr, ports, dns }: z.output<typeof serviceSchema>): Service {
    return {
      ...this.#rule(['firewall', 'services', id]),
      id,
      addresses: Array.isArray(addr) ? addr : [addr],
      traffic: ports.flat(),
      dnsName: dns ?? null,
    };
  }

  #profile(id: string, fields: z.output<typeof profileSchema>): Profile {
    const path = ['firewall', 'profiles', id];
    const { internet, services, peers, allow, deny, rate, quota, over_quota } = fields;
    return {
      ...this.#rule(path),
      id,
      internet: internet ? this.#rule([...path, 'internet']) : null,
      services: this.#serviceRefs(services, [...path, 'services']),
      peers,
      peersRule: this.#rule([...path, 'peers']),
      allow: this.#rows(allow, [...path, 'allow']),
      deny: this.#rows(deny, [...path, 'deny']),
      rate: rate === undefined ? null : { up: rate.up ?? null, down: rate.down ?? null },
      quota:
        quota === undefined
          ? null
          : ({ ...this.#rule([...path, 'quota']), ...quota, over: over_quota } satisfies Quota),
    };
  }

  /** The rows, and that of the server that this node asks for the names of the site. */
  #outbound(
    path: Path,
    outbound: z.output<typeof siteSchema>['outbound'],
    server?: IpAddress,
  ): Site['outbound'] {
    if (outbound === 'any' || (outbound === 'none' && server === undefined)) return outbound;
    const rows = (outbound === 'none' ? [] : outbound).map(({ to, ports = [] }, i) => ({
      ...this.#rule([...path, 'outbound', i]),
      to,
      traffic: ports.flat(),
    }));
    if (server === undefined) return rows;
    return [...rows, { ...this.#rule([...path, 'dns']), to: hostPrefix(server), traffic: QUESTIONS }];
  }

  #serviceRefs(services: readonly string[], path: Path): ServiceRef[] {
    return services.map((service, i) => ({ ...this.#rule([...path, i]), service }));
  }

  #site(peer: string, { subnets, inbound, outbound, exit_relay, dns }: z.output<typeof siteSchema>): Site {
    const path = ['firewall', 'sites', peer];
    return {
      ...this.#rule(path),
      peer,
      subnets,
      inbound: this.#serviceRefs(inbound, [...path, 'inbound']),
      outbound: this.#outbound(path, outbound, dns?.server),
      outboundRule: this.#rule([...path, 'outbound']),
      providesExit: exit_relay.provide ? this.#rule([...path, 'exit_relay', 'provide']) : null,
      consumesExit: exit_relay.consume,
      dns: dns ?? null,
    };
  }
}

function isSamePlace(a: RulePlace, b: RulePlace): boolean {
  return a.line === b.line && a.column === b.column && a.file === b.file;
}
