// Questions to the nodes of peers and their answers, over messages that may be lost: asked again until one comes. What
// peers ask goes to whoever answers for this node.

import { randomInt } from 'node:crypto';
import { wipe } from '../config/key.ts';
import { type Answer, encodeTalk, isAnswer, parseTalk, type Question } from '../control/talk.ts';
import { type ModelPeer, peerKey } from '../control/uapi/model.ts';
import type { Device } from './device.ts';

/** Between two times that a question is asked: doubled up to the last. */
const FIRST_AGAIN_MS = 200;
const LAST_AGAIN_MS = 1_000;

interface Waiting {
  readonly peer: string;
  answer(answer: Answer): void;
}

export class Talks {
  readonly #device: () => Device | undefined;
  readonly #answer: (peer: ModelPeer, question: Question) => Promise<Answer | null>;
  readonly #waiting = new Map<number, Waiting>();
  #stopped = false;

  /** @param answer null: the question is not answered at all */
  constructor(
    device: () => Device | undefined,
    answer: (peer: ModelPeer, question: Question) => Promise<Answer | null>,
  ) {
    this.#device = device;
    this.#answer = answer;
  }

  /** Asks the node of a peer; null when none answers in time, or it is no node of this kind. */
  async ask(publicKey: Uint8Array, question: Question, patienceMs: number): Promise<Answer | null> {
    const number = randomInt(2 ** 32);
    const { promise, resolve } = Promise.withResolvers<Answer | null>();
    this.#waiting.set(number, { peer: peerKey(publicKey), answer: resolve });
    const end = setTimeout(() => resolve(null), patienceMs);
    let again: NodeJS.Timeout | undefined;
    const say = (againMs: number): void => {
      if (this.#stopped) {
        resolve(null);
        return;
      }
      const message = encodeTalk({ number, said: question });
      this.#device()?.say(publicKey, message);
      wipe(message);
      again = setTimeout(() => say(Math.min(againMs * 2, LAST_AGAIN_MS)), againMs);
    };
    say(FIRST_AGAIN_MS);
    try {
      return await promise;
    } finally {
      clearTimeout(end);
      clearTimeout(again);
      this.#waiting.delete(number);
    }
  }

  /** Takes what the node of a peer said. */
  async hear(peer: ModelPeer, message: Uint8Array): Promise<void> {
    const talk = parseTalk(message);
    if (talk === null || this.#stopped) return;
    if (isAnswer(talk.said)) {
      const waiting = this.#waiting.get(talk.number);
      // Only who was asked answers.
      if (waiting?.peer === peerKey(peer.publicKey)) waiting.answer(talk.said);
      return;
    }
    const answer = await this.#answer(peer, talk.said);
    if (answer !== null)
      this.#device()?.say(peer.publicKey, encodeTalk({ number: talk.number, said: answer }));
  }

  /** Whoever waits for an answer gets none. */
  stop(): void {
    this.#stopped = true;
  }
}
