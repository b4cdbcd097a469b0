// A node from a configuration: start, status, stop. It opens what the host gives, hands packets to a device and answers
// on its sockets. What it made goes with it, in reverse order, also when a start fails half way.

import { renderEndpoint } from '../address/endpoint.ts';
import { packPrefix, renderInterface } from '../address/prefix.ts';
import type { OffloadSwitches } from '../config/offloads.ts';
import type { MetricsConfig, NodeConfig, PeerConfig } from '../config/schema.ts';
import { type Secrets, wipeSecrets } from '../config/secrets.ts';
import { refuseSecond, serveNode } from '../control/node-socket.ts';
import type { ControlTarget, NodeStatus, RequestHandlers } from '../control/target.ts';
import type { DeviceChange } from '../control/uapi/change.ts';
import { peerKey } from '../control/uapi/model.ts';
import { refuseServed, serveUapi, uapiPath } from '../control/uapi/server.ts';
import { ConfigError, messageOf, NodeError } from '../errors.ts';
import { Descriptors } from '../lane/descriptors.ts';
import type { LaneOffloads } from '../lane/messages.ts';
import type { Log } from '../log.ts';
import { Device } from './device.ts';
import { literalEndpoint, NameResolver } from './endpoints.ts';
import { allowedIps, setUpInterface, tunnelMtu } from './interface.ts';
import { answerLogLevel } from './log-level.ts';
import { chooseOffloads, type OffloadChoice, wantedOffloads } from './offloads.ts';
import { nodeStatus } from './status.ts';

export interface NodeOptions {
  readonly config: NodeConfig;
  /** The node takes its own copies and wipes these. */
  readonly secrets: Secrets;
  readonly log: Log;
  /** Where the control socket is made. */
  readonly runDirectory: string;
  readonly version: string;
  /** Win over those of the configuration. */
  readonly offloads?: OffloadSwitches;
  /** The lane's file; tests put their own around it. */
  readonly laneWorker?: URL;
}

export class Node implements ControlTarget {
  /** Settles when the node has ended by itself, with the reason; never when {@link stop} ends it. */
  readonly failed: Promise<NodeError>;
  readonly requests: RequestHandlers = {
    'log-level': async (asked) => answerLogLevel(this.#options.log, asked),
  };
  readonly #options: NodeOptions;
  readonly #undo: AsyncDisposableStack;
  readonly #startedSeconds = Math.floor(Date.now() / 1000);
  readonly #offloadChoice: OffloadChoice;
  #device: Device | undefined;
  #fail: (reason: NodeError) => void = () => {};

  private constructor(options: NodeOptions, undo: AsyncDisposableStack) {
    this.#options = options;
    this.#undo = undo;
    this.#offloadChoice = chooseOffloads(options.config.interface.offloads, options.offloads ?? {});
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  /**
   * Brings the node up: when this settles, the interface has its addresses and routes and packets flow.
   * @throws ConfigError when the configured port is taken, NodeError for what the host refuses; nothing is left behind
   */
  static async start(options: NodeOptions): Promise<Node> {
    await using undo = new AsyncDisposableStack();
    try {
      await refuseSecond(options.runDirectory, options.config.interface.name);
      const node = new Node(options, undo.move());
      try {
        await node.#start();
        return node;
      } catch (error) {
        await node.stop();
        throw error;
      }
    } finally {
      wipeSecrets(options.secrets);
    }
  }

  /** Ends the node and takes back what it made. */
  async stop(): Promise<void> {
    await this.#undo.disposeAsync();
  }

  async #start(): Promise<void> {
    const { config, log, runDirectory } = this.#options;
    const known = config.peers.flatMap((peer) => peer.endpoints.flatMap((one) => literalEndpoint(one) ?? []));
    const mtu = await tunnelMtu(
      config,
      known.map(({ address }) => address),
    );

    const descriptors = openDescriptors(config, wantedOffloads(this.#offloadChoice));
    this.#undo.defer(() => descriptors.close());
    if (descriptors.all.udp6 === undefined)
      log.warn('this host has no IPv6: peers are reached over IPv4 only');

    const setup = setUpInterface(config.interface.name, config, mtu);
    // The lane starts while `ip` runs: nothing is ready before both are.
    const [interfaceResult, deviceResult] = await Promise.allSettled([
      setup,
      this.#startDevice(descriptors, mtu),
    ]);
    if (deviceResult.status === 'fulfilled') this.#undo.defer(() => deviceResult.value.stop());
    if (interfaceResult.status === 'rejected') throw interfaceResult.reason;
    if (deviceResult.status === 'rejected') throw deviceResult.reason;
    this.#device = deviceResult.value;
    for (const warning of interfaceResult.value.warnings) log.warn(warning);

    this.#undo.use(this.#resolveNames(this.#device));
    const socket = await serveNode(runDirectory, config.interface.name, this);
    this.#undo.defer(() => socket.close());
    await this.#serveUapi(this.#device);
    if (config.metrics !== null) await this.#serveMetrics(config.metrics);
  }

  async #serveMetrics({ listen, hosts }: MetricsConfig): Promise<void> {
    // Loaded only here: HTTP and prom-client take 25 MB.
    const { HttpServer, renderListen } = await import('../control/http-server.ts');
    const { renderMetrics } = await import('../control/metrics.ts');
    const pages = { '/metrics': async () => renderMetrics(await this.status()) };
    const server = await HttpServer.listen({ listen, hosts, pages });
    this.#undo.defer(() => server.close());
    this.#options.log.info(`metrics are served at ${renderListen(listen)}`);
  }

  /** For `wg`. A node does without where it cannot have it: another namespace may have an interface of this name. */
  async #serveUapi(device: Device): Promise<void> {
    const { config, log } = this.#options;
    try {
      await refuseServed(config.interface.name);
      const socket = await serveUapi({ path: uapiPath(config.interface.name) }, device, log);
      this.#undo.defer(() => socket.close());
    } catch (error) {
      log.warn(`\`wg\` will not find this interface: ${messageOf(error)}`);
    }
  }

  #startDevice(descriptors: Descriptors, mtu: number): Promise<Device> {
    const { config, secrets, log, laneWorker } = this.#options;
    return Device.start({
      descriptors,
      listenPort: config.interface.listenPort,
      mtu,
      change: configuredChange(config, secrets),
      log,
      onGone: () =>
        this.#fail(
          new NodeError('ERR_NODE_INTERFACE', `the interface ${config.interface.name} was deleted: stopping`),
        ),
      ...(laneWorker === undefined ? {} : { laneWorker }),
    });
  }

  #resolveNames(device: Device): Disposable {
    const { config, log } = this.#options;
    const resolver = new NameResolver({
      onResolved: ({ name, publicKey }, resolved) => {
        const endpoint = { address: resolved.address, zone: null, port: resolved.port };
        void device.set({ peers: [{ publicKey, updateOnly: true, endpoint, allowedIps: [] }] });
        log.info(`${name}: its name resolves to ${renderEndpoint({ kind: 'address', ...endpoint })}`);
      },
      onFailed: ({ name }, endpoint, reason) =>
        log.warn(`${name}: ${endpoint} does not resolve yet: ${reason}`),
    });
    for (const peer of config.peers) {
      for (const endpoint of peer.endpoints) resolver.resolve(peer, endpoint);
    }
    return resolver;
  }

  async status(): Promise<NodeStatus> {
    const { config, version } = this.#options;
    if (this.#device === undefined)
      throw new NodeError('ERR_NODE_NOT_RUNNING', 'the node has not started yet');
    return await nodeStatus(this.#device, {
      name: config.interface.name,
      version,
      startedSeconds: this.#startedSeconds,
      addresses: config.interface.addresses.map(renderInterface),
      offloads: this.#offloadChoice,
      peers: new Map(config.peers.map((peer) => [peerKey(peer.publicKey), peer])),
    });
  }
}

/** What the file says of keys and peers. It borrows the secrets. */
function configuredChange(config: NodeConfig, { privateKey, presharedKeys }: Secrets): DeviceChange {
  return {
    privateKey,
    peers: config.peers.map((peer) => configuredPeer(peer, presharedKeys.get(peer.name))),
  };
}

function configuredPeer(
  peer: PeerConfig,
  presharedKey: Uint8Array | undefined,
): DeviceChange['peers'][number] {
  const literal = peer.endpoints.find((endpoint) => endpoint.kind === 'address');
  return {
    publicKey: peer.publicKey,
    keepaliveSeconds: peer.keepaliveSeconds,
    ...(presharedKey === undefined ? {} : { presharedKey }),
    ...(literal === undefined ? {} : { endpoint: literal }),
    allowedIps: allowedIps(peer).map((prefix) => ({ type: 'add', prefix: packPrefix(prefix) })),
  };
}

/** A port that is taken is a fault of the configuration where it names one: it says where. */
function openDescriptors(config: NodeConfig, offloads: LaneOffloads): Descriptors {
  const { name, listenPort } = config.interface;
  try {
    return Descriptors.open({ interfaceName: name, port: listenPort, offloads });
  } catch (error) {
    const place = config.places.get('interface.listen_port');
    if (!(error instanceof NodeError) || error.code !== 'ERR_NODE_PORT' || place === undefined) throw error;
    throw new ConfigError(
      [{ code: 'ERR_CONFIG_PORT', message: error.message, place, hint: error.hint }],
      error,
    );
  }
}
