// A node from a configuration: start, status, stop. It opens what the host gives, hands packets to a supervised lane
// and answers on its control socket. What it made goes with it, in reverse order, also when a start fails half way.

import { renderEndpoint } from '../address/endpoint.ts';
import { ipFromBytes } from '../address/ip.ts';
import { renderInterface, renderPrefix } from '../address/prefix.ts';
import { renderPublicKey } from '../config/key.ts';
import type { OffloadSwitches } from '../config/offloads.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import { type Secrets, wipeSecrets } from '../config/secrets.ts';
import { NodeSocket, refuseSecond } from '../control/node-socket.ts';
import type { ControlTarget, NodeStatus, PeerStatus } from '../control/target.ts';
import { ConfigError, messageOf, NodeError } from '../errors.ts';
import { Descriptors } from '../lane/descriptors.ts';
import type { LaneEndpoint, LaneOffloads, LanePeer, LanePeerStatus, LaneStatus } from '../lane/messages.ts';
import type { Log } from '../log.ts';
import { literalEndpoint, NameResolver, type ResolvedEndpoint } from './endpoints.ts';
import { allowedIps, setUpInterface, tunnelMtu } from './interface.ts';
import { chooseOffloads, type OffloadChoice, offloadStatuses, wantedOffloads } from './offloads.ts';
import { Supervisor } from './supervisor.ts';

export interface NodeOptions {
  readonly config: NodeConfig;
  /** The node keeps them until it stops, so that a fresh lane can start, and wipes them then. */
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
  readonly #options: NodeOptions;
  readonly #undo: AsyncDisposableStack;
  readonly #endpoints = new Map<string, LaneEndpoint>();
  readonly #startedSeconds = Math.floor(Date.now() / 1000);
  #lane: Supervisor | undefined;
  #port = 0;
  readonly #offloadChoice: OffloadChoice;
  #foundOffloads: LaneOffloads;
  #mtu = 0;
  #fail: (reason: NodeError) => void = () => {};

  private constructor(options: NodeOptions, undo: AsyncDisposableStack) {
    this.#options = options;
    this.#undo = undo;
    this.#offloadChoice = chooseOffloads(options.config.interface.offloads, options.offloads ?? {});
    this.#foundOffloads = wantedOffloads(this.#offloadChoice);
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
    undo.defer(() => wipeSecrets(options.secrets));
    await refuseSecond(options.runDirectory, options.config.interface.name);
    const node = new Node(options, undo.move());
    try {
      await node.#start();
      return node;
    } catch (error) {
      await node.stop();
      throw error;
    }
  }

  /** Ends the node and takes back what it made. */
  async stop(): Promise<void> {
    await this.#undo.disposeAsync();
  }

  async #start(): Promise<void> {
    const { config, log, runDirectory } = this.#options;
    for (const peer of config.peers) {
      const literal = peer.endpoints.map(literalEndpoint).find((endpoint) => endpoint !== undefined);
      if (literal !== undefined) this.#endpoints.set(peer.name, laneEndpoint(literal));
    }
    const known = Array.from(this.#endpoints.values(), ({ address }) => ipFromBytes(address));
    this.#mtu = await tunnelMtu(config, known);

    const descriptors = openDescriptors(config, this.#foundOffloads);
    this.#undo.defer(() => descriptors.close());
    this.#port = descriptors.port;
    this.#foundOffloads = descriptors.all.offloads;
    if (descriptors.all.udp6 === undefined)
      log.warn('this host has no IPv6: peers are reached over IPv4 only');

    const setup = setUpInterface(config.interface.name, config, this.#mtu);
    // The lane starts while `ip` runs: nothing is ready before both are.
    const [interfaceResult, laneResult] = await Promise.allSettled([setup, this.#startLane(descriptors)]);
    if (laneResult.status === 'fulfilled') this.#undo.defer(() => laneResult.value.stop());
    if (interfaceResult.status === 'rejected') throw interfaceResult.reason;
    if (laneResult.status === 'rejected') {
      throw new NodeError('ERR_NODE_LANE', `the lane did not start: ${messageOf(laneResult.reason)}`, {
        cause: laneResult.reason,
      });
    }
    this.#lane = laneResult.value;
    for (const warning of interfaceResult.value.warnings) log.warn(warning);

    this.#undo.use(this.#resolveNames());
    const socket = await NodeSocket.listen(runDirectory, config.interface.name, this);
    this.#undo.defer(() => socket.close());
  }

  #startLane(descriptors: Descriptors): Promise<Supervisor> {
    const { config, secrets, log, laneWorker } = this.#options;
    return Supervisor.start({
      descriptors: descriptors.all,
      // Made anew for each lane: it begins where the peers were last seen by name or address.
      settings: () => ({
        privateKey: secrets.privateKey,
        mtu: this.#mtu,
        peers: config.peers.map((peer) => this.#lanePeer(peer)),
      }),
      ...(laneWorker === undefined ? {} : { worker: laneWorker }),
      onFaults: (faults) => {
        const list = faults.map(({ call, code, count }) => `${call} ${code} ${count} times`).join(', ');
        log.warn(`system calls failed since the start: ${list}`);
      },
      onRestart: (reason, restarts) =>
        log.error(`the lane failed and is restarted (restart ${restarts}): ${reason}`),
      onRestarted: () => log.info('the lane runs again; peers shake hands anew'),
      onInterfaceGone: () =>
        this.#fail(
          new NodeError('ERR_NODE_INTERFACE', `the interface ${config.interface.name} was deleted: stopping`),
        ),
    });
  }

  #lanePeer(peer: PeerConfig): LanePeer {
    return {
      name: peer.name,
      publicKey: peer.publicKey,
      presharedKey: this.#options.secrets.presharedKeys.get(peer.name),
      endpoint: this.#endpoints.get(peer.name),
      keepaliveSeconds: peer.keepaliveSeconds,
      allowedIps: allowedIps(peer).map(({ address, length }) => ({ address: address.bytes, length })),
    };
  }

  #resolveNames(): Disposable {
    const { config, log } = this.#options;
    const resolver = new NameResolver({
      onResolved: (peer, resolved) => {
        const endpoint = laneEndpoint(resolved);
        this.#endpoints.set(peer, endpoint);
        this.#lane?.setEndpoint(peer, endpoint);
        log.info(`${peer}: its name resolves to ${renderLaneEndpoint(endpoint)}`);
      },
      onFailed: (peer, endpoint, reason) => log.warn(`${peer}: ${endpoint} does not resolve yet: ${reason}`),
    });
    for (const peer of config.peers) {
      for (const endpoint of peer.endpoints) resolver.resolve(peer.name, endpoint);
    }
    return resolver;
  }

  async status(): Promise<NodeStatus> {
    const { config, version } = this.#options;
    const lane = await this.#lane?.status();
    const known = new Map(lane?.peers.map((peer) => [peer.name, peer]));
    return {
      version,
      pid: process.pid,
      startedSeconds: this.#startedSeconds,
      interface: {
        name: config.interface.name,
        publicKey: renderPublicKey(config.interface.publicKey),
        listenPort: this.#port,
        mtu: this.#mtu,
        addresses: config.interface.addresses.map(renderInterface),
        offloads: offloadStatuses(this.#offloadChoice, this.#foundOffloads, lane?.sendsTrains ?? true),
      },
      lane: {
        state: this.#lane?.isRunning === true ? 'running' : 'restarting',
        restarts: this.#lane?.restarts ?? 0,
        lastFailure: this.#lane?.lastFailure ?? null,
      },
      peers: config.peers.map((peer) => peerStatus(peer, known.get(peer.name))),
      drops: Object.fromEntries(Array.from(lane?.drops ?? [], ([reason, count]) => [reason, String(count)])),
      faults: faultTable(lane),
    };
  }
}

/** A port that is taken is a fault of the configuration where it names one: it says where. */
function openDescriptors(config: NodeConfig, offloads: LaneOffloads): Descriptors {
  const { name, listenPort } = config.interface;
  try {
    return Descriptors.open(name, listenPort, offloads);
  } catch (error) {
    const place = config.places.get('interface.listen_port');
    if (!(error instanceof NodeError) || error.code !== 'ERR_NODE_PORT' || place === undefined) throw error;
    throw new ConfigError(
      [{ code: 'ERR_CONFIG_PORT', message: error.message, place, hint: error.hint }],
      error,
    );
  }
}

function peerStatus(peer: PeerConfig, lane: LanePeerStatus | undefined): PeerStatus {
  const age = lane?.handshakeAgeMs ?? null;
  const configured = peer.endpoints[0];
  const endpoint = lane?.endpoint
    ? renderLaneEndpoint(lane.endpoint)
    : configured && renderEndpoint(configured);
  return {
    name: peer.name,
    publicKey: renderPublicKey(peer.publicKey),
    hasPresharedKey: peer.presharedKeyFile !== null,
    endpoint: endpoint ?? null,
    latestHandshakeSeconds: age === null ? null : Math.floor((Date.now() - age) / 1000),
    rxBytes: String(lane?.rxBytes ?? 0n),
    txBytes: String(lane?.txBytes ?? 0n),
    keepaliveSeconds: peer.keepaliveSeconds,
    allowedIps: allowedIps(peer).map(renderPrefix),
  };
}

function faultTable(lane: LaneStatus | undefined): Record<string, number> {
  return Object.fromEntries((lane?.faults ?? []).map(({ call, code, count }) => [`${call} ${code}`, count]));
}

function laneEndpoint({ address, port, scope }: ResolvedEndpoint): LaneEndpoint {
  return { address: address.bytes, port, scope };
}

function renderLaneEndpoint({ address, port, scope }: LaneEndpoint): string {
  const zone = scope === 0 ? null : String(scope);
  return renderEndpoint({ kind: 'address', address: ipFromBytes(address), zone, port });
}
