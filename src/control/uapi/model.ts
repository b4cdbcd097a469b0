// What a device is configured to be: keys, peers, who has which allowed IP. A change is applied to it whole; what that
// means for the peers comes back as steps for whoever carries it out. Plain data in memory: no socket, no lane.

import { timingSafeEqual } from 'node:crypto';
import type { PackedPrefix } from '../../address/prefix.ts';
import { publicKeyOf, wipe } from '../../config/key.ts';
import type { DeviceChange, KeySet, PeerChange, PeerEndpoint, PeerKeys } from './change.ts';

/** As many as wireguard-go takes. */
export const MOST_PEERS = 65_536;

/** The 32 bytes of a public key, a character each: the key of maps. */
export type PeerKey = string;

/** A peer as it is configured. Only {@link DeviceModel} writes to it. */
export interface ModelPeer {
  /** Never used again for another peer, nor for this one after it was removed. */
  readonly id: number;
  readonly publicKey: Uint8Array;
  /** 32 bytes; undefined = none. */
  readonly presharedKey: Uint8Array | undefined;
  /** Where it was last set or seen. */
  readonly endpoint: PeerEndpoint | undefined;
  /** 0 = off. */
  readonly keepaliveSeconds: number;
  readonly allowedIps: ReadonlySet<PackedPrefix>;
  /** The second set of keys, while one of them changes. */
  readonly otherKeys: PeerKeys | undefined;
}

/** What a change did to one peer that was there before and still is. */
export interface PeerStep {
  readonly peer: ModelPeer;
  readonly hasNewPresharedKey: boolean;
  readonly hasNewEndpoint: boolean;
  readonly hasNewKeepalive: boolean;
  readonly hasNewOtherKeys: boolean;
  readonly prefersOther: boolean;
  /** Which set of keys was kept, where there were two. */
  readonly settles: KeySet | undefined;
  readonly renews: boolean;
}

/** What a change did, in the order in which it is to be carried out. */
export interface DeviceSteps {
  /** Peers that are no more, with the allowed IPs that they had. */
  readonly removed: readonly ModelPeer[];
  /** Whether our own key is another, or gone. */
  readonly hasNewPrivateKey: boolean;
  /** Whether the key that is to follow ours is another, or gone. */
  readonly hasNewNextKey: boolean;
  /** The key that was to follow ours has done so. */
  readonly adoptsNextKey: boolean;
  /** New peers, their allowed IPs apart. */
  readonly added: readonly ModelPeer[];
  readonly changed: readonly PeerStep[];
  /** Allowed IPs that a peer no longer has, then those that it has now. */
  readonly disallowed: readonly PrefixStep[];
  readonly allowed: readonly PrefixStep[];
}

export interface PrefixStep {
  readonly peer: number;
  readonly prefix: PackedPrefix;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type OwnPeer = Mutable<Omit<ModelPeer, 'allowedIps'>> & { readonly allowedIps: Set<PackedPrefix> };

/** What one change did so far. */
interface Application {
  readonly removed: Set<OwnPeer>;
  readonly touched: Map<OwnPeer, Touched>;
}

interface Touched {
  readonly isNew: boolean;
  /** The allowed IPs before the change. */
  readonly before: ReadonlySet<PackedPrefix>;
  hasNewPresharedKey: boolean;
  hasNewEndpoint: boolean;
  hasNewKeepalive: boolean;
  hasNewOtherKeys: boolean;
  prefersOther: boolean;
  settles: KeySet | undefined;
  renews: boolean;
}

const NONE: ReadonlySet<PackedPrefix> = new Set();

export class DeviceModel {
  #privateKey: Uint8Array | undefined;
  #publicKey: Uint8Array | undefined;
  #nextPrivateKey: Uint8Array | undefined;
  readonly #peers = new Map<PeerKey, OwnPeer>();
  readonly #byId = new Map<number, OwnPeer>();
  readonly #owners = new Map<PackedPrefix, OwnPeer>();
  #nextId = 0;

  /** 32 bytes, borrowed; undefined = none. */
  get privateKey(): Uint8Array | undefined {
    return this.#privateKey;
  }

  /** The one that is to follow it, 32 bytes, borrowed; undefined = none. */
  get nextPrivateKey(): Uint8Array | undefined {
    return this.#nextPrivateKey;
  }

  get publicKey(): Uint8Array | undefined {
    return this.#publicKey;
  }

  get peerCount(): number {
    return this.#peers.size;
  }

  /** In the order in which they came. */
  peers(): Iterable<ModelPeer> {
    return this.#peers.values();
  }

  peer(publicKey: Uint8Array): ModelPeer | undefined {
    return this.#peers.get(peerKey(publicKey));
  }

  peerOfId(id: number): ModelPeer | undefined {
    return this.#byId.get(id);
  }

  /** Whether there is room for all peers of a change. */
  hasRoomFor(change: DeviceChange): boolean {
    const present = change.replacePeers === true ? 0 : this.#peers.size;
    if (present + change.peers.length <= MOST_PEERS) return true;
    const keys = new Set(change.replacePeers === true ? [] : this.#peers.keys());
    for (const { publicKey, remove, updateOnly } of change.peers) {
      if (remove === true) keys.delete(peerKey(publicKey));
      else if (updateOnly !== true) keys.add(peerKey(publicKey));
      if (keys.size > MOST_PEERS) return false;
    }
    return true;
  }

  /**
   * Applies a change for which there is room; it cannot fail. Port and mark are not kept here, but with the sockets.
   * The model copies the secrets it keeps.
   */
  apply(change: DeviceChange): DeviceSteps {
    const done: Application = { removed: new Set(), touched: new Map() };
    const adoptsNextKey = change.adoptsNextKey === true && this.#adoptNextKey();
    const hasNewPrivateKey = this.#setPrivateKey(change.privateKey);
    const hasNewNextKey = this.#setNextKey(change.nextPrivateKey);
    if (change.replacePeers === true) for (const peer of [...this.#peers.values()]) this.#remove(peer, done);
    if (hasNewPrivateKey || hasNewNextKey) this.#removeOwn(done);
    for (const peer of change.peers) this.#applyPeer(peer, done);
    return { hasNewPrivateKey, hasNewNextKey, adoptsNextKey, ...stepsOf(done) };
  }

  /** Where a peer was seen: a fresh lane begins there. */
  learnEndpoint(publicKey: Uint8Array, endpoint: PeerEndpoint): void {
    const peer = this.#peers.get(peerKey(publicKey));
    if (peer !== undefined) peer.endpoint = endpoint;
  }

  /** Overwrites the secrets. The model is of no use afterwards. */
  wipe(): void {
    for (const key of [this.#privateKey, this.#nextPrivateKey]) if (key !== undefined) wipe(key);
    for (const { presharedKey, otherKeys } of this.#peers.values()) {
      for (const key of [presharedKey, otherKeys?.presharedKey]) if (key !== undefined) wipe(key);
    }
  }

  /** True if it is another than before. */
  #setNextKey(key: Uint8Array | undefined): boolean {
    if (key === undefined) return false;
    const next = key.every((byte) => byte === 0) ? undefined : key;
    const before = this.#nextPrivateKey;
    if (isSameKey(next, before)) return false;
    if (before !== undefined) wipe(before);
    this.#nextPrivateKey = next?.slice();
    return true;
  }

  #adoptNextKey(): boolean {
    const next = this.#nextPrivateKey;
    if (next === undefined) return false;
    if (this.#privateKey !== undefined) wipe(this.#privateKey);
    this.#privateKey = next;
    this.#publicKey = publicKeyOf(next);
    this.#nextPrivateKey = undefined;
    return true;
  }

  /** True if it is another than before: the same key again changes nothing. */
  #setPrivateKey(key: Uint8Array | undefined): boolean {
    if (key === undefined) return false;
    const isNone = key.every((byte) => byte === 0);
    const before = this.#privateKey;
    const isSame = isNone ? before === undefined : before !== undefined && timingSafeEqual(key, before);
    if (isSame) return false;
    if (before !== undefined) wipe(before);
    this.#privateKey = isNone ? undefined : key.slice();
    this.#publicKey = isNone ? undefined : publicKeyOf(key);
    return true;
  }

  /** Nobody is a peer of its own. */
  #removeOwn(done: Application): void {
    const next = this.#nextPrivateKey && publicKeyOf(this.#nextPrivateKey);
    for (const key of [this.#publicKey, next]) {
      const own = key && this.#peers.get(peerKey(key));
      if (own !== undefined) this.#remove(own, done);
    }
  }

  #applyPeer(change: PeerChange, done: Application): void {
    if (this.#publicKey !== undefined && timingSafeEqual(change.publicKey, this.#publicKey)) return;
    const key = peerKey(change.publicKey);
    const known = this.#peers.get(key);
    if (change.remove === true) {
      if (known !== undefined) this.#remove(known, done);
      return;
    }
    if (known === undefined && change.updateOnly === true) return;
    const peer = known ?? this.#add(key, change.publicKey, done);
    const mark = touch(peer, done);
    if (change.presharedKey !== undefined && setPresharedKey(peer, change.presharedKey)) {
      mark.hasNewPresharedKey = true;
    }
    if (change.endpoint !== undefined) {
      peer.endpoint = change.endpoint;
      mark.hasNewEndpoint = true;
    }
    if (change.keepaliveSeconds !== undefined && change.keepaliveSeconds !== peer.keepaliveSeconds) {
      peer.keepaliveSeconds = change.keepaliveSeconds;
      mark.hasNewKeepalive = true;
    }
    this.#changeKeys(peer, change, mark);
    this.#editAllowedIps(peer, change, done);
  }

  #changeKeys(peer: OwnPeer, change: PeerChange, mark: Touched): void {
    const { otherKeys, settles, prefersOther = false, renews = false } = change;
    if (otherKeys !== undefined && !hasKeys(peer.otherKeys, otherKeys)) {
      wipeOther(peer);
      peer.otherKeys = {
        publicKey: otherKeys.publicKey.slice(),
        presharedKey: otherKeys.presharedKey?.slice(),
      };
      mark.hasNewOtherKeys = true;
    }
    mark.prefersOther ||= prefersOther;
    mark.renews ||= renews;
    if (settles === undefined || peer.otherKeys === undefined) return;
    mark.settles = settles;
    if (settles === 'other') {
      this.#peers.delete(peerKey(peer.publicKey));
      if (peer.presharedKey !== undefined) wipe(peer.presharedKey);
      Object.assign(peer, peer.otherKeys);
      this.#peers.set(peerKey(peer.publicKey), peer);
    } else wipeOther(peer);
    peer.otherKeys = undefined;
  }

  #add(key: PeerKey, publicKey: Uint8Array, done: Application): OwnPeer {
    const peer: OwnPeer = {
      id: this.#nextId++,
      publicKey: publicKey.slice(),
      presharedKey: undefined,
      endpoint: undefined,
      keepaliveSeconds: 0,
      allowedIps: new Set(),
      otherKeys: undefined,
    };
    this.#peers.set(key, peer);
    this.#byId.set(peer.id, peer);
    touch(peer, done, true);
    return peer;
  }

  #remove(peer: OwnPeer, done: Application): void {
    this.#peers.delete(peerKey(peer.publicKey));
    this.#byId.delete(peer.id);
    for (const prefix of peer.allowedIps) this.#owners.delete(prefix);
    if (peer.presharedKey !== undefined) wipe(peer.presharedKey);
    wipeOther(peer);
    done.removed.add(peer);
  }

  #editAllowedIps(peer: OwnPeer, change: PeerChange, done: Application): void {
    for (const edit of change.allowedIps) {
      switch (edit.type) {
        case 'clear':
          for (const prefix of peer.allowedIps) this.#owners.delete(prefix);
          peer.allowedIps.clear();
          break;
        case 'remove':
          if (peer.allowedIps.delete(edit.prefix)) this.#owners.delete(edit.prefix);
          break;
        case 'add': {
          const owner = this.#owners.get(edit.prefix);
          if (owner === peer) break;
          if (owner !== undefined) {
            touch(owner, done);
            owner.allowedIps.delete(edit.prefix);
          }
          this.#owners.set(edit.prefix, peer);
          peer.allowedIps.add(edit.prefix);
          break;
        }
        default:
          edit satisfies never;
      }
    }
  }
}

/** Only what is different in the end: an allowed IP that was taken away and given back never moved. */
function stepsOf({
  removed,
  touched,
}: Application): Pick<DeviceSteps, 'removed' | 'added' | 'changed' | 'disallowed' | 'allowed'> {
  const added: ModelPeer[] = [];
  const changed: PeerStep[] = [];
  const disallowed: PrefixStep[] = [];
  const allowed: PrefixStep[] = [];
  for (const [peer, mark] of touched) {
    if (removed.has(peer)) continue;
    if (mark.isNew) added.push(peer);
    else if (isChanged(mark)) changed.push({ peer, ...mark });
    for (const prefix of mark.before)
      if (!peer.allowedIps.has(prefix)) disallowed.push({ peer: peer.id, prefix });
    for (const prefix of peer.allowedIps)
      if (!mark.before.has(prefix)) allowed.push({ peer: peer.id, prefix });
  }
  const known = [...removed].filter((peer) => touched.get(peer)?.isNew !== true);
  return { removed: known, added, changed, disallowed, allowed };
}

function isChanged(mark: Touched): boolean {
  const { hasNewPresharedKey, hasNewEndpoint, hasNewKeepalive, hasNewOtherKeys, prefersOther, renews } = mark;
  return (
    hasNewPresharedKey ||
    hasNewEndpoint ||
    hasNewKeepalive ||
    hasNewOtherKeys ||
    prefersOther ||
    renews ||
    mark.settles !== undefined
  );
}

function hasKeys(keys: PeerKeys | undefined, wanted: PeerKeys): boolean {
  return (
    keys !== undefined &&
    isSameKey(keys.publicKey, wanted.publicKey) &&
    isSameKey(keys.presharedKey, wanted.presharedKey)
  );
}

function isSameKey(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : timingSafeEqual(a, b);
}

function wipeOther({ otherKeys }: OwnPeer): void {
  if (otherKeys?.presharedKey !== undefined) wipe(otherKeys.presharedKey);
}

/** The text under which maps hold a public key. */
export function peerKey(publicKey: Uint8Array): PeerKey {
  return Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.length).toString('latin1');
}

function touch(peer: OwnPeer, { touched }: Application, isNew = false): Touched {
  const known = touched.get(peer);
  if (known !== undefined) return known;
  const mark: Touched = {
    isNew,
    before: isNew ? NONE : new Set(peer.allowedIps),
    hasNewPresharedKey: false,
    hasNewEndpoint: false,
    hasNewKeepalive: false,
    hasNewOtherKeys: false,
    prefersOther: false,
    settles: undefined,
    renews: false,
  };
  touched.set(peer, mark);
  return mark;
}

/** True if it is another than before. */
function setPresharedKey(peer: OwnPeer, key: Uint8Array): boolean {
  const isNone = key.every((byte) => byte === 0);
  const before = peer.presharedKey;
  if (isNone ? before === undefined : before !== undefined && timingSafeEqual(key, before)) return false;
  if (before !== undefined) wipe(before);
  peer.presharedKey = isNone ? undefined : key.slice();
  return true;
}
