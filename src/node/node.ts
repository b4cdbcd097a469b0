// A node from a configuration: start, status, stop. It opens what the host gives, hands packets to a device and answers
// on its sockets. What it made goes with it, in reverse order, also when a start fails half way.

import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { renderInterface } from '../address/prefix.ts';
import { type ConfigChange, diffConfigs } from '../config/diff.ts';
import { renderPublicKey } from '../config/key.ts';
import { loadConfig } from '../config/load.ts';
import type { OffloadSwitches } from '../config/offloads.ts';
import type { NodeConfig, PeerConfig } from '../config/schema.ts';
import { loadSecrets, type Secrets, wipeSecrets } from '../config/secrets.ts';
import { refuseSecond, serveNode } from '../control/node-socket.ts';
import type { Answer, Question } from '../control/talk.ts';
import type { ControlTarget, NodeStatus, RequestHandlers } from '../control/target.ts';
import { type ModelPeer, type PeerKey, peerKey } from '../control/uapi/model.ts';
import { refuseServed, serveUapi, uapiPath } from '../control/uapi/server.ts';
import { ConfigError, messageOf, NodeError } from '../errors.ts';
import { Descriptors } from '../lane/descriptors.ts';
import type { LaneOffloads } from '../lane/messages.ts';
import type { Log } from '../log.ts';
import { Accounts } from './accounts.ts';
import { changeBetween, configuredChange } from './configured-change.ts';
import { DefaultRoutes } from './default-routes.ts';
import { Device } from './device.ts';
import { EndpointKeeper } from './endpoint-keeper.ts';
import { NodeFilter, type StartingPolicy, startingPolicy } from './filter.ts';
import { stateDirectory } from './handshake-clock.ts';
import { HostNetwork } from './host-network.ts';
import type { HostNode } from './host-node.ts';
import { HostRules } from './host-rules.ts';
import { TunnelInterface, tunnelMtu } from './interface.ts';
import { Invitations } from './invitations.ts';
import { answerLogLevel, logLevelPart } from './log-level.ts';
import { Metering } from './metering.ts';
import { chooseOffloads, type OffloadChoice, wantedOffloads } from './offloads.ts';
import { changeWhole, type ReloadPart } from './reload.ts';
import { Rotations } from './rotations.ts';
import { ServedNames } from './served-names.ts';
import { ServedPages } from './served-pages.ts';
import { ServedPolicy } from './served-policy.ts';
import { nodeStatus } from './status.ts';
import { Talks } from './talks.ts';

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
  /** Whether what is logged was decided elsewhere than in the file. */
  readonly isLogLevelFixed?: boolean;
  /** The lane's file; tests put their own around it. */
  readonly laneWorker?: URL;
}

/** A log line names no more than so many changed keys. */
const LOGGED_CHANGES = 20;

export class Node implements ControlTarget {
  /** Settles when the node has ended by itself, with the reason; never when {@link stop} ends it. */
  readonly failed: Promise<NodeError>;
  readonly #ownRequests: RequestHandlers = {
    'log-level': async (asked) => answerLogLevel(this.#options.log, asked),
    diff: async ({ file }) => this.#diff(file),
    reload: () => this.reload(),
  };
  readonly #options: NodeOptions;
  /** What the node is now. */
  #config: NodeConfig;
  #namedPeers:
    | { readonly of: readonly PeerConfig[]; readonly byKey: ReadonlyMap<PeerKey, PeerConfig> }
    | undefined;
  /** Its file, from wherever this process stands. */
  readonly #file: string;
  readonly #undo: AsyncDisposableStack;
  readonly #startedSeconds = Math.floor(Date.now() / 1000);
  readonly #offloadChoice: OffloadChoice;
  #device: Device | undefined;
  #filter: NodeFilter | undefined;
  /** What a reload changes beside keys and peers, in this order. */
  readonly #parts: ReloadPart[] = [];
  #isReloading = false;
  /** The last of what changes file, device and parts, one after the other. */
  #lastChange: Promise<unknown> = Promise.resolve();
  #hostRules: HostRules | undefined;
  #endpoints: EndpointKeeper | undefined;
  #defaultRoutes: DefaultRoutes | undefined;
  readonly #talks = new Talks(
    () => this.#device,
    (peer, question) => this.#answer(peer, question),
  );
  #invitations: Invitations | undefined;
  #rotations: Rotations | undefined;
  readonly #names: ServedNames;
  #fail: (reason: NodeError) => void = () => {};

  private constructor(options: NodeOptions, undo: AsyncDisposableStack) {
    this.#options = options;
    this.#config = options.config;
    this.#file = resolve(options.config.file);
    this.#undo = undo;
    this.#names = new ServedNames(options.log);
    this.#offloadChoice = chooseOffloads(options.config.interface.offloads, options.offloads ?? {});
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  get requests(): RequestHandlers {
    return {
      ...this.#ownRequests,
      ...this.#filter?.requests,
      ...this.#invitations?.requests,
      ...this.#rotations?.requests,
    };
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

  /**
   * Reads the file again and makes the node what it says, whole or not at all. Sessions and flows of peers that stay go on.
   * @returns what was different
   * @throws ConfigError with the place of what is wrong; NodeError for what the host refuses, `ERR_NODE_BUSY` during another
   */
  async reload(): Promise<readonly ConfigChange[]> {
    if (this.#isReloading) {
      throw new NodeError('ERR_NODE_BUSY', 'another reload is under way', {
        hint: 'see what it did with `ringfence diff`, then try again',
      });
    }
    this.#isReloading = true;
    try {
      return await this.#exclusively(() => this.#reload());
    } finally {
      this.#isReloading = false;
    }
  }

  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#lastChange.then(work);
    this.#lastChange = done.catch(() => {});
    return await done;
  }

  async #reload(): Promise<readonly ConfigChange[]> {
    const device = this.#started();
    const from = this.#config;
    const to = loadConfig(this.#file, from);
    await setImmediate(); // of thousands of peers this takes a while, and so does the rest: who asks something has a turn
    const secrets = loadSecrets(to);
    try {
      const changes = this.#changesTo(to, secrets);
      refuseRestart(changes, to);
      const change = changeBetween(from, to, secrets);
      await setImmediate();
      await changeWhole(this.#parts, from, to, async () => {
        try {
          await device.change(change);
        } catch (error) {
          throw portFault(error, to);
        }
      });
      this.#config = to;
      this.#endpoints?.update(to.peers);
      this.#options.log.info(`reloaded ${this.#file}: ${changes.length} changes`, {
        keys: changes.slice(0, LOGGED_CHANGES).map(({ path }) => path),
      });
      return changes;
    } finally {
      wipeSecrets(secrets);
    }
  }

  /** What a reload would change if the node's file were `file`. */
  #diff(file: unknown): readonly ConfigChange[] {
    if (typeof file !== 'string') throw new NodeError('ERR_NODE_REQUEST', 'no file is named');
    const to = loadConfig(file, this.#config);
    const secrets = loadSecrets(to);
    try {
      return this.#changesTo(to, secrets);
    } finally {
      wipeSecrets(secrets);
    }
  }

  #changesTo(to: NodeConfig, { presharedKeys }: Secrets): readonly ConfigChange[] {
    const device = this.#started();
    return diffConfigs(
      this.#config,
      to,
      ({ name, publicKey }) => !device.hasPresharedKey(publicKey, presharedKeys.get(name)),
    );
  }

  #started(): Device {
    if (this.#device === undefined)
      throw new NodeError('ERR_NODE_NOT_RUNNING', 'the node has not started yet');
    return this.#device;
  }

  async #start(): Promise<void> {
    const { config, log, runDirectory } = this.#options;
    const network = this.#undo.use(new HostNetwork(log));
    // Before anything of the tunnel is there: what guards it has to hold first.
    const hostRules = await HostRules.start(config, { network, log, runDirectory });
    this.#undo.defer(() => hostRules.stop());
    this.#hostRules = hostRules;
    const mtu = await tunnelMtu(config);

    const descriptors = openDescriptors(config, wantedOffloads(this.#offloadChoice));
    this.#undo.defer(() => descriptors.close());
    if (descriptors.all.udp6 === undefined)
      log.warn('this host has no IPv6: peers are reached over IPv4 only');

    const starting = startingPolicy(config);
    const accounts = await Accounts.start({
      directory: stateDirectory(),
      interfaceName: config.interface.name,
      log,
    });
    const metering = new Metering(accounts, config, () => this.#device);
    // The lane starts while `ip` runs: nothing is ready before both are.
    const [interfaceResult, deviceResult] = await Promise.allSettled([
      TunnelInterface.setUp(config, mtu, log, () => this.#defaultRoutes?.mark ?? 0),
      this.#startDevice(descriptors, mtu, starting, metering),
    ]);
    if (deviceResult.status === 'fulfilled') this.#undo.defer(() => deviceResult.value.stop());
    if (interfaceResult.status === 'rejected') throw interfaceResult.reason;
    if (deviceResult.status === 'rejected') throw deviceResult.reason;
    this.#device = deviceResult.value;
    const defaultRoutes = await this.#routeDefault(this.#device);
    const names = {
      nameOf: (peer: number) => this.#peerName(peer),
      peerOf: (name: string) => this.#peerNumber(name),
    };
    const parts = { device: this.#device, accounts, metering, names, network, log };
    this.#filter = this.#undo.use(new NodeFilter(config, starting, parts));

    this.#undo.defer(() => this.#talks.stop());
    const host = this.#asHost(this.#device);
    this.#invitations = this.#undo.use(await Invitations.start(host));
    this.#rotations = this.#undo.use(await Rotations.start(host, this.#talks));
    this.#endpoints = this.#undo.use(
      new EndpointKeeper(this.#device, log, (name, answer) => hostRules.learn(name, answer)),
    );
    this.#endpoints.update(config.peers);
    network.add(async () => this.#endpoints?.askAgain());
    const socket = await serveNode(runDirectory, config.interface.name, this);
    this.#undo.defer(() => socket.close());
    await this.#serveUapi(this.#device);
    const pages = await this.#servePages();
    const logLevel = logLevelPart(log, this.#options.isLogLevelFixed === true);
    await this.#serveNames();
    // Rules first: a guard that cannot be had keeps the change away. Names are answered on the new addresses.
    this.#parts.push(
      logLevel,
      hostRules,
      pages,
      interfaceResult.value,
      defaultRoutes,
      this.#names,
      this.#filter,
    );
    hostRules.ready();
  }

  #asHost(device: Device): HostNode {
    const config = (): NodeConfig => this.#config;
    return {
      get config() {
        return config();
      },
      device,
      log: this.#options.log,
      exclusively: (work) => this.#exclusively(work),
      adopt: (changed) => this.#adopt(changed),
    };
  }

  /** The file has become this by our own hand, and the device has it: the rest of the node follows, as by a reload. */
  async #adopt(changed: NodeConfig): Promise<void> {
    try {
      await changeWhole(this.#parts, this.#config, changed, async () => {});
      this.#config = changed;
      this.#endpoints?.update(changed.peers);
    } catch (error) {
      this.#options.log.error(
        `the file is right, but not all of the node follows it yet: ${messageOf(error)}`,
        {
          hint: 'mend that, then: ringfence reload',
        },
      );
    }
  }

  /** What the node of a peer asks of this one. */
  async #answer(peer: ModelPeer, question: Question): Promise<Answer | null> {
    switch (question.type) {
      case 'redeem':
        return (await this.#invitations?.redeem(peer, question)) ?? null;
      case 'rotate':
        return (await this.#rotations?.answer(peer, question)) ?? null;
      default:
        return question satisfies never;
    }
  }

  async #routeDefault(device: Device): Promise<DefaultRoutes> {
    const { config, log, runDirectory } = this.#options;
    const routes = new DefaultRoutes({ name: config.interface.name, device, runDirectory, log });
    this.#defaultRoutes = routes;
    await routes.clear();
    this.#undo.defer(() => routes.close());
    await using first = await routes.prepare(config, config);
    await first.commit();
    return routes;
  }

  async #servePages(): Promise<ServedPages> {
    const { config, log } = this.#options;
    const policy = new ServedPolicy();
    const pages = new ServedPages(
      () => this.status(),
      () => policy.view(this.#config),
      log,
    );
    this.#undo.defer(() => pages.close());
    await using first = await pages.prepare(config, config);
    await first.commit();
    return pages;
  }

  async #serveNames(): Promise<void> {
    const { config } = this.#options;
    this.#undo.defer(() => this.#names.close());
    await using first = await this.#names.prepare(config, config);
    await first.commit();
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

  #startDevice(
    descriptors: Descriptors,
    mtu: number,
    starting: StartingPolicy,
    metering: Metering,
  ): Promise<Device> {
    const { config, secrets, log, laneWorker } = this.#options;
    return Device.start({
      descriptors,
      listenPort: config.interface.listenPort,
      mtu,
      change: configuredChange(config, secrets),
      policy: starting.compilation?.policy ?? null,
      allowances: () => metering.beginLane(),
      ownAddresses: starting.ownAddresses,
      log,
      onHeard: (peer, message) => void this.#talks.hear(peer, message),
      onGone: () =>
        this.#fail(
          new NodeError('ERR_NODE_INTERFACE', `the interface ${config.interface.name} was deleted: stopping`),
        ),
      ...(laneWorker === undefined ? {} : { laneWorker }),
    });
  }

  /** The peers that the file names, by their key. Made once for a configuration: there are thousands. */
  #named(): ReadonlyMap<PeerKey, PeerConfig> {
    const { peers } = this.#config;
    if (this.#namedPeers?.of !== peers)
      this.#namedPeers = { of: peers, byKey: new Map(peers.map((peer) => [peerKey(peer.publicKey), peer])) };
    return this.#namedPeers.byKey;
  }

  /** Of a peer by the device's number of it; null for one that is gone, its key for one that no file names. */
  #peerName(id: number): string | null {
    const publicKey = this.#device?.peerOfId(id)?.publicKey;
    if (publicKey === undefined) return null;
    return this.#named().get(peerKey(publicKey))?.name ?? renderPublicKey(publicKey);
  }

  #peerNumber(name: string): number | undefined {
    const configured = this.#config.peers.find((peer) => peer.name === name);
    return configured && this.#device?.peer(configured.publicKey)?.id;
  }

  async status(): Promise<NodeStatus> {
    const { version } = this.#options;
    const config = this.#config;
    const device = this.#started();
    return await nodeStatus(device, {
      hostRules: (await this.#hostRules?.status()) ?? null,
      name: config.interface.name,
      version,
      startedSeconds: this.#startedSeconds,
      addresses: config.interface.addresses.map(renderInterface),
      offloads: this.#offloadChoice,
      policy: (await this.#filter?.status()) ?? null,
      names: this.#names.status(),
      peers: this.#named(),
      rotations: (isConfirmed) => this.#rotations?.status(isConfirmed) ?? [],
      isHidden: (publicKey) => this.#invitations?.hasKey(publicKey) === true,
    });
  }
}

/** A fault of the port, at its place where the file names one. */
function portFault(error: unknown, config: NodeConfig): unknown {
  const place = config.places.get('interface.listen_port');
  if (!(error instanceof NodeError) || error.code !== 'ERR_NODE_PORT' || place === undefined) return error;
  return new ConfigError(
    [{ code: 'ERR_CONFIG_PORT', message: error.message, place, hint: error.hint }],
    error,
  );
}

function openDescriptors(config: NodeConfig, offloads: LaneOffloads): Descriptors {
  const { name, listenPort } = config.interface;
  try {
    return Descriptors.open({ interfaceName: name, port: listenPort, offloads });
  } catch (error) {
    throw portFault(error, config);
  }
}

/** What only a new start can change is refused, each at its place. */
function refuseRestart(changes: readonly ConfigChange[], { file, places }: NodeConfig): void {
  const problems = changes
    .filter(({ isLive }) => !isLive)
    .map(({ path }) => ({
      code: 'ERR_CONFIG_RESTART' as const,
      message: 'a running node cannot take this',
      place: places.get(path) ?? { file, line: 1, column: 1, path },
      hint: 'stop the node and start it again, or put back what it was; nothing was changed',
    }));
  const [first, ...more] = problems;
  if (first !== undefined) throw new ConfigError([first, ...more]);
}
