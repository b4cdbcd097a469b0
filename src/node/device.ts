// A WireGuard device: interface, sockets, a supervised lane, and the model of its keys and peers. What changes, by the
// UAPI or because a name resolved, goes through here: refused whole or applied whole, one change after the other.

import { timingSafeEqual } from 'node:crypto';
import { renderEndpoint } from '../address/endpoint.ts';
import { ipFromBytes } from '../address/ip.ts';
import type { IpPrefix } from '../address/prefix.ts';
import { renderPublicKey, wipe } from '../config/key.ts';
import { type DeviceChange, ERRNO, type Errno, type PeerEndpoint } from '../control/uapi/change.ts';
import type { DeviceSnapshot, PeerTraffic, UapiDevice } from '../control/uapi/device.ts';
import { DeviceModel, MOST_PEERS, type ModelPeer, type PeerKey, peerKey } from '../control/uapi/model.ts';
import { codeOf, messageOf, NodeError } from '../errors.ts';
import { closeSockets, type Descriptors, type Sockets } from '../lane/descriptors.ts';
import type {
  LaneEndpoint,
  LaneFilter,
  LaneMeters,
  LaneOffloads,
  LanePackets,
  LaneStatus,
} from '../lane/messages.ts';
import { unpackPeers } from '../lane/peer-records.ts';
import type { Log } from '../log.ts';
import type { Allowances, CompiledPolicy, RuleName } from '../policy/compiled.ts';
import { type DeniedPackets, DevicePolicy } from './device-policy.ts';
import { HandshakeClock, stateDirectory } from './handshake-clock.ts';
import { laneChanges, laneEndpoint, peerEdit, wholeChange } from './lane-changes.ts';
import { Supervisor } from './supervisor.ts';

/** A lane is asked for this many peers at a time: data passes between the answers. */
const PEERS_AT_ONCE = 256;
/** Where so many peers are is asked for this often, in turn, so that a lane that takes the place of another knows. */
const LEARN_MS = 1_000;

export interface DeviceOptions {
  /** Borrowed: closed by whoever opened them, after the device has stopped. */
  readonly descriptors: Descriptors;
  /** As configured: 0 = any. */
  readonly listenPort: number;
  readonly mtu: number;
  /** The keys and peers to begin with. The device copies its secrets. */
  readonly change: DeviceChange;
  /** What its peers may do; null: everything. */
  readonly policy?: CompiledPolicy | null;
  /** What peers with a quota may use: asked for each time a lane starts, whose core has counted nothing yet. */
  readonly allowances?: () => Allowances;
  /** The host's own addresses, which the policy refers to. */
  readonly ownAddresses?: readonly IpPrefix[];
  readonly log: Log;
  /** The interface is gone: there is nothing left to run on. */
  readonly onGone: () => void;
  /** The host of a peer said something to ours. */
  readonly onHeard?: (peer: ModelPeer, message: Uint8Array) => void;
  /** The lane's file; tests put their own around it. */
  readonly laneWorker?: URL;
}

/** What the lane has counted, beside the peers. */
export type DeviceCounters = Pick<LaneStatus, 'drops' | 'faults' | 'sendsTrains' | 'asksCookiesOf'>;

export interface DeviceStatus extends DeviceSnapshot {
  readonly publicKey: Uint8Array | undefined;
  readonly mtu: number;
  /** What the host was found to have. */
  readonly offloads: LaneOffloads;
  /** undefined while no lane runs. */
  readonly counters: DeviceCounters | undefined;
}

export class Device implements UapiDevice {
  readonly #options: DeviceOptions;
  readonly #model = new DeviceModel();
  readonly #policy = new DevicePolicy();
  /** When each peer's last handshake was, by the wall clock of the moment at which it was first heard of. */
  readonly #handshakes = new Map<number, { readonly laneMs: number; readonly wallMs: number }>();
  readonly #clock: HandshakeClock;
  #lane: Supervisor | undefined;
  #learning: NodeJS.Timeout | undefined;
  /** How many peers were asked for in this round. */
  #learned = 0;
  /** As configured: 0 = any. */
  #listenPort: number;
  #fwmark = 0;
  #mtu: number;
  #lastChange: Promise<unknown> = Promise.resolve();

  private constructor(options: DeviceOptions, clock: HandshakeClock) {
    this.#options = options;
    this.#clock = clock;
    this.#listenPort = options.listenPort;
    this.#mtu = options.mtu;
    this.#model.apply(options.change);
    this.#policy.changeOwn(options.ownAddresses ?? []);
    this.#policy.change(options.policy ?? null, new Map());
  }

  /**
   * Starts the lane: when this settles, packets flow. The descriptors stay the caller's when it rejects.
   * @throws NodeError `ERR_NODE_LANE`
   */
  static async start(options: DeviceOptions): Promise<Device> {
    const { descriptors, log } = options;
    const clock = await HandshakeClock.start({
      directory: stateDirectory(),
      interfaceName: descriptors.name,
      log,
    });
    const device = new Device(options, clock);
    try {
      device.#lane = await device.#startLane();
    } catch (cause) {
      await clock.stop();
      device.#model.wipe();
      throw new NodeError('ERR_NODE_LANE', `the lane did not start: ${messageOf(cause)}`, { cause });
    }
    device.#learning = setInterval(() => void device.#learnSome(), LEARN_MS).unref();
    return device;
  }

  /** Ends the lane and overwrites the secrets. The descriptors are closed by whoever opened them. */
  async stop(): Promise<void> {
    clearInterval(this.#learning);
    await this.#lane?.stop();
    await this.#clock.stop();
    this.#model.wipe();
  }

  get lane(): Pick<Supervisor, 'isRunning' | 'restarts' | 'lastFailure'> | undefined {
    return this.#lane;
  }

  get(): Promise<DeviceSnapshot> {
    return this.status();
  }

  /** The device as it is now, with what the lane has counted. */
  async status(): Promise<DeviceStatus> {
    const ids = Uint32Array.from(this.#model.peers(), ({ id }) => id);
    const traffic = new Map<number, PeerTraffic>();
    let counters: DeviceCounters | undefined;
    for (let at = 0; at === 0 || at < ids.length; at += PEERS_AT_ONCE) {
      const answer = await this.#lane?.status(ids.slice(at, at + PEERS_AT_ONCE));
      if (answer === undefined) break;
      counters = answer;
      for (const [id, counted] of this.#trafficOf(answer)) traffic.set(id, counted);
    }
    for (const peer of this.#model.peers()) this.#learn(peer, traffic.get(peer.id));
    return {
      privateKey: this.#model.privateKey,
      publicKey: this.#model.publicKey,
      offloads: this.#options.descriptors.all.offloads,
      listenPort: this.#options.descriptors.port,
      fwmark: this.#fwmark,
      mtu: this.#mtu,
      peers: this.#model.peers(),
      traffic: (peer) => traffic.get(peer),
      counters,
    };
  }

  /** Applies a change whole and settles when the lane has it, or answers with a number and has changed nothing. */
  async set(change: DeviceChange): Promise<Errno> {
    try {
      await this.change(change);
      return ERRNO.ok;
    } catch (error) {
      this.#options.log.warn(`refused: ${messageOf(error)}`);
      return codeOf(error) === 'ERR_NODE_DEVICE' ? ERRNO.invalid : ERRNO.portInUse;
    }
  }

  /**
   * Applies a change whole and settles when the lane has it.
   * @throws NodeError `ERR_NODE_PORT`, `ERR_NODE_DEVICE` for more peers than a device takes; nothing has changed then
   */
  change(change: DeviceChange): Promise<void> {
    return this.#inTurn(() => this.#change(change));
  }

  /** What the lane has counted of some peers, of those that are there. */
  async trafficOf(publicKeys: readonly Uint8Array[]): Promise<ReadonlyMap<PeerKey, PeerTraffic>> {
    const peers = publicKeys.flatMap((publicKey) => this.#model.peer(publicKey) ?? []);
    const counted = new Map<number, PeerTraffic>();
    for (let at = 0; at < peers.length; at += PEERS_AT_ONCE) {
      const ids = Uint32Array.from(peers.slice(at, at + PEERS_AT_ONCE), ({ id }) => id);
      const answer = await this.#lane?.status(ids);
      if (answer !== undefined) for (const [id, traffic] of this.#trafficOf(answer)) counted.set(id, traffic);
    }
    return new Map(
      peers.flatMap(({ id, publicKey }) => {
        const traffic = counted.get(id);
        return traffic === undefined ? [] : [[peerKey(publicKey), traffic] as const];
      }),
    );
  }

  /**
   * Says where a peer may be: `move` sends to it there from now on, `call` begins a handshake there as well, `probe` only asks
   * whether it answers there, which moves it, while everything else goes where it went.
   */
  async steer(publicKey: Uint8Array, endpoint: PeerEndpoint, how: 'move' | 'call' | 'probe'): Promise<void> {
    const peer = this.#model.peer(publicKey);
    if (peer === undefined) return;
    const place = laneEndpoint(endpoint);
    if (how === 'probe') return await this.#lane?.change([peerEdit({ id: peer.id, probe: place })]);
    this.#model.learnEndpoint(publicKey, endpoint);
    await this.#lane?.change([peerEdit({ id: peer.id, endpoint: place, renews: how === 'call' })]);
  }

  /** Whether a peer has this preshared key; without a key, whether it has none. */
  hasPresharedKey(publicKey: Uint8Array, presharedKey: Uint8Array | undefined): boolean {
    const own = this.#model.peer(publicKey)?.presharedKey;
    if (own === undefined || presharedKey === undefined) return own === presharedKey;
    return timingSafeEqual(own, presharedKey);
  }

  async #change(change: DeviceChange): Promise<void> {
    if (!this.#model.hasRoomFor(change))
      throw new NodeError('ERR_NODE_DEVICE', `a device has at most ${MOST_PEERS} peers`);
    const former = this.#changeSockets(change);
    const steps = this.#model.apply(change);
    for (const { id } of steps.removed) this.#handshakes.delete(id);
    await this.#lane?.change(laneChanges(steps, this.#model));
    if (former === undefined) return;
    const { udp4, udp6 } = this.#options.descriptors.all;
    await this.#lane?.setSockets(udp4, udp6);
    closeSockets(former);
  }

  /**
   * Makes this the policy, null for none, and settles when the lane has it: what it does not allow is dead, flows that it
   * allows go on. `allowances` are of all peers with a quota, by the count of the running lane.
   * @throws NodeError `ERR_NODE_POLICY` when the core refuses it; the former is in force then
   */
  setPolicy(policy: CompiledPolicy | null, allowances: () => Allowances): Promise<void> {
    return this.#inTurn(async () => {
      const former = this.#policy.current;
      await this.#giveLane(this.#policy.change(policy, allowances()), former);
    });
  }

  /** These peers may use so much, by the count of the running lane. */
  setAllowances(allowances: Allowances): Promise<void> {
    return this.#inTurn(async () => {
      const records = this.#policy.changeAllowances(allowances);
      if (records !== undefined) await this.#giveLane(records, this.#policy.current);
    });
  }

  /** The host has these addresses. */
  setOwnAddresses(own: readonly IpPrefix[]): Promise<void> {
    return this.#inTurn(async () => {
      const records = this.#policy.changeOwn(own);
      if (records !== undefined) await this.#giveLane(records, this.#policy.current);
    });
  }

  async #giveLane(records: Uint8Array | null, former: CompiledPolicy | null): Promise<void> {
    if ((await this.#lane?.setPolicy(records)) !== false) return;
    this.#policy.revert(former);
    throw new NodeError('ERR_NODE_POLICY', 'the core refuses the policy: the former one stays in force');
  }

  /** What the filter has counted, and logged since it was last asked; undefined while no lane runs. */
  async filter(): Promise<LaneFilter | undefined> {
    return this.#lane?.filter();
  }

  /** Has the packets of these peers logged, and of no others; what was logged since the last time. undefined as above. */
  async follow(peers: Iterable<number>): Promise<LanePackets | undefined> {
    return this.#lane?.follow(Uint32Array.from(peers));
  }

  /** What was counted of peers and services since it was last asked; undefined while no lane runs. */
  async meters(): Promise<LaneMeters | undefined> {
    return this.#lane?.meters();
  }

  deniedPackets(filter: LaneFilter): DeniedPackets[] {
    return this.#policy.denied(filter);
  }

  ruleName(number: number): RuleName | null {
    return this.#policy.ruleName(number);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#lastChange.then(work);
    this.#lastChange = done.catch(() => {});
    return done;
  }

  peerOfId(id: number): ModelPeer | undefined {
    return this.#model.peerOfId(id);
  }

  peer(publicKey: Uint8Array): ModelPeer | undefined {
    return this.#model.peer(publicKey);
  }

  /** What the lane has counted of one peer; undefined without a lane, or where there is no such peer. */
  async traffic(publicKey: Uint8Array): Promise<PeerTraffic | undefined> {
    const peer = this.#model.peer(publicKey);
    const answer = peer && (await this.#lane?.status(Uint32Array.of(peer.id)));
    return answer && this.#trafficOf(answer)[0]?.[1];
  }

  /** Says something to the host of a peer, through the tunnel: up to 512 bytes, which may be lost. */
  say(publicKey: Uint8Array, message: Uint8Array): void {
    const peer = this.#model.peer(publicKey);
    if (peer !== undefined) this.#lane?.say(peer.id, message);
  }

  #heard(id: number, message: Uint8Array): void {
    const peer = this.#model.peerOfId(id);
    if (peer !== undefined) this.#options.onHeard?.(peer, message);
    wipe(message);
  }

  /**
   * Opens other sockets for another port, or marks the present ones, on which no packet is lost. Returns those that are to
   * be closed once the lane has the new ones; throws when the port is taken or the mark refused, and nothing has changed.
   */
  #changeSockets({
    listenPort = this.#listenPort,
    fwmark = this.#fwmark,
  }: DeviceChange): Sockets | undefined {
    const { descriptors } = this.#options;
    // Any port is any port: the present one stays.
    const isSamePort = listenPort === this.#listenPort || listenPort === descriptors.port;
    let former: Sockets | undefined;
    if (!isSamePort) former = descriptors.exchange(descriptors.openSockets(listenPort, fwmark));
    else if (fwmark !== this.#fwmark) descriptors.setMark(fwmark, this.#fwmark);
    this.#listenPort = listenPort;
    this.#fwmark = fwmark;
    return former;
  }

  #startLane(): Promise<Supervisor> {
    const { descriptors, log, laneWorker, onGone } = this.#options;
    return Supervisor.start({
      descriptors: () => descriptors.all,
      // Made anew for each lane: it begins where the peers were last seen.
      settings: () => ({
        mtu: this.#mtu,
        clockOffsetSeconds: this.#clock.offsetSeconds,
        // A lane that takes the place of another takes up the connections that were there.
        policy: this.#policy.laneSettings(
          this.#lane !== undefined,
          this.#options.allowances?.() ?? new Map(),
        ),
        change: wholeChange(this.#model),
      }),
      ...(laneWorker === undefined ? {} : { worker: laneWorker }),
      onFaults: (faults) => {
        const list = faults.map(({ call, code, count }) => `${call} ${code} ${count} times`).join(', ');
        log.warn(`system calls failed since the start: ${list}`);
      },
      onHeard: (peer, message) => this.#heard(peer, message),
      onMtu: (mtu) => {
        this.#mtu = mtu;
        log.debug(`the MTU is ${mtu} now`);
      },
      onRestart: (reason, restarts) =>
        log.error(`the lane failed and is restarted (restart ${restarts}): ${reason}`),
      onRestarted: () => log.info('the lane runs again; peers shake hands anew'),
      onInterfaceGone: onGone,
    });
  }

  #trafficOf({ nowMs, peers }: LaneStatus): [number, PeerTraffic][] {
    const toWall = Date.now() - nowMs;
    return unpackPeers(peers).map(({ id, endpoint, rxBytes, txBytes, lastHandshakeMs, isMadeWithOther }) => {
      const handshake = lastHandshakeMs === null ? 0 : this.#handshakeTime(id, lastHandshakeMs, toWall);
      return [
        id,
        {
          endpoint: endpoint && this.#placeOf(id, endpoint),
          rxBytes,
          txBytes,
          lastHandshakeMs: handshake,
          isMadeWithOther,
        },
      ];
    });
  }

  /** That of the model, where it is the same: of thousands, most. */
  #placeOf(id: number, { address, port, scope }: LaneEndpoint): PeerEndpoint {
    const known = this.#model.peerOfId(id)?.endpoint;
    const zone = scope === 0 ? null : String(scope);
    const isKnown =
      known?.port === port && known.zone === zone && Buffer.compare(known.address.bytes, address) === 0;
    return isKnown ? known : { address: ipFromBytes(address), zone, port };
  }

  /** The same answer each time, also when the wall clock has been set since. */
  #handshakeTime(peer: number, laneMs: number, toWall: number): number {
    const known = this.#handshakes.get(peer);
    if (known?.laneMs === laneMs) return known.wallMs;
    const wallMs = laneMs + toWall;
    this.#handshakes.set(peer, { laneMs, wallMs });
    return wallMs;
  }

  /** A thousand peers take four seconds; ten thousand forty, for one percent of a core. */
  async #learnSome(): Promise<void> {
    const peers = Array.from(this.#model.peers());
    const some = peers.slice(this.#learned, this.#learned + PEERS_AT_ONCE);
    this.#learned = some.length < PEERS_AT_ONCE ? 0 : this.#learned + PEERS_AT_ONCE;
    const answer = await this.#lane?.status(Uint32Array.from(some, ({ id }) => id));
    if (answer === undefined) return;
    const traffic = new Map(this.#trafficOf(answer));
    for (const peer of some) this.#learn(peer, traffic.get(peer.id));
  }

  #learn(peer: ModelPeer, traffic: PeerTraffic | undefined): void {
    const endpoint = traffic?.endpoint;
    if (endpoint === undefined || endpoint === null) return;
    if (peer.endpoint === endpoint) return;
    this.#model.learnEndpoint(peer.publicKey, endpoint);
    const place = renderEndpoint({ kind: 'address', ...endpoint });
    this.#options.log.debug(`the peer ${renderPublicKey(peer.publicKey)} is at ${place} now`);
  }
}
