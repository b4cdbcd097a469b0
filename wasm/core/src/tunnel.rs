//! boringtun's half of a peer: its handshakes. The transport keys that come of them are the core's, and so is every
//! packet (`sessions.rs`); boringtun's own sessions only lie there until its timers drop them.
//!
//! It is made with the first handshake, and anew when a key that goes into handshakes has changed. Each has random indices
//! of its own (row 14).

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::PublicKey;
use ring::aead::LessSafeKey;
use ring::capture::last_two_keys;

use crate::control::Key;
use crate::counters::DropReason;
use crate::handshake_gate::Identity;
use crate::host::Millis;
use crate::index_table::IndexBase;
use crate::message::{INITIATION_BYTES, Message};

/// Room boringtun is given for a handshake message; it panics on less than 148 bytes (row 27).
pub const HANDSHAKE_ROOM: usize = 256;

/// A cookie is used this long. WireGuard paper §5.4.7.
const COOKIE_MS: Millis = 120_000;

/// What a handshake gives both sides, in boringtun's order.
pub struct TransportKeys {
    pub open: LessSafeKey,
    pub seal: LessSafeKey,
}

/// What boringtun's clock made due.
pub enum Due {
    Nothing,
    /// An initiation lies in the room: the repetition of one that was not answered.
    Initiation,
    /// Nobody answered for 90 s, or nothing was agreed for 540 s: no handshake is under way any more. Said once.
    Expired,
}

/// What is known of the cookie that boringtun keeps for the next handshake message.
#[derive(Default)]
struct ReceivedCookie {
    /// A mac1 left that no cookie reply has answered.
    is_awaited: bool,
    good_until: Millis,
}

impl ReceivedCookie {
    /// A handshake message is about to leave. boringtun forgets to drop its cookie after 120 s while it rests.
    fn finish(&mut self, message: &mut [u8], now: Millis) {
        self.is_awaited = true;
        if now >= self.good_until
            && let Some(mac2) = message.last_chunk_mut::<16>()
        {
            mac2.fill(0);
        }
    }
}

pub struct Tunnel {
    tunn: Box<Tunn>,
    index: IndexBase,
    cookie: ReceivedCookie,
}

impl Tunnel {
    pub fn new(
        identity: &Identity,
        public_key: [u8; 32],
        preshared_key: Option<&Key>,
        index: IndexBase,
    ) -> Self {
        let tunn = Tunn::new(
            identity.private(),
            PublicKey::from(public_key),
            preshared_key.map(|key| **key),
            None, // row 6: its persistent keepalive comes late, needlessly, then not at all
            index.tunnel_index(),
            Some(identity.limiter()),
        );
        Tunnel { tunn: Box::new(tunn), index, cookie: ReceivedCookie::default() }
    }

    pub fn index(&self) -> IndexBase {
        self.index
    }

    /// Writes an initiation to `room`. False while one is under way: `advance` repeats that.
    pub fn initiate(&mut self, room: &mut [u8], now: Millis) -> bool {
        match self.tunn.format_handshake_initiation(room, false) {
            TunnResult::WriteToNetwork(message) if message.len() == INITIATION_BYTES => {
                self.cookie.finish(message, now);
                true
            }
            _ => false,
        }
    }

    /// Writes the response to an initiation to `room`. Returns our index of the new session and its keys.
    pub fn answer(
        &mut self,
        initiation: &[u8],
        room: &mut [u8],
        now: Millis,
    ) -> Result<(u32, TransportKeys), DropReason> {
        let (result, keys) = last_two_keys(|| self.tunn.decapsulate(None, initiation, room));
        match (result, keys) {
            (TunnResult::WriteToNetwork(response), Some([open, seal])) => {
                self.cookie.finish(response, now);
                match Message::parse(response) {
                    Some(Message::Response { sender, .. }) => Ok((sender, TransportKeys { open, seal })),
                    _ => Err(DropReason::BadHandshake),
                }
            }
            (TunnResult::Err(error), _) => Err(fault(&error)),
            _ => Err(DropReason::BadHandshake),
        }
    }

    /// Takes the response to our initiation. boringtun has sealed a keepalive under counter 0 for it, which stays
    /// here: that counter is used up.
    pub fn complete(&mut self, response: &[u8]) -> Result<TransportKeys, DropReason> {
        let mut keepalive = [0; HANDSHAKE_ROOM];
        let (result, keys) = last_two_keys(|| self.tunn.decapsulate(None, response, &mut keepalive));
        match (result, keys) {
            (TunnResult::WriteToNetwork(_), Some([open, seal])) => Ok(TransportKeys { open, seal }),
            (TunnResult::Err(error), _) => Err(fault(&error)),
            _ => Err(DropReason::BadHandshake),
        }
    }

    /// A cookie reply: only kept, for what is sent next, and one is taken for each mac1 that left (row 21).
    pub fn take_cookie(&mut self, reply: &[u8], now: Millis) -> Result<(), DropReason> {
        let mut room = [0; HANDSHAKE_ROOM];
        if self.cookie.is_awaited
            && let TunnResult::Done = self.tunn.decapsulate(None, reply, &mut room)
        {
            self.cookie = ReceivedCookie { is_awaited: false, good_until: now + COOKIE_MS };
            return Ok(());
        }
        Err(DropReason::BadCookieReply)
    }

    /// Lets boringtun repeat and give up. It sees no data, so it rekeys nothing and keeps nothing alive.
    pub fn advance(&mut self, room: &mut [u8], now: Millis) -> Due {
        let was_expired = self.tunn.is_expired();
        match self.tunn.update_timers(room) {
            TunnResult::WriteToNetwork(message) if message.len() == INITIATION_BYTES => {
                self.cookie.finish(message, now);
                Due::Initiation
            }
            TunnResult::Err(WireGuardError::ConnectionExpired) if !was_expired => Due::Expired,
            _ => Due::Nothing,
        }
    }
}

fn fault(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::InvalidMac => DropReason::BadMac1,
        WireGuardError::WrongTai64nTimestamp => DropReason::ReplayedInitiation,
        _ => DropReason::BadHandshake,
    }
}
