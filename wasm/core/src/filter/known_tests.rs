//! The short way beside the long one: what one does, the other does too.

use super::bucket::Rate;
use super::flow_table::{Flow, FlowKey};
use super::keys::is_error;
use super::known::read;
use super::meters::Limits;
use super::tests::*;
use super::*;
use crate::test_random::Random;

/// A packet by the long way only.
fn pass_long(
    filter: &mut Filter,
    leg: Leg,
    peer: u32,
    packet: &[u8],
    now: Millis,
) -> Result<Passed, DropReason> {
    filter.pass_by(leg, peer, false, packet, now).map(|(_, passed)| passed)
}

/// The flow that a packet is of.
fn flow_of(filter: &Filter, leg: Leg, peer: u32, packet: &[u8], now: Millis) -> Option<Flow> {
    let packet = Packet::parse(packet).ok()?;
    let key = key_of(leg, &packet, filter.flows.tunnel(peer));
    let place = filter.flows.find(&key, ticks(now))?;
    filter.flows.get(place).copied()
}

/// A segment of one of few connections, mostly one that goes on with it.
fn segment(random: &mut Random) -> Tcp {
    let flags = match random.below(60) {
        0 => SYN,
        1 => SYN_ACK,
        2 => RST,
        3 => FIN_ACK,
        4..10 => ACK | 0x08,
        _ => ACK,
    };
    let number = |random: &mut Random| match random.below(8) {
        0 => 0,
        1 => random.next() as u32,
        2 => 1_000,
        n => 1_001 + 100 * n as u32,
    };
    Tcp { flags, sequence: number(random), acknowledgement: number(random), payload: random.below(3) * 100 }
}

/// Of few flows, all of which one of the policies allows.
fn packet(random: &mut Random) -> (Leg, u32, Vec<u8>) {
    let port = 40_000 + random.below(3) as u16;
    let is_in = random.below(2) == 0;
    let (alice, own) = if random.below(4) == 0 { ("fd09::2", "fd09::1") } else { ("10.9.0.2", "10.9.0.1") };
    let service = [443, 53, 5_000][random.below(3)];
    let (from, to) = if is_in { ((alice, port), (own, service)) } else { ((own, service), (alice, port)) };
    let mut bytes = match random.below(4) {
        0 => udp(from.0, from.1, to.0, to.1),
        _ => tcp(from, to, segment(random)),
    };
    if random.below(20) == 0 {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    if random.below(20) == 0 {
        bytes.truncate(random.below(bytes.len()) + 1);
    }
    let peer = if random.below(10) == 0 { BOB } else { ALICE };
    (if is_in { Leg::In } else { Leg::Out }, peer, bytes)
}

#[test]
fn the_short_way_reads_what_the_long_one_reads() {
    let mut random = Random(5);
    let mut count = 0;
    for _ in 0..100_000 {
        let (leg, _, bytes) = packet(&mut random);
        let Some((key, protocol, transport)) = read(leg, &bytes, 7) else { continue };
        let long = Packet::parse(&bytes).unwrap();
        assert_eq!(
            (key, protocol.number(), transport),
            (key_of(leg, &long, 7), long.protocol, long.transport)
        );
        assert_eq!((long.fragment, is_error(&long)), (None, false));
        count += 1;
    }
    assert!(count > 80_000, "{count}");
}

#[test]
fn packets_pass_alike_both_ways_and_leave_the_same_flows() {
    let mut random = Random(6);
    let (mut short, mut long) = (filter(), filter());
    let (mut now, mut of_tcp, mut of_udp) = (NOW, 0, 0);
    for _ in 0..200_000 {
        match random.below(2_000) {
            0..3 => now += random.below(200_000) as Millis,
            change @ 3..6 => [&mut short, &mut long].into_iter().for_each(|filter| {
                apply(filter, if change == 5 { base() } else { without(change as u32 + 7) }).unwrap();
            }),
            6..60 => [&mut short, &mut long].into_iter().for_each(|filter| {
                let [syn, answer, data] = tcp_data_of_alice();
                let _ = filter.pass(Leg::In, ALICE, &syn, now);
                let _ = filter.pass(Leg::Out, ALICE, &answer, now);
                let _ = filter.pass(Leg::In, ALICE, &data, now);
            }),
            60 => [&mut short, &mut long].into_iter().for_each(|filter| filter.sweep(now)),
            _ => now += random.below(20) as Millis,
        }
        let (leg, peer, bytes) = packet(&mut random);
        let known = short.pass_known(leg, peer, &bytes, now);
        if known.is_some() {
            *(if bytes.len() == 32 || bytes.len() == 52 { &mut of_udp } else { &mut of_tcp }) += 1;
        }
        let passed = known.map_or_else(|| pass_long(&mut short, leg, peer, &bytes, now), Ok);
        assert_eq!(passed, pass_long(&mut long, leg, peer, &bytes, now), "{bytes:02x?} on {leg:?} of {peer}");
        assert_eq!(flow_of(&short, leg, peer, &bytes, now), flow_of(&long, leg, peer, &bytes, now));
    }
    // Which of those that have run out were swept up depends on where they lie, unless all are.
    (0..64).for_each(|_| [&mut short, &mut long].into_iter().for_each(|filter| filter.sweep(now)));
    assert_eq!(short.status().flows, long.status().flows);
    assert!(of_tcp > 5_000 && of_udp > 10_000, "only {of_tcp} + {of_udp} took the short way");
}

#[test]
fn a_train_ends_where_the_policy_changes_and_the_flow_beside_it_goes_on() {
    for direction in [Leg::In, Leg::Out] {
        let mut filter = filter();
        connect(&mut filter, NOW);
        let train = |n: u32| match direction {
            Leg::In => tcp(ALICE_END, HTTPS, data(1_001 + n * 100, 1_001, 100)),
            Leg::Out => tcp(HTTPS, ALICE_END, data(1_001 + n * 100, 1_001, 100)),
        };
        let (question, answer) = (udp("10.9.0.2", 9, "10.9.0.1", 53), udp("10.9.0.1", 53, "10.9.0.2", 9));
        filter.check(Leg::In, ALICE, &question, NOW).unwrap();
        for n in 0..10 {
            assert_eq!(filter.check(direction, ALICE, &train(n), NOW), Ok(()));
            assert_eq!(filter.check(Leg::Out, ALICE, &answer, NOW), Ok(()));
        }
        apply(&mut filter, without(10)).unwrap();
        for n in 10..20 {
            assert_eq!(filter.check(direction, ALICE, &train(n), NOW), DENIED, "segment {n}");
            assert_eq!(filter.check(Leg::Out, ALICE, &answer, NOW), Ok(()));
        }
        // The same bytes from another tunnel, or under another peer of this number, are nothing of it.
        assert!(filter.pass_known(Leg::In, ALICE, &question, NOW).is_some());
        assert_eq!(filter.pass_known(Leg::In, BOB, &question, NOW), None);
        filter.remove_peer(ALICE);
        filter.add_peer(ALICE, [3; 32]);
        assert_eq!(filter.pass_known(Leg::In, ALICE, &question, NOW), None);
        assert_eq!(filter.check(Leg::In, ALICE, &question, NOW), DENIED);
    }
}

#[test]
fn what_has_limits_a_follower_or_an_end_goes_the_long_way() {
    let mut filter = filter();
    let question = udp("10.9.0.2", 9, "10.9.0.1", 53);
    filter.check(Leg::In, ALICE, &question, NOW).unwrap();
    assert_eq!(filter.pass_known(Leg::In, ALICE, &question, NOW), None, "the first is not looked for again");
    filter.check(Leg::In, ALICE, &question, NOW).unwrap();
    assert!(filter.pass_known(Leg::In, ALICE, &question, NOW).is_some());
    filter.follow(BOB, true);
    assert_eq!(filter.pass_known(Leg::In, ALICE, &question, NOW), None);
    filter.follow(BOB, false);
    assert!(filter.pass_known(Leg::In, ALICE, &question, NOW).is_some());
    assert_eq!(filter.pass_known(Leg::In, ALICE, &question, NOW + 30_000), None, "it has run out");
    let limits = Limits { up: Rate::new(1_000_000), ..Limits::default() };
    filter.meters.limit(ALICE, limits, 0);
    assert_eq!(filter.pass_known(Leg::In, ALICE, &question, NOW), None);
    filter.meters.limit(ALICE, Limits::default(), 0);
    connect(&mut filter, NOW);
    let goodbye = tcp(ALICE_END, HTTPS, Tcp { flags: FIN_ACK, ..data(1_001, 1_001, 0) });
    assert_eq!(filter.pass_known(Leg::In, ALICE, &goodbye, NOW), None);
}

#[test]
fn a_place_that_was_freed_is_no_flow() {
    let mut table = FlowTable::new();
    table.make_room();
    table.add_peer(ALICE);
    let key = FlowKey { remote: 1 << 96, protocol: 17, tunnel: table.tunnel(ALICE), ..FlowKey::default() };
    let flow = Flow { key, expires: 100, ..Flow::default() };
    let place = table.insert(flow, ALICE, 0).unwrap();
    assert_eq!(table.recall(&key, 1), None, "nobody has looked for it yet");
    table.remember(&key, place);
    assert_eq!(table.recall(&key, 1).copied(), Some(flow));
    table.remove(place);
    assert_eq!(table.recall(&key, 1), None);
}
