//! The leaves of a prefix tree: runs of one, two, four or eight prefixes in chunks of memory that never move. What a run
//! holds is at its front, shortest prefix first; the rest matches nothing.

use crate::packet::address::Address;

/// Prefixes that one run can hold.
pub const CAPACITY: usize = 8;
/// Entries of a chunk. A multiple of every run's size, so that no run lies across two.
const CHUNK: usize = 512;
const SIZES: usize = 4;
/// In a word of a run: where its size begins. Below lies the place of its first entry.
const SIZE_SHIFT: u32 = 28;
const PLACE_MASK: u32 = (1 << SIZE_SHIFT) - 1;

/// The bits of an address, the first one on top.
pub trait Key: Copy + Ord {
    fn of(address: Address) -> Self;
    /// How many bits from the top are the same in both.
    fn common(self, other: Self) -> u32;
    /// The `width` bits from `start` on, at least one and at most 32; zeros where there are no more.
    fn window(self, start: u32, width: u32) -> usize;
    /// The first `length` bits, then zeros.
    fn cut(self, length: u32) -> Self;

    /// The prefixes that a slot of a fork has room for: as many as make it half a cache line.
    type Near: Copy + AsRef<[Entry<Self>]> + AsMut<[Entry<Self>]>;
    const NOTHING_NEAR: Self::Near;
    const ZERO: Self;
}

impl Key for u32 {
    fn of(address: Address) -> u32 {
        (address.bits >> 96) as u32
    }

    fn common(self, other: u32) -> u32 {
        (self ^ other).leading_zeros()
    }

    fn window(self, start: u32, width: u32) -> usize {
        (self.wrapping_shl(start)).wrapping_shr(32 - width) as usize
    }

    fn cut(self, length: u32) -> u32 {
        self & !u32::MAX.checked_shr(length).unwrap_or(0)
    }

    type Near = [Entry<u32>; 3];
    const NOTHING_NEAR: Self::Near = [Entry::vacant(0); 3];
    const ZERO: u32 = 0;
}

/// An IPv6 address in two words: wasm has no larger ones, and would call a function to shift a `u128`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wide {
    high: u64,
    low: u64,
}

impl Key for Wide {
    fn of(address: Address) -> Wide {
        Wide { high: (address.bits >> 64) as u64, low: address.bits as u64 }
    }

    fn common(self, other: Wide) -> u32 {
        let (high, low) = (self.high ^ other.high, self.low ^ other.low);
        let in_high = high.leading_zeros();
        // The low half counts where the high one is the same. Without a jump, which would hang on what comes from memory.
        in_high + low.leading_zeros() * (in_high >> 6)
    }

    fn window(self, start: u32, width: u32) -> usize {
        let window = match start {
            0..64 => self.high << start | (self.low >> 1) >> (63 - start),
            _ => self.low.wrapping_shl(start - 64),
        };
        window.wrapping_shr(64 - width) as usize
    }

    fn cut(self, length: u32) -> Wide {
        let gone = |length| u64::MAX.checked_shr(length).unwrap_or(0);
        Wide { high: self.high & !gone(length), low: self.low & !gone(length.saturating_sub(64)) }
    }

    type Near = [Entry<Wide>; 1];
    const NOTHING_NEAR: Self::Near = [Entry::vacant(Self::ZERO)];
    const ZERO: Wide = Wide { high: 0, low: 0 };
}

/// A prefix and whose it is, without a byte between: how many fit into the caches decides how fast a large table is.
/// INVARIANT: a peer's id has at most 24 bits; `index_table.rs` gives out no more than 2^23.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub struct Entry<K> {
    key: K,
    tag: u32,
}
const _: () = assert!(size_of::<Entry<u32>>() == 8 && size_of::<Entry<Wide>>() == 20);

impl<K> Entry<K> {
    /// Matches nothing: no address has as many bits.
    const fn vacant(key: K) -> Self {
        Entry { key, tag: u8::MAX as u32 }
    }
}

impl<K: Key> Entry<K> {
    pub fn new(address: Address, length: u8, peer: u32) -> Self {
        Self::of(K::of(address), u32::from(length), peer)
    }

    pub fn of(key: K, length: u32, peer: u32) -> Self {
        Entry { key, tag: peer << 8 | length }
    }

    /// The peer and below it the length.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    pub fn key(&self) -> K {
        self.key
    }

    pub fn length(&self) -> u32 {
        self.tag & 0xff
    }

    pub fn peer(&self) -> u32 {
        self.tag >> 8
    }

    pub fn is_vacant(&self) -> bool {
        self.length() == u32::from(u8::MAX)
    }

    pub fn is_same_prefix(&self, other: &Self) -> bool {
        self.key() == other.key() && self.length() == other.length()
    }
}

/// Puts `entry` into `entries`, which are in order of length, in place of one with the same prefix: returns whose it was.
pub fn put_in_order<K: Key>(entries: &mut Vec<Entry<K>>, entry: Entry<K>) -> Option<u32> {
    if let Some(place) = entries.iter_mut().find(|other| other.is_same_prefix(&entry)) {
        return Some(std::mem::replace(place, entry).peer());
    }
    entries.insert(entries.partition_point(|other| other.length() <= entry.length()), entry);
    None
}

/// Takes `entry`'s prefix out of `entries`, if it is there and of the same peer.
pub fn take_out<K: Key>(entries: &mut Vec<Entry<K>>, entry: &Entry<K>) -> bool {
    let found = entries.iter().position(|other| other.is_same_prefix(entry) && other.peer() == entry.peer());
    found.map(|index| entries.remove(index)).is_some()
}

/// Begins where a cache line does, so that a run lies in as few of them as it can.
#[repr(C, align(64))]
struct Chunk<K>([Entry<K>; CHUNK]);

/// The peer of the last of `entries` that contains `key`, or else `best`.
#[inline(always)]
pub fn longest<K: Key>(entries: &[Entry<K>], key: K, mut best: u32) -> u32 {
    // No way out of the loop but its end, which is known before the entries are read: a jump that hangs on what comes from
    // memory would be guessed wrong, and would keep the next lookup from starting meanwhile.
    for entry in entries {
        best = if entry.key().common(key) >= entry.length() { entry.peer() } else { best };
    }
    best
}

pub struct Buckets<K> {
    chunks: Vec<Box<Chunk<K>>>,
    /// Words of runs that nobody uses, by size.
    free: [Vec<u32>; SIZES],
    /// The first entry that was never used.
    next: usize,
}

impl<K: Key> Buckets<K> {
    const VACANT: Entry<K> = Entry::vacant(K::ZERO);

    pub fn new() -> Self {
        Buckets { chunks: Vec::new(), free: Default::default(), next: 0 }
    }

    fn run(&self, word: u32) -> &[Entry<K>] {
        let (place, size) = ((word & PLACE_MASK) as usize, 1 << (word >> SIZE_SHIFT));
        let chunk = self.chunks.get(place / CHUNK).map_or(&[][..], |chunk| &chunk.0[..]);
        chunk.get(place % CHUNK..).and_then(|rest| rest.get(..size)).unwrap_or_default()
    }

    /// The peer of the longest prefix of the run that contains `key`, or else `best`.
    #[inline(always)]
    pub fn longest(&self, word: u32, key: K, best: u32) -> u32 {
        longest(self.run(word), key, best)
    }

    /// Brings the run into the cache.
    #[inline]
    pub fn touch(&self, word: u32) -> u32 {
        let run = self.run(word);
        let (first, last) =
            (run.first().map_or(0, |entry| entry.tag), run.last().map_or(0, |entry| entry.tag));
        first ^ last
    }

    /// What the run holds.
    pub fn entries(&self, word: u32) -> Vec<Entry<K>> {
        self.run(word).iter().filter(|entry| !entry.is_vacant()).copied().collect()
    }

    /// A run that holds `entries`, at most [`CAPACITY`] and not none. `None` only beyond 2^28 entries.
    pub fn store(&mut self, entries: &[Entry<K>]) -> Option<u32> {
        let size = entries.len().next_power_of_two();
        let size_log = size.trailing_zeros();
        let word = match self.reused(size_log) {
            Some(word) => word,
            None => self.fresh(size)? | size_log << SIZE_SHIFT,
        };
        let place = (word & PLACE_MASK) as usize;
        let run = self.chunks.get_mut(place / CHUNK)?.0.get_mut(place % CHUNK..)?.get_mut(..size)?;
        run.fill(Self::VACANT);
        run.iter_mut().zip(entries).for_each(|(to, from)| *to = *from);
        Some(word)
    }

    /// A run that nobody uses, or half of one twice as large.
    fn reused(&mut self, size_log: u32) -> Option<u32> {
        if let Some(word) = self.free.get_mut(size_log as usize)?.pop() {
            return Some(word);
        }
        let place = self.reused(size_log + 1)? & PLACE_MASK;
        let half = place + (1 << size_log);
        self.free.get_mut(size_log as usize)?.push(half | size_log << SIZE_SHIFT);
        Some(place | size_log << SIZE_SHIFT)
    }

    fn fresh(&mut self, size: usize) -> Option<u32> {
        let place = self.next.next_multiple_of(size);
        if place >= self.chunks.len() * CHUNK {
            self.chunks.push(Box::new(Chunk([Self::VACANT; CHUNK])));
        }
        // What alignment leaves out becomes runs of one.
        let [singles, ..] = &mut self.free;
        singles.extend((self.next..place).map(|single| single as u32));
        self.next = place + size;
        u32::try_from(place).ok().filter(|&place| place <= PLACE_MASK)
    }

    pub fn release(&mut self, word: u32) {
        if let Some(free) = self.free.get_mut((word >> SIZE_SHIFT) as usize) {
            free.push(word);
        }
    }

    /// Entries in runs that are in use. For tests.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        let free: usize = self.free.iter().enumerate().map(|(log, words)| words.len() << log).sum();
        self.next - free
    }
}
