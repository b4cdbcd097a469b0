// The program under test in a namespace: its files, start to `ready`, status, stop.

import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { askStatus } from '../../src/control/node-socket.ts';
import type { NodeStatus, PeerStatus } from '../../src/control/target.ts';
import { until } from './deadline.ts';
import { generateKeyPair, generatePresharedKey, type KeyPair } from './keys.ts';
import type { Exit, LineProcess } from './line-process.ts';
import type { Host } from './topology.ts';
import { endpoint } from './traffic.ts';

export const RINGFENCE = fileURLToPath(new URL('../../bin/ringfence', import.meta.url));

/** The `program` of a node whose lane is a file of test/pair/fixtures/. */
export function nodeWith(worker: string): readonly string[] {
  const program = ['../../scripts/node', '../pair/fixtures/node-with-worker.ts'];
  return [...program.map((path) => fileURLToPath(new URL(path, import.meta.url))), `./${worker}`];
}

/** A folder of one test's files, gone with `await using`. */
export class Scratch implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(name = 'ringfence-test-'): Promise<Scratch> {
    return new Scratch(await mkdtemp(join(tmpdir(), name)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

/** The file of one node, as `ringfence run` reads it. Only what tests set; src/config/ has all keys. */
export type NodeFile = {
  readonly interface: {
    readonly name: string;
    readonly private_key_file: string;
    readonly addresses: readonly string[];
    readonly listen_port?: number;
    readonly mtu?: number | 'auto';
    readonly offloads?: Readonly<Record<string, boolean>>;
  };
  readonly peers: Readonly<Record<string, PeerFile>>;
  readonly metrics?: MetricsFile;
  readonly firewall?: unknown;
};

export type MetricsFile = { readonly listen: string; readonly hosts?: readonly string[] };

export type PeerFile = {
  readonly public_key: string;
  readonly preshared_key_file?: string;
  readonly addresses: readonly string[];
  readonly routes?: readonly string[];
  readonly endpoints?: readonly string[];
  readonly keepalive?: number;
};

export type NodeProcessOptions = {
  readonly env?: Readonly<Record<string, string>>;
  readonly readyDeadlineMs?: number;
  /** What runs FILE; `ringfence run` without it. */
  readonly program?: readonly string[];
  /** A command that runs the program in its turn, such as `unshare --mount`: it stands before it. */
  readonly inside?: readonly string[];
  /** Nobody reads its output, so it is ready when it answers on its control socket. */
  readonly isMute?: boolean;
};

export class NodeProcess implements AsyncDisposable {
  readonly host: Host;
  readonly process: LineProcess;
  readonly files: NodeFiles;
  readonly #env: Readonly<Record<string, string>>;

  private constructor(
    host: Host,
    started: LineProcess,
    env: Readonly<Record<string, string>>,
    files: NodeFiles,
  ) {
    this.host = host;
    this.process = started;
    this.files = files;
    this.#env = env;
  }

  /** Writes nothing: `files` are there already. Resolves at the line `ready` on standard error. */
  static async start(host: Host, files: NodeFiles, options: NodeProcessOptions = {}): Promise<NodeProcess> {
    const env = { RINGFENCE_RUN_DIR: files.runDirectory, ...options.env };
    const { inside = [], program = [RINGFENCE, 'run'] } = options;
    const [file = '', ...args] = [...inside, ...program, files.configFile];
    const started = host.spawn(file, args, { env });
    const node = new NodeProcess(host, started, env, files);
    const deadlineMs = options.readyDeadlineMs ?? 20_000;
    try {
      if (options.isMute === true)
        await until(() => node.status(), deadlineMs, 'an answer on the control socket');
      else await started.line(/\bready\b/, deadlineMs);
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
    return node;
  }

  get interfaceName(): string {
    return this.files.file.interface.name;
  }

  /** Where its control socket is. */
  get socket(): string {
    return join(this.files.runDirectory, `${this.interfaceName}.sock`);
  }

  /** What `ringfence status --json` prints, without a process for it. */
  async status(): Promise<NodeStatus> {
    const status = await askStatus(this.files.runDirectory, this.interfaceName);
    if (status === null) throw new Error(`${this.host.name}: no node answers on ${this.interfaceName}`);
    return status;
  }

  /** The status of one peer, by its name in the file. */
  async peer(name: string): Promise<PeerStatus> {
    const status = await this.status();
    const peer = status.peers.find((one) => one.name === name);
    if (peer === undefined) throw new Error(`no peer ${name} in ${JSON.stringify(status)}`);
    return peer;
  }

  /** How many packets were dropped for `reason`. */
  async drops(reason: string): Promise<number> {
    const count = (await this.status()).drops[reason];
    if (count === undefined) throw new Error(`there is no drop reason ${reason}`);
    return Number(count);
  }

  /** Resolves when `count` more packets than `before` were dropped for `reason`. */
  async dropped(reason: string, before: number, count = 1, deadlineMs = 5_000): Promise<void> {
    const what = `${this.host.name}: ${reason} ${before + count}`;
    await until(async () => (await this.drops(reason)) >= before + count, deadlineMs, what);
  }

  /** Runs another command of the program against this node, e.g. `['reload']`. */
  async command(...args: readonly string[]): Promise<string> {
    return await this.host.exec(RINGFENCE, args, { env: this.#env });
  }

  /** SIGTERM, and the exit it leads to. */
  async stop(): Promise<Exit> {
    return await this.process.stop('SIGTERM', 10_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.process.hasExited) await this.stop();
  }
}

export type NodeFiles = {
  readonly directory: string;
  readonly configFile: string;
  /** For RINGFENCE_RUN_DIR: where this node's sockets are. */
  readonly runDirectory: string;
  readonly keys: KeyPair;
  readonly file: NodeFile;
};

/** Writes `file` and its keys below `directory`, the keys readable by their owner only. */
export async function writeNode(
  directory: string,
  keys: KeyPair,
  file: NodeFile,
  secrets: Readonly<Record<string, string>> = {},
): Promise<NodeFiles> {
  const runDirectory = join(directory, 'run');
  await mkdir(runDirectory, { recursive: true, mode: 0o700 });
  for (const [name, secret] of Object.entries({
    [file.interface.private_key_file]: keys.privateKey,
    ...secrets,
  })) {
    await writeFile(join(directory, name), `${secret}\n`, { mode: 0o600 });
    await chmod(join(directory, name), 0o600);
  }
  const configFile = join(directory, 'ringfence.yaml');
  await writeFile(configFile, stringify(file));
  return { directory, configFile, runDirectory, keys, file };
}

export type PairFiles = { readonly left: NodeFiles; readonly right: NodeFiles };

export type PairEnd = {
  readonly host: Host;
  /** Overlay addresses with prefix lengths. */
  readonly addresses: readonly string[];
};

export type PairOptions = {
  readonly left: PairEnd;
  readonly right: PairEnd;
  /** Which underlay the endpoints are of; IPv4 without it. */
  readonly underlay?: 4 | 6;
  readonly listenPort?: number;
  readonly mtu?: number | 'auto';
  /** Of both ends, as in the file. */
  readonly offloads?: Readonly<Record<string, boolean>>;
  /** Of both ends, or of each. */
  readonly keepalive?: number | { readonly left?: number; readonly right?: number };
  /** Both ends have the same one; or each end the key given for it, or none. */
  readonly presharedKey?: boolean | { readonly left?: string; readonly right?: string };
  /** Where each end is told that the other is, instead of where it is. */
  readonly endpoints?: {
    readonly left?: string | readonly string[];
    readonly right?: string | readonly string[];
  };
  /** Which ends know the other's endpoint; both without it. */
  readonly initiators?: readonly ('left' | 'right')[];
  readonly metrics?: { readonly left?: MetricsFile; readonly right?: MetricsFile };
  readonly firewall?: unknown;
};

/** The overlay addresses that tests use unless they need others. */
export const OVERLAY = {
  left: { v4: '10.9.0.1', v6: 'fd09::1', addresses: ['10.9.0.1/24', 'fd09::1/64'] },
  right: { v4: '10.9.0.2', v6: 'fd09::2', addresses: ['10.9.0.2/24', 'fd09::2/64'] },
} as const;

/**
 * Writes the files of two nodes that know each other, in two folders below `directory`. The peers are named for their
 * hosts; the interfaces are rf-HOST, for all hosts of a run share one /run/wireguard.
 */
export async function writePair(directory: string, options: PairOptions): Promise<PairFiles> {
  const keys = { left: generateKeyPair(), right: generateKeyPair() };
  const common = options.presharedKey === true ? generatePresharedKey() : undefined;
  const presharedKeys =
    typeof options.presharedKey === 'object' ? options.presharedKey : { left: common, right: common };
  const { underlay = 4, listenPort = 51820, initiators = ['left', 'right'] } = options;

  const write = async (own: 'left' | 'right', other: 'left' | 'right'): Promise<NodeFiles> => {
    const [near, far] = [options[own], options[other]];
    const presharedKey = presharedKeys[own];
    const keepalive = typeof options.keepalive === 'object' ? options.keepalive[own] : options.keepalive;
    const file: NodeFile = {
      interface: {
        name: `rf-${near.host.name}`,
        private_key_file: 'node.key',
        addresses: near.addresses,
        listen_port: listenPort,
        ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
        ...(options.offloads === undefined ? {} : { offloads: options.offloads }),
      },
      peers: {
        [far.host.name]: {
          public_key: keys[other].publicKey,
          ...(presharedKey === undefined ? {} : { preshared_key_file: 'peer.psk' }),
          addresses: far.addresses.map((address) => address.replace(/\/.*/, '')),
          ...(initiators.includes(own)
            ? {
                endpoints: [
                  options.endpoints?.[own] ??
                    endpoint(underlay === 4 ? far.host.v4 : far.host.v6, listenPort),
                ].flat(),
              }
            : {}),
          ...(keepalive === undefined ? {} : { keepalive }),
        },
      },
      ...(options.metrics?.[own] === undefined ? {} : { metrics: options.metrics[own] }),
      ...(options.firewall === undefined ? {} : { firewall: options.firewall }),
    };
    const secrets: Record<string, string> = presharedKey === undefined ? {} : { 'peer.psk': presharedKey };
    return await writeNode(join(directory, near.host.name), keys[own], file, secrets);
  };
  return { left: await write('left', 'right'), right: await write('right', 'left') };
}
