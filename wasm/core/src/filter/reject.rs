//! What a denied packet is answered with where the policy says `reject`: a TCP reset, else ICMP's "administratively
//! prohibited"; and what one is that does not fit where it is to go. Built from the packet's own headers turned round; the
//! rate per peer is bounded by who calls.

use crate::packet::address::{Address, Version};
use crate::packet::checksum::Sum;
use crate::packet::transport::u32_at;

use super::packet::{ICMP, ICMPV6, Packet, TCP, is_icmp};

/// Of the packet, this much goes back inside an ICMP error.
const QUOTE_BYTES: usize = 72;
pub const ANSWER_BYTES: usize = 40 + 8 + QUOTE_BYTES;
const HOP_LIMIT: u8 = 64;
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// An answer and its length.
pub struct Answer {
    bytes: [u8; ANSWER_BYTES],
    length: usize,
}

impl Answer {
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The answer to `packet`, whose bytes are `whole`. None where silence is asked for: resets, ICMP that is no request,
/// groups, and pieces of datagrams. RFC 1122 §3.2.2, RFC 4443 §2.4.
pub fn answer(packet: &Packet<'_>, whole: &[u8]) -> Option<Answer> {
    let is_request = matches!((packet.protocol, packet.icmp_type()), (ICMP, 8) | (ICMPV6, 128));
    let is_silent = packet.fragment.is_some() || is_icmp(packet.protocol) && !is_request;
    if is_silent || !is_unicast(packet.destination) || !is_unicast(packet.source) {
        return None;
    }
    let mut body = [0; 8 + QUOTE_BYTES];
    let (protocol, length) = match packet.protocol {
        TCP => (TCP, reset(packet.transport, &mut body)?),
        _ => match packet.source.version {
            Version::V4 => (ICMP, error([3, 13], 0, whole, &mut body)),
            Version::V6 => (ICMPV6, error([1, 1], 0, whole, &mut body)),
        },
    };
    checked(packet, protocol, body.get_mut(..length)?)
}

/// The answer to a packet longer than the `mtu` of its way, with its first pieces only: RFC 1191 §4, RFC 4443 §3.2.
pub fn too_big(packet: &Packet<'_>, whole: &[u8], mtu: usize) -> Option<Answer> {
    let is_later_piece = packet.fragment.is_some_and(|fragment| !fragment.is_first());
    if is_later_piece || !is_unicast(packet.destination) || !is_unicast(packet.source) {
        return None;
    }
    let mut body = [0; 8 + QUOTE_BYTES];
    let (protocol, length) = match packet.source.version {
        Version::V4 => (ICMP, error([3, 4], mtu as u32, whole, &mut body)),
        Version::V6 => (ICMPV6, error([2, 0], mtu as u32, whole, &mut body)),
    };
    checked(packet, protocol, body.get_mut(..length)?)
}

/// The packet of `body`, whose checksum is written into it.
fn checked(packet: &Packet<'_>, protocol: u8, body: &mut [u8]) -> Option<Answer> {
    let has_pseudo_header = protocol != ICMP;
    let mut sum = Sum::default().add(body);
    if has_pseudo_header {
        sum = sum.add(&packet.source.bits.to_be_bytes()).add(&packet.destination.bits.to_be_bytes());
        sum = sum.add_u16(u16::from(protocol)).add_u32(body.len() as u32);
    }
    let at = if protocol == TCP { 16 } else { 2 };
    body.get_mut(at..)?.first_chunk_mut().map(|place: &mut [u8; 2]| *place = sum.finish().to_be_bytes())?;
    framed(packet, protocol, body)
}

fn is_unicast(address: Address) -> bool {
    let first = (address.bits >> 120) as u8;
    match address.version {
        Version::V4 => first < 224 && first != 0,
        Version::V6 => first != 0xff && address.bits != 0,
    }
}

/// RFC 9293 §3.10.7.1: what a host answers where nothing listens.
fn reset(segment: &[u8], body: &mut [u8]) -> Option<usize> {
    let flags = *segment.get(13)?;
    if flags & RST != 0 {
        return None;
    }
    let header_bytes = usize::from(*segment.get(12)? >> 4) * 4;
    let length = segment.len().checked_sub(header_bytes)? as u32
        + u32::from(flags & SYN != 0)
        + u32::from(flags & FIN != 0);
    let (sequence, acknowledgement, flags) = match flags & ACK {
        0 => (0, u32_at(segment, 4)?.wrapping_add(length), RST | ACK),
        _ => (u32_at(segment, 8)?, 0, RST),
    };
    let [a, b, c, d, ..] = *segment else { return None };
    let fields: [&[u8]; 4] =
        [&[c, d, a, b], &sequence.to_be_bytes(), &acknowledgement.to_be_bytes(), &[5 << 4, flags]];
    body.iter_mut().zip(fields.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    Some(20)
}

/// An ICMP error about a packet: type and code, no checksum yet, four bytes that depend on the type.
fn error(kind: [u8; 2], rest: u32, whole: &[u8], body: &mut [u8]) -> usize {
    let quote = whole.get(..QUOTE_BYTES).unwrap_or(whole);
    let rest = rest.to_be_bytes();
    let message = kind.iter().chain(&[0; 2]).chain(&rest).chain(quote);
    body.iter_mut().zip(message).for_each(|(to, from)| *to = *from);
    8 + quote.len()
}

fn framed(packet: &Packet<'_>, protocol: u8, body: &[u8]) -> Option<Answer> {
    let mut bytes = [0; ANSWER_BYTES];
    let (from, to) = (packet.destination.bits.to_be_bytes(), packet.source.bits.to_be_bytes());
    let header_bytes = match packet.source.version {
        Version::V4 => {
            let length = (20 + body.len()) as u16;
            let header = bytes.first_chunk_mut::<20>()?;
            header.first_chunk_mut::<4>().map(|start| {
                let [high, low] = length.to_be_bytes();
                *start = [0x45, 0, high, low];
            })?;
            header.get_mut(8..10)?.copy_from_slice(&[HOP_LIMIT, protocol]);
            header.get_mut(12..16)?.copy_from_slice(from.first_chunk::<4>()?);
            header.get_mut(16..20)?.copy_from_slice(to.first_chunk::<4>()?);
            let sum = Sum::default().add(header).finish();
            header.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
            20
        }
        Version::V6 => {
            let header = bytes.first_chunk_mut::<40>()?;
            *header.first_mut()? = 0x60;
            header.get_mut(4..6)?.copy_from_slice(&(body.len() as u16).to_be_bytes());
            header.get_mut(6..8)?.copy_from_slice(&[protocol, HOP_LIMIT]);
            header.get_mut(8..24)?.copy_from_slice(&from);
            header.get_mut(24..40)?.copy_from_slice(&to);
            40
        }
    };
    bytes.get_mut(header_bytes..header_bytes + body.len())?.copy_from_slice(body);
    Some(Answer { bytes, length: header_bytes + body.len() })
}
