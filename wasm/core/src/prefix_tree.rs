//! Longest prefix of one family. What a lookup in a large table costs is cache misses, so the tree is wide and its leaves
//! are dense:
//!
//! ```text
//!   fork    8, 64, 512 … slots for the next three, six, nine … bits; bits that all below share are skipped
//!     │     a slot, half a cache line: whose the longest prefix is that ends in the fork and covers the slot,
//!     │     the first prefixes below, and where the rest is:
//!     ├── bucket: prefixes side by side, all of them looked at (`prefix_buckets.rs`)
//!     └── fork    what more than eight prefixes become (a burst trie: Heinz, Zobel, Williams 2002)
//! ```
//!
//! Where a third of a fork's slots lead to forks, it takes them in (level compression: Nilsson, Karlsson 1999). So a lookup
//! among addresses that are spread evenly reads one slot, and one bucket or none, in a table of any size.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use crate::packet::address::{Address, Version};
use crate::prefix_buckets::{Buckets, CAPACITY, Entry, Key, Wide, longest, put_in_order, take_out};

/// No peer has this id.
pub const NO_PEER: u32 = u32::MAX;
/// Addresses that are looked up side by side.
const GROUP: usize = 64;
/// A fork begins with so many bits, and takes as many more when it widens. Forks begin at multiples of it, so that they nest.
const STRIDE: u32 = 3;
/// Two million slots: enough for some ten million prefixes.
const WIDEST: u32 = 7 * STRIDE;

/// What lies below a slot, in a word: a bucket (below 2^30), nothing, or a fork with its number. One comparison tells which:
/// two would be two jumps that hang on what comes from memory.
const NOTHING: u32 = FORK - 1;
const FORK: u32 = 1 << 31;
/// The fork skips bits, which have to be compared.
const SKIPS: u32 = 1 << 30;
const NUMBER_MASK: u32 = SKIPS - 1;

fn is_fork(word: u32) -> bool {
    word >= FORK
}

fn is_bucket(word: u32) -> bool {
    word < NOTHING
}

/// A fork that begins where the one above ends: it can become a part of that.
fn adjoins(word: u32) -> bool {
    word & (FORK | SKIPS) == FORK
}

fn number(word: u32) -> usize {
    (word & NUMBER_MASK) as usize
}

/// Half a cache line, and never in two.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Slot<K: Key> {
    /// The bucket holds what has no room in `near`.
    below: u32,
    /// The tag of the longest of the fork's own prefixes that covers this slot.
    own: u32,
    /// The shortest of the prefixes below, unless a fork is there.
    near: K::Near,
}
const _: () = assert!(size_of::<Slot<u32>>() == 32 && size_of::<Slot<Wide>>() == 32);

/// No prefix has this tag.
const NO_OWN: u32 = u32::MAX;

impl<K: Key> Slot<K> {
    const VACANT: Self = Slot { below: NOTHING, own: NO_OWN, near: K::NOTHING_NEAR };

    fn near(&self) -> impl Iterator<Item = &Entry<K>> {
        self.near.as_ref().iter().filter(|entry| !entry.is_vacant())
    }

    /// Whether its own prefix is not longer than `length`, or there is none.
    fn yields_to(&self, length: u32) -> bool {
        self.own == NO_OWN || self.own & 0xff <= length
    }
}

/// What a lookup needs of a fork, small so that it stays in the caches.
struct Head<K: Key> {
    /// 2^`width` of them, for the `width` bits from `start` on.
    slots: Slots<K>,
    start: u8,
    width: u8,
}

impl<K: Key> Head<K> {
    fn new(start: u32, width: u32) -> Self {
        let slots = vec![Slot::VACANT; 1 << width].into_boxed_slice();
        Head { slots, start: start as u8, width: width as u8 }
    }

    #[inline(always)]
    fn index(&self, key: K) -> usize {
        key.window(u32::from(self.start), u32::from(self.width))
    }

    /// Whether `key` has the bits that all prefixes here and below have, as `one` of them.
    #[inline(always)]
    fn holds(&self, one: K, key: K) -> bool {
        one.common(key) >= u32::from(self.start)
    }

    /// Bits that are known below it.
    fn end(&self) -> u32 {
        u32::from(self.start) + u32::from(self.width)
    }

    /// The slots that a prefix covers which ends here.
    fn covered(&mut self, key: K, length: u32) -> impl Iterator<Item = &mut Slot<K>> {
        let (first, count) = (self.index(key), 1 << self.end().saturating_sub(length));
        self.slots.iter_mut().skip(first).take(count)
    }
}

/// Peers by length and bits.
type OwnPrefixes<K> = BTreeMap<(u32, K), u32>;
type Slots<K> = Box<[Slot<K>]>;

/// What a lookup needs only where a fork skips bits.
struct Fork<K> {
    /// The first `start` bits are those of every prefix here and below.
    key: K,
    /// The prefixes that end here.
    own: OwnPrefixes<K>,
    /// Prefixes here and below.
    count: usize,
    /// Slots with a fork that adjoins.
    adjoining: usize,
}

pub struct PrefixTree<K: Key> {
    root: u32,
    /// By number.
    heads: Vec<Head<K>>,
    forks: Vec<Fork<K>>,
    /// Numbers that nobody uses.
    free: Vec<u32>,
    buckets: Buckets<K>,
    /// How many prefixes each peer has, none left out: whoever has none is removed without a search.
    held: HashMap<u32, usize>,
}

impl<K: Key> PrefixTree<K> {
    pub fn new() -> Self {
        PrefixTree {
            root: NOTHING,
            heads: Vec::new(),
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
            (word, best) = self.step(word, key, best);
        }
        if is_bucket(word) { self.buckets.longest(word, key, best) } else { best }
    }

    /// The same for each address of `version`; `peers` of the others stay as they are. A group goes step by step together, and
    /// what it will read is asked for first: what one waits for from memory, the others wait for in the same time. The
    /// processor sees only some hundred instructions ahead, so the loops that ask are short.
    pub fn lookup_all(&self, version: Version, addresses: &[Address], peers: &mut [u32]) {
        if self.root == NOTHING {
            return;
        }
        for (addresses, peers) in addresses.chunks(GROUP).zip(peers.chunks_mut(GROUP)) {
            if !addresses.iter().any(|address| address.version == version) {
                continue;
            }
            let mut words = [NOTHING; GROUP];
            for (word, address) in words.iter_mut().zip(addresses) {
                *word = if address.version == version { self.root } else { NOTHING };
            }
            if is_fork(self.root) {
                self.descend(addresses, &mut words, peers);
            }
            self.search_buckets(addresses, &words, peers);
        }
    }

    /// Takes all from the root, which is a fork, to where their forks end. `words` become what lies below.
    fn descend(&self, addresses: &[Address], words: &mut [u32; GROUP], peers: &mut [u32]) {
        let Some(root) = self.heads.get(number(self.root)) else { return };
        let (slots, start, width) = (&root.slots[..], u32::from(root.start), u32::from(root.width));
        let ask = |seen, (address, &word): (&Address, &u32)| {
            let index = K::of(*address).window(start, width);
            seen ^ if is_fork(word) { slots.get(index).map_or(0, |slot| slot.below) } else { 0 }
        };
        black_box(addresses.iter().zip(&*words).fold(0, ask));
        let mut seen = FORK;
        while is_fork(seen) {
            seen = 0;
            for ((address, peer), word) in addresses.iter().zip(&mut *peers).zip(&mut *words) {
                if is_fork(*word) {
                    (*word, *peer) = self.step(*word, K::of(*address), *peer);
                    seen |= *word;
                }
            }
        }
    }

    /// What lies below the fork at `word` where `key` leads, and whose the longest prefix is that ends in the fork or lies in
    /// the slot, or else `best`.
    #[inline(always)]
    fn step(&self, word: u32, key: K, best: u32) -> (u32, u32) {
        let Some(head) = self.heads.get(number(word)) else { return (NOTHING, best) };
        if word & SKIPS != 0 && !self.forks.get(number(word)).is_some_and(|fork| head.holds(fork.key, key)) {
            return (NOTHING, best);
        }
        let Some(slot) = head.slots.get(head.index(key)) else { return (NOTHING, best) };
        let best = if slot.own == NO_OWN { best } else { slot.own >> 8 };
        (slot.below, longest(slot.near.as_ref(), key, best))
    }

    /// The longest of the bucket at each word that is one, or else what was found on the way there.
    fn search_buckets(&self, addresses: &[Address], words: &[u32; GROUP], peers: &mut [u32]) {
        // Those that have one come together first: whether one has would be guessed wrong too often.
        let (mut waiting, mut count) = ([(NOTHING, 0); GROUP], 0);
        for (index, (_, &word)) in addresses.iter().zip(words).enumerate() {
            if let Some(place) = waiting.get_mut(count) {
                *place = (word, index);
            }
            count += usize::from(is_bucket(word));
        }
        let waiting = waiting.get(..count).unwrap_or_default();
        black_box(waiting.iter().fold(0, |seen, &(word, _)| seen ^ self.buckets.touch(word)));
        for &(word, index) in waiting {
            if let (Some(address), Some(peer)) = (addresses.get(index), peers.get_mut(index)) {
                *peer = self.buckets.longest(word, K::of(*address), *peer);
            }
        }
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
        if !is_fork(word) {
            let mut entries = self.entries(word);
            let former = put_in_order(&mut entries, entry);
            self.release(word);
            let fits = entries.len() <= CAPACITY;
            return (if fits { self.store(&entries) } else { self.burst(&entries, above) }, former);
        }
        let start = self.start(word);
        let shared = self.fork(word).map_or(0, |fork| fork.key.common(entry.key()).min(entry.length()));
        if shared < start {
            let joint = self.fork_above(word, above, shared);
            return self.insert_below(joint, above, entry);
        }
        let former = self.insert_in_fork(word, entry);
        self.widen_if_full(word);
        (self.describe(number(word), above), former)
    }

    /// A prefix that shares what all prefixes of the fork at `word` share. Returns whose it was before.
    fn insert_in_fork(&mut self, word: u32, entry: Entry<K>) -> Option<u32> {
        let end = self.end(word);
        let former = if entry.length() < end {
            self.insert_own(word, entry)
        } else {
            self.insert_in_slot(word, end, entry)
        };
        if let Some(fork) = self.fork(word) {
            fork.count += usize::from(former.is_none());
        }
        former
    }

    /// A prefix that ends below the fork at `word`, which ends after `end` bits. Returns whose it was before.
    fn insert_in_slot(&mut self, word: u32, end: u32, entry: Entry<K>) -> Option<u32> {
        let slot = *self.slot(word, entry.key())?;
        if is_fork(slot.below) {
            let (below, former) = self.insert_below(slot.below, end, entry);
            self.link(word, entry.key(), below);
            return former;
        }
        let mut entries = self.entries_of(&slot);
        let former = put_in_order(&mut entries, entry);
        self.release(slot.below);
        self.fill(word, entry.key(), &entries);
        former
    }

    /// Puts all that is below the fork at `word` where `key` leads, where nothing was in use: as much as the slot has room
    /// for, and the rest into a bucket.
    fn fill(&mut self, word: u32, key: K, entries: &[Entry<K>]) {
        let mut near = K::NOTHING_NEAR;
        let below = if entries.len() <= CAPACITY {
            let (first, rest) = entries.split_at(entries.len().min(near.as_ref().len()));
            near.as_mut().iter_mut().zip(first).for_each(|(to, from)| *to = *from);
            self.store(rest)
        } else {
            self.burst(entries, self.end(word))
        };
        self.link_at(word, self.index(word, key), below, near);
    }

    /// A fork with more `entries` than a bucket holds.
    fn burst(&mut self, entries: &[Entry<K>], above: u32) -> u32 {
        let Some(first) = entries.first() else { return NOTHING };
        let shared = |other: &Entry<K>| other.key().common(first.key()).min(other.length());
        let fork = self.allocate(first.key(), entries.iter().map(shared).min().unwrap_or(0), above);
        entries.iter().fold(fork, |fork, entry| self.insert_below(fork, above, *entry).0)
    }

    /// A prefix that ends in the fork at `word`. Returns whose it was before.
    fn insert_own(&mut self, word: u32, entry: Entry<K>) -> Option<u32> {
        let former = self.fork(word)?.own.insert((entry.length(), entry.key()), entry.peer());
        let head = self.heads.get_mut(number(word))?;
        for slot in head.covered(entry.key(), entry.length()).filter(|slot| slot.yields_to(entry.length())) {
            slot.own = entry.tag();
        }
        former
    }

    /// A fork for `shared` bits, with the fork at `word` as all that lies below it.
    fn fork_above(&mut self, word: u32, above: u32, shared: u32) -> u32 {
        let Some((key, count)) = self.fork(word).map(|fork| (fork.key, fork.count)) else { return word };
        let joint = self.allocate(key, shared, above);
        let below = self.describe(number(word), self.end(joint));
        self.link(joint, key, below);
        if let Some(fork) = self.fork(joint) {
            fork.count = count;
        }
        joint
    }

    /// Once a third of a fork's slots lead to forks that adjoin, they become a part of it: eight times as many slots, and one
    /// step less for whoever comes by. Each of these forks holds five prefixes or more, so that there are never many more slots
    /// than prefixes.
    fn widen_if_full(&mut self, word: u32) {
        let Some(adjoining) = self.fork(word).map(|fork| fork.adjoining) else { return };
        let Some(head) = self.heads.get_mut(number(word)) else { return };
        let (start, width) = (u32::from(head.start), u32::from(head.width));
        if adjoining * 3 < head.slots.len() || width == WIDEST {
            return;
        }
        let narrow = std::mem::replace(head, Head::new(start, width + STRIDE));
        for (old, new) in narrow.slots.iter().zip(head.slots.chunks_mut(1 << STRIDE)) {
            new.iter_mut().for_each(|slot| slot.own = old.own);
        }
        if let Some(fork) = self.fork(word) {
            fork.adjoining = 0;
        }
        for (index, slot) in narrow.slots.iter().enumerate() {
            self.widen_slot(word, index << STRIDE, slot);
        }
        self.widen_if_full(word);
    }

    /// Hangs what was below `old` below the slots from `first` on that took its place.
    fn widen_slot(&mut self, word: u32, first: usize, old: &Slot<K>) {
        let below = old.below;
        let width = self.heads.get(number(below)).map_or(0, |head| u32::from(head.width));
        if is_fork(below) && !adjoins(below) {
            let Some(key) = self.fork(below).map(|fork| fork.key) else { return };
            let below = self.describe(number(below), self.end(word));
            self.link(word, key, below);
        } else if is_fork(below) && width == STRIDE {
            let Some((own, slots)) = self.free_fork(below) else { return };
            for ((length, key), peer) in own {
                self.insert_own(word, Entry::of(key, length, peer));
            }
            for (slot, index) in slots.iter().zip(first..) {
                self.link_at(word, index, slot.below, slot.near);
            }
        } else {
            self.insert_again(word, old);
        }
    }

    /// Puts the prefixes of a slot, or of a fork below it that is already wide, one by one to where they now belong.
    fn insert_again(&mut self, word: u32, old: &Slot<K>) {
        let mut entries: Vec<_> = old.near().copied().collect();
        self.visit(old.below, &mut |entry| entries.push(*entry));
        self.release(old.below);
        if let Some(fork) = self.fork(word) {
            fork.count -= entries.len();
        }
        for entry in entries {
            self.insert_in_fork(word, entry);
        }
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
        if !is_fork(word) {
            return self.remove_from_bucket(word, entry);
        }
        let (start, end) = (self.start(word), self.end(word));
        let Some(fork) = self.fork(word) else { return (word, false) };
        if fork.key.common(entry.key()).min(entry.length()) < start {
            return (word, false);
        }
        let removed = if entry.length() < end {
            self.remove_own(word, entry)
        } else {
            self.remove_from_slot(word, end, entry)
        };
        let slots = self.heads.get(number(word)).map_or(0, |head| head.slots.len());
        let Some(fork) = self.fork(word) else { return (word, removed) };
        fork.count -= usize::from(removed);
        // Half of what makes or widens a fork, or less: a prefix that comes and goes must not make and unmake one each time.
        let is_worth_it = fork.count > CAPACITY / 2 && fork.count >= slots >> STRIDE;
        (if is_worth_it { self.describe(number(word), above) } else { self.rebuild(word, above) }, removed)
    }

    /// A prefix that ends in the fork at `word`.
    fn remove_own(&mut self, word: u32, entry: &Entry<K>) -> bool {
        let (start, length, key) = (self.start(word), entry.length(), entry.key());
        let Some(own) = self.fork(word).map(|fork| &mut fork.own) else { return false };
        if own.get(&(length, key)) != Some(&entry.peer()) {
            return false;
        }
        own.remove(&(length, key));
        let longest_but = (start..length).rev().find_map(|length| {
            let key = key.cut(length);
            own.get(&(length, key)).map(|&peer| Entry::of(key, length, peer).tag())
        });
        let Some(head) = self.heads.get_mut(number(word)) else { return true };
        for slot in head.covered(key, length).filter(|slot| slot.yields_to(length)) {
            slot.own = longest_but.unwrap_or(NO_OWN);
        }
        true
    }

    fn remove_from_bucket(&mut self, word: u32, entry: &Entry<K>) -> (u32, bool) {
        let mut entries = self.entries(word);
        if !take_out(&mut entries, entry) {
            return (word, false);
        }
        self.release(word);
        (self.store(&entries), true)
    }

    /// A prefix that ends below the fork at `word`, which ends after `end` bits.
    fn remove_from_slot(&mut self, word: u32, end: u32, entry: &Entry<K>) -> bool {
        let Some(slot) = self.slot(word, entry.key()).copied() else { return false };
        if is_fork(slot.below) {
            let (below, removed) = self.remove_below(slot.below, end, entry);
            if is_fork(below) {
                self.link(word, entry.key(), below);
            } else {
                let entries = self.entries(below);
                self.release(below);
                self.fill(word, entry.key(), &entries);
            }
            return removed;
        }
        let mut entries = self.entries_of(&slot);
        if !take_out(&mut entries, entry) {
            return false;
        }
        self.release(slot.below);
        self.fill(word, entry.key(), &entries);
        true
    }

    /// Makes of a fork and all below it what would have been made of the prefixes that are left.
    fn rebuild(&mut self, word: u32, above: u32) -> u32 {
        let mut entries = Vec::new();
        self.visit(word, &mut |entry| entries.push(*entry));
        self.release(word);
        entries.into_iter().fold(NOTHING, |built, entry| self.insert_below(built, above, entry).0)
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
            fork.own.iter().for_each(|(&(length, key), &peer)| see(&Entry::of(key, length, peer)));
        }
        if let Some(head) = self.heads.get(number(word)) {
            for slot in &head.slots {
                slot.near().for_each(&mut *see);
                self.visit(slot.below, see);
            }
        }
    }

    fn fork(&mut self, word: u32) -> Option<&mut Fork<K>> {
        if is_fork(word) { self.forks.get_mut(number(word)) } else { None }
    }

    fn start(&self, word: u32) -> u32 {
        self.heads.get(number(word)).map_or(0, |head| u32::from(head.start))
    }

    fn end(&self, word: u32) -> u32 {
        self.heads.get(number(word)).map_or(0, Head::end)
    }

    /// Where `key` leads from the fork at `word`.
    fn slot(&self, word: u32, key: K) -> Option<&Slot<K>> {
        self.heads.get(number(word)).and_then(|head| head.slots.get(head.index(key)))
    }

    /// The prefixes in a slot and its bucket, shortest first.
    fn entries_of(&self, slot: &Slot<K>) -> Vec<Entry<K>> {
        slot.near().copied().chain(self.entries(slot.below)).collect()
    }

    fn index(&self, word: u32, key: K) -> usize {
        self.heads.get(number(word)).map_or(usize::MAX, |head| head.index(key))
    }

    /// Hangs a fork where `key` leads.
    fn link(&mut self, word: u32, key: K, below: u32) {
        self.link_at(word, self.index(word, key), below, K::NOTHING_NEAR);
    }

    fn link_at(&mut self, word: u32, index: usize, below: u32, near: K::Near) {
        let head = self.heads.get_mut(number(word));
        let Some(slot) = head.and_then(|head| head.slots.get_mut(index)) else { return };
        let former = std::mem::replace(&mut slot.below, below);
        slot.near = near;
        if let Some(fork) = self.fork(word) {
            fork.adjoining = fork.adjoining + usize::from(adjoins(below)) - usize::from(adjoins(former));
        }
    }

    fn entries(&self, word: u32) -> Vec<Entry<K>> {
        if is_bucket(word) { self.buckets.entries(word) } else { Vec::new() }
    }

    fn store(&mut self, entries: &[Entry<K>]) -> u32 {
        if entries.is_empty() { NOTHING } else { self.buckets.store(entries).unwrap_or(NOTHING) }
    }

    /// The word of a fork that hangs `above` bits deep.
    fn describe(&self, number: usize, above: u32) -> u32 {
        let word = FORK | number as u32;
        if self.start(word) > above { word | SKIPS } else { word }
    }

    /// An empty fork, `above` bits deep, for prefixes that share `shared` bits with `key`.
    fn allocate(&mut self, key: K, shared: u32, above: u32) -> u32 {
        let head = Head::new(shared / STRIDE * STRIDE, STRIDE);
        let fork = Fork { key, own: BTreeMap::new(), count: 0, adjoining: 0 };
        let number = match self.free.pop() {
            Some(number) => number as usize,
            None => self.forks.len(),
        };
        match (self.heads.get_mut(number), self.forks.get_mut(number)) {
            (Some(old_head), Some(old_fork)) => (*old_head, *old_fork) = (head, fork),
            _ => {
                self.heads.push(head);
                self.forks.push(fork);
            }
        }
        self.describe(number, above)
    }

    /// Frees a fork alone. Returns its own prefixes and its slots.
    fn free_fork(&mut self, word: u32) -> Option<(OwnPrefixes<K>, Slots<K>)> {
        let own = std::mem::take(&mut self.fork(word)?.own);
        let slots = std::mem::take(&mut self.heads.get_mut(number(word))?.slots);
        self.free.push(word & NUMBER_MASK);
        Some((own, slots))
    }

    /// Frees what lies at `word` and below.
    fn release(&mut self, word: u32) {
        if is_bucket(word) {
            self.buckets.release(word);
        } else if let Some((_, slots)) = self.free_fork(word) {
            slots.iter().for_each(|slot| self.release(slot.below));
        }
    }

    /// Slots of all forks that are in use. For tests.
    #[cfg(test)]
    pub fn slots(&self) -> usize {
        self.heads.iter().map(|head| head.slots.len()).sum()
    }

    /// Whether no memory is in use. For tests.
    #[cfg(test)]
    pub fn is_vacant(&self) -> bool {
        let is_empty = (self.root, self.forks.len(), self.buckets.used()) == (NOTHING, self.free.len(), 0);
        is_empty && self.slots() == 0 && self.held.is_empty()
    }
}
