// The keys that can change while traffic goes on, and what each step does to them on this host: on disk first, then in the
// device. What is said to the other side, and when a step comes, is rotations.ts.
//
//   accept   the new key counts beside the old one
//   settle   it takes the place of the old one
//   drop     it goes, and the old one stays

import { decodeKey, generatePrivateKey, publicKeyOf, renderPublicKey, wipe } from '../config/key.ts';
import type { PeerConfig } from '../config/schema.ts';
import type { Refusal } from '../control/talk.ts';
import type { PeerChange } from '../control/uapi/change.ts';
import { withPeer, writePeerKey } from './config-file.ts';
import type { HostNode } from './host-node.ts';
import { presharedKeyName, presharedKeyPath, type RotationState, SecretFile } from './rotation-files.ts';

/** A key that the other side can give us another one of. */
export interface OfferedKey {
  /** Whether it is the one in force: it was settled before. */
  isInForce(peer: PeerConfig, key: Uint8Array): boolean;
  /** Whether it is the one that is to follow. */
  isOffered(peer: PeerConfig, key: Uint8Array): Promise<boolean>;
  /** Why it cannot be taken, whoever asks; null where nothing stands in the way. */
  obstacle(key: Uint8Array): Refusal | null;
  accept(peer: PeerConfig, key: Uint8Array): Promise<void>;
  settle(peer: PeerConfig, key: Uint8Array): Promise<void>;
  drop(peer: PeerConfig): Promise<void>;
}

/** Preshared keys: FILE.next beside FILE. */
export class PresharedKeys implements OfferedKey {
  readonly #node: HostNode;
  readonly #state: RotationState;
  /** Of these peers one is to follow. */
  readonly #offered = new Set<string>();

  constructor(node: HostNode, state: RotationState) {
    this.#node = node;
    this.#state = state;
  }

  /** The peers of which one is to follow. */
  get offered(): ReadonlySet<string> {
    return this.#offered;
  }

  /** Accepts what an earlier run has begun. */
  async takeUp(): Promise<void> {
    for (const peer of this.#node.config.peers) {
      const secret = this.secretOf(peer);
      await secret.clearLeftovers();
      const next = await secret.next();
      if (next === null) continue;
      this.#offered.add(peer.name);
      await this.#addToDevice(peer, next);
      wipe(next);
    }
  }

  /** The key that is to follow, which the caller wipes; null where none is. */
  async next(peer: PeerConfig): Promise<Uint8Array | null> {
    return await this.secretOf(peer).next();
  }

  /** Nothing is under way with this peer. */
  forget(name: string): void {
    this.#offered.delete(name);
  }

  isInForce({ publicKey }: PeerConfig, key: Uint8Array): boolean {
    return this.#node.device.hasPresharedKey(publicKey, key);
  }

  async isOffered(peer: PeerConfig, key: Uint8Array): Promise<boolean> {
    const next = await this.next(peer);
    if (next === null) return false;
    const isSame = Buffer.from(next).equals(key);
    wipe(next);
    return isSame;
  }

  obstacle(): Refusal | null {
    return null;
  }

  async accept(peer: PeerConfig, key: Uint8Array): Promise<void> {
    const { generation } = await this.#state.begin({ what: 'psk', peer: peer.name });
    await this.secretOf(peer).offer(key);
    this.#offered.add(peer.name);
    await this.#addToDevice(peer, key);
    this.#node.log.info(
      `${peer.name}: a new preshared key (generation ${generation}) is accepted beside the old one`,
    );
  }

  async settle(peer: PeerConfig, key: Uint8Array): Promise<void> {
    await this.#node.exclusively(async () => {
      const secret = this.secretOf(peer);
      const { config } = this.#node;
      await secret.settle(key);
      if (peer.presharedKeyFile === null) {
        const name = presharedKeyName(config, peer);
        const written = await writePeerKey(config, peer.name, 'preshared_key_file', name);
        await this.#node.adopt(withPeer(this.#node.config, written, peer.name));
      }
      await changePeer(this.#node, { publicKey: peer.publicKey, settles: 'other' });
      await secret.drop();
    });
    this.forget(peer.name);
    this.#node.log.info(`${peer.name}: the new preshared key is the only one`);
  }

  async drop(peer: PeerConfig): Promise<void> {
    await changePeer(this.#node, { publicKey: peer.publicKey, settles: 'first' });
    await this.secretOf(peer).drop();
    this.forget(peer.name);
  }

  secretOf(peer: PeerConfig): SecretFile {
    return new SecretFile(presharedKeyPath(this.#node.config, peer));
  }

  async #addToDevice({ publicKey }: PeerConfig, presharedKey: Uint8Array): Promise<void> {
    await changePeer(this.#node, { publicKey, otherKeys: { publicKey, presharedKey } });
  }
}

/** The key pairs of peers, of which we know the public keys: what is to follow is in the file of the state. */
export class PeerKeys implements OfferedKey {
  readonly #node: HostNode;
  readonly #state: RotationState;
  readonly #own: OwnKeyPair;

  constructor(node: HostNode, state: RotationState, own: OwnKeyPair) {
    this.#node = node;
    this.#state = state;
    this.#own = own;
  }

  async takeUp(): Promise<void> {
    const { config } = this.#node;
    for (const [name, text] of Object.entries(this.#state.peers)) {
      const peer = config.peers.find((one) => one.name === name);
      const key = decodeKey(Buffer.from(text));
      if (peer === undefined || key === null || renderPublicKey(peer.publicKey) === text)
        await this.#state.setNext(name, null);
      else await this.#addToDevice(peer, key);
    }
  }

  isInForce({ publicKey }: PeerConfig, key: Uint8Array): boolean {
    return isSame(publicKey, key);
  }

  async isOffered({ name }: PeerConfig, key: Uint8Array): Promise<boolean> {
    return this.#state.peers[name] === renderPublicKey(key);
  }

  /** A key of another peer, or our own, is refused. */
  obstacle(key: Uint8Array): Refusal | null {
    const { config, device } = this.#node;
    const own = [config.interface.publicKey, this.#own.nextPublicKey];
    const isOwn = own.some((one) => one !== null && isSame(one, key));
    const isTaken = isOwn || device.peer(key) !== undefined || key.every((byte) => byte === 0);
    return isTaken ? 'key' : null;
  }

  async accept(peer: PeerConfig, key: Uint8Array): Promise<void> {
    await this.#state.begin({ what: 'peer', peer: peer.name });
    await this.#state.setNext(peer.name, renderPublicKey(key));
    await this.#addToDevice(peer, key);
  }

  /** The user's file first: what it says counts after a crash. */
  async settle(peer: PeerConfig, key: Uint8Array): Promise<void> {
    const text = renderPublicKey(key);
    await this.#node.exclusively(async () => {
      const written = await writePeerKey(this.#node.config, peer.name, 'public_key', text);
      await changePeer(this.#node, { publicKey: peer.publicKey, settles: 'other' });
      await this.#node.adopt(withPeer(this.#node.config, written, peer.name));
      await this.#state.setNext(peer.name, null);
    });
    this.#node.log.info(`${peer.name} has another key pair: its public key is ${text}`);
  }

  async drop({ name, publicKey }: PeerConfig): Promise<void> {
    await changePeer(this.#node, { publicKey, settles: 'first' });
    await this.#state.setNext(name, null);
  }

  async #addToDevice({ publicKey }: PeerConfig, key: Uint8Array): Promise<void> {
    const presharedKey = this.#node.device.peer(publicKey)?.presharedKey;
    await changePeer(this.#node, { publicKey, otherKeys: { publicKey: key, presharedKey } });
  }
}

/** Our own key pair: FILE.next beside FILE. Only we change it. */
export class OwnKeyPair {
  readonly #node: HostNode;
  readonly #state: RotationState;
  #nextPublicKey: Uint8Array | null = null;

  constructor(node: HostNode, state: RotationState) {
    this.#node = node;
    this.#state = state;
  }

  /** Of the pair that is to follow; null where none is. */
  get nextPublicKey(): Uint8Array | null {
    return this.#nextPublicKey;
  }

  async takeUp(): Promise<void> {
    await this.secret.clearLeftovers();
    const own = await this.secret.next();
    if (own === null) return;
    this.#nextPublicKey = publicKeyOf(own);
    await this.#node.device.change({ nextPrivateKey: own, peers: [] });
    wipe(own);
  }

  /** Makes the one that is to follow, and answers both. Returns its public key. */
  async begin(): Promise<Uint8Array> {
    const { device, log } = this.#node;
    const { generation } = await this.#state.begin({ what: 'identity' });
    const key = generatePrivateKey();
    try {
      await this.secret.offer(key);
      this.#nextPublicKey = publicKeyOf(key);
      await device.change({ nextPrivateKey: key, peers: [] });
      log.info(
        `a new key pair (generation ${generation}) is answered beside the old one: its public key is ${renderPublicKey(this.#nextPublicKey)}`,
      );
      return this.#nextPublicKey;
    } finally {
      wipe(key);
    }
  }

  async settle(): Promise<void> {
    const key = await this.secret.next();
    if (key === null) return;
    const publicKey = publicKeyOf(key);
    try {
      await this.#node.exclusively(async () => {
        await this.secret.settle(key);
        await this.#node.device.change({ adoptsNextKey: true, peers: [] });
        const { config } = this.#node;
        await this.#node.adopt({ ...config, interface: { ...config.interface, publicKey } });
        await this.secret.drop();
      });
      this.#nextPublicKey = null;
      this.#node.log.info(
        `the new key pair is the only one: our public key is ${renderPublicKey(publicKey)}`,
      );
    } finally {
      wipe(key);
    }
  }

  async drop(): Promise<void> {
    await this.#node.device.change({ nextPrivateKey: new Uint8Array(32), peers: [] });
    await this.secret.drop();
    this.#nextPublicKey = null;
  }

  get secret(): SecretFile {
    return new SecretFile(this.#node.config.interface.privateKeyFile);
  }
}

/** Changes what the device knows of a peer that it has. */
export async function changePeer(
  { device }: HostNode,
  change: Omit<PeerChange, 'allowedIps' | 'updateOnly'>,
): Promise<void> {
  await device.change({ peers: [{ ...change, updateOnly: true, allowedIps: [] }] });
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a).equals(b);
}
