//! The memory both sides work in: slots that the host fills (datagrams received, frames read), byte queues
//! that it drains (datagrams to send, frames to write), and one column of entries for each.
//!
//! An entry's offset and capacity are written here once and never read back; a length that the host wrote
//! is checked against the slot before any byte is touched. The layout is shared with `native/src/columns.h`
//! and described in `docs/architecture.md`: change all three together.

use std::ops::{Deref, DerefMut};

use crate::offload::vnet::VNET_HEADER_BYTES;
use crate::packet::address::Endpoint;

/// Datagrams taken in by one call; 64 is where `recvmmsg` stops gaining.
pub const RECEIVE_SLOTS: usize = 64;
/// Frames taken in by one call.
pub const READ_SLOTS: usize = 64;
/// Messages that can wait for one `sendUdp`: a batch of frames, a staged backlog, a round of handshakes.
pub const SEND_SLOTS: usize = 512;

/// Largest UDP payload or IP packet there is.
const LARGEST_PACKET: usize = 65_535;
/// Room after a frame for padding to 16 bytes, and after a plaintext for its tag.
const SLACK: usize = 64;
/// Bytes of one GSO send: an IPv4 packet less its headers, rounded down as other implementations do.
const LONGEST_TRAIN_BYTES: u32 = 65_000;
/// Datagrams of one GSO send. Linux `UDP_MAX_SEGMENTS` is 64 in some versions and 128 in others; 63 is safe in all.
const LONGEST_TRAIN: u32 = 63;
/// One slot. Not a power of two, so that the first bytes of all slots do not share a cache set.
pub const SLOT_BYTES: usize = LARGEST_PACKET + 1 + SLACK + 64;
/// Bytes of one queue: as many largest packets as one call can take in, and what each of their segments adds.
pub const QUEUE_BYTES: usize = RECEIVE_SLOTS * (SLOT_BYTES + 64 * 64);
/// In place of a peer's id: a message for whoever asked.
pub const NO_PEER: u32 = u32::MAX;
/// Arguments and results of control calls.
pub const CONTROL_BYTES: usize = 16_384;

/// One datagram entry, 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Datagram {
    pub offset: u32,
    pub length: u32,
    pub capacity: u32,
    /// 0, a negative errno, or 1: sent, but only after the stale source address was dropped.
    pub status: i32,
    pub peer: u32,
    /// Bytes of each datagram of a train but its last, which may be shorter; 0 = one datagram.
    pub segment: u32,
    pub endpoint: Endpoint,
}
const _: () = assert!(size_of::<Datagram>() == 64);

/// One frame entry, 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Frame {
    pub offset: u32,
    pub length: u32,
    pub capacity: u32,
    pub status: i32,
}
const _: () = assert!(size_of::<Frame>() == 16);

/// The address the host knows memory by. On wasm32 an address is an offset into the memory; natively
/// (tests) there is no host and nobody reads it.
pub fn address_of<T>(slice: &[T]) -> u32 {
    slice.as_ptr() as usize as u32
}

/// Zeroed bytes that live as long as the core. On wasm32 they are fresh pages: the allocator would write zeros over
/// them, and memory that nobody has written costs the machine nothing.
pub struct Pages {
    #[cfg(target_arch = "wasm32")]
    bytes: &'static mut [u8],
    #[cfg(not(target_arch = "wasm32"))]
    bytes: Box<[u8]>,
}

impl Pages {
    #[cfg(target_arch = "wasm32")]
    pub fn zeroed(length: usize) -> Self {
        const PAGE_BYTES: usize = 65_536;
        let before = core::arch::wasm32::memory_grow::<0>(length.div_ceil(PAGE_BYTES));
        if before == usize::MAX {
            return Pages { bytes: &mut [] }; // no memory: every slot is refused, and so is every packet
        }
        let start = (before * PAGE_BYTES) as *mut u8;
        // SAFETY: `memory_grow` just added these pages at the end of memory; they are zero, no allocator knows them, and
        // nobody else is given them. The host writes to them only while no code of the core runs.
        let bytes = unsafe { core::slice::from_raw_parts_mut(start, length) };
        Pages { bytes }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn zeroed(length: usize) -> Self {
        Pages { bytes: vec![0; length].into_boxed_slice() }
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..]
    }
}

/// Fixed slots that the host fills.
pub struct Slots<E> {
    bytes: Pages,
    pub column: Box<[E]>,
}

impl Slots<Datagram> {
    pub fn datagrams() -> Self {
        let bytes = Pages::zeroed(RECEIVE_SLOTS * SLOT_BYTES);
        let origin = address_of(&bytes);
        let entry = |slot: usize| Datagram {
            offset: origin.wrapping_add((slot * SLOT_BYTES) as u32),
            capacity: LARGEST_PACKET as u32,
            ..Datagram::default()
        };
        Slots { bytes, column: (0..RECEIVE_SLOTS).map(entry).collect() }
    }

    /// The datagrams in `slot`, one after the other, and where they came from; `None` if there is
    /// nothing, or the host's length does not fit the slot.
    pub fn datagrams_in(&self, slot: usize) -> Option<(core::slice::Chunks<'_, u8>, Endpoint)> {
        let entry = self.column.get(slot)?;
        let bytes = filled(&self.bytes, slot, entry.length).filter(|bytes| !bytes.is_empty())?;
        let segment = match entry.segment as usize {
            0 => bytes.len(),
            segment => segment,
        };
        Some((bytes.chunks(segment), entry.endpoint))
    }

    /// Fills a slot as the host would. For tests and fuzzers.
    #[cfg(any(test, fuzzing))]
    #[allow(clippy::unwrap_used, clippy::indexing_slicing)]
    pub fn fill(&mut self, slot: usize, datagram: &[u8], endpoint: Endpoint) {
        self.bytes[slot * SLOT_BYTES..][..datagram.len()].copy_from_slice(datagram);
        self.column[slot].length = datagram.len() as u32;
        self.column[slot].endpoint = endpoint;
    }
}

impl Slots<Frame> {
    pub fn frames() -> Self {
        let bytes = Pages::zeroed(READ_SLOTS * SLOT_BYTES);
        let origin = address_of(&bytes);
        let entry = |slot: usize| Frame {
            offset: origin.wrapping_add((slot * SLOT_BYTES) as u32),
            capacity: (LARGEST_PACKET + VNET_HEADER_BYTES) as u32,
            ..Frame::default()
        };
        Slots { bytes, column: (0..READ_SLOTS).map(entry).collect() }
    }

    /// The frame in `slot`: its vnet header, and its packet with [`SLACK`] bytes behind it that may be written. `None` if
    /// the host's length does not fit.
    pub fn frame(&mut self, slot: usize) -> Option<(&[u8; VNET_HEADER_BYTES], ReadPacket<'_>)> {
        let length = self.column.get(slot)?.length as usize;
        if length > LARGEST_PACKET + VNET_HEADER_BYTES {
            return None;
        }
        let start = slot * SLOT_BYTES;
        let bytes = self.bytes.get_mut(start..start + length + SLACK)?;
        let (header, bytes) = bytes.split_first_chunk_mut::<VNET_HEADER_BYTES>()?;
        let length = length.checked_sub(VNET_HEADER_BYTES)?;
        Some((header, ReadPacket { bytes, length }))
    }

    /// Fills a slot as the host would. For tests and fuzzers.
    #[cfg(test)]
    pub fn fill(&mut self, slot: usize, frame: &[u8]) {
        self.fill_with_header(slot, &[0; VNET_HEADER_BYTES], frame);
    }

    #[cfg(any(test, fuzzing))]
    #[allow(clippy::unwrap_used, clippy::indexing_slicing)]
    pub fn fill_with_header(&mut self, slot: usize, header: &[u8; VNET_HEADER_BYTES], packet: &[u8]) {
        let bytes = &mut self.bytes[slot * SLOT_BYTES..];
        bytes[..VNET_HEADER_BYTES].copy_from_slice(header);
        bytes[VNET_HEADER_BYTES..][..packet.len()].copy_from_slice(packet);
        self.column[slot].length = (VNET_HEADER_BYTES + packet.len()) as u32;
    }
}

/// A packet as it was read, in place, with room behind it.
pub struct ReadPacket<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl ReadPacket<'_> {
    pub fn packet(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub fn packet_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }

    /// Runs `work` on the bytes from `start` to `end` with zeros behind them up to `padded` bytes: what hides a packet's
    /// exact length on the wire (WireGuard paper §5.4.6). What lay there is put back: it is the next segment's payload.
    pub fn with_padding(&mut self, start: usize, end: usize, padded: usize, work: impl FnOnce(&[u8])) {
        let mut saved = [0; 16];
        let padding = padded.saturating_sub(end - start).min(saved.len());
        let Some((packet, behind)) =
            self.bytes.get_mut(start..).and_then(|b| b.split_at_mut_checked(end - start))
        else {
            return;
        };
        let Some(behind) = behind.get_mut(..padding) else { return work(packet) };
        saved.iter_mut().zip(&*behind).for_each(|(to, from)| *to = *from);
        behind.fill(0);
        work(self.bytes.get(start..end + padding).unwrap_or_default());
        if let Some(behind) = self.bytes.get_mut(end..end + padding) {
            behind.iter_mut().zip(&saved).for_each(|(to, from)| *to = *from);
        }
    }
}

/// What the host fills before a call.
pub struct Intake {
    /// Datagrams from the underlay.
    pub receive: Slots<Datagram>,
    /// Frames from the TUN device.
    pub read: Slots<Frame>,
}

impl Intake {
    pub fn new() -> Self {
        Intake { receive: Slots::datagrams(), read: Slots::frames() }
    }
}

fn filled(bytes: &[u8], slot: usize, length: u32) -> Option<&[u8]> {
    let length = length as usize;
    if length > LARGEST_PACKET {
        return None;
    }
    let start = slot.checked_mul(SLOT_BYTES)?;
    bytes.get(start..start.checked_add(length)?)
}

/// Messages laid end to end for the host to send, with a column that says where each begins and whom it is for.
pub struct SendQueue {
    bytes: Pages,
    pub column: Box<[Datagram]>,
    used: usize,
    count: usize,
    sends_trains: bool,
}

impl SendQueue {
    pub fn new() -> Self {
        SendQueue {
            bytes: Pages::zeroed(QUEUE_BYTES),
            column: vec![Datagram::default(); SEND_SLOTS].into_boxed_slice(),
            used: 0,
            count: 0,
            sends_trains: false,
        }
    }

    /// Whether the host sends trains (UDP_SEGMENT).
    pub fn send_trains(&mut self, does: bool) {
        self.sends_trains = does;
    }

    /// Forgets what was queued: the host has drained it.
    pub fn clear(&mut self) {
        self.used = 0;
        self.count = 0;
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Entries still free.
    pub fn free(&self) -> usize {
        self.column.len() - self.count
    }

    /// Where the next `length` bytes may be written, or `None` when bytes or entries have run out. Nothing is
    /// queued until [`SendQueue::push`].
    pub fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        if self.free() == 0 {
            return None;
        }
        self.bytes.get_mut(self.used..self.used.checked_add(length)?)
    }

    /// Queues the first `length` bytes of the room last handed out for `peer`, behind its last message in one train where
    /// the host sends trains.
    pub fn push(&mut self, length: usize, endpoint: Endpoint, peer: u32) {
        let Some(end) = self.used.checked_add(length).filter(|&end| end <= self.bytes.len()) else { return };
        let offset = address_of(&self.bytes).wrapping_add(self.used as u32);
        let length = length as u32;
        if !(self.sends_trains && self.couple(length, &endpoint, peer)) {
            let Some(place) = self.column.get_mut(self.count) else { return };
            *place = Datagram { offset, length, peer, endpoint, ..Datagram::default() };
            self.count += 1;
        }
        self.used = end;
    }

    /// Lengthens the last train by one datagram if it may be: all of one size, but a shorter last.
    fn couple(&mut self, length: u32, endpoint: &Endpoint, peer: u32) -> bool {
        let Some(train) = self.count.checked_sub(1).and_then(|last| self.column.get_mut(last)) else {
            return false;
        };
        let segment = if train.segment == 0 { train.length } else { train.segment };
        let is_open = segment > 0 && train.length % segment == 0 && train.length / segment < LONGEST_TRAIN;
        let fits = length <= segment && train.length + length <= LONGEST_TRAIN_BYTES;
        if !is_open || !fits || train.peer != peer || train.endpoint != *endpoint {
            return false;
        }
        train.segment = segment;
        train.length += length;
        true
    }

    /// The queued messages, as the wire would see them. For tests and fuzzers.
    #[cfg(any(test, fuzzing))]
    #[allow(clippy::unwrap_used, clippy::indexing_slicing)]
    pub fn messages(&self) -> Vec<(Vec<u8>, Endpoint)> {
        let origin = address_of(&self.bytes);
        let messages = |entry: &Datagram| {
            let start = entry.offset.wrapping_sub(origin) as usize;
            let bytes = &self.bytes[start..start + entry.length as usize];
            let segment = if entry.segment == 0 { bytes.len() } else { entry.segment as usize };
            bytes.chunks(segment).map(|message| (message.to_vec(), entry.endpoint)).collect::<Vec<_>>()
        };
        self.column[..self.count].iter().flat_map(messages).collect()
    }
}
