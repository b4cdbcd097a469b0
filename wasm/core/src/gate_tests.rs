//! What strangers, replays and floods of initiations meet. The pair of `tests.rs`, with an initiator that is free to
//! forge in a's name.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::arena::RECEIVE_SLOTS;
use crate::counters::DropReason;
use crate::device::PeerSettings;
use crate::host;
use crate::packet::address::Endpoint;
use crate::test_initiator::{Initiator, mac1, stamp};
use crate::tests::{Node, Options, PEER, Pair, is_keepalive, packet, place, types};
use crate::waiting::Load;

const SECOND: u64 = 1_000_000_000;

fn public(private: u8) -> [u8; 32] {
    *PublicKey::from(&StaticSecret::from([private; 32])).as_bytes()
}

/// Whoever has a's private key, or another one, speaking to b.
fn initiator(private: u8) -> Initiator {
    Initiator::new([private; 32], public(2))
}

fn settings_of_a() -> PeerSettings {
    PeerSettings {
        public_key: public(1),
        preshared_key: Some(Zeroizing::new([7; 32])),
        endpoint: place(1, 51820),
        persistent_seconds: 0,
    }
}

#[test]
fn a_peer_is_answered_and_nobody_else() {
    let mut pair = Pair::new(Options::default());
    let genuine = initiator(1).initiation(stamp(SECOND));
    assert!(pair.b.receive(&initiator(3).initiation(stamp(SECOND)), place(66, 6)).is_empty());
    assert_eq!(pair.b.drops(DropReason::UnknownPeer), 1);

    let mut wrong_mac1 = genuine.clone();
    wrong_mac1[116] ^= 1;
    assert!(pair.b.receive(&wrong_mac1, place(66, 6)).is_empty());
    assert_eq!(pair.b.drops(DropReason::BadMac1), 1);

    // A static key or timestamp that does not open, under a mac1 made by someone who knows whom it speaks to.
    for byte in [45, 90] {
        let mut garbled = genuine.clone();
        garbled[byte] ^= 1;
        let mac = mac1(&public(2), &garbled[..116]);
        garbled[116..132].copy_from_slice(&mac);
        assert!(pair.b.receive(&garbled, place(66, 6)).is_empty());
    }
    assert_eq!(pair.b.drops(DropReason::BadHandshake), 2);

    // The sender chose the ephemeral so that both ends share zeros, whoever it is.
    let low_order = initiator(1).initiation_with([0; 32], [0; 32], stamp(SECOND));
    assert!(pair.b.receive(&low_order, place(66, 6)).is_empty());
    assert_eq!(pair.b.drops(DropReason::LowOrderKey), 1);
    assert_eq!(pair.b.device.status(PEER).unwrap().endpoint, place(1, 51820), "none of them moved anything");
    assert_eq!(types(&pair.b.receive(&genuine, pair.a.place)), [2]);
}

#[test]
fn an_initiation_is_answered_once_even_after_its_peer_was_removed_and_added() {
    let mut pair = Pair::new(Options::default());
    let mut initiator = initiator(1);
    let older = initiator.initiation(stamp(9 * SECOND));
    let answered = initiator.initiation(stamp(10 * SECOND));
    assert_eq!(types(&pair.b.receive(&answered, pair.a.place)), [2]);
    // The preshared key is no part of an initiation: only memory tells an old one after it was changed.
    for (replays, message) in [(1, &answered), (2, &older)] {
        pair.b.device.remove_peer(PEER).unwrap();
        pair.b.device.add_peer(settings_of_a()).unwrap();
        pair.jump(60_000);
        assert!(pair.b.receive(message, pair.a.place).is_empty());
        assert_eq!(pair.b.drops(DropReason::ReplayedInitiation), replays);
    }
    let newer = initiator.initiation(stamp(10 * SECOND + 1));
    assert_eq!(types(&pair.b.receive(&newer, pair.a.place)), [2]);
}

#[test]
fn at_most_fifty_initiations_of_a_peer_are_answered_each_second() {
    let mut pair = Pair::new(Options::default());
    let mut initiator = initiator(1);
    let mut answered = 0;
    for n in 0..400 {
        pair.jump(5);
        answered += pair.b.receive(&initiator.initiation(stamp(SECOND + n)), pair.a.place).len();
    }
    assert_eq!(answered, 100, "in two seconds");
    assert_eq!(pair.b.drops(DropReason::HandshakeRate), 300);
}

/// Messages with a right mac1 and nothing else right, from `source` for each number; returns what is answered at once.
fn flood(node: &mut Node, kind: u8, count: u32, source: impl Fn(u32) -> Endpoint) -> Vec<Vec<u8>> {
    let mut message = vec![0; if kind == 1 { 148 } else { 92 }];
    message[0] = kind;
    let covered = message.len() - 32;
    let own = *node.device.shared.identity.as_ref().unwrap().public();
    let mut replies = Vec::new();
    for n in 0..count {
        message[12..16].copy_from_slice(&n.to_le_bytes());
        let mac = mac1(&own, &message[..covered]);
        message[covered..covered + 16].copy_from_slice(&mac);
        replies.extend(node.arrive(&message, source(n)));
    }
    replies
}

fn load(node: &Node) -> Load {
    node.device.gate.waiting.load(host::now())
}

#[test]
fn one_source_cannot_bring_others_to_need_a_cookie() {
    let mut pair = Pair::new(Options::default());
    let replies = flood(&mut pair.b, 1, 5_000, |_| place(66, 6));
    assert_eq!(load(&pair.b), Load::BusySources);
    assert!(types(&replies).iter().all(|kind| *kind == 3), "the flood is asked for a cookie");
    assert_eq!(pair.b.drops(DropReason::HandshakeCookie), replies.len() as u64);
    assert_eq!(replies.len(), 5_000 - 512 - 5, "what fills the queue to its mark, then the bucket");
    // Another peer's handshake waits like any other, and succeeds.
    assert!(pair.b.arrive(&initiator(1).initiation(stamp(SECOND)), pair.a.place).is_empty());
    let answers = pair.b.handshakes();
    assert_eq!(types(&answers), [2]);
}

#[test]
fn under_load_a_peer_that_honours_its_cookie_gets_in_and_the_live_session_goes_on() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    pair.jump(130_000); // the next packet begins a new handshake beside the old session
    let hostile = |n: u32| Endpoint {
        remote: [10, (n >> 8) as u8, n as u8, 1].repeat(4).try_into().unwrap(),
        ..place(0, 7)
    };
    let from_a = pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 64));
    flood(&mut pair.b, 1, 20_000, hostile);
    assert_eq!(load(&pair.b), Load::Everyone);
    assert!(pair.b.device.gate.waiting.count() <= 1_024, "what waits is bounded");

    let mut answers = Vec::new();
    for message in &from_a {
        answers.extend(pair.b.arrive(message, pair.a.place));
    }
    assert_eq!(pair.b.delivered.len(), 2, "data is not held up");
    answers.retain(|message| !is_keepalive(message));
    assert_eq!(types(&answers), [3], "the handshake needs a cookie");
    let endpoint = pair.a.device.status(PEER).unwrap().endpoint;
    assert!(pair.a.receive(&answers[0], place(66, 6)).is_empty(), "a cookie reply starts nothing");
    assert_eq!(pair.a.device.status(PEER).unwrap().endpoint, endpoint, "and moves nothing");

    pair.jump(5_500);
    flood(&mut pair.b, 1, 20_000, hostile);
    let retry = pair.a.tick();
    assert_eq!(types(&retry), [1]);
    assert_ne!(retry[0][132..], [0; 16], "the retry carries mac2");
    assert!(pair.b.arrive(&retry[0], place(1, 51_821)).first().is_some_and(|m| m[0] == 3), "other port");
    assert!(pair.b.arrive(&retry[0], pair.a.place).is_empty());
    let answers = pair.b.handshakes();
    assert_eq!(types(&answers), [2], "let in");
    pair.carry(vec![], answers);
    pair.a_sends(64);
    pair.jump(1_000);
    assert_eq!(load(&pair.b), Load::Nobody, "a second after the flood");
}

#[test]
fn one_cookie_reply_is_taken_for_each_mac1_and_used_for_two_minutes() {
    let mut pair = Pair::new(Options::default());
    let initiation = pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 64)).remove(0);
    flood(&mut pair.b, 1, 2_000, |n| place(n as u8, n as u16));
    let reply = pair.b.arrive(&initiation, pair.a.place).remove(0);
    assert_eq!(reply[0], 3);
    for bit in 64..reply.len() * 8 {
        let mut forged = reply.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(pair.a.receive(&forged, pair.b.place).is_empty());
    }
    assert_eq!(pair.a.drops(DropReason::BadCookieReply), 448, "none of them was taken for the one");
    pair.a.receive(&reply, pair.b.place);
    assert_eq!(pair.a.drops(DropReason::BadCookieReply), 448);
    pair.a.receive(&reply, pair.b.place);
    assert_eq!(pair.a.drops(DropReason::BadCookieReply), 449, "once");

    // Nobody answers: the retries within two minutes carry the cookie, what is sent after a rest does not.
    let retries = pair.pass(119_000, false);
    let initiations: Vec<&Vec<u8>> =
        retries.iter().map(|(_, message)| message).filter(|m| m[0] == 1).collect();
    assert!(initiations.len() > 10 && initiations.iter().all(|m| m[132..] != [0; 16]));
    pair.jump(1_000);
    let later = pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 64));
    assert_eq!(types(&later), [1]);
    assert_eq!(later[0][132..], [0; 16]);
}

#[test]
fn responses_pass_the_same_gate() {
    let mut pair = Pair::new(Options::default());
    let initiation = pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 64)).remove(0);
    // a is under load by the time b answers; what floods it speaks to a.
    let response = pair.b.receive(&initiation, pair.a.place).remove(0);
    flood(&mut pair.a, 2, 2_000, |n| place(n as u8, n as u16));
    assert_eq!(load(&pair.a), Load::Everyone);
    let reply = pair.a.arrive(&response, pair.b.place);
    assert_eq!(types(&reply), [3]);
    assert!(pair.b.receive(&reply[0], pair.a.place).is_empty());
    pair.a.handshakes();
    assert_eq!(pair.a.drops(DropReason::UnknownIndex), 1_024, "those that waited before");
    // Still under load when a tries again, b answers with its cookie.
    pair.jump(5_500);
    let retry = pair.a.tick();
    flood(&mut pair.a, 2, 2_000, |n| place(n as u8, n as u16));
    let response = pair.b.receive(&retry[0], pair.a.place).remove(0);
    assert!(pair.a.arrive(&response, pair.b.place).is_empty());
    assert_eq!(types(&pair.a.handshakes()), [4]);
}

#[test]
fn a_full_batch_counts_as_data_for_some_may_wait_behind_it() {
    let mut pair = Pair::new(Options::default());
    let message = initiator(3).initiation(stamp(SECOND));
    for (count, works) in [(RECEIVE_SLOTS - 1, true), (RECEIVE_SLOTS, false)] {
        for slot in 0..count {
            pair.b.intake.receive.fill(slot, &message, place(66, 6));
        }
        pair.b.device.gate.waiting.worked(i64::MAX / 2, 0); // their share of the time is used up
        pair.b.device.inbound(&pair.b.intake, count);
        pair.b.device.handshakes();
        assert_eq!(pair.b.device.gate.waiting.count() == 0, works, "{count} datagrams at once");
    }
}
