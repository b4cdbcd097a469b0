//! The memory both sides work in: slots that the host fills (datagrams received, frames read), byte queues
//! that it drains (datagrams to send, frames to write), and one column of entries for each.
//!
//! An entry's offset and capacity are written here once and never read back; a length that the host wrote
//! is checked against the slot before any byte is touched. The layout is shared with `native/src/columns.h`
//! and described in `docs/architecture.md`: change all three together.

use std::ops::{Deref, DerefMut};

use crate::packet::address::Endpoint;

/// Datagrams taken in by one call; 64 is where `recvmmsg` stops gaining.
pub const RECEIVE_SLOTS: usize = 64;
/// Frames taken in by one call.
pub const READ_SLOTS: usize = 64;
/// Messages that can wait for one `sendUdp`: a batch of frames, a staged backlog, a round of handshakes.
pub const SEND_SLOTS: usize = 512;
/// Frames that can wait for one `writeTun`.
pub const WRITE_SLOTS: usize = RECEIVE_SLOTS;

/// Largest UDP payload or IP packet there is.
const LARGEST_PACKET: usize = 65_535;
/// Room after a frame for padding to 16 bytes, and after a plaintext for its tag.
const SLACK: usize = 64;
/// One slot. Not a power of two, so that the first bytes of all slots do not share a cache set.
pub const SLOT_BYTES: usize = LARGEST_PACKET + 1 + SLACK + 64;
/// Bytes of one queue: as many largest packets as one call can take in.
const QUEUE_BYTES: usize = RECEIVE_SLOTS * SLOT_BYTES;
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
    pub reserved: u32,
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
struct Pages {
    #[cfg(target_arch = "wasm32")]
    bytes: &'static mut [u8],
    #[cfg(not(target_arch = "wasm32"))]
    bytes: Box<[u8]>,
}

impl Pages {
    #[cfg(target_arch = "wasm32")]
    fn zeroed(length: usize) -> Self {
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
    fn zeroed(length: usize) -> Self {
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

    /// The datagram in `slot` and where it came from; `None` if the host's length does not fit the slot.
    pub fn datagram(&self, slot: usize) -> Option<(&[u8], Endpoint)> {
        let entry = self.column.get(slot)?;
        let bytes = filled(&self.bytes, slot, entry.length)?;
        Some((bytes, entry.endpoint))
    }

    /// Fills a slot as the host would. For tests.
    #[cfg(test)]
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
            capacity: LARGEST_PACKET as u32,
            ..Frame::default()
        };
        Slots { bytes, column: (0..READ_SLOTS).map(entry).collect() }
    }

    /// The frame in `slot`, followed by zeros up to `padded(length)`; `None` if its length does not fit.
    pub fn padded_frame(&mut self, slot: usize, padded: impl Fn(usize) -> usize) -> Option<PaddedFrame<'_>> {
        let length = self.column.get(slot)?.length as usize;
        if length > LARGEST_PACKET {
            return None;
        }
        let start = slot * SLOT_BYTES;
        let total = padded(length).clamp(length, length + SLACK);
        let bytes = self.bytes.get_mut(start..start + total)?;
        bytes.get_mut(length..)?.fill(0);
        Some(PaddedFrame { bytes, length })
    }

    /// Fills a slot as the host would. For tests.
    #[cfg(test)]
    pub fn fill(&mut self, slot: usize, frame: &[u8]) {
        self.bytes[slot * SLOT_BYTES..][..frame.len()].copy_from_slice(frame);
        self.column[slot].length = frame.len() as u32;
    }
}

/// A frame and the zeros that hide its exact length on the wire. WireGuard paper §5.4.6.
pub struct PaddedFrame<'a> {
    bytes: &'a [u8],
    length: usize,
}

impl<'a> PaddedFrame<'a> {
    pub fn packet(&self) -> &'a [u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub fn padded(&self) -> &'a [u8] {
        self.bytes
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

/// Bytes laid end to end for the host to drain, with a column that says where each begins.
pub struct Queue<E> {
    bytes: Pages,
    pub column: Box<[E]>,
    used: usize,
    count: usize,
}

impl<E: Copy + Default> Queue<E> {
    pub fn new(slots: usize) -> Self {
        Queue {
            bytes: Pages::zeroed(QUEUE_BYTES),
            column: vec![E::default(); slots].into_boxed_slice(),
            used: 0,
            count: 0,
        }
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
    /// queued until [`Queue::push_entry`].
    pub fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        if self.free() == 0 {
            return None;
        }
        self.bytes.get_mut(self.used..self.used.checked_add(length)?)
    }

    /// Queues the first `length` bytes of the room last handed out; `entry` makes their entry from the address.
    fn push_entry(&mut self, length: usize, entry: impl FnOnce(u32) -> E) {
        let Some(place) = self.column.get_mut(self.count) else { return };
        let Some(end) = self.used.checked_add(length).filter(|&end| end <= self.bytes.len()) else { return };
        *place = entry(address_of(&self.bytes).wrapping_add(self.used as u32));
        self.used = end;
        self.count += 1;
    }
}

pub type SendQueue = Queue<Datagram>;
pub type WriteQueue = Queue<Frame>;

impl Queue<Datagram> {
    pub fn push(&mut self, length: usize, endpoint: Endpoint, peer: u32) {
        self.push_entry(length, |offset| Datagram {
            offset,
            length: length as u32,
            peer,
            endpoint,
            ..Datagram::default()
        });
    }

    /// The queued messages, as the wire would see them. For tests.
    #[cfg(test)]
    pub fn messages(&self) -> Vec<(Vec<u8>, Endpoint)> {
        let origin = address_of(&self.bytes);
        let message = |entry: &Datagram| {
            let start = entry.offset.wrapping_sub(origin) as usize;
            (self.bytes[start..start + entry.length as usize].to_vec(), entry.endpoint)
        };
        self.column[..self.count].iter().map(message).collect()
    }
}

impl Queue<Frame> {
    pub fn push(&mut self, length: usize) {
        self.push_entry(length, |offset| Frame { offset, length: length as u32, ..Frame::default() });
    }

    /// The queued frames, as the TUN device would see them. For tests.
    #[cfg(test)]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let origin = address_of(&self.bytes);
        let frame = |entry: &Frame| {
            let start = entry.offset.wrapping_sub(origin) as usize;
            self.bytes[start..start + entry.length as usize].to_vec()
        };
        self.column[..self.count].iter().map(frame).collect()
    }
}
