//! Rates, quotas and counts: first the meters alone, with packets that are only lengths; then through the filter, and through
//! a whole device.

use super::bucket::Rate;
use super::meters::{ALL_WRITTEN, Limits, Meters, Quota, ROW_BYTES};
use super::packet::TCP;
use super::packet_queue::{CELL_BYTES, CELLS};
use super::rules::Action;
use super::tests::{ALICE, BOB, Change, NOW, apply, base, filter, tcp_data_of_alice, udp};
use super::*;
use crate::test_random::Random;
use crate::tests::{Options, PEER, Pair};

fn rate(bytes_per_second: u64) -> Option<Rate> {
    Rate::new(bytes_per_second)
}

fn downloads(bytes_per_second: u64) -> Limits {
    Limits { down: rate(bytes_per_second), ..Limits::default() }
}

fn meters(peers: u32) -> Meters {
    let mut meters = Meters::new();
    (0..peers).for_each(|peer| meters.add_peer(peer));
    meters
}

/// A packet that says which it is.
fn numbered(number: u32, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    packet[..4].copy_from_slice(&number.to_le_bytes());
    packet
}

/// Takes out what may leave until `until`, waking up when it is told to: when, of whom, which.
fn release(meters: &mut Meters, from: Millis, until: Millis) -> Vec<(Millis, u32, u32, usize)> {
    let mut left = Vec::new();
    let mut now = from;
    while now <= until {
        while let Some(due) = meters.pop_due(now) {
            let number = u32::from_le_bytes(*meters.room().first_chunk().unwrap());
            left.push((now, due.peer, number, due.length));
        }
        match meters.next_due() {
            Some(at) => now = at.max(now + 1),
            None => break,
        }
    }
    left
}

#[test]
fn packets_leave_in_their_order_at_the_rate() {
    let (mut meters, mut random) = (meters(1), Random(5));
    meters.limit(0, downloads(1_000_000), 0);
    let (mut number, mut expected, mut bytes) = (0, 0, 0);
    // Packets come faster than they may leave: what is dropped leaves no gap in the order of the others.
    for now in (NOW..NOW + 20_000).step_by(5) {
        let mut left: Vec<_> =
            release(&mut meters, now, now).iter().map(|&(_, _, n, length)| (n, length)).collect();
        for _ in 0..8 {
            let length = 60 + random.below(1_400);
            if meters.turn(Leg::Out, 0, &numbered(number, length), 1, now) == Turn::Now {
                left.push((number, length));
            }
            number += 1;
        }
        for (number, length) in left {
            assert!(number >= expected, "{number} after {expected}");
            expected = number + 1;
            bytes += length;
        }
    }
    let share = bytes as f64 / 20_000_000.0;
    assert!((0.98..1.02).contains(&share), "{share}");
}

#[test]
fn each_peer_has_its_own_rate_and_one_without_never_waits() {
    let mut meters = meters(4);
    for (peer, bytes) in [(0, 100_000), (1, 100_000), (2, 1_000_000)] {
        meters.limit(peer, downloads(bytes), 0);
    }
    let mut left = [0_usize; 4];
    for now in NOW..NOW + 10_000 {
        for (_, peer, _, length) in release(&mut meters, now, now) {
            left[peer as usize] += length;
        }
        // The first floods: twenty times what the second sends.
        for (peer, packets) in [(0, 20), (1, 1), (2, 2), (3, 20)] {
            for _ in 0..packets {
                if meters.turn(Leg::Out, peer, &numbered(0, 1_000), 1, now) == Turn::Now {
                    left[peer as usize] += 1_000;
                }
            }
        }
    }
    let shares = [(0, 1e6), (1, 1e6), (2, 1e7)].map(|(peer, whole): (usize, f64)| left[peer] as f64 / whole);
    assert!(shares.iter().all(|share| (0.97..1.03).contains(share)), "{shares:?}");
    assert_eq!(left[3], 200_000_000);
}

#[test]
fn directions_are_limited_apart() {
    let mut meters = meters(1);
    meters.limit(0, Limits { up: rate(1_500), ..Limits::default() }, 0);
    let mut send = |leg| (0..100).filter(|_| meters.turn(leg, 0, &[1; 1_400], 1, NOW) == Turn::Now).count();
    assert_eq!((send(Leg::In), send(Leg::Out)), (3, 100));
}

#[test]
fn what_waits_is_bounded_for_one_peer_and_for_all() {
    let mut meters = meters(2_000);
    for peer in 0..2_000 {
        meters.limit(peer, downloads(100_000_000), 0);
        let waiting = (0..10_000).filter(|_| meters.turn(Leg::Out, peer, &[1; 1_420], 1, NOW) == Turn::Waits);
        let bytes = waiting.count() * 1_420;
        assert!(bytes <= 2 << 20, "{bytes} of one peer");
    }
    let mut all = 0;
    while let Some(due) = meters.pop_due(Millis::MAX / 4096) {
        all += due.length;
    }
    assert!(all > 0 && all <= CELLS * CELL_BYTES, "{all} of all peers");
}

#[test]
fn a_changed_rate_holds_for_what_waits_and_none_lets_all_go() {
    let mut meters = meters(1);
    meters.limit(0, downloads(1_500), 0);
    let send = |meters: &mut Meters, n: u32| meters.turn(Leg::Out, 0, &numbered(n, 1_000), 1, NOW);
    for n in 0..30 {
        send(&mut meters, n);
    }
    assert!(release(&mut meters, NOW, NOW + 900).len() <= 2);
    meters.limit(0, downloads(1_000_000), 0);
    let before = release(&mut meters, NOW + 900, NOW + 904).len();
    assert!((20..27).contains(&before), "a burst and a little, not {before}");
    meters.limit(0, Limits::default(), 0);
    assert_eq!(send(&mut meters, 30), Turn::Waits, "behind those before it");
    let rest = release(&mut meters, NOW + 905, NOW + 905);
    assert_eq!(rest.last().map(|&(_, _, number, _)| number), Some(30));
    assert!(rest.is_sorted_by_key(|&(_, _, number, _)| number));
    assert_eq!(meters.turn(Leg::Out, 0, &[1; 1_000], 1, NOW + 905), Turn::Now);
    meters.limit(0, Limits::default(), 0);
    assert!(!meters.is_limited(0));
}

#[test]
fn a_peer_that_goes_leaves_nothing_to_the_next_with_its_id() {
    let mut meters = meters(1);
    meters.limit(0, downloads(1_500), 0);
    for n in 0..10 {
        meters.turn(Leg::Out, 0, &numbered(n, 1_000), 1, NOW);
    }
    assert_eq!(meters.remove_peer(0), 7);
    meters.add_peer(0);
    meters.limit(0, downloads(1_500), 0);
    for n in 10..20 {
        meters.turn(Leg::Out, 0, &numbered(n, 1_000), 1, NOW);
    }
    let left = release(&mut meters, NOW, NOW + 60_000);
    assert!(left.iter().map(|&(_, _, number, _)| number).eq(13..20), "{left:?}");
    assert_eq!(meters.next_due(), None);
}

#[test]
fn past_its_quota_a_peer_is_slow_or_silent() {
    let mut meters = meters(2);
    let quota = |over| Limits { quota: Some(Quota { rule: 9, over }), ..Limits::default() };
    meters.limit(0, quota(None), 10_000);
    meters.limit(1, quota(rate(1_500)), 10_000);
    for (peer, leg) in [(0, Leg::In), (1, Leg::In), (0, Leg::Out), (1, Leg::Out)] {
        assert_eq!(meters.used_up(peer), None);
        for _ in 0..5 {
            assert_eq!(meters.turn(leg, peer, &[1; 1_000], 1, NOW), Turn::Now);
            meters.count(Passed::new(peer, leg, 0, true), 1, 1_000);
        }
    }
    assert_eq!((meters.used_up(0), meters.used_up(1)), (Some(9), None));
    let passing = (0..50).filter(|_| meters.turn(Leg::In, 1, &[1; 1_000], 1, NOW) == Turn::Now).count();
    assert_eq!(passing, 3, "a burst, and the rest waits");
    // The next period: as much again.
    meters.limit(0, quota(None), 20_000);
    meters.limit(1, quota(rate(1_500)), 20_000);
    assert_eq!(meters.used_up(0), None);
    assert_eq!(release(&mut meters, NOW + 1, NOW + 1).len(), 32_768 / 1_000);
}

fn word(row: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(*row[index * 8..].first_chunk().unwrap())
}

/// Words of the rows that changed.
fn rows(filter: &mut Filter, of_services: bool) -> Vec<[u64; 7]> {
    let mut bytes = [0; 16 * ROW_BYTES];
    let (count, next) = filter.write_meters(of_services, 0, &mut bytes);
    assert_eq!(next, ALL_WRITTEN);
    bytes.chunks(ROW_BYTES).take(count).map(|row| std::array::from_fn(|at| word(row, at))).collect()
}

impl Change {
    /// Of the peer before it.
    fn limits(self, rule: u32, [up, down, over]: [u64; 3]) -> Self {
        self.record(18, |r| {
            r[1] = u8::from(rule != 0);
            r[8..12].copy_from_slice(&rule.to_le_bytes());
            for (at, value) in [(16, up), (24, down), (32, over)] {
                r[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
        })
    }

    fn allowance(self, peer: u32, bytes: u64) -> Self {
        self.by_id(19, peer).edit(|r| r[8..16].copy_from_slice(&bytes.to_le_bytes()))
    }
}

const SERVICE: u32 = 77;

/// The same policy, whose tcp/443 at 10.9.0.1 is a service, with limits for alice.
fn limited(rule: u32, rates: [u64; 3], allowance: u64) -> Change {
    base()
        .by_id(2, 9)
        .allow(SERVICE, "10.9.0.1/32", TCP, 443)
        .by_id(20, 9)
        .edit(|r| r[1] = 1)
        .peer(0, 2, [1; 32])
        .limits(rule, rates)
        .allowance(0, allowance)
}

#[test]
fn peers_and_services_are_counted_both_ways() {
    let mut filter = filter();
    apply(&mut filter, limited(0, [0; 3], 0)).unwrap();
    let mut pass = |leg, packet: &[u8], packets| {
        let passed = filter.pass(leg, ALICE, packet, NOW).unwrap();
        filter.count(passed, packets, packet.len());
    };
    let [syn, answer, request] = tcp_data_of_alice();
    pass(Leg::In, &syn, 1);
    pass(Leg::Out, &answer, 1);
    pass(Leg::In, &request, 1);
    let question = udp("10.9.0.2", 5_000, "10.9.0.1", 53);
    pass(Leg::In, &question, 1);
    let up = (syn.len() + request.len()) as u64;
    let down = answer.len() as u64;
    let all_up = up + question.len() as u64;
    assert_eq!(rows(&mut filter, false), [[u64::from(ALICE), all_up, 3, 2, down, 1, 0]]);
    assert_eq!(rows(&mut filter, true), [[u64::from(SERVICE), up, 2, 1, down, 1, 0]]);
    assert!(rows(&mut filter, false).is_empty() && rows(&mut filter, true).is_empty(), "as they were");
    // Another policy: the counts go on.
    apply(&mut filter, base()).unwrap();
    let passed = filter.pass(Leg::Out, ALICE, &udp("10.9.0.1", 1, "10.9.0.2", 2), NOW).unwrap();
    filter.count(passed, 1, 28);
    assert_eq!(rows(&mut filter, false), [[u64::from(ALICE), all_up, 3, 2, down + 28, 2, 1]]);
}

#[test]
fn a_quota_that_is_used_up_denies_and_is_named_until_there_is_more() {
    let mut filter = filter();
    let question = udp("10.9.0.2", 5_000, "10.9.0.1", 53);
    let allowance = 10 * question.len() as u64;
    apply(&mut filter, limited(88, [0; 3], allowance)).unwrap();
    let send = |filter: &mut Filter| {
        filter.pass(Leg::In, ALICE, &question, NOW).map(|passed| filter.count(passed, 1, question.len()))
    };
    assert_eq!((0..20).filter(|_| send(&mut filter).is_ok()).count(), 10);
    assert_eq!(send(&mut filter), Err(DropReason::OverQuota));
    assert_eq!(filter.pass(Leg::Out, ALICE, &question, NOW).err(), Some(DropReason::OverQuota));
    let mut denied = [0; 64];
    assert_eq!(filter.write_drops(0, &mut denied).0, 1);
    assert_eq!(
        (word(&denied, 0), u32::from_le_bytes(*denied[20..].first_chunk().unwrap()), denied[24]),
        (12, 88, 6)
    );
    apply(&mut filter, Change::default().allowance(0, 2 * allowance)).unwrap();
    assert_eq!((0..20).filter(|_| send(&mut filter).is_ok()).count(), 10);
    apply(&mut filter, base()).unwrap();
    assert!(send(&mut filter).is_ok(), "without a quota");
    // A quota whose allowance nobody has told is used up.
    let silent = base().peer(0, 2, [1; 32]).limits(88, [0; 3]);
    apply(&mut filter, silent).unwrap();
    assert_eq!(send(&mut filter), Err(DropReason::OverQuota));
}

#[test]
fn what_waits_is_judged_by_the_policy_of_when_it_leaves() {
    let mut filter = filter();
    apply(&mut filter, limited(0, [1_500, 0, 0], 0)).unwrap();
    let mut wait = |port| {
        let mut packet = udp("10.9.0.2", 5_000, "10.9.0.1", port);
        packet.resize(packet.len() + 1_000, 0);
        let length = (packet.len() as u16).to_be_bytes();
        packet[2..4].copy_from_slice(&length);
        filter.pass(Leg::In, ALICE, &packet, NOW).unwrap();
        filter.turn(Leg::In, ALICE, &packet, NOW)
    };
    let turns: Vec<_> = (0..8).map(|_| wait(53)).collect();
    assert_eq!(turns.iter().filter(|&&turn| turn == Turn::Waits).count(), 5);
    let later = NOW + 900;
    assert!(filter.pop_due(later).unwrap().is_ok());
    apply(&mut filter, limited(0, [1_500, 0, 0], 0)).unwrap();
    assert!(filter.pop_due(later + 800).unwrap().is_ok(), "still allowed");
    let revoked = Change::default().by_id(2, 2).allow(10, "10.9.0.1/32", TCP, 443);
    apply(&mut filter, revoked).unwrap();
    assert_eq!(filter.pop_due(later + 2_000).map(|due| due.err()), Some(Some(DropReason::FilterDenied)));
}

#[test]
fn limits_that_cannot_be_make_a_change_void() {
    let cases: [(&str, Change); 6] = [
        ("limits of nobody", Change::default().limits(0, [1; 3])),
        ("a quota without its row", base().peer(0, 2, [1; 32]).limits(0, [0; 3]).edit(|r| r[1] = 1)),
        ("a row without its quota", base().peer(0, 2, [1; 32]).limits(88, [0; 3]).edit(|r| r[1] = 0)),
        ("a rate beyond counting", base().peer(0, 2, [1; 32]).limits(0, [u64::MAX, 0, 0])),
        ("an allowance of nobody", base().allowance(7, 1)),
        ("services that are not there", base().by_id(20, 77).edit(|r| r[1] = 1)),
    ];
    for (name, change) in cases {
        assert_eq!(apply(&mut filter(), change), Err(Void), "{name}");
    }
}

#[test]
fn a_stranger_is_limited_as_soon_as_the_policy_knows_it() {
    let mut filter = filter();
    apply(&mut filter, limited(0, [1_500, 1_500, 0], 0)).unwrap();
    assert!(filter.is_limited(ALICE) && !filter.is_limited(BOB));
    filter.remove_peer(ALICE);
    filter.add_peer(ALICE, [1; 32]);
    assert!(filter.is_limited(ALICE), "a peer that came back");
    filter.disable();
    assert!(!filter.is_limited(ALICE));
}

/// The left device of a pair lets everything pass, at these rates.
fn limit_pair(pair: &mut Pair, key: [u8; 32], rates: [u64; 3]) {
    let change = Change::default()
        .record(1, |r| r[2] = 1)
        .by_id(2, 1)
        .rule(1, Action::Allow, 3, "any", None, None)
        .subject(0, 0, [0; 3], &[1], &[])
        .subject(1, 0, [0; 3], &[1], &[])
        .peer(0, 1, key)
        .limits(0, rates);
    let device = &mut pair.a.device;
    device.filter.enable(false, pair.now);
    device.filter.begin();
    device.filter.stage(change.bytes()).unwrap();
    device.commit_policy().unwrap();
}

/// A superpacket of `segments` datagrams of a thousand bytes each, the last byte of each its number; and its vnet header.
fn superpacket(from: &str, to: &str, segments: u8) -> ([u8; 10], Vec<u8>) {
    let mut packet = udp(from, 5_000, to, 53);
    packet.truncate(28);
    for segment in 0..segments {
        packet.extend([0; 999]);
        packet.push(segment);
    }
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[24..26].copy_from_slice(&(length - 20).to_be_bytes());
    ([1, 5, 28, 0, 0xe8, 0x03, 20, 0, 6, 0], packet)
}

fn numbers(packets: &[Vec<u8>]) -> Vec<u8> {
    packets.iter().map(|packet| packet[packet.len() - 1]).collect()
}

#[test]
fn a_superpacket_leaves_by_segments_in_their_order_as_tokens_come() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(100);
    let key = *pair.a.device.by_key.keys().next().unwrap();
    limit_pair(&mut pair, key, [0, 100_000, 0]);
    pair.b.delivered.clear();
    let (header, packet) = superpacket("10.9.0.1", "10.9.0.2", 10);
    pair.a.intake.read.fill_with_header(0, &header, &packet);
    pair.a.device.outbound(&mut pair.a.intake, 1);
    let first = pair.a.drain();
    pair.carry(first, vec![]);
    assert_eq!(numbers(&pair.b.delivered), [0, 1, 2], "a burst");
    let began = pair.now;
    while let Some(at) = pair.a.device.release_at() {
        assert!(at > pair.now, "it is not asked in vain");
        pair.jump(at - pair.now);
        pair.a.device.release();
        let more = pair.a.drain();
        assert!(!more.is_empty());
        pair.carry(more, vec![]);
    }
    assert_eq!(numbers(&pair.b.delivered), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let took = pair.now - began;
    assert!((62..=82).contains(&took), "seven packets of 1,028 bytes took {took} ms");
    assert_eq!(rows(&mut pair.a.device.filter, false), [[u64::from(PEER), 0, 0, 0, 10_280, 10, 1]]);
}

#[test]
fn what_a_peer_sends_too_fast_reaches_the_tun_device_later_and_in_order() {
    let mut pair = Pair::new(Options::default());
    pair.b_sends(100);
    let key = *pair.a.device.by_key.keys().next().unwrap();
    limit_pair(&mut pair, key, [100_000, 0, 0]);
    pair.a.delivered.clear();
    let (header, packet) = superpacket("10.9.0.2", "10.9.0.1", 10);
    pair.b.intake.read.fill_with_header(0, &header, &packet);
    pair.b.device.outbound(&mut pair.b.intake, 1);
    let messages = pair.b.drain();
    pair.carry(vec![], messages);
    assert_eq!(numbers(&pair.a.delivered), [0, 1, 2]);
    while let Some(at) = pair.a.device.release_at() {
        pair.jump(at - pair.now);
        assert_eq!(pair.a.device.release(), 0);
        let frames = pair.a.device.write.frames();
        assert_eq!(frames.len(), pair.a.device.answers);
        pair.a.delivered.extend(frames);
    }
    assert_eq!(numbers(&pair.a.delivered), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(pair.a.device.remove_peer(PEER), Ok(()));
}
