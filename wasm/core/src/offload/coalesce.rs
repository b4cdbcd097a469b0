//! Packets for the TUN device, segments of one flow joined into one superpacket, as pieces that the host gathers into one
//! write. Nothing is copied: a piece is where a packet, or the payload of one, was decrypted to.
//!
//! ```text
//! arena     │ vnet │ headers │ payload 0 │ … │ headers │ payload 1 │ … │ headers │ payload 2 │
//! frame     └──────── piece 0 ───────────┘             └─ piece 1 ─┘             └─ piece 2 ─┘
//! ```
//!
//! What forbids a join, so that the receiver sees what was sent (Linux `net/ipv4/tcp_offload.c`): another flow, other IP
//! or TCP header fields, other options, a gap in the sequence, a flag besides ACK and PSH, a checksum that does not hold,
//! a segment longer than the first or after a shorter one or after PSH, more than an IP packet can hold.

use super::vnet::{GsoType, VNET_HEADER_BYTES, VnetHeader};
use crate::arena::Frame;
use crate::packet::address::Version;
use crate::packet::transport::{Headers, Protocol, flags, put_u16, tcp, u16_at, u32_at, udp};

const NONE: u32 = u32::MAX;
/// An IP packet's length field.
const LONGEST_PACKET: usize = 65_535;
/// Flows looked at for a packet: the latest. More streams than this at once gain little from each other.
const OPEN_FLOWS: usize = 16;
/// Segments of one superpacket: the most a kernel takes.
const MOST_SEGMENTS: u16 = 64;

/// A run of bytes in the write arena.
#[derive(Clone, Copy)]
struct Piece {
    start: u32,
    length: u32,
    next: u32,
}

/// One frame under construction.
#[derive(Clone, Copy)]
struct Item {
    first: u32,
    last: u32,
    /// Bytes of the IP packet so far.
    total: u32,
    headers: Headers,
    segment_payload: u16,
    segments: u16,
    next_sequence: u32,
    /// Whether another segment may follow.
    is_open: bool,
}

/// The frames of one batch. INVARIANT: packets of a flow keep their order: a packet that may not join closes its flow's
/// frame, and frames leave in the order they were begun.
pub struct Coalescer {
    pieces: Vec<Piece>,
    items: Vec<Item>,
    tcp: bool,
    udp: bool,
}

impl Coalescer {
    pub fn new(most_packets: usize) -> Self {
        Coalescer {
            pieces: Vec::with_capacity(most_packets),
            items: Vec::with_capacity(most_packets),
            tcp: false,
            udp: false,
        }
    }

    /// Which superpackets the host's TUN device takes.
    pub fn allow(&mut self, tcp: bool, udp: bool) {
        self.tcp = tcp;
        self.udp = udp;
    }

    pub fn clear(&mut self) {
        self.pieces.clear();
        self.items.clear();
    }

    /// Takes the packet at `start`, with room for a [`VnetHeader`] before it. False when the batch is full.
    pub fn push(&mut self, arena: &mut [u8], start: usize, length: usize) -> bool {
        if self.pieces.len() == self.pieces.capacity() {
            return false;
        }
        let candidate = arena.get(start..start + length).and_then(|packet| self.candidate(packet));
        match candidate {
            Some(candidate) => {
                if let Some(index) = self.find(arena, start, &candidate.headers) {
                    if self.join(arena, index, start, length, &candidate) {
                        return true;
                    }
                    self.close(index);
                }
            }
            // A fragment or the like: which flow it belongs to is not known, so nothing may overtake it.
            None => (0..self.items.len()).rev().take(OPEN_FLOWS).for_each(|index| self.close(index)),
        }
        self.begin(start, length, candidate);
        true
    }

    fn close(&mut self, index: usize) {
        if let Some(item) = self.items.get_mut(index) {
            item.is_open = false;
        }
    }

    /// What could be part of a superpacket: plain TCP or UDP with payload, whose checksum holds, because the kernel will
    /// not look at it again.
    fn candidate(&self, packet: &[u8]) -> Option<Candidate> {
        let headers = Headers::parse(packet)?;
        let payload = packet.len() - headers.all;
        let flag_byte = packet.get(headers.ip + tcp::FLAGS).copied().unwrap_or(0);
        let (sequence, may_join, ends) = match headers.protocol {
            Protocol::Tcp if self.tcp => {
                let is_data = flag_byte & !flags::PSH == flags::ACK && payload > 0;
                (u32_at(packet, headers.ip + tcp::SEQUENCE)?, is_data, flag_byte & flags::PSH != 0)
            }
            // A checksum of zero is none at all, and a superpacket has one.
            Protocol::Udp if self.udp => {
                let has_checksum = u16_at(packet, headers.ip + udp::CHECKSUM)? != 0;
                let is_whole =
                    usize::from(u16_at(packet, headers.ip + udp::LENGTH)?) == packet.len() - headers.ip;
                (0, payload > 0 && has_checksum && is_whole, false)
            }
            _ => (0, false, false),
        };
        let may_join = may_join && headers.ip_checksum_holds(packet) && headers.checksum_holds(packet);
        Some(Candidate { headers, payload, sequence, may_join, ends })
    }

    /// The latest frame of the same flow that is still open.
    fn find(&self, arena: &[u8], start: usize, headers: &Headers) -> Option<usize> {
        let packet = arena.get(start..start + headers.all)?;
        let recent = self.items.iter().enumerate().rev().take(OPEN_FLOWS);
        recent
            .filter(|(_, item)| item.is_open && item.headers.is_alike(headers))
            .find(|(_, item)| {
                let first = self.pieces.get(item.first as usize);
                let at = first.map_or(0, |piece| piece.start as usize + VNET_HEADER_BYTES);
                arena.get(at..at + headers.all).is_some_and(|other| same_flow(headers, packet, other))
            })
            .map(|(index, _)| index)
    }

    fn join(
        &mut self,
        arena: &mut [u8],
        index: usize,
        start: usize,
        length: usize,
        next: &Candidate,
    ) -> bool {
        let piece_index = self.pieces.len() as u32;
        let Some(item) = self.items.get_mut(index) else { return false };
        let first_start = match self.pieces.get(item.first as usize) {
            Some(first) => first.start as usize + VNET_HEADER_BYTES,
            None => return false,
        };
        let headers = next.headers;
        let agrees = next.may_join
            && item.headers == headers
            && (headers.protocol == Protocol::Udp || next.sequence == item.next_sequence)
            && next.payload <= usize::from(item.segment_payload)
            && item.total as usize + next.payload <= LONGEST_PACKET
            && item.segments < MOST_SEGMENTS
            && same_constants(&headers, arena, start, first_start);
        if !agrees {
            return false;
        }
        if next.ends
            && let Some(flag_byte) = arena.get_mut(first_start + headers.ip + tcp::FLAGS)
        {
            *flag_byte |= flags::PSH;
        }
        item.total += next.payload as u32;
        item.segments += 1;
        item.next_sequence = item.next_sequence.wrapping_add(next.payload as u32);
        item.is_open = !next.ends && next.payload == usize::from(item.segment_payload);
        if let Some(last) = self.pieces.get_mut(item.last as usize) {
            last.next = piece_index;
        }
        item.last = piece_index;
        let payload_start = (start + length - next.payload) as u32;
        self.pieces.push(Piece { start: payload_start, length: next.payload as u32, next: NONE });
        true
    }

    fn begin(&mut self, start: usize, length: usize, candidate: Option<Candidate>) {
        let index = self.pieces.len() as u32;
        self.pieces.push(Piece {
            start: (start - VNET_HEADER_BYTES) as u32,
            length: (VNET_HEADER_BYTES + length) as u32,
            next: NONE,
        });
        let open = candidate.filter(|candidate| candidate.may_join && !candidate.ends);
        let payload = open.map_or(0, |candidate| candidate.payload);
        self.items.push(Item {
            first: index,
            last: index,
            total: length as u32,
            headers: candidate.map_or(Headers::NONE, |candidate| candidate.headers),
            segment_payload: payload as u16,
            segments: 1,
            next_sequence: open.map_or(0, |candidate| candidate.sequence.wrapping_add(payload as u32)),
            is_open: open.is_some(),
        });
    }

    /// Writes the entries of all frames: pieces in order, each but a frame's last with `capacity` 1, "more follows".
    /// `origin` is the arena's address. Returns how many entries there are.
    pub fn finish(&mut self, arena: &mut [u8], origin: u32, column: &mut [Frame]) -> usize {
        let mut count = 0;
        for item in &self.items {
            let start = self.pieces.get(item.first as usize).map_or(0, |piece| piece.start as usize);
            finish_frame(item, arena, start);
            let mut at = item.first;
            while let Some(piece) = self.pieces.get(at as usize) {
                let Some(entry) = column.get_mut(count) else { return count };
                *entry = Frame {
                    offset: origin.wrapping_add(piece.start),
                    length: piece.length,
                    capacity: u32::from(piece.next != NONE),
                    status: 0,
                };
                count += 1;
                at = piece.next;
            }
        }
        count
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    headers: Headers,
    payload: usize,
    sequence: u32,
    may_join: bool,
    /// PSH: nothing may follow it in the same superpacket.
    ends: bool,
}

/// Addresses, ports and, for TCP, the acknowledgement: what makes two packets one flow in one direction.
fn same_flow(headers: &Headers, a: &[u8], b: &[u8]) -> bool {
    let addresses = match headers.version {
        Version::V4 => 12..20,
        Version::V6 => 8..40,
    };
    let ports = headers.ip..headers.ip + 4;
    a.get(addresses.clone()) == b.get(addresses) && a.get(ports.clone()) == b.get(ports)
}

/// The fields that every segment of a superpacket shares: TOS, TTL and DF, or the IPv6 flow label and hop limit; the
/// acknowledgement, window and options of TCP.
fn same_constants(headers: &Headers, arena: &[u8], a: usize, b: usize) -> bool {
    let same = |from: usize, to: usize| arena.get(a + from..a + to) == arena.get(b + from..b + to);
    let ip = match headers.version {
        Version::V4 => same(1, 2) && same(6, 9),
        Version::V6 => same(0, 4) && same(7, 8),
    };
    let transport = headers.ip;
    ip && match headers.protocol {
        Protocol::Tcp => {
            same(transport + 8, transport + 13)
                && same(transport + 14, transport + 16)
                && same(transport + 18, headers.all)
        }
        Protocol::Udp => true,
    }
}

/// Writes the vnet header at `start`, and for a superpacket the lengths and the pseudo-header's sum.
fn finish_frame(item: &Item, arena: &mut [u8], start: usize) {
    let Some(frame) = arena.get_mut(start..) else { return };
    let Some((place, packet)) = frame.split_first_chunk_mut::<VNET_HEADER_BYTES>() else { return };
    if item.segments == 1 {
        *place = VnetHeader::PLAIN.encode();
        return;
    }
    let headers = item.headers;
    let total = item.total as usize;
    let transport_length = total - headers.ip;
    headers.set_ip_length(packet, total);
    if headers.protocol == Protocol::Udp {
        put_u16(packet, headers.ip + udp::LENGTH, transport_length as u16);
    }
    let field = headers.ip + headers.protocol.checksum_offset();
    let sum = headers.pseudo_sum(packet, transport_length).fold();
    put_u16(packet, field, sum);
    let gso_type = match (headers.protocol, headers.version) {
        (Protocol::Tcp, Version::V4) => GsoType::TcpV4,
        (Protocol::Tcp, Version::V6) => GsoType::TcpV6,
        (Protocol::Udp, _) => GsoType::Udp,
    };
    *place = VnetHeader {
        needs_checksum: true,
        gso_type,
        gso_size: item.segment_payload,
        header_length: headers.all as u16,
        checksum_start: headers.ip as u16,
        checksum_offset: headers.protocol.checksum_offset() as u16,
    }
    .encode();
}
