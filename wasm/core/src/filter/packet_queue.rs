//! Packets that wait for the rate of their peer: queues that share one pool of cells, taken once. A packet takes as many
//! cells as its bytes fill, so pushing and popping copies and allocates nothing.
//!
//! INVARIANT: a cell is in one queue, on the free list, or has never been used; `used` counts the first.

use crate::arena::Pages;

pub const CELL_BYTES: usize = 512;
/// 16 MiB for all peers together, of which the machine gives what was ever written to.
pub const CELLS: usize = 32_768;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Cell {
    /// The next of the queue, or of the free list.
    next: u32,
    /// Of the first cell of a packet: its bytes, and the generation of the policy that let it in.
    length: u32,
    generation: u32,
}

/// One queue, first come, first gone.
#[derive(Clone, Copy)]
pub struct Queue {
    first: u32,
    last: u32,
    cells: usize,
    bytes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { first: NONE, last: NONE, cells: 0, bytes: 0 }
    }
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.cells == 0
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

pub struct Pool {
    bytes: Option<Pages>,
    cells: Box<[Cell]>,
    free: u32,
    /// Cells from here on were never used.
    fresh: usize,
    used: usize,
}

impl Pool {
    /// Without cells, until [`Pool::make_room`].
    pub fn new() -> Self {
        Pool { bytes: None, cells: Box::default(), free: NONE, fresh: 0, used: 0 }
    }

    /// Takes its memory, once. A core whose policy knows no rate never does.
    pub fn make_room(&mut self) {
        if self.bytes.is_none() {
            self.bytes = Some(Pages::zeroed(CELLS * CELL_BYTES));
            self.cells = vec![Cell { next: NONE, length: 0, generation: 0 }; CELLS].into_boxed_slice();
        }
    }

    /// Puts a packet behind the others; false if that would be more than `most_bytes`, or if the queue would have more cells
    /// than are left for all: so that one that fills leaves the half to whoever comes next, and those half of the rest
    /// (Choudhury, Hahne 1998, "Dynamic queue length thresholds").
    pub fn push(&mut self, queue: &mut Queue, packet: &[u8], generation: u32, most_bytes: usize) -> bool {
        let cells = packet.len().div_ceil(CELL_BYTES);
        let left = self.cells.len() - self.used;
        if packet.is_empty() || queue.cells + cells > left || queue.bytes + packet.len() > most_bytes {
            return false;
        }
        let mut is_first = true;
        for piece in packet.chunks(CELL_BYTES) {
            let Some(at) = self.take() else { return false };
            if let Some(place) = self.bytes_of(at, piece.len()) {
                place.copy_from_slice(piece);
            }
            if let Some(cell) = self.cells.get_mut(at as usize) {
                let length = if is_first { packet.len() as u32 } else { 0 };
                *cell = Cell { next: NONE, length, generation };
            }
            match self.cells.get_mut(queue.last as usize) {
                Some(last) if queue.cells > 0 => last.next = at,
                _ => queue.first = at,
            }
            queue.last = at;
            queue.cells += 1;
            is_first = false;
        }
        queue.bytes += packet.len();
        true
    }

    /// Bytes of the packet that is next.
    pub fn next_length(&self, queue: &Queue) -> Option<usize> {
        (!queue.is_empty()).then(|| self.cells.get(queue.first as usize).map(|cell| cell.length as usize))?
    }

    /// Takes the next packet out, into `room`. Returns its length and generation.
    pub fn pop(&mut self, queue: &mut Queue, room: &mut [u8]) -> Option<(usize, u32)> {
        let length = self.next_length(queue)?;
        let generation = self.cells.get(queue.first as usize)?.generation;
        for piece in room.get_mut(..length)?.chunks_mut(CELL_BYTES) {
            let at = queue.first;
            if let Some(bytes) = self.bytes_of(at, piece.len()) {
                piece.copy_from_slice(bytes);
            }
            queue.first = self.give_back(at);
            queue.cells -= 1;
        }
        queue.bytes -= length;
        Some((length, generation))
    }

    /// Drops all that waits, and returns how many packets that were.
    pub fn clear(&mut self, queue: &mut Queue) -> usize {
        let mut packets = 0;
        while queue.cells > 0 {
            packets += usize::from(self.next_length(queue).is_some_and(|length| length > 0));
            queue.first = self.give_back(queue.first);
            queue.cells -= 1;
        }
        *queue = Queue::default();
        packets
    }

    fn take(&mut self) -> Option<u32> {
        let at = match self.cells.get(self.free as usize) {
            Some(cell) => std::mem::replace(&mut self.free, cell.next),
            None => {
                let at = Some(self.fresh).filter(|&at| at < self.cells.len())?;
                self.fresh += 1;
                at as u32
            }
        };
        self.used += 1;
        Some(at)
    }

    /// Returns what came behind it.
    fn give_back(&mut self, at: u32) -> u32 {
        let Some(cell) = self.cells.get_mut(at as usize) else { return NONE };
        self.used -= 1;
        let next = std::mem::replace(&mut cell.next, self.free);
        self.free = at;
        next
    }

    /// The first `length` bytes of a cell.
    fn bytes_of(&mut self, at: u32, length: usize) -> Option<&mut [u8]> {
        self.bytes.as_mut()?.get_mut(at as usize * CELL_BYTES..)?.get_mut(..length)
    }

    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::test_random::Random;

    #[test]
    fn packets_come_out_as_they_went_in_and_in_their_order() {
        let mut random = Random(3);
        let (mut pool, mut room) = (Pool::new(), vec![0; 65_536]);
        pool.make_room();
        let mut queues = [Queue::default(); 3];
        let mut expected: [VecDeque<Vec<u8>>; 3] = Default::default();
        for step in 0..20_000u32 {
            let at = random.below(3);
            if random.below(2) == 0 {
                let longest = if step % 50 == 0 { 65_535 } else { 1_500 };
                let packet: Vec<u8> =
                    (0..1 + random.below(longest)).map(|i| (i as u8) ^ (step as u8)).collect();
                if pool.push(&mut queues[at], &packet, step, 1 << 20) {
                    expected[at].push_back(packet);
                }
            } else {
                let popped = pool.pop(&mut queues[at], &mut room).map(|(length, _)| room[..length].to_vec());
                assert_eq!(popped, expected[at].pop_front());
            }
            let bytes: usize = expected[at].iter().map(Vec::len).sum();
            assert_eq!((queues[at].bytes(), queues[at].is_empty()), (bytes, bytes == 0));
        }
        for (queue, expected) in queues.iter_mut().zip(&expected) {
            assert_eq!(pool.clear(queue), expected.len());
        }
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn no_queue_takes_all_and_all_together_stay_within_the_pool() {
        let mut pool = Pool::new();
        pool.make_room();
        let mut queues = vec![Queue::default(); 1_000];
        let held: Vec<usize> = queues
            .iter_mut()
            .map(|queue| {
                while pool.push(queue, &[1; 1_420], 0, usize::MAX) {}
                queue.cells
            })
            .collect();
        assert!(held[0] <= CELLS / 2 && held[1] > 0 && held[2] > 0, "{:?}", &held[..3]);
        assert!(pool.used() <= CELLS);
        assert_eq!(pool.used(), held.iter().sum::<usize>());
    }
}
