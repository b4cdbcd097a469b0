//! One peer: its keys (`ways.rs`), its handshakes (`tunnel.rs`), its sessions (`sessions.rs`) and what ties them together: staging, timers,
//! roaming, counts of whole messages. `docs/deviations.md` lists what boringtun lacks; rows are named where they close.
//!
//! INVARIANT: boringtun only moves its clock in `update_timers`, so every entry here first calls `advance`. Sessions do
//! not depend on it: they look at the time of each packet (row 5).

use crate::admission::Admission;
use crate::arena::SendQueue;
use crate::control::Key;
use crate::counters::{Counters, DropReason};
use crate::device::PeerSettings;
use crate::handshake_gate::Identity;
use crate::host::Millis;
use crate::index_table::{IndexBase, IndexTable};
use crate::message::{INITIATION_BYTES, InitiationFields, RESPONSE_BYTES, TRANSPORT_OVERHEAD_BYTES};
use crate::noise::OpenedStatic;
use crate::packet::address::Endpoint;
use crate::sessions::Sessions;
use crate::staging::{Staged, StagingBudget};
use crate::talk::TalkBucket;
use crate::timers::Timers;
use crate::tunnel::{Due, HANDSHAKE_ROOM, Tunnel};
use crate::ways::{Own, Way, Ways, Which};

/// boringtun's clock is at most this old when a packet is handled.
const ADVANCE_EVERY_MS: Millis = 200;

/// What all peers of a device share while packets are handled.
pub struct Shared {
    pub send: SendQueue,
    pub counters: Counters,
    pub staging: StagingBudget,
    /// Initiations sent since the host last asked: Diffie-Hellman must not keep data waiting.
    pub initiations: usize,
    /// Our key pair, once the host has given us one.
    pub identity: Option<Identity>,
    /// The key pair that is to follow it: initiations to either are answered.
    pub next_identity: Option<Identity>,
    pub indices: IndexTable,
}

impl Shared {
    pub fn identity_of(&self, own: Own) -> Option<&Identity> {
        match own {
            Own::Current => self.identity.as_ref(),
            Own::Next => self.next_identity.as_ref(),
        }
    }

    /// Which of our key pairs a handshake message is for, by its mac1.
    pub fn addressed(&self, datagram: &[u8]) -> Result<(Own, &Identity), DropReason> {
        let current = self.identity.as_ref().ok_or(DropReason::NoIdentity)?;
        if current.verifies_mac1(datagram) {
            return Ok((Own::Current, current));
        }
        match &self.next_identity {
            Some(next) if next.verifies_mac1(datagram) => Ok((Own::Next, next)),
            _ => Err(DropReason::BadMac1),
        }
    }
}

pub struct Peer {
    id: u32,
    ways: Ways,
    /// Indices of tunnels that are gone, with sessions that are not.
    retired: Vec<IndexBase>,
    /// A key has changed: a handshake is to follow while the sessions made with the old one last.
    renewal_due: bool,
    endpoint: Endpoint,
    /// Where the next initiation goes instead, and only that one.
    probe: Option<Endpoint>,
    sessions: Sessions,
    staged: Staged,
    timers: Timers,
    talk: TalkBucket,
    advanced: Option<Millis>,
    last_handshake: Option<Millis>,
    rx_bytes: u64,
    tx_bytes: u64,
}

/// What the host may ask about a peer. Bytes count whole WireGuard messages (row 26).
pub struct PeerStatus {
    pub endpoint: Endpoint,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub last_handshake: Option<Millis>,
    /// Whether the last handshake was made with the second set of keys.
    pub made_with_other: bool,
}

impl Peer {
    /// `admission` is what is known of its initiations from an earlier time as a peer.
    pub fn new(id: u32, settings: PeerSettings, admission: Admission, now: Millis) -> Self {
        Peer {
            id,
            ways: Ways::new(Way::new(Own::Current, settings.public_key, settings.preshared_key, admission)),
            retired: Vec::new(),
            renewal_due: false,
            endpoint: settings.endpoint,
            probe: None,
            sessions: Sessions::default(),
            staged: Staged::default(),
            timers: Timers::new(settings.persistent_seconds, now),
            talk: TalkBucket::default(),
            advanced: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    pub fn public_key(&self) -> &[u8; 32] {
        &self.ways.first.public_key
    }

    /// The public key of its second set, where that is another.
    pub fn other_public_key(&self) -> Option<&[u8; 32]> {
        self.ways.other.as_ref().map(|way| &way.public_key).filter(|key| *key != self.public_key())
    }

    pub fn status(&self) -> PeerStatus {
        PeerStatus {
            endpoint: self.endpoint,
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
            last_handshake: self.last_handshake,
            made_with_other: self.ways.made_with() == Which::Other,
        }
    }

    pub fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
    }

    /// Asks for a handshake with the next tick, whose first initiation goes to `endpoint`: a peer that answers from there
    /// moves there by its answer. One that does not is shaken hands with where it was, and its data never left.
    pub fn probe(&mut self, endpoint: Endpoint) {
        self.probe = Some(endpoint);
        self.renew();
    }

    /// The kernel refused the source address in use: let it choose.
    pub fn forget_source(&mut self) {
        self.endpoint.local = [0; 16];
    }

    /// What is known of the initiations of each of its public keys.
    pub fn admissions(&self) -> impl Iterator<Item = ([u8; 32], Admission)> {
        std::iter::once(&self.ways.first).chain(&self.ways.other).map(|way| (way.public_key, way.admission()))
    }

    pub fn set_keepalive(&mut self, seconds: u16, now: Millis) {
        self.timers.set_persistent(seconds, now);
        self.advanced = None; // the next tick looks at once
    }

    /// The same key again changes nothing.
    pub fn set_preshared_key(&mut self, key: Option<Key>, shared: &mut Shared) {
        if self.ways.first.preshared_key != key {
            self.ways.first.preshared_key = key;
            self.renew_tunnel(shared);
        }
    }

    /// Answers handshakes with a second set of keys as well, in the place of another second set.
    pub fn add_keys(&mut self, way: Way, shared: &mut Shared) {
        let former = self.ways.add(way);
        self.retire(former.and_then(|way| way.tunnel), shared);
    }

    /// The same keys as now, with our next key pair.
    pub fn add_next_identity(&mut self, shared: &mut Shared) {
        if self.ways.other.is_none() {
            let first = &self.ways.first;
            let key = first.preshared_key.clone();
            let second = Way::new(Own::Next, first.public_key, key, first.admission());
            self.add_keys(second, shared);
        }
    }

    /// From now on handshakes begin with the second set, until one succeeds with the first.
    pub fn prefer_other_keys(&mut self) {
        self.ways.prefer_other();
    }

    /// Keeps one set of keys. Sessions made with the other go on to their end.
    pub fn settle_keys(&mut self, kept: Which, shared: &mut Shared) {
        let gone = self.ways.settle(kept);
        self.retire(gone.and_then(|way| way.tunnel), shared);
    }

    /// The next key pair of ours is the one we have now, or is no more: what was made for it stays or goes with it.
    pub fn settle_identity(&mut self, kept: Which, shared: &mut Shared) {
        if self.ways.other.as_ref().is_some_and(|way| way.own == Own::Next) {
            self.settle_keys(kept, shared);
            self.ways.first.own = Own::Current;
        } else if kept == Which::Other {
            self.renew_tunnel(shared);
        }
    }

    /// Asks for a handshake with the next tick, also where there is a good session.
    pub fn renew(&mut self) {
        self.timers.completed();
        self.renewal_due = true;
        self.advanced = None;
    }

    /// A key that goes into handshakes has changed. No new session comes of the old one: what is under way is dropped.
    /// The sessions there are go on until a new one replaces them or their time is up, so that nothing is lost
    /// (row 17); one is asked for at once. Without any key they end here.
    pub fn renew_tunnel(&mut self, shared: &mut Shared) {
        self.retire_tunnel(shared);
        self.timers.completed();
        self.renewal_due = self.sessions.any();
        self.advanced = None; // the next tick looks at once
        if shared.identity.is_none() {
            self.release(shared);
        }
    }

    /// Ends all sessions and gives back what is shared.
    pub fn release(&mut self, shared: &mut Shared) {
        let staged = self.staged.clear(&mut shared.staging);
        shared.counters.drop_many(DropReason::StagedExpired, staged);
        self.sessions.clear();
        self.renewal_due = false;
        self.retire_tunnel(shared);
    }

    /// Drops boringtun's half. Its indices are kept while a session answers to them.
    fn retire_tunnel(&mut self, shared: &mut Shared) {
        self.retired.extend(self.ways.take_tunnels());
        self.release_unused_bases(shared);
    }

    fn retire(&mut self, tunnel: Option<Tunnel>, shared: &mut Shared) {
        self.retired.extend(tunnel.map(|tunnel| tunnel.index()));
        self.release_unused_bases(shared);
    }

    fn release_unused_bases(&mut self, shared: &mut Shared) {
        let sessions = &mut self.sessions;
        self.retired.retain(|&base| {
            let is_used = sessions.use_base(base);
            if !is_used {
                shared.indices.release(base);
            }
            is_used
        });
    }

    /// boringtun's half, made now if there is none. `None` while we have no key.
    fn tunnel(&mut self, which: Which, shared: &mut Shared) -> Option<&mut Tunnel> {
        let way = self.ways.get_mut(which)?;
        if way.tunnel.is_none() {
            shared.identity_of(way.own)?;
            let index = shared.indices.assign(self.id)?;
            let identity = shared.identity_of(way.own)?;
            way.tunnel = Some(Tunnel::new(identity, way.public_key, way.preshared_key.as_ref(), index));
        }
        way.tunnel.as_mut()
    }

    /// Does what time alone makes due: retries, expiry, keepalives. Cheap when nothing is.
    pub fn advance(&mut self, now: Millis, shared: &mut Shared) {
        if self.advanced.is_some_and(|at| now < at + ADVANCE_EVERY_MS) {
            return;
        }
        self.advanced = Some(now);
        self.sessions.expire(now);
        self.release_unused_bases(shared);
        if !self.timers.holds_retry(now) {
            self.advance_tunnel(Which::First, now, shared);
            self.advance_tunnel(Which::Other, now, shared);
        }
        if let Some(other) = self.ways.take_due(now) {
            self.start(other, now, shared);
        }
        if self.timers.take_unanswered(now) {
            self.forget_source();
            self.initiate(now, shared);
        }
        let owed = self.timers.take_keepalive(now);
        let persistent = self.timers.take_persistent(now);
        if self.sessions.can_send(now) {
            self.flush_staged(now, shared);
            if owed || persistent {
                self.send_keepalive(now, shared);
            }
            if self.renewal_due {
                self.initiate(now, shared);
            }
        } else if persistent || self.renewal_due || !self.staged.is_empty() {
            self.initiate(now, shared); // row 6: this is also what revives a tunnel that expired in an outage
        }
    }

    fn advance_tunnel(&mut self, which: Which, now: Millis, shared: &mut Shared) {
        let tunnel = self.ways.get_mut(which).and_then(|way| way.tunnel.as_mut());
        let (Some(tunnel), Some(room)) = (tunnel, shared.send.room(HANDSHAKE_ROOM)) else { return };
        match tunnel.advance(room, now) {
            Due::Nothing => {}
            Due::Initiation => {
                self.forget_source(); // in case it is why nobody answered
                self.sent_initiation(now, shared);
            }
            Due::Expired => {
                // Row 10: not a failure. Sessions live their time; the next packet or keepalive starts anew.
                let expired = self.staged.clear(&mut shared.staging);
                shared.counters.drop_many(DropReason::StagedExpired, expired);
            }
        }
    }

    /// Sends `packet`, padded as it is to be sealed, or stages it until there is a session.
    pub fn send(&mut self, packet: &[u8], now: Millis, shared: &mut Shared) {
        if !self.endpoint.is_set() {
            return shared.counters.drop(DropReason::NoEndpoint);
        }
        if shared.identity.is_none() {
            return shared.counters.drop(DropReason::NoIdentity);
        }
        self.advance(now, shared);
        if self.staged.is_empty() {
            match self.seal(packet, now, shared) {
                Sealed::Sent => return self.timers.sent_data(now),
                Sealed::ArenaFull => return shared.counters.drop(DropReason::ArenaFull),
                Sealed::NoSession => {}
            }
        }
        let dropped = self.staged.push(packet, &mut shared.staging);
        shared.counters.drop_many(DropReason::StagedOverflow, dropped);
        if self.sessions.can_send(now) {
            self.flush_staged(now, shared);
        } else {
            self.initiate(now, shared);
        }
    }

    /// Seals `packet` on the current session and queues the message; asks for a new session if this one is old.
    fn seal(&mut self, packet: &[u8], now: Millis, shared: &mut Shared) -> Sealed {
        if !self.sessions.can_send(now) {
            return Sealed::NoSession;
        }
        let Some(room) = shared.send.room(packet.len() + TRANSPORT_OVERHEAD_BYTES) else {
            return Sealed::ArenaFull;
        };
        let Some(length) = self.sessions.seal(packet, room, now) else { return Sealed::NoSession };
        self.transmit(length, shared);
        if self.sessions.wants_renewal(now) {
            self.initiate(now, shared);
        }
        Sealed::Sent
    }

    /// Sends what was staged, oldest first, as far as the arena reaches; the rest goes with the next `advance`.
    fn flush_staged(&mut self, now: Millis, shared: &mut Shared) {
        while let Some(packet) = self.staged.pop(&mut shared.staging) {
            match self.seal(&packet, now, shared) {
                Sealed::Sent => self.timers.sent_data(now),
                Sealed::ArenaFull | Sealed::NoSession => {
                    self.staged.put_back(packet, &mut shared.staging);
                    return;
                }
            }
        }
    }

    fn send_keepalive(&mut self, now: Millis, shared: &mut Shared) {
        if let Sealed::Sent = self.seal(&[], now, shared) {
            self.timers.sent(now);
        }
    }

    /// Starts a handshake unless one is under way or has just begun.
    fn initiate(&mut self, now: Millis, shared: &mut Shared) {
        if !self.timers.has_just_initiated(now) {
            self.start(self.ways.active(), now, shared);
        }
    }

    /// The same with one set of keys, however young the last initiation is.
    fn start(&mut self, which: Which, now: Millis, shared: &mut Shared) {
        if !self.endpoint.is_set() || self.tunnel(which, shared).is_none() {
            return;
        }
        let tunnel = self.ways.get_mut(which).and_then(|way| way.tunnel.as_mut());
        let (Some(tunnel), Some(room)) = (tunnel, shared.send.room(HANDSHAKE_ROOM)) else { return };
        if tunnel.initiate(room, now) {
            self.sent_initiation(now, shared);
        }
    }

    fn sent_initiation(&mut self, now: Millis, shared: &mut Shared) {
        shared.initiations += 1;
        self.ways.sent_initiation(now);
        self.renewal_due = false;
        self.timers.sent_initiation(now);
        let to = self.probe.take().unwrap_or(self.endpoint);
        self.transmit_to(to, INITIATION_BYTES, shared);
    }

    /// Queues the `length` bytes that lie in the room last handed out.
    fn transmit(&mut self, length: usize, shared: &mut Shared) {
        self.transmit_to(self.endpoint, length, shared);
    }

    fn transmit_to(&mut self, to: Endpoint, length: usize, shared: &mut Shared) {
        if to.is_set() {
            shared.send.push(length, to, self.id);
            self.tx_bytes += length as u64;
        }
    }

    /// See [`Ways::admit`] (rows 13 and 18).
    pub fn admit(
        &mut self,
        addressed: (Own, &Identity),
        opened: &OpenedStatic,
        initiation: &InitiationFields<'_>,
        now: Millis,
    ) -> Result<Which, DropReason> {
        self.ways.admit(addressed, opened, initiation, now)
    }

    /// An initiation that the gate let through, from this peer's key, to be answered with the set of keys `which`.
    /// `sender` is the peer's index.
    pub fn receive_initiation(
        &mut self,
        datagram: &[u8],
        (which, sender): (Which, u32),
        from: Endpoint,
        now: Millis,
        shared: &mut Shared,
    ) -> Result<(), DropReason> {
        self.advance(now, shared);
        self.tunnel(which, shared);
        let way = self.ways.get_mut(which);
        let tunnel = way.and_then(|way| way.tunnel.as_mut()).ok_or(DropReason::NoIdentity)?;
        let room = shared.send.room(HANDSHAKE_ROOM).ok_or(DropReason::ArenaFull)?;
        let (local, keys) = tunnel.answer(datagram, room, now)?;
        self.heard_from(datagram.len(), from);
        self.sessions.responded((local, sender), keys, now);
        self.timers.received(now);
        self.timers.sent(now);
        self.transmit(RESPONSE_BYTES, shared);
        Ok(())
    }

    /// A response to our initiation. `sender` is the peer's index, `receiver` ours.
    pub fn receive_response(
        &mut self,
        datagram: &[u8],
        (sender, receiver): (u32, u32),
        from: Endpoint,
        now: Millis,
        shared: &mut Shared,
    ) -> Result<(), DropReason> {
        self.advance(now, shared);
        let which = self.ways.with_index(receiver).ok_or(DropReason::UnknownIndex)?;
        let keys = self.tunnel_of(which)?.complete(datagram)?;
        self.heard_from(datagram.len(), from);
        self.sessions.established((receiver, sender), keys, now);
        let given_up = self.ways.completed(which);
        self.retire(given_up, shared);
        self.last_handshake = Some(now);
        self.timers.completed();
        self.timers.received(now);
        if self.staged.is_empty() {
            self.send_keepalive(now, shared); // it confirms the session
        } else {
            self.flush_staged(now, shared); // data confirms it as well
        }
        Ok(())
    }

    /// A cookie reply: only kept. It moves no endpoint and starts nothing (row 21).
    pub fn receive_cookie_reply(
        &mut self,
        datagram: &[u8],
        receiver: u32,
        now: Millis,
    ) -> Result<(), DropReason> {
        let which = self.ways.with_index(receiver).ok_or(DropReason::UnknownIndex)?;
        self.tunnel_of(which)?.take_cookie(datagram, now)
    }

    fn tunnel_of(&mut self, which: Which) -> Result<&mut Tunnel, DropReason> {
        self.ways.get_mut(which).and_then(|way| way.tunnel.as_mut()).ok_or(DropReason::UnknownIndex)
    }

    /// Whether a message to the host may be taken from this peer now.
    pub fn may_talk(&mut self, now: Millis) -> bool {
        self.talk.take(now)
    }

    /// A transport message with our index `receiver`. `room` takes the packet and must be as long as the
    /// datagram. Returns the bytes of the packet with its padding; 0 is a keepalive.
    pub fn receive_transport(
        &mut self,
        datagram: &[u8],
        message: (u32, u64),
        from: Endpoint,
        room: &mut [u8],
        now: Millis,
        shared: &mut Shared,
    ) -> Result<usize, DropReason> {
        self.advance(now, shared);
        let opened = self.sessions.open(message, datagram, room, now)?;
        self.heard_from(datagram.len(), from);
        match opened.length {
            0 => self.timers.received(now),
            _ => self.timers.received_data(now),
        }
        if opened.confirms {
            self.last_handshake = Some(now);
            self.timers.completed();
            let given_up = self.ways.confirmed();
            self.retire(given_up, shared);
            self.flush_staged(now, shared);
        }
        if opened.wants_renewal {
            self.initiate(now, shared);
        }
        Ok(opened.length)
    }

    /// Something authentic came in: the endpoint follows it at once. WireGuard paper §2.1.
    fn heard_from(&mut self, length: usize, from: Endpoint) {
        self.endpoint = from;
        self.rx_bytes += length as u64;
    }
}

enum Sealed {
    Sent,
    NoSession,
    ArenaFull,
}
