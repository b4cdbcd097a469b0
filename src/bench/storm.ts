// Handshakes per second: many initiators, each with a key and an address of its own, knock at one responder. A fixed number of
// handshakes is open at any time (closed loop), below what puts wireguard-go under load; who asks for a cookie gets it at once.
//
// The initiations are made before the clock starts and every response is proven after it stopped, so the responder has the machine
// to itself but for sending and receiving (docs/benchmark.md).

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import {
  COOKIE_REPLY_BYTES,
  Identity,
  Initiation,
  MESSAGE_TYPE,
  RESPONSE_BYTES,
  Responder,
} from './initiator.ts';

/** How many handshakes are open at a time. */
const WINDOW = 64;
/** Handshakes made ready per initiator. */
const PASSES = 10;
/** Given up, and another one begun. */
const LOST_MS = 1_000;

export interface StormOptions {
  readonly responder: { readonly address: string; readonly port: number; readonly publicKey: string };
  /** Private keys in base64, and the address each of them comes from. */
  readonly initiators: readonly { readonly privateKey: string; readonly address: string }[];
  readonly seconds: number;
}

export interface StormReport {
  /** Answered, each answer proven to be the responder's. */
  readonly answered: number;
  /** From the first initiation to the last answer. */
  readonly seconds: number;
  readonly cookies: number;
  readonly lost: number;
}

interface Attempt {
  readonly initiation: Initiation;
  readonly socket: Socket;
  response: Buffer | undefined;
  lostTimer: NodeJS.Timeout | undefined;
}

/** Runs until `seconds` are over or nothing that was made ready is left. */
export async function storm(options: StormOptions): Promise<StormReport> {
  const attempts = await prepare(options);
  try {
    return await new Storm(options, attempts).run();
  } finally {
    for (const socket of new Set(attempts.map((attempt) => attempt.socket))) socket.close();
  }
}

/** Every initiator's first handshake, then every one's second: as far apart as can be. The index of each is its number. */
async function prepare({ responder, initiators }: StormOptions): Promise<Attempt[]> {
  const target = new Responder(responder.publicKey);
  const sockets: Socket[] = [];
  for (const { address } of initiators) {
    const socket = createSocket('udp4');
    socket.bind(0, address);
    await once(socket, 'listening');
    sockets.push(socket);
  }
  const identities = initiators.map(({ privateKey }) => new Identity(privateKey, target));
  const nowSeconds = Math.floor(Date.now() / 1000);
  return Array.from({ length: PASSES }, (_, pass) => pass).flatMap((pass) =>
    identities.flatMap((identity, index) => {
      const socket = sockets[index];
      if (socket === undefined) return [];
      const initiation = new Initiation(identity, pass * identities.length + index, nowSeconds + pass);
      return [{ initiation, socket, response: undefined, lostTimer: undefined }];
    }),
  );
}

class Storm {
  readonly #options: StormOptions;
  readonly #attempts: readonly Attempt[];
  readonly #responder: Responder;
  #next = 0;
  #open = 0;
  #cookies = 0;
  #lost = 0;
  #lastMs = 0;
  #endMs = 0;
  #finish: () => void = () => undefined;

  constructor(options: StormOptions, attempts: readonly Attempt[]) {
    this.#options = options;
    this.#attempts = attempts;
    this.#responder = new Responder(options.responder.publicKey);
  }

  async run(): Promise<StormReport> {
    for (const socket of new Set(this.#attempts.map((attempt) => attempt.socket))) {
      socket.on('message', (message) => this.#receive(message));
    }
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    const beganMs = performance.now();
    this.#endMs = beganMs + this.#options.seconds * 1000;
    for (let index = 0; index < WINDOW; index += 1) this.#begin();
    await finished;
    const answered = this.#attempts.filter((attempt) => attempt.response !== undefined);
    for (const { initiation, response } of answered) if (response !== undefined) initiation.verify(response);
    const seconds = (this.#lastMs - beganMs) / 1000;
    return { answered: answered.length, seconds, cookies: this.#cookies, lost: this.#lost };
  }

  /** Begins the next handshake, or ends the storm when there is none and the last is through. */
  #begin(): void {
    const attempt = performance.now() < this.#endMs ? this.#attempts[this.#next] : undefined;
    if (attempt === undefined) {
      if (this.#open === 0) this.#finish();
      return;
    }
    this.#next += 1;
    this.#open += 1;
    attempt.lostTimer = setTimeout(() => {
      this.#lost += 1;
      this.#end(attempt);
    }, LOST_MS);
    this.#send(attempt);
  }

  #send({ initiation, socket }: Attempt): void {
    const { address, port } = this.#options.responder;
    socket.send(initiation.message, port, address);
  }

  #end(attempt: Attempt): void {
    clearTimeout(attempt.lostTimer);
    attempt.lostTimer = undefined;
    this.#open -= 1;
    this.#begin();
  }

  #receive(message: Buffer): void {
    const type = message[0];
    const isResponse = type === MESSAGE_TYPE.response && message.length === RESPONSE_BYTES;
    const isCookie = type === MESSAGE_TYPE.cookieReply && message.length === COOKIE_REPLY_BYTES;
    if (!isResponse && !isCookie) return;
    const attempt = this.#attempts[message.readUInt32LE(isResponse ? 8 : 4)];
    if (attempt?.lostTimer === undefined) return; // answered, or given up
    if (isCookie) {
      this.#cookies += 1;
      attempt.initiation.setCookie(this.#responder.openCookieReply(message, attempt.initiation.mac1));
      this.#send(attempt);
      return;
    }
    attempt.response = message;
    this.#lastMs = performance.now();
    this.#end(attempt);
  }
}
