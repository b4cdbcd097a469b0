//! What the gate remembers of each peer: the greatest timestamp it accepted and when. Without, a captured initiation
//! would be answered again, and a peer could keep us busy. WireGuard paper §5.1, Linux `drivers/net/wireguard/noise.c`.

use std::collections::{HashMap, VecDeque};

use boringtun::x25519::SharedSecret;

use crate::counters::DropReason;
use crate::host::Millis;
use crate::noise::Timestamp;

/// Initiations of one peer lie at least this far apart: 50 a second, as Linux has it.
pub const LEAST_INTERVAL_MS: Millis = 20;
/// Keys of removed peers whose timestamps are kept: more than any set of peers that is replaced at once.
const MOST_FORMER_PEERS: usize = 16_384;

/// One peer's initiations.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Admission {
    greatest: Timestamp,
    admitted: Option<Millis>,
}

impl Admission {
    /// Takes the timestamp of an authentic initiation, or says why it is too old or too soon.
    pub fn admit(&mut self, timestamp: Timestamp, now: Millis) -> Result<(), DropReason> {
        if timestamp <= self.greatest {
            return Err(DropReason::ReplayedInitiation);
        }
        if self.admitted.is_some_and(|at| now < at + LEAST_INTERVAL_MS) {
            return Err(DropReason::HandshakeRate);
        }
        *self = Admission { greatest: timestamp, admitted: Some(now) };
        Ok(())
    }
}

/// DH(our private key, the peer's public key), made when its first initiation comes and kept, so that reading a
/// timestamp costs no multiplication. It belongs to one pair of keys.
#[derive(Default)]
pub struct StaticShared(Option<([u8; 32], SharedSecret)>);

impl StaticShared {
    /// `own_public` says which of our keys it is for; `agree` makes it.
    pub fn with(&mut self, own_public: &[u8; 32], agree: impl FnOnce() -> SharedSecret) -> &[u8; 32] {
        if self.0.as_ref().is_some_and(|(own, _)| own != own_public) {
            self.0 = None;
        }
        self.0.get_or_insert_with(|| (*own_public, agree())).1.as_bytes()
    }
}

/// What is known of peers that were removed, for when they come back. The oldest removals are forgotten first.
#[derive(Default)]
pub struct FormerPeers {
    admissions: HashMap<[u8; 32], (u64, Admission)>,
    /// Keys in the order of removal, with the number of that removal; those that came back stay until their turn.
    order: VecDeque<(u64, [u8; 32])>,
    removals: u64,
}

impl FormerPeers {
    pub fn keep(&mut self, key: [u8; 32], admission: Admission) {
        if admission == Admission::default() {
            return;
        }
        self.removals += 1;
        self.admissions.insert(key, (self.removals, admission));
        self.order.push_back((self.removals, key));
        if self.order.len() <= MOST_FORMER_PEERS {
            return;
        }
        if let Some((removal, oldest)) = self.order.pop_front()
            && self.admissions.get(&oldest).is_some_and(|(of, _)| *of == removal)
        {
            self.admissions.remove(&oldest);
        }
    }

    /// What was known of a key that becomes a peer again.
    pub fn take(&mut self, key: &[u8; 32]) -> Admission {
        self.admissions.remove(key).map(|(_, admission)| admission).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seconds: u8, nanos: u8) -> Timestamp {
        let mut stamp = [0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        (stamp[7], stamp[11]) = (seconds, nanos);
        stamp
    }

    #[test]
    fn only_newer_timestamps_20_ms_apart_are_admitted() {
        let mut admission = Admission::default();
        assert_eq!(admission.admit(stamp(5, 5), 1_000), Ok(()));
        for old in [stamp(5, 5), stamp(5, 4), stamp(4, 9)] {
            assert_eq!(admission.admit(old, 2_000), Err(DropReason::ReplayedInitiation));
        }
        assert_eq!(admission.admit(stamp(5, 6), 1_019), Err(DropReason::HandshakeRate));
        assert_eq!(
            admission.admit(stamp(5, 6), 1_020),
            Ok(()),
            "what was refused for its haste is not spent"
        );
        assert_eq!(admission.admit(stamp(6, 0), 1_040), Ok(()));
    }

    #[test]
    fn former_peers_are_remembered_up_to_a_bound() {
        let known = |seconds| Admission { greatest: stamp(seconds, 0), admitted: None };
        let mut former = FormerPeers::default();
        former.keep([1; 32], known(1));
        assert_eq!(former.take(&[1; 32]), known(1));
        assert_eq!(former.take(&[1; 32]), Admission::default());
        former.keep([1; 32], known(2));
        for n in 0..MOST_FORMER_PEERS as u64 {
            assert!(former.admissions.contains_key(&[1; 32]), "{n} later removals");
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            former.keep(key, known(3));
        }
        assert_eq!(former.take(&[1; 32]), Admission::default());
        assert_eq!(former.admissions.len(), MOST_FORMER_PEERS);
        assert_eq!(former.order.len(), MOST_FORMER_PEERS);
    }
}
