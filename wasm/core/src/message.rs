//! The four WireGuard messages as far as they can be told apart without a key. WireGuard paper §5.4.2–5.4.7.
//! Length, type and reserved bytes are checked here, before anything else looks at a datagram.

pub const INITIATION_BYTES: usize = 148;
pub const RESPONSE_BYTES: usize = 92;
pub const COOKIE_REPLY_BYTES: usize = 64;
/// Type, receiver index, counter and tag: what a transport message adds to its packet.
pub const TRANSPORT_OVERHEAD_BYTES: usize = 32;

/// Reject-After-Messages, Linux `drivers/net/wireguard/messages.h`: 2^64 − 2^13 − 1.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Rekey-After-Messages.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    Initiation { sender: u32, ephemeral: &'a [u8; 32] },
    Response { sender: u32, receiver: u32, ephemeral: &'a [u8; 32] },
    CookieReply { receiver: u32 },
    Transport { receiver: u32, counter: u64 },
}

impl Message<'_> {
    /// `None` for anything that is not exactly one of the four.
    pub fn parse(datagram: &[u8]) -> Option<Message<'_>> {
        let kind = u32::from_le_bytes(*datagram.first_chunk()?);
        match (kind, datagram.len()) {
            (1, INITIATION_BYTES) => Some(Message::Initiation {
                sender: u32_at(datagram, 4)?,
                ephemeral: datagram.get(8..)?.first_chunk()?,
            }),
            (2, RESPONSE_BYTES) => Some(Message::Response {
                sender: u32_at(datagram, 4)?,
                receiver: u32_at(datagram, 8)?,
                ephemeral: datagram.get(12..)?.first_chunk()?,
            }),
            (3, COOKIE_REPLY_BYTES) => Some(Message::CookieReply { receiver: u32_at(datagram, 4)? }),
            (4, TRANSPORT_OVERHEAD_BYTES..) => Some(Message::Transport {
                receiver: u32_at(datagram, 4)?,
                counter: u64::from_le_bytes(*datagram.get(8..)?.first_chunk()?),
            }),
            _ => None,
        }
    }
}

/// What an initiation carries for its responder alone, each in its place.
#[derive(Clone, Copy)]
pub struct InitiationFields<'a> {
    pub ephemeral: &'a [u8; 32],
    pub sealed_static: &'a [u8; 48],
    pub sealed_timestamp: &'a [u8; 28],
}

impl InitiationFields<'_> {
    /// `None` unless it has the length of an initiation.
    pub fn parse(datagram: &[u8]) -> Option<InitiationFields<'_>> {
        let datagram: &[u8; INITIATION_BYTES] = datagram.try_into().ok()?;
        Some(InitiationFields {
            ephemeral: datagram.get(8..)?.first_chunk()?,
            sealed_static: datagram.get(40..)?.first_chunk()?,
            sealed_timestamp: datagram.get(88..)?.first_chunk()?,
        })
    }
}

/// Takes a handshake message apart for its macs: what mac1 covers, mac1, mac2. `None` if it is shorter than both.
pub fn split_macs(datagram: &[u8]) -> Option<(&[u8], &[u8; 16], &[u8; 16])> {
    let (rest, mac2) = datagram.split_last_chunk()?;
    let (covered, mac1) = rest.split_last_chunk()?;
    Some((covered, mac1, mac2))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_lengths_and_zero_reserved_bytes_pass() {
        for kind in 0..=255u8 {
            for length in 0..=200usize {
                let mut datagram = vec![0; length];
                if let Some(first) = datagram.first_mut() {
                    *first = kind;
                }
                let valid = matches!((kind, length), (1, 148) | (2, 92) | (3, 64) | (4, 32..));
                assert_eq!(Message::parse(&datagram).is_some(), valid, "type {kind}, {length} bytes");
                if valid {
                    for reserved in 1..4 {
                        datagram[reserved] = 1;
                        assert_eq!(Message::parse(&datagram), None, "reserved byte {reserved}");
                        datagram[reserved] = 0;
                    }
                }
            }
        }
    }
}
