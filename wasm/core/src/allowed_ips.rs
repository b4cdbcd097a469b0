//! Cryptokey routing: prefix → peer, one table for the whole device, longest prefix first. The same table
//! answers both questions of WireGuard paper §2: to whom a packet goes, and who may have sent it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::packet::address::{Address, Version};

const NONE: u32 = u32::MAX;

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
}

/// Longest-prefix table over both families.
pub struct AllowedIps {
    v4: Trie,
    v6: Trie,
}

impl AllowedIps {
    pub fn new() -> Self {
        AllowedIps { v4: Trie::new(), v6: Trie::new() }
    }

    fn trie(&self, version: Version) -> &Trie {
        match version {
            Version::V4 => &self.v4,
            Version::V6 => &self.v6,
        }
    }

    fn trie_mut(&mut self, version: Version) -> &mut Trie {
        match version {
            Version::V4 => &mut self.v4,
            Version::V6 => &mut self.v6,
        }
    }

    /// Gives `prefix` to `peer`, taking it from whoever had it.
    pub fn insert(&mut self, prefix: Prefix, peer: u32) {
        self.trie_mut(prefix.version).insert(prefix.bits, prefix.length, peer);
    }

    /// Takes `prefix` from `peer`; another peer's is left alone. Says whether it was there.
    pub fn remove(&mut self, prefix: Prefix, peer: u32) -> bool {
        self.trie_mut(prefix.version).remove(prefix.bits, prefix.length, peer)
    }

    pub fn remove_peer(&mut self, peer: u32) {
        self.v4.remove_peer(peer);
        self.v6.remove_peer(peer);
    }

    /// The peer with the longest prefix that contains `address`.
    pub fn lookup(&self, address: Address) -> Option<u32> {
        self.trie(address.version).lookup(address.bits)
    }
}

/// A path-compressed binary trie on left-aligned bits.
///
/// ```text
///   0/0 ── 10.0.0.0/8 ─┬─ 10.9.0.0/24 ── 10.9.0.2/32      a node: its prefix, its peer if it is one,
///                      └─ 10.77.0.0/16                    children by the first bit after the prefix
/// ```
struct Trie {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    /// How many prefixes each peer has, none left out: whoever has none is removed without a search.
    held: HashMap<u32, usize>,
}

#[derive(Clone, Copy)]
struct Node {
    bits: u128,
    length: u8,
    /// `NONE` for a node that only joins two branches.
    peer: u32,
    children: [u32; 2],
}

fn mask(length: u8) -> u128 {
    match length {
        0 => 0,
        n => u128::MAX << (128 - u32::from(n)),
    }
}

/// Which child of a node with `length` bits leads to `bits`. INVARIANT: callers have `length` < 128.
fn side(bits: u128, length: u8) -> usize {
    ((bits >> (127 - u32::from(length.min(127)))) & 1) as usize
}

impl Node {
    fn leaf(bits: u128, length: u8, peer: u32) -> Node {
        Node { bits, length, peer, children: [NONE; 2] }
    }

    fn contains(&self, bits: u128) -> bool {
        (self.bits ^ bits) & mask(self.length) == 0
    }

    fn child(&self, side: usize) -> u32 {
        self.children.get(side).copied().unwrap_or(NONE)
    }

    fn set_child(&mut self, side: usize, node: u32) {
        if let Some(child) = self.children.get_mut(side) {
            *child = node;
        }
    }
}

impl Trie {
    fn new() -> Self {
        Trie { nodes: Vec::new(), free: Vec::new(), root: NONE, held: HashMap::new() }
    }

    fn lookup(&self, bits: u128) -> Option<u32> {
        let mut best = None;
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at as usize).filter(|node| node.contains(bits)) {
            if node.peer != NONE {
                best = Some(node.peer);
            }
            if node.length == 128 {
                break;
            }
            at = node.child(side(bits, node.length));
        }
        best
    }

    fn insert(&mut self, bits: u128, length: u8, peer: u32) {
        *self.held.entry(peer).or_default() += 1;
        let (parent, at) = self.descend(bits, length);
        let new = match self.nodes.get_mut(at as usize) {
            None => self.allocate(Node::leaf(bits, length, peer)),
            Some(node) if node.length == length && node.bits == bits => {
                let former = std::mem::replace(&mut node.peer, peer);
                self.lose(former);
                return;
            }
            Some(&mut node) => {
                let common = ((node.bits ^ bits).leading_zeros() as u8).min(node.length).min(length);
                if common == length {
                    let mut above = Node::leaf(bits, length, peer);
                    above.set_child(side(node.bits, length), at);
                    self.allocate(above)
                } else {
                    let leaf = self.allocate(Node::leaf(bits, length, peer));
                    let mut fork = Node::leaf(bits & mask(common), common, NONE);
                    fork.set_child(side(bits, common), leaf);
                    fork.set_child(side(node.bits, common), at);
                    self.allocate(fork)
                }
            }
        };
        self.link(parent, bits, new);
    }

    fn remove(&mut self, bits: u128, length: u8, peer: u32) -> bool {
        let (_, at) = self.descend(bits, length);
        match self.nodes.get_mut(at as usize) {
            Some(node) if node.length == length && node.bits == bits && node.peer == peer => node.peer = NONE,
            _ => return false,
        }
        self.lose(peer);
        self.prune(bits, length);
        true
    }

    /// A peer has one prefix less; `NONE` has none.
    fn lose(&mut self, peer: u32) {
        if let Entry::Occupied(mut count) = self.held.entry(peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn remove_peer(&mut self, peer: u32) {
        let Some(&count) = self.held.get(&peer) else { return };
        // Freed nodes carry no peer, so every hit is a prefix in use.
        let held: Vec<(u128, u8)> = self
            .nodes
            .iter()
            .filter(|node| node.peer == peer)
            .take(count)
            .map(|node| (node.bits, node.length))
            .collect();
        for (bits, length) in held {
            self.remove(bits, length, peer);
        }
    }

    /// Walks to the last node that contains the prefix strictly, and what hangs where the prefix belongs.
    fn descend(&self, bits: u128, length: u8) -> (u32, u32) {
        let (mut parent, mut at) = (NONE, self.root);
        while let Some(node) = self.nodes.get(at as usize).filter(|n| n.length < length && n.contains(bits)) {
            parent = at;
            at = node.child(side(bits, node.length));
        }
        (parent, at)
    }

    /// Takes out the node of a prefix that lost its peer, and its parent if that only joined it to a sibling.
    fn prune(&mut self, bits: u128, length: u8) {
        let (parent, at) = self.descend(bits, length);
        if !self.splice(parent, at) {
            return;
        }
        let Some(joint) = self.nodes.get(parent as usize).copied() else { return };
        if joint.peer == NONE {
            let (grandparent, _) = self.descend(joint.bits, joint.length);
            self.splice(grandparent, parent);
        }
    }

    /// Replaces a node without a peer by its only child, or by nothing. False if it is still needed.
    fn splice(&mut self, parent: u32, at: u32) -> bool {
        let Some(node) = self.nodes.get(at as usize).copied() else { return false };
        let only = match node.children {
            _ if node.peer != NONE => return false,
            [NONE, other] | [other, NONE] => other,
            _ => return false,
        };
        self.link(parent, node.bits, only);
        self.free.push(at);
        true
    }

    fn link(&mut self, parent: u32, bits: u128, child: u32) {
        match self.nodes.get_mut(parent as usize) {
            None => self.root = child,
            Some(node) => node.set_child(side(bits, node.length), child),
        }
    }

    fn allocate(&mut self, node: Node) -> u32 {
        if let Some(at) = self.free.pop() {
            if let Some(place) = self.nodes.get_mut(at as usize) {
                *place = node;
            }
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn removal_leaves_no_nodes_behind() {
        let mut random = Random(7);
        let mut table = AllowedIps::new();
        let prefixes: Vec<Prefix> = (0..2_000).map(|_| random.prefix()).collect();
        prefixes.iter().for_each(|&prefix| table.insert(prefix, 1));
        table.remove_peer(1);
        for trie in [&table.v4, &table.v6] {
            assert_eq!((trie.root, trie.nodes.len(), trie.held.len()), (NONE, trie.free.len(), 0));
        }
    }
}
