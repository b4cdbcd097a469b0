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

const BUFFER_KIB = 64 * 1024;

export type CaptureOptions = {
  /** pcap filter, e.g. `udp port 51820`. */
  readonly filter?: string;
  /** Prints every byte below its line, as `tcpdump -x` does. */
  readonly hex?: boolean;
  /** Also writes the packets to this pcap file. */
  readonly file?: string;
  /** Of each packet, not more: more packets then fit the buffer between the kernel and tcpdump. */
  readonly snapBytes?: number;
};

export class Capture implements AsyncDisposable {
  readonly #process: LineProcess;

  private constructor(started: LineProcess) {
    this.#process = started;
  }

  /** Resolves when the capture runs: what is sent from then on is in it. */
  static async start(host: Host, device: string, options: CaptureOptions = {}): Promise<Capture> {
    if (captureObstacle !== undefined) throw new Error(captureObstacle);
    // In immediate mode the kernel sets a whole snapshot aside for each packet: of the default buffer, that is eight.
    const buffer = [
      '-B',
      `${BUFFER_KIB}`,
      ...(options.snapBytes === undefined ? [] : ['-s', `${options.snapBytes}`]),
    ];
    const args = ['-i', device, '-n', '-l', '-tt', '-U', '--immediate-mode', '-Z', 'root', ...buffer];
    if (options.hex === true) args.push('-x');
    if (options.file !== undefined) args.push('-w', options.file, '--print');
    if (options.filter !== undefined) args.push(options.filter);
    const started = host.spawn('tcpdump', args);
    await started.line(/listening on/, 5_000);
    return new Capture(started);
  }

  /** What tcpdump has printed about packets so far. */
  get packets(): readonly string[] {
    // At its end tcpdump prints an empty line.
    return this.#process.lines
      .filter((line) => line.stream === 'stdout' && line.text !== '')
      .map((line) => line.text);
  }

  /** The UDP payloads that are printed whole, in the order of the wire. Needs `hex`, and a filter that takes UDP only. */
  get payloads(): readonly Uint8Array[] {
    const packets: string[] = [];
    for (const line of this.packets) {
      const bytes = /^\s+0x[0-9a-f]+:\s+([0-9a-f ]+)$/.exec(line)?.[1];
      if (bytes === undefined) packets.push('');
      else packets.push(`${packets.pop() ?? ''}${bytes.replaceAll(' ', '')}`);
    }
    return packets
      .map((hex) => udpPayload(Buffer.from(hex, 'hex')))
      .filter((payload) => payload !== undefined);
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

/** What an IP packet carries over UDP; undefined while bytes of it are missing. */
function udpPayload(packet: Buffer): Uint8Array | undefined {
  if (packet.length < 28) return undefined;
  const header = packet.readUInt8(0) >> 4 === 4 ? (packet.readUInt8(0) & 15) * 4 : 40;
  const end = header + packet.readUInt16BE(header + 4);
  return packet.length < end ? undefined : packet.subarray(header + 8, end);
}
