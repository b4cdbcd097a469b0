//! What the filter tells of its work: how much each rule denied each peer, and a log of some of the packets. Both are of
//! fixed size, and the host reads them when it likes.

use crate::counters::DropReason;
use crate::host::Millis;

use super::Leg;
use super::packet::{Packet, is_icmp};
use super::policy::{Decision, Stage};
use super::rules::RuleId;

/// Pairs of rule and peer that are counted apart; what exceeds them is counted by [`DropReason`] only.
pub const ROWS: usize = 4096;
pub const ROW_BYTES: usize = 32;
const PROBES: usize = 16;
const LOG_ENTRIES: usize = 256;
pub const ENTRY_BYTES: usize = 64;
/// Of dropped packets so many are logged in a second at the most, so that a flood is told of and does not fill the log.
const SAMPLES: Allowance = Allowance { packets: 50, span: 1000 };
/// Of packets that are followed, as few as the log has room for until the host has read it twice.
const FOLLOWED: Allowance = Allowance { packets: 100, span: 100 };

/// In place of a stage in a log entry: not the policy but what the packet is decided, and this is its [`DropReason`].
const BY_REASON: u8 = 0x80;
const ALLOWED: u8 = 0x40;

#[derive(Clone, Copy, Default)]
struct Row {
    packets: u64,
    bytes: u64,
    peer: u32,
    rule: RuleId,
    stage: u8,
}

/// Why a packet is in the log.
#[derive(Clone, Copy)]
pub enum Cause {
    Decided(Decision),
    Dropped(DropReason),
}

/// So many packets in so many milliseconds.
struct Allowance {
    packets: u32,
    span: Millis,
}

/// How much of an allowance is used up.
#[derive(Clone, Copy, Default)]
struct Used {
    span: Millis,
    packets: u32,
    /// Packets that were not logged since the last that was.
    skipped: u32,
}

impl Used {
    /// Whether one more may be logged.
    fn take(&mut self, allowance: &Allowance, now: Millis) -> bool {
        let span = now / allowance.span;
        if self.span != span {
            (self.span, self.packets) = (span, 0);
        }
        let has_room = self.packets < allowance.packets;
        if has_room {
            self.packets += 1;
        } else {
            self.skipped = self.skipped.saturating_add(1);
        }
        has_room
    }
}

pub struct Report {
    rows: Box<[Row]>,
    log: Box<[[u8; ENTRY_BYTES]]>,
    /// Entries written since the start, and read.
    written: usize,
    read: usize,
    samples: Used,
    followed: Used,
}

impl Report {
    /// Without places, until [`Report::make_room`].
    pub fn new() -> Self {
        Report {
            rows: Box::default(),
            log: Box::default(),
            written: 0,
            read: 0,
            samples: Used::default(),
            followed: Used::default(),
        }
    }

    /// Takes its memory, once: 144 KiB.
    pub fn make_room(&mut self) {
        if self.rows.is_empty() {
            self.rows = vec![Row::default(); ROWS].into_boxed_slice();
            self.log = vec![[0; ENTRY_BYTES]; LOG_ENTRIES].into_boxed_slice();
        }
    }

    /// Counts what a rule denied a peer.
    pub fn count(&mut self, peer: u32, decision: Decision, bytes: usize) {
        let stage = decision.stage as u8;
        let spread =
            peer.wrapping_mul(0x9e37_79b1) ^ decision.rule.wrapping_mul(0x85eb_ca6b) ^ u32::from(stage);
        for step in 0..PROBES {
            let Some(row) = self.rows.get_mut((spread as usize + step) % ROWS) else { return };
            if row.packets == 0 {
                *row = Row { peer, rule: decision.rule, stage, ..Row::default() };
            }
            if (row.peer, row.rule, row.stage) == (peer, decision.rule, stage) {
                row.packets += 1;
                row.bytes += bytes as u64;
                return;
            }
        }
    }

    /// Its rows say no more: another peer may have its id.
    pub fn forget_peer(&mut self, peer: u32) {
        self.rows.iter_mut().filter(|row| row.peer == peer).for_each(|row| *row = Row::default());
    }

    /// Writes rows that have counted, from row `start` on, as many as fit: 0 packets u64 │ 8 bytes u64 │ 16 peer u32 │
    /// 20 rule u32 │ 24 stage u8. Returns their number and where to go on; [`ROWS`] = that was all.
    pub fn write_rows(&self, start: usize, into: &mut [u8]) -> (usize, usize) {
        let mut count = 0;
        let (places, _) = into.as_chunks_mut::<ROW_BYTES>();
        for (at, row) in self.rows.iter().enumerate().skip(start).filter(|(_, row)| row.packets > 0) {
            let Some(place) = places.get_mut(count) else { return (count, at) };
            let fields: [&[u8]; 5] = [
                &row.packets.to_le_bytes(),
                &row.bytes.to_le_bytes(),
                &row.peer.to_le_bytes(),
                &row.rule.to_le_bytes(),
                &[row.stage],
            ];
            place.iter_mut().zip(fields.into_iter().flatten()).for_each(|(to, from)| *to = *from);
            count += 1;
        }
        (count, ROWS)
    }

    /// Logs a packet, unless too many of its kind were logged just now. Those of peers that are followed take no place
    /// away from the sample of what is dropped.
    pub fn log(
        &mut self,
        now: Millis,
        is_followed: bool,
        leg: Leg,
        peer: u32,
        packet: Option<&Packet<'_>>,
        cause: Cause,
    ) {
        let (used, allowance) =
            if is_followed { (&mut self.followed, &FOLLOWED) } else { (&mut self.samples, &SAMPLES) };
        if !used.take(allowance, now) {
            return;
        }
        let Some(place) = self.log.get_mut(self.written % LOG_ENTRIES) else { return };
        *place = entry(now, leg, peer, packet, cause, used.skipped);
        used.skipped = 0;
        self.written += 1;
        if self.written - self.read > LOG_ENTRIES {
            self.read += 1; // nobody has read it in time
            used.skipped += 1;
        }
    }

    /// Moves entries out, oldest first, as many as fit.
    pub fn take_log(&mut self, into: &mut [u8]) -> usize {
        let (places, _) = into.as_chunks_mut::<ENTRY_BYTES>();
        let mut count = 0;
        while let Some(place) = places.get_mut(count).filter(|_| self.read < self.written) {
            if let Some(entry) = self.log.get(self.read % LOG_ENTRIES) {
                *place = *entry;
            }
            self.read += 1;
            count += 1;
        }
        count
    }
}

/// 0 time ms f64 │ 8 peer u32 │ 12 rule u32 │ 16 bits u8 (1 out, 2 a piece without ports) │ 17 cause u8 │ 18 protocol u8 │ 19 family u8 (0 = no packet) │
/// 20 source port u16 │ 22 destination port or ICMP type u16 │ 24 length u32 │ 28 packets not logged before it u32 │
/// 32 source 16 │ 48 destination 16. The cause is a stage, 64 more if the flow was allowed; or 128 and a drop reason.
fn entry(
    now: Millis,
    leg: Leg,
    peer: u32,
    packet: Option<&Packet<'_>>,
    cause: Cause,
    skipped: u32,
) -> [u8; ENTRY_BYTES] {
    let (cause, rule) = match cause {
        Cause::Decided(Decision { allows, stage, rule }) => {
            (stage as u8 | if allows { ALLOWED } else { 0 }, rule)
        }
        Cause::Dropped(reason) => (reason as u8 | BY_REASON, 0),
    };
    let family = packet.map_or(0, |packet| if packet.source.version.address_bits() == 32 { 4 } else { 6 });
    let is_later_piece = packet.and_then(|packet| packet.fragment).is_some_and(|piece| !piece.is_first());
    let (source_port, port) = match packet.filter(|_| !is_later_piece) {
        Some(packet) if is_icmp(packet.protocol) => (packet.icmp_id(), u16::from(packet.icmp_type())),
        Some(packet) => packet.ports(),
        None => (0, 0),
    };
    let bits = u8::from(leg == Leg::Out) | u8::from(is_later_piece) << 1;
    let mut bytes = [0; ENTRY_BYTES];
    let fields: [&[u8]; 10] = [
        &(now as f64).to_le_bytes(),
        &peer.to_le_bytes(),
        &rule.to_le_bytes(),
        &[bits, cause, packet.map_or(0, |packet| packet.protocol), family],
        &source_port.to_le_bytes(),
        &port.to_le_bytes(),
        &packet.map_or(0, |packet| packet.length as u32).to_le_bytes(),
        &skipped.to_le_bytes(),
        &packet.map_or(0, |packet| packet.source.bits).to_be_bytes(),
        &packet.map_or(0, |packet| packet.destination.bits).to_be_bytes(),
    ];
    bytes.iter_mut().zip(fields.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    bytes
}

const _: () = assert!(DropReason::NAMES.len() < BY_REASON as usize && (Stage::Quota as u8) < ALLOWED);
