//! What hosts say to each other through their tunnel: joining and rotating keys. Such a message begins like no IP packet,
//! so it never reaches a TUN device, neither ours nor that of another implementation, and no packet of a user is one.
//!
//! ```text
//! 0 'R' │ 1 'F' │ 2 length u16 LE │ 4 message │ zeros up to a multiple of 16
//! ```
//!
//! A peer may fill none of it: each has a bucket, all together a short queue.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use crate::host::Millis;

/// IP version 5, which nobody routes: other implementations drop it like any other packet that is not IP.
const MAGIC: [u8; 2] = *b"RF";
const HEADER_BYTES: usize = 4;
/// Fits every MTU together with its header.
const LARGEST_MESSAGE_BYTES: usize = 512;
const MOST_WAITING: usize = 32;
/// A peer may say so much at once, and then one message in each interval.
const BURST: u8 = 8;
const INTERVAL_MS: Millis = 50;

/// The message in a packet; `None` if the packet is none of ours.
pub fn parse(packet: &[u8]) -> Option<&[u8]> {
    let rest = packet.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk()?;
    rest.get(..usize::from(u16::from_le_bytes(*length)))
}

/// A message as the packet that carries it. `None` if it is too long.
pub fn frame(message: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let length = u16::try_from(message.len()).ok().filter(|&n| usize::from(n) <= LARGEST_MESSAGE_BYTES)?;
    let mut packet = Zeroizing::new(Vec::with_capacity(HEADER_BYTES + LARGEST_MESSAGE_BYTES + 16));
    packet.extend_from_slice(&MAGIC);
    packet.extend_from_slice(&length.to_le_bytes());
    packet.extend_from_slice(message);
    let padded = packet.len().next_multiple_of(16);
    packet.resize(padded, 0);
    Some(packet)
}

/// Messages that the host has not fetched yet, oldest first, each behind the number of its peer.
#[derive(Default)]
pub struct Heard(VecDeque<Zeroizing<Vec<u8>>>);

impl Heard {
    /// False when it is too long, or too many wait.
    pub fn push(&mut self, peer: u32, message: &[u8]) -> bool {
        if self.0.len() >= MOST_WAITING || message.len() > LARGEST_MESSAGE_BYTES {
            return false;
        }
        self.0.push_back(Zeroizing::new([&peer.to_le_bytes(), message].concat()));
        true
    }

    pub fn pop(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.0.pop_front()
    }
}

/// How much one peer has said lately.
#[derive(Default)]
pub struct TalkBucket {
    spent: u8,
    since: Millis,
}

impl TalkBucket {
    pub fn take(&mut self, now: Millis) -> bool {
        let regained = now.saturating_sub(self.since) / INTERVAL_MS;
        self.since += regained * INTERVAL_MS;
        self.spent = self.spent.saturating_sub(u8::try_from(regained).unwrap_or(u8::MAX));
        let has_room = self.spent < BURST;
        self.spent += u8::from(has_room);
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_is_parsed_and_no_ip_packet_is() {
        for length in [0, 1, 11, 12, 13, 500, LARGEST_MESSAGE_BYTES] {
            let message: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let packet = frame(&message).unwrap();
            assert_eq!(packet.len() % 16, 0);
            assert_eq!(parse(&packet), Some(&message[..]));
        }
        assert!(frame(&[0; LARGEST_MESSAGE_BYTES + 1]).is_none());
        for first in (0x40..=0x4f).chain(0x60..=0x6f) {
            assert_eq!(parse(&[first, b'F', 0, 0, 0, 0]), None);
        }
        for cut in [&b"R"[..], b"RF", b"RF\x01", b"RF\x01\x00", b"RF\xff\xff\x00"] {
            assert_eq!(parse(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn neither_one_peer_nor_all_together_fill_more_than_there_is() {
        let mut bucket = TalkBucket::default();
        let said = |bucket: &mut TalkBucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(said(&mut bucket, 10_000), usize::from(BURST));
        assert_eq!(said(&mut bucket, 10_000), 0);
        assert_eq!(said(&mut bucket, 10_000 + 3 * INTERVAL_MS), 3);
        assert_eq!(said(&mut bucket, 1_000_000), usize::from(BURST));
        let mut heard = Heard::default();
        assert_eq!((0..100).filter(|_| heard.push(7, &[1; 8])).count(), MOST_WAITING);
        assert_eq!(*heard.pop().unwrap(), [7, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert!(heard.push(7, &[]) && !heard.push(7, &[]));
        assert!(!Heard::default().push(0, &[0; LARGEST_MESSAGE_BYTES + 1]));
    }
}
