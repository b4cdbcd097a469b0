//! IPv4 and IPv6 addresses in one representation, and the two ends of a datagram as the host writes them.

/// An IP address as the trie sees it: the version, and the bits left-aligned, so that a prefix of `n` bits is
/// the top `n` bits in both families.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub version: Version,
    pub bits: u128,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V4,
    V6,
}

impl Version {
    /// Parses the number hosts use for a family: 4 or 6.
    pub fn parse(number: u32) -> Option<Version> {
        match number {
            4 => Some(Version::V4),
            6 => Some(Version::V6),
            _ => None,
        }
    }

    pub const fn address_bits(self) -> u8 {
        match self {
            Version::V4 => 32,
            Version::V6 => 128,
        }
    }
}

impl Address {
    pub fn v4(octets: [u8; 4]) -> Self {
        Address { version: Version::V4, bits: u128::from(u32::from_be_bytes(octets)) << 96 }
    }

    pub fn v6(octets: [u8; 16]) -> Self {
        Address { version: Version::V6, bits: u128::from_be_bytes(octets) }
    }
}

/// Both ends of a datagram, laid out as in a datagram entry. `family` 0 means there is none; a `local` of
/// zeros leaves the choice of source address to the kernel.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endpoint {
    pub family: u16,
    pub port: u16,
    pub scope: u32,
    pub remote: [u8; 16],
    pub local: [u8; 16],
}

impl Endpoint {
    pub const BYTES: usize = size_of::<Endpoint>();

    pub fn is_set(&self) -> bool {
        self.family != 0
    }

    /// The remote address: 4 bytes, 16, or none.
    pub fn address_bytes(&self) -> &[u8] {
        let length = match self.family {
            4 => 4,
            6 => 16,
            _ => 0,
        };
        self.remote.get(..length).unwrap_or_default()
    }

    /// Reads an endpoint from a control block; a family that is neither 4, 6 nor 0 is refused.
    pub fn parse(bytes: &[u8]) -> Option<Endpoint> {
        let family = u16::from_le_bytes(*bytes.first_chunk()?);
        let port = u16::from_le_bytes(*bytes.get(2..)?.first_chunk()?);
        let scope = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        let remote = *bytes.get(8..)?.first_chunk()?;
        let local = *bytes.get(24..)?.first_chunk()?;
        matches!(family, 0 | 4 | 6).then_some(Endpoint { family, port, scope, remote, local })
    }

    pub fn encode(&self) -> [u8; Endpoint::BYTES] {
        let mut bytes = [0; Endpoint::BYTES];
        let fields: [&[u8]; 5] = [
            &self.family.to_le_bytes(),
            &self.port.to_le_bytes(),
            &self.scope.to_le_bytes(),
            &self.remote,
            &self.local,
        ];
        let source = fields.into_iter().flatten();
        bytes.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
        bytes
    }
}
const _: () = assert!(size_of::<Endpoint>() == 40);
