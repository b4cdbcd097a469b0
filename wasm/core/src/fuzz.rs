//! What the fuzzers in `wasm/fuzz` call: bytes become datagrams, sealed packets or frames, and whatever the core
//! makes of them must hold. A broken promise panics, which is how a fuzzer learns of it; that is allowed here only.
//! The corpus beside the fuzzers is replayed by `cargo test`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::HashMap;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};

use crate::allowed_ips::Prefix;
use crate::arena::{Intake, RECEIVE_SLOTS};
use crate::counters::DropReason;
use crate::device::{Device, PeerSettings};
use crate::filter::{Filter, Leg, Turn};
use crate::host;
use crate::noise;
use crate::offload::vnet::VNET_HEADER_BYTES;
use crate::packet::address::{Address, Endpoint};
use crate::packet::ip::IpHeader;

const MTU: usize = 1420;
const PEER: u32 = 0;
/// Longest inner packet there is, and what a message adds to it.
const ROOM: usize = 65_535 + 32;
/// Parts of one input: more would only make the fuzzer slow.
const MOST_PARTS: usize = 24;

/// An input as commands: a byte that says what, two that say how many bytes follow, and those.
fn parts(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[kind, low, high], rest) = data.split_first_chunk()?;
        let (part, rest) = rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
        data = rest;
        Some((kind, part))
    })
    .take(MOST_PARTS)
}

/// One of two devices, 10.9.0.1 and 10.9.0.2 (fd09::1 and fd09::2).
struct End {
    device: Device,
    intake: Intake,
    place: Endpoint,
    /// The only sources its TUN device may see.
    peer: [Address; 2],
}

fn address_v6(last: u8) -> Address {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[0xfd, 0x09]);
    bytes[15] = last;
    Address::v6(bytes)
}

fn place(last: u8) -> Endpoint {
    let mut remote = [0; 16];
    remote[..4].copy_from_slice(&[192, 0, 2, last]);
    Endpoint { family: 4, port: 51820, remote, ..Endpoint::default() }
}

fn secret(number: u8) -> StaticSecret {
    StaticSecret::from([number; 32])
}

impl End {
    fn new(own: u8, other: u8) -> End {
        let mut device = Device::new();
        device.set_identity(&[own; 32]).unwrap();
        device.set_mtu(MTU);
        device.set_offloads(true, true, true);
        let settings = PeerSettings {
            public_key: *PublicKey::from(&secret(other)).as_bytes(),
            preshared_key: None,
            endpoint: place(other),
            persistent_seconds: 0,
        };
        assert_eq!(device.add_peer(settings).unwrap(), PEER);
        let peer = [Address::v4([10, 9, 0, other]), address_v6(other)];
        device.allow(PEER, Prefix::new(peer[0], 32).unwrap()).unwrap();
        device.allow(PEER, Prefix::new(peer[1], 128).unwrap()).unwrap();
        End { device, intake: Intake::new(), place: place(own), peer }
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        self.device.shared.send.messages().into_iter().map(|(message, _)| message).collect()
    }

    /// Takes datagrams in; what reaches the TUN device must be whole and from the peer. Returns the replies.
    fn receive(&mut self, datagrams: &[Vec<u8>], from: Endpoint) -> Vec<Vec<u8>> {
        for (slot, datagram) in datagrams.iter().enumerate() {
            self.intake.receive.fill(slot, datagram, from);
        }
        self.device.inbound(&self.intake, datagrams.len());
        for frame in self.device.write.frames() {
            let packet = &frame[VNET_HEADER_BYTES..];
            let header = IpHeader::parse(packet).expect("only whole packets reach the TUN device");
            assert_eq!(header.total_length, packet.len(), "and nothing behind them");
            assert!(self.peer.contains(&header.source), "a foreign source reached the TUN device");
        }
        let mut replies = self.messages();
        while self.device.gate.waiting.count() > 0 {
            self.device.handshakes();
            replies.extend(self.messages());
        }
        replies
    }

    /// Drops for any reason but one: where a packet of our own host came from, only the other end judges.
    fn refused(&self) -> u64 {
        let drops = &self.device.shared.counters.drops;
        drops.iter().sum::<u64>() - drops[DropReason::SourceNotAllowed as usize]
    }

    /// Takes one frame of the TUN device, vnet header and all.
    fn send(&mut self, header: &[u8; VNET_HEADER_BYTES], packet: &[u8]) -> Vec<Vec<u8>> {
        self.intake.read.fill_with_header(0, header, packet);
        self.device.outbound(&mut self.intake, 1);
        self.messages()
    }
}

fn pass(ms: u64) {
    host::set_time((host::now() + ms) as f64);
}

fn made(result: TunnResult<'_>) -> Vec<u8> {
    match result {
        TunnResult::WriteToNetwork(message) => message.to_vec(),
        _ => Vec::new(),
    }
}

/// Datagrams: as they are, with the index of a live session, as an initiation with a valid mac1, or sealed by the peer.
pub fn inbound(data: &[u8]) {
    pass(1_000);
    let mut end = End::new(1, 2);
    let mut room = vec![0; ROOM];
    let ours = PublicKey::from(&secret(1));
    let mut peer = Tunn::new(secret(2), ours, None, None, 7, None);
    let initiation = made(peer.format_handshake_initiation(&mut room, false));
    let responses = end.receive(&[initiation], place(2));
    let index: [u8; 4] = responses[0][4..8].try_into().unwrap();
    let confirmation = made(peer.decapsulate(None, &responses[0], &mut room));
    end.receive(&[confirmation], place(2));

    for (kind, part) in parts(data) {
        let datagram = match kind % 5 {
            0 => part.to_vec(),
            1 => [&[4, 0, 0, 0], &index, part].concat(),
            2 => with_mac1(part, ours.as_bytes()),
            3 => made(peer.encapsulate(part, &mut room)),
            _ => {
                pass(part.len() as u64 * 50);
                end.device.tick();
                end.messages().concat()
            }
        };
        end.receive(&[datagram], place(kind));
    }
}

/// `bytes` as an initiation that the gate believes until it has done a Diffie-Hellman.
fn with_mac1(bytes: &[u8], receiver: &[u8; 32]) -> Vec<u8> {
    let mut message = bytes.to_vec();
    message.resize(148, 0);
    message[..4].copy_from_slice(&[1, 0, 0, 0]);
    let key = noise::hash([b"mac1----", receiver]);
    let mac = noise::mac(&key, [&message[..116]]).unwrap();
    message[116..132].copy_from_slice(&mac);
    message
}

/// Frames of the TUN device, superpackets among them, to the other end and back: whatever is sealed must open there,
/// and what is split here is joined there.
pub fn outbound(data: &[u8]) {
    pass(1_000);
    let (mut a, mut b) = (End::new(1, 2), End::new(2, 1));
    // Any packet for the peer brings the tunnel up.
    let mut first = [0; 20];
    first[..4].copy_from_slice(&[0x45, 0, 0, 20]);
    first[12..20].copy_from_slice(&[10, 9, 0, 1, 10, 9, 0, 2]);
    let initiation = a.send(&[0; VNET_HEADER_BYTES], &first);
    let response = b.receive(&initiation, a.place);
    let data_messages = a.receive(&response, b.place);
    b.receive(&data_messages, a.place);

    for (kind, part) in parts(data) {
        let (header, packet) = part.split_first_chunk().unwrap_or((&[0; VNET_HEADER_BYTES], part));
        let packet = match kind % 3 {
            0 => packet.to_vec(),
            _ => addressed(packet, kind % 3 == 1),
        };
        let messages = a.send(header, &packet);
        for batch in messages.chunks(RECEIVE_SLOTS) {
            b.receive(batch, a.place);
        }
        assert_eq!(b.refused(), 0, "what one end sealed and sent, the other refused");
    }
}

/// A change of the policy and packets through the filter, in any order: whatever the bytes are, a change is whole or void, and
/// a packet passes, is dropped, or is answered with a packet that reads as one.
pub fn filter(data: &[u8]) {
    let mut filter = Filter::new();
    filter.add_peer(PEER, [2; 32]);
    filter.enable(false, host::now());
    let keys = HashMap::from([([2; 32], PEER)]);
    let mut waiting = 0_usize;
    for (kind, part) in parts(data) {
        let leg = if kind & 1 == 0 { Leg::In } else { Leg::Out };
        match kind % 6 {
            0 | 1 => match filter.pass(leg, PEER, part, host::now()) {
                Ok(passed) => {
                    filter.count(passed, 1, part.len());
                    waiting += usize::from(filter.turn(leg, PEER, part, host::now()) == Turn::Waits);
                }
                Err(_) => {
                    if let Some(answer) = filter.answer(PEER, part, host::now()) {
                        assert!(IpHeader::parse(answer.bytes()).is_some(), "an answer is a packet");
                    }
                }
            },
            2 => drop(filter.judge(leg, PEER, part)),
            3 => {
                let generation = filter.status().generation;
                filter.begin();
                let staged = filter.stage(part);
                let committed = filter.commit(&keys);
                assert!(staged.is_ok() || committed.is_err(), "a void change was made");
                assert_eq!(committed.is_ok(), filter.status().generation != generation);
            }
            4 => drop(filter.pass(leg, PEER, &addressed(part, true), host::now())),
            _ => {
                pass(part.len() as u64 * 50);
                while filter.pop_due(host::now()).is_some() {
                    waiting -= 1;
                }
                assert!(filter.next_due().is_none_or(|at| at > host::now()), "what is due has left");
            }
        }
        assert_eq!(filter.next_due().is_some(), waiting > 0, "who waits is looked at again");
        assert!(filter.status().flows <= filter.status().capacity);
    }
}

/// `packet` with the addresses of both ends, so that it is routed and not only refused.
fn addressed(packet: &[u8], is_v4: bool) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if is_v4 {
        packet.resize(packet.len().max(20), 0);
        packet[0] = 0x40 | packet[0] & 0x0f;
        packet[12..20].copy_from_slice(&[10, 9, 0, 1, 10, 9, 0, 2]);
    } else {
        packet.resize(packet.len().max(40), 0);
        packet[0] = 0x60;
        for (at, last) in [(8, 1), (24, 2)] {
            packet[at..at + 16].fill(0);
            packet[at..at + 2].copy_from_slice(&[0xfd, 0x09]);
            packet[at + 15] = last;
        }
    }
    packet
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every input that a fuzzer ever found worth keeping.
    fn replay(target: &str, run: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let mut files: Vec<_> =
            std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty());
        for file in files {
            run(&std::fs::read(&file).unwrap());
        }
    }

    #[test]
    fn the_corpus_of_inbound_holds() {
        replay("inbound", super::inbound);
    }

    #[test]
    fn the_corpus_of_filter_holds() {
        replay("filter", super::filter);
    }

    #[test]
    fn the_corpus_of_outbound_holds() {
        replay("outbound", super::outbound);
    }
}
