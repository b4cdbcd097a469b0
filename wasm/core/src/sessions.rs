//! Which of a peer's sessions may carry data. It mirrors boringtun's ring of eight, where each handshake takes
//! the next slot: after enough unanswered initiations of the peer, an unconfirmed session lies in the slot
//! boringtun would send on, and it would use it. WireGuard paper §5.4 forbids that: a responder sends nothing
//! before the first valid transport message, and the security proofs need it. (`docs/deviations.md`, row 4.)

use crate::host::Millis;

/// boringtun's ring: slot = local index modulo this.
const SESSION_SLOTS: usize = 8;
/// Reject-After-Time. WireGuard paper §6.1.
const REJECT_AFTER_MS: Millis = 180_000;

#[derive(Clone, Copy)]
struct Session {
    /// Our index: what the peer puts into its messages.
    local: u32,
    /// The peer's index: what our messages carry.
    remote: u32,
    confirmed: bool,
    since: Millis,
}

#[derive(Default)]
pub struct Sessions {
    slots: [Option<Session>; SESSION_SLOTS],
}

impl Sessions {
    /// We answered the peer's initiation; nothing may be sent on this session until the peer confirms it.
    pub fn responded(&mut self, local: u32, remote: u32, now: Millis) {
        self.store(Session { local, remote, confirmed: false, since: now });
    }

    /// The peer answered our initiation: both sides have the key.
    pub fn established(&mut self, local: u32, remote: u32, now: Millis) {
        self.store(Session { local, remote, confirmed: true, since: now });
    }

    fn store(&mut self, session: Session) {
        if let Some(slot) = self.slots.get_mut(session.local as usize % SESSION_SLOTS) {
            *slot = Some(session);
        }
    }

    /// A transport message with our index `local` was authentic. True if it confirmed the session.
    pub fn received_on(&mut self, local: u32) -> bool {
        match self.slots.get_mut(local as usize % SESSION_SLOTS) {
            Some(Some(session)) if session.local == local && !session.confirmed => {
                session.confirmed = true;
                true
            }
            _ => false,
        }
    }

    /// Whether a message that carries the peer's index `remote` may leave.
    pub fn may_send_on(&self, remote: u32) -> bool {
        self.slots.iter().flatten().any(|session| session.confirmed && session.remote == remote)
    }

    pub fn has_confirmed(&self) -> bool {
        self.slots.iter().flatten().any(|session| session.confirmed)
    }

    pub fn expire(&mut self, now: Millis) {
        for slot in &mut self.slots {
            if slot.is_some_and(|session| now.saturating_sub(session.since) >= REJECT_AFTER_MS) {
                *slot = None;
            }
        }
    }

    pub fn clear(&mut self) {
        self.slots = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confirmed_sessions_carry_data_and_only_while_young() {
        let mut sessions = Sessions::default();
        sessions.responded(0x100, 7, 0);
        assert!(!sessions.has_confirmed());
        assert!(!sessions.may_send_on(7));
        assert!(!sessions.received_on(0x108), "another session of the same slot");
        assert!(sessions.received_on(0x100));
        assert!(!sessions.received_on(0x100), "confirmed once");
        assert!(sessions.may_send_on(7));
        sessions.established(0x101, 9, 60_000);
        sessions.expire(REJECT_AFTER_MS);
        assert!(!sessions.may_send_on(7));
        assert!(sessions.may_send_on(9));
    }

    #[test]
    fn a_newer_session_takes_the_slot() {
        let mut sessions = Sessions::default();
        sessions.established(0x100, 7, 0);
        sessions.responded(0x108, 8, 1);
        assert!(!sessions.may_send_on(7));
        assert!(!sessions.may_send_on(8));
    }
}
