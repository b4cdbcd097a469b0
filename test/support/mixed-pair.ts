// Ringfence on the left and wireguard-go, or another implementation, on the right, a router between them.
//
//   ours 192.0.2.10, 2001:db8:1::10 ─── internet ─── 198.51.100.10, 2001:db8:2::10 theirs
//   10.9.0.1, fd09::1          ═════ the tunnel ═════          10.9.0.2, fd09::2

import { join } from 'node:path';
import { generateKeyPair, generatePresharedKey } from './keys.ts';
import { type NodeFile, type NodeFiles, NodeProcess, OVERLAY, Scratch, writeNode } from './node-process.ts';
import { type Routed, routed } from './topology.ts';
import { endpoint } from './traffic.ts';
import { WireguardGo, type WireguardOptions } from './wireguard-go.ts';

/** Of both interfaces, unless a test says otherwise. */
export const MIXED_MTU = 1420;

export type MixedOptions = {
  readonly underlay?: 'v4' | 'v6';
  readonly presharedKey?: boolean;
  /** Who knows the other's endpoint, and so can begin. */
  readonly initiator: 'ours' | 'theirs' | 'both';
  /** Of wireguard-go: all of a run share one /run, so tests that overlap need different ones. */
  readonly device?: string;
  /** The other implementation; the system's wireguard-go without it. */
  readonly binary?: string | undefined;
  /** Of both interfaces, and of the wires. */
  readonly mtu?: number;
  readonly underlayMtu?: number;
  /** Of both ends, in seconds. */
  readonly keepalive?: number;
  /** Where each end is told that the other is, instead of where it is. */
  readonly endpoints?: { readonly ours?: string; readonly theirs?: string };
};

export class MixedPair implements AsyncDisposable {
  readonly net: Routed;
  readonly #undo: AsyncDisposable;
  readonly #files: NodeFiles;
  readonly #wireguard: WireguardOptions;
  #ours: NodeProcess;
  #theirs: WireguardGo;

  private constructor(
    net: Routed,
    undo: AsyncDisposable,
    files: NodeFiles,
    wireguard: WireguardOptions,
    running: { ours: NodeProcess; theirs: WireguardGo },
  ) {
    this.net = net;
    this.#undo = undo;
    this.#files = files;
    this.#wireguard = wireguard;
    this.#ours = running.ours;
    this.#theirs = running.theirs;
  }

  get ours(): NodeProcess {
    return this.#ours;
  }

  get theirs(): WireguardGo {
    return this.#theirs;
  }

  static async start(options: MixedOptions): Promise<MixedPair> {
    await using undo = new AsyncDisposableStack();
    const scratch = undo.use(await Scratch.create());
    const net = undo.use(await routed(options.underlayMtu, { left: 'ours', right: 'theirs' }));
    const { file, secrets, keys, wireguard } = describePair(net, options);
    const files = await writeNode(join(scratch.path, 'ours'), keys, file, secrets);
    // Should one fail, the topology ends the other.
    const [ours, theirs] = await Promise.all([
      NodeProcess.start(net.left, files),
      WireguardGo.start(net.right, wireguard),
    ]);
    return new MixedPair(net, undo.move(), files, wireguard, { ours, theirs });
  }

  /** Ends ours without a word to the other side, and starts it again. */
  async restartOurs(): Promise<void> {
    await this.#ours.process.stop('SIGKILL');
    this.#ours = await NodeProcess.start(this.net.left, this.#files);
  }

  /** Ends theirs without a word to the other side, and starts it again. */
  async restartTheirs(): Promise<void> {
    await this.#theirs.process.stop('SIGKILL');
    this.#theirs = await WireguardGo.start(this.net.right, this.#wireguard);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#ours[Symbol.asyncDispose](), this.#theirs[Symbol.asyncDispose]()]);
    await this.#undo[Symbol.asyncDispose]();
  }
}

/** The two configurations. */
function describePair(net: Routed, options: MixedOptions) {
  const { underlay = 'v4', initiator, device = 'wg-theirs', mtu = MIXED_MTU, keepalive, endpoints } = options;
  const keys = { ours: generateKeyPair(), theirs: generateKeyPair() };
  const presharedKey = options.presharedKey === true ? generatePresharedKey() : undefined;
  const file: NodeFile = {
    interface: {
      name: 'rf-ours',
      private_key_file: 'node.key',
      addresses: OVERLAY.left.addresses,
      listen_port: 51820,
      mtu,
    },
    peers: {
      theirs: {
        public_key: keys.theirs.publicKey,
        ...(presharedKey === undefined ? {} : { preshared_key_file: 'peer.psk' }),
        addresses: [OVERLAY.right.v4, OVERLAY.right.v6],
        ...(initiator === 'theirs'
          ? {}
          : { endpoints: [endpoints?.ours ?? endpoint(net.right[underlay], 51820)] }),
        ...(keepalive === undefined ? {} : { keepalive }),
      },
    },
  };
  const wireguard: WireguardOptions = {
    device,
    privateKey: keys.theirs.privateKey,
    listenPort: 51820,
    addresses: OVERLAY.right.addresses,
    mtu,
    ...(options.binary === undefined ? {} : { binary: options.binary }),
    peers: [
      {
        publicKey: keys.ours.publicKey,
        ...(presharedKey === undefined ? {} : { presharedKey }),
        ...(initiator === 'ours'
          ? {}
          : { endpoint: endpoints?.theirs ?? endpoint(net.left[underlay], 51820) }),
        ...(keepalive === undefined ? {} : { keepaliveSeconds: keepalive }),
        allowedIps: [`${OVERLAY.left.v4}/32`, `${OVERLAY.left.v6}/128`],
      },
    ],
  };
  const secrets: Record<string, string> = presharedKey === undefined ? {} : { 'peer.psk': presharedKey };
  return { file, secrets, keys: keys.ours, wireguard };
}
