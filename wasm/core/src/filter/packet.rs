//! What the filter reads of a packet: addresses, protocol, ports or ICMP type, and its place among fragments. IPv6 extension
//! headers are walked up to a bound. Whatever hides from the rules what they read is dropped here, each under its reason.

use crate::counters::DropReason;
use crate::packet::address::{Address, Version};
use crate::packet::ip::IpHeader;
use crate::packet::transport::{u16_at, u32_at};

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const DCCP: u8 = 33;
const IPV6_ROUTING: u8 = 43;
const IPV6_FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
pub const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// Extension headers before the transport header; RFC 8200 §4.1 knows seven, each once but one.
const MOST_EXTENSIONS: usize = 8;
const IPV6_HEADER_BYTES: usize = 40;

/// A packet as the filter sees it; borrows its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub source: Address,
    pub destination: Address,
    /// What follows the IP header and its extensions, by number. Of a fragment that is not the first: what its own
    /// header says, which may be one more extension.
    pub protocol: u8,
    /// None for a packet that is whole.
    pub fragment: Option<Fragment>,
    /// From the transport header to the end of the packet.
    pub transport: &'a [u8],
    /// Bytes of the whole packet.
    pub length: usize,
}

/// A part of a datagram, in units of eight bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    pub id: u32,
    pub first: u16,
    /// The first unit behind it.
    pub end: u16,
}

impl Fragment {
    /// Whether it begins the datagram, with the headers that rules read.
    pub fn is_first(&self) -> bool {
        self.first == 0
    }
}

/// Whether packets of this protocol have a port or a type for rules to read.
pub fn has_ports(protocol: u8) -> bool {
    smallest_header(protocol).is_some()
}

pub fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, ICMP | ICMPV6)
}

/// Bytes that must be there before anything is decided: a first fragment shorter than this hides what rules read.
/// RFC 1858 §3, RFC 7112.
fn smallest_header(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(20),
        UDP | ICMP | ICMPV6 | UDP_LITE => Some(8),
        SCTP | DCCP => Some(12),
        _ => None,
    }
}

impl<'a> Packet<'a> {
    /// Reads a packet; `bytes` may be longer than it.
    pub fn parse(bytes: &'a [u8]) -> Result<Packet<'a>, DropReason> {
        let header = IpHeader::parse(bytes).ok_or(DropReason::CutHeader)?;
        let whole = bytes.get(..header.total_length).ok_or(DropReason::CutHeader)?;
        let (protocol, fragment, transport) = match header.source.version {
            Version::V4 => walk_v4(whole),
            Version::V6 => walk_v6(whole),
        }?;
        let packet = Packet {
            source: header.source,
            destination: header.destination,
            protocol,
            fragment,
            transport,
            length: header.total_length,
        };
        if fragment.is_none_or(|fragment| fragment.is_first()) {
            packet.check_transport()?;
        }
        Ok(packet)
    }

    /// The packet that an ICMP error carries: of its end, which is often cut, only what tells the flow is needed.
    pub fn parse_quoted(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let (source, destination) = addresses(bytes)?;
        let walked = match source.version {
            Version::V4 => walk_v4(bytes),
            Version::V6 => walk_v6(bytes),
        };
        let (protocol, fragment, transport) = walked.ok()?;
        let tells = fragment.is_none_or(|fragment| fragment.is_first()) && transport.len() >= 8;
        tells.then_some(Packet { source, destination, protocol, fragment, transport, length: bytes.len() })
    }

    fn check_transport(&self) -> Result<(), DropReason> {
        let Some(smallest) = smallest_header(self.protocol) else { return Ok(()) };
        if self.transport.len() < smallest {
            let is_whole = self.fragment.is_none();
            return Err(if is_whole { DropReason::CutHeader } else { DropReason::BadFragment });
        }
        Ok(())
    }

    /// Source and destination port; zeros where there are none.
    pub fn ports(&self) -> (u16, u16) {
        if is_icmp(self.protocol) || !has_ports(self.protocol) {
            return (0, 0);
        }
        match *self.transport {
            [a, b, c, d, ..] => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            _ => (0, 0),
        }
    }

    /// Of ICMP and ICMPv6.
    pub fn icmp_type(&self) -> u8 {
        self.transport.first().copied().unwrap_or_default()
    }

    /// The identifier of an echo or its reply.
    pub fn icmp_id(&self) -> u16 {
        u16_at(self.transport, 4).unwrap_or_default()
    }
}

/// Protocol, place among fragments, and what follows the headers.
type Walked<'a> = Result<(u8, Option<Fragment>, &'a [u8]), DropReason>;

fn walk_v4(packet: &[u8]) -> Walked<'_> {
    let &[version_ihl, _, _, _, id_high, id_low, fragment_high, fragment_low, _, protocol, ..] = packet
    else {
        return Err(DropReason::CutHeader);
    };
    let transport = packet.get(usize::from(version_ihl & 0x0f) * 4..).ok_or(DropReason::CutHeader)?;
    let field = u16::from_be_bytes([fragment_high, fragment_low]);
    if field & 0x3fff == 0 {
        return Ok((protocol, None, transport));
    }
    let id = u32::from(u16::from_be_bytes([id_high, id_low]));
    let fragment = fragment(id, field & 0x1fff, field & 0x2000 != 0, transport)?;
    check_offset(&fragment, protocol)?;
    Ok((protocol, Some(fragment), transport))
}

fn walk_v6(packet: &[u8]) -> Walked<'_> {
    let mut next = *packet.get(6).ok_or(DropReason::CutHeader)?;
    let mut rest = packet.get(IPV6_HEADER_BYTES..).ok_or(DropReason::CutHeader)?;
    let mut part = None;
    for _ in 0..=MOST_EXTENSIONS {
        let length = match next {
            // Hop-by-hop options, destination options, mobility, HIP, Shim6: length in units of eight beyond the first.
            0 | 60 | 135 | 139 | 140 => extension_length(rest, 8, 8),
            IPV6_ROUTING => {
                // RFC 5095: type 0 makes a packet go back and forth, and hides where it goes.
                if rest.get(2).is_none_or(|&kind| kind == 0) {
                    return Err(DropReason::BadExtensions);
                }
                extension_length(rest, 8, 8)
            }
            AUTHENTICATION => extension_length(rest, 4, 8),
            IPV6_FRAGMENT => {
                let (Some(field), Some(id), None) = (u16_at(rest, 2), u32_at(rest, 4), part) else {
                    return Err(DropReason::BadExtensions);
                };
                let behind = rest.get(8..).ok_or(DropReason::CutHeader)?;
                // RFC 6946: an atomic fragment is a whole packet.
                if field & !0x0006 != 0 {
                    let fragment = fragment(id, field >> 3, field & 1 != 0, behind)?;
                    let protocol = rest.first().copied().unwrap_or_default();
                    if !fragment.is_first() {
                        check_offset(&fragment, protocol)?;
                        return Ok((protocol, Some(fragment), behind));
                    }
                    part = Some(fragment);
                }
                Some(8)
            }
            protocol => return Ok((protocol, part, rest)),
        };
        let length = length.ok_or(DropReason::CutHeader)?;
        // RFC 7112: all headers are in the first fragment.
        let cut = if part.is_some() { DropReason::BadFragment } else { DropReason::CutHeader };
        next = *rest.first().ok_or(cut)?;
        rest = rest.get(length..).ok_or(cut)?;
    }
    Err(DropReason::BadExtensions)
}

fn extension_length(header: &[u8], unit: usize, base: usize) -> Option<usize> {
    header.get(1).map(|&units| usize::from(units) * unit + base)
}

fn fragment(id: u32, first: u16, more: bool, payload: &[u8]) -> Result<Fragment, DropReason> {
    // Only the last may end within a unit; none may be empty or reach beyond the longest datagram.
    let units = payload.len().div_ceil(8);
    let is_uneven = more && !payload.len().is_multiple_of(8);
    let end = usize::from(first) + units;
    if is_uneven || units == 0 || end > 8192 {
        return Err(DropReason::BadFragment);
    }
    Ok(Fragment { id, first, end: end as u16 })
}

/// A fragment that begins within the header that rules read would write over what they have read. RFC 3128.
fn check_offset(fragment: &Fragment, protocol: u8) -> Result<(), DropReason> {
    let header = smallest_header(protocol).unwrap_or(8);
    let overlaps = !fragment.is_first() && usize::from(fragment.first) * 8 < header;
    if overlaps { Err(DropReason::BadFragment) } else { Ok(()) }
}

/// Source and destination of a packet that may be cut anywhere behind its IP header.
fn addresses(packet: &[u8]) -> Option<(Address, Address)> {
    match packet.first()? >> 4 {
        4 if packet.first()? & 0x0f >= 5 => Some((
            Address::v4(*packet.get(12..)?.first_chunk()?),
            Address::v4(*packet.get(16..)?.first_chunk()?),
        )),
        6 => Some((
            Address::v6(*packet.get(8..)?.first_chunk()?),
            Address::v6(*packet.get(24..)?.first_chunk()?),
        )),
        _ => None,
    }
}
