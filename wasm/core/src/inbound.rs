//! The walk of a datagram from the underlay: form → receiver index → peer → decapsulate → whole-table source check →
//! filter → frame for the TUN device, or out again to another peer (`relay.rs`). Handshakes wait at the gate (`handshakes.rs`) until the data of the batch is through.
//! What fails is counted and answered with silence.

use crate::arena::{Intake, RECEIVE_SLOTS};
use crate::counters::DropReason;
use crate::device::Device;
use crate::filter::{Leg, Onward, Turn};
use crate::host::{self, Millis};
use crate::message::Message;
use crate::packet::address::Endpoint;
use crate::packet::ip::IpHeader;
use crate::relay::Relay;
use crate::talk;

impl Device {
    /// Takes the datagrams of the first `count` entries of the receive column. Returns the entries to write; replies wait
    /// in the send column.
    pub fn inbound(&mut self, intake: &Intake, count: usize) -> usize {
        let now = host::now();
        self.write.clear();
        self.shared.send.clear();
        if count == RECEIVE_SLOTS {
            self.gate.waiting.data_flowed(); // more has come than fits: data may be behind it
        }
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
        match Message::parse(datagram).ok_or(DropReason::MalformedMessage)? {
            Message::Transport { receiver, counter } => {
                self.take_transport(datagram, (receiver, counter), from, now)
            }
            Message::Initiation { sender, .. } | Message::Response { sender, .. } => {
                self.take_handshake(datagram, sender, from, now)
            }
            Message::CookieReply { receiver } => {
                let id = self.shared.indices.peer(receiver).ok_or(DropReason::UnknownIndex)?;
                let (peer, _) = self.peer_and_shared(id).ok_or(DropReason::UnknownPeer)?;
                peer.receive_cookie_reply(datagram, receiver, now)
            }
        }
    }

    fn take_transport(
        &mut self,
        datagram: &[u8],
        (receiver, counter): (u32, u64),
        from: Endpoint,
        now: Millis,
    ) -> Result<(), DropReason> {
        let id = self.shared.indices.peer(receiver).ok_or(DropReason::UnknownIndex)?;
        let peer = self.peers.get_mut(id as usize).and_then(Option::as_mut).ok_or(DropReason::UnknownPeer)?;
        let room = self.write.room(datagram.len()).ok_or(DropReason::ArenaFull)?;
        let length =
            peer.receive_transport(datagram, (receiver, counter), from, room, now, &mut self.shared)?;
        if length == 0 {
            return Ok(());
        }
        self.gate.waiting.data_flowed();
        if let Some(message) = room.get(..length).and_then(talk::parse) {
            let taken = peer.may_talk(now) && self.heard.push(id, message);
            return taken.then_some(()).ok_or(DropReason::TalkRefused);
        }
        let header = room.get(..length).and_then(IpHeader::parse).ok_or(DropReason::InnerMalformed)?;
        let may_be_source = self.allowed_ips.lookup(header.source) == Some(id);
        if !may_be_source && !self.filter.answers_for_internet(id, &header) {
            return Err(DropReason::SourceNotAllowed);
        }
        let packet = room.get(..header.total_length).ok_or(DropReason::InnerMalformed)?;
        let (onward, passed) = match self.filter.admit(id, packet, now) {
            Ok(admitted) => admitted,
            Err(reason) => {
                if reason.is_denial()
                    && let Some(answer) = self.filter.answer(id, packet, now)
                {
                    peer.send(answer.bytes(), now, &mut self.shared);
                }
                return Err(reason);
            }
        };
        if self.filter.is_limited(id) {
            match self.filter.turn(Leg::In, id, packet, now) {
                Turn::Now => {}
                Turn::Waits => {
                    self.filter.count(passed, 1, packet.len());
                    return Ok(());
                }
                Turn::Dropped => return Err(DropReason::OverRate),
            }
        }
        self.filter.count(passed, 1, header.total_length);
        if onward == Onward::Host {
            return self.write.push(header.total_length).then_some(()).ok_or(DropReason::ArenaFull);
        }
        let Device { peers, filter, shared, mtu, allowed_ips, .. } = self;
        Relay { peers, filter, shared, allowed_ips, mtu: *mtu, now }.send(
            room,
            header.total_length,
            id,
            onward,
        )
    }
}
