//! What peers and services are counted by, and what peers are limited to: bytes, packets and flows each way, a rate each
//! way, an allowance of bytes. Beside the rules and not among them: who a packet counts for is known by its tunnel and its
//! flow, so it costs the same however many rules there are. A peer without limits pays for adding three numbers.
//!
//! ```text
//! passed the rules ─▶ within the allowance? ─▶ nobody waits, and tokens are there? ─▶ on its way
//!                                              else behind those that wait ─────────▶ `pop_due`, when tokens have come
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::host::Millis;

use super::Leg;
use super::bucket::{Bucket, Rate};
use super::packet_queue::{Pool, Queue};
use super::rules::RuleId;

/// The longest IP packet there is, and its padding.
const ROOM_BYTES: usize = 65_536;
pub const ROW_BYTES: usize = 64;

/// What is counted in one direction. Bytes are those of IP packets inside the tunnel.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    pub bytes: u64,
    pub packets: u64,
    pub flows: u64,
}

/// What the policy says of a peer: its rates, from it (up) and to it (down), and whether it has a quota.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Limits {
    pub up: Option<Rate>,
    pub down: Option<Rate>,
    pub quota: Option<Quota>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    pub rule: RuleId,
    /// How fast it may be past it, each way; None = not at all.
    pub over: Option<Rate>,
}

/// What came of a packet at the limits of its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    Now,
    /// It was copied, and leaves by [`Meters::pop_due`].
    Waits,
    /// Too much waits already.
    Dropped,
}

/// Who a packet that passed counts for. All of one width, for it is copied at once: a copy that is wider than what was
/// written waits until that has left the processor, 5 ns a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    peer: u32,
    /// Which of the peer's tallies.
    leg: u32,
    /// Place of the service, 0 = of none.
    service: u32,
    /// Which of its tallies: 0 for what goes the way its flow was opened.
    way: u32,
}

impl Passed {
    pub fn new(peer: u32, leg: Leg, service: u32, is_original: bool) -> Passed {
        Passed { peer, leg: leg as u32, service, way: u32::from(!is_original) }
    }
}

/// A packet that waited, and is to leave now.
pub struct Due {
    pub leg: Leg,
    pub peer: u32,
    pub length: usize,
    /// Of the policy that let it in.
    pub generation: u32,
}

/// One direction of a limited peer.
#[derive(Default)]
struct Line {
    bucket: Bucket,
    queue: Queue,
    /// Which entry of [`Meters::due`] is this line's.
    ticket: u64,
}

#[derive(Default)]
struct Limited {
    limits: Limits,
    /// Bytes of both directions after which the quota is used up, by the peer's tallies.
    allowance: u64,
    lines: [Line; 2],
}

#[derive(Default)]
struct Meter {
    tallies: [Tally; 2],
    /// The sum of what was told last: a row that is as it was is not told again.
    told: u64,
    limited: Option<Box<Limited>>,
}

#[derive(Default)]
struct ServiceMeter {
    rule: RuleId,
    tallies: [Tally; 2],
    told: u64,
}

/// When a line is to be looked at: earliest first, and of those at one time who asked first.
type DueEntry = Reverse<(Millis, u64, u32)>;

pub struct Meters {
    peers: Vec<Meter>,
    /// How many of them are limited: where none is, a packet is asked no more than this.
    limited: usize,
    /// The first place is nobody's.
    services: Vec<ServiceMeter>,
    service_places: HashMap<RuleId, u32>,
    pool: Pool,
    due: BinaryHeap<DueEntry>,
    next_ticket: u64,
    /// Where a packet lies that is popped.
    room: Box<[u8]>,
}

/// In place of where to go on.
pub const ALL_WRITTEN: u32 = u32::MAX;

fn write_rows<'a>(
    rows: impl Iterator<Item = (usize, u32, &'a [Tally; 2], &'a mut u64)>,
    into: &mut [u8],
) -> (usize, u32) {
    let mut count = 0;
    let (places, _) = into.as_chunks_mut::<ROW_BYTES>();
    for (at, id, tallies, told) in rows {
        let [up, down] = tallies;
        let sum = up.packets + up.flows + down.packets + down.flows;
        if sum == *told {
            continue;
        }
        let Some(place) = places.get_mut(count) else { return (count, at as u32) };
        let words = [u64::from(id), up.bytes, up.packets, up.flows, down.bytes, down.packets, down.flows];
        let bytes = words.into_iter().flat_map(u64::to_le_bytes);
        place.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        *told = sum;
        count += 1;
    }
    (count, ALL_WRITTEN)
}

impl Limited {
    fn is_over(&self, tallies: &[Tally; 2]) -> bool {
        let [up, down] = tallies;
        self.limits.quota.is_some() && up.bytes.saturating_add(down.bytes) >= self.allowance
    }

    fn rate(&self, leg: Leg, tallies: &[Tally; 2]) -> Option<Rate> {
        let rate = match leg {
            Leg::In => self.limits.up,
            Leg::Out => self.limits.down,
        };
        match self.limits.quota.and_then(|quota| quota.over).filter(|_| self.is_over(tallies)) {
            Some(over) => Some(rate.map_or(over, |rate| rate.slower(over))),
            None => rate,
        }
    }
}

impl Meters {
    pub fn new() -> Self {
        Meters {
            peers: Vec::new(),
            limited: 0,
            services: Vec::new(),
            service_places: HashMap::new(),
            pool: Pool::new(),
            due: BinaryHeap::new(),
            next_ticket: 1,
            room: Box::default(),
        }
    }

    /// A new peer has this id: nothing of an earlier one counts for it.
    pub fn add_peer(&mut self, peer: u32) {
        let place = peer as usize;
        if place >= self.peers.len() {
            self.peers.resize_with(place + 1, Meter::default);
        }
        if let Some(meter) = self.peers.get_mut(place) {
            *meter = Meter::default();
        }
    }

    /// The peer is gone. Returns how many packets waited and are dropped.
    pub fn remove_peer(&mut self, peer: u32) -> usize {
        let Some(meter) = self.peers.get_mut(peer as usize) else { return 0 };
        let Some(mut limited) = std::mem::take(meter).limited else { return 0 };
        self.limited -= 1;
        limited.lines.iter_mut().map(|line| self.pool.clear(&mut line.queue)).sum()
    }

    /// Limits a peer from now on. What waits, and what is counted, stays.
    pub fn limit(&mut self, peer: u32, limits: Limits, allowance: u64) {
        let Some(meter) = self.peers.get_mut(peer as usize) else { return };
        if limits == Limits::default() && meter.limited.as_ref().is_none_or(|it| it.lines_are_empty()) {
            self.limited -= usize::from(meter.limited.take().is_some());
            return;
        }
        if self.room.is_empty() {
            self.pool.make_room();
            self.room = vec![0; ROOM_BYTES].into_boxed_slice();
        }
        self.limited += usize::from(meter.limited.is_none());
        let limited = meter.limited.get_or_insert_default();
        (limited.limits, limited.allowance) = (limits, allowance);
        for leg in [Leg::In, Leg::Out] {
            self.look_at(peer, leg); // those that wait may have another rate now
        }
    }

    pub fn is_limited(&self, peer: u32) -> bool {
        self.limited > 0 && self.peers.get(peer as usize).is_some_and(|meter| meter.limited.is_some())
    }

    /// The quota of a peer that is used up, and lets nothing pass.
    pub fn used_up(&self, peer: u32) -> Option<RuleId> {
        if self.limited == 0 {
            return None;
        }
        let meter = self.peers.get(peer as usize)?;
        let limited = meter.limited.as_ref()?;
        let quota = limited.limits.quota.filter(|quota| quota.over.is_none())?;
        limited.is_over(&meter.tallies).then_some(quota.rule)
    }

    /// Whether a packet may leave now. `packet` is copied if it has to wait.
    pub fn turn(&mut self, leg: Leg, peer: u32, packet: &[u8], generation: u32, now: Millis) -> Turn {
        let Some(meter) = self.peers.get_mut(peer as usize) else { return Turn::Now };
        let Some(limited) = meter.limited.as_mut() else { return Turn::Now };
        let rate = limited.rate(leg, &meter.tallies);
        let Some(line) = limited.lines.get_mut(leg as usize) else { return Turn::Now };
        let was_empty = line.queue.is_empty();
        if was_empty && rate.is_none_or(|rate| line.bucket.take(rate, packet.len(), now)) {
            return Turn::Now;
        }
        let most_bytes = rate.map_or(usize::MAX, Rate::queue_bytes);
        if !self.pool.push(&mut line.queue, packet, generation, most_bytes) {
            return Turn::Dropped;
        }
        if was_empty {
            self.look_at(peer, leg);
        }
        Turn::Waits
    }

    /// Counts packets that passed, or wait to.
    pub fn count(&mut self, passed: Passed, packets: u64, bytes: u64) {
        let Passed { peer, leg, service, way } = passed;
        if let Some(tally) = self.peers.get_mut(peer as usize).and_then(|it| it.tallies.get_mut(leg as usize))
        {
            tally.bytes += bytes;
            tally.packets += packets;
        }
        if service != 0
            && let Some(meter) = self.services.get_mut(service as usize)
            && let Some(tally) = meter.tallies.get_mut(way as usize)
        {
            tally.bytes += bytes;
            tally.packets += packets;
        }
    }

    /// Counts a flow that was opened.
    pub fn count_flow(&mut self, leg: Leg, peer: u32, service: u32) {
        if let Some(tally) = self.peers.get_mut(peer as usize).and_then(|it| it.tallies.get_mut(leg as usize))
        {
            tally.flows += 1;
        }
        if service != 0
            && let Some(ServiceMeter { tallies: [up, _], .. }) = self.services.get_mut(service as usize)
        {
            up.flows += 1;
        }
    }

    /// The place of a service, for flows; it is found by the number of its row.
    pub fn service(&mut self, rule: RuleId) -> u32 {
        if self.services.is_empty() {
            self.services.push(ServiceMeter::default());
        }
        let next = self.services.len() as u32;
        let place = *self.service_places.entry(rule).or_insert(next);
        if place == next {
            self.services.push(ServiceMeter { rule, ..ServiceMeter::default() });
        }
        place
    }

    /// When somebody waits for tokens that will have come; None = nobody waits.
    pub fn next_due(&self) -> Option<Millis> {
        self.due.peek().map(|&Reverse((at, ..))| at)
    }

    /// Takes out a packet that may leave now, of whoever waited longest for it: see [`Meters::room`].
    pub fn pop_due(&mut self, now: Millis) -> Option<Due> {
        while let Some(&Reverse((at, ticket, number))) = self.due.peek()
            && at <= now
        {
            let (peer, leg) = (number >> 1, if number & 1 == 0 { Leg::In } else { Leg::Out });
            if let Some(due) = self.pop_of(peer, leg, ticket, now) {
                return Some(due);
            }
            self.due.pop();
            self.look_again(peer, leg, ticket);
        }
        None
    }

    /// What [`Meters::pop_due`] took out lies in its first bytes; those behind may be written.
    pub fn room(&mut self) -> &mut Box<[u8]> {
        &mut self.room
    }

    /// Writes rows of peers that have counted since they were last written, from place `start` on, as many as fit: 0 peer u32
    /// │ 8 from it: bytes u64, packets u64, flows u64 │ 32 the same to it. Returns their number and where to go on;
    /// [`ALL_WRITTEN`] = that was all.
    pub fn write_peers(&mut self, start: usize, into: &mut [u8]) -> (usize, u32) {
        let rows = self.peers.iter_mut().enumerate().skip(start);
        write_rows(rows.map(|(at, it)| (at, at as u32, &it.tallies, &mut it.told)), into)
    }

    /// The same of services: 0 rule u32 │ 8 to it │ 32 from it. Flows are counted on their way to it.
    pub fn write_services(&mut self, start: usize, into: &mut [u8]) -> (usize, u32) {
        let rows = self.services.iter_mut().enumerate().skip(start);
        write_rows(rows.map(|(at, it)| (at, it.rule, &it.tallies, &mut it.told)), into)
    }

    fn pop_of(&mut self, peer: u32, leg: Leg, ticket: u64, now: Millis) -> Option<Due> {
        let meter = self.peers.get_mut(peer as usize)?;
        let limited = meter.limited.as_mut()?;
        let rate = limited.rate(leg, &meter.tallies);
        let line = limited.lines.get_mut(leg as usize).filter(|line| line.ticket == ticket)?;
        let length = self.pool.next_length(&line.queue)?;
        if rate.is_some_and(|rate| !line.bucket.take(rate, length, now)) {
            return None;
        }
        let (length, generation) = self.pool.pop(&mut line.queue, &mut self.room)?;
        Some(Due { leg, peer, length, generation })
    }

    /// Asks for a line to be looked at when its tokens have come, if anything waits in it.
    fn look_at(&mut self, peer: u32, leg: Leg) {
        let ticket = self.next_ticket;
        let Some(meter) = self.peers.get_mut(peer as usize) else { return };
        let Some(limited) = meter.limited.as_mut() else { return };
        let rate = limited.rate(leg, &meter.tallies);
        let Some(line) = limited.lines.get_mut(leg as usize).filter(|line| !line.queue.is_empty()) else {
            return;
        };
        self.next_ticket += 1;
        line.ticket = ticket;
        let at = rate.map_or(0, |rate| line.bucket.ready_at(rate, line.queue.bytes()));
        self.due.push(Reverse((at, ticket, peer << 1 | leg as u32)));
    }

    /// The same for a line that has just been looked at, unless it was in vain: another entry is its.
    fn look_again(&mut self, peer: u32, leg: Leg, ticket: u64) {
        let limited = self.peers.get(peer as usize).and_then(|meter| meter.limited.as_ref());
        let line = limited.and_then(|limited| limited.lines.get(leg as usize));
        if line.is_some_and(|line| line.ticket == ticket) {
            self.look_at(peer, leg);
        }
    }
}

impl Limited {
    fn lines_are_empty(&self) -> bool {
        self.lines.iter().all(|line| line.queue.is_empty())
    }
}
