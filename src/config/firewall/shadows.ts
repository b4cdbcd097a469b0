// Rows that can never decide anything: an allow that a deny covers whole, and a row that stands twice. Whoever wrote one
// believes that it does something.

import { contains, hostPrefix, type IpPrefix, networkOf, packPrefix } from '../../address/prefix.ts';
import { commonTraffic, coversTraffic, type Traffic } from '../../address/traffic.ts';
import type { AccessRow, Policy, Rule, ServiceRef } from '../../policy/model.ts';
import type { Report } from '../report.ts';

/** One destination and one kind of traffic of a row; null: any. */
interface Atom {
  readonly to: IpPrefix | 'any' | 'self' | 'internet';
  readonly from: IpPrefix | null;
  readonly traffic: Traffic | null;
}

/** @param judged names of peers whose own rows need no look, for they were found right under this policy before */
export function checkShadows(policy: Policy, judged: ReadonlySet<string>, report: Report): void {
  const rows = new Rows(policy);
  const shared = new Map(policy.profiles.map((profile) => [profile.id, new Denials(profile.deny, rows)]));
  for (const profile of policy.profiles) {
    const denials = shared.get(profile.id);
    for (const row of [...profile.services.map(asRow), ...profile.allow])
      reportShadow(row, rows, denials, report);
    reportTwins([profile.deny, profile.allow], rows, report);
  }
  for (const peer of policy.peers) {
    if (judged.has(peer.name)) continue;
    const own = new Denials(peer.deny, rows);
    const profile = peer.profile === null ? undefined : shared.get(peer.profile);
    for (const row of peer.allow) {
      if (!reportShadow(row, rows, own, report)) reportShadow(row, rows, profile, report);
    }
    reportTwins([peer.deny, peer.allow], rows, report);
  }
}

function asRow(ref: ServiceRef): AccessRow {
  return { ...ref, to: { kind: 'service', name: ref.service }, from: null, traffic: [] };
}

/** Whether there was something to report. */
function reportShadow(row: AccessRow, rows: Rows, denials: Denials | undefined, report: Report): boolean {
  const deny = denials?.covering(rows.atomsOf(row));
  if (deny === undefined) return false;
  const message = `nothing of this is ever allowed: ${deny.name} in ${placeOf(deny)} denies all of it`;
  addAt(row, message, report);
  return true;
}

function reportTwins(lists: readonly (readonly AccessRow[])[], rows: Rows, report: Report): void {
  for (const list of lists) {
    if (list.length < 2) continue;
    const first = new Map<string, AccessRow>();
    for (const row of list) {
      const text = rows.atomsOf(row).map(keyOf).toSorted().join();
      const twin = first.get(text);
      if (twin === undefined) first.set(text, row);
      else addAt(row, `this says the same as ${twin.name} in ${placeOf(twin)}`, report);
    }
  }
}

function addAt(row: Rule, message: string, report: Report): void {
  const place = { ...row.place, path: row.name };
  report.addAt(place, 'ERR_CONFIG_SHADOWED', message, 'take one of the two away');
}

function placeOf({ place }: Rule): string {
  return `${place.file}:${place.line}`;
}

/** Rows with their names looked up. */
class Rows {
  readonly #services: ReadonlyMap<string, Policy['services'][number]>;
  readonly #peers: ReadonlyMap<string, Policy['peers'][number]>;
  readonly #sites: ReadonlyMap<string, Policy['sites'][number]>;

  constructor({ services, peers, sites }: Policy) {
    this.#services = new Map(services.map((service) => [service.id, service]));
    this.#peers = new Map(peers.map((peer) => [peer.name, peer]));
    this.#sites = new Map(sites.map((site) => [site.peer, site]));
  }

  /** A row whose own traffic and that of its service have nothing in common has none. */
  atomsOf({ to, from, traffic }: AccessRow): Atom[] {
    const service = to.kind === 'service' ? (this.#services.get(to.name)?.traffic ?? []) : [];
    return this.#destinations(to).flatMap((one) =>
      commonOf(service, traffic).map((entry) => ({ to: one, from, traffic: entry })),
    );
  }

  #destinations(to: AccessRow['to']): Atom['to'][] {
    switch (to.kind) {
      case 'prefix':
        return [to.prefix];
      case 'service':
        return (this.#services.get(to.name)?.addresses ?? []).map(hostPrefix);
      case 'peer':
        return (this.#peers.get(to.name)?.addresses ?? []).map(hostPrefix);
      case 'site':
        return [...(this.#sites.get(to.name)?.subnets ?? [])];
      case 'self':
      case 'internet':
      case 'any':
        return [to.kind];
      default:
        return to satisfies never;
    }
  }
}

/** Deny rows by where they lead: an allow row is asked of few of them, however many there are. */
class Denials {
  readonly #byTarget = new Map<string, { readonly row: AccessRow; readonly atom: Atom }[]>();
  readonly #lengths: Readonly<Record<4 | 6, Set<number>>> = { 4: new Set(), 6: new Set() };

  constructor(denials: readonly AccessRow[], rows: Rows) {
    for (const row of denials) {
      for (const atom of rows.atomsOf(row)) {
        const key = typeof atom.to === 'string' ? atom.to : packPrefix(atom.to);
        if (typeof atom.to !== 'string') this.#lengths[atom.to.address.version].add(atom.to.length);
        this.#byTarget.set(key, [...(this.#byTarget.get(key) ?? []), { row, atom }]);
      }
    }
  }

  /** The first row that covers each of the atoms. */
  covering([first, ...more]: readonly Atom[]): AccessRow | undefined {
    if (first === undefined || this.#byTarget.size === 0) return undefined;
    let rows = this.#coveringOne(first);
    for (const atom of more) {
      if (rows.size === 0) return undefined;
      const covering = this.#coveringOne(atom);
      rows = new Set([...rows].filter((row) => covering.has(row)));
    }
    return rows.values().next().value;
  }

  #coveringOne(atom: Atom): Set<AccessRow> {
    const candidates = this.#keysAbove(atom.to).flatMap((key) => this.#byTarget.get(key) ?? []);
    return new Set(candidates.filter((deny) => coversRest(deny.atom, atom)).map(({ row }) => row));
  }

  #keysAbove(to: Atom['to']): string[] {
    if (typeof to === 'string') return ['any', to];
    const { address, length } = to;
    const lengths = [...this.#lengths[address.version]].filter((one) => one <= length);
    return ['any', ...lengths.map((one) => packPrefix(networkOf({ address, prefixLength: one })))];
  }
}

/** Whether source and traffic of one are all in those of the other. */
function coversRest(outer: Atom, inner: Atom): boolean {
  const isFrom =
    outer.from === null ||
    (inner.from !== null &&
      outer.from.length <= inner.from.length &&
      contains(outer.from, inner.from.address));
  const isTraffic =
    outer.traffic === null || (inner.traffic !== null && coversTraffic(outer.traffic, inner.traffic));
  return isFrom && isTraffic;
}

/** Of two lists of which an empty one means anything: what is in both, null for anything. */
function commonOf(a: readonly Traffic[], b: readonly Traffic[]): (Traffic | null)[] {
  if (a.length === 0) return b.length === 0 ? [null] : [...b];
  return b.length === 0 ? [...a] : a.flatMap((one) => b.flatMap((two) => commonTraffic(one, two) ?? []));
}

function keyOf({ to, from, traffic }: Atom): string {
  const target = typeof to === 'string' ? to : packPrefix(to);
  const what = traffic === null ? '' : `${traffic.protocol}/${traffic.first}-${traffic.last}`;
  return `${target} ${from === null ? '' : packPrefix(from)} ${what}`;
}
