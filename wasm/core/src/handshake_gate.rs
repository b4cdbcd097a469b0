//! What an initiation must pass before a peer's `Tunn` sees it: mac1, a usable ephemeral, then the static key
//! inside, which says whose it is. Everything that fails meets silence. WireGuard paper §5.1, §5.3.

use std::sync::Arc;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::traits::IsIdentity;

use crate::counters::DropReason;

/// Our key pair, and boringtun's check of mac1 under it.
pub struct Identity {
    private: StaticSecret,
    public: PublicKey,
    limiter: Arc<RateLimiter>,
}

impl Identity {
    pub fn new(private: [u8; 32]) -> Self {
        let private = StaticSecret::from(private);
        let public = PublicKey::from(&private);
        // Row 19: boringtun's limit is one count over all senders and needs their address; no limit turns it off.
        let limiter = Arc::new(RateLimiter::new(&public, u64::MAX));
        Identity { private, public, limiter }
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

    /// Opens the static key of an initiation with the given ephemeral: the public key of whoever sent it.
    pub fn initiator(&self, datagram: &[u8], ephemeral: &[u8; 32]) -> Result<[u8; 32], DropReason> {
        let mut cookie = [0; 64];
        let packet =
            self.limiter.verify_packet(None, datagram, &mut cookie).map_err(|fault| match fault {
                TunnResult::Err(_) => DropReason::BadMac1,
                _ => DropReason::BadHandshake,
            })?;
        if is_low_order(ephemeral) {
            return Err(DropReason::LowOrderKey);
        }
        let Packet::HandshakeInit(initiation) = packet else {
            return Err(DropReason::MalformedMessage);
        };
        parse_handshake_anon(&self.private, &self.public, &initiation)
            .map(|half| half.peer_static_public)
            .map_err(|_| DropReason::BadHandshake)
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
