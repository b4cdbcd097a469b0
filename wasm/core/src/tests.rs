//! Two whole devices joined by a simulated network and clock: what each puts on the wire is what the other takes
//! in, hours pass by setting the time. Every row of `docs/deviations.md` that names a test has it here.

use std::net::Ipv4Addr;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::allowed_ips::Prefix;
use crate::arena::Intake;
use crate::counters::DropReason;
use crate::device::{Device, PeerSettings, Refusal};
use crate::host;
use crate::offload::vnet::VNET_HEADER_BYTES;
use crate::packet::address::{Address, Endpoint};
use crate::test_random::Random;

pub const PEER: u32 = 0;
const MTU: usize = 1420;

pub struct Node {
    pub device: Device,
    pub intake: Intake,
    pub place: Endpoint,
    pub overlay: [u8; 4],
    /// Packets that reached the TUN device.
    pub delivered: Vec<Vec<u8>>,
}

pub struct Pair {
    pub a: Node,
    pub b: Node,
    pub now: u64,
}

pub fn place(last: u8, port: u16) -> Endpoint {
    let mut remote = [0; 16];
    remote[..4].copy_from_slice(&[192, 0, 2, last]);
    Endpoint { family: 4, port, remote, ..Endpoint::default() }
}

pub fn packet(from: [u8; 4], to: [u8; 4], length: usize) -> Vec<u8> {
    let mut packet = vec![0xab; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    packet[12..16].copy_from_slice(&from);
    packet[16..20].copy_from_slice(&to);
    packet
}

pub fn host_prefix(address: [u8; 4]) -> Prefix {
    Prefix::new(Address::v4(address), 32).unwrap()
}

#[derive(Clone, Copy, Default)]
pub struct Options {
    pub psk: [Option<[u8; 32]>; 2],
    pub persistent: [u16; 2],
}

impl Node {
    pub fn new(own: u8, other: u8, options: Options, who: usize) -> Node {
        let secret = |n: u8| StaticSecret::from([n; 32]);
        let mut device = Device::new();
        device.set_identity(&[own; 32]).unwrap();
        device.set_mtu(MTU);
        let id = device
            .add_peer(PeerSettings {
                public_key: *PublicKey::from(&secret(other)).as_bytes(),
                preshared_key: options.psk[who].map(Zeroizing::new),
                endpoint: place(other, 51820),
                persistent_seconds: options.persistent[who],
            })
            .unwrap();
        assert_eq!(id, PEER);
        device.allow(PEER, host_prefix([10, 9, 0, other])).unwrap();
        Node {
            device,
            intake: Intake::new(),
            place: place(own, 51820),
            overlay: [10, 9, 0, own],
            delivered: Vec::new(),
        }
    }

    /// Hands one frame to the device as the TUN would, and returns what leaves.
    pub fn send(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.intake.read.fill(0, frame);
        self.device.outbound(&mut self.intake, 1);
        self.drain()
    }

    /// Hands one datagram to the device; frames go to `delivered`, replies are returned.
    pub fn receive(&mut self, datagram: &[u8], from: Endpoint) -> Vec<Vec<u8>> {
        let mut replies = self.arrive(datagram, from);
        replies.extend(self.handshakes());
        replies
    }

    /// The same, without letting it work on the handshakes that wait.
    pub fn arrive(&mut self, datagram: &[u8], from: Endpoint) -> Vec<Vec<u8>> {
        self.intake.receive.fill(0, datagram, from);
        self.device.inbound(&self.intake, 1);
        let packets = self.device.write.frames().into_iter().map(|frame| frame[VNET_HEADER_BYTES..].to_vec());
        self.delivered.extend(packets);
        self.drain()
    }

    /// Lets the device work on the handshakes that wait.
    pub fn handshakes(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while self.device.gate.waiting.count() > 0 {
            self.device.handshakes();
            messages.extend(self.drain());
        }
        messages
    }

    pub fn tick(&mut self) -> Vec<Vec<u8>> {
        self.device.tick();
        self.drain()
    }

    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        self.device.shared.send.messages().into_iter().map(|(message, _)| message).collect()
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.device.shared.counters.of(reason)
    }
}

impl Pair {
    pub fn new(options: Options) -> Pair {
        let pair =
            Pair { a: Node::new(1, 2, options, 0), b: Node::new(2, 1, options, 1), now: host::now() + 1_000 };
        host::set_time(pair.now as f64);
        pair
    }

    /// Carries messages to and fro until both are silent. Returns everything the wire saw.
    pub fn carry(&mut self, mut from_a: Vec<Vec<u8>>, mut from_b: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut wire = Vec::new();
        while !from_a.is_empty() || !from_b.is_empty() {
            wire.extend(from_a.iter().chain(&from_b).cloned());
            let to_b = std::mem::take(&mut from_a);
            let to_a = std::mem::take(&mut from_b);
            from_b = to_b.iter().flat_map(|m| self.b.receive(m, self.a.place)).collect();
            from_a = to_a.iter().flat_map(|m| self.a.receive(m, self.b.place)).collect();
        }
        wire
    }

    pub fn a_sends(&mut self, length: usize) -> Vec<Vec<u8>> {
        let frame = packet(self.a.overlay, self.b.overlay, length);
        let messages = self.a.send(&frame);
        self.carry(messages, vec![])
    }

    pub fn b_sends(&mut self, length: usize) -> Vec<Vec<u8>> {
        let frame = packet(self.b.overlay, self.a.overlay, length);
        let messages = self.b.send(&frame);
        self.carry(vec![], messages)
    }

    /// Lets time pass in steps of a tick; returns what the wire saw, with the time of each message.
    pub fn pass(&mut self, ms: u64, connected: bool) -> Vec<(u64, Vec<u8>)> {
        let end = self.now + ms;
        let mut wire = Vec::new();
        while self.now < end {
            self.now = (self.now + 250).min(end);
            host::set_time(self.now as f64);
            let (from_a, from_b) = (self.a.tick(), self.b.tick());
            let seen = match connected {
                true => self.carry(from_a, from_b),
                false => from_a.into_iter().chain(from_b).collect(),
            };
            wire.extend(seen.into_iter().map(|message| (self.now, message)));
        }
        wire
    }

    pub fn jump(&mut self, ms: u64) {
        self.now += ms;
        host::set_time(self.now as f64);
    }
}

pub fn types(wire: &[Vec<u8>]) -> Vec<u8> {
    wire.iter().map(|message| message[0]).collect()
}

pub fn is_keepalive(message: &[u8]) -> bool {
    message[0] == 4 && message.len() == 32
}

#[test]
fn the_first_packet_brings_the_tunnel_up_and_arrives_once() {
    let mut pair = Pair::new(Options::default());
    let wire = pair.a_sends(100);
    assert_eq!(types(&wire), [1, 2, 4], "no needless keepalive beside the staged packet");
    assert_eq!(pair.b.delivered, [packet([10, 9, 0, 1], [10, 9, 0, 2], 100)]);
    pair.b_sends(1420);
    assert_eq!(pair.a.delivered.len(), 1);
}

#[test]
fn staged_packets_keep_their_order() {
    let mut pair = Pair::new(Options::default());
    let mut messages = Vec::new();
    for length in 40..60 {
        messages.extend(pair.a.send(&packet(pair.a.overlay, pair.b.overlay, length)));
    }
    assert_eq!(types(&messages), [1], "one initiation, however much waits");
    pair.carry(messages, vec![]);
    let lengths: Vec<usize> = pair.b.delivered.iter().map(Vec::len).collect();
    assert_eq!(lengths, (40..60).collect::<Vec<_>>());
}

#[test]
fn payloads_are_padded_to_16_up_to_the_mtu() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(40);
    for (length, want) in [(20, 32), (32, 32), (33, 48), (1411, 1420), (1420, 1420)] {
        let wire = pair.a_sends(length);
        assert_eq!(wire[0].len(), 32 + want, "{length} bytes");
        assert_eq!(pair.b.delivered.last().map(Vec::len), Some(length), "padding is cut off");
    }
}

#[test]
fn bytes_count_whole_messages_both_ways() {
    let mut pair = Pair::new(Options::default());
    let wire = [pair.a_sends(500), pair.b_sends(77)].concat();
    let bytes: u64 = wire.iter().map(|message| message.len() as u64).sum();
    let (a, b) = (pair.a.device.status(PEER).unwrap(), pair.b.device.status(PEER).unwrap());
    assert_eq!((a.tx_bytes, a.rx_bytes), (b.rx_bytes, b.tx_bytes));
    assert_eq!(a.tx_bytes + b.tx_bytes, bytes);
    assert!(a.last_handshake.is_some() && b.last_handshake.is_some());
}

#[test]
fn psk_must_agree() {
    let psk = |n: u8| Some([n; 32]);
    let mut same = Pair::new(Options { psk: [psk(7), psk(7)], ..Options::default() });
    same.a_sends(64);
    assert_eq!(same.b.delivered.len(), 1);
    for other in [psk(8), None] {
        let mut pair = Pair::new(Options { psk: [psk(7), other], ..Options::default() });
        let wire = pair.a_sends(64);
        assert_eq!(types(&wire), [1, 2], "the response does not open");
        assert_eq!(pair.a.drops(DropReason::BadHandshake), 1);
        assert!(pair.b.delivered.is_empty());
    }
}

#[test]
fn data_received_is_answered_by_one_keepalive_after_ten_seconds() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let start = pair.now;
    let wire = pair.pass(60_000, true);
    let keepalives: Vec<u64> = wire
        .iter()
        .map(|(at, message)| {
            assert!(is_keepalive(message), "nothing but keepalives while idle");
            at - start
        })
        .collect();
    assert!(matches!(keepalives[..], [at] if (10_000..10_600).contains(&at)), "{keepalives:?}");
}

#[test]
fn a_packet_after_idleness_starts_no_handshake() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    pair.b_sends(64);
    for idle in [14_000, 16_000, 60_000] {
        pair.pass(idle, true);
        let frame = packet(pair.a.overlay, pair.b.overlay, 64);
        let sent = pair.a.send(&frame);
        let mut wire = pair.a.tick(); // a tick between a packet and its answer
        wire.extend(pair.carry(sent, vec![]));
        wire.extend(pair.b_sends(64));
        assert!(wire.iter().all(|message| message[0] == 4), "{idle} ms: {:?}", types(&wire));
    }
}

#[test]
fn persistent_keepalive_holds_the_tunnel_through_hours_and_an_outage() {
    let mut pair = Pair::new(Options { persistent: [25, 0], ..Options::default() });
    let wire = pair.pass(600_000, true);
    assert_eq!(wire[0].1[0], 1, "a persistent keepalive starts at once");
    let handshakes = wire.iter().filter(|(_, message)| message[0] == 1).count();
    assert!((3..=6).contains(&handshakes), "{handshakes} handshakes in 10 minutes");
    pair.pass(600_000, false);
    let healed = pair.pass(36_000, true);
    assert!(
        healed.iter().any(|(_, message)| message[0] == 2),
        "back by itself within a keepalive interval and a retry"
    );
    pair.b_sends(64);
    assert_eq!(pair.a.delivered.len(), 1);
}

#[test]
fn traffic_rekeys_every_two_minutes_and_loses_nothing() {
    let mut pair = Pair::new(Options::default());
    let mut handshakes = 0;
    let mut sent = 0;
    for _ in 0..3_600 {
        let mut wire = pair.a_sends(100);
        wire.extend(pair.b_sends(100));
        sent += 1;
        wire.extend(pair.pass(500, true).into_iter().map(|(_, message)| message));
        handshakes += wire.iter().filter(|message| message[0] == 1).count();
    }
    assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (sent, sent));
    assert!((14..=16).contains(&handshakes), "{handshakes} handshakes in 30 minutes");
}

#[test]
fn a_rekey_keeps_the_source_address_and_a_repetition_forgets_it() {
    let ours = [192, 0, 2, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut pair = Pair::new(Options::default());
    pair.b.place.local = ours; // where a is asked at
    pair.a_sends(64);
    let frame = packet(pair.a.overlay, pair.b.overlay, 64);
    let mut sources = Vec::new();
    for _ in 0..600 {
        pair.jump(250);
        let from_a = pair.a.send(&frame); // timers run before the packet
        let messages = pair.a.device.shared.send.messages();
        sources.extend(messages.into_iter().filter(|(m, _)| m[0] == 1).map(|(_, endpoint)| endpoint.local));
        if sources.is_empty() {
            // The two talk until the rekey, so that it is age and not silence that starts it; then b is gone.
            pair.carry(from_a, vec![]);
            pair.b_sends(64);
        }
    }
    assert_eq!(sources.first(), Some(&ours), "the rekey");
    assert!(sources.len() > 2 && sources[1..].iter().all(|local| *local == [0; 16]), "its repetitions");
}

#[test]
fn an_unanswered_initiation_is_repeated_for_90_s_then_rests() {
    let mut pair = Pair::new(Options::default());
    let frame = packet(pair.a.overlay, pair.b.overlay, 64);
    assert_eq!(types(&pair.a.send(&frame)), [1]);
    let wire = pair.pass(300_000, false);
    let gaps: Vec<u64> = wire.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!((15..=19).contains(&wire.len()), "{} repetitions", wire.len());
    assert!(gaps.iter().all(|gap| (5_000..5_900).contains(gap)), "{gaps:?}");
    assert_eq!(pair.a.drops(DropReason::StagedExpired), 1);
    let later = pair.a_sends(64);
    assert_eq!(types(&later), [1, 2, 4], "the next packet connects");
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn a_key_older_than_180_s_passes_nothing_however_long_the_stop() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let frame = packet(pair.a.overlay, pair.b.overlay, 64);
    let sealed = pair.a.send(&frame);
    pair.jump(500_000);
    assert!(pair.b.receive(&sealed[0], pair.a.place).is_empty());
    assert_eq!(pair.b.drops(DropReason::UnknownIndex), 1);
    assert_eq!(types(&pair.a.send(&frame)), [1], "the sender does not use it either");
    assert_eq!(pair.b.delivered.len(), 1);
}

/// b answers ten initiations of a and none of the answers arrives.
fn lose_ten_responses(pair: &mut Pair) {
    let frame = packet(pair.a.overlay, pair.b.overlay, 64);
    let mut answered = 0;
    let mut from_a = pair.a.send(&frame);
    while answered < 10 {
        for initiation in from_a.iter().filter(|message| message[0] == 1) {
            assert_eq!(types(&pair.b.receive(initiation, pair.a.place)).last(), Some(&2));
            answered += 1;
        }
        pair.jump(250);
        from_a = pair.a.tick();
    }
}

#[test]
fn no_data_on_a_session_the_peer_has_not_confirmed() {
    let mut pair = Pair::new(Options::default());
    lose_ten_responses(&mut pair);
    for _ in 0..5 {
        let sent = pair.b.send(&packet(pair.b.overlay, pair.a.overlay, 64));
        assert!(sent.iter().all(|message| message[0] == 1), "{:?}", types(&sent));
    }
    pair.jump(6_000);
    let from_b = pair.b.tick();
    pair.carry(vec![], from_b);
    pair.b_sends(64);
    assert!(!pair.a.delivered.is_empty(), "and the tunnel comes back");
}

#[test]
fn a_good_session_goes_on_while_handshakes_fail() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let sent = pair.b.send(&packet(pair.b.overlay, pair.a.overlay, 64));
    pair.carry(vec![], sent);
    lose_ten_responses(&mut pair);
    let sent = pair.b.send(&packet(pair.b.overlay, pair.a.overlay, 64));
    assert_eq!(types(&sent), [4], "not on the ten that nobody confirmed");
    pair.a.receive(&sent[0], pair.b.place);
    assert_eq!(pair.a.delivered.len(), 2);
}

#[test]
fn both_start_at_once_a_thousand_times() {
    for round in 0..1_000 {
        let mut pair = Pair::new(Options::default());
        let from_a = pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 64));
        let from_b = pair.b.send(&packet(pair.b.overlay, pair.a.overlay, 65));
        pair.carry(from_a, from_b);
        pair.a_sends(66);
        pair.b_sends(67);
        assert_eq!((pair.a.delivered.len(), pair.b.delivered.len()), (2, 2), "round {round}");
    }
}

#[test]
fn the_endpoint_follows_authentic_messages_only() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let elsewhere = place(77, 4_242);
    let frame = packet(pair.a.overlay, pair.b.overlay, 64);
    let sealed = pair.a.send(&frame).remove(0);

    let mut forged = sealed.clone();
    forged[20] ^= 1;
    pair.b.receive(&forged, elsewhere);
    assert_eq!(pair.b.device.status(PEER).unwrap().endpoint, pair.a.place, "a forgery moves nothing");
    pair.b.receive(&sealed, elsewhere);
    assert_eq!(pair.b.device.status(PEER).unwrap().endpoint, elsewhere);
    pair.b.receive(&sealed, place(78, 1));
    assert_eq!(pair.b.device.status(PEER).unwrap().endpoint, elsewhere, "a replay moves nothing");
    assert_eq!(pair.b.drops(DropReason::ReplayedCounter), 1);

    // Authentic, but refused inside: the peer is there all the same.
    let foreign = pair.a.send(&packet([10, 9, 0, 99], pair.b.overlay, 64)).remove(0);
    pair.b.receive(&foreign, place(79, 5));
    assert_eq!(pair.b.device.status(PEER).unwrap().endpoint, place(79, 5));
    assert_eq!(pair.b.drops(DropReason::SourceNotAllowed), 1);
    assert_eq!(pair.b.delivered.len(), 2);
}

/// What leaves with the next tick, and where to.
fn addressed_tick(node: &mut Node) -> Vec<(Vec<u8>, Endpoint)> {
    node.device.tick();
    node.device.shared.send.messages()
}

#[test]
fn a_probe_moves_the_peer_only_if_it_answers_there() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let here = pair.b.place;
    let elsewhere = place(77, 4_242);

    // Nobody is there: the initiation is lost, data and the next initiation go where they went.
    pair.jump(1_000);
    pair.a.device.probe_endpoint(PEER, elsewhere).unwrap();
    let sent = addressed_tick(&mut pair.a);
    assert_eq!(sent.iter().map(|(message, to)| (message[0], *to)).collect::<Vec<_>>(), [(1, elsewhere)]);
    assert_eq!(pair.a.device.status(PEER).unwrap().endpoint, here);
    assert_eq!(types(&pair.a_sends(64)), [4], "the session goes on");
    pair.jump(6_000);
    let again = addressed_tick(&mut pair.a);
    assert_eq!(again.iter().map(|(message, to)| (message[0], *to)).collect::<Vec<_>>(), [(1, here)]);
    let wire = again.into_iter().map(|(message, _)| message).collect();
    assert_eq!(types(&pair.carry(wire, vec![])), [1, 2, 4]);

    // The peer is there: its response moves it.
    pair.jump(1_000);
    pair.a.device.probe_endpoint(PEER, elsewhere).unwrap();
    let [(initiation, to)] = addressed_tick(&mut pair.a).try_into().unwrap();
    assert_eq!(to, elsewhere);
    let from = pair.a.place;
    for response in pair.b.receive(&initiation, from) {
        pair.a.receive(&response, elsewhere);
    }
    assert_eq!(pair.a.device.status(PEER).unwrap().endpoint, elsewhere);
}

#[test]
fn an_authentic_message_with_a_bad_inside_is_counted_and_its_peer_followed() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let mut bad: Vec<Vec<u8>> = [0, 10, 19, 65]
        .into_iter()
        .map(|total_length: u16| {
            let mut inside = packet(pair.a.overlay, pair.b.overlay, 64);
            inside[2..4].copy_from_slice(&total_length.to_be_bytes());
            inside
        })
        .collect();
    bad.extend([vec![0x45; 16], vec![0x60; 32], vec![0; 64]]);
    for (n, inside) in bad.iter().enumerate() {
        let (peer, shared) = pair.a.device.peer_and_shared(PEER).unwrap();
        shared.send.clear();
        peer.send(inside, pair.now, shared);
        let sealed = pair.a.drain();
        let from = place(80, 1_000 + n as u16);
        assert!(pair.b.receive(&sealed[0], from).is_empty());
        assert_eq!(pair.b.drops(DropReason::InnerMalformed), n as u64 + 1, "{inside:02x?}");
        assert_eq!(pair.b.device.status(PEER).unwrap().endpoint, from);
    }
    assert_eq!(pair.b.delivered.len(), 1);
}

#[test]
fn the_source_check_asks_the_whole_table() {
    let mut pair = Pair::new(Options::default());
    let wide = Prefix::new(Address::v4([10, 9, 0, 0]), 24).unwrap();
    pair.b.device.allow(PEER, wide).unwrap();
    let other = pair
        .b
        .device
        .add_peer(PeerSettings {
            public_key: *PublicKey::from(&StaticSecret::from([3; 32])).as_bytes(),
            preshared_key: None,
            endpoint: place(3, 51820),
            persistent_seconds: 0,
        })
        .unwrap();
    pair.b.device.allow(other, host_prefix([10, 9, 0, 3])).unwrap();
    for (source, passes) in [([10, 9, 0, 200], true), ([10, 9, 0, 3], false), ([10, 8, 0, 1], false)] {
        let before = pair.b.delivered.len();
        let messages = pair.a.send(&packet(source, pair.b.overlay, 64));
        pair.carry(messages, vec![]);
        let delivered = pair.b.delivered.len() > before;
        assert_eq!(delivered, passes, "{}", Ipv4Addr::from(source));
    }
}

#[test]
fn every_bit_flip_is_dropped_and_burns_no_counter() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let sealed = pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 40)).remove(0);
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(pair.b.receive(&flipped, pair.a.place).is_empty());
    }
    assert_eq!(pair.b.delivered.len(), 1);
    pair.b.receive(&sealed, pair.a.place);
    assert_eq!(pair.b.delivered.len(), 2, "the genuine one still passes");
}

#[test]
fn late_packets_pass_once_each_eight_thousand_deep() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let frame = packet(pair.a.overlay, pair.b.overlay, 64);
    let mut sealed: Vec<Vec<u8>> = (0..8_200).flat_map(|_| pair.a.send(&frame)).collect();
    sealed.reverse();
    let (in_window, too_late) = sealed.split_at(8_128);
    for message in in_window.iter().chain(in_window).chain(too_late) {
        pair.b.receive(message, pair.a.place);
    }
    assert_eq!(pair.b.delivered.len(), 1 + in_window.len());
    assert_eq!(pair.b.drops(DropReason::ReplayedCounter), (in_window.len() + too_late.len()) as u64);
}

#[test]
fn a_replayed_or_strange_handshake_meets_silence() {
    let mut pair = Pair::new(Options::default());
    let initiation = pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 64)).remove(0);
    let response = pair.b.receive(&initiation, pair.a.place).remove(0);
    assert!(pair.b.receive(&initiation, pair.a.place).is_empty());
    assert_eq!(pair.b.drops(DropReason::ReplayedInitiation), 1);

    for bit in 0..initiation.len() * 8 {
        let mut flipped = initiation.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // mac2 is not looked at without load, so a flip there leaves a replay.
        assert!(pair.b.receive(&flipped, pair.a.place).is_empty(), "bit {bit}");
    }
    for bit in 0..response.len() * 8 {
        if bit / 8 >= 76 {
            break; // mac2 again: such a response is as good as the true one
        }
        let mut flipped = response.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(pair.a.receive(&flipped, pair.b.place).is_empty(), "bit {bit}");
    }
    assert_eq!(types(&pair.a.receive(&response, pair.b.place)), [4], "the true one still works");
    assert!(pair.a.receive(&response, pair.b.place).is_empty(), "once");
    let reflected = pair.a.receive(&initiation, pair.b.place);
    assert!(reflected.is_empty(), "our own initiation sent back");
}

#[test]
fn rubbish_is_counted_and_never_answered() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut next = move || random.next();
    let live = pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 64)).remove(0);
    for _ in 0..20_000 {
        let length = (next() % 300) as usize;
        let mut datagram: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        match next() % 4 {
            0 => {}
            1 if length >= 16 => datagram[..8].copy_from_slice(&live[..8]), // a live index, any counter
            2 if length >= 4 => datagram[..4].copy_from_slice(&[(next() % 6) as u8, 0, 0, 0]),
            _ => {
                datagram = live.clone();
                datagram.truncate(length);
            }
        }
        if datagram == live {
            continue;
        }
        assert!(pair.b.receive(&datagram, place(66, 6)).is_empty());
    }
    assert_eq!(pair.b.delivered.len(), 1);
    for length in 0..200 {
        let mut frame: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        if let Some(first) = frame.first_mut() {
            *first = [0x45, 0x60, 0x00, 0xf0][(next() % 4) as usize];
        }
        pair.a.send(&frame);
    }
    assert!(pair.a.drops(DropReason::FrameMalformed) > 50);
    pair.a_sends(64);
    assert_eq!(pair.b.delivered.len(), 2);
}

#[test]
fn a_lying_host_is_refused_not_believed() {
    let mut pair = Pair::new(Options::default());
    pair.a.intake.receive.column[0].length = u32::MAX;
    for (lie, length) in [65_546, u32::MAX, 9].into_iter().enumerate() {
        pair.a.intake.read.column[0].length = length;
        assert_eq!(pair.a.device.outbound(&mut pair.a.intake, 1), 0);
        assert_eq!(pair.a.drops(DropReason::FrameMalformed), lie as u64 + 1);
    }
    assert_eq!(pair.a.device.inbound(&pair.a.intake, 1), 0);
    assert_eq!(pair.a.drops(DropReason::MalformedMessage), 1);
    pair.a.receive(&[], place(66, 6));
    assert_eq!(pair.a.drops(DropReason::MalformedMessage), 2, "an empty datagram counts too");
}

#[test]
fn peers_come_and_go() {
    let mut pair = Pair::new(Options::default());
    pair.a_sends(64);
    let key = *PublicKey::from(&StaticSecret::from([2; 32])).as_bytes();
    let again = || PeerSettings {
        public_key: key,
        preshared_key: None,
        endpoint: place(2, 51820),
        persistent_seconds: 0,
    };
    assert_eq!(pair.a.device.add_peer(again()), Err(Refusal::PeerExists));
    pair.a.device.remove_peer(PEER).unwrap();
    assert_eq!(pair.a.device.remove_peer(PEER), Err(Refusal::NoSuchPeer));
    assert!(pair.a.send(&packet(pair.a.overlay, pair.b.overlay, 64)).is_empty());
    assert_eq!(pair.a.drops(DropReason::NoRoute), 1);
    let answer = pair.b.send(&packet(pair.b.overlay, pair.a.overlay, 64));
    assert!(pair.a.receive(&answer[0], pair.b.place).is_empty());

    assert_eq!(pair.a.device.add_peer(again()), Ok(PEER));
    pair.a.device.allow(PEER, host_prefix(pair.b.overlay)).unwrap();
    pair.pass(20_000, true); // b notices that nobody answers and shakes hands anew
    pair.a_sends(64);
    assert_eq!(pair.b.delivered.len(), 2);
}

#[test]
fn keys_that_cannot_be_peers_are_refused() {
    let mut pair = Pair::new(Options::default());
    let settings = |public_key| PeerSettings {
        public_key,
        preshared_key: None,
        endpoint: Endpoint::default(),
        persistent_seconds: 0,
    };
    let own = *PublicKey::from(&StaticSecret::from([1; 32])).as_bytes();
    assert_eq!(pair.a.device.add_peer(settings(own)), Err(Refusal::OwnKey));
    assert_eq!(pair.a.device.add_peer(settings([0; 32])), Err(Refusal::LowOrderKey));
}

#[test]
fn timestamps_lie_on_the_grid() {
    // What an initiation carries is sealed; the clock it is made of is not.
    for ms in [5_000_001u64, 5_000_017, 5_123_456] {
        host::set_time(ms as f64);
        let shown = mock_instant::Instant::now().duration_since(zero_instant());
        assert_eq!(shown.subsec_nanos() % (1 << 24), 0, "{ms} ms");
    }
}

fn zero_instant() -> mock_instant::Instant {
    // A thread that never set its clock still stands at zero.
    std::thread::spawn(mock_instant::Instant::now).join().unwrap()
}

#[test]
fn peers_may_come_before_the_key_and_stay_silent_until_it_is_there() {
    let mut pair = Pair::new(Options::default());
    pair.a.device = Device::new();
    pair.a.device.set_mtu(MTU);
    let bob = *PublicKey::from(&StaticSecret::from([2; 32])).as_bytes();
    let settings =
        PeerSettings { public_key: bob, preshared_key: None, endpoint: pair.b.place, persistent_seconds: 25 };
    assert_eq!(pair.a.device.add_peer(settings), Ok(PEER));
    pair.a.device.allow(PEER, host_prefix(pair.b.overlay)).unwrap();
    let from_b = pair.b.send(&packet(pair.b.overlay, pair.a.overlay, 64));
    assert!(pair.a_sends(64).is_empty() && pair.a.receive(&from_b[0], pair.b.place).is_empty());
    pair.jump(1_000);
    assert!(pair.a.tick().is_empty(), "not even the persistent keepalive");
    assert_eq!(pair.a.drops(DropReason::NoIdentity), 2, "the packet and the initiation");

    assert_eq!(pair.a.device.set_identity(&[2; 32]), Err(Refusal::OwnKey));
    pair.a.device.set_identity(&[1; 32]).unwrap();
    assert_eq!(types(&pair.a_sends(64)), [1, 2, 4, 4], "the other side had staged a packet too");
    pair.a.device.set_identity(&[0; 32]).unwrap();
    assert!(pair.a_sends(64).is_empty(), "and silent again without it");
    assert_eq!(pair.b.delivered.len(), 1);
}
