// Knocks at ports of other hosts and serves its own: what a firewall lets through, and as whom a packet arrives.

import { fileURLToPath } from 'node:url';
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

export class Prober {
  readonly host: Host;
  readonly #process: LineProcess;
  readonly #waiting = new Map<number, (answer: Knock) => void>();
  #lastId = 0;

  private constructor(host: Host, started: LineProcess) {
    this.host = host;
    this.#process = started;
    started.onLine(({ text }) => {
      const { id, ...answer } = JSON.parse(text) as Knock & { id: number };
      this.#waiting.get(id)?.(answer as Knock);
      this.#waiting.delete(id);
    });
  }

  /** The process ends with the topology. `setpriv` runs it as another user. */
  static start(host: Host, user?: number): Prober {
    const as = user === undefined ? [] : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
    const [file = '', ...args] = [...as, NODE, PROBE, host.name];
    return new Prober(host, host.spawn(file, args, { isInteractive: true }));
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

  async #ask(request: object): Promise<Knock> {
    this.#lastId += 1;
    const id = this.#lastId;
    const answered = new Promise<Knock>((resolve) => this.#waiting.set(id, resolve));
    await this.#process.write(`${JSON.stringify({ id, ...request })}\n`);
    return await answered;
  }
}
