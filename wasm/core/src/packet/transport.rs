//! TCP and UDP headers as far as segmentation needs them, for IPv4 and IPv6 alike. RFC 9293 §3.1, RFC 768.

use super::address::Version;
use super::checksum::Sum;

pub const IPV4_HEADER_BYTES: usize = 20;
pub const IPV6_HEADER_BYTES: usize = 40;
pub const UDP_HEADER_BYTES: usize = 8;
const TCP_HEADER_BYTES: usize = 20;

/// TCP flags, the byte at offset 13.
pub mod flags {
    pub const FIN: u8 = 0x01;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const CWR: u8 = 0x80;
}

/// Offsets from the start of the TCP header.
pub mod tcp {
    pub const SEQUENCE: usize = 4;
    pub const FLAGS: usize = 13;
    pub const CHECKSUM: usize = 16;
}

/// Offsets from the start of the UDP header.
pub mod udp {
    pub const LENGTH: usize = 4;
    pub const CHECKSUM: usize = 6;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    pub const fn checksum_offset(self) -> usize {
        match self {
            Protocol::Tcp => tcp::CHECKSUM,
            Protocol::Udp => udp::CHECKSUM,
        }
    }
}

/// Where the headers of a plain TCP or UDP packet end: no IPv4 options, no fragments, no IPv6 extension headers. Packets
/// with any of those are neither split nor merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers {
    pub version: Version,
    pub protocol: Protocol,
    /// Bytes of the IP header: where the transport header starts.
    pub ip: usize,
    /// Bytes of both headers: where the payload starts.
    pub all: usize,
}

impl Headers {
    /// Of a packet that is neither split nor merged; equal to no parsed one.
    pub const NONE: Headers = Headers { version: Version::V4, protocol: Protocol::Tcp, ip: 0, all: 0 };

    pub fn parse(packet: &[u8]) -> Option<Headers> {
        let (version, ip, protocol) = match packet.first()? >> 4 {
            4 => {
                let header: &[u8; IPV4_HEADER_BYTES] = packet.first_chunk()?;
                let [version_ihl, _, _, _, _, _, fragment_high, fragment_low, _, protocol, ..] = *header;
                let is_fragment = fragment_high & 0x3f != 0 || fragment_low != 0;
                if version_ihl != 0x45 || is_fragment {
                    return None;
                }
                (Version::V4, IPV4_HEADER_BYTES, protocol)
            }
            6 => (Version::V6, IPV6_HEADER_BYTES, *packet.get(6)?),
            _ => return None,
        };
        let transport = packet.get(ip..)?;
        let (protocol, length) = match protocol {
            6 => {
                let length = usize::from(*transport.get(12)? >> 4) * 4;
                (Protocol::Tcp, Some(length).filter(|&length| length >= TCP_HEADER_BYTES)?)
            }
            17 => (Protocol::Udp, UDP_HEADER_BYTES),
            _ => return None,
        };
        (transport.len() >= length).then_some(Headers { version, protocol, ip, all: ip + length })
    }

    /// Whether two packets with these headers could be of one flow.
    pub fn is_alike(&self, other: &Headers) -> bool {
        (self.version, self.protocol, self.ip) == (other.version, other.protocol, other.ip)
    }

    /// The sum over the pseudo-header: addresses, protocol and the transport length. RFC 9293 §3.1, RFC 8200 §8.1.
    pub fn pseudo_sum(&self, packet: &[u8], transport_length: usize) -> Sum {
        let addresses = match self.version {
            Version::V4 => packet.get(12..20),
            Version::V6 => packet.get(8..40),
        };
        Sum::default()
            .add(addresses.unwrap_or_default())
            .add_u16(u16::from(self.protocol.number()))
            .add_u32(transport_length as u32)
    }

    /// Whether the transport checksum of this whole packet holds. A UDP checksum of zero over IPv4 was never made.
    pub fn checksum_holds(&self, packet: &[u8]) -> bool {
        let transport = packet.get(self.ip..).unwrap_or_default();
        self.pseudo_sum(packet, transport.len()).add(transport).finish() == 0
    }

    /// Whether the IPv4 header checksum holds; IPv6 has none.
    pub fn ip_checksum_holds(&self, packet: &[u8]) -> bool {
        let header = packet.get(..IPV4_HEADER_BYTES).unwrap_or_default();
        self.version == Version::V6 || Sum::default().add(header).finish() == 0
    }

    /// Writes the IP length for a packet of `total` bytes, and the IPv4 header checksum.
    pub fn set_ip_length(&self, packet: &mut [u8], total: usize) {
        match self.version {
            Version::V4 => {
                put_u16(packet, 2, total as u16);
                put_u16(packet, 10, 0);
                let sum = Sum::default().add(packet.get(..IPV4_HEADER_BYTES).unwrap_or_default());
                put_u16(packet, 10, sum.finish());
            }
            Version::V6 => put_u16(packet, 4, (total - IPV6_HEADER_BYTES) as u16),
        }
    }
}

pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Writes where there is room; callers have checked that there is.
pub fn put_u16(bytes: &mut [u8], offset: usize, value: u16) {
    if let Some(place) = bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut) {
        *place = value.to_be_bytes();
    }
}

pub fn put_u32(bytes: &mut [u8], offset: usize, value: u32) {
    if let Some(place) = bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut) {
        *place = value.to_be_bytes();
    }
}
