// The steps of a rotation with one peer, from both sides: what is asked of its node, and what ours answers. Each question may be
// asked again, and both sides may ask.
//
//   offer   the other side accepts the new key beside the old one
//   use     both begin handshakes with it, and one is made
//   settle  the other side, then this one, puts it in place of the old one
//   cancel  it goes, where no handshake was made with it

import { setTimeout as delay } from 'node:timers/promises';
import type { PeerConfig } from '../config/schema.ts';
import type { Answer, Question, Refusal, RotatedKey, RotationStep } from '../control/talk.ts';
import type { HostNode } from './host-node.ts';
import { changePeer, type OfferedKey } from './rotated-keys.ts';
import type { Talks } from './talks.ts';

export type RotateQuestion = Question & { readonly type: 'rotate' };

/** How far a rotation came with one peer. */
export interface RotationReport {
  readonly peer: string;
  /** `waiting`: both keys are accepted, and it goes on by itself. */
  readonly state: 'done' | 'waiting';
  /** Why it waits. */
  readonly reason?: 'silent' | 'busy' | 'unconfirmed' | 'refused';
}

/** An answer takes two ways through the tunnel, and perhaps a handshake before. */
const ANSWER_MS = 4_000;
/** A handshake that both sides begin with the right key is made within this, its repetition counted in. */
export const HANDSHAKE_MS = 12_000;
const POLL_MS = 25;

export class RotationSteps {
  readonly #node: HostNode;
  readonly #talks: Talks;

  constructor(node: HostNode, talks: Talks) {
    this.#node = node;
    this.#talks = talks;
  }

  /** Offer, use, handshake, settle: as far as the other side goes along. `settle` is ours, and comes last. */
  async drive(
    { name, publicKey }: PeerConfig,
    what: RotatedKey,
    key: Uint8Array,
    settle: () => Promise<void>,
  ): Promise<RotationReport> {
    const done: RotationReport = { peer: name, state: 'done' };
    const waiting = (reason: NonNullable<RotationReport['reason']>): RotationReport => ({
      peer: name,
      state: 'waiting',
      reason,
    });
    const offered = await this.ask(publicKey, what, 'offer', key);
    if (offered === null) {
      // No node of this kind, or not there now: its operator changes it by hand, and then it is seen here.
      if (!(await this.isConfirmed(publicKey))) return waiting('silent');
      await settle();
      return done;
    }
    if (offered.type === 'refused') return waiting(offered.reason === 'busy' ? 'busy' : 'refused');
    const used = await this.ask(publicKey, what, 'use', key);
    if (used?.type !== 'done') return waiting('unconfirmed');
    await changePeer(this.#node, { publicKey, prefersOther: true, renews: true });
    if (!(await within(HANDSHAKE_MS, () => this.isConfirmed(publicKey)))) return waiting('unconfirmed');
    const settled = await this.#askUntilDone(publicKey, what, key);
    if (settled?.type !== 'done') return waiting('unconfirmed');
    await settle();
    return done;
  }

  /** The other side has to see the handshake confirmed, too. */
  async #askUntilDone(publicKey: Uint8Array, what: RotatedKey, key: Uint8Array): Promise<Answer | null> {
    let answer: Answer | null = null;
    await within(ANSWER_MS, async () => {
      answer = await this.ask(publicKey, what, 'settle', key);
      return answer?.type !== 'refused' || answer.reason !== 'unconfirmed';
    });
    return answer;
  }

  /** null: nobody answers, or it is no node of this kind. */
  ask(publicKey: Uint8Array, what: RotatedKey, step: RotationStep, key: Uint8Array): Promise<Answer | null> {
    return this.#talks.ask(publicKey, { type: 'rotate', what, step, key }, ANSWER_MS);
  }

  /**
   * Takes the step that a peer asks for; gives the reason where it does not.
   * @param keys what is asked about
   * @param mayOffer whether a key that was not offered before may be offered now
   */
  async answer(
    peer: PeerConfig,
    { step, key }: RotateQuestion,
    keys: OfferedKey,
    mayOffer: () => boolean,
  ): Promise<Refusal | null> {
    if (keys.isInForce(peer, key)) return null; // settled before
    const isOffered = await keys.isOffered(peer, key);
    if (step === 'offer') {
      if (isOffered) return null;
      const obstacle = keys.obstacle(key) ?? (mayOffer() ? null : 'busy');
      if (obstacle === null) await keys.accept(peer, key);
      return obstacle;
    }
    if (!isOffered) return 'unknown';
    const { publicKey } = peer;
    switch (step) {
      case 'use':
        await changePeer(this.#node, { publicKey, prefersOther: true });
        return null;
      case 'settle':
        if (!(await this.isConfirmed(publicKey))) return 'unconfirmed';
        await keys.settle(peer, key);
        return null;
      case 'cancel':
        if (await this.isConfirmed(publicKey)) return 'busy';
        await keys.drop(peer);
        return null;
      default:
        return step satisfies never;
    }
  }

  /** Whether the last handshake with a peer was made with the new key. */
  async isConfirmed(publicKey: Uint8Array): Promise<boolean> {
    return (await this.#node.device.traffic(publicKey))?.isMadeWithOther === true;
  }
}

/** Looks until it is so, or the time is over. */
export async function within(ms: number, isSo: () => Promise<boolean>): Promise<boolean> {
  const end = performance.now() + ms;
  for (;;) {
    if (await isSo()) return true;
    if (performance.now() >= end) return false;
    await delay(POLL_MS);
  }
}
