//! Receiver index → peer. A peer answers to 256 indices that share their upper 24 bits: boringtun counts its
//! sessions in the lower eight. The upper ones are random, so that indices tell an observer nothing about the
//! order or number of peers (boringtun alone counts them up: `docs/deviations.md`, row 14).

use crate::host;

/// Upper 24 bits of a receiver index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexBase(u32);

impl IndexBase {
    /// The base to hand to boringtun, which shifts it up by eight itself.
    pub fn tunnel_index(self) -> u32 {
        self.0
    }

    pub fn of(receiver_index: u32) -> IndexBase {
        IndexBase(receiver_index >> 8)
    }
}

const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    base: u32,
    peer: u32,
}

/// Open addressing with linear probing. The bases are random and chosen here, so they are their own hash and
/// no sender can make them collide.
pub struct IndexTable {
    entries: Vec<Entry>,
    count: usize,
}

impl IndexTable {
    pub fn new() -> Self {
        IndexTable { entries: vec![Entry { base: EMPTY, peer: 0 }; 16], count: 0 }
    }

    /// Gives `peer` a random base that nobody has. `None` only when randomness fails or 2^23 are taken.
    pub fn assign(&mut self, peer: u32) -> Option<IndexBase> {
        if self.count >= 1 << 23 {
            return None;
        }
        if (self.count + 1) * 2 > self.entries.len() {
            self.grow();
        }
        loop {
            let base = host::random_u32()? >> 8;
            let place = self.place_of(base);
            let entry = self.entries.get_mut(place)?;
            if entry.base == EMPTY {
                *entry = Entry { base, peer };
                self.count += 1;
                return Some(IndexBase(base));
            }
        }
    }

    /// The peer that answers to `receiver_index`.
    pub fn peer(&self, receiver_index: u32) -> Option<u32> {
        let base = IndexBase::of(receiver_index).0;
        let entry = self.entries.get(self.place_of(base))?;
        (entry.base == base).then_some(entry.peer)
    }

    pub fn release(&mut self, base: IndexBase) {
        let mut hole = self.place_of(base.0);
        match self.entries.get_mut(hole) {
            Some(entry) if entry.base == base.0 => entry.base = EMPTY,
            _ => return,
        }
        self.count -= 1;
        // Entries behind the hole that were displaced by it move up, or a probe would stop before them.
        let mask = self.entries.len() - 1;
        let mut place = (hole + 1) & mask;
        while let Some(entry) = self.entries.get(place).copied().filter(|entry| entry.base != EMPTY) {
            let home = entry.base as usize & mask;
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.entries.swap(hole, place);
                hole = place;
            }
            place = (place + 1) & mask;
        }
    }

    /// Where `base` is, or where it would be put.
    fn place_of(&self, base: u32) -> usize {
        let mask = self.entries.len() - 1;
        let mut place = base as usize & mask;
        // INVARIANT: at least half of the entries are empty, upheld by `assign`, so this ends.
        while let Some(entry) = self.entries.get(place) {
            if entry.base == base || entry.base == EMPTY {
                break;
            }
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let larger = vec![Entry { base: EMPTY, peer: 0 }; self.entries.len() * 2];
        let old = std::mem::replace(&mut self.entries, larger);
        for entry in old.into_iter().filter(|entry| entry.base != EMPTY) {
            let place = self.place_of(entry.base);
            if let Some(free) = self.entries.get_mut(place) {
                *free = entry;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn agrees_with_a_map_through_growth_and_release() {
        let mut table = IndexTable::new();
        let mut map = HashMap::new();
        for peer in 0..5_000 {
            let base = table.assign(peer).unwrap();
            assert!(map.insert(base.0, peer).is_none(), "a base was handed out twice");
            if peer % 3 == 0 {
                let victim = *map.keys().next().unwrap();
                table.release(IndexBase(victim));
                map.remove(&victim);
            }
        }
        for (&base, &peer) in &map {
            assert_eq!(table.peer(base << 8 | 7), Some(peer));
        }
        let known: HashSet<u32> = map.keys().copied().collect();
        for base in (0..1 << 24).step_by(997).filter(|base| !known.contains(base)) {
            assert_eq!(table.peer(base << 8), None);
        }
    }

    #[test]
    fn bases_tell_nothing_about_order() {
        let mut table = IndexTable::new();
        let bases: Vec<u32> = (0..1_000).map(|peer| table.assign(peer).unwrap().0).collect();
        let ascents = bases.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((400..600).contains(&ascents), "{ascents} of 999 steps go up");
    }
}
