//! The filter as a whole: a policy is written as records, packets are built byte by byte, verdicts are looked at.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::flow_table::{CAPACITY, Flow, FlowKey, UNANSWERED};
use super::packet::{ICMP, TCP, has_ports};
use super::policy::{Decision, Stage};
use super::rules::{Action, Attempt, Destination, Place, Rule, RuleSet};
use super::*;
use crate::allowed_ips::Prefix;
use crate::packet::address::{Address, Version};
use crate::test_random::Random;

pub const ALICE: u32 = 0;
pub const BOB: u32 = 1;
/// A peer of the device that no policy names.
const STRANGER: u32 = 2;
pub const NOW: Millis = 1_000_000;
pub const SYN: u8 = 0x02;
pub const SYN_ACK: u8 = 0x12;
pub const ACK: u8 = 0x10;
pub const RST: u8 = 0x04;
pub const FIN_ACK: u8 = 0x11;

fn address(text: &str) -> Address {
    match text.parse().unwrap() {
        std::net::IpAddr::V4(v4) => Address::v4(Ipv4Addr::octets(&v4)),
        std::net::IpAddr::V6(v6) => Address::v6(Ipv6Addr::octets(&v6)),
    }
}

impl Filter {
    /// Whether a packet passes.
    pub fn check(&mut self, leg: Leg, peer: u32, bytes: &[u8], now: Millis) -> Result<(), DropReason> {
        self.pass(leg, peer, bytes, now).map(|_| ())
    }
}

/// Writes changes as `src/policy/encode.ts` does.
#[derive(Default)]
pub struct Change(Vec<u8>);

impl Change {
    pub fn record(mut self, kind: u8, edit: impl FnOnce(&mut [u8])) -> Self {
        let start = self.0.len();
        self.0.resize(start + 64, 0);
        self.0[start] = kind;
        edit(&mut self.0[start..]);
        self
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Of the record before it.
    pub fn edit(mut self, edit: impl FnOnce(&mut [u8])) -> Self {
        let start = self.0.len() - 64;
        edit(&mut self.0[start..]);
        self
    }

    fn whole(self) -> Self {
        self.record(1, |r| r[2] = 1)
    }

    fn rejecting(self) -> Self {
        self.record(1, |r| r[1] = 1)
    }

    pub fn by_id(self, kind: u8, id: u32) -> Self {
        self.record(kind, |r| r[4..8].copy_from_slice(&id.to_le_bytes()))
    }

    fn prefix(self, kind: u8, prefix: &str) -> Self {
        self.record(kind, |r| put_prefix(r, 1, 2, 32, prefix))
    }

    pub fn rule(
        self,
        id: u32,
        action: Action,
        legs: u8,
        to: &str,
        protocol: Option<u8>,
        ports: Option<(u16, u16)>,
    ) -> Self {
        self.record(3, |r| {
            r[1] = u8::from(action == Action::Deny);
            r[2] = legs;
            match to {
                "any" => {}
                "own" => r[3] = 1,
                "internet" => r[3] = 2,
                prefix => put_prefix(r, 3, 4, 32, prefix),
            }
            if let Some(protocol) = protocol {
                (r[7], r[8]) = (1, protocol);
            }
            if let Some((first, last)) = ports {
                r[9] = 1;
                r[10..12].copy_from_slice(&first.to_le_bytes());
                r[12..14].copy_from_slice(&last.to_le_bytes());
            }
            r[16..20].copy_from_slice(&id.to_le_bytes());
        })
    }

    pub fn allow(self, id: u32, to: &str, protocol: u8, port: u16) -> Self {
        self.rule(id, Action::Allow, 3, to, Some(protocol), Some((port, port)))
    }

    fn network(self, id: u32, rule: u32, is_strict: bool) -> Self {
        self.record(4, |r| {
            r[1] = u8::from(is_strict);
            r[4..8].copy_from_slice(&id.to_le_bytes());
            r[8..12].copy_from_slice(&rule.to_le_bytes());
        })
    }

    pub fn subject(
        self,
        id: u32,
        flags: u8,
        [peers, node, internet]: [u32; 3],
        sets: &[u32],
        addresses: &[&str],
    ) -> Self {
        let change = self.record(5, |r| {
            r[1] = flags;
            for (at, value) in [(4, id), (8, peers), (12, node), (16, internet)] {
                r[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
        });
        let change = sets.iter().fold(change, |change, &set| change.by_id(6, set));
        addresses.iter().fold(change, |change, address| change.prefix(8, address))
    }

    pub fn peer(self, id: u32, subject: u32, key: [u8; 32]) -> Self {
        self.record(9, |r| {
            r[4..8].copy_from_slice(&id.to_le_bytes());
            r[8..12].copy_from_slice(&subject.to_le_bytes());
            r[32..].copy_from_slice(&key);
        })
    }

    fn site(self, prefix: &str, subject: u32) -> Self {
        self.record(10, |r| {
            put_prefix(r, 1, 2, 32, prefix);
            r[8..12].copy_from_slice(&subject.to_le_bytes());
        })
    }
}

fn put_prefix(record: &mut [u8], family: usize, length: usize, at: usize, text: &str) {
    let (base, bits) = text.split_once('/').unwrap();
    let address = address(base);
    let bytes = address.bits.to_be_bytes();
    record[family] = if address.version == Version::V4 { 4 } else { 6 };
    record[length] = bits.parse().unwrap();
    record[at..at + 16].copy_from_slice(&bytes);
}

pub fn apply(filter: &mut Filter, change: Change) -> Result<u32, Void> {
    filter.begin();
    change.0.chunks(256).try_for_each(|piece| filter.stage(piece)).and_then(|()| filter.commit(&keys()))
}

/// alice (10.9.0.2) may use tcp/443 and udp/53 of this node and tcp/22 of bob, and the internet; bob (10.9.0.3) nothing. This
/// node, 10.9.0.1, may open anything. The rules are numbered 1 (self), 10 … (alice).
pub fn base() -> Change {
    Change::default()
        .whole()
        .by_id(2, 1)
        .rule(1, Action::Allow, 2, "any", None, None)
        .by_id(2, 2)
        .allow(10, "10.9.0.1/32", TCP, 443)
        .allow(11, "10.9.0.1/32", 17, 53)
        .allow(12, "10.9.0.3/32", TCP, 22)
        .allow(13, "fd09::1/128", TCP, 443)
        .rule(14, Action::Allow, 3, "10.9.0.1/32", Some(ICMP), Some((8, 8)))
        .subject(0, 0, [0; 3], &[1], &[])
        .subject(1, 0, [0; 3], &[], &[])
        .subject(2, 1, [0, 0, 15], &[2], &["10.9.0.2/32", "fd09::2/128"])
        .subject(3, 1, [0; 3], &[], &["10.9.0.3/32", "fd09::3/128"])
        .peer(0, 2, [1; 32])
        .peer(1, 3, [2; 32])
        .record(15, |_| {})
        .prefix(15, "10.0.0.0/8")
        .prefix(15, "fd00::/8")
        .prefix(15, "192.168.0.0/16")
        .record(16, |_| {})
        .prefix(16, "10.9.0.1/32")
        .prefix(16, "fd09::1/128")
        .prefix(16, "203.0.113.1/32")
}

pub fn filter() -> Filter {
    let mut filter = Filter::new();
    filter.add_peer(ALICE, [1; 32]);
    filter.add_peer(BOB, [2; 32]);
    filter.add_peer(STRANGER, [3; 32]);
    filter.enable(false, NOW);
    apply(&mut filter, base()).unwrap();
    filter
}

fn keys() -> HashMap<[u8; 32], u32> {
    HashMap::from([([1; 32], ALICE), ([2; 32], BOB), ([3; 32], STRANGER)])
}

pub fn ip(from: &str, to: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (address(from), address(to));
    let mut packet = vec![];
    if source.version == Version::V4 {
        packet.extend([0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0]);
        packet.extend(&source.bits.to_be_bytes()[..4]);
        packet.extend(&destination.bits.to_be_bytes()[..4]);
        packet.extend(payload);
        let length = (packet.len() as u16).to_be_bytes();
        packet[2..4].copy_from_slice(&length);
    } else {
        packet.extend([0x60, 0, 0, 0, 0, 0, protocol, 64]);
        packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        packet.extend(source.bits.to_be_bytes());
        packet.extend(destination.bits.to_be_bytes());
        packet.extend(payload);
    }
    packet
}

pub fn udp(from: &str, source: u16, to: &str, port: u16) -> Vec<u8> {
    let [a, b] = source.to_be_bytes();
    let [c, d] = port.to_be_bytes();
    ip(from, to, 17, &[a, b, c, d, 0, 12, 0, 0, 1, 2, 3, 4])
}

#[derive(Clone, Copy)]
pub struct Tcp {
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub payload: usize,
}

pub fn tcp((from, source): (&str, u16), (to, port): (&str, u16), segment: Tcp) -> Vec<u8> {
    let mut bytes = vec![];
    bytes.extend(source.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend(segment.sequence.to_be_bytes());
    bytes.extend(segment.acknowledgement.to_be_bytes());
    bytes.extend([5 << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.resize(20 + segment.payload, 0);
    ip(from, to, TCP, &bytes)
}

pub fn plain(flags: u8) -> Tcp {
    Tcp { flags, sequence: 1_000, acknowledgement: 0, payload: 0 }
}

pub const ALICE_END: (&str, u16) = ("10.9.0.2", 40_000);
pub const HTTPS: (&str, u16) = ("10.9.0.1", 443);

/// Alice's connection to this node's port 443, with both ends at 1,001.
pub fn connect(filter: &mut Filter, now: Millis) {
    let answer = Tcp { acknowledgement: 1_001, ..plain(SYN_ACK) };
    let done = Tcp { sequence: 1_001, acknowledgement: 1_001, ..plain(ACK) };
    assert_eq!(filter.check(Leg::In, ALICE, &tcp(ALICE_END, HTTPS, plain(SYN)), now), Ok(()));
    assert_eq!(filter.check(Leg::Out, ALICE, &tcp(HTTPS, ALICE_END, answer), now), Ok(()));
    assert_eq!(filter.check(Leg::In, ALICE, &tcp(ALICE_END, HTTPS, done), now), Ok(()));
}

pub fn data(sequence: u32, acknowledgement: u32, payload: usize) -> Tcp {
    Tcp { flags: ACK, sequence, acknowledgement, payload }
}

pub const DENIED: Result<(), DropReason> = Err(DropReason::FilterDenied);

/// alice opens a connection to the service, it answers, she asks for something.
pub fn tcp_data_of_alice() -> [Vec<u8>; 3] {
    [
        tcp(ALICE_END, HTTPS, plain(SYN)),
        tcp(HTTPS, ALICE_END, Tcp { acknowledgement: 1_001, ..plain(SYN_ACK) }),
        tcp(ALICE_END, HTTPS, data(1_001, 1_001, 300)),
    ]
}

#[test]
fn without_a_policy_all_passes_and_with_one_expected_nothing_does() {
    let mut filter = Filter::new();
    filter.add_peer(ALICE, [1; 32]);
    let packet = udp("10.9.0.2", 1, "10.9.0.1", 53);
    assert_eq!(filter.check(Leg::In, ALICE, &packet, NOW), Ok(()));
    assert_eq!(filter.check(Leg::In, ALICE, &[0xff], NOW), Ok(()), "not even looked at");
    filter.enable(false, NOW);
    assert_eq!(filter.check(Leg::In, ALICE, &packet, NOW), DENIED, "before the first policy");
    assert_eq!(filter.check(Leg::Out, ALICE, &udp("10.9.0.1", 1, "10.9.0.2", 53), NOW), DENIED);
    apply(&mut filter, base()).unwrap();
    assert_eq!(filter.check(Leg::In, ALICE, &packet, NOW), Ok(()));
    filter.disable();
    assert_eq!(filter.check(Leg::In, BOB, &packet, NOW), Ok(()));
}

#[test]
fn each_stage_decides_what_is_its_own() {
    let mut filter = filter();
    // carol and dave are in the strict network 1, alice and bob in the open one 2, erin knows everybody; frank is a site.
    let change = Change::default()
        .network(1, 20, true)
        .network(2, 21, false)
        .by_id(2, 3)
        .rule(30, Action::Deny, 3, "10.9.0.5/32", Some(TCP), Some((80, 90)))
        .rule(31, Action::Allow, 3, "10.9.0.0/24", Some(TCP), None)
        .rule(32, Action::Allow, 1, "internet", Some(17), None)
        .rule(33, Action::Allow, 1, "own", Some(132), None)
        .subject(2, 3, [0, 40, 41], &[3], &["10.9.0.2/32"])
        .by_id(7, 2)
        .subject(3, 3, [0; 3], &[], &["10.9.0.3/32"])
        .by_id(7, 2)
        .prefix(17, "192.168.9.0/24")
        .subject(4, 3, [0; 3], &[], &["10.9.0.4/32"])
        .by_id(7, 1)
        .subject(5, 1, [42, 0, 0], &[], &["10.9.0.5/32"])
        .subject(6, 0, [0; 3], &[3], &["192.168.7.0/24"])
        .peer(0, 2, [1; 32])
        .site("192.168.7.0/24", 6)
        .peer(1, 5, [2; 32]);
    apply(&mut filter, change).unwrap();
    let tcp = |from: &str, to: &str, port| tcp((from, 1), (to, port), plain(SYN));
    let cases = [
        (Leg::In, ALICE, tcp("10.9.0.2", "10.9.0.5", 85), (false, Stage::Deny, 30)),
        (Leg::In, ALICE, tcp("10.9.0.2", "10.9.0.5", 91), (true, Stage::Grant, 31)),
        (Leg::In, ALICE, tcp("10.9.0.2", "10.9.0.4", 1), (false, Stage::Isolation, 20)),
        (Leg::In, ALICE, udp("10.9.0.2", 1, "10.9.0.3", 9), (true, Stage::Network, 21)),
        (Leg::In, ALICE, udp("10.9.0.2", 1, "10.9.0.1", 9), (true, Stage::Network, 40)),
        (Leg::In, ALICE, udp("10.9.0.2", 1, "203.0.113.1", 9), (true, Stage::Network, 40)),
        (Leg::In, ALICE, udp("10.9.0.2", 1, "10.9.0.9", 9), (false, Stage::Default, 0)),
        (Leg::In, ALICE, udp("10.9.0.2", 1, "198.51.100.1", 9), (true, Stage::Grant, 32)),
        (Leg::In, ALICE, tcp("10.9.0.2", "198.51.100.1", 9), (true, Stage::Internet, 41)),
        (Leg::In, ALICE, ip("10.9.0.2", "10.9.0.1", 132, &[0; 12]), (true, Stage::Grant, 33)),
        (Leg::In, ALICE, udp("192.168.7.3", 1, "10.9.0.3", 9), (false, Stage::Default, 0)),
        (Leg::In, ALICE, tcp("192.168.7.3", "10.9.0.3", 9), (true, Stage::Grant, 31)),
        (Leg::In, BOB, udp("10.9.0.5", 1, "10.9.0.2", 9), (true, Stage::Network, 42)),
        (Leg::In, BOB, udp("10.9.0.5", 1, "10.9.0.4", 9), (false, Stage::Isolation, 20)),
        (Leg::In, BOB, udp("10.9.0.5", 1, "10.9.0.1", 9), (false, Stage::Default, 0)),
        (Leg::In, STRANGER, tcp("10.9.0.2", "10.9.0.3", 9), (false, Stage::Default, 0)),
        (Leg::Out, BOB, udp("10.9.0.2", 1, "10.9.0.3", 9), (true, Stage::Network, 21)),
        (Leg::Out, BOB, udp("203.0.113.1", 1, "10.9.0.4", 9), (true, Stage::Grant, 1)),
        (Leg::Out, BOB, udp("192.0.2.7", 1, "10.9.0.3", 9), (false, Stage::Default, 0)),
        (Leg::Out, ALICE, udp("192.168.9.1", 1, "10.9.0.2", 9), (true, Stage::Network, 21)),
        (Leg::In, ALICE, udp("10.9.0.2", 1, "192.168.9.1", 9), (false, Stage::Default, 0)),
        (Leg::Out, BOB, tcp("192.168.7.9", "10.9.0.3", 9), (true, Stage::Grant, 31)),
    ];
    for (leg, peer, packet, (allows, stage, rule)) in cases {
        let decision = filter.judge(leg, peer, &packet).unwrap();
        assert_eq!(decision, Decision { allows, stage, rule }, "{leg:?} {peer} {packet:?}");
    }
    assert_eq!(filter.status().flows, 0, "judging makes no flow");
}

#[test]
fn tcp_needs_a_syn_and_goes_both_ways() {
    let mut filter = filter();
    let early = tcp(ALICE_END, HTTPS, data(1_001, 1_001, 10));
    assert_eq!(filter.check(Leg::In, ALICE, &early, NOW), Err(DropReason::NoFlow));
    connect(&mut filter, NOW);
    let packets = [
        (Leg::In, tcp(ALICE_END, HTTPS, data(1_001, 1_001, 1_000)), Ok(())),
        (Leg::Out, tcp(HTTPS, ALICE_END, data(1_001, 2_001, 60_000)), Ok(())),
        (Leg::In, tcp(ALICE_END, HTTPS, data(2_001, 61_001, 0)), Ok(())),
        (Leg::In, tcp(ALICE_END, HTTPS, data(1_001, 1_001, 1_000)), Ok(())), // again
        (Leg::In, tcp(ALICE_END, HTTPS, data(900_000, 61_001, 10)), Err(DropReason::BadSegment)),
        (Leg::In, tcp(ALICE_END, HTTPS, data(2_001, 900_000, 10)), Err(DropReason::BadSegment)),
        (Leg::Out, tcp(HTTPS, ALICE_END, plain(SYN)), Err(DropReason::BadSegment)),
        (Leg::Out, tcp(HTTPS, ALICE_END, plain(SYN | 1)), Err(DropReason::BadSegment)),
        (
            Leg::Out,
            tcp(HTTPS, ALICE_END, Tcp { sequence: 700_000, ..plain(RST) }),
            Err(DropReason::BadSegment),
        ),
        (Leg::Out, tcp(HTTPS, ALICE_END, Tcp { sequence: 61_001, ..plain(RST) }), Ok(())),
    ];
    for (leg, packet, want) in packets {
        assert_eq!(filter.check(leg, ALICE, &packet, NOW), want, "{packet:?}");
    }
    // The reset ended it: nothing is of it soon after, and another may begin at once.
    let late = tcp(ALICE_END, HTTPS, data(2_001, 61_001, 10));
    assert_eq!(filter.check(Leg::In, ALICE, &late, NOW + 11_000), Err(DropReason::NoFlow));
    connect(&mut filter, NOW + 11_000);
}

#[test]
fn a_closed_connection_makes_way_for_another_on_the_same_ports() {
    let mut filter = filter();
    connect(&mut filter, NOW);
    let fin = |sequence, acknowledgement| Tcp { flags: FIN_ACK, sequence, acknowledgement, payload: 0 };
    assert_eq!(filter.check(Leg::In, ALICE, &tcp(ALICE_END, HTTPS, fin(1_001, 1_001)), NOW), Ok(()));
    assert_eq!(filter.check(Leg::Out, ALICE, &tcp(HTTPS, ALICE_END, fin(1_001, 1_002)), NOW), Ok(()));
    assert_eq!(filter.check(Leg::In, ALICE, &tcp(ALICE_END, HTTPS, data(1_002, 1_002, 0)), NOW), Ok(()));
    connect(&mut filter, NOW + 1_000);
    assert_eq!(filter.status().flows, 1);
}

#[test]
fn silence_ends_a_flow() {
    let mut filter = filter();
    let question = udp("10.9.0.2", 5353, "10.9.0.1", 53);
    let answer = udp("10.9.0.1", 53, "10.9.0.2", 5353);
    filter.check(Leg::In, ALICE, &question, NOW).unwrap();
    assert_eq!(filter.check(Leg::Out, ALICE, &answer, NOW + 29_000), Ok(()));
    assert_eq!(filter.check(Leg::Out, ALICE, &answer, NOW + 29_000 + 179_000), Ok(()));
    // This node may open flows itself, so it is bob's tunnel that shows who does not know the flow any more.
    assert_eq!(filter.status().flows, 1);
    (0..64).for_each(|_| filter.sweep(NOW + 29_000 + 179_000 + 181_000));
    assert_eq!(filter.status().flows, 0);
}

#[test]
fn a_reply_through_another_tunnel_is_no_reply() {
    let mut filter = filter();
    // This node asks alice; bob answers in her name.
    let question = udp("10.9.0.1", 4000, "10.9.0.2", 53);
    let answer = udp("10.9.0.2", 53, "10.9.0.1", 4000);
    filter.check(Leg::Out, ALICE, &question, NOW).unwrap();
    assert_eq!(filter.check(Leg::In, BOB, &answer, NOW), DENIED);
    assert_eq!(filter.check(Leg::In, ALICE, &answer, NOW), Ok(()));
    // And one who takes alice's place in the device has none of her flows.
    filter.remove_peer(ALICE);
    filter.add_peer(ALICE, [9; 32]);
    assert_eq!(filter.check(Leg::In, ALICE, &answer, NOW), DENIED);
}

#[test]
fn a_peer_is_known_by_any_of_its_keys() {
    let mut filter = filter();
    let packet = udp("10.9.0.2", 5000, "10.9.0.1", 53);
    assert_eq!(filter.check(Leg::In, STRANGER, &packet, NOW), DENIED);
    // The policy now calls alice by a key that is the stranger's second one.
    apply(&mut filter, Change::default().peer(0, 2, [8; 32])).unwrap();
    assert_eq!(filter.check(Leg::In, ALICE, &packet, NOW), DENIED);
    filter.add_key(STRANGER, [8; 32]);
    assert_eq!(filter.check(Leg::In, STRANGER, &packet, NOW), Ok(()));
    // Neither is among the keys of the device any more, and still it is who it was.
    apply(&mut filter, Change::default()).unwrap();
    assert_eq!(filter.check(Leg::In, STRANGER, &packet, NOW), Ok(()));
}

#[test]
fn nobody_speaks_for_this_node_from_outside() {
    let mut filter = filter();
    apply(&mut filter, Change::default().by_id(2, 2).rule(9, Action::Allow, 3, "any", None, None)).unwrap();
    assert_eq!(filter.check(Leg::In, ALICE, &udp("10.9.0.9", 1, "10.9.0.3", 9), NOW), Ok(()));
    let own = udp("10.9.0.1", 1, "10.9.0.3", 9);
    assert_eq!(filter.check(Leg::In, ALICE, &own, NOW), Err(DropReason::SourceNotAllowed));
}

/// Alice's grants without one of them.
pub fn without(rule: u32) -> Change {
    let mut change = Change::default().by_id(2, 2);
    for (id, to, protocol, port) in [(10, "10.9.0.1/32", TCP, 443), (11, "10.9.0.1/32", 17, 53)] {
        if id != rule {
            change = change.allow(id, to, protocol, port);
        }
    }
    change
}

#[test]
fn what_is_revoked_is_dead_at_once_in_both_directions_and_the_rest_does_not_notice() {
    for leg in [Leg::In, Leg::Out] {
        let mut filter = filter();
        connect(&mut filter, NOW);
        let (question, push) = (udp("10.9.0.2", 5000, "10.9.0.1", 53), udp("10.9.0.1", 53, "10.9.0.2", 5000));
        filter.check(Leg::In, ALICE, &question, NOW).unwrap();
        filter.check(Leg::Out, ALICE, &push, NOW).unwrap();

        // This node may open anything to anyone, and still may not go on with what alice opened.
        apply(&mut filter, without(11)).unwrap();
        match leg {
            Leg::In => assert_eq!(filter.check(Leg::In, ALICE, &question, NOW), DENIED),
            Leg::Out => assert_eq!(filter.check(Leg::Out, ALICE, &push, NOW), DENIED),
        }
        // As long as the server goes on; in time, what it sends is a flow of its own.
        for seconds in 0..100 {
            assert_eq!(filter.check(Leg::Out, ALICE, &push, NOW + seconds * 1_000), DENIED);
        }
        assert_eq!(filter.check(Leg::Out, ALICE, &push, NOW + 130_000), Ok(()));
        assert_eq!(filter.check(Leg::In, ALICE, &tcp(ALICE_END, HTTPS, data(1_001, 1_001, 5)), NOW), Ok(()));

        apply(&mut filter, without(10)).unwrap();
        let (forth, back) = (data(1_006, 1_001, 5), data(1_001, 1_006, 5));
        match leg {
            Leg::In => assert_eq!(filter.check(Leg::In, ALICE, &tcp(ALICE_END, HTTPS, forth), NOW), DENIED),
            Leg::Out => assert_eq!(filter.check(Leg::Out, ALICE, &tcp(HTTPS, ALICE_END, back), NOW), DENIED),
        }
    }
}

#[test]
fn icmp_passes_by_the_flow_it_belongs_to() {
    let mut filter = filter();
    let icmp = |from: &str, to: &str, kind: u8, id: u16, rest: &[u8]| {
        ip(from, to, ICMP, &[&[kind, 0, 0, 0], &id.to_be_bytes()[..], &[0, 1], rest].concat())
    };
    let (a, node) = ("10.9.0.2", "10.9.0.1");
    assert_eq!(filter.check(Leg::Out, ALICE, &icmp(node, a, 0, 7, &[]), NOW), Err(DropReason::NoFlow));
    assert_eq!(filter.check(Leg::In, ALICE, &icmp(a, node, 8, 7, &[]), NOW), Ok(()));
    assert_eq!(filter.check(Leg::Out, ALICE, &icmp(node, a, 0, 7, &[]), NOW), Ok(()));
    assert_eq!(filter.check(Leg::Out, ALICE, &icmp(node, a, 0, 8, &[]), NOW), Err(DropReason::NoFlow));
    assert_eq!(filter.check(Leg::In, ALICE, &icmp(a, node, 13, 7, &[]), NOW), DENIED, "another type");
    assert_eq!(filter.check(Leg::In, BOB, &icmp("10.9.0.3", node, 8, 7, &[]), NOW), DENIED);

    let question = udp(a, 5000, node, 53);
    filter.check(Leg::In, ALICE, &question, NOW).unwrap();
    let error = |about: &[u8]| icmp(node, a, 3, 0, &about[..28]);
    assert_eq!(filter.check(Leg::Out, ALICE, &error(&question), NOW), Ok(()));
    let unasked = udp(a, 5001, node, 53);
    assert_eq!(filter.check(Leg::Out, ALICE, &error(&unasked), NOW), Err(DropReason::NoFlow));
    assert_eq!(filter.check(Leg::Out, BOB, &error(&question), NOW), Err(DropReason::NoFlow));
    assert_eq!(filter.check(Leg::In, ALICE, &error(&question), NOW), Err(DropReason::NoFlow), "wrong way");
    let to_other = icmp(node, "10.9.0.3", 3, 0, &question[..28]);
    assert_eq!(filter.check(Leg::Out, ALICE, &to_other, NOW), Err(DropReason::NoFlow));

    connect(&mut filter, NOW);
    let sent = tcp(ALICE_END, HTTPS, data(1_001, 1_001, 100));
    filter.check(Leg::In, ALICE, &sent, NOW).unwrap();
    assert_eq!(filter.check(Leg::Out, ALICE, &error(&sent), NOW), Ok(()));
    let never_sent = tcp(ALICE_END, HTTPS, data(500_000, 1_001, 100));
    assert_eq!(filter.check(Leg::Out, ALICE, &error(&never_sent), NOW), Err(DropReason::NoFlow));
    apply(&mut filter, without(10)).unwrap();
    assert_eq!(filter.check(Leg::Out, ALICE, &error(&sent), NOW), DENIED, "nor about what was revoked");
}

/// A piece of a UDP datagram from alice to port 53 of this node.
fn piece(id: u16, first_unit: u16, more: bool, bytes: &[u8]) -> Vec<u8> {
    let mut packet = ip("10.9.0.2", "10.9.0.1", 17, bytes);
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&(first_unit | if more { 0x2000 } else { 0 }).to_be_bytes());
    packet
}

fn head(port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[..4].copy_from_slice(&[0x13, 0x88, (port >> 8) as u8, port as u8]);
    bytes
}

#[test]
fn pieces_follow_the_first_and_never_overlap() {
    let mut filter = filter();
    let bad = Err(DropReason::BadFragment);
    let mut check = |packet: Vec<u8>| filter.check(Leg::In, ALICE, &packet, NOW);
    assert_eq!(check(piece(1, 3, true, &[0; 16])), bad, "before the first");
    assert_eq!(check(piece(1, 0, true, &head(53))), Ok(()));
    assert_eq!(check(piece(1, 5, false, &[0; 13])), Ok(()), "out of order");
    assert_eq!(check(piece(1, 3, true, &[0; 16])), Ok(()));
    assert_eq!(check(piece(1, 4, true, &[0; 8])), bad, "overlaps");
    assert_eq!(check(piece(1, 0, true, &head(53))), bad, "a second first");
    assert_eq!(check(piece(1, 2, true, &[0; 8])), bad, "overlaps the first");
    assert_eq!(check(piece(2, 0, true, &head(54))), DENIED, "another port");
    assert_eq!(check(piece(2, 3, false, &[0; 8])), bad, "of a denied first");
    assert_eq!(check(piece(3, 0, true, &head(53)[..8])), Ok(()));
    assert_eq!(check(piece(3, 1, true, &[0; 9])), bad, "only the last ends within a unit");
    assert_eq!(check(piece(3, 1, false, &[])), bad, "empty");
    assert_eq!(check(piece(3, 8191, false, &[0; 16])), bad, "beyond the longest datagram");

    let mut tiny = tcp(ALICE_END, HTTPS, plain(SYN));
    tiny[6] = 0x20;
    tiny.truncate(20 + 16);
    tiny[3] = 36;
    assert_eq!(check(tiny), bad, "a first that hides the flags");
    let mut over_flags = ip("10.9.0.2", "10.9.0.1", TCP, &[0; 8]);
    over_flags[7] = 1;
    assert_eq!(check(over_flags), bad, "RFC 3128");

    apply(&mut filter, without(11)).unwrap();
    assert_eq!(filter.check(Leg::In, ALICE, &piece(3, 1, true, &[0; 8]), NOW), DENIED, "revoked half way");
    assert_eq!(filter.check(Leg::In, BOB, &piece(3, 2, true, &[0; 8]), NOW), bad, "of another's datagram");
}

#[test]
fn v6_extension_headers_are_walked_up_to_a_bound() {
    let mut filter = filter();
    let segment = tcp(("fd09::2", 1), ("fd09::1", 443), plain(SYN))[40..].to_vec();
    let extended = |chain: &[(u8, &[u8])]| {
        let mut payload = vec![];
        for (at, (_, header)) in chain.iter().enumerate() {
            payload.push(chain.get(at + 1).map_or(TCP, |(next, _)| *next));
            payload.extend(&header[1..]);
        }
        payload.extend(&segment);
        ip("fd09::2", "fd09::1", chain.first().map_or(TCP, |(first, _)| *first), &payload)
    };
    let (options, routing) = ([0u8; 8], [0, 0, 2, 0, 0, 0, 0, 0]);
    let mut check = |packet: Vec<u8>| filter.check(Leg::In, ALICE, &packet, NOW);
    assert_eq!(check(extended(&[(0, &options), (60, &options), (43, &routing)])), Ok(()));
    assert_eq!(check(extended(&[(51, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])])), Ok(()));
    assert_eq!(check(extended(&[(44, &[0, 0, 0, 0, 0, 0, 0, 9])])), Ok(()), "an atomic fragment");
    let many: Vec<(u8, &[u8])> = vec![(60, &options); 9];
    assert_eq!(check(extended(&many)), Err(DropReason::BadExtensions));
    assert_eq!(check(extended(&[(43, &options)])), Err(DropReason::BadExtensions), "type 0");
    assert_eq!(check(extended(&[(60, &[0, 200, 0, 0, 0, 0, 0, 0])])), Err(DropReason::CutHeader));
    assert_eq!(check(ip("fd09::2", "fd09::1", 59, &[])), DENIED, "no next header: by number");
    // All headers are in the first fragment, RFC 7112.
    let mut split = extended(&[(44, &[0, 0, 0, 1, 0, 0, 0, 9]), (60, &[0, 200, 0, 0, 0, 0, 0, 0])]);
    split.truncate(40 + 16 + 16);
    split[5] = 32;
    assert_eq!(check(split), Err(DropReason::BadFragment));
}

#[test]
fn a_change_is_whole_or_void() {
    let mut filter = filter();
    let asks = udp("10.9.0.2", 5000, "10.9.0.1", 53);
    let voids = [
        ("unknown kind", Change::default().by_id(99, 1)),
        ("a set that is not there", Change::default().subject(2, 1, [0; 3], &[77], &[])),
        ("a set that goes", Change::default().by_id(11, 2)),
        ("a subject that goes", Change::default().by_id(13, 2)),
        ("no self", Change::default().by_id(13, 0)),
        ("a whole without subjects", Change::default().whole()),
        ("a number out of range", Change::default().by_id(2, 1 << 20)),
        ("a rule of no set", Change::default().allow(9, "10.9.0.1/32", TCP, 1)),
        (
            "ports without a protocol",
            Change::default().by_id(2, 2).rule(9, Action::Allow, 3, "any", None, Some((1, 2))),
        ),
        (
            "ports of GRE",
            Change::default().by_id(2, 2).rule(9, Action::Allow, 3, "any", Some(47), Some((1, 2))),
        ),
        (
            "an empty range",
            Change::default().by_id(2, 2).rule(9, Action::Allow, 3, "any", Some(TCP), Some((2, 1))),
        ),
        ("no leg", Change::default().by_id(2, 2).rule(9, Action::Allow, 0, "any", None, None)),
        ("bits beyond the prefix", Change::default().by_id(2, 2).allow(9, "10.9.0.1/24", TCP, 1)),
        ("an address without a subject", Change::default().prefix(8, "10.9.0.7/32")),
    ];
    for (name, change) in voids {
        assert_eq!(apply(&mut filter, change), Err(Void), "{name}");
        assert_eq!(filter.check(Leg::In, ALICE, &asks, NOW), Ok(()), "{name}: the policy stays");
        assert_eq!(filter.status().generation, 1, "{name}");
    }
    filter.begin();
    assert_eq!(filter.stage(&base().0[..100]), Err(Void), "short");
    assert_eq!(filter.commit(&keys()), Err(Void));
    filter.begin();
    for piece in base().0.chunks(64) {
        filter.stage(piece).unwrap();
        assert_eq!(filter.check(Leg::In, ALICE, &asks, NOW), Ok(()), "while a change is written");
    }
    assert_eq!(filter.commit(&keys()), Ok(2));
}

#[test]
fn a_rejected_packet_is_answered_within_bounds() {
    let mut filter = filter();
    apply(&mut filter, base().rejecting()).unwrap();
    let syn = tcp(ALICE_END, ("10.9.0.1", 80), plain(SYN));
    let answer = filter.answer(ALICE, &syn, NOW).unwrap();
    let reset = answer.bytes();
    assert_eq!(reset.len(), 40);
    assert_eq!((&reset[12..16], &reset[16..20]), (&syn[16..20], &syn[12..16]));
    assert_eq!((&reset[20..24], reset[33]), (&[0, 80, 0x9c, 0x40][..], RST | ACK));
    assert_eq!(reset[28..32], 1_001u32.to_be_bytes());
    let headers = crate::packet::transport::Headers::parse(reset).unwrap();
    assert!(headers.checksum_holds(reset) && headers.ip_checksum_holds(reset));
    let v6 = tcp(("fd09::2", 1), ("fd09::1", 80), data(7, 9, 3));
    let reset = filter.answer(ALICE, &v6, NOW).unwrap();
    let headers = crate::packet::transport::Headers::parse(reset.bytes()).unwrap();
    assert!(headers.checksum_holds(reset.bytes()));
    assert_eq!((&reset.bytes()[44..48], reset.bytes()[53]), (&[0, 0, 0, 9][..], RST));

    let unreachable = filter.answer(ALICE, &udp("10.9.0.2", 1, "10.9.0.1", 80), NOW).unwrap();
    let icmp = unreachable.bytes();
    assert_eq!((icmp[9], &icmp[20..22]), (ICMP, &[3, 13][..]));
    assert_eq!(crate::packet::checksum::Sum::default().add(&icmp[20..]).finish(), 0);
    assert_eq!(icmp[28..], udp("10.9.0.2", 1, "10.9.0.1", 80)[..]);
    let silent = [
        tcp(ALICE_END, ("10.9.0.1", 80), plain(RST)),
        ip("10.9.0.2", "10.9.0.1", ICMP, &[3; 36]),
        udp("10.9.0.2", 1, "224.0.0.1", 80),
        udp("10.9.0.2", 1, "255.255.255.255", 80),
        piece(1, 0, true, &head(54)),
    ];
    for packet in silent {
        assert!(filter.answer(ALICE, &packet, NOW).is_none(), "{packet:?}");
    }
    let answered = (0..1_000).filter(|_| filter.answer(ALICE, &syn, NOW + 1_000).is_some()).count();
    assert_eq!(answered, 20);
    assert!(filter.answer(BOB, &syn, NOW + 1_000).is_some(), "each peer has its own");
}

#[test]
fn drops_are_counted_by_rule_and_peer_and_logged() {
    let mut filter = filter();
    apply(&mut filter, Change::default().by_id(2, 2).rule(50, Action::Deny, 3, "10.9.0.0/24", None, None))
        .unwrap();
    let packet = udp("10.9.0.2", 5000, "10.9.0.1", 53);
    for _ in 0..200 {
        assert_eq!(filter.check(Leg::In, ALICE, &packet, NOW), DENIED);
    }
    assert_eq!(filter.check(Leg::In, BOB, &udp("10.9.0.3", 1, "10.9.0.1", 1), NOW), DENIED);
    let mut block = vec![0; 4096];
    let (count, next) = filter.write_drops(0, &mut block);
    assert_eq!((count, next), (2, 4096));
    let rows: Vec<_> = block[..64].chunks(32).map(|row| (row[0], row[16], row[20], row[24])).collect();
    assert!(rows.contains(&(200, 0, 50, Stage::Deny as u8)), "{rows:?}");
    assert!(rows.contains(&(1, 1, 0, Stage::Default as u8)), "{rows:?}");

    assert_eq!(filter.take_log(&mut block), 50, "a sample of them");
    assert_eq!((block[12], block[16], block[17], block[18]), (50, 0, Stage::Deny as u8, 17));
    assert_eq!((&block[32..36], &block[48..52]), (&[10, 9, 0, 2][..], &[10, 9, 0, 1][..]));
    assert_eq!(filter.check(Leg::In, ALICE, &packet, NOW + 1_000), DENIED);
    assert_eq!(filter.take_log(&mut block), 1);
    assert_eq!(block[28], 151, "and how many it does not tell of");
    filter.remove_peer(ALICE);
    assert_eq!(filter.write_drops(0, &mut block).0, 1);
}

/// Leg, cause, rule and packets not told of, of each entry.
fn entries(filter: &mut Filter) -> Vec<(u8, u8, u8, u8)> {
    let mut block = vec![0; 64 * 256];
    let count = filter.take_log(&mut block);
    block.chunks(64).take(count).map(|entry| (entry[16], entry[17], entry[12], entry[28])).collect()
}

#[test]
fn a_peer_that_is_followed_has_all_its_packets_told_with_what_decided() {
    const ALLOWED: u8 = 64;
    const BY_REASON: u8 = 128;
    let mut filter = filter();
    let (there, back) = (udp("10.9.0.2", 5000, "10.9.0.22", 443), udp("10.9.0.22", 443, "10.9.0.2", 5000));
    apply(&mut filter, Change::default().by_id(2, 2).allow(7, "10.9.0.22/32", 17, 443)).unwrap();
    assert_eq!(filter.check(Leg::In, ALICE, &there, NOW), Ok(()));
    assert_eq!(entries(&mut filter), [], "nobody follows");
    filter.follow(ALICE, true);
    for now in [NOW, NOW + 500] {
        assert_eq!(filter.check(Leg::In, ALICE, &there, now), Ok(()));
        assert_eq!(filter.check(Leg::Out, ALICE, &back, now), Ok(()));
    }
    let granted = ALLOWED | Stage::Grant as u8;
    assert_eq!(entries(&mut filter), [(0, granted, 7, 0), (1, granted, 7, 0)].repeat(2));
    let (denied, cut) = (udp("10.9.0.2", 5000, "10.9.0.22", 444), &there[..21]);
    assert_eq!(filter.check(Leg::In, ALICE, &denied, NOW + 600), DENIED);
    assert_eq!(filter.check(Leg::In, ALICE, cut, NOW + 600), Err(DropReason::CutHeader));
    let cut = BY_REASON | DropReason::CutHeader as u8;
    assert_eq!(entries(&mut filter), [(0, Stage::Default as u8, 0, 0), (0, cut, 0, 0)]);

    // A flood is told of in part, and takes nothing from the sample of others' drops.
    for _ in 0..1_000 {
        assert_eq!(filter.check(Leg::In, ALICE, &there, NOW + 700), Ok(()));
    }
    assert_eq!(filter.check(Leg::In, BOB, &udp("10.9.0.3", 1, "10.9.0.1", 1), NOW + 700), DENIED);
    assert_eq!(entries(&mut filter).len(), 101);
    assert_eq!(filter.check(Leg::In, ALICE, &there, NOW + 800), Ok(()));
    assert_eq!(entries(&mut filter), [(0, granted, 7, (900_u32 % 256) as u8)]);
    filter.follow(ALICE, false);
    assert_eq!(filter.check(Leg::In, ALICE, &there, NOW + 900), Ok(()));
    assert_eq!(entries(&mut filter), []);
}

#[test]
fn what_nobody_reads_in_time_is_counted_as_not_told() {
    let mut filter = filter();
    filter.follow(ALICE, true);
    let packet = udp("10.9.0.2", 5000, "10.9.0.22", 444);
    for n in 0..300 {
        assert_eq!(filter.check(Leg::In, ALICE, &packet, NOW + n * 10), DENIED);
    }
    let told = entries(&mut filter);
    assert_eq!(told.len(), 256);
    assert_eq!(told.iter().map(|&(_, _, _, skipped)| usize::from(skipped)).sum::<usize>(), 43);
    assert_eq!(filter.check(Leg::In, ALICE, &packet, NOW + 9_000), DENIED);
    assert_eq!(entries(&mut filter), [(0, Stage::Default as u8, 0, 1)]);
}

/// A flow number `n` of a peer, new and unanswered.
fn flow(table: &FlowTable, peer: u32, n: u32, now: Ticks) -> Flow {
    let tunnel = table.tunnel(peer);
    let key = FlowKey {
        remote: u128::from(n) << 64,
        remote_port: n as u16,
        protocol: 17,
        tunnel,
        ..FlowKey::default()
    };
    Flow { key, expires: now + UNANSWERED, ..Flow::default() }
}

#[test]
fn a_hundred_thousand_flows_fit_and_a_flood_pushes_out_none_that_is_answered() {
    let mut table = FlowTable::new();
    table.make_room();
    assert!(table.bytes() <= 32 << 20, "{} bytes", table.bytes());
    (0..3).for_each(|peer| table.add_peer(peer));
    for n in 0..100_000 {
        let flow = Flow { is_answered: true, ..flow(&table, n & 1, n, 0) };
        table.insert(flow, n & 1, 0).unwrap();
    }
    assert_eq!((table.count(), table.evicted), (100_000, 0));
    // A third peer opens a million that nobody answers.
    let mut refused = 0;
    for n in 0..1_000_000 {
        let flow = flow(&table, 2, 200_000 + n, 0);
        refused += u32::from(table.insert(flow, 2, 0).is_none());
    }
    let lost = (0..100_000).filter(|&n| table.find(&flow(&table, n & 1, n, 0).key, 1).is_none()).count();
    assert_eq!(lost, 0, "of the answered ({refused} of the flood were refused)");
    assert!(table.count() <= CAPACITY && table.count() > CAPACITY * 99 / 100, "{}", table.count());
    // When the flood has run out, its places are free.
    (0..64).for_each(|_| table.sweep(UNANSWERED));
    assert_eq!(table.count(), 0);
}

#[test]
fn a_peer_with_few_flows_is_served_while_another_fills_the_table() {
    let mut table = FlowTable::new();
    table.make_room();
    (0..2).for_each(|peer| table.add_peer(peer));
    for n in 0..CAPACITY as u32 * 2 {
        let flow = Flow { is_answered: true, ..flow(&table, 0, n, 0) };
        table.insert(flow, 0, 0);
    }
    let served = (0..1_000).filter(|&n| table.insert(flow(&table, 1, n, 0), 1, 0).is_some()).count();
    assert_eq!(served, 1_000);
}

#[test]
fn a_taken_up_connection_is_one_that_the_policy_allows() {
    let mut filter = Filter::new();
    filter.add_peer(ALICE, [1; 32]);
    filter.add_peer(BOB, [2; 32]);
    filter.enable(true, NOW);
    apply(&mut filter, base()).unwrap();
    let forth = tcp(ALICE_END, HTTPS, data(5_000, 9_000, 10));
    let back = tcp(HTTPS, ALICE_END, data(9_000, 5_010, 10));
    assert_eq!(filter.check(Leg::In, ALICE, &forth, NOW), Ok(()));
    assert_eq!(filter.check(Leg::Out, ALICE, &back, NOW), Ok(()));
    // Bob may open nothing, but what this node opened to him he may answer.
    let (ours, bobs) = (("10.9.0.1", 50_000), ("10.9.0.3", 80));
    assert_eq!(filter.check(Leg::In, BOB, &tcp(bobs, ours, data(1, 1, 10)), NOW), Ok(()));
    assert_eq!(filter.check(Leg::In, BOB, &tcp(bobs, ("10.9.0.4", 1), data(1, 1, 10)), NOW), DENIED);
    let later = NOW + 61_000;
    assert_eq!(
        filter.check(Leg::In, BOB, &tcp(bobs, ("10.9.0.1", 2), data(1, 1, 1)), later),
        Err(DropReason::NoFlow)
    );
    assert_eq!(filter.check(Leg::In, ALICE, &tcp(ALICE_END, HTTPS, data(5_010, 9_010, 1)), later), Ok(()));
}

fn random_rule(random: &mut Random, id: u32) -> Rule {
    let prefix = |random: &mut Random| {
        let address = random_address(random);
        let length = [0, 8, 24, 31, 32, 64, 128][random.below(7)];
        Prefix::new(address, length.min(u32::from(address.version.address_bits()))).unwrap()
    };
    let protocol = [None, Some(6), Some(17), Some(47), Some(1)][random.below(5)];
    let first = random.below(30) as u16;
    let range = (first, first + [0, 1, 5, 17][random.below(4)]);
    Rule {
        id,
        action: if random.below(3) == 0 { Action::Deny } else { Action::Allow },
        on_in: random.below(4) != 0,
        on_out: random.below(4) != 0,
        to: match random.below(8) {
            0 => Destination::Any,
            1 => Destination::Own,
            2 => Destination::Internet,
            _ => Destination::Prefix(prefix(random)),
        },
        from: (random.below(3) == 0).then(|| prefix(random)),
        protocol,
        ports: (protocol.is_some_and(has_ports) && random.below(2) == 0).then_some(range),
    }
}

fn random_address(random: &mut Random) -> Address {
    match random.below(3) {
        0 => Address { version: Version::V6, bits: 0xfd09 << 112 | random.below(4) as u128 },
        _ => Address::v4([10, random.below(2) as u8, 0, random.below(4) as u8]),
    }
}

#[test]
fn the_index_finds_what_a_walk_from_end_to_end_finds() {
    let mut random = Random(0x5eed);
    for _ in 0..300 {
        let mut set = RuleSet::default();
        let rules: Vec<Rule> =
            (1..=random.below(40) as u32 + 1).map(|id| random_rule(&mut random, id)).collect();
        rules.iter().for_each(|&rule| set.push(rule));
        for _ in 0..200 {
            let protocol = [6, 17, 47, 1][random.below(4)];
            let attempt = Attempt {
                leg: if random.below(2) == 0 { Leg::In } else { Leg::Out },
                source: random_address(&mut random),
                destination: random_address(&mut random),
                protocol,
                port: has_ports(protocol).then(|| random.below(50) as u16),
            };
            let place = Place { is_own: random.below(4) == 0, is_internet: random.below(4) == 0 };
            for action in [Action::Allow, Action::Deny] {
                let slow = rules.iter().find(|rule| rule.action == action && rule.fits(&attempt, place));
                assert_eq!(set.find(action, &attempt, place), slow, "{attempt:?} {place:?} {rules:#?}");
            }
        }
    }
}

#[test]
fn every_range_of_ports_is_cut_into_exactly_itself() {
    let mut random = Random(7);
    for _ in 0..300 {
        let mut set = RuleSet::default();
        let (a, b) = (random.next() as u16, random.next() as u16);
        let ports = (a.min(b), a.max(b));
        let to = Destination::Any;
        let rule = Rule {
            id: 1,
            action: Action::Allow,
            on_in: true,
            on_out: false,
            to,
            from: None,
            protocol: Some(6),
            ports: Some(ports),
        };
        set.push(rule);
        let place = Place { is_own: false, is_internet: false };
        let near = |port: u16| [port.wrapping_sub(1), port, port.wrapping_add(1)];
        for port in near(ports.0).into_iter().chain(near(ports.1)).chain([0, 65_535, random.next() as u16]) {
            let attempt = Attempt {
                leg: Leg::In,
                source: address("10.0.0.1"),
                destination: address("10.0.0.2"),
                protocol: 6,
                port: Some(port),
            };
            assert_eq!(
                set.find(Action::Allow, &attempt, place).is_some(),
                ports.0 <= port && port <= ports.1
            );
        }
    }
}

#[test]
fn no_bytes_make_it_panic_and_cut_packets_are_dropped() {
    let mut random = Random(99);
    let mut filter = filter();
    let good = [
        tcp(ALICE_END, HTTPS, plain(SYN)),
        udp("10.9.0.2", 1, "10.9.0.1", 53),
        piece(5, 0, true, &head(53)),
        ip(
            "fd09::2",
            "fd09::1",
            44,
            &[6, 0, 0, 1, 0, 0, 0, 9, 0, 1, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 80, 2, 0, 0, 0, 0, 0, 0],
        ),
        ip(
            "10.9.0.2",
            "10.9.0.1",
            ICMP,
            &[&[3, 1, 0, 0, 0, 0, 0, 0][..], &udp("10.9.0.1", 53, "10.9.0.2", 1)].concat(),
        ),
    ];
    for _ in 0..200_000 {
        let mut packet = good[random.below(good.len())].clone();
        for _ in 0..random.below(4) {
            let at = random.below(packet.len());
            packet[at] = random.next() as u8;
        }
        packet.truncate(random.below(packet.len()) + 1);
        let leg = if random.below(2) == 0 { Leg::In } else { Leg::Out };
        let peer = random.below(4) as u32;
        let _ = filter.check(leg, peer, &packet, NOW + random.below(100_000) as u64);
        let _ = filter.judge(leg, peer, &packet);
        let _ = filter.answer(peer, &packet, NOW);
    }
}

/// Alice uses the internet of bob; the hub itself is reached by 198.51.100.9, and whoever it is may ask alice's port 80.
fn with_exit() -> Filter {
    let mut filter = filter();
    let change = Change::default()
        .by_id(2, 5)
        .allow(50, "10.9.0.2/32", 17, 80)
        .subject(1, 0, [0; 3], &[5], &[])
        .subject(2, 1, [0, 0, 15], &[2], &["10.9.0.2/32", "fd09::2/128"])
        .by_id(21, 1);
    apply(&mut filter, change).unwrap();
    filter
}

fn header(packet: &[u8]) -> crate::packet::ip::IpHeader {
    crate::packet::ip::IpHeader::parse(packet).unwrap()
}

fn admit(filter: &mut Filter, peer: u32, packet: &[u8], now: Millis) -> Result<Onward, DropReason> {
    filter.admit(peer, packet, now).map(|(onward, _)| onward)
}

fn check_relayed(filter: &mut Filter, peer: u32, packet: &[u8], now: Millis) -> Result<(), DropReason> {
    filter.pass_relayed(peer, packet, now).map(|_| ())
}

const ABROAD: [(&str, &str); 2] = [("10.9.0.2", "198.51.100.1"), ("fd09::2", "2620:fe::fe")];

#[test]
fn what_goes_to_the_internet_by_an_exit_goes_nowhere_else() {
    let mut filter = with_exit();
    for (alice, abroad) in ABROAD {
        let (there, back) = (udp(alice, 7, abroad, 53), udp(abroad, 53, alice, 7));
        assert!(!filter.answers_for_internet(ALICE, &header(&back)), "only the exit does");
        assert!(filter.answers_for_internet(BOB, &header(&back)));
        assert_eq!(
            admit(&mut filter, BOB, &back, NOW),
            Err(DropReason::FilterDenied),
            "an answer to nothing"
        );
        assert_eq!(admit(&mut filter, ALICE, &there, NOW), Ok(Onward::Exit(BOB)));
        assert_eq!(check_relayed(&mut filter, BOB, &there, NOW), Ok(()));
        assert_eq!(filter.check(Leg::Out, ALICE, &back, NOW), DENIED, "an answer by another way");
        assert_eq!(admit(&mut filter, BOB, &back, NOW), Ok(Onward::Back));
        assert_eq!(check_relayed(&mut filter, ALICE, &back, NOW), Ok(()));
        let other = udp(abroad, 53, if alice.contains(':') { "fd09::3" } else { "10.9.0.3" }, 7);
        assert!(!filter.answers_for_internet(BOB, &header(&other)), "to nobody else");
    }
    let home = udp("10.9.0.2", 7, "10.9.0.1", 53);
    assert_eq!(admit(&mut filter, ALICE, &home, NOW), Ok(Onward::Host), "the overlay stays here");
    filter.remove_peer(BOB);
    let there = udp("10.9.0.2", 7, "198.51.100.1", 53);
    assert_eq!(
        admit(&mut filter, ALICE, &there, NOW),
        Err(DropReason::NoRoute),
        "without the exit it goes nowhere"
    );
}

#[test]
fn errors_of_the_exit_come_back_and_flows_from_outside_stay_with_this_host() {
    let mut filter = with_exit();
    let there = tcp(ALICE_END, ("198.51.100.1", 443), plain(SYN));
    assert_eq!(admit(&mut filter, ALICE, &there, NOW), Ok(Onward::Exit(BOB)));
    assert_eq!(check_relayed(&mut filter, BOB, &there, NOW), Ok(()));
    let too_big = ip("10.9.0.3", "10.9.0.2", ICMP, &[&[3, 4, 0, 0, 0, 0, 5, 0], &there[..]].concat());
    assert_eq!(admit(&mut filter, BOB, &too_big, NOW), Ok(Onward::Back), "from the exit itself");
    assert_eq!(check_relayed(&mut filter, ALICE, &too_big, NOW), Ok(()));
    assert_eq!(filter.check(Leg::Out, ALICE, &too_big, NOW), DENIED);
    // Asked from outside, by way of this host, alice answers that way.
    let (asked, answer) = (udp("198.51.100.8", 9, "10.9.0.2", 80), udp("10.9.0.2", 80, "198.51.100.8", 9));
    assert_eq!(filter.check(Leg::Out, ALICE, &asked, NOW), Ok(()));
    assert_eq!(admit(&mut filter, ALICE, &answer, NOW), Ok(Onward::Host));
}

#[test]
fn a_change_of_the_exit_moves_live_flows_at_once() {
    let mut filter = with_exit();
    let (there, back) = (udp("10.9.0.2", 7, "198.51.100.1", 53), udp("198.51.100.1", 53, "10.9.0.2", 7));
    admit(&mut filter, ALICE, &there, NOW).unwrap();
    check_relayed(&mut filter, BOB, &there, NOW).unwrap();
    let by_host = Change::default().subject(2, 1, [0, 0, 15], &[2], &["10.9.0.2/32", "fd09::2/128"]);
    apply(&mut filter, by_host).unwrap();
    assert!(!filter.answers_for_internet(BOB, &header(&back)), "bob is nobody's exit now");
    assert_eq!(admit(&mut filter, ALICE, &there, NOW), Ok(Onward::Host));
    assert_eq!(filter.check(Leg::Out, ALICE, &back, NOW), Ok(()));
    let again =
        Change::default().subject(2, 1, [0, 0, 15], &[2], &["10.9.0.2/32", "fd09::2/128"]).by_id(21, 1);
    apply(&mut filter, again).unwrap();
    assert_eq!(filter.check(Leg::Out, ALICE, &back, NOW), DENIED, "the former way is shut");
    assert_eq!(admit(&mut filter, ALICE, &there, NOW), Ok(Onward::Exit(BOB)));
    let unknown = Change::default().subject(2, 1, [0; 3], &[2], &["10.9.0.2/32"]).by_id(21, 9);
    assert_eq!(apply(&mut filter, unknown), Err(Void), "an exit that is nobody");
}
