//! What strangers, replays and floods of initiations meet. The pair of `tests.rs`, with an initiator that is free to
//! forge in a's name.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::counters::DropReason;
use crate::device::PeerSettings;
use crate::test_initiator::{Initiator, mac1, stamp};
use crate::tests::{Options, PEER, Pair, place, types};

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
