// The peers of a lane: the main thread's numbers of them → the core's, and changes carried out on the core. Keys that
// pass through are wiped as soon as the core has them.

import { type Core, CoreRefusal } from 'wireguard-wasm';
import type { LaneChange, LanePeer, LanePeerEdit, LanePeerKeys, LanePeerStatus } from './messages.ts';
import { readPrefixes } from './prefixes.ts';

export class LanePeers {
  readonly #core: Core;
  readonly #ids = new Map<number, number>();
  /** The other way: what the core calls a peer → what the main thread does. */
  readonly #names = new Map<number, number>();

  constructor(core: Core) {
    this.#core = core;
  }

  apply(change: LaneChange): void {
    for (const id of change.removed) this.#remove(id);
    if (change.privateKey !== undefined) {
      this.#core.setIdentity(change.privateKey);
      change.privateKey.fill(0);
    }
    if (change.adoptsNextKey === true) this.#core.adoptNextIdentity();
    if (change.nextPrivateKey !== undefined) {
      this.#core.setNextIdentity(change.nextPrivateKey);
      change.nextPrivateKey.fill(0);
    }
    for (const peer of change.added) this.#add(peer);
    for (const edit of change.edited) this.#edit(edit);
    readPrefixes(change.prefixes, (peer, isGiven, address, length) => {
      const id = this.#ids.get(peer);
      if (id === undefined) return;
      if (isGiven) this.#core.allow(id, address, length);
      else this.#core.disallow(id, address, length);
    });
  }

  /** Leaves messages to the host of a peer in the send column, and says how many. */
  say(peer: number, message: Uint8Array): number {
    const id = this.#ids.get(peer);
    const messages = id === undefined ? 0 : this.#core.say(id, message);
    message.fill(0);
    return messages;
  }

  /** What the host of a peer said. */
  heard(): { peer: number; message: Uint8Array } | undefined {
    for (;;) {
      const heard = this.#core.heard();
      const peer = heard && this.#names.get(heard.peer);
      if (heard === undefined || peer !== undefined) return heard && { ...heard, peer: peer ?? 0 };
    }
  }

  /** What the core calls a peer; undefined for one that is not there. */
  idOf(peer: number): number | undefined {
    return this.#ids.get(peer);
  }

  /** What the main thread calls a peer of the core. */
  nameOf(id: number): number | undefined {
    return this.#names.get(id);
  }

  /** Of those peers among `wanted` that are there. */
  status(wanted: Uint32Array): LanePeerStatus[] {
    const found: LanePeerStatus[] = [];
    for (const peer of wanted) {
      const id = this.#ids.get(peer);
      if (id === undefined) continue;
      const { endpoint, rxBytes, txBytes, lastHandshakeMs, isMadeWithOther } = this.#core.peerStatus(id);
      found.push({
        id: peer,
        endpoint: endpoint && { ...endpoint, scope: endpoint.scope ?? 0 },
        rxBytes,
        txBytes,
        lastHandshakeMs,
        isMadeWithOther,
      });
    }
    return found;
  }

  #add(peer: LanePeer): void {
    try {
      const settings = { ...peer, persistentKeepaliveSeconds: peer.keepaliveSeconds };
      const id = this.#core.addPeer(settings);
      this.#ids.set(peer.id, id);
      this.#names.set(id, peer.id);
      if (peer.otherKeys !== undefined) this.#addKeys(id, peer.otherKeys);
    } catch (error) {
      // Anyone could be a peer of low order: it is configured, but the core must not know it, and so it stays silent.
      if (!(error instanceof CoreRefusal) || error.code !== 'ERR_CORE_LOW_ORDER_KEY') throw error;
    } finally {
      peer.presharedKey?.fill(0);
    }
  }

  #edit({ id: peer, presharedKey, endpoint, probe, keepaliveSeconds, ...keys }: LanePeerEdit): void {
    const id = this.#ids.get(peer);
    if (id === undefined) return;
    if (presharedKey !== undefined) {
      const isNone = presharedKey.every((byte) => byte === 0);
      this.#core.setPresharedKey(id, isNone ? undefined : presharedKey);
      presharedKey.fill(0);
    }
    if (endpoint !== undefined) this.#core.setEndpoint(id, endpoint);
    if (keepaliveSeconds !== undefined) this.#core.setKeepalive(id, keepaliveSeconds);
    if (keys.otherKeys !== undefined) this.#addKeys(id, keys.otherKeys);
    if (keys.prefersOther === true) this.#core.preferOtherKeys(id);
    if (keys.settles !== undefined) this.#core.settleKeys(id, keys.settles);
    if (probe !== undefined) this.#core.probeEndpoint(id, probe);
    if (keys.renews === true) this.#core.renewSession(id);
  }

  #addKeys(id: number, { publicKey, presharedKey }: LanePeerKeys): void {
    this.#core.addKeys(id, publicKey, presharedKey);
    presharedKey?.fill(0);
  }

  #remove(peer: number): void {
    const id = this.#ids.get(peer);
    if (id === undefined) return;
    this.#ids.delete(peer);
    this.#names.delete(id);
    this.#core.removePeer(id);
  }
}
