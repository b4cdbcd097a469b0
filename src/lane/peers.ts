// The peers of a lane: the main thread's numbers of them → the core's, and changes carried out on the core. Keys that
// pass through are wiped as soon as the core has them.

import { type Core, CoreRefusal } from 'wireguard-wasm';
import type { LaneChange, LanePeer, LanePeerEdit, LanePeerStatus } from './messages.ts';
import { readPrefixes } from './prefixes.ts';

export class LanePeers {
  readonly #core: Core;
  readonly #ids = new Map<number, number>();

  constructor(core: Core) {
    this.#core = core;
  }

  apply(change: LaneChange): void {
    for (const id of change.removed) this.#remove(id);
    if (change.privateKey !== undefined) {
      this.#core.setIdentity(change.privateKey);
      change.privateKey.fill(0);
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

  /** Of those peers among `wanted` that are there. */
  status(wanted: Uint32Array): LanePeerStatus[] {
    const found: LanePeerStatus[] = [];
    for (const peer of wanted) {
      const id = this.#ids.get(peer);
      if (id === undefined) continue;
      const { endpoint, rxBytes, txBytes, lastHandshakeMs } = this.#core.peerStatus(id);
      found.push({
        id: peer,
        endpoint: endpoint && { ...endpoint, scope: endpoint.scope ?? 0 },
        rxBytes,
        txBytes,
        lastHandshakeMs,
      });
    }
    return found;
  }

  #add(peer: LanePeer): void {
    try {
      const settings = { ...peer, persistentKeepaliveSeconds: peer.keepaliveSeconds };
      this.#ids.set(peer.id, this.#core.addPeer(settings));
    } catch (error) {
      // Anyone could be a peer of low order: it is configured, but the core must not know it, and so it stays silent.
      if (!(error instanceof CoreRefusal) || error.code !== 'ERR_CORE_LOW_ORDER_KEY') throw error;
    } finally {
      peer.presharedKey?.fill(0);
    }
  }

  #edit({ id: peer, presharedKey, endpoint, keepaliveSeconds }: LanePeerEdit): void {
    const id = this.#ids.get(peer);
    if (id === undefined) return;
    if (presharedKey !== undefined) {
      const isNone = presharedKey.every((byte) => byte === 0);
      this.#core.setPresharedKey(id, isNone ? undefined : presharedKey);
      presharedKey.fill(0);
    }
    if (endpoint !== undefined) this.#core.setEndpoint(id, endpoint);
    if (keepaliveSeconds !== undefined) this.#core.setKeepalive(id, keepaliveSeconds);
  }

  #remove(peer: number): void {
    const id = this.#ids.get(peer);
    if (id === undefined) return;
    this.#ids.delete(peer);
    this.#core.removePeer(id);
  }
}
