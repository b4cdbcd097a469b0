//! The walk of a frame from the TUN device: header → longest prefix → peer → split → pad → encapsulate → send column.
//! What fails is counted; the sender learns nothing yet.

use crate::arena::{Intake, ReadPacket};
use crate::counters::DropReason;
use crate::device::Device;
use crate::host::{self, Millis};
use crate::offload::split::{Segment, Split};
use crate::offload::vnet::{VNET_HEADER_BYTES, VnetHeader};
use crate::packet::ip::IpHeader;

/// Packets are padded to a multiple of this. WireGuard paper §5.4.6.
const PADDING: usize = 16;

impl Device {
    /// Takes the first `count` frames of the read column. Returns the messages to send.
    pub fn outbound(&mut self, intake: &mut Intake, count: usize) -> usize {
        let now = host::now();
        self.shared.send.clear();
        for slot in 0..count {
            let taken = match intake.read.frame(slot) {
                Some((header, packet)) => self.take_frame(header, packet, now),
                None => Err(DropReason::FrameMalformed),
            };
            if let Err(reason) = taken {
                self.shared.counters.drop(reason);
            }
        }
        self.shared.send.count()
    }

    /// A superpacket is parsed and routed once; its segments differ in what the peer never looks at.
    fn take_frame(
        &mut self,
        header: &[u8; VNET_HEADER_BYTES],
        mut packet: ReadPacket<'_>,
        now: Millis,
    ) -> Result<(), DropReason> {
        let vnet = VnetHeader::parse(header).ok_or(DropReason::FrameMalformed)?;
        let ip = IpHeader::parse(packet.packet()).ok_or(DropReason::FrameMalformed)?;
        let id = self.allowed_ips.lookup(ip.destination).ok_or(DropReason::NoRoute)?;
        let peer = self.peers.get_mut(id as usize).and_then(Option::as_mut).ok_or(DropReason::NoRoute)?;
        let (mtu, shared) = (self.mtu, &mut self.shared);
        match Split::plan(&vnet, packet.packet_mut()).ok_or(DropReason::FrameMalformed)? {
            Split::Whole => {
                let length = packet.packet().len();
                packet.with_padding(0, length, padded_length(length, mtu), |padded| {
                    peer.send(padded, now, shared)
                });
            }
            Split::Segments(mut segments) => {
                while let Some(Segment { start, end }) = segments.next(packet.packet_mut()) {
                    let padded = padded_length(end - start, mtu);
                    packet.with_padding(start, end, padded, |padded| peer.send(padded, now, shared));
                }
            }
        }
        Ok(())
    }
}

/// Up to the next multiple of 16, but not beyond the MTU, and never less than there is.
fn padded_length(length: usize, mtu: usize) -> usize {
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
