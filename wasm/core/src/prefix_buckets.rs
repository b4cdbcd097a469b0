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
pub trait Key: Copy + Eq {
    fn of(address: Address) -> Self;
    /// How many bits from the top are the same in both.
    fn common(self, other: Self) -> u32;
    /// The six bits from `start` on; zeros where there are no more.
    fn six_bits(self, start: u32) -> usize;
}

impl Key for u32 {
    fn of(address: Address) -> u32 {
        (address.bits >> 96) as u32
    }

    fn common(self, other: u32) -> u32 {
        (self ^ other).leading_zeros()
    }

    fn six_bits(self, start: u32) -> usize {
        (self.checked_shl(start).unwrap_or(0) >> 26) as usize
    }
}

/// An IPv6 address in two words: wasm has no larger ones, and would call a function to shift a `u128`.
#[derive(Clone, Copy, PartialEq, Eq)]
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
        if high == 0 { 64 + low.leading_zeros() } else { high.leading_zeros() }
    }

    fn six_bits(self, start: u32) -> usize {
        let window = match start {
            0..64 => self.high << start | (self.low >> 1) >> (63 - start),
            _ => self.low.checked_shl(start - 64).unwrap_or(0),
        };
        (window >> 58) as usize
    }
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

impl<K: Key> Entry<K> {
    pub fn new(address: Address, length: u8, peer: u32) -> Self {
        Entry { key: K::of(address), tag: peer << 8 | u32::from(length) }
    }

    /// Matches nothing: no address has as many bits.
    fn vacant() -> Self {
        Self::new(Address::v4([0; 4]), u8::MAX, 0)
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

pub struct Buckets<K> {
    chunks: Vec<Box<[Entry<K>]>>,
    /// Words of runs that nobody uses, by size.
    free: [Vec<u32>; SIZES],
    /// The first entry that was never used.
    next: usize,
}

impl<K: Key> Buckets<K> {
    pub fn new() -> Self {
        Buckets { chunks: Vec::new(), free: Default::default(), next: 0 }
    }

    fn run(&self, word: u32) -> &[Entry<K>] {
        let (place, size) = ((word & PLACE_MASK) as usize, 1 << (word >> SIZE_SHIFT));
        let chunk = self.chunks.get(place / CHUNK).map_or(&[][..], |chunk| &chunk[..]);
        chunk.get(place % CHUNK..).and_then(|rest| rest.get(..size)).unwrap_or_default()
    }

    /// The peer of the longest prefix of the run that contains `key`.
    #[inline]
    pub fn longest(&self, word: u32, key: K) -> Option<u32> {
        // No way out of the loop but its end, which is known before the run is read: a jump that hangs on what comes from
        // memory would be guessed wrong, and would keep the next lookup from starting meanwhile.
        let mut best = u32::MAX;
        for entry in self.run(word) {
            best = if entry.key().common(key) >= entry.length() { entry.peer() } else { best };
        }
        (best != u32::MAX).then_some(best)
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
        self.run(word).iter().filter(|entry| entry.length() != u32::from(u8::MAX)).copied().collect()
    }

    /// A run that holds `entries`, at most [`CAPACITY`] and not none. `None` only beyond 2^28 entries.
    pub fn store(&mut self, entries: &[Entry<K>]) -> Option<u32> {
        let size = entries.len().next_power_of_two();
        let size_log = size.trailing_zeros();
        let word = match self.free.get_mut(size_log as usize)?.pop() {
            Some(word) => word,
            None => self.fresh(size)? | size_log << SIZE_SHIFT,
        };
        let place = (word & PLACE_MASK) as usize;
        let run = self.chunks.get_mut(place / CHUNK)?.get_mut(place % CHUNK..)?.get_mut(..size)?;
        run.fill(Entry::vacant());
        run.iter_mut().zip(entries).for_each(|(to, from)| *to = *from);
        Some(word)
    }

    fn fresh(&mut self, size: usize) -> Option<u32> {
        let place = self.next.next_multiple_of(size);
        if place >= self.chunks.len() * CHUNK {
            self.chunks.push(vec![Entry::vacant(); CHUNK].into_boxed_slice());
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
