// What no row of the policy can see alone: names that nobody has, owners that overlap, values that exclude each other.

import { type IpAddress, renderIp } from '../../address/ip.ts';
import { contains, type IpPrefix, isExitRoute, overlaps, renderPrefix } from '../../address/prefix.ts';
import { commonTraffic, renderTraffic, type Traffic } from '../../address/traffic.ts';
import type { ErrorCode } from '../../errors.ts';
import type { PeerDraft } from '../checks.ts';
import { quote } from '../quote.ts';
import type { Path, Report } from '../report.ts';
import type { Fields } from '../section.ts';
import { offsetIn, type Tree } from '../tree.ts';
import { checkNames, type NamesDraft } from './dns.ts';
import { checkHost, type HostDraft } from './host-checks.ts';
import { type NamedTarget, TARGET_WORDS } from './rows.ts';
import type { firewallSchema, networkSchema, profileSchema, serviceSchema, siteSchema } from './schema.ts';

/** The section as far as its keys are right. INVARIANT: a section in it may lack keys, whatever its type says: they were reported. */
export interface FirewallDraft {
  readonly root: Tree;
  /** Where the file has such a section. */
  readonly section: Fields<typeof firewallSchema> | undefined;
  readonly peers: readonly PeerDraft[];
  /** Of this node; 0: any. */
  readonly listenPort: number;
  /** This node's own. */
  readonly addresses: readonly IpAddress[];
}

type ServiceDraft = Fields<typeof serviceSchema>;
type ProfileDraft = Fields<typeof profileSchema>;
type SiteDraft = Fields<typeof siteSchema>;

/** Keys of a peer that mean something only under a policy. */
const PEER_KEYS = ['profile', 'allow', 'deny', 'reachable_from', 'route_via'] as const;

export function checkFirewall(draft: FirewallDraft, report: Report): void {
  if (draft.section === undefined) checkNoPolicy(draft, report);
  else {
    new Checks(draft, draft.section, report).run();
    checkHost(hostDraft(draft, draft.section), report);
    checkNames(namesDraft(draft, draft.section), report);
  }
}

function hostDraft({ root, peers, listenPort }: FirewallDraft, section: HostDraft['section']): HostDraft {
  return {
    root,
    section,
    listenPort,
    peers: new Set(peers.map(({ name }) => name)),
    sites: new Set(Object.keys(section.sites ?? {})),
  };
}

function namesDraft({ root, peers, addresses }: FirewallDraft, section: HostDraft['section']): NamesDraft {
  return {
    root,
    section: section.dns,
    addresses,
    peers,
    services: new Map(Object.entries(section.services ?? {})),
    sites: new Map(Object.entries(section.sites ?? {})),
  };
}

/** Without the section nothing would enforce these keys: whoever wrote them believes that something does. */
function checkNoPolicy({ root, peers }: FirewallDraft, report: Report): void {
  for (const { name, fields } of peers) {
    for (const key of PEER_KEYS) {
      const value = fields[key];
      if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
      const path = ['peers', name, key];
      const message = 'this means nothing without a section firewall, which the file does not have';
      report.add(
        'ERR_CONFIG_MISSING_KEY',
        offsetIn(root, path),
        path,
        message,
        'add one, as in firewall: {version: 1}',
      );
    }
  }
}

class Checks {
  readonly #root: Tree;
  readonly #report: Report;
  readonly #peers: ReadonlyMap<string, PeerDraft['fields']>;
  readonly #services: ReadonlyMap<string, ServiceDraft>;
  readonly #profiles: ReadonlyMap<string, ProfileDraft>;
  readonly #sites: ReadonlyMap<string, SiteDraft>;
  readonly #networks: Readonly<Record<string, Fields<typeof networkSchema>>>;

  constructor(draft: FirewallDraft, section: Fields<typeof firewallSchema>, report: Report) {
    this.#root = draft.root;
    this.#report = report;
    this.#peers = new Map(draft.peers.map(({ name, fields }) => [name, fields]));
    this.#services = new Map(Object.entries(section.services ?? {}));
    this.#profiles = new Map(Object.entries(section.profiles ?? {}));
    this.#sites = new Map(Object.entries(section.sites ?? {}));
    this.#networks = section.networks ?? {};
  }

  run(): void {
    this.#checkServices();
    for (const [name, profile] of this.#profiles) this.#checkProfile(name, profile);
    for (const [name, { members = [] }] of Object.entries(this.#networks)) this.#checkMembers(name, members);
    this.#checkStrictOnce();
    for (const [name, site] of this.#sites) this.#checkSite(name, site);
    this.#checkSubnetOwners();
    for (const [name, fields] of this.#peers) this.#checkPeer(name, fields);
  }

  /** One name means one thing, and one address and port belong to one service. */
  #checkServices(): void {
    const owners = new Map<string, { readonly name: string; readonly traffic: readonly Traffic[] }[]>();
    for (const [name, { addr, ports }] of this.#services) {
      const path = ['firewall', 'services', name];
      if (this.#peers.has(name))
        this.#add(
          'ERR_CONFIG_NAME',
          path,
          `a peer is called ${quote(name)} as well`,
          'give the service another name',
        );
      if (TARGET_WORDS.includes(name)) {
        this.#add(
          'ERR_CONFIG_NAME',
          path,
          `${quote(name)} has a meaning of its own in rows`,
          'give the service another name',
        );
      }
      const traffic = (ports ?? []).flat();
      for (const address of addressesOf(addr)) {
        const text = renderIp(address);
        const others = owners.get(text) ?? [];
        this.#checkServiceOverlap(name, text, traffic, others);
        owners.set(text, [...others, { name, traffic }]);
      }
    }
  }

  #checkServiceOverlap(
    name: string,
    address: string,
    traffic: readonly Traffic[],
    others: readonly { readonly name: string; readonly traffic: readonly Traffic[] }[],
  ): void {
    for (const other of others) {
      const shared = traffic.flatMap((one) => other.traffic.flatMap((two) => commonTraffic(one, two) ?? []));
      if (shared[0] === undefined) continue;
      const { file, line } = this.#place(['firewall', 'services', other.name]);
      const what = `${address} ${renderTraffic(shared[0])}`;
      const message =
        other.name === name
          ? `${what} stands twice in this service`
          : `${what} is taken: service ${other.name} has it in ${file}:${line}`;
      this.#add(
        'ERR_CONFIG_OVERLAP',
        ['firewall', 'services', name],
        message,
        'one address and port belong to one service',
      );
    }
  }

  #checkProfile(
    name: string,
    { services = [], allow = [], deny = [], quota, over_quota }: ProfileDraft,
  ): void {
    const path = ['firewall', 'profiles', name];
    this.#checkServiceNames(services, [...path, 'services']);
    this.#checkRows(allow, [...path, 'allow']);
    this.#checkRows(deny, [...path, 'deny']);
    if (over_quota !== undefined && over_quota !== 'deny' && quota === undefined) {
      this.#add(
        'ERR_CONFIG_MISSING_KEY',
        [...path, 'over_quota'],
        'there is no quota that could be used up',
        'add one, as in quota: 50GB/month',
      );
    }
  }

  #checkMembers(network: string, members: readonly string[]): void {
    for (const [i, member] of members.entries()) {
      const path = ['firewall', 'networks', network, 'members', i];
      if (!this.#peers.has(member)) this.#unknown(path, 'peer', member);
      if (members.indexOf(member) !== i)
        this.#add('ERR_CONFIG_GRANT', path, `${quote(member)} is a member already`, 'keep one of them');
    }
  }

  /** In two of them a peer would be shut off from whoever is not in both: nobody means that. */
  #checkStrictOnce(): void {
    const first = new Map<string, string>();
    for (const [network, { members = [], isolation }] of Object.entries(this.#networks)) {
      if (isolation !== 'strict') continue;
      for (const [i, member] of members.entries()) {
        const other = first.get(member);
        first.set(member, other ?? network);
        if (other === undefined || other === network) continue;
        const message = `${quote(member)} is in the strict network ${other} already, and can be in one only`;
        this.#add(
          'ERR_CONFIG_GRANT',
          ['firewall', 'networks', network, 'members', i],
          message,
          'make one of them open',
        );
      }
    }
  }

  #checkSite(name: string, { subnets = [], inbound = [], outbound }: SiteDraft): void {
    const path = ['firewall', 'sites', name];
    const peer = this.#peers.get(name);
    if (peer === undefined) this.#unknown(path, 'peer', name);
    this.#checkServiceNames(inbound, [...path, 'inbound']);
    for (const [i, subnet] of subnets.entries()) {
      if (peer?.routes === undefined || liesIn(subnet, peer.routes)) continue;
      const message = `${renderPrefix(subnet)} is not in the routes of peer ${name}`;
      this.#add('ERR_CONFIG_ROUTE', [...path, 'subnets', i], message, `add it to peers.${name}.routes`);
    }
    if (!Array.isArray(outbound)) return;
    for (const [i, { to }] of outbound.entries()) {
      if (to === undefined || liesIn(to, subnets)) continue;
      const message = `${renderPrefix(to)} is not in the subnets of the site`;
      this.#add('ERR_CONFIG_GRANT', [...path, 'outbound', i, 'to'], message);
    }
  }

  /** Of a packet from a subnet there is one site whose it is. */
  #checkSubnetOwners(): void {
    const all = [...this.#sites].flatMap(([name, { subnets = [] }]) =>
      subnets.map((subnet, i) => ({ name, subnet, i })),
    );
    for (const [index, { name, subnet, i }] of all.entries()) {
      const first = all.slice(0, index).find((other) => overlaps(other.subnet, subnet));
      if (first === undefined) continue;
      const { file, line } = this.#place(['firewall', 'sites', first.name, 'subnets', first.i]);
      const message = `${renderPrefix(subnet)} overlaps ${renderPrefix(first.subnet)} of site ${first.name} in ${file}:${line}`;
      this.#add(
        'ERR_CONFIG_OVERLAP',
        ['firewall', 'sites', name, 'subnets', i],
        message,
        'a network has one owner',
      );
    }
  }

  #checkPeer(name: string, { profile, allow = [], deny = [], routes, route_via }: PeerDraft['fields']): void {
    const path = ['peers', name];
    if (profile !== undefined && !this.#profiles.has(profile))
      this.#unknown([...path, 'profile'], 'profile', profile);
    this.#checkRows(allow, [...path, 'allow']);
    this.#checkRows(deny, [...path, 'deny']);
    if (route_via !== undefined) this.#checkExit(name, route_via, routes ?? []);
  }

  /** A peer has one way to the internet, and what is sent there does not come back. */
  #checkExit(name: string, route_via: string, routes: readonly IpPrefix[]): void {
    const site = this.#sites.get(route_via);
    const viaPath = ['peers', name, 'route_via'];
    const ownExit = routes.find(isExitRoute);
    const next = this.#peers.get(route_via)?.route_via;
    if (site === undefined) this.#unknown(viaPath, 'site', route_via);
    else if (route_via === name) this.#add('ERR_CONFIG_GRANT', viaPath, 'the site is behind this very peer');
    else if (site.exit_relay?.consume === false) {
      const message = `site ${route_via} gives no internet to our peers`;
      this.#add(
        'ERR_CONFIG_GRANT',
        viaPath,
        message,
        `write exit_relay: {consume: true} into firewall.sites.${route_via}`,
      );
    } else if (next !== undefined) {
      const message = `site ${route_via} has no internet to give: its own peer uses that of site ${next}`;
      this.#add(
        'ERR_CONFIG_GRANT',
        viaPath,
        message,
        `write ${next} here, or take peers.${route_via}.route_via out`,
      );
    } else if (ownExit !== undefined) {
      const message = `the peer is a way to the internet itself, by its route ${renderPrefix(ownExit)}`;
      this.#add('ERR_CONFIG_GRANT', viaPath, message, 'keep one of the two');
    }
  }

  #checkRows(rows: readonly { readonly to?: NamedTarget }[], path: Path): void {
    for (const [i, { to }] of rows.entries()) {
      const toPath = [...path, i, 'to'];
      if (to?.kind === 'site' && !this.#sites.has(to.name)) this.#unknown(toPath, 'site', to.name);
      if (to?.kind === 'name' && !this.#services.has(to.name) && !this.#peers.has(to.name)) {
        this.#unknown(toPath, 'service or peer', to.name);
      }
    }
  }

  #checkServiceNames(names: readonly string[], path: Path): void {
    for (const [i, name] of names.entries()) {
      if (!this.#services.has(name)) this.#unknown([...path, i], 'service', name);
      if (names.indexOf(name) !== i)
        this.#add('ERR_CONFIG_GRANT', [...path, i], `${quote(name)} stands here already`, 'keep one of them');
    }
  }

  #unknown(path: Path, what: string, name: string): void {
    this.#add('ERR_CONFIG_UNKNOWN_NAME', path, `there is no ${what} ${quote(name)}`);
  }

  #add(code: ErrorCode, path: Path, message: string, hint?: string): void {
    this.#report.add(code, offsetIn(this.#root, path), path, message, hint);
  }

  #place(path: Path) {
    return this.#report.place(offsetIn(this.#root, path), path);
  }
}

function addressesOf(addr: ServiceDraft['addr']) {
  if (addr === undefined) return [];
  return Array.isArray(addr) ? addr : [addr];
}

function liesIn(prefix: IpPrefix, networks: readonly IpPrefix[]): boolean {
  return networks.some((network) => network.length <= prefix.length && contains(network, prefix.address));
}
