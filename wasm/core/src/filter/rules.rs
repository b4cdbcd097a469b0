//! Rule sets: rows that a packet can fit, and an index that finds the first one that fits at a cost that does not grow with
//! their number.
//!
//! Rules of one *shape* (action, leg, how long the prefixes are, whether a protocol is given, how many bits of the port
//! count) differ only in values, so one probe of a hash table answers for all of them; a policy has a handful of shapes
//! (tuple space search: Srinivasan, Suri, Varghese 1999). A range of ports is cut into blocks of powers of two, as routing
//! tables cut ranges into prefixes. Whatever a probe finds is held against the packet in full before it counts.

use crate::allowed_ips::Prefix;
use crate::packet::address::{Address, Version};

use super::Leg;

/// The number of a row of the document; 0 = none. TypeScript knows its name.
pub type RuleId = u32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Allow,
    Deny,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    Any,
    /// An own address of this host.
    Own,
    Internet,
    Prefix(Prefix),
}

/// All that a rule says must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    pub id: RuleId,
    pub action: Action,
    pub on_in: bool,
    pub on_out: bool,
    pub to: Destination,
    pub from: Option<Prefix>,
    pub protocol: Option<u8>,
    /// Destination ports or ICMP types, both ends included; only beside a protocol that has them.
    pub ports: Option<(u16, u16)>,
}

/// What opens a flow: its first packet, reduced to what rules read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub leg: Leg,
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    /// Destination port or ICMP type; None where the protocol has none.
    pub port: Option<u16>,
}

/// The classes that the destination of an attempt belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub is_own: bool,
    pub is_internet: bool,
}

impl Rule {
    fn is_on(&self, leg: Leg) -> bool {
        match leg {
            Leg::In => self.on_in,
            Leg::Out => self.on_out,
        }
    }

    pub(super) fn fits(&self, attempt: &Attempt, place: Place) -> bool {
        let to = match self.to {
            Destination::Any => true,
            Destination::Own => place.is_own,
            Destination::Internet => place.is_internet,
            Destination::Prefix(prefix) => prefix.contains(attempt.destination),
        };
        to && self.is_on(attempt.leg)
            && self.from.is_none_or(|from| from.contains(attempt.source))
            && self.protocol.is_none_or(|protocol| protocol == attempt.protocol)
            && self
                .ports
                .is_none_or(|(first, last)| attempt.port.is_some_and(|port| first <= port && port <= last))
    }

    /// Whether it holds for all that `other` holds for within a block of ports, leg and action being the same.
    fn covers(&self, other: &Rule, leg: Leg, block: Option<Block>) -> bool {
        let covers_ports = match (self.ports, block) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((first, last)), Some(block)) => first <= block.first && block.last() <= last,
        };
        covers_ports
            && self.is_on(leg)
            && (self.action, self.to, self.from, self.protocol)
                == (other.action, other.to, other.from, other.protocol)
    }
}

/// Ports whose upper `length` bits are those of `first`.
#[derive(Clone, Copy)]
struct Block {
    first: u16,
    length: u8,
}

impl Block {
    fn last(&self) -> u16 {
        self.first | !port_mask(self.length)
    }
}

fn port_mask(length: u8) -> u16 {
    u16::MAX.checked_shl(16 - u32::from(length.min(16))).unwrap_or(0)
}

/// The fewest blocks that make up a range, from its start.
fn blocks((first, last): (u16, u16)) -> impl Iterator<Item = Block> {
    let (mut next, last) = (u32::from(first), u32::from(last));
    std::iter::from_fn(move || {
        if next > last {
            return None;
        }
        // As large as its start is aligned to, and as is left.
        let aligned = next.trailing_zeros().min(16);
        let bits = aligned.min((last - next + 1).ilog2());
        let block = Block { first: next as u16, length: (16 - bits) as u8 };
        next += 1 << bits;
        Some(block)
    })
}

/// What rules have in common that differ in values only.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    to: ToShape,
    /// Bits of the source that count; None = any, of either version.
    from: Option<u8>,
    has_protocol: bool,
    /// Bits of the port that count; None = whether there is a port or not.
    port: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ToShape {
    Any,
    Own,
    Internet,
    Prefix(Version, u8),
}

/// A shape that a set has rules of, on one leg and with one action.
#[derive(Clone, Copy)]
struct Family {
    shape: Shape,
    /// Of all the set's rules the first of this shape.
    first: u32,
    /// Keeps the families apart in the one table.
    salt: u64,
}

const EMPTY: u32 = u32::MAX;

/// A place of the table: the hash of a key, and the first rule with that key.
#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    rule: u32,
}

/// Rules in their order, indexed.
#[derive(Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    /// By action and leg.
    families: [Vec<Family>; 4],
    slots: Vec<Slot>,
    used: usize,
}

fn family_index(action: Action, leg: Leg) -> usize {
    usize::from(action == Action::Deny) * 2 + usize::from(leg == Leg::Out)
}

impl RuleSet {
    pub fn count(&self) -> usize {
        self.rules.len()
    }

    /// Puts a rule behind the others.
    pub fn push(&mut self, rule: Rule) {
        let number = self.rules.len() as u32;
        self.rules.push(rule);
        for leg in [Leg::In, Leg::Out] {
            if !rule.is_on(leg) {
                continue;
            }
            match rule.ports {
                None => self.index(number, &rule, leg, None),
                Some(ports) => blocks(ports).for_each(|block| self.index(number, &rule, leg, Some(block))),
            }
        }
    }

    /// The first rule of this action that fits.
    pub fn find(&self, action: Action, attempt: &Attempt, place: Place) -> Option<&Rule> {
        let mut best = EMPTY;
        for family in self.families.get(family_index(action, attempt.leg))? {
            if family.first < best
                && let Some(hash) = family.hash_of_attempt(attempt, place)
            {
                best = best.min(self.probe(hash, |rule| rule.action == action && rule.fits(attempt, place)));
            }
        }
        self.rules.get(best as usize)
    }

    fn index(&mut self, number: u32, rule: &Rule, leg: Leg, block: Option<Block>) {
        let shape = Shape {
            to: match rule.to {
                Destination::Any => ToShape::Any,
                Destination::Own => ToShape::Own,
                Destination::Internet => ToShape::Internet,
                Destination::Prefix(prefix) => ToShape::Prefix(prefix.version(), prefix.length()),
            },
            from: rule.from.map(|from| from.length()),
            has_protocol: rule.protocol.is_some(),
            port: block.map(|block| block.length),
        };
        let index = family_index(rule.action, leg);
        let Some(families) = self.families.get_mut(index) else { return };
        let family = match families.iter().find(|family| family.shape == shape) {
            Some(&family) => family,
            None => {
                let salt = (families.len() as u64) << 2 | index as u64;
                let family = Family { shape, first: number, salt };
                families.push(family);
                family
            }
        };
        let to = match rule.to {
            Destination::Prefix(prefix) => prefix.bits(),
            _ => 0,
        };
        let from = rule.from.map_or(0, |from| from.bits());
        let from_version = rule.from.map(|from| from.version());
        let hash = family.hash(to, from, from_version, rule.protocol, block.map_or(0, |block| block.first));
        // Behind a rule that holds for all of this key it can never be the first.
        if self.probe(hash, |earlier| earlier.covers(rule, leg, block)) == EMPTY {
            self.put(Slot { hash, rule: number });
        }
    }

    /// The first rule that `matches` among those whose key has this hash.
    fn probe(&self, hash: u32, matches: impl Fn(&Rule) -> bool) -> u32 {
        let mask = self.slots.len().wrapping_sub(1);
        let mut best = EMPTY;
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get(at).filter(|slot| slot.rule != EMPTY) {
            if slot.hash == hash
                && slot.rule < best
                && self.rules.get(slot.rule as usize).is_some_and(&matches)
            {
                best = slot.rule;
            }
            at = (at + 1) & mask;
        }
        best
    }

    fn put(&mut self, slot: Slot) {
        if (self.used + 1) * 2 > self.slots.len() {
            let size = (self.slots.len() * 2).max(8);
            let former = std::mem::replace(&mut self.slots, vec![Slot { hash: 0, rule: EMPTY }; size]);
            former.into_iter().filter(|slot| slot.rule != EMPTY).for_each(|slot| self.place(slot));
        }
        self.place(slot);
        self.used += 1;
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = slot.hash as usize & mask;
        while let Some(place) = self.slots.get_mut(at) {
            if place.rule == EMPTY {
                *place = slot;
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

impl Family {
    /// The hash under which a rule of this shape that fits would be found; None if none can.
    fn hash_of_attempt(&self, attempt: &Attempt, place: Place) -> Option<u32> {
        let to = match self.shape.to {
            ToShape::Any => 0,
            ToShape::Own => place.is_own.then_some(0)?,
            ToShape::Internet => place.is_internet.then_some(0)?,
            ToShape::Prefix(version, length) => {
                (version == attempt.destination.version).then(|| cut(attempt.destination, length))?
            }
        };
        let (from, from_version) = match self.shape.from {
            None => (0, None),
            Some(length) if length <= attempt.source.version.address_bits() => {
                (cut(attempt.source, length), Some(attempt.source.version))
            }
            Some(_) => return None,
        };
        let port = match self.shape.port {
            None => 0,
            Some(length) => attempt.port? & port_mask(length),
        };
        let protocol = self.shape.has_protocol.then_some(attempt.protocol);
        Some(self.hash(to, from, from_version, protocol, port))
    }

    fn hash(
        &self,
        to: u128,
        from: u128,
        from_version: Option<Version>,
        protocol: Option<u8>,
        port: u16,
    ) -> u32 {
        let version = from_version.map_or(0, |version| u64::from(version.address_bits()));
        let small =
            u64::from(port) | u64::from(protocol.unwrap_or(0)) << 16 | version << 24 | self.salt << 32;
        let words = [small, to as u64, (to >> 64) as u64, from as u64, (from >> 64) as u64];
        let hash = words
            .into_iter()
            .fold(0, |hash: u64, word| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
        (hash ^ hash >> 32) as u32
    }
}

fn cut(address: Address, length: u8) -> u128 {
    Prefix::new(address, u32::from(length)).map_or(0, |prefix| prefix.bits())
}
