// The core as TypeScript sees it: instantiate, control calls, counts in and counts out. Its exports are in core-exports.ts, what
// the filter reports in filter-rows.ts; the layout of the columns is in docs/architecture.md.
// Nothing here touches a packet: the columns are read and written by whoever does the system calls.

import { ABI_VERSION, checkAnswer, type Exports } from './core-exports.ts';
import { readCore } from './core-file.ts';
import {
  ALL_METERS,
  DROP_ROWS,
  type FilterDrops,
  type FilterLogEntry,
  type FilterMeter,
  type FilterStatus,
  type Judgement,
  LOG_ENTRY_BYTES,
  readDrops,
  readFilterStatus,
  readJudgement,
  readLogEntry,
  readMeters,
} from './filter-rows.ts';
import { HostCalls } from './host-calls.ts';

export { CoreRefusal } from './core-exports.ts';
export { readCore } from './core-file.ts';
export type {
  FilterDrops,
  FilterLogEntry,
  FilterMeter,
  FilterStatus,
  Judgement,
  Tally,
} from './filter-rows.ts';

/** What does the handshakes in the core. Twin: core/Cargo.toml. */
export const BORINGTUN_VERSION = '0.7.1';

/** A compiled core: a `WebAssembly.Module`, a name that is only in the types of browsers. */
export type CompiledCore = object;

/** The memory of a core: a `WebAssembly.Memory`. `buffer` is another object after it has grown. */
export interface CoreMemory {
  readonly buffer: ArrayBuffer;
}

/** What the host gives the core. */
export interface CoreHost {
  /** Takes what the core prints, which is only ever the message of a panic. */
  readonly log: (text: string) => void;
  /** Wall clock in milliseconds since 1970, read once at instantiation. Default `Date.now`. */
  readonly wallClockMs?: () => number;
}

/** Where the columns lie in the core's memory, and how many entries each has. */
export interface Layout {
  readonly receiveColumn: number;
  readonly receiveSlots: number;
  readonly sendColumn: number;
  readonly sendSlots: number;
  readonly readColumn: number;
  readonly readSlots: number;
  readonly writeColumn: number;
  readonly writeSlots: number;
}

/** The two ends of a peer's datagrams. Addresses are 4 or 16 bytes; `local` is absent until the peer was heard. */
export interface PeerEndpoint {
  readonly address: Uint8Array;
  readonly port: number;
  readonly scope?: number;
}

export interface PeerSettings {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 32 bytes; copied into the core, the caller wipes its own. */
  readonly presharedKey?: Uint8Array | undefined;
  readonly endpoint?: PeerEndpoint | undefined;
  /** 0 = none. */
  readonly persistentKeepaliveSeconds: number;
}

export interface PeerStatus {
  readonly endpoint: PeerEndpoint | null;
  /** Whole WireGuard messages, handshakes too. */
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  /** On the clock of {@link Core.setTime}; null = never. */
  readonly lastHandshakeMs: number | null;
  /** Whether that was made with the second set of keys. */
  readonly isMadeWithOther: boolean;
}

/** What the host of a peer says to ours: see {@link Core.say}. */
export interface HeardMessage {
  readonly peer: number;
  /** Whoever read it wipes it: it may hold a key. */
  readonly message: Uint8Array;
}

/**
 * Of whom a cookie is asked before a handshake, because handshakes pile up: nobody; sources that send more than 20 a
 * second; everyone. WireGuard paper §5.3.
 */
export type Load = (typeof LOADS)[number];

/** In the order of `Load` in core/src/waiting.rs. */
const LOADS = ['nobody', 'busy-sources', 'everyone'] as const;

/** What the host can take beside single packets. */
export interface Offloads {
  /** Trains: entries of the send column with a `segment` (UDP_SEGMENT). */
  readonly trains: boolean;
  /** Frames in the write column that are TCP superpackets. */
  readonly tcp: boolean;
  /** And UDP ones. */
  readonly udp: boolean;
}

/** In the answer of {@link Core.lookup}: no peer. */
export const NO_PEER = 0xffff_ffff;
/** Addresses that {@link Core.lookup} takes at once: a control block full. */
export const LOOKUP_MOST = 1024;
const KEY_BYTES = 32;
const TAG_BYTES = 16;
// The control block, as core/src/control.rs draws it.
const PEER_ENDPOINT = 64;
const PEER_KEEPALIVE = 104;
const STATUS_RX = 40;
const STATUS_OTHER = 64;
const HEARD_MESSAGE = 4;
const AEAD_TEXT = 44;
/** Bytes of a record of a policy change: core/src/filter/decode.rs. */
export const POLICY_RECORD_BYTES = 64;
const POLICY_BYTES_AT_ONCE = 16_384;
/**
 * boringtun counts TAI seconds with an offset of 37, every other implementation with 10. Giving it the time 27 s
 * early makes its timestamps comparable: a key moved to another implementation would else be refused for 27 s.
 */
const TAI_CORRECTION_S = 27;

/** Compiles the committed core. About 20 ms; the module may be shared between instances. */
export function compile(): CompiledCore {
  return new WebAssembly.Module(readCore());
}

/** One WireGuard device: its peers, keys, tables and packet memory. Not shared between threads. */
export class Core {
  readonly memory: CoreMemory;
  readonly layout: Layout;
  readonly #exports: Exports;
  #bytesOfAll: Uint8Array<ArrayBuffer> = new Uint8Array();
  readonly #control: number;
  readonly #counters: number;
  readonly #counterCount: number;
  #nowMs: number;

  /**
   * @param nowMs the clock at start, in milliseconds of any origin; it must count through suspend and not go back
   */
  constructor(module: CompiledCore, host: CoreHost, nowMs: number) {
    this.#nowMs = nowMs;
    const wallMs = (host.wallClockMs ?? Date.now)();
    // The two clocks are apart by whole seconds, so that cutting one cuts their sum too.
    // Before 1970 boringtun would panic, so that is where a clock begins that was never set.
    const offsetS = Math.max(0, Math.ceil((wallMs - nowMs) / 1000) - TAI_CORRECTION_S);
    const wasi = new HostCalls(host.log, () => ({ nowMs: this.#nowMs, offsetS }));
    const instance = new WebAssembly.Instance(module, { wasi_snapshot_preview1: wasi.imports });
    this.#exports = instance.exports as unknown as Exports;
    this.memory = this.#exports.memory;
    wasi.memory = this.#exports.memory;
    this.#exports._initialize?.();
    this.#exports.set_time(nowMs);

    const at = this.#exports.layout();
    const word = (index: number): number => this.#view().getUint32(at + index * 4, true);
    if (word(0) !== ABI_VERSION) {
      throw new Error(`the core speaks ABI ${word(0)}, this wrapper ${ABI_VERSION}: rebuild one of them`);
    }
    this.layout = {
      receiveColumn: word(1),
      receiveSlots: word(2),
      sendColumn: word(3),
      sendSlots: word(4),
      readColumn: word(5),
      readSlots: word(6),
      writeColumn: word(7),
      writeSlots: word(8),
    };
    this.#control = word(9);
    this.#counters = word(11);
    this.#counterCount = word(12);
  }

  /** The present buffer of {@link memory}: another one when it has grown. Asked for at each call, it must cost nothing. */
  get buffer(): ArrayBuffer {
    // A view of a buffer that is detached has no bytes.
    if (this.#bytesOfAll.length === 0) this.#bytesOfAll = new Uint8Array(this.memory.buffer);
    return this.#bytesOfAll.buffer;
  }

  /** The time for everything until the next call. Once per turn of the loop. */
  setTime(nowMs: number): void {
    if (nowMs > this.#nowMs) this.#nowMs = nowMs;
    this.#exports.set_time(nowMs);
  }

  /**
   * Takes our private key (32 bytes; the caller wipes its copy), before or after the peers; zeros mean none, and then the
   * device is silent. The same key again changes nothing. Another one is what handshakes are made with from now on; sessions
   * go on until they have made new ones, at most 180 s, so that nothing is lost.
   * Refused as ERR_CORE_OWN_KEY, with nothing changed, while a peer has the public key that belongs to it.
   */
  setIdentity(privateKey: Uint8Array): void {
    this.#write(0, exactly(privateKey, KEY_BYTES, 'private key'));
    checkAnswer(this.#exports.set_identity(), 'the identity');
  }

  /** The MTU of the TUN device: packets are padded up to it. */
  setMtu(mtu: number): void {
    this.#exports.set_mtu(mtu);
  }

  /** Which offloads the host has switched on; none at first. */
  setOffloads({ trains, tcp, udp }: Offloads): void {
    this.#exports.set_offloads((trains ? 1 : 0) | (tcp ? 2 : 0) | (udp ? 4 : 0));
  }

  /** Adds a peer and returns its id. It stays silent until there is an identity. */
  addPeer(settings: PeerSettings): number {
    this.#write(0, exactly(settings.publicKey, KEY_BYTES, 'public key'));
    const presharedKey = settings.presharedKey ?? new Uint8Array(KEY_BYTES);
    this.#write(KEY_BYTES, exactly(presharedKey, KEY_BYTES, 'preshared key'));
    this.#writeEndpoint(PEER_ENDPOINT, settings.endpoint);
    const view = this.#view();
    view.setUint16(this.#control + PEER_KEEPALIVE, settings.persistentKeepaliveSeconds, true);
    view.setUint8(this.#control + PEER_KEEPALIVE + 2, settings.presharedKey === undefined ? 0 : 1);
    return checkAnswer(this.#exports.add_peer(), 'a peer');
  }

  removePeer(peer: number): void {
    checkAnswer(this.#exports.remove_peer(peer), 'the removal of a peer');
  }

  setEndpoint(peer: number, endpoint: PeerEndpoint): void {
    this.#writeEndpoint(0, endpoint);
    checkAnswer(this.#exports.set_endpoint(peer), 'an endpoint');
  }

  /**
   * Takes a peer's preshared key (32 bytes; the caller wipes its copy), or that it has none, with the promises of
   * {@link setIdentity}. A handshake with it starts with the next tick if there is a session.
   */
  setPresharedKey(peer: number, key: Uint8Array | undefined): void {
    this.#write(0, exactly(key ?? new Uint8Array(KEY_BYTES), KEY_BYTES, 'preshared key'));
    this.#view().setUint8(this.#control + KEY_BYTES, key === undefined ? 0 : 1);
    checkAnswer(this.#exports.set_preshared_key(peer), 'a preshared key');
  }

  /**
   * Takes the private key that is to follow ours (32 bytes; the caller wipes its copy); zeros mean none. Initiations to
   * either are answered, and each peer that has one set of keys gets a second with it. Refused as ERR_CORE_OWN_KEY, with
   * nothing changed, while a peer has the public key that belongs to it, or where it is our own.
   */
  setNextIdentity(privateKey: Uint8Array): void {
    this.#write(0, exactly(privateKey, KEY_BYTES, 'private key'));
    checkAnswer(this.#exports.set_next_identity(), 'the next identity');
  }

  /** The key that was to follow ours is ours, the former one is wiped. Sessions go on to their end. */
  adoptNextIdentity(): void {
    checkAnswer(this.#exports.adopt_next_identity(), 'the next identity');
  }

  /**
   * Gives a peer a second set of keys, another public key or another preshared key, in the place of an earlier second set:
   * handshakes under both are answered, and who begins one without an answer tries the other after 2.5 s.
   */
  addKeys(peer: number, publicKey: Uint8Array, presharedKey: Uint8Array | undefined): void {
    this.#write(0, exactly(publicKey, KEY_BYTES, 'public key'));
    this.#write(KEY_BYTES, exactly(presharedKey ?? new Uint8Array(KEY_BYTES), KEY_BYTES, 'preshared key'));
    this.#view().setUint8(this.#control + 2 * KEY_BYTES, presharedKey === undefined ? 0 : 1);
    checkAnswer(this.#exports.add_keys(peer), 'a second set of keys');
  }

  /** From now on handshakes begin with the second set of keys, and are answered with it where either would do, until one succeeds with the first. */
  preferOtherKeys(peer: number): void {
    checkAnswer(this.#exports.prefer_other_keys(peer), 'the second set of keys');
  }

  /** Keeps one of a peer's two sets of keys. Sessions made with the other live to their end. */
  settleKeys(peer: number, kept: 'first' | 'other'): void {
    checkAnswer(this.#exports.settle_keys(peer, kept === 'other' ? 1 : 0), 'the keys of a peer');
  }

  /** Has a handshake begin with the next tick, also where there is a good session. */
  renewSession(peer: number): void {
    checkAnswer(this.#exports.renew_session(peer), 'a fresh session');
  }

  /**
   * Has a handshake begin with the next tick by an initiation to `endpoint`. Where the peer answers from, it is from then
   * on; without an answer it stays where it was, and so does its data.
   */
  probeEndpoint(peer: number, endpoint: PeerEndpoint): void {
    this.#writeEndpoint(0, endpoint);
    checkAnswer(this.#exports.probe_endpoint(peer), 'an endpoint to try');
  }

  /**
   * Sends up to 512 bytes to the host of a peer, through the tunnel but past its TUN device, as a datagram: it may be lost.
   * Hosts that are not of this kind drop it. Returns the messages that wait in the send column.
   */
  say(peer: number, message: Uint8Array): number {
    this.#write(0, message);
    return checkAnswer(this.#exports.say(peer, message.length), 'a message to a peer');
  }

  /** The oldest message from the host of a peer that was not fetched yet. */
  heard(): HeardMessage | undefined {
    const length = this.#exports.heard();
    if (length <= 0) return undefined;
    const bytes = this.#bytes(0, length);
    const peer = this.#view().getUint32(this.#control, true);
    const message = bytes.slice(HEARD_MESSAGE);
    bytes.fill(0);
    return { peer, message };
  }

  /** A peer's persistent keepalive in seconds, at most 65,535; 0 = none. Switched on, the first leaves with the next tick. */
  setKeepalive(peer: number, seconds: number): void {
    checkAnswer(this.#exports.set_keepalive(peer, seconds), 'a keepalive');
  }

  /** Gives a prefix to a peer, taking it from whoever had it. `address` is 4 or 16 bytes. */
  allow(peer: number, address: Uint8Array, length: number): void {
    this.#write(0, address);
    checkAnswer(this.#exports.allow(peer, familyOf(address), length), 'an allowed IP');
  }

  /** Takes a prefix from a peer; true if it had it. */
  disallow(peer: number, address: Uint8Array, length: number): boolean {
    this.#write(0, address);
    return checkAnswer(this.#exports.disallow(peer, familyOf(address), length), 'an allowed IP') === 1;
  }

  /**
   * The peer of each address, {@link NO_PEER} for none. `addresses` are of one family, end to end in 16 bytes each, IPv4 in
   * the first four; at most {@link LOOKUP_MOST}. Word `4 n` of the result belongs to address `n`; borrowed until the next call.
   */
  lookup(family: 4 | 6, addresses: Uint8Array): Uint32Array {
    const count = addresses.length / 16;
    if (count > LOOKUP_MOST) throw new RangeError(`at most ${LOOKUP_MOST} addresses, not ${count}`);
    this.#write(0, addresses);
    checkAnswer(this.#exports.lookup(family, count), 'a lookup');
    return new Uint32Array(this.memory.buffer, this.#control, count * 4);
  }

  peerStatus(peer: number): PeerStatus {
    checkAnswer(this.#exports.peer_status(peer), 'the status of a peer');
    const view = this.#view();
    const at = this.#control;
    const lastHandshakeMs = view.getFloat64(at + STATUS_RX + 16, true);
    return {
      endpoint: this.#readEndpoint(0),
      rxBytes: view.getBigUint64(at + STATUS_RX, true),
      txBytes: view.getBigUint64(at + STATUS_RX + 8, true),
      lastHandshakeMs: lastHandshakeMs < 0 ? null : lastHandshakeMs,
      isMadeWithOther: view.getUint8(at + STATUS_OTHER) !== 0,
    };
  }

  /** Takes `count` datagrams of the receive column; returns the frames that wait in the write column. */
  inbound(count: number): number {
    return this.#exports.inbound(count);
  }

  /** How many messages the last call left in the send column. */
  replies(): number {
    return this.#exports.replies();
  }

  /** How many handshake messages wait: while any do, call {@link handshakes} after each batch, and do not sleep. */
  handshakesWaiting(): number {
    return this.#exports.handshakes_waiting();
  }

  /** Works on them for about a millisecond, less while data flows; returns the messages that wait in the send column. */
  handshakes(): number {
    return this.#exports.handshakes();
  }

  /** Of whom a cookie is asked now. */
  load(): Load {
    return LOADS[this.#exports.load()] ?? 'nobody';
  }

  /** Takes `count` frames of the read column; returns the messages that wait in the send column. */
  outbound(count: number): number {
    return this.#exports.outbound(count);
  }

  /** How many frames the last {@link outbound} or {@link release} left in the write column. */
  answers(): number {
    return this.#exports.answers();
  }

  /** When a packet that waits for the rate of its peer may leave; infinite while none waits. Then call {@link release}. */
  releaseAt(): number {
    return this.#exports.release_at();
  }

  /** Lets go packets that have waited; returns the messages that wait in the send column, {@link answers} the frames. */
  release(): number {
    return this.#exports.release();
  }

  /**
   * Denies from now on what the policy does not allow, and everything before there is one. TCP connections that may have
   * been there before are taken up for a minute where the policy allows them, if `picksUp`.
   */
  enableFilter(picksUp: boolean): void {
    this.#exports.filter_enable(picksUp ? 1 : 0);
  }

  /** Lets everything pass from now on, and forgets the policy. */
  disableFilter(): void {
    this.#exports.filter_disable();
  }

  /** Begins another change of the policy; what was staged of one before is forgotten. */
  beginPolicy(): void {
    this.#exports.policy_begin();
  }

  /**
   * Takes whole records of {@link POLICY_RECORD_BYTES} of the change in; nothing of it counts before {@link commitPolicy}.
   * Refused as ERR_CORE_BAD_POLICY where one cannot be, and then the whole change is void.
   */
  stagePolicy(records: Uint8Array): void {
    for (let at = 0; at < records.length; at += POLICY_BYTES_AT_ONCE) {
      const piece = records.subarray(at, at + POLICY_BYTES_AT_ONCE);
      this.#write(0, piece);
      checkAnswer(this.#exports.policy_stage(piece.length), 'a change of the policy');
    }
  }

  /**
   * Makes the change current, all of it at once: live flows are judged anew before their next packet passes. Refused as
   * ERR_CORE_BAD_POLICY if it is void or refers to what is not there, and then the policy stays as it was.
   */
  commitPolicy(): void {
    checkAnswer(this.#exports.policy_commit(), 'a change of the policy');
  }

  filterStatus(): FilterStatus {
    checkAnswer(this.#exports.filter_status(), 'the status of the filter');
    return readFilterStatus(this.#block);
  }

  /** What was denied, by rule and peer: at most 4,096 pairs; what exceeds them is in {@link drops} only. */
  filterDrops(): FilterDrops[] {
    const all: FilterDrops[] = [];
    for (let start = 0; start < DROP_ROWS; ) {
      const count = checkAnswer(this.#exports.filter_drops(start), 'counters of the filter');
      const { rows, next } = readDrops(count, this.#block);
      all.push(...rows);
      start = next;
    }
    return all;
  }

  /** What was counted of peers, or of services, where it has changed since the last call. */
  filterMeters(of: 'peers' | 'services'): FilterMeter[] {
    const ofServices = of === 'peers' ? 0 : 1;
    const all: FilterMeter[] = [];
    for (let start = 0; start !== ALL_METERS; ) {
      const count = checkAnswer(this.#exports.filter_meters(ofServices, start), 'what was counted');
      const { rows, next } = readMeters(count, this.#block);
      all.push(...rows);
      start = next;
    }
    return all;
  }

  /** The packets logged since the last call, oldest first: those of peers that are followed, a sample of those dropped; at most 256. */
  filterLog(): FilterLogEntry[] {
    const count = checkAnswer(this.#exports.filter_log(), 'the log of the filter');
    const bytes = this.#bytes(0, count * LOG_ENTRY_BYTES).slice();
    return Array.from({ length: count }, (_, i) =>
      readLogEntry(bytes, i * LOG_ENTRY_BYTES, this.#reasonName),
    );
  }

  /** Logs the packets of this peer, at most a hundred in a tenth of a second, until it is no longer followed. */
  follow(peer: number, isFollowed: boolean): void {
    this.#exports.filter_follow(peer, isFollowed ? 1 : 0);
  }

  /**
   * What the filter says to a packet on its way in from a peer, or out to one. `as` a flow's first: by the policy alone, and
   * nothing is remembered; `as` it had come: with flows, which it may open, go on with or end.
   */
  judge(leg: 'in' | 'out', peer: number, packet: Uint8Array, as: 'first' | 'arrived'): Judgement {
    this.#write(0, packet);
    const side = leg === 'in' ? 0 : 1;
    const said = this.#exports.judge(side, peer, packet.length, as === 'arrived' ? 1 : 0);
    checkAnswer(said, 'to judge a packet');
    return readJudgement(said, this.#view().getUint32(this.#control, true), this.#reasonName);
  }

  /** Does what time alone makes due; returns the messages that wait in the send column. */
  tick(): number {
    return this.#exports.tick();
  }

  /** Among the first `count` messages just sent, some had a stale source address (status 1). */
  staleSources(count: number): void {
    this.#exports.stale_sources(count);
  }

  /** Dropped packets by reason. The names come from the core. */
  drops(): Map<string, bigint> {
    const values = new BigUint64Array(this.memory.buffer, this.#counters, this.#counterCount).slice();
    return new Map(Array.from(values, (value, index) => [this.#reasonName(index), value]));
  }

  /** Seals `text` with this build's AEAD: text, then 16 bytes of tag. For vectors and measurements. */
  seal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, text: Uint8Array): Uint8Array {
    this.#writeAead(key, nonce, aad, text);
    const length = checkAnswer(this.#exports.aead(1, aad.length, text.length), 'to seal');
    return this.#bytes(AEAD_TEXT + aad.length, length + TAG_BYTES).slice();
  }

  /** Opens what {@link seal} made; null when the tag does not verify. */
  open(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | null {
    this.#writeAead(key, nonce, aad, sealed);
    const length = this.#exports.aead(0, aad.length, sealed.length - TAG_BYTES);
    return length < 0 ? null : this.#bytes(AEAD_TEXT + aad.length, length).slice();
  }

  /**
   * Seals or opens again what {@link seal} left in the control block, in place, with a key and a nonce of zeros and no
   * additional data. For measurements: nothing is copied. False when the tag does not verify.
   */
  aeadInPlace(direction: 'seal' | 'open', textLength: number): boolean {
    return this.#exports.aead(direction === 'seal' ? 1 : 0, 0, textLength) >= 0;
  }

  // A view is made for each control call: memory may have grown, and an old view would be empty.
  #view(): DataView {
    return new DataView(this.memory.buffer);
  }

  #bytes(offset: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, this.#control + offset, length);
  }

  #write(offset: number, bytes: Uint8Array): void {
    this.#bytes(offset, bytes.length).set(bytes);
  }

  #writeAead(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, text: Uint8Array): void {
    this.#write(0, exactly(key, KEY_BYTES, 'key'));
    this.#write(KEY_BYTES, exactly(nonce, 12, 'nonce'));
    this.#write(AEAD_TEXT, aad);
    this.#write(AEAD_TEXT + aad.length, text);
  }

  #writeEndpoint(offset: number, endpoint: PeerEndpoint | undefined): void {
    this.#bytes(offset, 40).fill(0);
    if (endpoint === undefined) return;
    const view = this.#view();
    view.setUint16(this.#control + offset, familyOf(endpoint.address), true);
    view.setUint16(this.#control + offset + 2, endpoint.port, true);
    view.setUint32(this.#control + offset + 4, endpoint.scope ?? 0, true);
    this.#write(offset + 8, endpoint.address);
  }

  #readEndpoint(offset: number): PeerEndpoint | null {
    const view = this.#view();
    const at = this.#control + offset;
    const family = view.getUint16(at, true);
    if (family === 0) return null;
    const address = this.#bytes(offset + 8, family === 4 ? 4 : 16).slice();
    return { address, port: view.getUint16(at + 2, true), scope: view.getUint32(at + 4, true) };
  }

  readonly #block = (bytes: number): DataView => new DataView(this.memory.buffer, this.#control, bytes);

  readonly #reasonName = (index: number): string => {
    const length = checkAnswer(this.#exports.drop_reason_name(index), 'the name of a drop reason');
    return Buffer.from(this.#bytes(0, length)).toString('latin1');
  };
}

function familyOf(address: Uint8Array): 4 | 6 {
  if (address.length === 4) return 4;
  if (address.length === 16) return 6;
  throw new RangeError(`an address has 4 or 16 bytes, not ${address.length}`);
}

function exactly(bytes: Uint8Array, length: number, what: string): Uint8Array {
  if (bytes.length !== length) throw new RangeError(`a ${what} has ${length} bytes, not ${bytes.length}`);
  return bytes;
}
