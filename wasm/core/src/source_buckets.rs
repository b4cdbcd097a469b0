//! Token buckets of handshake messages, one per source: an IPv4 address or an IPv6 /64, as in Linux
//! `drivers/net/wireguard/ratelimiter.c`. They are asked only while handshakes pile up.
//!
//! The table has a fixed size, which is what bounds memory. A bucket that is full again says no more than none, so it
//! gives its place to the next source, and nothing ever needs to be swept. Places are found by a keyed hash: no sender
//! can choose whom to displace.

use std::hash::{BuildHasher, RandomState};

use crate::host::Millis;
use crate::packet::address::Endpoint;

/// 20 a second …
const REFILL_MS: Millis = 50;
/// … and five at once.
const BURST: Millis = 5;
const WAYS: usize = 4;
/// 65,536 sources in all, as in Linux: 1 MiB, taken when first needed.
const SETS: usize = 65_536 / WAYS;

#[derive(Clone, Copy, Default)]
struct Bucket {
    source: u64,
    full_at: Millis,
}

#[derive(Default)]
pub struct SourceBuckets {
    hash: RandomState,
    sets: Vec<[Bucket; WAYS]>,
}

impl SourceBuckets {
    /// Takes a token of `from`, or says that it has none left. A source that has proven its address has a bucket of its
    /// own: whoever writes in its name cannot empty that one.
    pub fn take(&mut self, from: &Endpoint, is_proven: bool, now: Millis) -> bool {
        if self.sets.is_empty() {
            self.sets = vec![Default::default(); SETS];
        }
        let network = match from.address_bytes() {
            v6 if v6.len() == 16 => v6.first_chunk::<8>().map(|prefix| &prefix[..]),
            v4 => Some(v4),
        };
        let source = self.hash.hash_one((network, is_proven));
        let Some(set) = self.sets.get_mut(source as usize % SETS) else { return false };
        let known = set.iter().position(|bucket| bucket.source == source);
        // A stranger takes the place of whoever is nearest to full.
        let place = known.or_else(|| (0..WAYS).min_by_key(|&way| set.get(way).map(|bucket| bucket.full_at)));
        let Some(bucket) = place.and_then(|way| set.get_mut(way)) else { return false };
        let full_at = if known.is_some() { bucket.full_at.max(now) } else { now };
        if full_at + REFILL_MS > now + BURST * REFILL_MS {
            return false;
        }
        *bucket = Bucket { source, full_at: full_at + REFILL_MS };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(number: u32) -> Endpoint {
        let mut remote = [0; 16];
        remote[..4].copy_from_slice(&number.to_be_bytes());
        Endpoint { family: 4, remote, ..Endpoint::default() }
    }

    fn v6(network: u8, host: u8) -> Endpoint {
        let mut remote = [0x20; 16];
        (remote[7], remote[15]) = (network, host);
        Endpoint { family: 6, remote, ..Endpoint::default() }
    }

    fn taken(buckets: &mut SourceBuckets, from: &Endpoint, now: Millis) -> usize {
        (0..100).filter(|_| buckets.take(from, false, now)).count()
    }

    #[test]
    fn five_at_once_then_twenty_a_second() {
        let mut buckets = SourceBuckets::default();
        assert_eq!(taken(&mut buckets, &v4(1), 1_000), 5);
        assert_eq!(taken(&mut buckets, &v4(1), 1_049), 0);
        assert_eq!(taken(&mut buckets, &v4(1), 1_050), 1);
        let in_a_second: usize = (1..=1_000).map(|ms| taken(&mut buckets, &v4(1), 1_050 + ms)).sum();
        assert_eq!(in_a_second, 20);
        assert_eq!(taken(&mut buckets, &v4(1), 60_000), 5);
        assert_eq!(taken(&mut buckets, &v4(2), 60_000), 5, "each source has its own");
    }

    #[test]
    fn a_v6_source_is_its_64_and_a_proven_one_is_apart() {
        let mut buckets = SourceBuckets::default();
        assert_eq!(taken(&mut buckets, &v6(1, 1), 0), 5);
        assert_eq!(taken(&mut buckets, &v6(1, 2), 0), 0);
        assert_eq!(taken(&mut buckets, &v6(2, 1), 0), 5);
        assert!(buckets.take(&v6(1, 1), true, 0));
    }

    #[test]
    fn a_million_sources_take_no_more_memory_and_full_buckets_make_room() {
        let mut buckets = SourceBuckets::default();
        let spent = v4(u32::MAX);
        for n in 0..1_000_000 {
            assert!(buckets.take(&v4(n), false, u64::from(n) / 1_000));
        }
        assert_eq!(buckets.sets.capacity() * size_of::<[Bucket; WAYS]>(), 1 << 20);
        taken(&mut buckets, &spent, 5_000);
        for n in 0..10_000 {
            buckets.take(&v4(n), false, 5_000);
        }
        assert!(!buckets.take(&spent, false, 5_000), "an empty bucket outlasts full ones");
    }
}
