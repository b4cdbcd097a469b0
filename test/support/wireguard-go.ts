// wireguard-go, or another userspace implementation with its command line and socket, in a namespace: what tests and
// benchmarks speak to. Configured by `wg`, with keys by standard input and never as arguments.
//
// All hosts of a run share one /run, so each interface needs a name of its own: its socket is /run/wireguard/NAME.sock.

import { existsSync } from 'node:fs';
import { until } from './deadline.ts';
import type { LineProcess } from './line-process.ts';
import type { Host } from './topology.ts';

export type WireguardPeer = {
  readonly publicKey: string;
  readonly presharedKey?: string;
  readonly endpoint?: string;
  readonly allowedIps: readonly string[];
  readonly keepaliveSeconds?: number;
};

export type WireguardOptions = {
  readonly device: string;
  readonly privateKey: string;
  readonly listenPort?: number;
  /** With their prefix lengths. */
  readonly addresses: readonly string[];
  readonly mtu?: number;
  readonly peers: readonly WireguardPeer[];
  /** What is routed to the interface; the allowed IPs of all peers without it. */
  readonly routes?: readonly string[];
  /** The program; `wireguard-go` of the system without it. */
  readonly binary?: string;
};

/** One line of `wg show DEVICE dump`. */
export type WireguardPeerStatus = {
  readonly publicKey: string;
  readonly endpoint: string | undefined;
  readonly allowedIps: readonly string[];
  /** Seconds since 1970; 0 without a handshake. */
  readonly latestHandshakeSeconds: number;
  readonly rxBytes: number;
  readonly txBytes: number;
};

/** wireguard-go: a log of what it does; boringtun: no change of user, which would cost it the right to set up its device. */
const ENVIRONMENT = {
  LOG_LEVEL: 'verbose',
  WG_PROCESS_FOREGROUND: '1',
  WG_LOG_LEVEL: 'info',
  WG_SUDO: 'true',
};

/** boringtun's connected sockets keep the source address they were made with, and so end when the host gets another. */
function extraArguments(binary: string): string[] {
  return binary.endsWith('boringtun-cli') ? ['--disable-connected-udp'] : [];
}

export class WireguardGo implements AsyncDisposable {
  readonly host: Host;
  readonly device: string;
  readonly process: LineProcess;

  private constructor(host: Host, device: string, started: LineProcess) {
    this.host = host;
    this.device = device;
    this.process = started;
  }

  /** Resolves when the interface is configured and up. */
  static async start(host: Host, options: WireguardOptions): Promise<WireguardGo> {
    const { device, mtu = 1420, binary = 'wireguard-go' } = options;
    const started = host.spawn(binary, [...extraArguments(binary), '-f', device], { env: ENVIRONMENT });
    try {
      // By its socket, which every userspace implementation has, and no two of them announce alike.
      await until(() => existsSync(`/run/wireguard/${device}.sock`), 10_000, `${binary}: its socket`);
      const wireguard = new WireguardGo(host, device, started);
      await wireguard.configure(options);
      await host.ipBatch(
        ...options.addresses.map((address) => `address add ${address} dev ${device}`),
        `link set ${device} mtu ${mtu} up`,
      );
      for (const prefix of options.routes ?? options.peers.flatMap((peer) => peer.allowedIps)) {
        await host.ip('route', 'replace', prefix, 'dev', device);
      }
      return wireguard;
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Replaces keys, port and peers. */
  async configure(options: Pick<WireguardOptions, 'privateKey' | 'listenPort' | 'peers'>): Promise<void> {
    // `cat` makes a pipe of standard input: Node.js gives a socket, and /dev/stdin cannot be opened as one.
    const command = `cat | wg setconf ${this.device} /dev/stdin`;
    await this.host.exec('sh', ['-c', command], { input: renderConfig(options) });
  }

  async peers(): Promise<readonly WireguardPeerStatus[]> {
    const [, ...lines] = (await this.host.exec('wg', ['show', this.device, 'dump'])).split('\n');
    return lines.map((line) => {
      const [publicKey = '', , endpoint = '', allowedIps = '', handshake, rx, tx] = line.split('\t');
      return {
        publicKey,
        endpoint: endpoint === '(none)' ? undefined : endpoint,
        allowedIps: allowedIps === '(none)' ? [] : allowedIps.split(','),
        latestHandshakeSeconds: Number(handshake),
        rxBytes: Number(rx),
        txBytes: Number(tx),
      };
    });
  }

  async stop(): Promise<void> {
    await this.process.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
  }
}

function renderConfig({
  privateKey,
  listenPort,
  peers,
}: Pick<WireguardOptions, 'privateKey' | 'listenPort' | 'peers'>): string {
  const lines = ['[Interface]', `PrivateKey = ${privateKey}`];
  if (listenPort !== undefined) lines.push(`ListenPort = ${listenPort}`);
  for (const peer of peers) {
    lines.push('[Peer]', `PublicKey = ${peer.publicKey}`, `AllowedIPs = ${peer.allowedIps.join(', ')}`);
    if (peer.presharedKey !== undefined) lines.push(`PresharedKey = ${peer.presharedKey}`);
    if (peer.endpoint !== undefined) lines.push(`Endpoint = ${peer.endpoint}`);
    if (peer.keepaliveSeconds !== undefined) lines.push(`PersistentKeepalive = ${peer.keepaliveSeconds}`);
  }
  return `${lines.join('\n')}\n`;
}
