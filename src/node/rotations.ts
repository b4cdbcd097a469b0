// Keys change while traffic goes on: make before break, as docs/rotate.md draws it. A step is on disk before anybody hears of
// it, the old key is accepted until a handshake was made with the new one, and whoever is interrupted goes on from there:
// each question may be asked again, and both sides may ask.
//
//   offer   the other side accepts the new key beside the old one
//   use     both begin handshakes with it, and one is made
//   settle  the other side, then this one, puts it in place of the old one

import { setTimeout as delay } from 'node:timers/promises';
import {
  decodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
  renderPublicKey,
  wipe,
} from '../config/key.ts';
import { renderName } from '../config/quote.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import type { Answer, Question, Refusal, RotatedKey, RotationStep } from '../control/talk.ts';
import type { NodeRequest, RequestHandlers } from '../control/target.ts';
import type { PeerChange } from '../control/uapi/change.ts';
import type { ModelPeer } from '../control/uapi/model.ts';
import { messageOf, NodeError } from '../errors.ts';
import { withPeer, writePeerKey } from './config-file.ts';
import type { HostNode } from './invitations.ts';
import { presharedKeyName, presharedKeyPath, RotationState, SecretFile } from './rotation-files.ts';
import type { Talks } from './talks.ts';

type RotateQuestion = Question & { readonly type: 'rotate' };

/** An answer takes two ways through the tunnel, and perhaps a handshake before. */
const ANSWER_MS = 4_000;
/** A handshake that both sides begin with the right key is made within this, its repetition counted in. */
const HANDSHAKE_MS = 12_000;
const POLL_MS = 25;
/** What is under way is taken up again this often. */
const AGAIN_MS = 10_000;
const TICK_MS = 1_000;
const LONGEST_WAIT_SECONDS = 366 * 86_400;

/** How far a rotation came with one peer. */
export interface RotationReport {
  readonly peer: string;
  /** `waiting`: both keys are accepted, and it goes on by itself. */
  readonly state: 'done' | 'waiting';
  /** Why it waits. */
  readonly reason?: 'silent' | 'busy' | 'unconfirmed' | 'refused';
}

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
  readonly #talks: Talks;
  readonly #state: RotationState;
  readonly #timer: NodeJS.Timeout;
  /** Peers and, as '', our own key pair: what is being driven now. */
  readonly #driven = new Set<string>();
  /** Preshared keys that are to follow are known for these peers. */
  readonly #offered = new Set<string>();
  #nextPublicKey: Uint8Array | null = null;
  /** The peers that have gone over to our new key pair. */
  readonly #confirmed = new Set<string>();
  #again = 0;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(node: HostNode, talks: Talks, state: RotationState) {
    this.#node = node;
    this.#talks = talks;
    this.#state = state;
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** Accepts what an earlier run has begun. @throws NodeError for a secret that cannot be read */
  static async start(node: HostNode, talks: Talks): Promise<Rotations> {
    const { config, log } = node;
    const rotations = new Rotations(node, talks, RotationState.open(config.interface.name, log));
    try {
      await rotations.#takeUp();
    } catch (error) {
      rotations[Symbol.dispose]();
      throw error;
    }
    return rotations;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #takeUp(): Promise<void> {
    const { config } = this.#node;
    for (const peer of config.peers) {
      await this.#secretOf(peer).clearLeftovers();
      const next = await this.#secretOf(peer).next();
      if (next !== null) {
        this.#offered.add(peer.name);
        await this.#change({
          publicKey: peer.publicKey,
          otherKeys: { publicKey: peer.publicKey, presharedKey: next },
        });
        wipe(next);
      }
    }
    for (const [name, text] of Object.entries(this.#state.peers)) {
      const peer = config.peers.find((one) => one.name === name);
      const key = decodeKey(Buffer.from(text));
      if (peer === undefined || key === null || renderPublicKey(peer.publicKey) === text)
        await this.#state.setNext(name, null);
      else await this.#acceptKey(peer, key);
    }
    await this.#ownSecret().clearLeftovers();
    const own = await this.#ownSecret().next();
    if (own === null) return;
    this.#nextPublicKey = publicKeyOf(own);
    await this.#node.device.change({ nextPrivateKey: own, peers: [] });
    wipe(own);
  }

  #tick(): void {
    const { identityAtSeconds } = this.#state;
    if (identityAtSeconds !== null && Date.now() / 1000 >= identityAtSeconds) {
      void this.#next(async () => {
        await this.#state.schedule(null);
        if (this.#nextPublicKey === null) await this.#beginIdentity();
      }).catch((error) => this.#node.log.error(`our key pair was not changed: ${messageOf(error)}`));
      this.#again = 0;
    }
    if (performance.now() < this.#again) return;
    this.#again = performance.now() + AGAIN_MS;
    for (const name of this.#offered) void this.#drivePsk(name).catch((error) => this.#complain(error));
    if (this.#nextPublicKey !== null) void this.#driveIdentity().catch((error) => this.#complain(error));
  }

  #complain(error: unknown): void {
    this.#node.log.warn(`a rotation waits: ${messageOf(error)}`);
  }

  /** What changes files and the model, one after the other. */
  async #next<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return await done;
  }

  // A fresh session.

  async #renew(peer: PeerConfig): Promise<RotationAnswer> {
    const { device } = this.#node;
    const before = (await device.traffic(peer.publicKey))?.lastHandshakeMs ?? 0;
    await this.#change({ publicKey: peer.publicKey, renews: true });
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
    const secret = this.#secretOf(peer);
    if (prune === true || cancel === true) {
      const report = await this.#next(() => (prune === true ? this.#prunePsk(peer) : this.#cancelPsk(peer)));
      return { peers: [report], file: secret.nextPath };
    }
    await this.#next(async () => {
      this.#refuseBusy(peer);
      const key = generatePresharedKey();
      try {
        await this.#offerPsk(peer, key);
      } finally {
        wipe(key);
      }
      this.#node.log.info(`${peer.name}: a new preshared key is accepted beside the old one`);
    });
    return { peers: [await this.#drivePsk(peer.name)], file: secret.nextPath };
  }

  async #offerPsk(peer: PeerConfig, key: Uint8Array): Promise<void> {
    await this.#secretOf(peer).offer(key);
    this.#offered.add(peer.name);
    await this.#change({
      publicKey: peer.publicKey,
      otherKeys: { publicKey: peer.publicKey, presharedKey: key },
    });
  }

  /** Takes the rotation with a peer as far as it goes now. */
  async #drivePsk(name: string): Promise<RotationReport> {
    if (this.#driven.has(name)) return { peer: name, state: 'waiting', reason: 'busy' };
    this.#driven.add(name);
    try {
      const peer = this.#node.config.peers.find((one) => one.name === name);
      const key = peer && (await this.#secretOf(peer).next());
      if (peer === undefined || key === null || key === undefined) {
        this.#offered.delete(name);
        return { peer: name, state: 'done' };
      }
      try {
        return await this.#drive(peer, 'psk', key, () => this.#settlePsk(peer, key));
      } finally {
        wipe(key);
      }
    } finally {
      this.#driven.delete(name);
    }
  }

  async #prunePsk(peer: PeerConfig): Promise<RotationReport> {
    const key = await this.#secretOf(peer).next();
    if (key === null) throw nothingUnderWay(peer.name);
    try {
      await this.#refuseUnconfirmed(peer);
      await this.#settlePsk(peer, key);
    } finally {
      wipe(key);
    }
    return { peer: peer.name, state: 'done' };
  }

  async #cancelPsk(peer: PeerConfig): Promise<RotationReport> {
    const key = await this.#secretOf(peer).next();
    if (key === null) throw nothingUnderWay(peer.name);
    try {
      await this.#refuseConfirmed(peer);
      const asked = await this.#ask(peer.publicKey, 'psk', 'cancel', key);
      if (asked?.type === 'refused' && asked.reason !== 'unknown') throw confirmed(peer.name);
      await this.#dropPsk(peer);
    } finally {
      wipe(key);
    }
    return { peer: peer.name, state: 'done' };
  }

  async #dropPsk(peer: PeerConfig): Promise<void> {
    await this.#change({ publicKey: peer.publicKey, settles: 'first' });
    await this.#secretOf(peer).drop();
    this.#offered.delete(peer.name);
  }

  /** The new one takes the place of the old one: on disk, then in the device. */
  async #settlePsk(peer: PeerConfig, key: Uint8Array): Promise<void> {
    const secret = this.#secretOf(peer);
    const { config, log } = this.#node;
    await secret.settle(key);
    if (peer.presharedKeyFile === null) {
      const name = presharedKeyName(config, peer);
      const written = await writePeerKey(config, peer.name, 'preshared_key_file', name);
      await this.#node.adopt(withPeer(this.#node.config, written, peer.name));
    }
    await this.#change({ publicKey: peer.publicKey, settles: 'other' });
    await secret.drop();
    this.#offered.delete(peer.name);
    log.info(`${peer.name}: the new preshared key is the only one`);
  }

  // Our own key pair.

  async #rotateIdentity({ prune, cancel, atSeconds }: NodeRequest): Promise<RotationAnswer> {
    const file = this.#ownSecret().nextPath;
    if (prune === true) return { peers: await this.#next(() => this.#pruneIdentity()), file };
    if (cancel === true) return { peers: await this.#next(() => this.#cancelIdentity()), file };
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
    await this.#next(() => this.#beginIdentity());
    const publicKey = renderPublicKey(this.#nextPublicKey ?? new Uint8Array());
    return { peers: await this.#driveIdentity(), file, publicKey };
  }

  async #beginIdentity(): Promise<void> {
    this.#refuseOwnBusy();
    const { device, log } = this.#node;
    const key = generatePrivateKey();
    try {
      await this.#ownSecret().offer(key);
      this.#confirmed.clear();
      this.#nextPublicKey = publicKeyOf(key);
      await device.change({ nextPrivateKey: key, peers: [] });
    } finally {
      wipe(key);
    }
    log.info(
      `a new key pair is answered beside the old one: its public key is ${renderPublicKey(this.#nextPublicKey)}`,
    );
  }

  /** With all peers at once; when all have gone over, the old one goes. */
  async #driveIdentity(): Promise<RotationReport[]> {
    const key = this.#nextPublicKey;
    if (key === null) return [];
    const reports = await Promise.all(this.#node.config.peers.map((peer) => this.#drivePeer(peer, key)));
    if (reports.every(({ state }) => state === 'done')) {
      await this.#next(async () => {
        if (this.#nextPublicKey === key) await this.#settleIdentity();
      });
    }
    return reports;
  }

  async #drivePeer(peer: PeerConfig, key: Uint8Array): Promise<RotationReport> {
    const { name } = peer;
    if (this.#confirmed.has(name)) return { peer: name, state: 'done' };
    const driven = `${name} identity`;
    if (this.#driven.has(driven)) return { peer: name, state: 'waiting', reason: 'busy' };
    this.#driven.add(driven);
    try {
      return await this.#drive(peer, 'identity', key, async () => void this.#confirmed.add(name));
    } finally {
      this.#driven.delete(driven);
    }
  }

  async #settleIdentity(): Promise<void> {
    const secret = this.#ownSecret();
    const key = await secret.next();
    if (key === null) return;
    const { device, log } = this.#node;
    try {
      await secret.settle(key);
      await device.change({ adoptsNextKey: true, peers: [] });
      const publicKey = publicKeyOf(key);
      const { config } = this.#node;
      await this.#node.adopt({ ...config, interface: { ...config.interface, publicKey } });
      await secret.drop();
      this.#nextPublicKey = null;
      this.#confirmed.clear();
      log.info(`the new key pair is the only one: our public key is ${renderPublicKey(publicKey)}`);
    } finally {
      wipe(key);
    }
  }

  /** The old one goes, also where some peers have not gone over; not where none has. */
  async #pruneIdentity(): Promise<RotationReport[]> {
    if (this.#nextPublicKey === null) throw nothingUnderWay('our own key pair');
    const { peers } = this.#node.config;
    const states = await Promise.all(
      peers.map(async ({ name, publicKey }): Promise<RotationReport> => {
        const hasGone = this.#confirmed.has(name) || (await this.#isMadeWithOther(publicKey));
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

  async #cancelIdentity(): Promise<RotationReport[]> {
    const scheduled = this.#state.identityAtSeconds !== null;
    await this.#state.schedule(null);
    const key = this.#nextPublicKey;
    if (key === null) {
      if (scheduled) return [];
      throw nothingUnderWay('our own key pair');
    }
    const { peers } = this.#node.config;
    for (const peer of peers) {
      if (this.#confirmed.has(peer.name) || (await this.#isMadeWithOther(peer.publicKey)))
        throw confirmed(peer.name);
    }
    const answers = await Promise.all(
      peers.map((peer) => this.#ask(peer.publicKey, 'identity', 'cancel', key)),
    );
    const gone = answers.findIndex((answer) => answer?.type === 'refused' && answer.reason !== 'unknown');
    if (gone >= 0) throw confirmed(peers[gone]?.name ?? '');
    await this.#node.device.change({ nextPrivateKey: new Uint8Array(32), peers: [] });
    await this.#ownSecret().drop();
    this.#nextPublicKey = null;
    return [];
  }

  // Both sides of a step.

  /** Offer, use, handshake, settle: as far as the other side goes along. `settle` is ours, and comes last. */
  async #drive(
    peer: PeerConfig,
    what: RotatedKey,
    key: Uint8Array,
    settle: () => Promise<void>,
  ): Promise<RotationReport> {
    const report = (state: RotationReport['state'], reason?: RotationReport['reason']): RotationReport => ({
      peer: peer.name,
      state,
      ...(reason === undefined ? {} : { reason }),
    });
    const { publicKey } = peer;
    const offered = await this.#ask(publicKey, what, 'offer', key);
    if (offered === null) {
      // No node of this kind, or not there now: its operator changes it by hand, and then it is seen here.
      if (!(await this.#isMadeWithOther(publicKey))) return report('waiting', 'silent');
      await this.#next(settle);
      return report('done');
    }
    if (offered.type === 'refused') return report('waiting', offered.reason === 'busy' ? 'busy' : 'refused');
    const used = await this.#ask(publicKey, what, 'use', key);
    if (used?.type !== 'done') return report('waiting', 'unconfirmed');
    await this.#change({ publicKey, prefersOther: true, renews: true });
    if (!(await within(HANDSHAKE_MS, () => this.#isMadeWithOther(publicKey))))
      return report('waiting', 'unconfirmed');
    const settled = await this.#askUntilDone(publicKey, what, key);
    if (settled?.type !== 'done') return report('waiting', 'unconfirmed');
    await this.#next(settle);
    return report('done');
  }

  /** The other side has to see the handshake confirmed, too. */
  async #askUntilDone(publicKey: Uint8Array, what: RotatedKey, key: Uint8Array): Promise<Answer | null> {
    let answer: Answer | null = null;
    await within(ANSWER_MS, async () => {
      answer = await this.#ask(publicKey, what, 'settle', key);
      return answer?.type !== 'refused' || answer.reason !== 'unconfirmed';
    });
    return answer;
  }

  #ask(publicKey: Uint8Array, what: RotatedKey, step: RotationStep, key: Uint8Array): Promise<Answer | null> {
    return this.#talks.ask(publicKey, { type: 'rotate', what, step, key }, ANSWER_MS);
  }

  /** What the node of a peer asks. */
  async answer(asking: ModelPeer, question: RotateQuestion): Promise<Answer> {
    const refuse = (reason: Refusal): Answer => ({ type: 'refused', reason, clockMs: Date.now() });
    const id = renderPublicKey(asking.publicKey);
    try {
      return await this.#next(async () => {
        const peer = this.#node.config.peers.find(({ publicKey }) => renderPublicKey(publicKey) === id);
        if (peer === undefined) return refuse('unknown');
        const reason =
          question.what === 'psk'
            ? await this.#answerPsk(peer, question)
            : await this.#answerKey(peer, question);
        return reason === null ? { type: 'done' } : refuse(reason);
      });
    } catch (error) {
      this.#node.log.error(`a rotation that a peer asked for: ${messageOf(error)}`);
      return refuse('failed');
    } finally {
      wipe(question.key);
    }
  }

  async #answerPsk(peer: PeerConfig, { step, key }: RotateQuestion): Promise<Refusal | null> {
    if (this.#node.device.hasPresharedKey(peer.publicKey, key)) return null; // settled before
    const next = await this.#secretOf(peer).next();
    const isOffered = next !== null && Buffer.from(next).equals(key);
    if (next !== null) wipe(next);
    switch (step) {
      case 'offer':
        if (isOffered) return null;
        if (this.#isOwnBusy(peer) && !this.#yieldsTo(peer)) return 'busy';
        await this.#offerPsk(peer, key);
        return null;
      case 'use':
        if (!isOffered) return 'unknown';
        await this.#change({ publicKey: peer.publicKey, prefersOther: true });
        return null;
      case 'settle':
        if (!isOffered) return 'unknown';
        if (!(await this.#isMadeWithOther(peer.publicKey))) return 'unconfirmed';
        await this.#settlePsk(peer, key);
        return null;
      case 'cancel':
        if (!isOffered) return 'unknown';
        if (await this.#isMadeWithOther(peer.publicKey)) return 'busy';
        await this.#dropPsk(peer);
        return null;
      default:
        return step satisfies never;
    }
  }

  async #answerKey(peer: PeerConfig, { step, key }: RotateQuestion): Promise<Refusal | null> {
    const text = renderPublicKey(key);
    if (renderPublicKey(peer.publicKey) === text) return null; // settled before
    const isOffered = this.#state.peers[peer.name] === text;
    switch (step) {
      case 'offer':
        if (isOffered) return null;
        if (this.#isTaken(key)) return 'key';
        if (this.#isOwnBusy(peer) && !this.#yieldsTo(peer)) return 'busy';
        await this.#state.setNext(peer.name, text);
        await this.#acceptKey(peer, key);
        return null;
      case 'use':
        if (!isOffered) return 'unknown';
        await this.#change({ publicKey: peer.publicKey, prefersOther: true });
        return null;
      case 'settle':
        if (!isOffered) return 'unknown';
        if (!(await this.#isMadeWithOther(peer.publicKey))) return 'unconfirmed';
        await this.#settleKey(peer, text);
        return null;
      case 'cancel':
        if (!isOffered) return 'unknown';
        if (await this.#isMadeWithOther(peer.publicKey)) return 'busy';
        await this.#change({ publicKey: peer.publicKey, settles: 'first' });
        await this.#state.setNext(peer.name, null);
        return null;
      default:
        return step satisfies never;
    }
  }

  async #acceptKey(peer: PeerConfig, key: Uint8Array): Promise<void> {
    const presharedKey = this.#node.device.peer(peer.publicKey)?.presharedKey;
    await this.#change({ publicKey: peer.publicKey, otherKeys: { publicKey: key, presharedKey } });
  }

  /** The user's file first: what it says counts after a crash. */
  async #settleKey(peer: PeerConfig, publicKey: string): Promise<void> {
    const written = await writePeerKey(this.#node.config, peer.name, 'public_key', publicKey);
    await this.#change({ publicKey: peer.publicKey, settles: 'other' });
    await this.#node.adopt(withPeer(this.#node.config, written, peer.name));
    await this.#state.setNext(peer.name, null);
    this.#node.log.info(`${peer.name} has another key pair: its public key is ${publicKey}`);
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
  #isOwnBusy({ name }: PeerConfig): boolean {
    return this.#offered.has(name) || this.#state.peers[name] !== undefined || this.#nextPublicKey !== null;
  }

  #refuseBusy(peer: PeerConfig): void {
    if (!this.#isOwnBusy(peer)) return;
    throw new NodeError('ERR_ROTATE_BUSY', `a rotation with ${renderName(peer.name)} is under way already`, {
      hint: 'it goes on by itself; --prune ends it where the new key works, --cancel where it was not used yet',
    });
  }

  #refuseOwnBusy(): void {
    const { peers } = this.#node.config;
    const busy = peers.find((peer) => this.#isOwnBusy(peer));
    if (busy !== undefined) this.#refuseBusy(busy);
    if (this.#nextPublicKey !== null)
      throw new NodeError('ERR_ROTATE_BUSY', 'our key pair is being changed already');
  }

  /** Both began at once: the smaller public key wins, and the other side takes what it is offered. */
  #yieldsTo(peer: PeerConfig): boolean {
    if (this.#nextPublicKey === null && !this.#offered.has(peer.name)) return false;
    return Buffer.compare(peer.publicKey, this.#node.config.interface.publicKey) < 0;
  }

  #isTaken(key: Uint8Array): boolean {
    const { config, device } = this.#node;
    const text = renderPublicKey(key);
    const isOwn = [config.interface.publicKey, this.#nextPublicKey].some(
      (own) => own !== null && renderPublicKey(own) === text,
    );
    return isOwn || device.peer(key) !== undefined || key.every((byte) => byte === 0);
  }

  async #refuseUnconfirmed({ name, publicKey }: PeerConfig): Promise<void> {
    if (await this.#isMadeWithOther(publicKey)) return;
    throw new NodeError(
      'ERR_ROTATE_UNCONFIRMED',
      `no handshake with ${renderName(name)} was made with the new key: the old one is the last that works`,
      {
        hint: 'give the peer the new key first, or take it back with --cancel',
      },
    );
  }

  async #refuseConfirmed({ name, publicKey }: PeerConfig): Promise<void> {
    if (await this.#isMadeWithOther(publicKey)) throw confirmed(name);
  }

  async #isMadeWithOther(publicKey: Uint8Array): Promise<boolean> {
    return (await this.#node.device.traffic(publicKey))?.isMadeWithOther === true;
  }

  async #change(change: Omit<PeerChange, 'allowedIps' | 'updateOnly'>): Promise<void> {
    await this.#node.device.change({ peers: [{ ...change, updateOnly: true, allowedIps: [] }] });
  }

  #secretOf(peer: PeerConfig): SecretFile {
    return new SecretFile(presharedKeyPath(this.#node.config, peer));
  }

  #ownSecret(): SecretFile {
    const config: NodeConfig = this.#node.config;
    return new SecretFile(config.interface.privateKeyFile);
  }
}

/** Looks until it is so, or the time is over. */
async function within(ms: number, isSo: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + ms;
  for (;;) {
    if (await isSo()) return true;
    if (performance.now() >= end) return false;
    await delay(POLL_MS);
  }
}

function nothingUnderWay(what: string): NodeError {
  return new NodeError('ERR_ROTATE_NONE', `no rotation of ${renderName(what)} is under way`);
}

function confirmed(name: string): NodeError {
  return new NodeError('ERR_ROTATE_BUSY', `${renderName(name)} uses the new key already`, {
    hint: '--prune ends the rotation: the old one goes',
  });
}
