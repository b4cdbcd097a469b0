//! The walk of a frame from the TUN device: header → longest prefix, for all frames of a batch together → peer → filter →
//! split → pad → encapsulate → send column. What fails is counted; the sender learns
//! of it only where the policy says so: its answers wait in the write column.

use crate::allowed_ips::NO_PEER;
use crate::arena::{Intake, READ_SLOTS, ReadPacket};
use crate::counters::DropReason;
use crate::device::Device;
use crate::filter::{Leg, Turn};
use crate::host::{self, Millis};
use crate::offload::split::{Segment, Split};
use crate::offload::vnet::{VNET_HEADER_BYTES, VnetHeader};
use crate::packet::address::Address;
use crate::packet::ip::IpHeader;

/// Packets are padded to a multiple of this. WireGuard paper §5.4.6.
const PADDING: usize = 16;

impl Device {
    /// Takes the first `count` frames of the read column. Returns the messages to send.
    pub fn outbound(&mut self, intake: &mut Intake, count: usize) -> usize {
        let now = host::now();
        self.shared.send.clear();
        self.write.clear();
        let routes = self.route(intake, count);
        for (slot, &id) in routes.iter().enumerate().take(count) {
            let taken = match intake.read.frame(slot) {
                Some((header, packet)) => self.take_frame(header, packet, id, now),
                None => Err(DropReason::FrameMalformed),
            };
            match taken {
                Ok(()) => self.gate.waiting.data_flowed(),
                Err(reason) => self.shared.counters.drop(reason),
            }
        }
        self.answers = if self.write.is_empty() { 0 } else { self.write.finish() };
        self.shared.send.count()
    }

    /// The peer of each frame, all looked up together: what one waits for from memory, the others wait for meanwhile.
    fn route(&self, intake: &mut Intake, count: usize) -> [u32; READ_SLOTS] {
        let mut destinations = [Address::v4([0; 4]); READ_SLOTS];
        let mut peers = [NO_PEER; READ_SLOTS];
        for (slot, destination) in destinations.iter_mut().enumerate().take(count) {
            let packet = intake.read.frame(slot).and_then(|(_, packet)| IpHeader::parse(packet.packet()));
            *destination = packet.map_or(*destination, |header| header.destination);
        }
        if let (Some(destinations), Some(peers)) = (destinations.get(..count), peers.get_mut(..count)) {
            self.allowed_ips.lookup_all(destinations, peers);
        }
        peers
    }

    /// A superpacket is parsed and routed once; its segments differ in what the peer never looks at.
    fn take_frame(
        &mut self,
        header: &[u8; VNET_HEADER_BYTES],
        mut packet: ReadPacket<'_>,
        id: u32,
        now: Millis,
    ) -> Result<(), DropReason> {
        let vnet = VnetHeader::parse(header).ok_or(DropReason::FrameMalformed)?;
        IpHeader::parse(packet.packet()).ok_or(DropReason::FrameMalformed)?;
        let peer = self.peers.get_mut(id as usize).and_then(Option::as_mut).ok_or(DropReason::NoRoute)?;
        let passed = match self.filter.pass(Leg::Out, id, packet.packet(), now) {
            Ok(passed) => passed,
            Err(reason) => {
                if reason.is_denial()
                    && let Some(answer) = self.filter.answer(id, packet.packet(), now)
                {
                    self.write.push_copy(answer.bytes());
                }
                return Err(reason);
            }
        };
        let (mtu, shared, filter) = (self.mtu, &mut self.shared, &mut self.filter);
        let is_limited = filter.is_limited(id);
        let (mut packets, mut bytes) = (0, 0);
        let mut send = |packet: &mut ReadPacket<'_>, start: usize, end: usize| {
            if is_limited {
                let segment = packet.packet().get(start..end).unwrap_or_default();
                match filter.turn(Leg::Out, id, segment, now) {
                    Turn::Now => {}
                    Turn::Waits => {
                        (packets, bytes) = (packets + 1, bytes + end - start);
                        return;
                    }
                    Turn::Dropped => return shared.counters.drop(DropReason::OverRate),
                }
            }
            (packets, bytes) = (packets + 1, bytes + end - start);
            let padded = padded_length(end - start, mtu);
            packet.with_padding(start, end, padded, |padded| peer.send(padded, now, shared));
        };
        match Split::plan(&vnet, packet.packet_mut()).ok_or(DropReason::FrameMalformed)? {
            Split::Whole => {
                let length = packet.packet().len();
                send(&mut packet, 0, length);
            }
            Split::Segments(mut segments) => {
                while let Some(Segment { start, end }) = segments.next(packet.packet_mut()) {
                    send(&mut packet, start, end);
                }
            }
        }
        self.filter.count(passed, packets, bytes);
        Ok(())
    }
}

/// Up to the next multiple of 16, but not beyond the MTU, and never less than there is.
pub fn padded_length(length: usize, mtu: usize) -> usize {
    length.next_multiple_of(PADDING).min(mtu.max(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_stops_at_the_mtu() {
        let cases = [
            (20, 1420, 32),
            (32, 1420, 32),
            (1419, 1420, 1420),
            (1420, 1420, 1420),
            (1500, 1420, 1500),
            (40, 0, 40),
        ];
        for (length, mtu, want) in cases {
            assert_eq!(padded_length(length, mtu), want, "{length} bytes at MTU {mtu}");
        }
    }
}
