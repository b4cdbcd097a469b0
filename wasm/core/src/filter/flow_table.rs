//! Live flows, in a table of fixed size that allocates nothing once it is there. A flow has two places it may be in, ten
//! ways each, and takes the emptier (two choices: Azar, Broder, Karlin, Upfal 1999): at two thirds full none finds both taken. Places come from a keyed hash, so that no sender can choose whom to meet.
//! Where the flows of late are is remembered beside it under a hash that costs next to nothing: whoever makes flows meet there
//! makes them slower to find, and that is all.
//!
//! When both are full, somebody gives way who matters least: who is nobody's any more, else a flow that nobody answered,
//! else the longest idle; among equals, of the peer with most flows, and never for a peer that has more than the victim's.
//! So a flood of new flows displaces itself before it displaces anyone's conversation.

use crate::host::{self, Millis};
use crate::packet::address::Version;

use super::Leg;
use super::policy::Decision;
use super::tcp::Tracking;

/// 163,840 flows.
const SETS: usize = 16_384;
const WAYS: usize = 10;
pub const CAPACITY: usize = SETS * WAYS;
/// Places that are remembered: a batch is of fewer flows, and they fit in a corner of the first-level cache.
const RECENT_BITS: u32 = 10;

/// Time in tenths of a second: 13 years in 32 bits.
pub type Ticks = u32;

/// How long a flow without connections is remembered: one that nobody has answered, and one that was. RFC 4787 §4.3 asks
/// for two minutes of UDP.
pub const UNANSWERED: Ticks = seconds(30);
const ANSWERED: Ticks = seconds(180);

pub const fn seconds(count: u32) -> Ticks {
    count * 10
}

pub fn ticks(now: Millis) -> Ticks {
    (now / 100) as Ticks
}

/// [`ticks`] of the same time as a moment ago, without a division.
#[derive(Default)]
pub struct Clock {
    now: Millis,
    ticks: Ticks,
}

impl Clock {
    pub fn ticks(&mut self, now: Millis) -> Ticks {
        if now != self.now {
            *self = Clock { now, ticks: ticks(now) };
        }
        self.ticks
    }
}

/// Address and port at one end of a flow.
type End = (u128, u16);

/// What tells one flow from another, in both directions alike: the ends as seen from us, and the tunnel it is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowKey {
    /// Address at the peer's end of the tunnel, and at ours.
    pub remote: u128,
    pub local: u128,
    /// Port at the peer's end, and at ours. Of a query (ICMP): its identifier at the end that asks, its type at the other.
    pub remote_port: u16,
    pub local_port: u16,
    pub protocol: u8,
    pub is_v6: bool,
    /// Of a query: whether the peer asks. Who asks and who answers is not told by ports there.
    pub asks: Option<Leg>,
    /// Of one life of one peer: see [`FlowTable::add_peer`].
    pub tunnel: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    pub key: FlowKey,
    pub expires: Ticks,
    /// Of the policy that judged it last.
    pub generation: u32,
    /// The service that it is counted by, as `meters.rs` has it; 0 = none.
    pub service: u32,
    /// The id of its peer: set by the table.
    pub peer: u32,
    /// The leg of whoever opened it.
    pub leg: Leg,
    pub is_answered: bool,
    /// By what it passes; or, where it is revoked, why nothing of it does while it goes on.
    pub decision: Decision,
    pub tcp: Tracking,
}

impl FlowKey {
    /// Of a packet on `leg` with these ends: source and destination.
    #[inline]
    pub fn of_ends(
        leg: Leg,
        (source, destination): (End, End),
        protocol: u8,
        version: Version,
        tunnel: u32,
    ) -> FlowKey {
        let ((remote, remote_port), (local, local_port)) = match leg {
            Leg::In => (source, destination),
            Leg::Out => (destination, source),
        };
        let is_v6 = version == Version::V6;
        FlowKey { remote, local, remote_port, local_port, protocol, is_v6, asks: None, tunnel }
    }
}

impl Flow {
    /// A packet without connection passes, from who opened the flow or from the other.
    pub fn hear(&mut self, is_original: bool, now: Ticks) {
        self.is_answered |= !is_original;
        self.expires = now + if self.is_answered { ANSWERED } else { UNANSWERED };
    }
}

#[derive(Clone, Copy, Default)]
struct PeerFlows {
    tunnel: u32,
    count: u32,
}

/// Addresses of a flow's places; the tag is its hash there.
#[derive(Clone, Copy)]
struct Places {
    sets: [usize; 2],
    tag: u32,
}

pub struct FlowTable {
    keys: [u64; 10],
    /// 0 = free.
    tags: Box<[[u32; WAYS]]>,
    /// INVARIANT: of a free place, what it holds has run out long ago.
    flows: Box<[Flow]>,
    /// Places where flows were found last: see [`FlowTable::recall`].
    recent: Box<[u32]>,
    peers: Vec<PeerFlows>,
    next_tunnel: u32,
    count: usize,
    /// Flows that gave way before their time.
    pub evicted: u64,
    swept: usize,
}

impl FlowTable {
    /// A table without places, until [`FlowTable::make_room`].
    pub fn new() -> Self {
        FlowTable {
            keys: [0; 10],
            tags: Box::default(),
            flows: Box::default(),
            recent: Box::default(),
            peers: Vec::new(),
            next_tunnel: 1,
            count: 0,
            evicted: 0,
            swept: 0,
        }
    }

    /// Takes its memory, once: about 21 MB. A core that has no filter never does.
    pub fn make_room(&mut self) {
        if !self.flows.is_empty() {
            return;
        }
        let random = host::random_bytes::<80>().unwrap_or([0x5a; 80]);
        for (key, bytes) in self.keys.iter_mut().zip(random.as_chunks::<8>().0) {
            *key = u64::from_le_bytes(*bytes) | 1;
        }
        self.tags = vec![[0; WAYS]; SETS].into_boxed_slice();
        self.flows = vec![Flow::default(); CAPACITY].into_boxed_slice();
        self.recent = vec![0; 1 << RECENT_BITS].into_boxed_slice();
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// A new peer has this id: no flow of an earlier one of the same id is its.
    pub fn add_peer(&mut self, peer: u32) {
        let place = peer as usize;
        if place >= self.peers.len() {
            self.peers.resize(place + 1, PeerFlows::default());
        }
        if let Some(flows) = self.peers.get_mut(place) {
            *flows = PeerFlows { tunnel: self.next_tunnel, count: 0 };
        }
        self.next_tunnel = self.next_tunnel.wrapping_add(1).max(1);
    }

    /// The peer is gone, and its flows with it.
    pub fn remove_peer(&mut self, peer: u32) {
        if let Some(flows) = self.peers.get_mut(peer as usize) {
            *flows = PeerFlows::default();
        }
    }

    /// The tunnel of a peer, for keys; 0 for a peer that is not there.
    pub fn tunnel(&self, peer: u32) -> u32 {
        self.peers.get(peer as usize).map_or(0, |flows| flows.tunnel)
    }

    pub fn get(&self, place: usize) -> Option<&Flow> {
        self.flows.get(place)
    }

    pub fn get_mut(&mut self, place: usize) -> Option<&mut Flow> {
        self.flows.get_mut(place)
    }

    /// Where the flow is, if it is alive.
    pub fn find(&self, key: &FlowKey, now: Ticks) -> Option<usize> {
        let places = self.places(key);
        for set in places.sets {
            for (way, &tag) in self.tags.get(set)?.iter().enumerate() {
                if tag == places.tag
                    && let place = set * WAYS + way
                    && self.flows.get(place).is_some_and(|flow| flow.key == *key)
                {
                    return self.flows.get(place).filter(|flow| flow.expires > now).map(|_| place);
                }
            }
        }
        None
    }

    /// The flow with this key if it is where one like it was found last, and alive. No other place has it then, so
    /// [`FlowTable::find`] would find it too.
    #[inline]
    pub fn recall(&mut self, key: &FlowKey, now: Ticks) -> Option<&mut Flow> {
        let place = *self.recent.get(recent_place(key))?;
        self.flows.get_mut(place as usize).filter(|flow| flow.key == *key && flow.expires > now)
    }

    /// The flow with this key, which is in this place, is looked for there first.
    pub fn remember(&mut self, key: &FlowKey, place: usize) {
        if let Some(recent) = self.recent.get_mut(recent_place(key)) {
            *recent = place as u32;
        }
    }

    /// Puts a flow of `peer` in its place, or in the place of one with the same key. None if nobody gives way.
    pub fn insert(&mut self, flow: Flow, peer: u32, now: Ticks) -> Option<usize> {
        let place = self.place_for(&flow.key, peer, now)?;
        self.free(place);
        *self.flows.get_mut(place)? = Flow { peer, ..flow };
        let tag = self.places(&flow.key).tag;
        *self.tags.get_mut(place / WAYS)?.get_mut(place % WAYS)? = tag;
        self.count += 1;
        if let Some(flows) = self.peers.get_mut(peer as usize) {
            flows.count += 1;
        }
        Some(place)
    }

    pub fn remove(&mut self, place: usize) {
        self.free(place);
    }

    /// Frees what has run out in the next part of the table, so that the count is of the living. All of it in 13 s.
    pub fn sweep(&mut self, now: Ticks) {
        const AT_ONCE: usize = CAPACITY / 64;
        if self.flows.is_empty() || self.count == 0 {
            return;
        }
        for place in self.swept..self.swept + AT_ONCE {
            if self.is_taken(place) && self.is_over(place, now) {
                self.free(place);
            }
        }
        self.swept = (self.swept + AT_ONCE) % CAPACITY;
    }

    fn is_taken(&self, place: usize) -> bool {
        self.tags.get(place / WAYS).and_then(|set| set.get(place % WAYS)).is_some_and(|&tag| tag != 0)
    }

    /// Whether it has run out, or its peer is gone.
    fn is_over(&self, place: usize, now: Ticks) -> bool {
        self.flows
            .get(place)
            .is_none_or(|flow| flow.expires <= now || self.tunnel(flow.peer) != flow.key.tunnel)
    }

    fn free(&mut self, place: usize) {
        let Some(tag) = self.tags.get_mut(place / WAYS).and_then(|set| set.get_mut(place % WAYS)) else {
            return;
        };
        if *tag == 0 {
            return;
        }
        *tag = 0;
        self.count -= 1;
        let Some(flow) = self.flows.get_mut(place) else { return };
        flow.expires = 0;
        if let Some(flows) =
            self.peers.get_mut(flow.peer as usize).filter(|peer| peer.tunnel == flow.key.tunnel)
        {
            flows.count -= 1;
        }
    }

    fn place_for(&mut self, key: &FlowKey, peer: u32, now: Ticks) -> Option<usize> {
        let places = self.places(key);
        let mut free = None;
        let mut most = 0;
        for set in places.sets {
            let tags = self.tags.get(set)?;
            let mut frees = 0;
            let mut last = None;
            for (way, &tag) in tags.iter().enumerate() {
                let place = set * WAYS + way;
                if tag == places.tag && self.flows.get(place).is_some_and(|flow| flow.key == *key) {
                    return Some(place);
                }
                if tag == 0 || self.is_over(place, now) {
                    frees += 1;
                    last = Some(place);
                }
            }
            if frees > most {
                (most, free) = (frees, last);
            }
        }
        free.or_else(|| self.victim(places.sets, peer))
    }

    /// Who of a full neighbourhood gives way to a flow of `peer`.
    fn victim(&mut self, sets: [usize; 2], peer: u32) -> Option<usize> {
        let count = |peer: u32| self.peers.get(peer as usize).map_or(0, |flows| flows.count);
        let candidates = sets.into_iter().flat_map(|set| set * WAYS..(set + 1) * WAYS);
        let (place, flow) = candidates
            .filter_map(|place| Some((place, self.flows.get(place)?)))
            .max_by_key(|(_, flow)| (!flow.is_answered, count(flow.peer), u32::MAX - flow.expires))?;
        if flow.is_answered && count(flow.peer) < count(peer) {
            return None;
        }
        self.evicted += 1;
        Some(place)
    }

    /// Multilinear hashing (Thorup, "High speed hashing for integers and strings", 2015, §5), mixed once more because
    /// both halves of the result are used.
    fn places(&self, key: &FlowKey) -> Places {
        let asks = key.asks.map_or(0, |leg| 1 + leg as u64);
        let words = [
            key.remote as u64,
            (key.remote >> 64) as u64,
            key.local as u64,
            (key.local >> 64) as u64,
            u64::from(key.remote_port) << 48
                | u64::from(key.local_port) << 32
                | u64::from(key.protocol) << 16
                | u64::from(key.is_v6) << 8
                | asks,
            u64::from(key.tunnel),
        ];
        let [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9] = self.keys;
        let [a, b, c, d, e, f] = words;
        let halves = |word: u64, high: u64, low: u64| {
            high.wrapping_add(word >> 32).wrapping_mul(low.wrapping_add(word & 0xffff_ffff))
        };
        let sum = halves(a, k0, k1)
            .wrapping_add(halves(b, k2, k3))
            .wrapping_add(halves(c, k4, k5))
            .wrapping_add(halves(d, k6, k7))
            .wrapping_add(halves(e, k8, k9))
            .wrapping_add(halves(f, k3, k8));
        let mixed = (sum ^ sum >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = mixed ^ mixed >> 32;
        let first = hash as usize % SETS;
        // The other place follows from the first and the tag, and is never the same.
        let tag = (mixed >> 32) as u32 | 1;
        let second = first ^ ((tag.wrapping_mul(0x5bd1_e995) >> 18) as usize).max(1);
        Places { sets: [first, second], tag }
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.tags) + size_of_val(&*self.flows) + size_of_val(&*self.recent)
    }
}

/// Where the place of a flow is remembered. Fibonacci hashing (Knuth, TAOCP 3, §6.4) of a sum that no honest flows share.
fn recent_place(key: &FlowKey) -> usize {
    let fold = |bits: u128| bits as u64 ^ (bits >> 64) as u64;
    let ports = u64::from(key.remote_port) << 16 | u64::from(key.local_port);
    let sum = fold(key.remote)
        .wrapping_add(fold(key.local).rotate_left(24))
        .wrapping_add(ports << 8 ^ u64::from(key.tunnel) << 40);
    (sum.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - RECENT_BITS)) as usize
}
