//! Handshake messages that wait for their Diffie-Hellman, how many may, and how long the lane works on them at a time.
//! How many wait is also what load is: it says what is left to do, and one source alone cannot make it say anything.
//!
//! ```text
//!  waiting   0 ──────────── 512 ─────────────── 1024 ─────────── 2048
//!            all may wait    │ a source that    │ cookie asked of │ no more
//!                            │ sends more than  │ everyone        │
//!                            │ its bucket holds │                 │
//!                            │ shows a cookie   │                 │
//! ```
//! One source that floods fills the queue to 512, and from there on gets cookie replies and 20 places a second: it never
//! brings it to 1,024, so nobody else is asked for a cookie. Only many sources do, and those may be forged. Each state
//! holds for a second after its mark was last reached, as in Linux `drivers/net/wireguard/receive.c`, whose mark is 512.

use std::collections::VecDeque;

use crate::host::Millis;
use crate::message::INITIATION_BYTES;
use crate::packet::address::Endpoint;

const BUSY_SOURCES_AT: usize = 512;
const EVERYONE_AT: usize = 1_024;
const MOST_WAITING: usize = 2_048;
const HOLD_MS: Millis = 1_000;

/// While data flows, handshakes get one part in so many of the lane's time.
const SHARE: i64 = 4;
/// What time left over is kept for them: a few handshakes can follow each other at once.
const MOST_CREDIT_MICROS: i64 = 2_000;
/// How long handshakes may keep a turn of the loop that found no data: what a packet that comes then may have to wait.
const SLICE_MICROS: i64 = 1_000;

/// Of whom a cookie is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    Nobody = 0,
    BusySources = 1,
    Everyone = 2,
}

/// One handshake message, mac1 and the rules of load behind it.
#[derive(Clone, Copy)]
pub struct Handshake {
    bytes: [u8; INITIATION_BYTES],
    length: usize,
    pub from: Endpoint,
}

impl Handshake {
    pub fn datagram(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[derive(Default)]
pub struct Waiting {
    /// At most [`MOST_WAITING`], which is what bounds it: 400 KiB.
    queue: VecDeque<Handshake>,
    busy_until: Millis,
    everyone_until: Millis,
    /// Whether packets passed since handshakes were last worked on, or may wait behind a flood of these.
    data_flows: bool,
    credit: i64,
    paused_at: i64,
}

impl Waiting {
    pub fn new() -> Self {
        Waiting { credit: MOST_CREDIT_MICROS, ..Waiting::default() }
    }

    pub fn count(&self) -> usize {
        self.queue.len()
    }

    pub fn load(&self, now: Millis) -> Load {
        if now < self.everyone_until {
            Load::Everyone
        } else if now < self.busy_until {
            Load::BusySources
        } else {
            Load::Nobody
        }
    }

    /// Puts a message behind the others. False if too many wait already.
    pub fn push(&mut self, datagram: &[u8], from: Endpoint, now: Millis) -> bool {
        let mut bytes = [0; INITIATION_BYTES];
        let Some(place) = bytes.get_mut(..datagram.len()).filter(|_| self.queue.len() < MOST_WAITING) else {
            return false;
        };
        place.copy_from_slice(datagram);
        self.queue.push_back(Handshake { bytes, length: datagram.len(), from });
        if self.queue.len() >= BUSY_SOURCES_AT {
            self.busy_until = now + HOLD_MS;
        }
        if self.queue.len() >= EVERYONE_AT {
            self.everyone_until = now + HOLD_MS;
        }
        true
    }

    pub fn pop(&mut self) -> Option<Handshake> {
        self.queue.pop_front()
    }

    /// A packet passed, or may wait to: when handshakes are next worked on, it is for their share of the time only.
    pub fn data_flowed(&mut self) {
        self.data_flows = true;
    }

    /// How long handshakes may be worked on, at `micros` of the stopwatch.
    pub fn allowance(&mut self, micros: i64) -> i64 {
        let elsewhere = micros.saturating_sub(self.paused_at).max(0);
        self.credit = (self.credit + elsewhere / (SHARE - 1)).min(MOST_CREDIT_MICROS);
        if std::mem::take(&mut self.data_flows) { self.credit } else { self.credit.max(SLICE_MICROS) }
    }

    /// They were, for so long, until `micros` of the stopwatch.
    pub fn worked(&mut self, spent: i64, micros: i64) {
        self.credit = (self.credit - spent).max(-MOST_CREDIT_MICROS);
        self.paused_at = micros;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_what_waits_and_holds_for_a_second() {
        let mut waiting = Waiting::new();
        let fill = |waiting: &mut Waiting, count: usize, now| {
            while waiting.count() < count {
                assert!(waiting.push(&[0; 148], Endpoint::default(), now));
            }
        };
        fill(&mut waiting, BUSY_SOURCES_AT - 1, 10_000);
        assert_eq!(waiting.load(10_000), Load::Nobody);
        fill(&mut waiting, BUSY_SOURCES_AT, 10_000);
        assert_eq!(waiting.load(10_000), Load::BusySources);
        fill(&mut waiting, EVERYONE_AT, 10_000);
        while waiting.pop().is_some() {}
        assert_eq!(waiting.load(10_999), Load::Everyone);
        assert_eq!(waiting.load(11_000), Load::Nobody);
        fill(&mut waiting, MOST_WAITING, 20_000);
        assert!(!waiting.push(&[0; 148], Endpoint::default(), 20_000));
    }

    #[test]
    fn while_data_flows_handshakes_get_a_quarter_of_the_time() {
        let mut waiting = Waiting::new();
        let (mut clock, mut spent) = (0, 0);
        for _ in 0..10_000 {
            waiting.data_flowed();
            clock += 300; // a turn full of packets
            let allowed = waiting.allowance(clock);
            let work = if allowed > 0 { 800 } else { 0 }; // one handshake may overrun what is allowed
            clock += work;
            spent += work;
            waiting.worked(work, clock);
        }
        let share = spent as f64 / clock as f64;
        assert!((0.24..0.26).contains(&share), "{share}");
    }

    #[test]
    fn without_data_they_get_a_slice_of_every_turn() {
        let mut waiting = Waiting::new();
        waiting.worked(1_000_000, 0);
        assert_eq!(waiting.allowance(0), SLICE_MICROS);
        waiting.data_flowed();
        assert!(waiting.allowance(0) <= 0);
    }
}
