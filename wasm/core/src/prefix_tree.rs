//! Longest prefix of one family. What a lookup in a large table costs is cache misses, so the tree is wide and its leaves
//! are dense:
//!
//! ```text
//!   fork    64 slots for the next six bits: what lies below, and whose the longest prefix is that ends in the fork and
//!     │     covers the slot; bits that all below share are skipped
//!     ├── bucket: up to eight prefixes side by side, all of them looked at (`prefix_buckets.rs`)
//!     └── fork    what a bucket becomes when a ninth prefix comes (a burst trie: Heinz, Zobel, Williams 2002)
//! ```
//!
//! The slots of all forks lie together, 512 bytes each, and stay in the caches where all else does not. A step reads one of
//! them and nothing else, unless the fork skips bits.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::hint::black_box;

use crate::packet::address::{Address, Version};
use crate::prefix_buckets::{Buckets, CAPACITY, Entry, Key, put_in_order, take_out};

/// No peer has this id.
pub const NO_PEER: u32 = u32::MAX;
/// Addresses that are looked up side by side.
const GROUP: usize = 32;
/// Bits that a fork looks at.
const STRIDE: u32 = 6;
const SLOTS: usize = 1 << STRIDE;

/// What lies below a slot, in a word: nothing, a bucket (without [`FORK`]), or a fork with its level and its number.
const NOTHING: u32 = u32::MAX;
const FORK: u32 = 1 << 31;
/// The fork skips bits, which have to be compared.
const SKIPS: u32 = 1 << 30;
const LEVEL_SHIFT: u32 = 25;
const NUMBER_MASK: u32 = (1 << LEVEL_SHIFT) - 1;

fn is_fork(word: u32) -> bool {
    word & FORK != 0 && word != NOTHING
}

fn number(word: u32) -> usize {
    (word & NUMBER_MASK) as usize
}

/// Bits above a fork. A multiple of the stride, so that forks nest.
fn start(word: u32) -> u32 {
    (word >> LEVEL_SHIFT & 31) * STRIDE
}

#[derive(Clone, Copy)]
struct Slot {
    below: u32,
    /// The peer of the longest of the fork's own prefixes that covers this slot.
    own: u32,
}

const VACANT: Slot = Slot { below: NOTHING, own: NO_PEER };

/// What a lookup needs only where a fork skips bits.
struct Fork<K> {
    /// The first `start` bits are those of every prefix here and below.
    key: K,
    start: u32,
    /// Prefixes that end here, shortest first: at most 63.
    own: Vec<Entry<K>>,
    /// Prefixes here and below.
    count: usize,
}

impl<K: Key> Fork<K> {
    /// Whether `key` has the bits that all prefixes here and below have.
    #[inline(always)]
    fn holds(&self, key: K) -> bool {
        self.key.common(key) >= self.start
    }

    /// Whether prefixes of `length` end here and not below.
    fn ends(&self, length: u32) -> bool {
        length < self.start + STRIDE
    }
}

pub struct PrefixTree<K> {
    root: u32,
    slots: Vec<[Slot; SLOTS]>,
    forks: Vec<Fork<K>>,
    free: Vec<u32>,
    buckets: Buckets<K>,
    /// How many prefixes each peer has, none left out: whoever has none is removed without a search.
    held: HashMap<u32, usize>,
}

impl<K: Key> PrefixTree<K> {
    pub fn new() -> Self {
        PrefixTree {
            root: NOTHING,
            slots: Vec::new(),
            forks: Vec::new(),
            free: Vec::new(),
            buckets: Buckets::new(),
            held: HashMap::new(),
        }
    }

    /// The peer with the longest prefix that contains `address`, or [`NO_PEER`].
    #[inline]
    pub fn lookup(&self, address: Address) -> u32 {
        let key = K::of(address);
        let (mut best, mut word) = (NO_PEER, self.root);
        while is_fork(word) {
            word = self.step(word, key, &mut best);
        }
        self.finish(word, key, best)
    }

    /// The same for each address of `version`; `peers` of the others stay as they are. Goes step by step for a whole group,
    /// so that what one waits for from memory, the others wait for in the same time.
    pub fn lookup_all(&self, version: Version, addresses: &[Address], peers: &mut [u32]) {
        if self.root == NOTHING {
            return;
        }
        for (addresses, peers) in addresses.chunks(GROUP).zip(peers.chunks_mut(GROUP)) {
            let mut words = [NOTHING; GROUP];
            for (word, address) in words.iter_mut().zip(addresses) {
                *word = if address.version == version { self.root } else { NOTHING };
            }
            let mut goes_on = is_fork(self.root);
            while goes_on {
                goes_on = false;
                for ((address, word), best) in addresses.iter().zip(&mut words).zip(&mut *peers) {
                    if is_fork(*word) {
                        *word = self.step(*word, K::of(*address), best);
                        goes_on |= is_fork(*word);
                    }
                }
            }
            // Asks for every bucket before the first is looked at: the loop below is too long for many to be under way at once.
            let ask = |seen, &word: &u32| seen ^ if word & FORK == 0 { self.buckets.touch(word) } else { 0 };
            black_box(words.iter().fold(0, ask));
            for ((address, &word), peer) in addresses.iter().zip(&words).zip(peers) {
                *peer = self.finish(word, K::of(*address), *peer);
            }
        }
    }

    /// What lies below the fork at `word` where `key` leads. `best` becomes the peer of the fork's own prefix, if one fits.
    #[inline(always)]
    fn step(&self, word: u32, key: K, best: &mut u32) -> u32 {
        if word & SKIPS != 0 && !self.forks.get(number(word)).is_some_and(|fork| fork.holds(key)) {
            return NOTHING;
        }
        let slots = self.slots.get(number(word));
        let Slot { below, own } =
            slots.and_then(|slots| slots.get(key.six_bits(start(word)))).copied().unwrap_or(VACANT);
        *best = if own == NO_PEER { *best } else { own };
        below
    }

    /// The longest of the bucket at `word`, or else what was found on the way there.
    #[inline(always)]
    fn finish(&self, word: u32, key: K, best: u32) -> u32 {
        if word == NOTHING { best } else { self.buckets.longest(word, key).unwrap_or(best) }
    }

    pub fn insert(&mut self, entry: Entry<K>) {
        let (root, former) = self.insert_below(self.root, 0, entry);
        self.root = root;
        *self.held.entry(entry.peer()).or_default() += 1;
        if let Some(former) = former {
            self.lose(former);
        }
    }

    /// Returns what now lies where `word` did, `above` bits deep, and whose the prefix was before.
    fn insert_below(&mut self, word: u32, above: u32, entry: Entry<K>) -> (u32, Option<u32>) {
        let Some(fork) = self.fork(word) else { return self.insert_in_bucket(word, above, entry) };
        let shared = fork.key.common(entry.key()).min(entry.length());
        if shared < fork.start {
            let joint = self.fork_above(word, above, shared);
            return self.insert_below(joint, above, entry);
        }
        let former = if fork.ends(entry.length()) {
            let former = put_in_order(&mut fork.own, entry);
            self.spread(number(word));
            former
        } else {
            let (below, former) =
                self.insert_below(self.below(word, entry.key()), start(word) + STRIDE, entry);
            self.link(word, entry.key(), below);
            former
        };
        if let Some(fork) = self.fork(word) {
            fork.count += usize::from(former.is_none());
        }
        (self.describe(number(word), above), former)
    }

    fn insert_in_bucket(&mut self, word: u32, above: u32, entry: Entry<K>) -> (u32, Option<u32>) {
        let mut entries = self.entries(word);
        let former = put_in_order(&mut entries, entry);
        self.release(word);
        if entries.len() <= CAPACITY {
            return (self.store(&entries), former);
        }
        let shared = |other: &Entry<K>| other.key().common(entry.key()).min(other.length());
        let mut fork = self.allocate(entry.key(), entries.iter().map(shared).min().unwrap_or(0), above);
        for entry in entries {
            (fork, _) = self.insert_below(fork, above, entry);
        }
        (fork, former)
    }

    /// A fork for `shared` bits, with the fork at `word` as all that lies below it.
    fn fork_above(&mut self, word: u32, above: u32, shared: u32) -> u32 {
        let Some((key, count)) = self.fork(word).map(|fork| (fork.key, fork.count)) else { return word };
        let joint = self.allocate(key, shared, above);
        let below = self.describe(number(word), start(joint) + STRIDE);
        self.link(joint, key, below);
        if let Some(fork) = self.fork(joint) {
            fork.count = count;
        }
        joint
    }

    /// Takes a prefix from its peer; another peer's is left alone. Says whether it was there.
    pub fn remove(&mut self, entry: &Entry<K>) -> bool {
        let (root, removed) = self.remove_below(self.root, 0, entry);
        self.root = root;
        if removed {
            self.lose(entry.peer());
        }
        removed
    }

    /// A peer has one prefix less.
    fn lose(&mut self, peer: u32) {
        if let MapEntry::Occupied(mut count) = self.held.entry(peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn remove_below(&mut self, word: u32, above: u32, entry: &Entry<K>) -> (u32, bool) {
        let Some(fork) = self.fork(word) else { return self.remove_from_bucket(word, entry) };
        if fork.key.common(entry.key()).min(entry.length()) < fork.start {
            return (word, false);
        }
        let removed = if fork.ends(entry.length()) {
            let removed = take_out(&mut fork.own, entry);
            self.spread(number(word));
            removed
        } else {
            let (below, removed) =
                self.remove_below(self.below(word, entry.key()), start(word) + STRIDE, entry);
            self.link(word, entry.key(), below);
            removed
        };
        let Some(fork) = self.fork(word) else { return (word, removed) };
        fork.count -= usize::from(removed);
        // Half of what makes a fork: a prefix that comes and goes must not make and unmake one each time.
        let is_worth_it = fork.count > CAPACITY / 2;
        (if is_worth_it { self.describe(number(word), above) } else { self.collapse(word) }, removed)
    }

    fn remove_from_bucket(&mut self, word: u32, entry: &Entry<K>) -> (u32, bool) {
        let mut entries = self.entries(word);
        if !take_out(&mut entries, entry) {
            return (word, false);
        }
        self.release(word);
        (self.store(&entries), true)
    }

    /// Makes a bucket of a fork and all below it.
    fn collapse(&mut self, word: u32) -> u32 {
        let mut entries = Vec::new();
        self.visit(word, &mut |entry| {
            put_in_order(&mut entries, *entry);
        });
        self.release(word);
        self.store(&entries)
    }

    pub fn remove_peer(&mut self, peer: u32) {
        if !self.held.contains_key(&peer) {
            return;
        }
        let mut held = Vec::new();
        self.visit(self.root, &mut |entry| {
            if entry.peer() == peer {
                held.push(*entry);
            }
        });
        for entry in held {
            self.remove(&entry);
        }
    }

    /// Calls `see` with each prefix at `word` and below.
    fn visit(&self, word: u32, see: &mut impl FnMut(&Entry<K>)) {
        if !is_fork(word) {
            return self.entries(word).iter().for_each(see);
        }
        if let Some(fork) = self.forks.get(number(word)) {
            fork.own.iter().for_each(&mut *see);
        }
        if let Some(slots) = self.slots.get(number(word)) {
            slots.iter().for_each(|slot| self.visit(slot.below, see));
        }
    }

    fn fork(&mut self, word: u32) -> Option<&mut Fork<K>> {
        if is_fork(word) { self.forks.get_mut(number(word)) } else { None }
    }

    fn below(&self, word: u32, key: K) -> u32 {
        let slots = self.slots.get(number(word));
        slots.and_then(|slots| slots.get(key.six_bits(start(word)))).map_or(NOTHING, |slot| slot.below)
    }

    /// Gives each slot of a fork the longest prefix that ends there.
    fn spread(&mut self, number: usize) {
        let (Some(fork), Some(slots)) = (self.forks.get(number), self.slots.get_mut(number)) else { return };
        slots.iter_mut().for_each(|slot| slot.own = NO_PEER);
        for entry in &fork.own {
            let first = entry.key().six_bits(fork.start);
            let width = 1 << (fork.start + STRIDE - entry.length());
            slots.iter_mut().skip(first).take(width).for_each(|slot| slot.own = entry.peer());
        }
    }

    fn link(&mut self, word: u32, key: K, below: u32) {
        let slots = self.slots.get_mut(number(word));
        if let Some(place) = slots.and_then(|slots| slots.get_mut(key.six_bits(start(word)))) {
            place.below = below;
        }
    }

    fn entries(&self, word: u32) -> Vec<Entry<K>> {
        if word & FORK == 0 { self.buckets.entries(word) } else { Vec::new() }
    }

    fn store(&mut self, entries: &[Entry<K>]) -> u32 {
        if entries.is_empty() { NOTHING } else { self.buckets.store(entries).unwrap_or(NOTHING) }
    }

    /// The word of a fork that hangs `above` bits deep.
    fn describe(&self, number: usize, above: u32) -> u32 {
        let Some(fork) = self.forks.get(number) else { return NOTHING };
        let skips = if fork.start > above { SKIPS } else { 0 };
        FORK | skips | (fork.start / STRIDE) << LEVEL_SHIFT | number as u32
    }

    /// An empty fork, `above` bits deep, for prefixes that share `shared` bits with `key`.
    fn allocate(&mut self, key: K, shared: u32, above: u32) -> u32 {
        let start = shared / STRIDE * STRIDE;
        let (fork, slots) = (Fork { key, start, own: Vec::new(), count: 0 }, [VACANT; SLOTS]);
        let number = match self.free.pop() {
            Some(number) => number as usize,
            None => self.forks.len(),
        };
        match (self.forks.get_mut(number), self.slots.get_mut(number)) {
            (Some(old_fork), Some(old_slots)) => (*old_fork, *old_slots) = (fork, slots),
            _ => {
                self.forks.push(fork);
                self.slots.push(slots);
            }
        }
        self.describe(number, above)
    }

    /// Frees what lies at `word` and below.
    fn release(&mut self, word: u32) {
        if word & FORK == 0 {
            self.buckets.release(word);
        } else if let Some(slots) = self.slots.get(number(word)).copied().filter(|_| is_fork(word)) {
            self.free.push(word & NUMBER_MASK);
            slots.iter().for_each(|slot| self.release(slot.below));
        }
    }

    /// Whether no memory is in use. For tests.
    #[cfg(test)]
    pub fn is_vacant(&self) -> bool {
        let is_empty = (self.root, self.forks.len(), self.buckets.used()) == (NOTHING, self.free.len(), 0);
        is_empty && self.held.is_empty()
    }
}
