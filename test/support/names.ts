// A DNS server of a test's own, and hosts that ask it.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LineProcess } from './line-process.ts';
import type { Host } from './topology.ts';
import { NODE } from './traffic.ts';

const SERVER = fileURLToPath(new URL('./dns-server.ts', import.meta.url));

/** What a name resolves to. */
export type NameRecords = {
  readonly A?: readonly string[] | 'SERVFAIL';
  readonly AAAA?: readonly string[] | 'SERVFAIL';
  readonly ttl: number;
};

export class NameServer implements AsyncDisposable {
  readonly process: LineProcess;
  /** For the `inside` of a node: what runs in it asks this server. */
  readonly inside: readonly string[];
  readonly #file: string;

  private constructor(started: LineProcess, file: string, resolv: string) {
    this.process = started;
    this.#file = file;
    this.inside = [
      'unshare',
      '--mount',
      'sh',
      '-c',
      `mount --bind ${resolv} /etc/resolv.conf && exec "$@"`,
      'sh',
    ];
  }

  /** Answers at `address` of `host`. Its files are made in `directory`. */
  static async start(
    host: Host,
    address: string,
    directory: string,
    records: Readonly<Record<string, NameRecords>>,
  ): Promise<NameServer> {
    const [file, resolv] = [join(directory, 'names.json'), join(directory, 'resolv.conf')];
    await writeFile(file, JSON.stringify(records));
    await writeFile(resolv, `nameserver ${address}\n`);
    const started = host.spawn(NODE, [SERVER, address, file]);
    await started.line(/"listening":true/, 10_000);
    return new NameServer(started, file, resolv);
  }

  async change(records: Readonly<Record<string, NameRecords>>): Promise<void> {
    await writeFile(this.#file, JSON.stringify(records));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
  }
}
