//! The walk of packets that had to wait for the rate of their peer: those whose tokens have come go on as if they had just
//! been let through. The host calls it when [`Device::release_at`] says so.

use crate::counters::DropReason;
use crate::device::{Device, SEND_RESERVE};
use crate::filter::{Due, Leg, Onward};
use crate::host::{self, Millis};
use crate::outbound::padded_length;
use crate::relay::Relay;

/// Packets that leave by one call: the columns hold them, and what has just come need not wait long.
const MOST_AT_ONCE: usize = 256;
/// The same in bytes: half of what the queues of one call hold.
const MOST_BYTES_AT_ONCE: usize = 2 << 20;

impl Device {
    /// When the first packet that waits may leave; None = none waits.
    pub fn release_at(&self) -> Option<Millis> {
        self.filter.next_due()
    }

    /// Lets go what may leave now, as far as the columns reach. Returns the messages to send; frames to write are counted by
    /// `Device::answers`.
    pub fn release(&mut self) -> usize {
        let now = host::now();
        self.shared.send.clear();
        self.write.clear();
        let (mut packets, mut bytes) = (0, 0);
        while packets < MOST_AT_ONCE
            && bytes < MOST_BYTES_AT_ONCE
            && self.shared.send.free() >= SEND_RESERVE
            && let Some(due) = self.filter.pop_due(now)
        {
            packets += 1;
            match due {
                Ok(due) => {
                    bytes += due.length;
                    self.let_go(&due, now);
                }
                Err(reason) => self.shared.counters.drop(reason),
            }
        }
        self.answers = if self.write.is_empty() { 0 } else { self.write.finish() };
        self.shared.send.count()
    }

    /// A packet from a peer goes to the host, or on to another tunnel.
    fn let_in(&mut self, peer: u32, length: usize, now: Millis) -> Result<(), DropReason> {
        let mut room = self.filter.take_due();
        let packet = room.get(..length).unwrap_or_default();
        let sent = match self.filter.onward_late(peer, packet, now) {
            Ok(Onward::Host) => {
                self.write.push_copy(packet);
                Ok(())
            }
            Ok(onward) => {
                let Device { peers, filter, shared, mtu, allowed_ips, .. } = self;
                let relay = Relay { peers, filter, shared, allowed_ips, mtu: *mtu, now };
                relay.send(&mut room, length, peer, onward)
            }
            Err(reason) => Err(reason),
        };
        self.filter.give_back_due(room);
        sent
    }

    fn let_go(&mut self, &Due { leg, peer, length, .. }: &Due, now: Millis) {
        match leg {
            Leg::In => {
                if let Err(reason) = self.let_in(peer, length, now) {
                    self.shared.counters.drop(reason);
                }
            }
            Leg::Out => {
                let padded = padded_length(length, self.mtu);
                let room = self.filter.due_packet();
                if let Some(padding) = room.get_mut(length..padded) {
                    padding.fill(0);
                }
                let peer = self.peers.get_mut(peer as usize).and_then(Option::as_mut);
                match (peer, room.get(..padded)) {
                    (Some(peer), Some(packet)) => peer.send(packet, now, &mut self.shared),
                    _ => self.shared.counters.drop(DropReason::UnknownPeer),
                }
            }
        }
    }
}
