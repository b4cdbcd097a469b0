// What is seen on a wire: tcpdump's lines as events, and the capture as a file where the bytes matter.

import type { LineProcess } from './line-process.ts';
import type { Host } from './topology.ts';

/**
 * Why this run cannot capture, or undefined when it can: for `test.skipIf`. tcpdump insists on changing its user, which a
 * user namespace with one user forbids, whatever -Z says.
 */
export const captureObstacle: string | undefined =
  process.env['RINGFENCE_TEST_ROOTLESS'] === '1'
    ? 'tcpdump does not run in a user namespace: run as root'
    : undefined;

export type CaptureOptions = {
  /** pcap filter, e.g. `udp port 51820`. */
  readonly filter?: string;
  /** Prints every byte below its line, as `tcpdump -x` does. */
  readonly hex?: boolean;
  /** Also writes the packets to this pcap file. */
  readonly file?: string;
};

export class Capture implements AsyncDisposable {
  readonly #process: LineProcess;

  private constructor(started: LineProcess) {
    this.#process = started;
  }

  /** Resolves when the capture runs: what is sent from then on is in it. */
  static async start(host: Host, device: string, options: CaptureOptions = {}): Promise<Capture> {
    if (captureObstacle !== undefined) throw new Error(captureObstacle);
    const args = ['-i', device, '-n', '-l', '-tt', '-U', '--immediate-mode', '-Z', 'root'];
    if (options.hex === true) args.push('-x');
    if (options.file !== undefined) args.push('-w', options.file, '--print');
    if (options.filter !== undefined) args.push(options.filter);
    const started = host.spawn('tcpdump', args);
    await started.line(/listening on/, 5_000);
    return new Capture(started);
  }

  /** What tcpdump has printed about packets so far. */
  get packets(): readonly string[] {
    return this.#process.lines.filter((line) => line.stream === 'stdout').map((line) => line.text);
  }

  /** The first packet, seen already or still to come, whose line matches. */
  async packet(pattern: RegExp, deadlineMs: number): Promise<RegExpExecArray> {
    return await this.#process.line(pattern, deadlineMs);
  }

  /** Ends the capture; all packets it took are in `packets` then. Rejects when the kernel had to drop some. */
  async stop(): Promise<readonly string[]> {
    await this.#process.stop('SIGINT');
    const [, dropped] = await this.#process.line(/(\d+) packets? dropped by kernel/, 1_000);
    if (dropped !== '0') throw new Error(`the capture lost ${dropped} packets`);
    return this.packets;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#process.hasExited) await this.#process.stop('SIGINT');
  }
}
