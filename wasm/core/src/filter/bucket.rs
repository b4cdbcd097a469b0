//! How fast a peer may be, in one direction: a token bucket in bytes. What finds it empty waits in a `packet_queue.rs`, and
//! leaves when its tokens have come.

use crate::host::Millis;

/// More than any network of today carries, and so little that no arithmetic here overflows.
const MOST_BYTES_PER_SECOND: u64 = 1 << 40;
/// What may leave at once after a rest, as time at the rate: more than a lane ever sleeps too long.
const BURST_MS: u64 = 20;
/// Two full packets, where the rate is so low that they are more than that.
const LEAST_BURST_BYTES: u64 = 3_000;
/// While packets wait, they leave in groups of so much time: one train of them a wake-up.
const GROUP_MS: u64 = 4;
/// How long packets wait at the most, and bounds of what that means in bytes.
const QUEUE_MS: u64 = 200;
const LEAST_QUEUE_BYTES: u64 = 32 << 10;
const MOST_QUEUE_BYTES: u64 = 2 << 20;

/// Bytes of packets in the tunnel, IP headers included, that may pass in a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate(u64);

impl Rate {
    /// None for 0, and for more than can be counted.
    pub fn new(bytes_per_second: u64) -> Option<Rate> {
        (1..=MOST_BYTES_PER_SECOND).contains(&bytes_per_second).then_some(Rate(bytes_per_second))
    }

    pub fn slower(self, other: Rate) -> Rate {
        Rate(self.0.min(other.0))
    }

    pub fn burst_bytes(self) -> u64 {
        (self.0 * BURST_MS / 1000).max(LEAST_BURST_BYTES)
    }

    pub fn queue_bytes(self) -> usize {
        (self.0 * QUEUE_MS / 1000).clamp(LEAST_QUEUE_BYTES, MOST_QUEUE_BYTES) as usize
    }

    /// Tokens that whoever waits for the bucket wakes up for, with so many bytes waiting.
    fn group_bytes(self, waiting: usize) -> u64 {
        (self.0 * GROUP_MS / 1000).clamp(1, (waiting as u64).max(1))
    }
}

/// Full at first. Tokens in thousandths of a byte: a byte a second earns one each millisecond. A packet leaves when there are any at all,
/// whatever its length, and what is missing is owed: so the long-run rate is exact, and in any time no more passes than rate
/// × time, one burst and one packet.
#[derive(Clone, Copy, Default, Debug)]
pub struct Bucket {
    level: i64,
    at: Millis,
}

impl Bucket {
    /// Takes the tokens for a packet; false if it has to wait.
    pub fn take(&mut self, rate: Rate, bytes: usize, now: Millis) -> bool {
        let earned = level_of(now.saturating_sub(self.at).saturating_mul(rate.0));
        self.level = self.level.saturating_add(earned).min(level(rate.burst_bytes()));
        self.at = self.at.max(now);
        if self.level <= 0 {
            return false;
        }
        self.level = self.level.saturating_sub(level(bytes as u64));
        true
    }

    /// When to look again, with so many bytes waiting.
    pub fn ready_at(&self, rate: Rate, waiting: usize) -> Millis {
        let missing = level(rate.group_bytes(waiting)).saturating_sub(self.level).max(0);
        self.at + (missing as u64).div_ceil(rate.0)
    }
}

fn level(bytes: u64) -> i64 {
    level_of(bytes.saturating_mul(1000))
}

fn level_of(thousandths: u64) -> i64 {
    i64::try_from(thousandths).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Random;

    const START: Millis = 1_000_000;

    /// Bytes that pass in `ms` when packets of these lengths are always there, and when each passed.
    fn saturate(rate: Rate, ms: Millis, mut length: impl FnMut() -> usize) -> Vec<(Millis, usize)> {
        let mut bucket = Bucket::default();
        let mut passed = Vec::new();
        let (mut now, mut next) = (START, length());
        while now < START + ms {
            while bucket.take(rate, next, now) {
                passed.push((now, next));
                next = length();
            }
            now = bucket.ready_at(rate, 1 << 20).max(now + 1);
        }
        passed
    }

    #[test]
    fn in_the_long_run_the_rate_holds_whatever_the_packets_are() {
        let mut random = Random(7);
        for bytes_per_second in [1_500, 16_000, 2_500_000, 12_500_000] {
            let rate = Rate::new(bytes_per_second).unwrap();
            for longest in [64, 1_420, 65_535] {
                // So long that two thousand packets pass, and that a burst and a packet do not count.
                let packets = 2_000 * longest as u64 / 2;
                let ms = packets.max(100 * (rate.burst_bytes() + 65_535)) * 1000 / bytes_per_second;
                let passed = saturate(rate, ms, || 20 + random.below(longest - 19));
                let sum: usize = passed.iter().map(|&(_, length)| length).sum();
                let share = sum as f64 / (bytes_per_second as f64 * ms as f64 / 1000.0);
                assert!((0.98..1.02).contains(&share), "{bytes_per_second} B/s, to {longest} B: {share}");
            }
        }
    }

    #[test]
    fn no_time_sees_more_than_its_share_a_burst_and_a_packet() {
        let mut random = Random(8);
        let rate = Rate::new(1_000_000).unwrap();
        let passed = saturate(rate, 3_000, || 20 + random.below(1_400));
        for (from, &(start, _)) in passed.iter().enumerate().step_by(7) {
            let mut sum = 0;
            for &(at, length) in &passed[from..] {
                sum += length as u64;
                let most = rate.burst_bytes() + (at - start) * 1_000 + 1_420;
                assert!(sum <= most, "{sum} bytes in {} ms", at - start);
            }
        }
    }

    #[test]
    fn numbers_at_the_edge_do_not_wrap() {
        assert!(Rate::new(0).is_none() && Rate::new(u64::MAX).is_none());
        let rate = Rate::new(MOST_BYTES_PER_SECOND).unwrap();
        let mut bucket = Bucket::default();
        assert!(bucket.take(rate, usize::MAX, u64::MAX));
        assert!(!bucket.take(rate, 1, u64::MAX));
        assert!(!bucket.take(rate, 1, 0), "a clock that goes back earns nothing");
    }
}
