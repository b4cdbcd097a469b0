//! The walk of a handshake message, initiation or response: mac1 → under load mac2 and the bucket of its source → its
//! place among those that wait. Later, when data has had its turn: Diffie-Hellman → peer → tunnel → reply.
//! WireGuard paper §5.3, Linux `drivers/net/wireguard/receive.c`. What load is, and how long this may take: `waiting.rs`.

use crate::arena::NO_PEER;
use crate::cookies::Cookies;
use crate::counters::DropReason;
use crate::device::{Device, SEND_RESERVE};
use crate::handshake_gate;
use crate::host::{self, Millis};
use crate::message::{InitiationFields, Message};
use crate::packet::address::Endpoint;
use crate::source_buckets::SourceBuckets;
use crate::waiting::{Load, Waiting};
use crate::ways::Which;

/// What stands between a handshake message and the first Diffie-Hellman.
pub struct Gate {
    pub waiting: Waiting,
    cookies: Cookies,
    buckets: SourceBuckets,
}

impl Gate {
    pub fn new() -> Self {
        Gate { waiting: Waiting::new(), cookies: Cookies::default(), buckets: SourceBuckets::default() }
    }

    /// Lets a message wait whose mac1 is right, or says why not. [`DropReason::HandshakeCookie`] asks for a cookie reply.
    fn enter(&mut self, datagram: &[u8], from: Endpoint, now: Millis) -> Result<(), DropReason> {
        let load = self.waiting.load(now);
        if load != Load::Nobody {
            let is_proven = self.cookies.verifies_mac2(datagram, &from, now);
            if !is_proven && load == Load::Everyone {
                return Err(DropReason::HandshakeCookie);
            }
            if !self.buckets.take(&from, is_proven, now) {
                let beyond = if is_proven {
                    DropReason::HandshakeSourceRate
                } else {
                    DropReason::HandshakeCookie // the owner of the address may not be who emptied the bucket
                };
                return Err(beyond);
            }
        }
        self.waiting.push(datagram, from, now).then_some(()).ok_or(DropReason::HandshakeQueueFull)
    }
}

impl Device {
    /// Takes in an initiation or response, of the peer that calls itself `sender`.
    pub(crate) fn take_handshake(
        &mut self,
        datagram: &[u8],
        sender: u32,
        from: Endpoint,
        now: Millis,
    ) -> Result<(), DropReason> {
        let (_, identity) = self.shared.addressed(datagram)?;
        let cookie_key = *identity.cookie_key();
        let entered = self.gate.enter(datagram, from, now);
        // Never so many replies that a peer's own messages find no room.
        if entered == Err(DropReason::HandshakeCookie)
            && self.shared.send.free() > SEND_RESERVE
            && let Some(reply) = self.gate.cookies.reply(&cookie_key, datagram, sender, &from, now)
            && let Some(room) = self.shared.send.room(reply.len())
        {
            room.copy_from_slice(&reply);
            self.shared.send.push(reply.len(), from, NO_PEER);
        }
        entered
    }

    /// Works on the handshakes that wait, as long as data leaves time for. Returns the messages to send.
    pub fn handshakes(&mut self) -> usize {
        let now = host::now();
        self.shared.send.clear();
        let started = host::stopwatch();
        let allowed = self.gate.waiting.allowance(started);
        let mut spent = 0;
        while spent < allowed
            && self.shared.send.free() > SEND_RESERVE
            && let Some(handshake) = self.gate.waiting.pop()
        {
            if let Err(reason) = self.shake_hands(handshake.datagram(), handshake.from, now) {
                self.shared.counters.drop(reason);
            }
            spent = host::stopwatch() - started;
        }
        self.gate.waiting.worked(spent, started + spent);
        self.shared.send.count()
    }

    fn shake_hands(&mut self, datagram: &[u8], from: Endpoint, now: Millis) -> Result<(), DropReason> {
        match Message::parse(datagram).ok_or(DropReason::MalformedMessage)? {
            Message::Initiation { sender, .. } => {
                let (id, which) = self.admit_initiation(datagram, now)?;
                let (peer, shared) = self.peer_and_shared(id).ok_or(DropReason::UnknownPeer)?;
                peer.receive_initiation(datagram, (which, sender), from, now, shared)
            }
            Message::Response { sender, receiver, ephemeral } => {
                let id = self.shared.indices.peer(receiver).ok_or(DropReason::UnknownIndex)?;
                if handshake_gate::is_low_order(ephemeral) {
                    return Err(DropReason::LowOrderKey);
                }
                let (peer, shared) = self.peer_and_shared(id).ok_or(DropReason::UnknownPeer)?;
                peer.receive_response(datagram, (sender, receiver), from, now, shared)
            }
            Message::CookieReply { .. } | Message::Transport { .. } => Err(DropReason::MalformedMessage),
        }
    }

    /// Whose initiation this is, if it is a new one of a peer, and the keys to answer it with. Only then does it reach
    /// that peer's tunnel.
    fn admit_initiation(&mut self, datagram: &[u8], now: Millis) -> Result<(u32, Which), DropReason> {
        let (own, identity) = self.shared.addressed(datagram)?;
        let initiation = InitiationFields::parse(datagram).ok_or(DropReason::MalformedMessage)?;
        let opened = identity.open_static(&initiation)?;
        let id = self.by_key.get(&opened.key).copied().ok_or(DropReason::UnknownPeer)?;
        let peer = self.peers.get_mut(id as usize).and_then(Option::as_mut).ok_or(DropReason::UnknownPeer)?;
        let which = peer.admit((own, identity), &opened, &initiation, now)?;
        Ok((id, which))
    }
}
