// What the packet filter reports: the types, and how they lie in the control block. Twins: core/src/filter/report.rs and
// meters.rs, for what is denied and counted; core/src/lib.rs, for the status and the answers of `judge`. Calls nothing.

/** What the packet filter holds, and how full it is. */
export interface FilterStatus {
  /** false: there is no policy, and everything passes. */
  readonly isOn: boolean;
  /** Counts the changes of the policy. */
  readonly generation: number;
  readonly rules: number;
  readonly flows: number;
  readonly mostFlows: number;
  /** Flows that gave way to new ones before their time. */
  readonly evicted: bigint;
}

/** What one rule has denied one peer. Rules and stages are the host's numbers: see core/src/filter/decode.rs. */
export interface FilterDrops {
  readonly peer: number;
  /** 0 = none: nothing allowed it. */
  readonly rule: number;
  readonly stage: number;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** What was counted in one direction. Bytes are those of IP packets inside the tunnel. */
export interface Tally {
  readonly bytes: bigint;
  readonly packets: bigint;
  /** Opened in this direction. */
  readonly flows: bigint;
}

/** What was counted of one peer, since it was added, or of one service. */
export interface FilterMeter {
  /** The peer, or the rule that the service is. */
  readonly id: number;
  /** From the peer; to the service. */
  readonly up: Tally;
  /** To the peer; from the service. */
  readonly down: Tally;
}

/** A packet that was logged: dropped, or of a peer that is followed. */
export interface FilterLogEntry {
  /** On the clock of `Core.setTime`. */
  readonly timeMs: number;
  readonly leg: 'in' | 'out';
  readonly peer: number;
  readonly isAllowed: boolean;
  /** What the policy decided; absent where the packet itself was at fault. */
  readonly stage?: number;
  /** 0 = none. */
  readonly rule: number;
  /** Why, where it was not the policy: a name of `Core.drops`. */
  readonly reason?: string;
  readonly protocol: number;
  /** 4 or 16 bytes; empty where no packet could be read. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly sourcePort: number;
  /** Or the ICMP type. */
  readonly port: number;
  /** Whether it is a piece of a datagram that is not the first, and so has no ports. */
  readonly isLaterPiece: boolean;
  readonly lengthBytes: number;
  /** Packets dropped before it that were not logged. */
  readonly skipped: number;
}

/** What the filter says to a packet. */
export type Judgement =
  | { readonly isAllowed: boolean; readonly stage: number; readonly rule: number }
  /** Not by the policy: a name of `Core.drops`. */
  | { readonly isAllowed: false; readonly reason: string };

const DROP_ROW_BYTES = 32;
/** The next row of {@link readDrops} where all have been told. */
export const DROP_ROWS = 4096;
const METER_ROW_BYTES = 64;
/** The next row of {@link readMeters} where all have been told. */
export const ALL_METERS = 0xffff_ffff;
export const LOG_ENTRY_BYTES = 64;
const LOG_BY_REASON = 0x80;
const LOG_ALLOWED = 0x40;
// The answers of `judge`.
const JUDGED_ALLOWED = 256;
const JUDGED_REASON = 512;

/** So many bytes of the control block, from its start. */
type Block = (bytes: number) => DataView;

/** A name of `Core.drops` by its place there. */
type ReasonName = (index: number) => string;

export function readFilterStatus(block: Block): FilterStatus {
  const view = block(32);
  const field = (at: number): number => view.getUint32(at, true);
  return {
    isOn: field(0) !== 0,
    generation: field(4),
    rules: field(8),
    flows: field(12),
    mostFlows: field(16),
    evicted: view.getBigUint64(24, true),
  };
}

/** Rows, and which is the next. */
export function readDrops(count: number, block: Block): { rows: FilterDrops[]; next: number } {
  const view = block(8 + count * DROP_ROW_BYTES);
  const rows = Array.from({ length: count }, (_, row) => {
    const at = 8 + row * DROP_ROW_BYTES;
    return {
      packets: view.getBigUint64(at, true),
      bytes: view.getBigUint64(at + 8, true),
      peer: view.getUint32(at + 16, true),
      rule: view.getUint32(at + 20, true),
      stage: view.getUint8(at + 24),
    };
  });
  return { rows, next: view.getUint32(0, true) };
}

/** Rows, and which is the next. */
export function readMeters(count: number, block: Block): { rows: FilterMeter[]; next: number } {
  const view = block(8 + count * METER_ROW_BYTES);
  const tally = (at: number): Tally => ({
    bytes: view.getBigUint64(at, true),
    packets: view.getBigUint64(at + 8, true),
    flows: view.getBigUint64(at + 16, true),
  });
  const rows = Array.from({ length: count }, (_, row) => {
    const at = 8 + row * METER_ROW_BYTES;
    return { id: view.getUint32(at, true), up: tally(at + 8), down: tally(at + 32) };
  });
  return { rows, next: view.getUint32(0, true) };
}

/** The entry at `at` of a copy of the log. */
export function readLogEntry(bytes: Uint8Array, at: number, reasonName: ReasonName): FilterLogEntry {
  const view = new DataView(bytes.buffer, at, LOG_ENTRY_BYTES);
  const [cause, family] = [view.getUint8(17), view.getUint8(19)];
  const addressBytes = family === 0 ? 0 : family === 4 ? 4 : 16;
  const isByReason = (cause & LOG_BY_REASON) !== 0;
  return {
    timeMs: view.getFloat64(0, true),
    peer: view.getUint32(8, true),
    rule: view.getUint32(12, true),
    leg: (view.getUint8(16) & 1) === 0 ? 'in' : 'out',
    isLaterPiece: (view.getUint8(16) & 2) !== 0,
    isAllowed: !isByReason && (cause & LOG_ALLOWED) !== 0,
    ...(isByReason ? { reason: reasonName(cause & ~LOG_BY_REASON) } : { stage: cause & ~LOG_ALLOWED }),
    protocol: view.getUint8(18),
    sourcePort: view.getUint16(20, true),
    port: view.getUint16(22, true),
    lengthBytes: view.getUint32(24, true),
    skipped: view.getUint32(28, true),
    source: bytes.slice(at + 32, at + 32 + addressBytes),
    destination: bytes.slice(at + 48, at + 48 + addressBytes),
  };
}

/** What `judge` has answered, no refusal; `rule` is what it left in the control block. */
export function readJudgement(said: number, rule: number, reasonName: ReasonName): Judgement {
  if (said >= JUDGED_REASON) return { isAllowed: false, reason: reasonName(said - JUDGED_REASON) };
  const isAllowed = said >= JUDGED_ALLOWED;
  return { isAllowed, stage: isAllowed ? said - JUDGED_ALLOWED : said, rule };
}
