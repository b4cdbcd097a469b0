//! One peer's own timers. boringtun has the handshake's; the three here it lacks or gets wrong
//! (`docs/deviations.md`, rows 6 to 9). WireGuard paper §6.5, Linux `drivers/net/wireguard/timers.c`.

use crate::admission::LEAST_INTERVAL_MS;
use crate::host::{self, Millis};

const KEEPALIVE_TIMEOUT_MS: Millis = 10_000;
const REKEY_TIMEOUT_MS: Millis = 5_000;
const MAX_JITTER_MS: u32 = 334;

pub struct Timers {
    /// When an empty message is owed for data received.
    keepalive_due: Option<Millis>,
    /// More data came while one was owed: another follows it.
    needs_another_keepalive: bool,
    /// First data sent since the peer was last heard.
    unanswered: Option<Millis>,
    /// What to add to the timeout of unanswered data; drawn anew each time it was used, not for each packet.
    unanswered_jitter: Millis,
    persistent_ms: Option<Millis>,
    persistent_due: Option<Millis>,
    /// When our last initiation left, and the jitter before its repetition.
    initiated: Option<(Millis, Millis)>,
    /// No initiation before: a peer takes 50 a second, with timestamps that differ on the grid.
    initiate_from: Millis,
}

impl Timers {
    /// A persistent keepalive is due at once when it is switched on.
    pub fn new(persistent_seconds: u16, now: Millis) -> Self {
        let mut timers = Timers {
            keepalive_due: None,
            needs_another_keepalive: false,
            unanswered: None,
            unanswered_jitter: jitter(),
            persistent_ms: None,
            persistent_due: None,
            initiated: None,
            initiate_from: 0,
        };
        timers.set_persistent(persistent_seconds, now);
        timers
    }

    /// Another interval of persistent keepalives; 0 is none. Switched on, the first is due at once.
    pub fn set_persistent(&mut self, seconds: u16, now: Millis) {
        let interval = Some(Millis::from(seconds) * 1_000).filter(|&ms| ms > 0);
        self.persistent_due = interval.map(|ms| self.persistent_due.map_or(now, |due| due.min(now + ms)));
        self.persistent_ms = interval;
    }

    /// Any authentic message went out: no keepalive is owed for what came before.
    pub fn sent(&mut self, now: Millis) {
        self.keepalive_due = None;
        self.needs_another_keepalive = false;
        self.put_off_persistent(now);
    }

    pub fn sent_data(&mut self, now: Millis) {
        self.sent(now);
        self.unanswered.get_or_insert(now);
    }

    pub fn sent_initiation(&mut self, now: Millis) {
        self.initiated = Some((now, jitter()));
        self.initiate_from = now + LEAST_INTERVAL_MS;
        self.put_off_persistent(now);
    }

    /// Any authentic message came in: the peer lives.
    pub fn received(&mut self, now: Millis) {
        self.unanswered = None;
        self.put_off_persistent(now);
    }

    pub fn received_data(&mut self, now: Millis) {
        self.received(now);
        match self.keepalive_due {
            None => self.keepalive_due = Some(now + KEEPALIVE_TIMEOUT_MS),
            Some(_) => self.needs_another_keepalive = true,
        }
    }

    /// The peer answered our initiation, or no answer to it counts any more.
    pub fn completed(&mut self) {
        self.initiated = None;
    }

    fn put_off_persistent(&mut self, now: Millis) {
        self.persistent_due = self.persistent_ms.map(|interval| now + interval);
    }

    /// An empty message is owed for data received: send one now. Arms the next if more data came meanwhile.
    pub fn take_keepalive(&mut self, now: Millis) -> bool {
        if self.keepalive_due.is_none_or(|due| now < due) {
            return false;
        }
        self.keepalive_due = self.needs_another_keepalive.then_some(now + KEEPALIVE_TIMEOUT_MS);
        self.needs_another_keepalive = false;
        true
    }

    /// The persistent keepalive is due: send an empty message, or start a handshake if there is no session.
    pub fn take_persistent(&mut self, now: Millis) -> bool {
        let due = self.persistent_due.is_some_and(|due| now >= due);
        if due {
            self.put_off_persistent(now);
        }
        due
    }

    /// Data went unanswered for Keepalive-Timeout + Rekey-Timeout: start a handshake.
    pub fn take_unanswered(&mut self, now: Millis) -> bool {
        let timeout = KEEPALIVE_TIMEOUT_MS + REKEY_TIMEOUT_MS + self.unanswered_jitter;
        let due = self.unanswered.is_some_and(|since| now >= since + timeout);
        if due {
            self.unanswered = None;
            self.unanswered_jitter = jitter();
        }
        due
    }

    /// An initiation is younger than Rekey-Timeout: none may follow yet.
    pub fn has_just_initiated(&self, now: Millis) -> bool {
        now < self.initiate_from || self.initiated.is_some_and(|(at, _)| now < at + REKEY_TIMEOUT_MS)
    }

    /// The time between Rekey-Timeout and its jitter: boringtun has none, so its tick is held back.
    pub fn holds_retry(&self, now: Millis) -> bool {
        self.initiated.is_some_and(|(at, jitter)| {
            (at + REKEY_TIMEOUT_MS..at + REKEY_TIMEOUT_MS + jitter).contains(&now)
        })
    }
}

/// 0…333 ms. Without randomness 0: a retry on the dot is better than none.
fn jitter() -> Millis {
    Millis::from(host::random_u32().unwrap_or(0) % MAX_JITTER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keepalive_is_owed_for_data_and_paid_by_anything_sent() {
        let mut timers = Timers::new(0, 0);
        timers.received(0);
        assert!(!timers.take_keepalive(60_000), "an empty message is not answered by one");
        timers.received_data(60_000);
        assert!(!timers.take_keepalive(69_999));
        assert!(timers.take_keepalive(70_000));
        assert!(!timers.take_keepalive(90_000), "one is enough");
        timers.received_data(100_000);
        timers.sent_data(105_000);
        assert!(!timers.take_keepalive(120_000));
    }

    #[test]
    fn data_while_a_keepalive_is_owed_owes_another() {
        let mut timers = Timers::new(0, 0);
        timers.received_data(0);
        timers.received_data(5_000);
        assert!(timers.take_keepalive(10_000));
        assert!(timers.take_keepalive(20_000));
        assert!(!timers.take_keepalive(40_000));
    }

    #[test]
    fn persistent_counts_from_the_last_message_either_way() {
        let mut timers = Timers::new(25, 1_000);
        assert!(timers.take_persistent(1_000), "at once when switched on");
        timers.received(20_000);
        assert!(!timers.take_persistent(44_999));
        timers.sent(44_999);
        assert!(!timers.take_persistent(69_998));
        assert!(timers.take_persistent(69_999));
        assert!(!Timers::new(0, 0).take_persistent(1_000_000));
    }

    #[test]
    fn silence_after_data_starts_one_handshake() {
        let mut timers = Timers::new(0, 0);
        timers.sent_data(0);
        timers.sent_data(14_000);
        assert!(!timers.take_unanswered(14_999));
        assert!(timers.take_unanswered(15_334), "counted from the first unanswered packet");
        assert!(!timers.take_unanswered(60_000));
        timers.sent_data(60_000);
        timers.received(61_000);
        assert!(!timers.take_unanswered(90_000));
    }

    #[test]
    fn retries_spread_over_a_third_of_a_second() {
        let mut ends = std::collections::HashSet::new();
        for _ in 0..200 {
            let mut timers = Timers::new(0, 0);
            timers.sent_initiation(0);
            assert!(timers.has_just_initiated(4_999) && !timers.has_just_initiated(5_000));
            ends.insert((5_000..).find(|&now| !timers.holds_retry(now)));
        }
        assert!(ends.len() > 50, "{} different moments", ends.len());
    }
}
