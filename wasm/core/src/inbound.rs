//! The walk of a datagram from the underlay: form → receiver index or static key → peer → decapsulate →
//! whole-table source check → frame for the TUN device. What fails is counted and answered with silence.

use crate::arena::Intake;
use crate::counters::DropReason;
use crate::device::Device;
use crate::handshake_gate;
use crate::host::{self, Millis};
use crate::message::{InitiationFields, Message};
use crate::packet::address::Endpoint;
use crate::packet::ip::IpHeader;

impl Device {
    /// Takes the datagrams of the first `count` entries of the receive column. Returns the entries to write; replies wait
    /// in the send column.
    pub fn inbound(&mut self, intake: &Intake, count: usize) -> usize {
        let now = host::now();
        self.write.clear();
        self.shared.send.clear();
        for slot in 0..count {
            let Some((datagrams, from)) = intake.receive.datagrams_in(slot) else {
                self.shared.counters.drop(DropReason::MalformedMessage);
                continue;
            };
            for datagram in datagrams {
                if let Err(reason) = self.take_datagram(datagram, from, now) {
                    self.shared.counters.drop(reason);
                }
            }
        }
        self.write.finish()
    }

    fn take_datagram(&mut self, datagram: &[u8], from: Endpoint, now: Millis) -> Result<(), DropReason> {
        let message = Message::parse(datagram).ok_or(DropReason::MalformedMessage)?;
        let id = match message {
            Message::Initiation { .. } => self.admit_initiation(datagram, now)?,
            Message::Response { receiver, .. }
            | Message::CookieReply { receiver }
            | Message::Transport { receiver, .. } => {
                self.shared.indices.peer(receiver).ok_or(DropReason::UnknownIndex)?
            }
        };
        let peer = self.peers.get_mut(id as usize).and_then(Option::as_mut).ok_or(DropReason::UnknownPeer)?;
        match message {
            Message::Initiation { sender, .. } => {
                peer.receive_initiation(datagram, sender, from, now, &mut self.shared)
            }
            Message::Response { ephemeral, .. } if handshake_gate::is_low_order(ephemeral) => {
                Err(DropReason::LowOrderKey)
            }
            Message::Response { sender, receiver, .. } => {
                peer.receive_response(datagram, (sender, receiver), from, now, &mut self.shared)
            }
            Message::CookieReply { .. } => peer.receive_cookie_reply(datagram),
            Message::Transport { receiver, counter } => {
                let room = self.write.room(datagram.len()).ok_or(DropReason::ArenaFull)?;
                let length =
                    peer.receive_transport(datagram, (receiver, counter), from, room, now, &mut self.shared)?;
                if length == 0 {
                    return Ok(());
                }
                let header =
                    room.get(..length).and_then(IpHeader::parse).ok_or(DropReason::InnerMalformed)?;
                if self.allowed_ips.lookup(header.source) != Some(id) {
                    return Err(DropReason::SourceNotAllowed);
                }
                self.write.push(header.total_length).then_some(()).ok_or(DropReason::ArenaFull)
            }
        }
    }

    /// Whose initiation this is, if it is a new one of a peer. Only then does it reach that peer's tunnel.
    fn admit_initiation(&mut self, datagram: &[u8], now: Millis) -> Result<u32, DropReason> {
        let identity = self.shared.identity.as_ref().ok_or(DropReason::NoIdentity)?;
        if !identity.verifies_mac1(datagram) {
            return Err(DropReason::BadMac1);
        }
        let initiation = InitiationFields::parse(datagram).ok_or(DropReason::MalformedMessage)?;
        let opened = identity.open_static(&initiation)?;
        let id = self.by_key.get(&opened.key).copied().ok_or(DropReason::UnknownPeer)?;
        let peer = self.peers.get_mut(id as usize).and_then(Option::as_mut).ok_or(DropReason::UnknownPeer)?;
        peer.admit(identity, &opened, &initiation, now)?;
        Ok(id)
    }
}
