//! A peer's sessions: the keys that carry its data, their counters, and which of them may be sent on.
//!
//! ```text
//!   we initiated:  response accepted ─────────────────────▶ current ──▶ former, former, gone
//!   we responded:  initiation answered ─▶ next ─ first valid ─▶ │
//!                                                transport message
//! ```
//!
//! A responder sends nothing before the first valid transport message: WireGuard paper §5.4, and the security proofs need
//! it. All of them receive, so that no packet is lost at a rekey. Linux `drivers/net/wireguard/noise.c`.

use ring::aead::{Aad, Nonce};

use crate::counters::DropReason;
use crate::host::Millis;
use crate::index_table::IndexBase;
use crate::message::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES, TRANSPORT_OVERHEAD_BYTES};
use crate::replay_window::ReplayWindow;
use crate::tunnel::TransportKeys;

/// WireGuard paper §6.1.
const REJECT_AFTER_MS: Millis = 180_000;
const REKEY_AFTER_MS: Millis = 120_000;
/// Reject-After-Time less what a handshake may take: the last chance of someone who only receives. §6.2.
const REKEY_ON_RECEIPT_MS: Millis = 165_000;
/// Type, receiver index and counter, before the sealed packet.
const HEADER_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
/// Sessions that only receive: two handshakes may cross, and each demotes one.
const FORMER_SESSIONS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Initiator,
    Responder,
}

pub struct Session {
    /// Our index: what the peer puts into its messages.
    local: u32,
    /// The peer's index: what our messages carry.
    remote: u32,
    keys: TransportKeys,
    next_counter: u64,
    window: ReplayWindow,
    role: Role,
    /// The peer's data already had us ask for a new session.
    asked_for_renewal: bool,
    since: Millis,
}

impl Session {
    fn is_dead(&self, now: Millis) -> bool {
        now.saturating_sub(self.since) >= REJECT_AFTER_MS
    }

    fn seal(&mut self, packet: &[u8], room: &mut [u8]) -> Option<usize> {
        let counter = self.next_counter;
        let (header, sealed) = room.split_first_chunk_mut::<HEADER_BYTES>()?;
        let (text, tag_place) = sealed.split_at_mut_checked(packet.len())?;
        let tag_place = tag_place.first_chunk_mut::<TAG_BYTES>()?;
        self.next_counter += 1; // below Reject-After-Messages; spent even if sealing should fail
        text.copy_from_slice(packet);
        let tag = self.keys.seal.seal_in_place_separate_tag(nonce(counter), Aad::from([]), text).ok()?;
        *tag_place = tag.as_ref().try_into().ok()?;
        // Type 4 and three zero bytes, receiver index, counter. WireGuard paper §5.4.6.
        *header = (4 | u128::from(self.remote) << 32 | u128::from(counter) << 64).to_le_bytes();
        Some(packet.len() + TRANSPORT_OVERHEAD_BYTES)
    }

    /// Age and limit, then tag, then window: a message that is not authentic burns no counter.
    fn open(&mut self, counter: u64, sealed: &[u8], room: &mut [u8]) -> Result<usize, DropReason> {
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(DropReason::CounterLimit);
        }
        if !self.window.accepts(counter) {
            return Err(DropReason::ReplayedCounter);
        }
        let room = room.get_mut(..sealed.len()).ok_or(DropReason::ArenaFull)?;
        room.copy_from_slice(sealed);
        let opened = self.keys.open.open_in_place(nonce(counter), Aad::from([]), room);
        let length = opened.map_err(|_| DropReason::BadTag)?.len();
        self.window.mark(counter);
        Ok(length)
    }
}

/// Four zero bytes, then the counter. WireGuard paper §5.4.6.
fn nonce(counter: u64) -> Nonce {
    let [bytes @ .., _, _, _, _] = (u128::from(counter) << 32).to_le_bytes();
    Nonce::assume_unique_for_key(bytes)
}

/// What a received message says about its session.
pub struct Opened {
    /// Bytes of the packet in the room; 0 is a keepalive.
    pub length: usize,
    /// It was the first on a session that we had answered: the peer has the key.
    pub confirms: bool,
    /// We made this session, it is about to end, and only the peer still sends: start a handshake. Once a session.
    pub wants_renewal: bool,
}

#[derive(Default)]
pub struct Sessions {
    current: Option<Box<Session>>,
    /// Answered, not yet confirmed.
    next: Option<Box<Session>>,
    /// Newest first.
    former: [Option<Box<Session>>; FORMER_SESSIONS],
}

impl Sessions {
    /// We answered the peer's initiation; nothing may be sent on this session until the peer confirms it.
    pub fn responded(&mut self, (local, remote): (u32, u32), keys: TransportKeys, now: Millis) {
        self.next = Some(Box::new(Session {
            local,
            remote,
            keys,
            next_counter: 0,
            window: ReplayWindow::new(),
            role: Role::Responder,
            asked_for_renewal: false,
            since: now,
        }));
    }

    /// The peer answered our initiation: both sides have the key. Counter 0 is used up (`Tunnel::complete`).
    pub fn established(&mut self, (local, remote): (u32, u32), keys: TransportKeys, now: Millis) {
        self.promote(Box::new(Session {
            local,
            remote,
            keys,
            next_counter: 1,
            window: ReplayWindow::new(),
            role: Role::Initiator,
            asked_for_renewal: false,
            since: now,
        }));
        // Handshakes crossed: the peer may already send on the one that we answered.
        let crossing = self.next.take();
        self.demote(crossing);
    }

    fn promote(&mut self, session: Box<Session>) {
        let replaced = self.current.replace(session);
        self.demote(replaced);
    }

    fn demote(&mut self, session: Option<Box<Session>>) {
        if session.is_some() {
            self.former.rotate_right(1);
            let [newest, ..] = &mut self.former;
            *newest = session;
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Option<Box<Session>>> {
        [&mut self.current, &mut self.next].into_iter().chain(&mut self.former)
    }

    /// Seals `packet` on the current session into `room`, which is 32 bytes longer, and returns the bytes of the
    /// message. `None` without a session to send on.
    pub fn seal(&mut self, packet: &[u8], room: &mut [u8], now: Millis) -> Option<usize> {
        self.sending(now)?.seal(packet, room)
    }

    /// Opens a transport message that carries our index `receiver` into `room`, which is as long.
    pub fn open(
        &mut self,
        (receiver, counter): (u32, u64),
        datagram: &[u8],
        room: &mut [u8],
        now: Millis,
    ) -> Result<Opened, DropReason> {
        let sealed = datagram.get(HEADER_BYTES..).ok_or(DropReason::MalformedMessage)?;
        let session = self
            .all()
            .flatten()
            .find(|session| session.local == receiver && !session.is_dead(now))
            .ok_or(DropReason::UnknownIndex)?;
        let length = session.open(counter, sealed, room)?;
        let wants_renewal = session.role == Role::Initiator
            && now.saturating_sub(session.since) >= REKEY_ON_RECEIPT_MS
            && !session.asked_for_renewal;
        session.asked_for_renewal |= wants_renewal;
        let confirmed = self.next.take_if(|next| next.local == receiver);
        let confirms = confirmed.is_some();
        if let Some(session) = confirmed {
            self.promote(session);
        }
        Ok(Opened { length, confirms, wants_renewal })
    }

    /// Whether data may leave.
    pub fn can_send(&mut self, now: Millis) -> bool {
        self.sending(now).is_some()
    }

    fn sending(&mut self, now: Millis) -> Option<&mut Session> {
        self.current
            .as_deref_mut()
            .filter(|session| !session.is_dead(now) && session.next_counter < REJECT_AFTER_MESSAGES)
    }

    /// Whether the session just sent on is old or worn: its initiator starts a handshake by age, both by messages.
    pub fn wants_renewal(&self, now: Millis) -> bool {
        self.current.as_ref().is_some_and(|session| {
            session.next_counter > REKEY_AFTER_MESSAGES
                || session.role == Role::Initiator && now.saturating_sub(session.since) >= REKEY_AFTER_MS
        })
    }

    /// Drops what is older than Reject-After-Time, and wipes its keys.
    pub fn expire(&mut self, now: Millis) {
        for slot in self.all() {
            slot.take_if(|session| session.is_dead(now));
        }
    }

    pub fn any(&mut self) -> bool {
        self.all().any(|slot| slot.is_some())
    }

    pub fn clear(&mut self) {
        *self = Sessions::default();
    }

    /// Whether a session answers to indices of this base.
    pub fn use_base(&mut self, base: IndexBase) -> bool {
        self.all().flatten().any(|session| IndexBase::of(session.local) == base)
    }

    /// Makes the current session as worn as if it had sealed this many messages.
    #[cfg(test)]
    pub fn wear(&mut self, sealed: u64) {
        self.current.as_mut().unwrap().next_counter = sealed;
    }
}

#[cfg(test)]
mod tests {
    use ring::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};

    use super::*;

    fn keys(open: u8, seal: u8) -> TransportKeys {
        let key = |byte| LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[byte; 32]).unwrap());
        TransportKeys { open: key(open), seal: key(seal) }
    }

    /// What a peer would seal for a session whose opening key is `key` and whose index is `local`.
    fn message(key: u8, local: u32, counter: u64) -> Vec<u8> {
        let mut peer = Sessions::default();
        peer.established((0, local), keys(0, key), 0);
        peer.wear(counter);
        let mut room = [0; 40];
        assert_eq!(peer.seal(&[9; 8], &mut room, 0), Some(40));
        room.to_vec()
    }

    fn receive(
        sessions: &mut Sessions,
        key: u8,
        local: u32,
        counter: u64,
        now: Millis,
    ) -> Result<bool, DropReason> {
        let mut room = [0; 40];
        let opened = sessions.open((local, counter), &message(key, local, counter), &mut room, now)?;
        assert_eq!((opened.length, &room[..8]), (8, &[9; 8][..]));
        Ok(opened.confirms)
    }

    /// The peer's index that the next message would carry.
    fn sends_on(sessions: &mut Sessions, now: Millis) -> Option<u32> {
        let mut room = [0; 32];
        sessions.seal(&[], &mut room, now)?;
        Some(u32::from_le_bytes(*room[4..].first_chunk().unwrap()))
    }

    #[test]
    fn only_confirmed_sessions_carry_data_and_only_while_young() {
        let mut sessions = Sessions::default();
        sessions.responded((0x100, 7), keys(1, 2), 0);
        assert_eq!(sends_on(&mut sessions, 0), None);
        assert_eq!(receive(&mut sessions, 1, 0x108, 0, 0), Err(DropReason::UnknownIndex));
        assert_eq!(receive(&mut sessions, 3, 0x100, 0, 0), Err(DropReason::BadTag));
        assert_eq!(sends_on(&mut sessions, 0), None, "what does not authenticate confirms nothing");
        assert_eq!(receive(&mut sessions, 1, 0x100, 0, 0), Ok(true));
        assert_eq!(receive(&mut sessions, 1, 0x100, 1, 0), Ok(false), "confirmed once");
        assert_eq!(sends_on(&mut sessions, REJECT_AFTER_MS - 1), Some(7));
        assert_eq!(sends_on(&mut sessions, REJECT_AFTER_MS), None);
        assert_eq!(receive(&mut sessions, 1, 0x100, 2, REJECT_AFTER_MS), Err(DropReason::UnknownIndex));
    }

    #[test]
    fn old_sessions_receive_while_new_ones_send() {
        let mut sessions = Sessions::default();
        sessions.established((1, 11), keys(1, 1), 0);
        sessions.responded((2, 12), keys(2, 2), 0);
        assert_eq!(sends_on(&mut sessions, 0), Some(11));
        sessions.established((3, 13), keys(3, 3), 0); // crossing
        assert_eq!(sends_on(&mut sessions, 0), Some(13));
        for local in 1..=3 {
            assert_eq!(receive(&mut sessions, local as u8, local, 0, 0), Ok(false));
        }
        assert_eq!(
            sends_on(&mut sessions, 0),
            Some(13),
            "a crossing session that was not needed stays behind"
        );
        sessions.established((4, 14), keys(4, 4), 0);
        assert_eq!(receive(&mut sessions, 1, 1, 1, 0), Err(DropReason::UnknownIndex), "the oldest went");
        assert_eq!(receive(&mut sessions, 2, 2, 1, 0), Ok(false));
    }

    #[test]
    fn the_initiator_renews_by_age_and_both_do_by_messages() {
        let mut sessions = Sessions::default();
        sessions.established((1, 11), keys(1, 1), 0);
        assert!(!sessions.wants_renewal(REKEY_AFTER_MS - 1) && sessions.wants_renewal(REKEY_AFTER_MS));
        sessions.responded((2, 12), keys(2, 2), 0);
        assert_eq!(receive(&mut sessions, 2, 2, 0, 0), Ok(true));
        assert!(!sessions.wants_renewal(REJECT_AFTER_MS - 1), "the responder does not");
        sessions.wear(REKEY_AFTER_MESSAGES);
        assert!(!sessions.wants_renewal(0));
        assert_eq!(sends_on(&mut sessions, 0), Some(12));
        assert!(sessions.wants_renewal(0));
        sessions.wear(REJECT_AFTER_MESSAGES - 1);
        assert_eq!(sends_on(&mut sessions, 0), Some(12));
        assert_eq!(sends_on(&mut sessions, 0), None, "Reject-After-Messages");
    }

    #[test]
    fn who_only_receives_asks_for_renewal_once_and_in_time() {
        let mut sessions = Sessions::default();
        sessions.established((1, 11), keys(1, 1), 0);
        let mut asks = |counter, now| {
            let mut room = [0; 40];
            sessions.open((1, counter), &message(1, 1, counter), &mut room, now).unwrap().wants_renewal
        };
        assert!(!asks(0, REKEY_ON_RECEIPT_MS - 1));
        assert!(asks(1, REKEY_ON_RECEIPT_MS));
        assert!(!asks(2, REKEY_ON_RECEIPT_MS));
    }

    #[test]
    fn counters_are_exact_up_to_the_limit_and_refused_from_there() {
        let mut sessions = Sessions::default();
        sessions.established((1, 11), keys(1, 1), 0);
        for counter in [0, 1 << 31, 1 << 32, 1 << 53, 1 << 63, REJECT_AFTER_MESSAGES - 1] {
            assert_eq!(receive(&mut sessions, 1, 1, counter, 0), Ok(false), "{counter}");
            assert_eq!(receive(&mut sessions, 1, 1, counter, 0), Err(DropReason::ReplayedCounter));
            sessions.wear(counter);
            let mut room = [0; 32];
            assert_eq!(sessions.seal(&[], &mut room, 0), Some(32));
            assert_eq!(room[8..16], counter.to_le_bytes());
        }
        let mut sealed = message(1, 1, 5);
        for counter in [REJECT_AFTER_MESSAGES, u64::MAX] {
            sealed[8..16].copy_from_slice(&counter.to_le_bytes());
            let refused = sessions.open((1, counter), &sealed, &mut [0; 40], 0).map(|opened| opened.length);
            assert_eq!(refused, Err(DropReason::CounterLimit));
        }
    }
}
