//! The header before every frame of the TUN device: what the kernel left undone, or may leave undone.
//!
//! ```text
//! 0 flags u8 │ 1 gso_type u8 │ 2 hdr_len u16 │ 4 gso_size u16 │ 6 csum_start u16 │ 8 csum_offset u16   (little-endian)
//! ```

pub const VNET_HEADER_BYTES: usize = 10;

/// The checksum field holds the sum of the pseudo-header only.
const NEEDS_CHECKSUM: u8 = 1;
/// Set beside the type when the superpacket carries CWR.
const GSO_ECN: u8 = 0x80;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GsoType {
    None,
    TcpV4,
    TcpV6,
    /// Datagrams of equal size, each with a header of its own. Linux 6.2.
    Udp,
}

impl GsoType {
    fn parse(value: u8) -> Option<GsoType> {
        match value & !GSO_ECN {
            0 => Some(GsoType::None),
            1 => Some(GsoType::TcpV4),
            4 => Some(GsoType::TcpV6),
            5 => Some(GsoType::Udp),
            _ => None,
        }
    }

    const fn number(self) -> u8 {
        match self {
            GsoType::None => 0,
            GsoType::TcpV4 => 1,
            GsoType::TcpV6 => 4,
            GsoType::Udp => 5,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VnetHeader {
    pub needs_checksum: bool,
    pub gso_type: GsoType,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Bytes of all headers of a superpacket.
    pub header_length: u16,
    pub checksum_start: u16,
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Of a frame that is whole as it stands.
    pub const PLAIN: VnetHeader = VnetHeader {
        needs_checksum: false,
        gso_type: GsoType::None,
        gso_size: 0,
        header_length: 0,
        checksum_start: 0,
        checksum_offset: 0,
    };

    pub fn parse(bytes: &[u8; VNET_HEADER_BYTES]) -> Option<VnetHeader> {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = *bytes;
        Some(VnetHeader {
            needs_checksum: flags & NEEDS_CHECKSUM != 0,
            gso_type: GsoType::parse(gso_type)?,
            header_length: u16::from_le_bytes([h0, h1]),
            gso_size: u16::from_le_bytes([g0, g1]),
            checksum_start: u16::from_le_bytes([s0, s1]),
            checksum_offset: u16::from_le_bytes([o0, o1]),
        })
    }

    pub fn encode(&self) -> [u8; VNET_HEADER_BYTES] {
        let flags = if self.needs_checksum { NEEDS_CHECKSUM } else { 0 };
        let [h0, h1] = self.header_length.to_le_bytes();
        let [g0, g1] = self.gso_size.to_le_bytes();
        let [s0, s1] = self.checksum_start.to_le_bytes();
        let [o0, o1] = self.checksum_offset.to_le_bytes();
        [flags, self.gso_type.number(), h0, h1, g0, g1, s0, s1, o0, o1]
    }
}
