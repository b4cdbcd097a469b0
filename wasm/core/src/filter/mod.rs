//! The packet filter: whether a packet may pass, decided once per superpacket or datagram. It knows nothing of tunnels but
//! their numbers, and nothing of names. Its place in the walk is in `inbound.rs` (behind the source check) and `outbound.rs`
//! (behind the choice of the peer).
//!
//! ```text
//! packet → headers (packet.rs) → piece of a datagram? (fragments.rs) → ICMP error? its flow
//!        → known flow (flow_table.rs) → judged under this policy? else again → TCP: does it belong (tcp.rs)   → pass
//!        → no flow: may it open one? → who (policy.rs) → rules (rules.rs) → new flow                          → pass
//! ```
//!
//! Nearly every packet is of a known flow that passes; those have a short way through this, `known.rs`.
//!
//! A flow belongs to one tunnel: what comes through another is not of it, whatever its addresses say. A change of the policy
//! raises its generation, and a flow whose generation is older is judged again before its next packet passes, in either
//! direction; so what was revoked is dead at once, and what is still allowed does not notice.
//!
//! What passes is counted, and may have to wait for the rate of its peer: `meters.rs`. Where a peer uses the internet of another,
//! its packets never reach this host: `exit.rs`.

mod bucket;
mod decode;
mod exit;
mod flow_table;
mod fragments;
mod keys;
mod known;
#[cfg(test)]
mod known_tests;
#[cfg(test)]
mod meter_tests;
mod meters;
mod packet;
mod packet_queue;
mod policy;
mod reject;
mod report;
mod rules;
mod tcp;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;

use crate::counters::DropReason;
use crate::host::Millis;

use self::decode::Staged;
pub use self::decode::Void;
pub use self::exit::Onward;
use self::flow_table::{Clock, FlowTable, Ticks, seconds, ticks};
use self::fragments::Fragments;
use self::keys::key_of;
use self::meters::Meters;
pub use self::meters::{Due, Passed, Turn};
use self::packet::Packet;
use self::policy::{PartId, Policy};
pub use self::reject::Answer;
use self::report::Report;
use self::walk::Case;

/// How long connections that were there before the filter are taken up, where it takes the place of one that had them.
const PICK_UP: Ticks = seconds(60);
/// Answers to denied packets, per peer: so many at once, and so many a second.
const MOST_ANSWERS: u32 = 20;

/// Where a packet is judged: on its way in from a peer, or out to one.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leg {
    #[default]
    In,
    Out,
}

impl Leg {
    fn other(self) -> Leg {
        match self {
            Leg::In => Leg::Out,
            Leg::Out => Leg::In,
        }
    }
}

/// What the filter knows of a peer of the device.
#[derive(Clone, Copy, Default)]
struct PeerState {
    /// Its part of the policy.
    part: Option<PartId>,
    /// The public key that the policy knows it by: one of its keys, or one that it had.
    name: [u8; 32],
    answers: u32,
    answers_at: Ticks,
    /// All its packets are logged, so far as there is room.
    is_followed: bool,
}

/// What the host is told of the filter.
#[derive(Clone, Copy, Debug)]
pub struct FilterStatus {
    pub is_on: bool,
    pub generation: u32,
    pub rules: usize,
    pub flows: usize,
    pub capacity: usize,
    pub evicted: u64,
}

pub struct Filter {
    is_on: bool,
    policy: Policy,
    staged: Staged,
    generation: u32,
    peers: Vec<PeerState>,
    /// The exits of the policy: the number of the peer's part, and its id.
    exits: Vec<(PartId, u32)>,
    flows: FlowTable,
    fragments: Fragments,
    report: Report,
    meters: Meters,
    pick_up_until: Ticks,
    /// Whether any peer is followed: what a packet is asked where none is.
    follows: bool,
    clock: Clock,
}

impl Filter {
    /// A filter that lets everything pass.
    pub fn new() -> Self {
        Filter {
            is_on: false,
            policy: Policy::new(),
            staged: Staged::default(),
            generation: 0,
            peers: Vec::new(),
            exits: Vec::new(),
            flows: FlowTable::new(),
            fragments: Fragments::new(),
            report: Report::new(),
            meters: Meters::new(),
            pick_up_until: 0,
            follows: false,
            clock: Clock::default(),
        }
    }

    /// From now on what the policy does not allow is denied; everything, before there is one. TCP connections that may have
    /// been there before are taken up for a minute where the policy allows them, if `picks_up`.
    pub fn enable(&mut self, picks_up: bool, now: Millis) {
        if self.is_on {
            return;
        }
        self.is_on = true;
        self.flows.make_room();
        self.fragments.make_room();
        self.report.make_room();
        self.pick_up_until = if picks_up { ticks(now) + PICK_UP } else { 0 };
    }

    /// From now on everything passes, as if there had never been a policy.
    pub fn disable(&mut self) {
        self.is_on = false;
        self.policy = Policy::new();
        self.staged = Staged::default();
        self.generation = self.generation.wrapping_add(1);
        self.peers.iter_mut().for_each(|peer| peer.part = None);
        self.limit_peers();
        self.exits.clear();
    }

    /// Begins another change; what was written of one before is forgotten.
    pub fn begin(&mut self) {
        self.staged = Staged::default();
    }

    /// Takes records of the change in.
    pub fn stage(&mut self, records: &[u8]) -> Result<(), Void> {
        self.staged.take(records)
    }

    /// Makes the change current, whole, and returns the generation of the policy; or leaves the policy as it was. `keys`
    /// are the public keys of the device's peers.
    pub fn commit(&mut self, keys: &HashMap<[u8; 32], u32>) -> Result<u32, Void> {
        std::mem::take(&mut self.staged).commit(&mut self.policy)?;
        self.generation = self.generation.wrapping_add(1);
        for peer in &mut self.peers {
            peer.part = self.policy.by_key.get(&peer.name).copied();
        }
        for (key, &part) in &self.policy.by_key {
            let peer = keys.get(key).and_then(|&id| self.peers.get_mut(id as usize));
            if let Some(peer) = peer.filter(|peer| peer.part.is_none()) {
                (peer.part, peer.name) = (Some(part), *key);
            }
        }
        self.limit_peers();
        self.find_exits();
        Ok(self.generation)
    }

    /// Limits every peer to what the policy says now.
    fn limit_peers(&mut self) {
        for peer in 0..self.peers.len() as u32 {
            self.limit(peer);
        }
    }

    fn limit(&mut self, peer: u32) {
        let part = self.peers.get(peer as usize).and_then(|state| state.part);
        let (limits, allowance) = self.policy.limits_of(part);
        self.meters.limit(peer, limits, allowance);
    }

    /// A peer has a second public key: the policy may know it by that one only.
    pub fn add_key(&mut self, peer: u32, public_key: [u8; 32]) {
        let part = self.policy.by_key.get(&public_key).copied();
        if let Some(state) = self.peers.get_mut(peer as usize).filter(|state| state.part.is_none())
            && part.is_some()
        {
            (state.part, state.name) = (part, public_key);
            self.limit(peer);
            self.find_exits();
        }
    }

    pub fn add_peer(&mut self, peer: u32, public_key: [u8; 32]) {
        let place = peer as usize;
        if place >= self.peers.len() {
            self.peers.resize(place + 1, PeerState::default());
        }
        let part = self.policy.by_key.get(&public_key).copied();
        if let Some(state) = self.peers.get_mut(place) {
            *state = PeerState { part, name: public_key, ..PeerState::default() };
        }
        self.flows.add_peer(peer);
        self.meters.add_peer(peer);
        self.limit(peer);
        if part.is_some() {
            self.find_exits();
        }
    }

    /// Returns how many packets waited for the rate of the peer, and are dropped.
    pub fn remove_peer(&mut self, peer: u32) -> usize {
        if let Some(state) = self.peers.get_mut(peer as usize) {
            *state = PeerState::default();
        }
        self.flows.remove_peer(peer);
        self.find_exits();
        self.report.forget_peer(peer);
        self.meters.remove_peer(peer)
    }

    pub fn sweep(&mut self, now: Millis) {
        self.flows.sweep(ticks(now));
    }

    pub fn status(&self) -> FilterStatus {
        FilterStatus {
            is_on: self.is_on,
            generation: self.generation,
            rules: self.policy.rule_count(),
            flows: self.flows.count(),
            capacity: flow_table::CAPACITY,
            evicted: self.flows.evicted,
        }
    }

    /// Logs all packets of a peer, or no longer, beside the sample of what is dropped. `report.rs` says how many at the most.
    pub fn follow(&mut self, peer: u32, is_followed: bool) {
        if let Some(state) = self.peers.get_mut(peer as usize) {
            state.is_followed = is_followed;
        }
        self.follows = self.peers.iter().any(|state| state.is_followed);
    }

    fn is_followed(&self, peer: u32) -> bool {
        self.follows && self.peers.get(peer as usize).is_some_and(|state| state.is_followed)
    }

    /// Rows of counters: see [`Report::write_rows`].
    pub fn write_drops(&self, start: usize, into: &mut [u8]) -> (usize, usize) {
        self.report.write_rows(start, into)
    }

    /// Entries of the log: see `report.rs`.
    pub fn take_log(&mut self, into: &mut [u8]) -> usize {
        self.report.take_log(into)
    }

    /// Rows of what peers, or services, were counted by: see [`Meters::write_peers`].
    pub fn write_meters(&mut self, of_services: bool, start: usize, into: &mut [u8]) -> (usize, u32) {
        match of_services {
            false => self.meters.write_peers(start, into),
            true => self.meters.write_services(start, into),
        }
    }

    /// Whether a packet may pass, which is from `peer` on leg in and for it on leg out, and who it then counts for. `bytes`
    /// may be longer than it.
    pub fn pass(&mut self, leg: Leg, peer: u32, bytes: &[u8], now: Millis) -> Result<Passed, DropReason> {
        if !self.is_on {
            return Ok(Passed::default());
        }
        match self.pass_known(leg, peer, bytes, now) {
            Some(passed) => Ok(passed),
            None => self.pass_by(leg, peer, false, bytes, now).map(|(_, passed)| passed),
        }
    }

    /// Counts packets that passed.
    pub fn count(&mut self, passed: Passed, packets: u64, bytes: usize) {
        if self.is_on {
            self.meters.count(passed, packets, bytes as u64);
        }
    }

    /// Whether packets of this peer may have to wait: see [`Filter::turn`].
    pub fn is_limited(&self, peer: u32) -> bool {
        self.meters.is_limited(peer)
    }

    /// Whether a packet that passed may leave now, or waits for the rate of its peer, or is one too many.
    pub fn turn(&mut self, leg: Leg, peer: u32, packet: &[u8], now: Millis) -> Turn {
        self.meters.turn(leg, peer, packet, self.generation, now)
    }

    /// When a packet that waits may leave; None = none waits.
    pub fn next_due(&self) -> Option<Millis> {
        self.meters.next_due()
    }

    /// Takes out a packet that waited and is to leave now; its bytes are in [`Filter::due_packet`]. What another policy let in
    /// is looked at again.
    pub fn pop_due(&mut self, now: Millis) -> Option<Result<Due, DropReason>> {
        let due = self.meters.pop_due(now)?;
        let may = !self.is_on || due.generation == self.generation || self.may_still(&due, now);
        Some(if may { Ok(due) } else { Err(DropReason::FilterDenied) })
    }

    /// What [`Filter::pop_due`] took out, in its first bytes.
    pub fn due_packet(&mut self) -> &mut [u8] {
        self.meters.room()
    }

    /// The bytes that hold it, until they are given back: for a walk that asks the filter as well.
    pub fn take_due(&mut self) -> Box<[u8]> {
        std::mem::take(self.meters.room())
    }

    pub fn give_back_due(&mut self, room: Box<[u8]>) {
        *self.meters.room() = room;
    }

    /// Whether the flow of a packet that waited lives under the present policy. A piece of a datagram or an ICMP error is of
    /// none that could be found by it alone: it goes.
    fn may_still(&mut self, due: &Due, now: Millis) -> bool {
        let Due { leg, peer, length, .. } = *due;
        let tunnel = self.flows.tunnel(peer);
        let bytes = std::mem::take(self.meters.room());
        let packet = bytes.get(..length).and_then(|bytes| Packet::parse(bytes).ok());
        let place =
            packet.as_ref().and_then(|packet| self.flows.find(&key_of(leg, packet, tunnel), ticks(now)));
        let may = match (&packet, place) {
            (Some(packet), Some(place)) => {
                self.judge_again(&Case { packet, leg, peer, is_relayed: true, now }, place).is_ok()
            }
            _ => false,
        };
        *self.meters.room() = bytes;
        may
    }

    /// What to answer a packet with that was just denied: None for silence.
    pub fn answer(&mut self, peer: u32, bytes: &[u8], now: Millis) -> Option<Answer> {
        if !self.policy.rejects {
            return None;
        }
        let packet = Packet::parse(bytes).ok()?;
        let answer = reject::answer(&packet, bytes.get(..packet.length)?)?;
        self.may_answer(peer, now).then_some(answer)
    }

    /// What to tell `peer` of a packet that is longer than the `mtu` of its way.
    pub fn too_big(&mut self, peer: u32, bytes: &[u8], mtu: usize, now: Millis) -> Option<Answer> {
        let packet = Packet::parse(bytes).ok()?;
        let answer = reject::too_big(&packet, bytes.get(..packet.length)?, mtu)?;
        self.may_answer(peer, now).then_some(answer)
    }

    /// Whether a peer may be answered once more.
    fn may_answer(&mut self, peer: u32, now: Millis) -> bool {
        let Some(state) = self.peers.get_mut(peer as usize) else { return false };
        let elapsed = ticks(now).saturating_sub(state.answers_at);
        state.answers = state.answers.saturating_add(elapsed * MOST_ANSWERS / seconds(1)).min(MOST_ANSWERS);
        if elapsed > 0 {
            state.answers_at = ticks(now);
        }
        let left = state.answers.checked_sub(1);
        state.answers = left.unwrap_or_default();
        left.is_some()
    }
}
