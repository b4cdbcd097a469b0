// A peer that tests can make misbehave: Noise from the paper (noise.ts) behind a UDP socket of its own in a namespace. It
// does nothing by itself: no timer, no retry, no keepalive, no answer, unless the test says so.

import { randomInt } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { until, within } from '../deadline.ts';
import type { LineProcess } from '../line-process.ts';
import type { Host } from '../topology.ts';
import {
  Initiation,
  type InitiationChoices,
  type RawKeyPair,
  ReceivedInitiation,
  type ResponseChoices,
  type Session,
  timestamp,
} from './noise.ts';
import { type Echo, echoReply, echoRequest } from './packets.ts';

const NODE = fileURLToPath(new URL('../../../scripts/node', import.meta.url));
const DATAGRAMS = fileURLToPath(new URL('../datagrams.ts', import.meta.url));
const DEADLINE_MS = 10_000;
const RETRY_MS = 1_000;
/** Initiations of one peer that follow each other faster are not answered: 50 a second, and some for a busy machine. */
const LEAST_INTERVAL_MS = 30;
const ATTEMPTS = 10;

/** Where the attacked listens, and its static key. */
export type Target = { readonly address: string; readonly port: number; readonly publicKey: Uint8Array };

/** A UDP socket in a namespace, and all that was ever sent to it. */
export class Socket implements AsyncDisposable {
  readonly port: number;
  readonly #process: LineProcess;

  private constructor(process: LineProcess, port: number) {
    this.#process = process;
    this.port = port;
  }

  static async open(host: Host, address: string, port = 0): Promise<Socket> {
    const process = host.spawn(NODE, [DATAGRAMS, address, `${port}`], { isInteractive: true });
    const [, bound] = await process.line(/"port":(\d+)/, DEADLINE_MS);
    return new Socket(process, Number(bound));
  }

  async send(to: { address: string; port: number }, ...messages: readonly Uint8Array[]): Promise<void> {
    for (const message of messages) {
      const data = Buffer.from(message).toString('base64');
      await this.#process.write(`${JSON.stringify({ to: to.address, port: to.port, data })}\n`);
    }
  }

  /** All datagrams received so far, in their order. */
  get received(): readonly Uint8Array[] {
    return this.#process.lines.flatMap(({ text }) => {
      const data = /"data":"([^"]*)"/.exec(text)?.[1];
      return data === undefined ? [] : [Buffer.from(data, 'base64')];
    });
  }

  /** Resolves when another datagram has come. */
  async another(deadlineMs: number): Promise<void> {
    await this.#process.line(/"from"/, deadlineMs, this.#process.lines.length);
  }

  async close(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}

export type AttackerOptions = {
  readonly keys: RawKeyPair;
  readonly target: Target;
  readonly presharedKey?: Uint8Array | undefined;
  /** To which the target sends by itself; any without it. */
  readonly listenPort?: number;
  /** Overlay addresses: its own, and the target's. */
  readonly inside: { readonly own: Inside; readonly target: Inside };
};

type Inside = { readonly v4: string; readonly v6: string };

export class Attacker implements AsyncDisposable {
  readonly host: Host;
  readonly options: AttackerOptions;
  readonly socket: Socket;
  /** By our index. The target may answer on an older one than was asked on. */
  readonly #sessions = new Map<number, Session>();
  /** How many datagrams `take` has passed over for good. */
  #taken = 0;
  #sequence = 0;
  /** Never twice the same moment, however fast handshakes follow each other: the target insists on newer ones. */
  #lastTimestampMs = 0;
  #lastInitiatedMs = -LEAST_INTERVAL_MS;

  private constructor(host: Host, options: AttackerOptions, socket: Socket) {
    this.host = host;
    this.options = options;
    this.socket = socket;
  }

  static async start(host: Host, options: AttackerOptions): Promise<Attacker> {
    const address = isIPv6(options.target.address) ? '::' : '0.0.0.0';
    return new Attacker(host, options, await Socket.open(host, address, options.listenPort));
  }

  async send(...messages: readonly Uint8Array[]): Promise<void> {
    await this.socket.send(this.options.target, ...messages);
  }

  /** Forgets what has come so far: `take` sees only what comes from now on. */
  skip(): void {
    this.#taken = this.socket.received.length;
  }

  /** What has come since the last `take` or `skip`. */
  get pending(): readonly Uint8Array[] {
    return this.socket.received.slice(this.#taken);
  }

  /** The first datagram, come already or still to come, of which `pick` makes something; those before it are passed over. */
  async take<T>(
    pick: (datagram: Uint8Array) => T | undefined,
    what: string,
    deadlineMs = DEADLINE_MS,
  ): Promise<T> {
    const search = async (): Promise<T> => {
      for (;;) {
        const arrival = this.socket.another(deadlineMs);
        arrival.catch(() => undefined);
        for (const datagram of this.pending) {
          this.#taken += 1;
          const value = pick(datagram);
          if (value !== undefined) return value;
        }
        await arrival;
      }
    };
    return await within(search(), deadlineMs, what);
  }

  /** A fresh index. */
  index(): number {
    return randomInt(1, 2 ** 32 - 1);
  }

  /** A timestamp newer than all before, and no coarser than the grid of the other implementations (2^24 ns). */
  timestamp(): Uint8Array {
    this.#lastTimestampMs = Math.max(Date.now(), this.#lastTimestampMs + 17);
    return timestamp(this.#lastTimestampMs);
  }

  /** An initiation that nothing is wrong with but what `choices` say. */
  initiation(choices: Partial<InitiationChoices> = {}): Initiation {
    const { keys, target, presharedKey } = this.options;
    return new Initiation({
      own: keys,
      peerKey: target.publicKey,
      sender: this.index(),
      timestamp: choices.timestamp ?? this.timestamp(),
      presharedKey,
      ...choices,
    });
  }

  /**
   * A handshake as its initiator. The session is not confirmed: nothing has been sent on it. Begins anew, as a peer would,
   * when there is no answer: a target takes 50 initiations of a peer per second, and which of two it sees together is its own.
   */
  async initiate(choices: Partial<InitiationChoices> = {}): Promise<Session> {
    for (let attempt = 1; ; attempt++) {
      await delay(Math.max(0, this.#lastInitiatedMs + LEAST_INTERVAL_MS - performance.now()));
      this.#lastInitiatedMs = performance.now();
      const initiation = this.initiation(choices);
      await this.send(initiation.message);
      try {
        return this.finish(initiation, await this.response(initiation, RETRY_MS));
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
      }
    }
  }

  finish(initiation: Initiation, response: Uint8Array): Session {
    const session = initiation.finish(response);
    this.#sessions.set(session.local, session);
    return session;
  }

  /** The response to an initiation of ours, unopened. */
  async response(initiation: Initiation, deadlineMs = DEADLINE_MS): Promise<Uint8Array> {
    return await this.take(
      (datagram) => (responds(datagram, initiation) ? datagram : undefined),
      'a response',
      deadlineMs,
    );
  }

  /** The target's next initiation. */
  async initiated(deadlineMs = DEADLINE_MS): Promise<ReceivedInitiation> {
    const { keys } = this.options;
    return await this.take(
      (datagram) => (datagram[0] === 1 ? new ReceivedInitiation(datagram, keys) : undefined),
      'an initiation',
      deadlineMs,
    );
  }

  /** A handshake as its responder, once the target begins one, with its confirmation. */
  async respond(choices: Partial<ResponseChoices> = {}, deadlineMs = DEADLINE_MS): Promise<Session> {
    const { message, session } = this.answer(await this.initiated(deadlineMs), choices);
    await this.send(message);
    await this.confirmed(session);
    return session;
  }

  /**
   * Resolves when the target has sent on a session that it began. Before, it need not know it: data that follows a
   * response closely may be looked at first, and a responder sends none until then. WireGuard paper §5.4.5.
   */
  async confirmed(session: Session): Promise<void> {
    await this.take((datagram) => session.open(datagram), 'the confirmation of a session');
  }

  answer(initiation: ReceivedInitiation, choices: Partial<ResponseChoices> = {}) {
    const { keys, presharedKey } = this.options;
    const answer = initiation.answer({ own: keys, sender: this.index(), presharedKey, ...choices });
    this.#sessions.set(answer.session.local, answer.session);
    return answer;
  }

  /** The padded packet of a transport message on any of our sessions. */
  open(datagram: Uint8Array): Uint8Array | undefined {
    if (datagram[0] !== 4 || datagram.length < 32) return undefined;
    return this.#sessions.get(Buffer.from(datagram).readUInt32LE(4))?.open(datagram);
  }

  /** An echo request to the target's overlay address that no other has been like. */
  echo(
    family: 'v4' | 'v6' = 'v4',
    dataBytes = 16,
  ): { readonly packet: Buffer<ArrayBuffer>; readonly echo: Echo } {
    const { own, target } = this.options.inside;
    this.#sequence += 1;
    const echo = { id: this.#sequence >> 16, sequence: this.#sequence & 0xffff };
    return { packet: echoRequest(own[family], target[family], echo, dataBytes), echo };
  }

  /** Sends an echo request through the tunnel and resolves when its reply has come: all before it have been answered too. */
  async ping(session: Session, family: 'v4' | 'v6' = 'v4', deadlineMs = DEADLINE_MS): Promise<void> {
    const { packet, echo } = this.echo(family);
    await this.send(session.seal(packet));
    await this.take(
      (datagram) => (this.replies([datagram]).some((one) => isSame(one, echo)) ? true : undefined),
      `the reply to a ping over ${family}`,
      deadlineMs,
    );
  }

  /** The echo replies among `datagrams`. */
  replies(datagrams: readonly Uint8Array[]): Echo[] {
    return datagrams.flatMap((datagram) => {
      const packet = this.open(datagram);
      return (packet === undefined ? undefined : echoReply(packet)) ?? [];
    });
  }

  /**
   * Which of some echo requests were delivered, judged by what has come since the last `skip`. A ping on the same session
   * goes last, for packets keep their order: when its reply is there, no other is still on its way.
   */
  async delivered(session: Session, echoes: readonly Echo[]): Promise<Echo[]> {
    const from = this.#taken;
    await this.ping(session);
    const replies = this.replies(this.socket.received.slice(from));
    return echoes.filter((echo) => replies.some((reply) => isSame(reply, echo)));
  }

  /** Asks `condition` of all that has come since the last `take` or `skip`, until it holds. */
  async until(
    condition: (datagrams: readonly Uint8Array[]) => boolean,
    deadlineMs: number,
    what: string,
  ): Promise<void> {
    await until(() => condition(this.pending), deadlineMs, what);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.socket[Symbol.asyncDispose]();
  }
}

/** Whether `datagram` is a response with the index of `initiation`. */
function responds(datagram: Uint8Array, initiation: Initiation): boolean {
  return datagram[0] === 2 && Buffer.from(datagram).readUInt32LE(8) === initiation.sender;
}

function isSame(a: Echo, b: Echo): boolean {
  return a.id === b.id && a.sequence === b.sequence;
}
