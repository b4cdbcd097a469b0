//! Packets that wait for a session. boringtun has a queue of its own that re-orders and lingers
//! (`docs/deviations.md`, rows 11 and 12), so nothing is handed to it without a session.

use std::collections::VecDeque;

/// Packets one peer may stage; the oldest go first. Linux `drivers/net/wireguard/messages.h`.
const PACKETS_PER_PEER: usize = 128;
/// Bytes all peers together may stage: a thousand silent peers must not grow the memory.
const BYTES_IN_ALL: usize = 8 << 20;

/// Bytes still free for staging, shared by all peers of the device.
pub struct StagingBudget {
    free_bytes: usize,
}

impl StagingBudget {
    pub fn new() -> Self {
        StagingBudget { free_bytes: BYTES_IN_ALL }
    }
}

/// The packets one peer stages, padded as they will be sealed, oldest first.
/// INVARIANT: their bytes are taken from the budget; every way out gives them back.
#[derive(Default)]
pub struct Staged {
    packets: VecDeque<Box<[u8]>>,
}

impl Staged {
    /// Stages `packet` and returns how many others (or itself) had to go for it.
    pub fn push(&mut self, packet: &[u8], budget: &mut StagingBudget) -> usize {
        let mut dropped = 0;
        while self.packets.len() >= PACKETS_PER_PEER || budget.free_bytes < packet.len() {
            if self.pop(budget).is_none() {
                return dropped + 1; // other peers hold the budget
            }
            dropped += 1;
        }
        budget.free_bytes -= packet.len();
        self.packets.push_back(packet.into());
        dropped
    }

    pub fn pop(&mut self, budget: &mut StagingBudget) -> Option<Box<[u8]>> {
        let packet = self.packets.pop_front()?;
        budget.free_bytes += packet.len();
        Some(packet)
    }

    /// Puts back what was just popped.
    pub fn put_back(&mut self, packet: Box<[u8]>, budget: &mut StagingBudget) {
        budget.free_bytes = budget.free_bytes.saturating_sub(packet.len());
        self.packets.push_front(packet);
    }

    /// Drops all and returns how many.
    pub fn clear(&mut self, budget: &mut StagingBudget) -> usize {
        let count = self.packets.len();
        while self.pop(budget).is_some() {}
        count
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let mut budget = StagingBudget::new();
        let mut staged = Staged::default();
        for n in 0..200u8 {
            assert_eq!(staged.push(&[n; 16], &mut budget), usize::from(n >= 128));
        }
        assert_eq!(staged.pop(&mut budget).as_deref(), Some(&[72u8; 16][..]));
        assert_eq!(staged.clear(&mut budget), 127);
        assert_eq!(budget.free_bytes, BYTES_IN_ALL);
    }

    #[test]
    fn all_peers_together_stay_within_the_budget() {
        let mut budget = StagingBudget::new();
        let mut peers: Vec<Staged> = (0..1_000).map(|_| Staged::default()).collect();
        for staged in &mut peers {
            (0..128).for_each(|_| {
                staged.push(&[0; 1_420], &mut budget);
            });
        }
        let held: usize = peers.iter().flat_map(|staged| &staged.packets).map(|packet| packet.len()).sum();
        assert!(held <= BYTES_IN_ALL);
        assert_eq!(held + budget.free_bytes, BYTES_IN_ALL);
    }
}
