// What is different between two compiled policies, part by part: what the core is sent when the policy changes.

import type { IpPrefix } from '../address/prefix.ts';
import type {
  CompiledNetwork,
  CompiledPeer,
  CompiledPolicy,
  CompiledRule,
  CompiledSubject,
} from './compiled.ts';

/** Parts of one kind by name: those that are new or other than before, and those that are no more. */
export interface PartChanges<T> {
  readonly put: ReadonlyMap<string, T>;
  readonly drop: readonly string[];
}

/** null: as before. */
export interface PolicyChanges {
  readonly denial: CompiledPolicy['denial'] | null;
  readonly ruleSets: PartChanges<readonly CompiledRule[]>;
  readonly networks: PartChanges<CompiledNetwork>;
  readonly subjects: PartChanges<CompiledSubject>;
  readonly peers: PartChanges<CompiledPeer>;
  readonly notInternet: readonly IpPrefix[] | null;
}

/** Linear in the parts; a part that is the same object is not looked into. */
export function changesBetween(before: CompiledPolicy, after: CompiledPolicy): PolicyChanges {
  return {
    denial: before.denial === after.denial ? null : after.denial,
    ruleSets: partChanges(before.ruleSets, after.ruleSets, (a, b) => isSameList(a, b, isSameRule)),
    networks: partChanges(before.networks, after.networks, isSameNetwork),
    subjects: partChanges(before.subjects, after.subjects, isSameSubject),
    peers: partChanges(before.peers, after.peers, isSamePeer),
    notInternet: isSameList(before.notInternet, after.notInternet, isSamePrefix) ? null : after.notInternet,
  };
}

function partChanges<T>(
  before: ReadonlyMap<string, T>,
  after: ReadonlyMap<string, T>,
  isSame: (a: T, b: T) => boolean,
): PartChanges<T> {
  const put = new Map<string, T>();
  for (const [name, part] of after) {
    const old = before.get(name);
    if (old === undefined || (old !== part && !isSame(old, part))) put.set(name, part);
  }
  const drop = [...before.keys()].filter((name) => !after.has(name));
  return { put, drop };
}

function isSameRule(a: CompiledRule, b: CompiledRule): boolean {
  return (
    a.rule === b.rule &&
    a.action === b.action &&
    a.protocol === b.protocol &&
    a.ports?.[0] === b.ports?.[0] &&
    a.ports?.[1] === b.ports?.[1] &&
    isSameList(a.legs, b.legs, Object.is) &&
    isSameDestination(a.to, b.to) &&
    isSameDestination(a.from ?? 'any', b.from ?? 'any')
  );
}

function isSameDestination(a: CompiledRule['to'], b: CompiledRule['to']): boolean {
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  return isSamePrefix(a, b);
}

function isSameNetwork(a: CompiledNetwork, b: CompiledNetwork): boolean {
  return a.rule === b.rule && a.isStrict === b.isStrict;
}

function isSameSubject(a: CompiledSubject, b: CompiledSubject): boolean {
  return (
    a.isPeer === b.isPeer &&
    a.reachesMembers === b.reachesMembers &&
    a.reachesPeers === b.reachesPeers &&
    a.reachesNode === b.reachesNode &&
    a.internet === b.internet &&
    isSameList(a.ruleSets, b.ruleSets, Object.is) &&
    isSameList(a.networks, b.networks, Object.is) &&
    isSameList(a.addresses, b.addresses, isSamePrefix) &&
    isSameList(a.behind, b.behind, isSamePrefix)
  );
}

function isSamePeer(a: CompiledPeer, b: CompiledPeer): boolean {
  const isSameSite = (one: CompiledPeer['sites'][number], other: CompiledPeer['sites'][number]): boolean =>
    one.subject === other.subject && isSamePrefix(one.prefix, other.prefix);
  return (
    a.subject === b.subject &&
    isSameBytes(a.publicKey, b.publicKey) &&
    isSameList(a.sites, b.sites, isSameSite)
  );
}

function isSamePrefix(a: IpPrefix, b: IpPrefix): boolean {
  return a === b || (a.length === b.length && isSameBytes(a.address.bytes, b.address.bytes));
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
