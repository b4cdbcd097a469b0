//! What an initiation must pass before a peer's `Tunn` sees it: mac1, a usable ephemeral, then the static key
//! inside, which says whose it is, then the timestamp, which says that it is new. Everything that fails meets silence.
//! WireGuard paper §5.1. When it has to show a cookie before: `handshakes.rs`.
//!
//! Cost: one Diffie-Hellman tells all of it, and is what a refusal costs. boringtun repeats it for what it admits, so
//! an answered initiation costs five multiplications where four would do.

use std::sync::Arc;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519::{PublicKey, SharedSecret, StaticSecret};
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::traits::IsIdentity;
use ring::constant_time::verify_slices_are_equal;

use crate::counters::DropReason;
use crate::message::{InitiationFields, split_macs};
use crate::noise::{self, OpenedStatic, Prologue};

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

/// Our key pair, and what every handshake message to it is checked with.
pub struct Identity {
    private: StaticSecret,
    public: PublicKey,
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    prologue: Prologue,
    limiter: Arc<RateLimiter>,
}

impl Identity {
    pub fn new(private: [u8; 32]) -> Self {
        let private = StaticSecret::from(private);
        let public = PublicKey::from(&private);
        // Row 19: boringtun's limit is one count over all senders and needs their address; no limit turns it off.
        let limiter = Arc::new(RateLimiter::new(&public, u64::MAX));
        let mac1_key = noise::hash([LABEL_MAC1, public.as_bytes()]);
        let cookie_key = noise::hash([LABEL_COOKIE, public.as_bytes()]);
        let prologue = Prologue::new(public.as_bytes());
        Identity { private, public, mac1_key, cookie_key, prologue, limiter }
    }

    pub fn public(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }

    pub fn private(&self) -> StaticSecret {
        self.private.clone()
    }

    pub fn limiter(&self) -> Arc<RateLimiter> {
        Arc::clone(&self.limiter)
    }

    /// Whether a handshake message was made by someone who knows our public key. WireGuard paper §5.4.4.
    pub fn verifies_mac1(&self, datagram: &[u8]) -> bool {
        split_macs(datagram).is_some_and(|(covered, mac1, _)| {
            noise::mac(&self.mac1_key, [covered])
                .is_some_and(|computed| verify_slices_are_equal(&computed, mac1).is_ok())
        })
    }

    /// What cookie replies to messages for us are sealed with. WireGuard paper §5.4.7.
    pub fn cookie_key(&self) -> &[u8; 32] {
        &self.cookie_key
    }

    /// Opens the static key of an initiation: the public key of whoever claims to have sent it. One Diffie-Hellman.
    pub fn open_static(&self, initiation: &InitiationFields<'_>) -> Result<OpenedStatic, DropReason> {
        if is_low_order(initiation.ephemeral) {
            return Err(DropReason::LowOrderKey);
        }
        let shared = self.agree(initiation.ephemeral);
        self.prologue.open_static(initiation, shared.as_bytes()).ok_or(DropReason::BadHandshake)
    }

    /// DH(our private key, `public`).
    pub fn agree(&self, public: &[u8; 32]) -> SharedSecret {
        self.private.diffie_hellman(&PublicKey::from(*public))
    }
}

/// Whether a public key gives the same Diffie-Hellman result, zero, to everyone (row 16). Eight times a point is
/// zero exactly if its order divides eight, on the curve and on its twist. RFC 7748 §6.1.
pub fn is_low_order(public: &[u8; 32]) -> bool {
    MontgomeryPoint(*public).mul_bits_be([true, false, false, false].into_iter()).is_identity()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// p = 2^255 − 19, little-endian, plus a small number.
    fn p_plus(n: i16) -> [u8; 32] {
        let mut bytes = [0xff; 32];
        bytes[31] = 0x7f;
        bytes[0] = (0xed + n) as u8;
        bytes
    }

    #[test]
    fn knows_every_low_order_point_and_nothing_else() {
        let mut one = [0; 32];
        one[0] = 1;
        // The two points of order eight, from curve25519-dalek's torsion table in Edwards form.
        let of_order_eight =
            curve25519_dalek::constants::EIGHT_TORSION.iter().map(|point| point.to_montgomery().0);
        let low: Vec<[u8; 32]> =
            [[0; 32], one, p_plus(-1), p_plus(0), p_plus(1)].into_iter().chain(of_order_eight).collect();
        for mut key in low {
            assert!(is_low_order(&key), "{key:02x?}");
            key[31] |= 0x80; // the top bit is ignored. RFC 7748 §5
            assert!(is_low_order(&key), "{key:02x?}");
        }
        for n in 2..200u8 {
            let key = PublicKey::from(&StaticSecret::from([n; 32]));
            assert!(!is_low_order(key.as_bytes()));
        }
    }
}
