// Keys change while traffic goes on: make before break, as docs/rotate.md draws it. Here is who may begin what, and that it
// goes on: the steps with a peer are in rotation-steps.ts, what they do to the keys in rotated-keys.ts. A step is on disk before
// anybody hears of it, the old key is accepted until a handshake was made with the new one, and whoever is interrupted goes on
// from there.

import { generatePresharedKey, renderPublicKey, wipe } from '../config/key.ts';
import { renderName } from '../config/quote.ts';
import type { PeerConfig } from '../config/schema.ts';
import type { Answer, Refusal } from '../control/talk.ts';
import type { NodeRequest, RequestHandlers, RotationStatus } from '../control/target.ts';
import type { ModelPeer } from '../control/uapi/model.ts';
import { messageOf, NodeError } from '../errors.ts';
import type { HostNode } from './host-node.ts';
import { changePeer, OwnKeyPair, PeerKeys, PresharedKeys } from './rotated-keys.ts';
import { type Rotated, RotationState } from './rotation-files.ts';
import {
  HANDSHAKE_MS,
  type RotateQuestion,
  type RotationReport,
  RotationSteps,
  within,
} from './rotation-steps.ts';
import type { Talks } from './talks.ts';

/** What is under way is taken up again this often. */
const AGAIN_MS = 10_000;
const TICK_MS = 1_000;
const LONGEST_WAIT_SECONDS = 366 * 86_400;

export interface RotationAnswer {
  readonly peers: readonly RotationReport[];
  /** Where the new secret lies, for peers that have to be told by hand. */
  readonly file: string;
  /** Our new public key, where it is that. */
  readonly publicKey?: string;
  readonly atSeconds?: number;
}

export class Rotations implements Disposable {
  readonly requests: RequestHandlers = {
    'rotate-session': ({ peer }) => this.#renew(this.#named(peer)),
    'rotate-psk': (asked) => this.#rotatePsk(asked),
    'rotate-identity': (asked) => this.#rotateIdentity(asked),
  };
  readonly #node: HostNode;
  readonly #state: RotationState;
  readonly #steps: RotationSteps;
  readonly #presharedKeys: PresharedKeys;
  readonly #own: OwnKeyPair;
  readonly #peerKeys: PeerKeys;
  readonly #timer: NodeJS.Timeout;
  /** What is being driven now: the kind of key and the peer. */
  readonly #driven = new Set<string>();
  /** The peers that have gone over to our new key pair. */
  readonly #confirmed = new Set<string>();
  #again = 0;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(node: HostNode, talks: Talks, state: RotationState) {
    this.#node = node;
    this.#state = state;
    this.#steps = new RotationSteps(node, talks);
    this.#presharedKeys = new PresharedKeys(node, state);
    this.#own = new OwnKeyPair(node, state);
    this.#peerKeys = new PeerKeys(node, state, this.#own);
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** Accepts what an earlier run has begun. @throws NodeError for a secret that cannot be read */
  static async start(node: HostNode, talks: Talks): Promise<Rotations> {
    const { config, log } = node;
    const rotations = new Rotations(node, talks, RotationState.open(config.interface.name, log));
    try {
      for (const keys of [rotations.#presharedKeys, rotations.#peerKeys, rotations.#own]) await keys.takeUp();
    } catch (error) {
      rotations[Symbol.dispose]();
      throw error;
    }
    return rotations;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  /** What is under way, and what is to come. @param isConfirmed of a peer: whether it uses the new key */
  status(isConfirmed: (publicKey: Uint8Array) => boolean): RotationStatus[] {
    const { peers } = this.#node.config;
    const withPeers = (what: 'psk' | 'peer', names: ReadonlySet<string>): RotationStatus[] =>
      names.size === 0
        ? [] // of thousands of peers, most of the time
        : peers
            .filter(({ name }) => names.has(name))
            .map(({ name, publicKey }) =>
              this.#statusOf({ what, peer: name }, isConfirmed(publicKey) ? [] : [name]),
            );
    const unconfirmed = (): string[] =>
      peers
        .filter(({ name, publicKey }) => !this.#confirmed.has(name) && !isConfirmed(publicKey))
        .map(({ name }) => name);
    const { identityAtSeconds } = this.#state;
    return [
      ...(identityAtSeconds === null ? [] : [scheduled(identityAtSeconds)]),
      ...(this.#own.nextPublicKey === null ? [] : [this.#statusOf({ what: 'identity' }, unconfirmed())]),
      ...withPeers('psk', this.#presharedKeys.offered),
      ...withPeers('peer', new Set(Object.keys(this.#state.peers))),
    ];
  }

  #statusOf(rotated: Rotated, unconfirmed: readonly string[]): RotationStatus {
    const { generation = null, sinceSeconds = null } = this.#state.begun(rotated) ?? {};
    return {
      what: rotated.what,
      peer: rotated.what === 'identity' ? null : rotated.peer,
      state: unconfirmed.length === 0 ? 'confirmed' : 'offered',
      generation,
      sinceSeconds,
      unconfirmed,
    };
  }

  #tick(): void {
    const { identityAtSeconds } = this.#state;
    if (identityAtSeconds !== null && Date.now() / 1000 >= identityAtSeconds) {
      void this.#next(async () => {
        await this.#state.schedule(null);
        if (this.#own.nextPublicKey === null) await this.#beginIdentity();
      }).catch((error) => this.#node.log.error(`our key pair was not changed: ${messageOf(error)}`));
      this.#again = 0;
    }
    if (performance.now() < this.#again) return;
    this.#again = performance.now() + AGAIN_MS;
    const complain = (error: unknown): void => this.#node.log.warn(`a rotation waits: ${messageOf(error)}`);
    for (const name of this.#presharedKeys.offered) void this.#drivePsk(name).catch(complain);
    if (this.#own.nextPublicKey !== null) void this.#driveIdentity().catch(complain);
  }

  /** What changes files and the model, one after the other. */
  async #next<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return await done;
  }

  /** Drives one thing once at a time. */
  async #drive(name: string, peer: string, work: () => Promise<RotationReport>): Promise<RotationReport> {
    if (this.#driven.has(name)) return { peer, state: 'waiting', reason: 'busy' };
    this.#driven.add(name);
    try {
      return await work();
    } finally {
      this.#driven.delete(name);
    }
  }

  // A fresh session.

  async #renew(peer: PeerConfig): Promise<RotationAnswer> {
    const { device } = this.#node;
    const before = (await device.traffic(peer.publicKey))?.lastHandshakeMs ?? 0;
    await changePeer(this.#node, { publicKey: peer.publicKey, renews: true });
    const isMade = async (): Promise<boolean> =>
      ((await device.traffic(peer.publicKey))?.lastHandshakeMs ?? 0) !== before;
    if (await within(HANDSHAKE_MS, isMade)) return { peers: [{ peer: peer.name, state: 'done' }], file: '' };
    throw new NodeError('ERR_ROTATE_UNANSWERED', `${renderName(peer.name)} does not answer`, {
      hint: 'the session there is lives to its end; `ringfence status` shows where the peer was seen last',
    });
  }

  // A preshared key.

  async #rotatePsk({ peer: named, prune, cancel }: NodeRequest): Promise<RotationAnswer> {
    const peer = this.#named(named);
    const file = this.#presharedKeys.secretOf(peer).nextPath;
    if (prune === true || cancel === true) {
      await this.#next(() => (prune === true ? this.#prunePsk(peer) : this.#cancelPsk(peer)));
      return { peers: [{ peer: peer.name, state: 'done' }], file };
    }
    await this.#next(async () => {
      this.#refuseBusy(peer);
      const key = generatePresharedKey();
      try {
        await this.#presharedKeys.accept(peer, key);
      } finally {
        wipe(key);
      }
    });
    return { peers: [await this.#drivePsk(peer.name)], file };
  }

  /** Takes the rotation with a peer as far as it goes now. */
  #drivePsk(name: string): Promise<RotationReport> {
    return this.#drive(`psk ${name}`, name, async () => {
      const peer = this.#node.config.peers.find((one) => one.name === name);
      const key = peer && (await this.#presharedKeys.next(peer));
      if (peer === undefined || key === null || key === undefined) {
        this.#presharedKeys.forget(name);
        return { peer: name, state: 'done' };
      }
      try {
        return await this.#steps.drive(peer, 'psk', key, () =>
          this.#next(() => this.#presharedKeys.settle(peer, key)),
        );
      } finally {
        wipe(key);
      }
    });
  }

  async #prunePsk(peer: PeerConfig): Promise<void> {
    const key = await this.#presharedKeys.next(peer);
    if (key === null) throw nothingUnderWay(peer.name);
    try {
      await this.#refuseUnconfirmed(peer);
      await this.#presharedKeys.settle(peer, key);
    } finally {
      wipe(key);
    }
  }

  async #cancelPsk(peer: PeerConfig): Promise<void> {
    const key = await this.#presharedKeys.next(peer);
    if (key === null) throw nothingUnderWay(peer.name);
    try {
      if (await this.#steps.isConfirmed(peer.publicKey)) throw confirmed(peer.name);
      const asked = await this.#steps.ask(peer.publicKey, 'psk', 'cancel', key);
      if (asked?.type === 'refused' && asked.reason !== 'unknown') throw confirmed(peer.name);
      await this.#presharedKeys.drop(peer);
    } finally {
      wipe(key);
    }
  }

  // Our own key pair.

  async #rotateIdentity({ prune, cancel, atSeconds }: NodeRequest): Promise<RotationAnswer> {
    const file = this.#own.secret.nextPath;
    if (prune === true) return { peers: await this.#next(() => this.#pruneIdentity()), file };
    if (cancel === true) {
      await this.#next(() => this.#cancelIdentity());
      return { peers: [], file };
    }
    if (typeof atSeconds === 'number') {
      const inSeconds = atSeconds - Date.now() / 1000;
      if (!(inSeconds > 0 && inSeconds < LONGEST_WAIT_SECONDS))
        throw new NodeError('ERR_NODE_REQUEST', 'the time is to come, within a year');
      await this.#next(async () => {
        this.#refuseOwnBusy();
        await this.#state.schedule(atSeconds);
      });
      return { peers: [], file, atSeconds };
    }
    const publicKey = renderPublicKey(await this.#next(() => this.#beginIdentity()));
    return { peers: await this.#driveIdentity(), file, publicKey };
  }

  async #beginIdentity(): Promise<Uint8Array> {
    this.#refuseOwnBusy();
    this.#confirmed.clear();
    return await this.#own.begin();
  }

  /** With all peers at once; when all have gone over, the old one goes. */
  async #driveIdentity(): Promise<RotationReport[]> {
    const key = this.#own.nextPublicKey;
    if (key === null) return [];
    const reports = await Promise.all(
      this.#node.config.peers.map(async (peer): Promise<RotationReport> => {
        const { name } = peer;
        if (this.#confirmed.has(name)) return { peer: name, state: 'done' };
        return await this.#drive(`identity ${name}`, name, () =>
          this.#steps.drive(peer, 'identity', key, async () => void this.#confirmed.add(name)),
        );
      }),
    );
    if (reports.every(({ state }) => state === 'done')) {
      await this.#next(async () => {
        if (this.#own.nextPublicKey === key) await this.#settleIdentity();
      });
    }
    return reports;
  }

  async #settleIdentity(): Promise<void> {
    await this.#own.settle();
    this.#confirmed.clear();
  }

  /** The old one goes, also where some peers have not gone over; not where none has. */
  async #pruneIdentity(): Promise<RotationReport[]> {
    if (this.#own.nextPublicKey === null) throw nothingUnderWay('our own key pair');
    const { peers } = this.#node.config;
    const states = await Promise.all(
      peers.map(async ({ name, publicKey }): Promise<RotationReport> => {
        const hasGone = this.#confirmed.has(name) || (await this.#steps.isConfirmed(publicKey));
        return hasGone
          ? { peer: name, state: 'done' }
          : { peer: name, state: 'waiting', reason: 'unconfirmed' };
      }),
    );
    if (peers.length > 0 && states.every(({ state }) => state === 'waiting')) {
      throw new NodeError(
        'ERR_ROTATE_UNCONFIRMED',
        'no peer has gone over to the new key pair: the old one is the last that works',
        {
          hint: 'give peers the new public key first, or take it back: ringfence rotate identity --cancel',
        },
      );
    }
    await this.#settleIdentity();
    return states;
  }

  async #cancelIdentity(): Promise<void> {
    const isScheduled = this.#state.identityAtSeconds !== null;
    await this.#state.schedule(null);
    const key = this.#own.nextPublicKey;
    if (key === null) {
      if (isScheduled) return;
      throw nothingUnderWay('our own key pair');
    }
    const { peers } = this.#node.config;
    for (const { name, publicKey } of peers) {
      if (this.#confirmed.has(name) || (await this.#steps.isConfirmed(publicKey))) throw confirmed(name);
    }
    const answers = await Promise.all(
      peers.map((peer) => this.#steps.ask(peer.publicKey, 'identity', 'cancel', key)),
    );
    const gone = answers.findIndex((answer) => answer?.type === 'refused' && answer.reason !== 'unknown');
    if (gone >= 0) throw confirmed(peers[gone]?.name ?? '');
    await this.#own.drop();
  }

  /** What the node of a peer asks. */
  async answer(asking: ModelPeer, question: RotateQuestion): Promise<Answer> {
    const refuse = (reason: Refusal): Answer => ({ type: 'refused', reason, clockMs: Date.now() });
    const id = renderPublicKey(asking.publicKey);
    try {
      return await this.#next(async () => {
        const peer = this.#node.config.peers.find(({ publicKey }) => renderPublicKey(publicKey) === id);
        if (peer === undefined) return refuse('unknown');
        const keys = question.what === 'psk' ? this.#presharedKeys : this.#peerKeys;
        const mayOffer = (): boolean => !this.#isBusy(peer) || this.#yieldsTo(peer);
        const reason = await this.#steps.answer(peer, question, keys, mayOffer);
        return reason === null ? { type: 'done' } : refuse(reason);
      });
    } catch (error) {
      this.#node.log.error(`a rotation that a peer asked for: ${messageOf(error)}`);
      return refuse('failed');
    } finally {
      wipe(question.key);
    }
  }

  // What stands in the way.

  #named(name: unknown): PeerConfig {
    const peer = this.#node.config.peers.find((one) => one.name === name);
    if (peer !== undefined) return peer;
    throw new NodeError('ERR_ROTATE_PEER', `there is no peer ${JSON.stringify(name)}`, {
      hint: '`ringfence status` lists them',
    });
  }

  /** Whether a rotation with a peer, or of our own key pair, is under way. */
  #isBusy({ name }: PeerConfig): boolean {
    const isWithPeer = this.#presharedKeys.offered.has(name) || this.#state.peers[name] !== undefined;
    return isWithPeer || this.#own.nextPublicKey !== null;
  }

  #refuseBusy(peer: PeerConfig): void {
    if (!this.#isBusy(peer)) return;
    throw new NodeError('ERR_ROTATE_BUSY', `a rotation with ${renderName(peer.name)} is under way already`, {
      hint: 'it goes on by itself; --prune ends it where the new key works, --cancel where it was not used yet',
    });
  }

  #refuseOwnBusy(): void {
    const { peers } = this.#node.config;
    const busy = peers.find((peer) => this.#isBusy(peer));
    if (busy !== undefined) this.#refuseBusy(busy);
    if (this.#own.nextPublicKey !== null)
      throw new NodeError('ERR_ROTATE_BUSY', 'our key pair is being changed already');
  }

  /** Both began at once: the smaller public key wins, and the other side takes what it is offered. */
  #yieldsTo(peer: PeerConfig): boolean {
    if (this.#own.nextPublicKey === null && !this.#presharedKeys.offered.has(peer.name)) return false;
    return Buffer.compare(peer.publicKey, this.#node.config.interface.publicKey) < 0;
  }

  async #refuseUnconfirmed({ name, publicKey }: PeerConfig): Promise<void> {
    if (await this.#steps.isConfirmed(publicKey)) return;
    throw new NodeError(
      'ERR_ROTATE_UNCONFIRMED',
      `no handshake with ${renderName(name)} was made with the new key: the old one is the last that works`,
      {
        hint: 'give the peer the new key first, or take it back with --cancel',
      },
    );
  }
}

function scheduled(atSeconds: number): RotationStatus {
  return {
    what: 'identity',
    peer: null,
    state: 'scheduled',
    generation: null,
    sinceSeconds: atSeconds,
    unconfirmed: [],
  };
}

function nothingUnderWay(what: string): NodeError {
  return new NodeError('ERR_ROTATE_NONE', `no rotation of ${renderName(what)} is under way`);
}

function confirmed(name: string): NodeError {
  return new NodeError('ERR_ROTATE_BUSY', `${renderName(name)} uses the new key already`, {
    hint: '--prune ends the rotation: the old one goes',
  });
}
