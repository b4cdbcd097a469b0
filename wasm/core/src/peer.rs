//! One peer: boringtun's `Tunn` and what it lacks around it: confirmation of sessions, staging, keepalives,
//! roaming, counts of whole messages. `docs/deviations.md` lists each gap; rows are named where they close.
//!
//! INVARIANT: boringtun only moves its clock in `update_timers`, so every entry here first calls `advance`,
//! which is what ends a session at 180 s however long the lane was stopped (row 5).

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::PublicKey;

use crate::admission::{Admission, StaticShared};
use crate::arena::SendQueue;
use crate::control::Key;
use crate::counters::{Counters, DropReason};
use crate::device::PeerSettings;
use crate::handshake_gate::Identity;
use crate::host::Millis;
use crate::index_table::{IndexBase, IndexTable};
use crate::message::{
    INITIATION_BYTES, InitiationFields, Message, REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES, RESPONSE_BYTES,
    TRANSPORT_OVERHEAD_BYTES,
};
use crate::noise::OpenedStatic;
use crate::packet::address::Endpoint;
use crate::sessions::Sessions;
use crate::staging::{Staged, StagingBudget};
use crate::timers::Timers;

/// Room boringtun is given for a handshake message; it panics on less than 148 bytes (row 27).
const HANDSHAKE_ROOM: usize = 256;
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
    pub indices: IndexTable,
}

pub struct Peer {
    id: u32,
    public_key: [u8; 32],
    preshared_key: Option<Key>,
    /// Made when the first handshake is, and its place in the index table with it.
    tunnel: Option<(Box<Tunn>, IndexBase)>,
    endpoint: Endpoint,
    sessions: Sessions,
    staged: Staged,
    timers: Timers,
    admission: Admission,
    static_shared: StaticShared,
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
}

impl Peer {
    /// `admission` is what is known of its initiations from an earlier time as a peer.
    pub fn new(id: u32, settings: PeerSettings, admission: Admission, now: Millis) -> Self {
        Peer {
            id,
            public_key: settings.public_key,
            preshared_key: settings.preshared_key,
            tunnel: None,
            endpoint: settings.endpoint,
            sessions: Sessions::default(),
            staged: Staged::default(),
            timers: Timers::new(settings.persistent_seconds, now),
            admission,
            static_shared: StaticShared::default(),
            advanced: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    pub fn status(&self) -> PeerStatus {
        PeerStatus {
            endpoint: self.endpoint,
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
            last_handshake: self.last_handshake,
        }
    }

    pub fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
    }

    /// The kernel refused the source address in use: let it choose.
    pub fn forget_source(&mut self) {
        self.endpoint.local = [0; 16];
    }

    pub fn admission(&self) -> Admission {
        self.admission
    }

    pub fn set_keepalive(&mut self, seconds: u16, now: Millis) {
        self.timers.set_persistent(seconds, now);
        self.advanced = None; // the next tick looks at once
    }

    /// The same key again changes nothing.
    pub fn set_preshared_key(&mut self, key: Option<Key>, shared: &mut Shared) {
        if self.preshared_key != key {
            self.preshared_key = key;
            self.renew_tunnel(shared);
        }
    }

    /// A key that goes into handshakes has changed.
    pub fn renew_tunnel(&mut self, shared: &mut Shared) {
        if let Some((_, index)) = self.tunnel.take() {
            shared.indices.release(index);
        }
        self.sessions.clear();
        self.timers.completed();
    }

    pub fn release(&mut self, shared: &mut Shared) {
        self.staged.clear(&mut shared.staging);
        self.renew_tunnel(shared);
    }

    /// boringtun's half of this peer, made now if there is none. `None` while we have no key.
    fn tunnel(&mut self, shared: &mut Shared) -> Option<&mut Tunn> {
        if self.tunnel.is_none() {
            let identity = shared.identity.as_ref()?;
            let index = shared.indices.assign(self.id)?;
            let tunnel = Tunn::new(
                identity.private(),
                PublicKey::from(self.public_key),
                self.preshared_key.as_deref().copied(),
                None, // row 6: its persistent keepalive comes late, needlessly, then not at all
                index.tunnel_index(),
                Some(identity.limiter()),
            );
            self.tunnel = Some((Box::new(tunnel), index));
        }
        self.tunnel.as_mut().map(|(tunnel, _)| &mut **tunnel)
    }

    /// Does what time alone makes due: retries, rekeys, expiry, keepalives. Cheap when nothing is.
    pub fn advance(&mut self, now: Millis, shared: &mut Shared) {
        if self.advanced.is_some_and(|at| now < at + ADVANCE_EVERY_MS) || self.timers.holds_retry(now) {
            return;
        }
        self.advanced = Some(now);
        self.sessions.expire(now);
        self.update_tunnel(now, shared);
        if self.timers.take_unanswered(now) {
            self.forget_source();
            self.initiate(now, shared);
        }
        let owed = self.timers.take_keepalive(now);
        let persistent = self.timers.take_persistent(now);
        if self.can_send() {
            self.flush_staged(now, shared);
            if owed || persistent {
                self.send_keepalive(now, shared);
            }
        } else if persistent {
            self.initiate(now, shared); // row 6: this is also what revives a tunnel that expired in an outage
        }
    }

    /// Lets boringtun retry, rekey and expire. Its own keepalives are early, late or missing (rows 6 and 7), so
    /// they stay here unsent; an initiation it made must leave, or it would wait for the answer for 90 s.
    fn update_tunnel(&mut self, now: Millis, shared: &mut Shared) {
        let (Some((tunnel, _)), Some(room)) = (&mut self.tunnel, shared.send.room(HANDSHAKE_ROOM)) else {
            return;
        };
        match tunnel.update_timers(room) {
            TunnResult::WriteToNetwork(message) if message.len() == INITIATION_BYTES => {
                if self.timers.awaits_response() {
                    self.forget_source(); // a repetition: in case it is why nobody answered
                }
                self.sent_initiation(now, shared);
            }
            TunnResult::Err(WireGuardError::ConnectionExpired) => {
                // Row 10: no session any more, not a failure. The next packet or keepalive starts anew.
                self.sessions.clear();
                let expired = self.staged.clear(&mut shared.staging);
                shared.counters.drop_many(DropReason::StagedExpired, expired);
            }
            _ => {}
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
            match self.seal(packet, shared) {
                Sealed::Sent => return self.timers.sent_data(now),
                Sealed::ArenaFull => return shared.counters.drop(DropReason::ArenaFull),
                Sealed::NoSession => {}
            }
        }
        let dropped = self.staged.push(packet, &mut shared.staging);
        shared.counters.drop_many(DropReason::StagedOverflow, dropped);
        if self.can_send() {
            self.flush_staged(now, shared);
        } else {
            self.initiate(now, shared);
        }
    }

    /// Seals `packet` on the current session and queues the message, if that session is confirmed (row 4).
    fn seal(&mut self, packet: &[u8], shared: &mut Shared) -> Sealed {
        if !self.can_send() {
            return Sealed::NoSession;
        }
        let Some((tunnel, _)) = &mut self.tunnel else { return Sealed::NoSession };
        let Some(room) = shared.send.room(packet.len() + TRANSPORT_OVERHEAD_BYTES) else {
            return Sealed::ArenaFull;
        };
        let TunnResult::WriteToNetwork(message) = tunnel.encapsulate(packet, room) else {
            return Sealed::NoSession;
        };
        let length = message.len();
        match Message::parse(message) {
            Some(Message::Transport { receiver, counter })
                if counter < REKEY_AFTER_MESSAGES && self.sessions.may_send_on(receiver) =>
            {
                self.transmit(length, shared);
                Sealed::Sent
            }
            // Past Rekey-After-Messages (row 2) or unconfirmed: this session is not for sending.
            _ => Sealed::NoSession,
        }
    }

    /// Sends what was staged, oldest first, as far as the arena reaches; the rest goes with the next `advance`.
    fn flush_staged(&mut self, now: Millis, shared: &mut Shared) {
        while let Some(packet) = self.staged.pop(&mut shared.staging) {
            match self.seal(&packet, shared) {
                Sealed::Sent => self.timers.sent_data(now),
                Sealed::ArenaFull | Sealed::NoSession => {
                    self.staged.put_back(packet, &mut shared.staging);
                    return;
                }
            }
        }
    }

    fn send_keepalive(&mut self, now: Millis, shared: &mut Shared) {
        if let Sealed::Sent = self.seal(&[], shared) {
            self.timers.sent(now);
        }
    }

    /// Starts a handshake unless one is under way or has just begun.
    fn initiate(&mut self, now: Millis, shared: &mut Shared) {
        if !self.endpoint.is_set() || self.timers.has_just_initiated(now) {
            return;
        }
        if self.tunnel(shared).is_none() {
            return;
        }
        let (Some((tunnel, _)), Some(room)) = (&mut self.tunnel, shared.send.room(HANDSHAKE_ROOM)) else {
            return;
        };
        if let TunnResult::WriteToNetwork(message) = tunnel.format_handshake_initiation(room, false)
            && message.len() == INITIATION_BYTES
        {
            self.sent_initiation(now, shared);
        }
    }

    fn sent_initiation(&mut self, now: Millis, shared: &mut Shared) {
        shared.initiations += 1;
        self.timers.sent_initiation(now);
        self.transmit(INITIATION_BYTES, shared);
    }

    /// Queues the `length` bytes that lie in the room last handed out.
    fn transmit(&mut self, length: usize, shared: &mut Shared) {
        if self.endpoint.is_set() {
            shared.send.push(length, self.endpoint, self.id);
            self.tx_bytes += length as u64;
        }
    }

    /// Whether a session exists that both sides have confirmed. `time_since_last_handshake` is boringtun's only
    /// word on whether its current slot holds one; without, `encapsulate` would queue (rows 11 and 12).
    fn can_send(&self) -> bool {
        self.sessions.has_confirmed()
            && self.tunnel.as_ref().is_some_and(|(tunnel, _)| tunnel.time_since_last_handshake().is_some())
    }

    /// Whether an initiation in this peer's name is its own and newer than all before it (rows 13 and 18). What passes
    /// counts as accepted, whatever the tunnel makes of it.
    pub fn admit(
        &mut self,
        identity: &Identity,
        opened: &OpenedStatic,
        initiation: &InitiationFields<'_>,
        now: Millis,
    ) -> Result<(), DropReason> {
        let shared = self.static_shared.with(identity.public(), || identity.agree(&opened.key));
        let timestamp = opened.open_timestamp(initiation, shared).ok_or(DropReason::BadHandshake)?;
        self.admission.admit(timestamp, now)
    }

    /// An initiation that the gate let through, from this peer's key. `sender` is the peer's index.
    pub fn receive_initiation(
        &mut self,
        datagram: &[u8],
        sender: u32,
        from: Endpoint,
        now: Millis,
        shared: &mut Shared,
    ) -> Result<(), DropReason> {
        self.advance(now, shared);
        self.tunnel(shared);
        let (tunnel, _) = self.tunnel.as_mut().ok_or(DropReason::NoIdentity)?;
        let room = shared.send.room(HANDSHAKE_ROOM).ok_or(DropReason::ArenaFull)?;
        let local = match tunnel.decapsulate(None, datagram, room) {
            TunnResult::WriteToNetwork(response) => match Message::parse(response) {
                Some(Message::Response { sender: local, .. }) => local,
                _ => return Err(DropReason::BadHandshake),
            },
            TunnResult::Err(error) => return Err(handshake_fault(&error)),
            _ => return Err(DropReason::BadHandshake),
        };
        self.heard_from(datagram.len(), from);
        self.sessions.responded(local, sender, now);
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
        let (tunnel, _) = self.tunnel.as_mut().ok_or(DropReason::UnknownIndex)?;
        let room = shared.send.room(HANDSHAKE_ROOM).ok_or(DropReason::ArenaFull)?;
        let length = match tunnel.decapsulate(None, datagram, room) {
            TunnResult::WriteToNetwork(keepalive) => keepalive.len(),
            TunnResult::Err(error) => return Err(handshake_fault(&error)),
            _ => return Err(DropReason::BadHandshake),
        };
        self.heard_from(datagram.len(), from);
        self.sessions.established(receiver, sender, now);
        self.last_handshake = Some(now);
        self.timers.completed();
        self.timers.received(now);
        if self.staged.is_empty() {
            self.transmit(length, shared); // the keepalive that confirms the session
            self.timers.sent(now);
        } else {
            self.flush_staged(now, shared); // data confirms it as well; the keepalive's counter is skipped
        }
        Ok(())
    }

    /// A cookie reply: only kept. It moves no endpoint and starts nothing (row 21).
    pub fn receive_cookie_reply(&mut self, datagram: &[u8]) -> Result<(), DropReason> {
        let mut room = [0; HANDSHAKE_ROOM];
        let (tunnel, _) = self.tunnel.as_mut().ok_or(DropReason::UnknownIndex)?;
        match tunnel.decapsulate(None, datagram, &mut room) {
            TunnResult::Done => Ok(()),
            _ => Err(DropReason::BadCookieReply),
        }
    }

    /// A transport message with our index `receiver`. `room` takes the packet and must be as long as the
    /// datagram. Returns the bytes of the packet; 0 is a keepalive.
    pub fn receive_transport(
        &mut self,
        datagram: &[u8],
        (receiver, counter): (u32, u64),
        from: Endpoint,
        room: &mut [u8],
        now: Millis,
        shared: &mut Shared,
    ) -> Result<usize, DropReason> {
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(DropReason::CounterLimit); // row 2: 2^64 − 1 would reset boringtun's window
        }
        self.advance(now, shared);
        let (tunnel, _) = self.tunnel.as_mut().ok_or(DropReason::UnknownIndex)?;
        let inside = match tunnel.decapsulate(None, datagram, room) {
            TunnResult::Done => Ok(0),
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Ok(packet.len())
            }
            // Row 25: form and index were checked, so this one is authentic and wrong only inside.
            TunnResult::Err(WireGuardError::InvalidPacket) => Err(DropReason::InnerMalformed),
            TunnResult::Err(error) => return Err(transport_fault(&error)),
            TunnResult::WriteToNetwork(_) => return Err(DropReason::BadHandshake),
        };
        self.heard_from(datagram.len(), from);
        if self.sessions.received_on(receiver) {
            self.last_handshake = Some(now);
            self.timers.completed();
        }
        match inside {
            Ok(0) => self.timers.received(now),
            _ => self.timers.received_data(now),
        }
        if !self.staged.is_empty() && self.can_send() {
            self.flush_staged(now, shared);
        }
        inside
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

fn handshake_fault(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::InvalidMac => DropReason::BadMac1,
        WireGuardError::WrongTai64nTimestamp => DropReason::ReplayedInitiation,
        _ => DropReason::BadHandshake,
    }
}

fn transport_fault(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => DropReason::UnknownIndex,
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => DropReason::ReplayedCounter,
        _ => DropReason::BadTag,
    }
}
