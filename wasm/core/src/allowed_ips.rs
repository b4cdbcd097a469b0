//! Cryptokey routing: prefix → peer, one table for the whole device, longest prefix first. The same table
//! answers both questions of WireGuard paper §2: to whom a packet goes, and who may have sent it.

use crate::packet::address::{Address, Version};
use crate::prefix_buckets::{Entry, Wide};
pub use crate::prefix_tree::NO_PEER;
use crate::prefix_tree::PrefixTree;

/// A prefix: the top `length` bits of `address`; the rest is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    version: Version,
    bits: u128,
    length: u8,
}

impl Prefix {
    /// `None` when `length` exceeds the family's. Bits beyond the prefix are cut off.
    pub fn new(address: Address, length: u32) -> Option<Prefix> {
        let length = u8::try_from(length).ok().filter(|&length| length <= address.version.address_bits())?;
        Some(Prefix { version: address.version, bits: address.bits & mask(length), length })
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// Its bits, left-aligned as those of an [`Address`].
    pub fn bits(&self) -> u128 {
        self.bits
    }

    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether it holds `address`; one of the other version never.
    pub fn contains(&self, address: Address) -> bool {
        self.version == address.version && (self.bits ^ address.bits) & mask(self.length) == 0
    }

    fn address(&self) -> Address {
        Address { version: self.version, bits: self.bits }
    }
}

/// Longest-prefix table over both families.
pub struct AllowedIps {
    v4: PrefixTree<u32>,
    v6: PrefixTree<Wide>,
}

impl AllowedIps {
    pub fn new() -> Self {
        AllowedIps { v4: PrefixTree::new(), v6: PrefixTree::new() }
    }

    /// Gives `prefix` to `peer`, taking it from whoever had it.
    pub fn insert(&mut self, prefix: Prefix, peer: u32) {
        match prefix.version {
            Version::V4 => self.v4.insert(Entry::new(prefix.address(), prefix.length, peer)),
            Version::V6 => self.v6.insert(Entry::new(prefix.address(), prefix.length, peer)),
        }
    }

    /// Takes `prefix` from `peer`; another peer's is left alone. Says whether it was there.
    pub fn remove(&mut self, prefix: Prefix, peer: u32) -> bool {
        match prefix.version {
            Version::V4 => self.v4.remove(&Entry::new(prefix.address(), prefix.length, peer)),
            Version::V6 => self.v6.remove(&Entry::new(prefix.address(), prefix.length, peer)),
        }
    }

    pub fn remove_peer(&mut self, peer: u32) {
        self.v4.remove_peer(peer);
        self.v6.remove_peer(peer);
    }

    /// The peer with the longest prefix that contains `address`.
    pub fn lookup(&self, address: Address) -> Option<u32> {
        let peer = match address.version {
            Version::V4 => self.v4.lookup(address),
            Version::V6 => self.v6.lookup(address),
        };
        (peer != NO_PEER).then_some(peer)
    }

    /// The same for each of `addresses`; [`NO_PEER`] where there is none. In a table too large for the caches this takes
    /// much less time than one after the other.
    pub fn lookup_all(&self, addresses: &[Address], peers: &mut [u32]) {
        peers.fill(NO_PEER);
        self.v4.lookup_all(Version::V4, addresses, peers);
        self.v6.lookup_all(Version::V6, addresses, peers);
    }
}

fn mask(length: u8) -> u128 {
    match length {
        0 => 0,
        n => u128::MAX << (128 - u32::from(n)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::test_random::Random;

    fn v4(text: &str) -> Address {
        Address::v4(text.parse::<std::net::Ipv4Addr>().unwrap().octets())
    }

    fn v6(text: &str) -> Address {
        Address::v6(text.parse::<std::net::Ipv6Addr>().unwrap().octets())
    }

    #[test]
    fn longest_prefix_wins_and_moves() {
        let mut table = AllowedIps::new();
        let prefixes =
            [(v4("10.0.0.0"), 8, 1), (v4("10.9.0.0"), 24, 2), (v4("10.9.0.2"), 32, 3), (v6("fd09::"), 64, 4)];
        for (address, length, peer) in prefixes {
            table.insert(Prefix::new(address, length).unwrap(), peer);
        }
        assert_eq!(table.lookup(v4("10.1.1.1")), Some(1));
        assert_eq!(table.lookup(v4("10.9.0.77")), Some(2));
        assert_eq!(table.lookup(v4("10.9.0.2")), Some(3));
        assert_eq!(table.lookup(v4("11.0.0.1")), None);
        assert_eq!(table.lookup(v6("fd09::5")), Some(4));
        assert_eq!(table.lookup(v6("fd09:0:0:1::5")), None);

        table.insert(Prefix::new(v4("10.9.0.2"), 32).unwrap(), 5);
        assert_eq!(table.lookup(v4("10.9.0.2")), Some(5), "a prefix moves to the peer that asked last");
        assert!(!table.remove(Prefix::new(v4("10.9.0.2"), 32).unwrap(), 3), "not its prefix any more");
        assert!(table.remove(Prefix::new(v4("10.9.0.2"), 32).unwrap(), 5));
        assert_eq!(table.lookup(v4("10.9.0.2")), Some(2));
    }

    #[test]
    fn length_is_checked() {
        assert_eq!(Prefix::new(v4("10.0.0.0"), 33), None);
        assert_eq!(Prefix::new(v6("fd09::"), 129), None);
        assert!(Prefix::new(v6("fd09::"), 128).is_some());
    }

    /// A list searched from end to end: slow, obvious, the oracle.
    #[derive(Default)]
    struct SlowTable(Vec<(Prefix, u32)>);

    impl SlowTable {
        fn insert(&mut self, prefix: Prefix, peer: u32) {
            self.0.retain(|(other, _)| *other != prefix);
            self.0.push((prefix, peer));
        }

        fn lookup(&self, address: Address) -> Option<u32> {
            let contains =
                |p: &Prefix| p.version == address.version && (p.bits ^ address.bits) & mask(p.length) == 0;
            self.0.iter().filter(|(p, _)| contains(p)).max_by_key(|(p, _)| p.length).map(|(_, peer)| *peer)
        }
    }

    impl Random {
        /// An address from a crowded corner, so that prefixes nest and collide.
        fn address(&mut self) -> Address {
            let r = self.next();
            match r & 1 {
                0 => Address::v4([10, (r >> 8 & 3) as u8, (r >> 16 & 7) as u8, (r >> 24) as u8]),
                _ => Address {
                    version: Version::V6,
                    bits: u128::from(r >> 8 & 0xffff) << 112 | u128::from(r >> 40),
                },
            }
        }

        fn prefix(&mut self) -> Prefix {
            let address = self.address();
            let length = self.next() % (u64::from(address.version.address_bits()) + 1);
            Prefix::new(address, length as u32).unwrap()
        }
    }

    #[test]
    fn agrees_with_a_slow_list() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..40 {
            let (mut fast, mut slow) = (AllowedIps::new(), SlowTable::default());
            for step in 0..600 {
                let prefix = random.prefix();
                let peer = (random.next() % 20) as u32;
                match random.next() % 8 {
                    0 => {
                        let was = slow.0.contains(&(prefix, peer));
                        assert_eq!(fast.remove(prefix, peer), was);
                        slow.0.retain(|entry| *entry != (prefix, peer));
                    }
                    1 if !slow.0.is_empty() => {
                        let (prefix, peer) = slow.0[random.next() as usize % slow.0.len()];
                        assert!(fast.remove(prefix, peer));
                        slow.0.retain(|entry| *entry != (prefix, peer));
                    }
                    2 if step % 50 == 0 => {
                        fast.remove_peer(peer);
                        slow.0.retain(|(_, owner)| *owner != peer);
                    }
                    _ => {
                        fast.insert(prefix, peer);
                        slow.insert(prefix, peer);
                    }
                }
                for _ in 0..20 {
                    let address = random.address();
                    assert_eq!(fast.lookup(address), slow.lookup(address), "{address:?}");
                }
            }
        }
    }

    /// Prefixes by family, length and bits: an address is asked for at every length, longest first.
    #[derive(Default)]
    struct TableByLength(HashMap<(bool, u8, u128), u32>);

    impl TableByLength {
        fn key(prefix: Prefix) -> (bool, u8, u128) {
            (prefix.version == Version::V6, prefix.length, prefix.bits)
        }

        fn lookup(&self, address: Address) -> Option<u32> {
            let is_v6 = address.version == Version::V6;
            let key = |length| (is_v6, length, address.bits & mask(length));
            (0..=address.version.address_bits()).rev().find_map(|length| self.0.get(&key(length)).copied())
        }
    }

    /// Addresses spread over all depths: dense corners, scattered hosts, long runs of equal bits.
    fn spread(random: &mut Random) -> Address {
        let address = random.address();
        let noise = u128::from(random.next()) << 64 | u128::from(random.next());
        let keep = mask((random.next() % 129) as u8);
        let family = if address.version == Version::V4 { mask(32) } else { u128::MAX };
        Address { bits: (address.bits & keep | noise & !keep) & family, ..address }
    }

    #[test]
    fn a_million_operations_agree_with_a_table_by_length() {
        let mut random = Random(0x0dd_ba11);
        let (mut fast, mut slow) = (AllowedIps::new(), TableByLength::default());
        let mut known: Vec<Prefix> = Vec::new();
        for step in 0..1_000_000u32 {
            let peer = (random.next() % 500) as u32;
            // Grows to some thousands and shrinks again, over and over: forks are made and unmade.
            let grows = step / 50_000 % 2 == 0;
            match random.next() % 16 {
                0..4 => {
                    let together: Vec<Address> = (0..random.below(70)).map(|_| spread(&mut random)).collect();
                    let mut peers = vec![0; together.len()];
                    if step % 16 == 0 {
                        fast.lookup_all(&together, &mut peers);
                        for (&address, &peer) in together.iter().zip(&peers) {
                            assert_eq!(
                                (peer != NO_PEER).then_some(peer),
                                slow.lookup(address),
                                "{address:?}"
                            );
                        }
                    }
                    let address = spread(&mut random);
                    assert_eq!(fast.lookup(address), slow.lookup(address), "{address:?}");
                }
                4..8 if !known.is_empty() => {
                    let index = random.below(known.len());
                    let prefix = if grows { known[index] } else { known.swap_remove(index) };
                    let owner = slow.0.get(&TableByLength::key(prefix)).copied();
                    assert!(!fast.remove(prefix, owner.map_or(peer, |owner| owner + 1)), "of another peer");
                    if !grows {
                        assert_eq!(fast.remove(prefix, owner.unwrap_or(peer)), owner.is_some());
                        slow.0.remove(&TableByLength::key(prefix));
                    }
                }
                8..12 if !known.is_empty() && !grows => {
                    let prefix = known[random.below(known.len())]; // moves to another peer
                    fast.insert(prefix, peer);
                    slow.0.insert(TableByLength::key(prefix), peer);
                }
                12 if step % 1_000 < 16 => {
                    fast.remove_peer(peer);
                    slow.0.retain(|_, owner| *owner != peer);
                }
                _ if grows => {
                    let address = spread(&mut random);
                    let length = random.below(usize::from(address.version.address_bits()) + 1) as u32;
                    let prefix = Prefix::new(address, length).unwrap();
                    known.push(prefix);
                    fast.insert(prefix, peer);
                    slow.0.insert(TableByLength::key(prefix), peer);
                }
                _ => {}
            }
        }
        (0..500).for_each(|peer| fast.remove_peer(peer));
        assert!(fast.v4.is_vacant() && fast.v6.is_vacant());
    }

    /// One dense corner after the other, so that a fork widens where those below it are wide already.
    #[test]
    fn forks_widen_and_narrow() {
        let mut random = Random(11);
        let (mut fast, mut slow) = (AllowedIps::new(), TableByLength::default());
        let mut known: Vec<Prefix> = Vec::new();
        for corner in 0..64u8 {
            for _ in 0..500 {
                let noise = random.next() as u32 & 0x03ff_ffff;
                let address = Address::v4((u32::from(corner) << 26 | noise).to_be_bytes());
                let prefix = Prefix::new(address, 4 + random.below(29) as u32).unwrap();
                known.push(prefix);
                fast.insert(prefix, u32::from(corner));
                slow.0.insert(TableByLength::key(prefix), u32::from(corner));
            }
            for prefix in &known[known.len() - 500..] {
                assert_eq!(fast.lookup(prefix.address()), slow.lookup(prefix.address()), "{prefix:?}");
            }
        }
        assert!(fast.v4.slots() < 4 * slow.0.len(), "{} slots", fast.v4.slots());
        for (index, &prefix) in known.iter().enumerate() {
            if let Some(owner) = slow.0.remove(&TableByLength::key(prefix)) {
                assert!(fast.remove(prefix, owner));
            }
            let address = known[random.below(known.len())].address();
            assert_eq!(fast.lookup(address), slow.lookup(address), "{address:?}");
            assert!(fast.v4.slots() <= 16 * slow.0.len().max(4), "{} slots at {index}", fast.v4.slots());
        }
        assert!(fast.v4.is_vacant());
    }

    #[test]
    fn removal_leaves_no_nodes_behind() {
        let mut random = Random(7);
        let mut table = AllowedIps::new();
        let prefixes: Vec<Prefix> = (0..2_000).map(|_| random.prefix()).collect();
        prefixes.iter().for_each(|&prefix| table.insert(prefix, 1));
        assert!(!table.v4.is_vacant() || !table.v6.is_vacant());
        table.remove_peer(1);
        assert!(table.v4.is_vacant() && table.v6.is_vacant());
    }
}
