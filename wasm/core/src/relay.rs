//! The walk of a packet that goes to the internet by way of another peer, and of what comes back: in from one tunnel, out to
//! the other, one hop less, and the host never sees it. Who goes where, `filter/exit.rs` says.

use crate::allowed_ips::AllowedIps;
use crate::counters::DropReason;
use crate::filter::{Answer, Filter, Leg, Onward, Turn};
use crate::host::Millis;
use crate::outbound::padded_length;
use crate::packet::checksum::Sum;
use crate::packet::ip::IpHeader;
use crate::peer::{Peer, Shared};

const DONT_FRAGMENT: u8 = 0x40;

/// What of the device this walk needs, beside the packet.
pub struct Relay<'a> {
    pub peers: &'a mut [Option<Box<Peer>>],
    pub filter: &'a mut Filter,
    pub shared: &'a mut Shared,
    pub allowed_ips: &'a AllowedIps,
    /// Of the tunnels: 0 = any.
    pub mtu: usize,
    pub now: Millis,
}

impl Relay<'_> {
    /// Sends the first `length` bytes of `room`, a packet that came in from the peer `from`, where it goes on. Behind them is
    /// room for padding. What `from` should know is sent back to it.
    pub fn send(
        mut self,
        room: &mut [u8],
        length: usize,
        from: u32,
        onward: Onward,
    ) -> Result<(), DropReason> {
        let packet = room.get_mut(..length).ok_or(DropReason::InnerMalformed)?;
        let to = match onward {
            Onward::Exit(exit) => exit,
            Onward::Back => {
                let header = IpHeader::parse(packet).ok_or(DropReason::InnerMalformed)?;
                self.allowed_ips.lookup(header.destination).ok_or(DropReason::NoRoute)?
            }
            Onward::Host => return Err(DropReason::NoRoute),
        };
        if self.mtu != 0 && length > self.mtu && !may_be_cut(packet) {
            let answer = self.filter.too_big(from, packet, self.mtu, self.now);
            self.tell(from, answer);
            return Err(DropReason::TooBig);
        }
        take_hop(packet).ok_or(DropReason::HopLimit)?;
        let passed = match self.filter.pass_relayed(to, packet, self.now) {
            Ok(passed) => passed,
            Err(reason) => {
                let answer = self.filter.answer(from, packet, self.now).filter(|_| reason.is_denial());
                self.tell(from, answer);
                return Err(reason);
            }
        };
        let turn = match self.filter.is_limited(to) {
            true => self.filter.turn(Leg::Out, to, packet, self.now),
            false => Turn::Now,
        };
        if turn == Turn::Dropped {
            return Err(DropReason::OverRate);
        }
        self.filter.count(passed, 1, length);
        if turn == Turn::Now { self.seal(room, length, to) } else { Ok(()) }
    }

    fn seal(self, room: &mut [u8], length: usize, to: u32) -> Result<(), DropReason> {
        let peer = self.peers.get_mut(to as usize).and_then(Option::as_mut).ok_or(DropReason::NoRoute)?;
        let padded = padded_length(length, self.mtu);
        if let Some(padding) = room.get_mut(length..padded) {
            padding.fill(0);
        }
        peer.send(room.get(..padded).ok_or(DropReason::ArenaFull)?, self.now, self.shared);
        Ok(())
    }

    fn tell(&mut self, peer: u32, answer: Option<Answer>) {
        if let (Some(answer), Some(Some(peer))) = (answer, self.peers.get_mut(peer as usize)) {
            peer.send(answer.bytes(), self.now, self.shared);
        }
    }
}

/// Whether somebody on the way may send a packet in pieces: in IPv4, unless its sender forbids it.
fn may_be_cut(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 4)
        && packet.get(6).is_some_and(|flags| flags & DONT_FRAGMENT == 0)
}

/// One hop less, or None for a packet that has had its last. RFC 1812 §5.3.1, RFC 8200 §3; the packet has been parsed.
fn take_hop(packet: &mut [u8]) -> Option<()> {
    let is_v4 = packet.first()? >> 4 == 4;
    let hops = packet.get_mut(if is_v4 { 8 } else { 7 })?;
    *hops = hops.checked_sub(1).filter(|&left| left > 0)?;
    if !is_v4 {
        return Some(());
    }
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    packet.get_mut(10..12)?.fill(0);
    let sum = Sum::default().add(packet.get(..header_bytes)?).finish();
    packet.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_less_and_a_checksum_that_holds() {
        let mut v4 = vec![0x45, 0, 0, 20, 0, 1, 0, 0, 2, 17, 0, 0, 10, 9, 0, 2, 9, 9, 9, 9];
        assert_eq!(take_hop(&mut v4), Some(()));
        assert_eq!((v4[8], Sum::default().add(&v4).finish()), (1, 0));
        assert_eq!(take_hop(&mut v4), None, "the last hop was this one");
        let mut v6 = vec![0; 40];
        (v6[0], v6[7]) = (0x60, 64);
        assert_eq!((take_hop(&mut v6), v6[7]), (Some(()), 63));
    }

    #[test]
    fn what_may_be_cut() {
        let v4 = |flags| [0x45, 0, 0, 20, 0, 1, flags, 0];
        assert!(may_be_cut(&v4(0)));
        assert!(!may_be_cut(&v4(DONT_FRAGMENT)));
        assert!(!may_be_cut(&[0x60; 40]));
    }
}
