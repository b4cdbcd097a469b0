// What nft tells of the rules that traced packets meet, by `nft monitor trace`, and who dropped them. Chains of iptables-nft are
// among them; legacy iptables is not.

import { createInterface } from 'node:readline';
import { execa } from 'execa';

/** Who dropped a packet. */
export interface Dropper {
  /** `inet admin input`. */
  readonly chain: string;
  /** The rule as nft prints it, or `policy drop`. */
  readonly rule: string;
}

const LINE = /^trace id (\S+) (\S+) (\S+) (\S+) (?:packet:|rule|policy|verdict) ?(.*)$/;
const PORT = /\b(?:tcp|udp) sport (\d+)/;
const DROPPED = /^trace id (\S+) (\S+ \S+ \S+) (?:rule (.*) \(verdict drop\)|(policy drop))\s*$/;

/** Reads lines of the monitor. */
export class TraceReader {
  readonly #ownTable: string;
  /** By the monitor's number for a packet: its source port at first. */
  readonly #ports = new Map<string, number>();
  readonly #droppers = new Map<number, Dropper>();

  /** `ownTable`: whose drops end probes that arrived. */
  constructor(ownTable: string) {
    this.#ownTable = ownTable;
  }

  read(line: string): void {
    const [, id = '', , table = '', , text = ''] = LINE.exec(line) ?? [];
    if (id === '') return;
    const [, port] = PORT.exec(text) ?? [];
    if (port !== undefined && !this.#ports.has(id)) this.#ports.set(id, Number(port));
    const [, , chain = '', rule, policy] = DROPPED.exec(line) ?? [];
    const from = this.#ports.get(id);
    if (chain === '' || from === undefined || table === this.#ownTable) return;
    this.#droppers.set(from, { chain, rule: withoutCounts(rule ?? policy ?? '') });
  }

  /** Whether a packet from this port was told of. */
  hasSeen(port: number): boolean {
    return [...this.#ports.values()].includes(port);
  }

  dropperOf(port: number): Dropper | null {
    return this.#droppers.get(port) ?? null;
  }
}

function withoutCounts(rule: string): string {
  return rule.replaceAll(/\bcounter packets \d+ bytes \d+ ?/g, '').trim();
}

/** The monitor, until it is disposed of. */
export class TraceMonitor implements AsyncDisposable {
  readonly #end = new AbortController();
  readonly #running: Promise<void>;

  constructor(reader: TraceReader) {
    this.#running = this.#run(reader);
  }

  async #run(reader: TraceReader): Promise<void> {
    const child = execa('nft', ['monitor', 'trace'], {
      stdin: 'ignore',
      stderr: 'ignore',
      buffer: false,
      reject: false,
      cancelSignal: this.#end.signal,
      env: { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
    });
    for await (const line of createInterface({ input: child.stdout })) reader.read(line);
    await child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#running;
  }
}
