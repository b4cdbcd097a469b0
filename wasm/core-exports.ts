// The functions that the core exports, as they are: numbers in, a number out, where a negative one is a refusal. Twin:
// core/src/lib.rs. What they mean is said by the methods of index.ts.

/** Of these functions, and of the columns. Twin: `ABI_VERSION` in core/src/lib.rs. */
export const ABI_VERSION = 6;

/** The core refused a call: a bug of the caller. Match on `code`. */
export class CoreRefusal extends Error {
  override readonly name = 'CoreRefusal';
  readonly code: string;
  constructor(code: string, call: string) {
    super(`the core refused ${call}: ${code}`);
    this.code = code;
  }
}

/** In the order of `Refusal` in core/src/device.rs: −1, −2, … */
const REFUSALS = [
  'ERR_CORE_COUNT_TOO_LARGE',
  'ERR_CORE_NO_SUCH_PEER',
  'ERR_CORE_PEER_EXISTS',
  'ERR_CORE_OWN_KEY',
  'ERR_CORE_LOW_ORDER_KEY',
  'ERR_CORE_BAD_PREFIX',
  'ERR_CORE_BAD_ENDPOINT',
  'ERR_CORE_TOO_MANY_PEERS',
  'ERR_CORE_BAD_ARGUMENT',
  'ERR_CORE_BAD_POLICY',
] as const;

/** What a call has answered, unless it was refused. `call` says which it was. */
export function checkAnswer(result: number, call: string): number {
  if (result >= 0) return result;
  throw new CoreRefusal(REFUSALS[-result - 1] ?? 'ERR_CORE_UNKNOWN', call);
}

/** What the instance of the core exports. */
export interface Exports {
  readonly memory: WebAssembly.Memory;
  _initialize?(): void;
  layout(): number;
  set_time(nowMs: number): void;
  set_identity(): number;
  set_mtu(mtu: number): void;
  set_offloads(bits: number): void;
  add_peer(): number;
  remove_peer(peer: number): number;
  set_endpoint(peer: number): number;
  set_preshared_key(peer: number): number;
  set_next_identity(): number;
  adopt_next_identity(): number;
  add_keys(peer: number): number;
  prefer_other_keys(peer: number): number;
  settle_keys(peer: number, other: number): number;
  renew_session(peer: number): number;
  probe_endpoint(peer: number): number;
  say(peer: number, length: number): number;
  heard(): number;
  set_keepalive(peer: number, seconds: number): number;
  allow(peer: number, family: number, length: number): number;
  disallow(peer: number, family: number, length: number): number;
  peer_status(peer: number): number;
  inbound(count: number): number;
  replies(): number;
  handshakes_waiting(): number;
  handshakes(): number;
  load(): number;
  outbound(count: number): number;
  answers(): number;
  release_at(): number;
  release(): number;
  filter_enable(picksUp: number): void;
  filter_disable(): void;
  policy_begin(): void;
  policy_stage(bytes: number): number;
  policy_commit(): number;
  filter_status(): number;
  filter_drops(start: number): number;
  filter_meters(ofServices: number, start: number): number;
  filter_log(): number;
  filter_follow(peer: number, isFollowed: number): void;
  judge(leg: number, peer: number, length: number, withFlows: number): number;
  tick(): number;
  stale_sources(count: number): void;
  drop_reason_name(index: number): number;
  lookup(family: number, count: number): number;
  aead(seal: number, aadLength: number, textLength: number): number;
}
