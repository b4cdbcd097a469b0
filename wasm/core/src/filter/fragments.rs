//! Datagrams that come in pieces. Only the first piece has the ports that rules read; the others follow the flow it belongs
//! to, and pass only behind it. Every unit of a datagram passes once: a piece that overlaps what has passed is dropped, so
//! that the receiver puts together exactly what was judged (RFC 1858, RFC 3128, RFC 5722).
//!
//! Memory is bounded: a thousand datagrams under way, with a bit for each of their 8,192 units.

use std::hash::{BuildHasher, RandomState};

use crate::packet::address::Address;

use super::Leg;
use super::flow_table::{FlowKey, Ticks, seconds};
use super::packet::Fragment;

const SETS: usize = 256;
const WAYS: usize = 4;
/// RFC 8200 §4.5 gives reassembly 60 s, Linux 30.
const LIFETIME: Ticks = seconds(30);
const UNITS: usize = 8192;

/// What tells the pieces of one datagram from others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Whole {
    tunnel: u32,
    is_in: bool,
    is_v6: bool,
    /// Of IPv4 only: in IPv6 the pieces need not agree on it.
    protocol: u8,
    id: u32,
    source: u128,
    destination: u128,
}

struct Entry {
    whole: Option<Whole>,
    expires: Ticks,
    /// The flow of the first piece.
    flow: FlowKey,
    passed: [u64; UNITS / 64],
}

pub struct Fragments {
    hash: RandomState,
    entries: Vec<Entry>,
}

/// Where a piece is from.
#[derive(Clone, Copy)]
pub struct Origin {
    pub tunnel: u32,
    pub leg: Leg,
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
}

impl Origin {
    fn whole(&self, fragment: &Fragment) -> Whole {
        let is_v6 = self.source.version.address_bits() == 128;
        Whole {
            tunnel: self.tunnel,
            is_in: self.leg == Leg::In,
            is_v6,
            protocol: if is_v6 { 0 } else { self.protocol },
            id: fragment.id,
            source: self.source.bits,
            destination: self.destination.bits,
        }
    }
}

impl Fragments {
    /// Without places, until [`Fragments::make_room`].
    pub fn new() -> Self {
        Fragments { hash: RandomState::new(), entries: Vec::new() }
    }

    /// Takes its memory, once: 1.1 MB.
    pub fn make_room(&mut self) {
        let empty = || Entry { whole: None, expires: 0, flow: FlowKey::default(), passed: [0; UNITS / 64] };
        self.entries.resize_with(SETS * WAYS, empty);
    }

    /// A first piece passes, of a datagram that is not under way: those that follow it belong to `flow`.
    pub fn begin(&mut self, origin: &Origin, fragment: &Fragment, flow: FlowKey, now: Ticks) {
        let whole = origin.whole(fragment);
        let set = self.hash.hash_one(whole) as usize % SETS * WAYS;
        let Some(ways) = self.entries.get_mut(set..set + WAYS) else { return };
        let Some(entry) = ways.iter_mut().min_by_key(|entry| entry.expires) else { return };
        entry.whole = Some(whole);
        entry.expires = now + LIFETIME;
        entry.flow = flow;
        entry.passed.fill(0);
        entry.pass(fragment);
    }

    /// Whether pieces of this datagram have passed already: another first one would write over what was judged.
    pub fn is_under_way(&self, origin: &Origin, fragment: &Fragment, now: Ticks) -> bool {
        self.find(origin, fragment, now).is_some()
    }

    /// The flow that a later piece belongs to, if its first has passed and nothing of it has passed before.
    pub fn follow(&mut self, origin: &Origin, fragment: &Fragment, now: Ticks) -> Option<FlowKey> {
        let place = self.find(origin, fragment, now)?;
        let entry = self.entries.get_mut(place)?;
        entry.pass(fragment).then_some(entry.flow)
    }

    fn find(&self, origin: &Origin, fragment: &Fragment, now: Ticks) -> Option<usize> {
        let whole = origin.whole(fragment);
        let set = self.hash.hash_one(whole) as usize % SETS * WAYS;
        let ways = self.entries.get(set..set + WAYS)?;
        let is_it = |entry: &Entry| entry.whole == Some(whole) && entry.expires > now;
        ways.iter().position(is_it).map(|way| set + way)
    }
}

impl Entry {
    /// Marks the units of a piece; false, and nothing is marked, if one of them was.
    fn pass(&mut self, fragment: &Fragment) -> bool {
        let units = usize::from(fragment.first)..usize::from(fragment.end);
        let bit = |unit: usize| (unit / 64, 1u64 << (unit % 64));
        let is_new = units.clone().all(|unit| {
            let (word, bit) = bit(unit);
            self.passed.get(word).is_some_and(|passed| passed & bit == 0)
        });
        if is_new {
            for unit in units {
                let (word, bit) = bit(unit);
                if let Some(passed) = self.passed.get_mut(word) {
                    *passed |= bit;
                }
            }
        }
        is_new
    }
}
