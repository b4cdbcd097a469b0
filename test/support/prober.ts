// Knocks at ports of other hosts and serves its own: what a firewall lets through, and as whom a packet arrives.

import { fileURLToPath } from 'node:url';
import { until } from './deadline.ts';
import type { LineProcess } from './line-process.ts';
import type { Host } from './topology.ts';
import { NODE } from './traffic.ts';

const PROBE = fileURLToPath(new URL('./probe.ts', import.meta.url));
/** Something that should pass may take long on a busy machine; what should not is given up early. */
const PASS_MS = 10_000;
const SILENCE_MS = 400;

/** `by`: who served it; `as`: the source address that was seen; `at`: the port it came to; or why there was no answer. */
export type Knock =
  | { readonly by: string; readonly as: string; readonly at: number }
  | { readonly error: string };

type Told = {
  readonly by?: string;
  readonly text?: string;
  readonly error?: string;
  readonly sent?: true | number;
  readonly received?: number;
  readonly passed?: number;
  readonly refused?: number;
};

export type HeldFlow = { echo(text: string): Promise<string> };

/** What has happened so far. */
export type DatagramStream = {
  readonly sent: number;
  readonly refused: number;
  readonly answers: readonly string[];
};

/** What to put before a command line so that another user runs it. */
export function asUser(user: number): readonly string[] {
  return ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
}

export class Prober {
  readonly host: Host;
  readonly #process: LineProcess;
  readonly #waiting = new Map<number, (answer: Knock) => void>();
  /** What goes on telling, until it ends. */
  readonly #open = new Map<number, (answer: Told) => void>();
  #lastId = 0;

  private constructor(host: Host, started: LineProcess) {
    this.host = host;
    this.#process = started;
    started.onLine(({ text }) => {
      const { id, ...answer } = JSON.parse(text) as Knock & { id: number };
      this.#open.get(id)?.(answer as Told);
      this.#waiting.get(id)?.(answer as Knock);
      this.#waiting.delete(id);
    });
  }

  /** The process ends with the topology. `first` comes before all of its command line. */
  static start(host: Host, user?: number, first: readonly string[] = []): Prober {
    const as = user === undefined ? [] : asUser(user);
    const [file = '', ...args] = [...first, ...as, NODE, PROBE, host.name];
    return new Prober(host, host.spawn(file, args, { isInteractive: true }));
  }

  async stop(): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  async listen(protocol: 'tcp' | 'udp', address: string, ...ports: readonly number[]): Promise<void> {
    for (const port of ports) {
      const result = await this.#ask({ op: 'listen', protocol, address, port });
      if ('error' in result) throw new Error(`${this.host.name}: ${address}:${port}: ${result.error}`);
    }
  }

  /** Something that is to be answered. */
  async knock(protocol: 'tcp' | 'udp', address: string, port: number, source?: string): Promise<Knock> {
    const from = source === undefined ? {} : { source };
    return await this.#ask({ op: 'knock', protocol, address, port, waitMs: PASS_MS, ...from });
  }

  /** Something that is to meet silence, or a refusal, which comes at once. */
  async knockInVain(protocol: 'tcp' | 'udp', address: string, port: number, source?: string): Promise<Knock> {
    const from = source === undefined ? {} : { source };
    return await this.#ask({ op: 'knock', protocol, address, port, waitMs: SILENCE_MS, ...from });
  }

  /** A TCP flow to a port of another prober, which gives back what it is sent. */
  hold(address: string, port: number): HeldFlow {
    const lines: string[] = [];
    const id = this.#begin({ op: 'hold', protocol: 'tcp', address, port }, ({ text, error }) => {
      lines.push(text ?? `error: ${error}`);
    });
    return {
      echo: async (text) => {
        const from = lines.length;
        await this.#process.write(`${JSON.stringify({ to: id, text })}\n`);
        // The first line says who serves it.
        return await until(
          () => lines.slice(from).find((line) => !line.startsWith('{')) ?? null,
          PASS_MS,
          `an echo of ${text}`,
        );
      },
    };
  }

  /** How many datagrams have come to a port since, and how often that was told. */
  count(address: string, port: number): { readonly received: number; readonly tellings: number } {
    const counted = { received: 0, tellings: 0 };
    this.#begin({ op: 'count', protocol: 'udp', address, port }, ({ received = 0 }) => {
      counted.received = received;
      counted.tellings += 1;
    });
    return counted;
  }

  /** Datagrams to a port as fast as they go, until the process ends; how many there were. */
  flood(address: string, port: number): { readonly sent: number } {
    const flood = { sent: 0 };
    this.#begin({ op: 'flood', protocol: 'udp', address, port }, ({ sent }) => {
      if (typeof sent === 'number') flood.sent = sent;
    });
    return flood;
  }

  /** TCP connections to a port, one after the other, until the process ends; how many got through and how many did not. */
  hammer(address: string, port: number): { readonly passed: number; readonly refused: number } {
    const counted = { passed: 0, refused: 0 };
    this.#begin({ op: 'hammer', protocol: 'tcp', address, port }, ({ passed, refused }) => {
      if (passed !== undefined && refused !== undefined) Object.assign(counted, { passed, refused });
    });
    return counted;
  }

  /** UDP datagrams from one socket, until the process ends. */
  stream(address: string, port: number): DatagramStream {
    const stream = { sent: 0, refused: 0, answers: [] as string[] };
    this.#begin({ op: 'stream', protocol: 'udp', address, port }, ({ by, error, sent }) => {
      if (by !== undefined) stream.answers.push(by);
      if (error !== undefined) stream.refused += 1;
      if (sent === true) stream.sent += 1;
    });
    return stream;
  }

  #begin(request: object, listener: (told: Told) => void): number {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#open.set(id, listener);
    void this.#process.write(`${JSON.stringify({ id, ...request })}\n`);
    return id;
  }

  async #ask(request: object): Promise<Knock> {
    this.#lastId += 1;
    const id = this.#lastId;
    const answered = new Promise<Knock>((resolve) => this.#waiting.set(id, resolve));
    await this.#process.write(`${JSON.stringify({ id, ...request })}\n`);
    return await answered;
  }
}
