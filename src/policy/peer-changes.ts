// Which peers a new document changes, where nothing else changed: those whose rows, or whatever these rows name, say
// something else. Places do not count: a line that is inserted moves all that follow, and changes nothing for them.

import type { IpAddress } from '../address/ip.ts';
import type { IpPrefix } from '../address/prefix.ts';
import type { Traffic } from '../address/traffic.ts';
import type { AccessRow, Policy, PolicyPeer, ReachRow } from './model.ts';

export interface PeerChanges {
  /** Names of those that are no more. */
  readonly gone: readonly string[];
  /** Those that are new or other than before. */
  readonly changed: readonly PolicyPeer[];
  /** Whether no address and no route came, went or moved. */
  readonly areAddresses: boolean;
}

/** null if more than peers changed. */
export function peerChanges(former: Policy, policy: Policy): PeerChanges | null {
  return contextOf(former) === contextOf(policy) ? new Comparison(former, policy).changes() : null;
}

class Comparison {
  readonly #former: ReadonlyMap<string, PolicyPeer>;
  readonly #peers: ReadonlyMap<string, PolicyPeer>;
  /** Peers whose addresses are new or other than before: a row that names one means something else now. */
  readonly #moved = new Set<string>();

  constructor(former: Policy, policy: Policy) {
    this.#former = new Map(former.peers.map((peer) => [peer.name, peer]));
    this.#peers = new Map(policy.peers.map((peer) => [peer.name, peer]));
    for (const peer of policy.peers) {
      const old = this.#former.get(peer.name);
      if (old === peer) continue; // of thousands, most
      if (old === undefined || !isSameList(old.addresses, peer.addresses, isSameAddress)) {
        this.#moved.add(peer.name);
      }
    }
  }

  changes(): PeerChanges {
    const gone = [...this.#former.keys()].filter((name) => !this.#peers.has(name));
    const changed = [...this.#peers.values()].filter((peer) => !this.#isAsBefore(peer));
    const hasMoved = (peer: PolicyPeer): boolean => {
      const old = this.#former.get(peer.name);
      return old === undefined || !isSameReach(old, peer);
    };
    return { gone, changed, areAddresses: gone.length === 0 && !changed.some(hasMoved) };
  }

  #isAsBefore(peer: PolicyPeer): boolean {
    const old = this.#former.get(peer.name);
    if (old === peer && this.#moved.size === 0) return true;
    return (
      old !== undefined &&
      isSameBytes(old.publicKey, peer.publicKey) &&
      old.profile === peer.profile &&
      old.routeVia?.site === peer.routeVia?.site &&
      isSameReach(old, peer) &&
      isSameList(old.reachableFrom, peer.reachableFrom, isSameReachRow) &&
      this.#areSameRows(old.allow, peer.allow) &&
      this.#areSameRows(old.deny, peer.deny)
    );
  }

  #areSameRows(a: readonly AccessRow[], b: readonly AccessRow[]): boolean {
    return a.length === b.length && a.every((row, i) => this.#isSameRow(row, b[i]));
  }

  #isSameRow(a: AccessRow, b: AccessRow | undefined): boolean {
    if (b === undefined || a.name !== b.name || !isSameFrom(a.from, b.from)) return false;
    return isSameTraffic(a.traffic, b.traffic) && this.#isSameTarget(a.to, b.to);
  }

  #isSameTarget(a: AccessRow['to'], b: AccessRow['to']): boolean {
    if (a.kind !== b.kind) return false;
    if (a.kind === 'prefix' && b.kind === 'prefix') return isSamePrefix(a.prefix, b.prefix);
    if (!('name' in a) || !('name' in b)) return true;
    return a.name === b.name && !(a.kind === 'peer' && this.#moved.has(a.name));
  }
}

/** All that peers share, as one text, with the addresses of peers that profiles name. */
function contextOf(policy: Policy): string {
  const { action, addresses, services, profiles, networks, sites, inbound, peers } = policy;
  const rows = profiles.flatMap(({ allow, deny }) => [...allow, ...deny]);
  const named = new Set(rows.flatMap(({ to }) => (to.kind === 'peer' ? [to.name] : [])));
  const behindNames = peers.filter(({ name }) => named.has(name)).map((peer) => peer.addresses);
  const shared = [action, addresses, services, profiles, networks, sites, inbound, behindNames];
  return JSON.stringify(shared, (key, value: unknown) => {
    if (key === 'place') return undefined;
    return value instanceof Uint8Array ? value.join() : value;
  });
}

function isSameReach(a: PolicyPeer, b: PolicyPeer): boolean {
  return isSameList(a.addresses, b.addresses, isSameAddress) && isSameList(a.routes, b.routes, isSamePrefix);
}

function isSameReachRow(a: ReachRow, b: ReachRow): boolean {
  return a.name === b.name && isSameFrom(a.from, b.from) && isSameTraffic(a.traffic, b.traffic);
}

function isSameFrom(a: IpPrefix | 'any' | null, b: IpPrefix | 'any' | null): boolean {
  if (a === null || b === null || a === 'any' || b === 'any') return a === b;
  return isSamePrefix(a, b);
}

function isSameTraffic(a: readonly Traffic[], b: readonly Traffic[]): boolean {
  return isSameList(a, b, (one, other) => {
    return one.protocol === other.protocol && one.first === other.first && one.last === other.last;
  });
}

function isSamePrefix(a: IpPrefix, b: IpPrefix): boolean {
  return a.length === b.length && isSameAddress(a.address, b.address);
}

function isSameAddress(a: IpAddress, b: IpAddress): boolean {
  return isSameBytes(a.bytes, b.bytes);
}

function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function isSameList<T>(a: readonly T[], b: readonly T[], isSame: (a: T, b: T) => boolean): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    const [one, other] = [a[i], b[i]];
    if (one === undefined || other === undefined || !isSame(one, other)) return false;
  }
  return true;
}
