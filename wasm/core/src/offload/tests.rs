//! Splitting against a byte-by-byte reference, joining against splitting, and what must not be joined.

use super::coalesce::Coalescer;
use super::split::Split;
use super::vnet::{GsoType, VNET_HEADER_BYTES, VnetHeader};
use crate::arena::Frame;
use crate::test_random::Random;

/// RFC 1071, word by word.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[derive(Clone, Debug)]
struct Spec {
    v6: bool,
    udp: bool,
    id: u16,
    tos: u8,
    source_port: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    options: Vec<u8>,
    payload: Vec<u8>,
}

const ACK: u8 = 0x10;
const PSH_ACK: u8 = 0x18;

impl Spec {
    fn tcp(payload: usize) -> Spec {
        Spec {
            v6: false,
            udp: false,
            id: 7,
            tos: 0,
            source_port: 40_000,
            sequence: 1_000,
            acknowledgement: 55,
            flags: ACK,
            options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: (0..payload).map(|n| (n * 31 % 251) as u8).collect(),
        }
    }

    fn udp(payload: usize) -> Spec {
        Spec { udp: true, options: vec![], ..Spec::tcp(payload) }
    }

    fn with(mut self, change: impl FnOnce(&mut Spec)) -> Spec {
        change(&mut self);
        self
    }

    fn addresses(&self) -> Vec<u8> {
        match self.v6 {
            true => [[0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0xfd; 16]].concat(),
            false => vec![10, 9, 0, 1, 10, 9, 0, 2],
        }
    }

    /// The packet, written field by field as the RFCs draw it.
    fn packet(&self) -> Vec<u8> {
        let mut transport = Vec::new();
        transport.extend(self.source_port.to_be_bytes());
        transport.extend(443u16.to_be_bytes());
        if self.udp {
            transport.extend((8 + self.payload.len() as u16).to_be_bytes());
            transport.extend([0, 0]);
        } else {
            transport.extend(self.sequence.to_be_bytes());
            transport.extend(self.acknowledgement.to_be_bytes());
            transport.push(((20 + self.options.len()) * 4) as u8);
            transport.push(self.flags);
            transport.extend([0x20, 0, 0, 0, 0, 0]);
            transport.extend(&self.options);
        }
        transport.extend(&self.payload);
        let protocol = if self.udp { 17 } else { 6 };
        let pseudo =
            [self.addresses(), vec![0, protocol], (transport.len() as u32).to_be_bytes().to_vec()].concat();
        let sum = checksum(&[&pseudo, &transport]);
        let field = if self.udp { 6 } else { 16 };
        let sum = if self.udp && sum == 0 { 0xffff } else { sum };
        transport[field..field + 2].copy_from_slice(&sum.to_be_bytes());

        let mut packet = Vec::new();
        if self.v6 {
            packet.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
            packet.extend((transport.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(self.addresses());
        } else {
            packet.extend([0x45, self.tos]);
            packet.extend((20 + transport.len() as u16).to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend([0x40, 0, 64, protocol, 0, 0]);
            packet.extend(self.addresses());
            let sum = checksum(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        packet.extend(transport);
        packet
    }

    fn headers(&self) -> usize {
        let ip = if self.v6 { 40 } else { 20 };
        ip + if self.udp { 8 } else { 20 + self.options.len() }
    }

    fn vnet(&self, gso_size: usize) -> VnetHeader {
        let gso_type = match (self.udp, self.v6) {
            (true, _) => GsoType::Udp,
            (false, false) => GsoType::TcpV4,
            (false, true) => GsoType::TcpV6,
        };
        VnetHeader {
            needs_checksum: true,
            gso_type,
            gso_size: gso_size as u16,
            header_length: self.headers() as u16,
            checksum_start: if self.v6 { 40 } else { 20 },
            checksum_offset: if self.udp { 6 } else { 16 },
        }
    }

    /// What a sender without offloads would have sent.
    fn segments(&self, gso_size: usize) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = self.payload.chunks(gso_size).collect();
        let last = chunks.len() - 1;
        let segment = |(index, chunk): (usize, &&[u8])| {
            let mut flags = self.flags;
            if index != last {
                flags &= !0x09;
            }
            if index != 0 {
                flags &= !0x80;
            }
            let id = self.id.wrapping_add(index as u16);
            let sequence = self.sequence.wrapping_add((index * gso_size) as u32);
            Spec { id, sequence, flags, payload: chunk.to_vec(), ..self.clone() }.packet()
        };
        chunks.iter().enumerate().map(segment).collect()
    }
}

fn split(header: &VnetHeader, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut bytes = packet.to_vec();
    match Split::plan(header, &mut bytes)? {
        Split::Whole => Some(vec![bytes]),
        Split::Segments(mut segments) => {
            let mut all = Vec::new();
            while let Some(segment) = segments.next(&mut bytes) {
                all.push(bytes[segment.start..segment.end].to_vec());
            }
            Some(all)
        }
    }
}

/// Puts packets through a coalescer; returns vnet header and packet of each frame.
fn coalesce(packets: &[Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut arena = vec![0; 1 << 20];
    let mut coalescer = Coalescer::new(1_024);
    coalescer.allow(true, true);
    let mut at = 16;
    for packet in packets {
        arena[at..at + packet.len()].copy_from_slice(packet);
        assert!(coalescer.push(&mut arena, at, packet.len()));
        at += (packet.len() + 32).next_multiple_of(16);
    }
    let mut column = vec![Frame::default(); 1_024];
    let count = coalescer.finish(&mut arena, 0, &mut column);
    let mut frames = vec![Vec::new()];
    for entry in &column[..count] {
        frames.last_mut().unwrap().extend(&arena[entry.offset as usize..][..entry.length as usize]);
        if entry.capacity == 0 {
            frames.push(Vec::new());
        }
    }
    frames.pop();
    let parse = |frame: Vec<u8>| {
        let header = VnetHeader::parse(frame.first_chunk().unwrap()).unwrap();
        (header, frame[VNET_HEADER_BYTES..].to_vec())
    };
    frames.into_iter().map(parse).collect()
}

fn some_spec(random: &mut Random) -> Spec {
    let length = 1 + random.below(40_000);
    let udp = random.below(3) == 0;
    Spec {
        v6: random.below(2) == 0,
        id: random.next() as u16,
        tos: (random.next() as u8) & 0xfc,
        sequence: random.next() as u32,
        acknowledgement: random.next() as u32,
        flags: [ACK, PSH_ACK, 0x11, 0x19, 0x98][random.below(5)],
        options: if udp { vec![] } else { (0..random.below(11) * 4).map(|_| random.next() as u8).collect() },
        payload: (0..length).map(|_| random.next() as u8).collect(),
        ..if udp { Spec::udp(0) } else { Spec::tcp(0) }
    }
}

#[test]
fn segments_are_what_a_sender_without_offloads_sends() {
    let mut random = Random(0x5eed);
    for round in 0..600 {
        let spec = some_spec(&mut random);
        let gso_size = [1, 7, 48, 536, 1_368, 1_448][random.below(6)].max(spec.payload.len() / 900 + 1);
        let got = split(&spec.vnet(gso_size), &spec.packet()).unwrap();
        assert_eq!(got, spec.segments(gso_size), "round {round}: gso_size {gso_size}");
    }
}

#[test]
fn joining_the_segments_gives_the_superpacket_again() {
    let mut random = Random(0xfeed);
    for round in 0..600 {
        let gso_size = 200 + random.below(1_200);
        let mut spec = some_spec(&mut random);
        spec.payload.truncate(gso_size * 60);
        spec.flags = [ACK, PSH_ACK][random.below(2)];
        let frames = coalesce(&spec.segments(gso_size));
        let [(header, packet)] = &frames[..] else { panic!("round {round}: {} frames", frames.len()) };
        if spec.payload.len() <= gso_size {
            assert_eq!((*header, packet), (VnetHeader::PLAIN, &spec.packet()), "round {round}");
            continue;
        }
        assert_eq!(*header, spec.vnet(gso_size), "round {round}");
        assert_eq!(split(header, packet).unwrap(), spec.segments(gso_size), "round {round}");
    }
}

#[test]
fn a_missing_checksum_is_put_in() {
    for spec in [Spec::tcp(100), Spec::tcp(0), Spec::udp(33), Spec::tcp(8).with(|s| s.v6 = true)] {
        let want = spec.packet();
        let mut packet = want.clone();
        let start = if spec.v6 { 40 } else { 20 };
        let field = start + if spec.udp { 6 } else { 16 };
        let protocol = if spec.udp { 17 } else { 6 };
        let length = (packet.len() - start) as u32;
        let pseudo = !checksum(&[&spec.addresses(), &[0, protocol], &length.to_be_bytes()]);
        packet[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        let header = VnetHeader { gso_type: GsoType::None, gso_size: 0, ..spec.vnet(0) };
        assert_eq!(split(&header, &packet), Some(vec![want]));
    }
}

#[test]
fn what_must_not_be_joined_is_not() {
    let next = |change: fn(&mut Spec)| {
        let second = Spec::tcp(500).with(|s| {
            s.sequence += 500;
            s.id += 1;
        });
        vec![Spec::tcp(500).packet(), second.with(change).packet()]
    };
    let joined = coalesce(&next(|_| {})).len();
    assert_eq!(joined, 1, "the two that differ in nothing else");
    type Case = (&'static str, fn(&mut Spec));
    let cases: [Case; 13] = [
        ("a gap", |s| s.sequence += 1),
        ("an overlap", |s| s.sequence -= 1),
        ("another port", |s| s.source_port += 1),
        ("another acknowledgement", |s| s.acknowledgement += 1),
        ("other options", |s| s.options[7] ^= 1),
        ("longer options", |s| s.options.extend([1, 1, 1, 1])),
        ("another TOS", |s| s.tos = 8),
        ("FIN", |s| s.flags |= 0x01),
        ("SYN", |s| s.flags |= 0x02),
        ("RST", |s| s.flags |= 0x04),
        ("ECE", |s| s.flags |= 0x40),
        ("no payload", |s| s.payload.clear()),
        ("a longer segment", |s| s.payload.push(0)),
    ];
    for (name, change) in cases {
        let packets = next(change);
        let frames = coalesce(&packets);
        assert_eq!(frames.len(), 2, "{name}");
        let plain: Vec<Vec<u8>> = frames.into_iter().map(|(_, packet)| packet).collect();
        assert_eq!(plain, packets, "{name}: unchanged, in order");
    }
    let mut corrupted = next(|_| {});
    let last = corrupted[1].len() - 1;
    corrupted[1][last] ^= 1;
    assert_eq!(coalesce(&corrupted).len(), 2, "a checksum that does not hold");
    let mut corrupted = next(|_| {});
    corrupted[0][8] -= 1;
    assert_eq!(coalesce(&corrupted).len(), 2, "an IP header checksum that does not hold");
}

#[test]
fn after_psh_or_a_shorter_segment_a_new_frame_begins() {
    let at = |offset: u32, length: usize, flags: u8| {
        Spec::tcp(length).with(|s| {
            s.sequence += offset;
            s.flags = flags;
        })
    };
    let psh = [at(0, 500, ACK), at(500, 500, PSH_ACK), at(1_000, 500, ACK), at(1_500, 500, ACK)];
    let shorter = [at(0, 500, ACK), at(500, 400, ACK), at(900, 500, ACK), at(1_400, 500, ACK)];
    for specs in [psh, shorter] {
        let frames = coalesce(&specs.map(|spec| spec.packet()));
        assert_eq!(frames.len(), 2);
        assert!(frames.iter().all(|(header, _)| header.gso_size == 500));
    }
}

#[test]
fn flows_are_joined_each_for_itself_and_keep_their_order() {
    let mut packets = Vec::new();
    for n in 0..10u32 {
        for port in [1_000, 2_000, 3_000] {
            packets.push(
                Spec::tcp(100)
                    .with(|s| {
                        s.source_port = port;
                        s.sequence += n * 100;
                        if port == 2_000 && n == 5 {
                            s.flags |= 0x01; // stands alone, between what comes before and after it
                        }
                    })
                    .packet(),
            );
        }
    }
    let frames = coalesce(&packets);
    let ports: Vec<u16> =
        frames.iter().map(|(_, packet)| u16::from_be_bytes([packet[20], packet[21]])).collect();
    assert_eq!(ports, [1_000, 2_000, 3_000, 2_000, 2_000]);
    let mut sequences: Vec<u32> = Vec::new();
    for (header, packet) in frames.iter().filter(|(_, packet)| packet[20..22] == 2_000u16.to_be_bytes()) {
        for segment in split(header, packet).unwrap() {
            sequences.push(u32::from_be_bytes(segment[24..28].try_into().unwrap()));
        }
    }
    assert_eq!(sequences, (0..10).map(|n| 1_000 + n * 100).collect::<Vec<_>>());
}

#[test]
fn a_fragment_lets_nothing_overtake_it() {
    let mut fragment = Spec::tcp(100).packet();
    fragment[6] = 0x20;
    let second = Spec::tcp(500).with(|s| s.sequence += 500).packet();
    let frames = coalesce(&[Spec::tcp(500).packet(), fragment, second]);
    assert_eq!(frames.len(), 3);
}

#[test]
fn without_the_hosts_offloads_nothing_is_joined() {
    let packets = Spec::tcp(3_000).segments(500);
    let mut arena = vec![0; 1 << 16];
    let mut coalescer = Coalescer::new(16);
    for (n, packet) in packets.iter().enumerate() {
        arena[16 + n * 1_024..][..packet.len()].copy_from_slice(packet);
        coalescer.push(&mut arena, 16 + n * 1_024, packet.len());
    }
    assert_eq!(coalescer.finish(&mut arena, 0, &mut vec![Frame::default(); 16]), packets.len());
}

#[test]
fn lying_headers_are_refused_and_never_panic() {
    let mut random = Random(0xbad);
    for _ in 0..200_000 {
        let mut spec = if random.below(2) == 0 { Spec::tcp(0) } else { Spec::udp(0) };
        spec.v6 = random.below(2) == 0;
        spec.payload = vec![7; random.below(120)];
        let mut packet = spec.packet();
        let length = packet.len();
        for _ in 0..random.below(4) {
            packet[random.below(length.min(48))] = random.next() as u8;
        }
        packet.truncate(random.below(length + 1));
        let header = VnetHeader {
            needs_checksum: random.below(2) == 0,
            gso_type: [GsoType::None, GsoType::TcpV4, GsoType::TcpV6, GsoType::Udp][random.below(4)],
            gso_size: random.below(70) as u16,
            header_length: random.next() as u16,
            checksum_start: random.below(80) as u16,
            checksum_offset: random.below(80) as u16,
        };
        if let Some(segments) = split(&header, &packet) {
            assert!(segments.len() <= 120);
        }
        if !packet.is_empty() {
            coalesce_small(&packet);
        }
    }
}

fn coalesce_small(packet: &[u8]) {
    let mut arena = vec![0; 1_024];
    arena[16..16 + packet.len()].copy_from_slice(packet);
    arena[512..512 + packet.len()].copy_from_slice(packet);
    let mut coalescer = Coalescer::new(4);
    coalescer.allow(true, true);
    coalescer.push(&mut arena, 16, packet.len());
    coalescer.push(&mut arena, 512, packet.len());
    coalescer.finish(&mut arena, 0, &mut [Frame::default(); 4]);
}

#[test]
fn a_checksum_is_never_put_into_the_ip_header_that_was_routed_by() {
    for spec in [Spec::udp(40), Spec::udp(40).with(|spec| spec.v6 = true)] {
        let ip = if spec.v6 { 40 } else { 20 };
        for start in 0..=ip + 8 {
            let header = VnetHeader {
                needs_checksum: true,
                checksum_start: start,
                checksum_offset: 0,
                ..VnetHeader::PLAIN
            };
            let mut packet = spec.packet();
            let planned = Split::plan(&header, &mut packet).is_some();
            assert_eq!(planned, start >= ip, "a checksum from byte {start} on");
            assert_eq!(packet[..usize::from(ip)], spec.packet()[..usize::from(ip)]);
        }
    }
}
