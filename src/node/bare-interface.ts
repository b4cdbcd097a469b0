// An interface as every WireGuard program makes one: no file, no addresses, no peers, until `wg` sets them on its socket.
// It ends by itself when the interface is deleted or the socket removed. Without a policy it is open, as its users expect.

import type { OffloadSwitches } from '../config/offloads.ts';
import { refuseSecond, serveNode } from '../control/node-socket.ts';
import type { ControlTarget, NodeStatus, RequestHandlers } from '../control/target.ts';
import { refuseServed, serveUapi, uapiPath } from '../control/uapi/server.ts';
import { watchSocket } from '../control/unix-server.ts';
import { messageOf } from '../errors.ts';
import { Descriptors } from '../lane/descriptors.ts';
import type { Log } from '../log.ts';
import { Device } from './device.ts';
import { answerLogLevel } from './log-level.ts';
import { chooseOffloads, type OffloadChoice, wantedOffloads } from './offloads.ts';
import { nodeStatus } from './status.ts';

/** As wireguard-go sets it: what fits through Ethernet over IPv6. */
const FIRST_MTU = 1420;
const ALL_OFFLOADS = { udpGso: true, udpGro: true, tunTcp: true, tunUdp: true };

export interface BareInterfaceOptions {
  readonly name: string;
  readonly log: Log;
  /** Where the control socket for `ringfence status` is made. */
  readonly runDirectory: string;
  readonly version: string;
  /** Those that are not to be used. */
  readonly offloads: OffloadSwitches;
  /** A TUN descriptor that somebody has opened, in place of one of our own. Ours from then on. */
  readonly tunDescriptor?: number | undefined;
  /** A listening socket for `wg` that somebody has made. Ours from then on. */
  readonly uapiDescriptor?: number | undefined;
}

export class BareInterface implements ControlTarget {
  /** Settles with the reason when it has ended by itself; never when {@link stop} ends it. */
  readonly ended: Promise<string>;
  readonly name: string;
  readonly requests: RequestHandlers = {
    'log-level': async (asked) => answerLogLevel(this.#options.log, asked),
  };
  readonly #options: BareInterfaceOptions;
  readonly #undo: AsyncDisposableStack;
  readonly #device: Device;
  readonly #offloads: OffloadChoice;
  readonly #startedSeconds = Math.floor(Date.now() / 1000);

  private constructor(
    options: BareInterfaceOptions,
    made: {
      name: string;
      device: Device;
      offloads: OffloadChoice;
      undo: AsyncDisposableStack;
      ended: Promise<string>;
    },
  ) {
    this.#offloads = made.offloads;
    this.#options = options;
    this.#device = made.device;
    this.#undo = made.undo;
    this.ended = made.ended;
    this.name = made.name;
  }

  /**
   * When this settles, interface and socket are there.
   * @throws NodeError for what the host refuses; nothing is left behind
   */
  static async start(options: BareInterfaceOptions): Promise<BareInterface> {
    const { log, uapiDescriptor } = options;
    await using undo = new AsyncDisposableStack();
    const { promise: ended, resolve: end } = Promise.withResolvers<string>();
    if (uapiDescriptor === undefined) await refuseServed(options.name);
    const choice = chooseOffloads(ALL_OFFLOADS, options.offloads);
    const descriptors = Descriptors.open({
      interfaceName: options.name,
      port: 0,
      offloads: wantedOffloads(choice),
      tun: options.tunDescriptor,
      mtu: FIRST_MTU,
    });
    undo.defer(() => descriptors.close());
    const { name } = descriptors;
    const device = await Device.start({
      descriptors,
      listenPort: 0,
      mtu: FIRST_MTU,
      change: { peers: [] },
      log,
      onGone: () => end(`the interface ${name} was deleted`),
    });
    undo.defer(() => device.stop());
    const path = uapiPath(name);
    const socket = await serveUapi(
      uapiDescriptor === undefined ? { path } : { fd: uapiDescriptor },
      device,
      log,
    );
    undo.defer(() => socket.close());
    undo.use(watchSocket(path, () => end(`the socket ${path} was removed`)));
    const started = new BareInterface(options, { name, device, offloads: choice, undo: undo.move(), ended });
    await started.#serveStatus();
    return started;
  }

  /** Takes back what it made. */
  async stop(): Promise<void> {
    await this.#undo.disposeAsync();
  }

  async status(): Promise<NodeStatus> {
    return await nodeStatus(this.#device, {
      name: this.name,
      version: this.#options.version,
      startedSeconds: this.#startedSeconds,
      addresses: [],
      offloads: this.#offloads,
      policy: null,
      names: null,
      rotations: () => [],
      peers: new Map(),
      hostRules: null,
      isHidden: () => false,
    });
  }

  /** `ringfence status` is a convenience: whoever starts an interface asked for the one of `wg`. */
  async #serveStatus(): Promise<void> {
    const { runDirectory, log } = this.#options;
    try {
      await refuseSecond(runDirectory, this.name);
      const socket = await serveNode(runDirectory, this.name, this);
      this.#undo.defer(() => socket.close());
    } catch (error) {
      log.debug(`\`ringfence status\` will not show this interface: ${messageOf(error)}`);
    }
  }
}
