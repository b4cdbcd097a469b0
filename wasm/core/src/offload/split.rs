//! A superpacket from the TUN device, segment by segment, without moving its payload: the headers of each segment are
//! written over the end of the one before, which has been sealed by then.
//!
//! ```text
//! superpacket   │ headers │ payload 0        │ payload 1        │ payload 2 │
//! segment 0     │ headers │ payload 0        │
//! segment 1                        │ headers │ payload 1        │
//! segment 2                                           │ headers │ payload 2 │ zeros up to 16
//! ```

use super::vnet::{GsoType, VnetHeader};
use crate::packet::address::Version;
use crate::packet::checksum::Sum;
use crate::packet::transport::{Headers, Protocol, flags, put_u16, put_u32, tcp, u16_at, u32_at, udp};

/// IP and TCP headers are at most this long: 40 + 60.
const LONGEST_HEADERS: usize = 128;

/// How a frame is to be taken apart.
pub enum Split {
    /// One packet as it stands.
    Whole,
    Segments(Segments),
}

impl Split {
    /// `None` for a frame whose header does not fit what follows it. `packet` is exactly the frame's IP packet; a missing
    /// checksum is put in.
    pub fn plan(header: &VnetHeader, packet: &mut [u8]) -> Option<Split> {
        if header.gso_type == GsoType::None {
            if header.needs_checksum {
                finish_checksum(header, packet)?;
            }
            return Some(Split::Whole);
        }
        Segments::new(header, packet).map(Split::Segments)
    }
}

/// The kernel left the pseudo-header's sum in the field: the checksum runs from `checksum_start` to the end. `None` for
/// one that would lie in the IP header, by which the packet was routed.
fn finish_checksum(header: &VnetHeader, packet: &mut [u8]) -> Option<()> {
    let start = usize::from(header.checksum_start);
    if start < ip_header_bytes(packet)? {
        return None;
    }
    let field = start + usize::from(header.checksum_offset);
    packet.get(field..field + 2)?;
    let checksum = Sum::default().add(packet.get(start..)?).finish();
    // A UDP checksum of zero would mean that there is none. RFC 768. For TCP both mean the same.
    put_u16(packet, field, if checksum == 0 { 0xffff } else { checksum });
    Some(())
}

fn ip_header_bytes(packet: &[u8]) -> Option<usize> {
    let first = packet.first()?;
    Some(if first >> 4 == 4 { usize::from(first & 0x0f) * 4 } else { 40 })
}

/// The segments of one superpacket, in order.
pub struct Segments {
    headers: Headers,
    /// The headers of the superpacket: each segment's are made from them.
    template: [u8; LONGEST_HEADERS],
    segment_payload: usize,
    total: usize,
    /// Payload bytes handed out.
    done: usize,
    index: u16,
}

/// Where a segment lies in the superpacket's bytes.
pub struct Segment {
    pub start: usize,
    pub end: usize,
}

impl Segments {
    fn new(header: &VnetHeader, packet: &[u8]) -> Option<Segments> {
        let headers = Headers::parse(packet)?;
        let fits = matches!(
            (header.gso_type, headers.protocol, headers.version),
            (GsoType::TcpV4, Protocol::Tcp, Version::V4)
                | (GsoType::TcpV6, Protocol::Tcp, Version::V6)
                | (GsoType::Udp, Protocol::Udp, _)
        );
        let segment_payload = usize::from(header.gso_size);
        let payload = packet.len().checked_sub(headers.all)?;
        if !fits || segment_payload == 0 || payload == 0 {
            return None;
        }
        let mut template = [0; LONGEST_HEADERS];
        template.get_mut(..headers.all)?.copy_from_slice(packet.get(..headers.all)?);
        Some(Segments { headers, template, segment_payload, total: packet.len(), done: 0, index: 0 })
    }

    /// Makes the next segment in place. The one before must have been used up: its end is written over.
    pub fn next(&mut self, bytes: &mut [u8]) -> Option<Segment> {
        let start = self.done;
        let payload_start = self.headers.all + self.done;
        let payload = self.segment_payload.min(self.total.checked_sub(payload_start)?);
        if payload == 0 {
            return None;
        }
        let end = payload_start + payload;
        let is_last = end == self.total;
        let segment = bytes.get_mut(start..end)?;
        segment.get_mut(..self.headers.all)?.copy_from_slice(self.template.get(..self.headers.all)?);
        self.write_ip(segment);
        self.write_transport(segment, is_last);
        self.done += payload;
        self.index = self.index.wrapping_add(1);
        Some(Segment { start, end })
    }

    fn write_ip(&self, segment: &mut [u8]) {
        if self.headers.version == Version::V4 {
            let id = u16_at(&self.template, 4).unwrap_or(0).wrapping_add(self.index);
            put_u16(segment, 4, id);
        }
        let length = segment.len();
        self.headers.set_ip_length(segment, length);
    }

    fn write_transport(&self, segment: &mut [u8], is_last: bool) {
        let Headers { ip, protocol, .. } = self.headers;
        let length = segment.len() - ip;
        let field = ip + protocol.checksum_offset();
        match protocol {
            Protocol::Tcp => {
                let sequence = u32_at(&self.template, ip + tcp::SEQUENCE).unwrap_or(0);
                put_u32(segment, ip + tcp::SEQUENCE, sequence.wrapping_add(self.done as u32));
                if let Some(flag_byte) = segment.get_mut(ip + tcp::FLAGS) {
                    if !is_last {
                        *flag_byte &= !(flags::FIN | flags::PSH);
                    }
                    if self.index > 0 {
                        *flag_byte &= !flags::CWR;
                    }
                }
            }
            Protocol::Udp => put_u16(segment, ip + udp::LENGTH, length as u16),
        }
        put_u16(segment, field, 0);
        let transport = segment.get(ip..).unwrap_or_default();
        let checksum = self.headers.pseudo_sum(segment, length).add(transport).finish();
        put_u16(segment, field, if checksum == 0 && protocol == Protocol::Udp { 0xffff } else { checksum });
    }
}
