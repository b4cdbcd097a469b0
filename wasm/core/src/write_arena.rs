//! Where packets for the TUN device are decrypted to, and the column that tells the host how to write them. Its bytes are
//! laid out by `arena.rs`, what is joined is decided by `offload/coalesce.rs`.

use crate::arena::{Frame, Pages, QUEUE_BYTES, RECEIVE_SLOTS, address_of};
use crate::offload::coalesce::Coalescer;

/// Pieces of frames that can wait for one `writeTun`: each received slot can hold 64 datagrams.
pub const WRITE_SLOTS: usize = RECEIVE_SLOTS * 64;
/// Bytes before each packet of the write arena, of which the last hold its vnet header.
const WRITE_HEADROOM: usize = 16;

/// Packets for the TUN device: decrypted one behind the other, joined to frames when the batch is complete.
pub struct WriteArena {
    bytes: Pages,
    pub column: Box<[Frame]>,
    used: usize,
    count: usize,
    pub coalescer: Coalescer,
}

impl WriteArena {
    pub fn new() -> Self {
        WriteArena {
            bytes: Pages::zeroed(QUEUE_BYTES),
            column: vec![Frame::default(); WRITE_SLOTS].into_boxed_slice(),
            used: 0,
            count: 0,
            coalescer: Coalescer::new(WRITE_SLOTS),
        }
    }

    pub fn clear(&mut self) {
        self.used = 0;
        self.count = 0;
        self.coalescer.clear();
    }

    /// Where the next packet may be decrypted to, or `None` when the bytes have run out.
    pub fn room(&mut self, length: usize) -> Option<&mut [u8]> {
        let start = self.used.checked_add(WRITE_HEADROOM)?;
        self.bytes.get_mut(start..start.checked_add(length)?)
    }

    /// Takes the first `length` bytes of the room last handed out as a packet. False when the batch is full.
    pub fn push(&mut self, length: usize) -> bool {
        let start = self.used + WRITE_HEADROOM;
        self.used = (start + length).next_multiple_of(16);
        self.coalescer.push(&mut self.bytes, start, length)
    }

    /// Takes a packet that was made here, where there is room for it.
    pub fn push_copy(&mut self, packet: &[u8]) {
        if let Some(room) = self.room(packet.len()) {
            room.copy_from_slice(packet);
            self.push(packet.len());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Completes the batch: the entries of all frames. Returns how many there are.
    pub fn finish(&mut self) -> usize {
        let origin = address_of(&self.bytes);
        self.count = self.coalescer.finish(&mut self.bytes, origin, &mut self.column);
        self.count
    }

    /// The frames with their vnet headers, as the TUN device would see them. For tests and fuzzers.
    #[cfg(any(test, fuzzing))]
    #[allow(clippy::unwrap_used, clippy::indexing_slicing)]
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let origin = address_of(&self.bytes);
        let mut frames = vec![Vec::new()];
        for entry in &self.column[..self.count] {
            let start = entry.offset.wrapping_sub(origin) as usize;
            frames.last_mut().unwrap().extend(&self.bytes[start..start + entry.length as usize]);
            if entry.capacity == 0 {
                frames.push(Vec::new());
            }
        }
        frames.pop();
        frames
    }
}
