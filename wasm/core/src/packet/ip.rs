//! The fields of an IP header that routing and the source check need. RFC 791 §3.1, RFC 8200 §3.

use super::address::Address;

const V4_HEADER_BYTES: usize = 20;
const V6_HEADER_BYTES: usize = 40;

/// What the core knows of an IP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpHeader {
    pub source: Address,
    pub destination: Address,
    /// Bytes of the whole packet as its header claims; never more than there are.
    pub total_length: usize,
}

impl IpHeader {
    /// Parses the header of `packet`, which may be followed by padding. `None` for what is neither IPv4 nor
    /// IPv6, for a cut header, and for a length below the header or beyond the bytes at hand.
    pub fn parse(packet: &[u8]) -> Option<IpHeader> {
        let header = match packet.first()? >> 4 {
            4 => Self::parse_v4(packet)?,
            6 => Self::parse_v6(packet)?,
            _ => return None,
        };
        (header.total_length <= packet.len()).then_some(header)
    }

    fn parse_v4(packet: &[u8]) -> Option<IpHeader> {
        let header: &[u8; V4_HEADER_BYTES] = packet.first_chunk()?;
        let [version_ihl, _, high, low, _, _, _, _, _, _, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
        let header_bytes = usize::from(version_ihl & 0x0f) * 4;
        let total_length = usize::from(u16::from_be_bytes([high, low]));
        if header_bytes < V4_HEADER_BYTES || total_length < header_bytes {
            return None;
        }
        Some(IpHeader {
            source: Address::v4([s0, s1, s2, s3]),
            destination: Address::v4([d0, d1, d2, d3]),
            total_length,
        })
    }

    fn parse_v6(packet: &[u8]) -> Option<IpHeader> {
        let header: &[u8; V6_HEADER_BYTES] = packet.first_chunk()?;
        let payload = u16::from_be_bytes(*header.get(4..)?.first_chunk()?);
        Some(IpHeader {
            source: Address::v6(*header.get(8..)?.first_chunk()?),
            destination: Address::v6(*header.get(24..)?.first_chunk()?),
            total_length: V6_HEADER_BYTES + usize::from(payload),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::address::Version;

    fn v4(first: u8, total: u16, bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; bytes];
        packet[0] = first;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[12..16].copy_from_slice(&[10, 9, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 9, 0, 2]);
        packet
    }

    #[test]
    fn reads_both_versions() {
        let header = IpHeader::parse(&v4(0x45, 28, 32)).unwrap();
        assert_eq!(header.total_length, 28);
        assert_eq!(header.source, Address::v4([10, 9, 0, 1]));
        assert_eq!(header.destination, Address::v4([10, 9, 0, 2]));

        let mut packet = vec![0; 48];
        packet[0] = 0x60;
        packet[5] = 8;
        packet[23] = 1;
        packet[39] = 2;
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!((header.total_length, header.source.version), (48, Version::V6));
        assert_eq!(header.source.bits, 1);
        assert_eq!(header.destination.bits, 2);
    }

    #[test]
    fn refuses_what_lies_about_itself() {
        let cases: [(&str, Vec<u8>); 10] = [
            ("empty", vec![]),
            ("version 5", v4(0x55, 20, 20)),
            ("cut IPv4 header", v4(0x45, 20, 20)[..19].to_vec()),
            ("header length below 20", v4(0x44, 20, 20)),
            ("total length 0", v4(0x45, 0, 20)),
            ("total length below the header", v4(0x45, 19, 20)),
            ("total length below the header with options", v4(0x46, 20, 24)),
            ("total length beyond the bytes", v4(0x45, 21, 20)),
            ("cut IPv6 header", vec![0x60; 39]),
            ("IPv6 payload beyond the bytes", [vec![0x60], vec![0xff; 39]].concat()),
        ];
        for (name, packet) in cases {
            assert_eq!(IpHeader::parse(&packet), None, "{name}");
        }
    }
}
