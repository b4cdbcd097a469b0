//! The walk of a frame from the TUN device: header → longest prefix → peer → pad → encapsulate → send column.
//! What fails is counted; the sender learns nothing yet.

use crate::counters::DropReason;
use crate::device::Device;
use crate::host::{self, Millis};
use crate::packet::ip::IpHeader;

/// Packets are padded to a multiple of this. WireGuard paper §5.4.6.
const PADDING: usize = 16;

impl Device {
    /// Takes the first `count` frames of the read column. Returns the messages to send.
    pub fn outbound(&mut self, count: usize) -> usize {
        let now = host::now();
        self.shared.send.clear();
        for slot in 0..count {
            if let Err(reason) = self.take_frame(slot, now) {
                self.shared.counters.drop(reason);
            }
        }
        self.shared.send.count()
    }

    fn take_frame(&mut self, slot: usize, now: Millis) -> Result<(), DropReason> {
        let mtu = self.mtu();
        let frame = self
            .read
            .padded_frame(slot, |length| padded_length(length, mtu))
            .ok_or(DropReason::FrameMalformed)?;
        let header = IpHeader::parse(frame.packet()).ok_or(DropReason::FrameMalformed)?;
        let id = self.allowed_ips.lookup(header.destination).ok_or(DropReason::NoRoute)?;
        let peer = self.peers.get_mut(id as usize).and_then(Option::as_mut).ok_or(DropReason::NoRoute)?;
        peer.send(frame.padded(), now, &mut self.shared);
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
