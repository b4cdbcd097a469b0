//! Initiations as a peer of the tests makes them: any key, any timestamp, with or without a cookie. WireGuard paper §5.4.2.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::message::INITIATION_BYTES;
use crate::noise::{self, Prologue, Timestamp};
use crate::test_random::Random;

pub struct Initiator {
    private: StaticSecret,
    responder: PublicKey,
    random: Random,
}

/// A timestamp of so many nanoseconds.
pub fn stamp(nanos: u64) -> Timestamp {
    let mut stamp = [0; 12];
    stamp[..8].copy_from_slice(&((1 << 62) + 10 + nanos / 1_000_000_000).to_be_bytes());
    stamp[8..].copy_from_slice(&((nanos % 1_000_000_000) as u32).to_be_bytes());
    stamp
}

impl Initiator {
    pub fn new(private: [u8; 32], responder: [u8; 32]) -> Self {
        let seed = u64::from_le_bytes(*private.first_chunk().unwrap()) ^ 0x1571_0c0d_e5ee_d001;
        Initiator { private: private.into(), responder: responder.into(), random: Random(seed) }
    }

    pub fn initiation(&mut self, timestamp: Timestamp) -> Vec<u8> {
        let ephemeral = StaticSecret::from([0; 32].map(|_: u8| self.random.next() as u8));
        let shared = ephemeral.diffie_hellman(&self.responder);
        self.initiation_with(*PublicKey::from(&ephemeral).as_bytes(), *shared.as_bytes(), timestamp)
    }

    /// With a given ephemeral, and what both ends are to make of it.
    pub fn initiation_with(
        &mut self,
        ephemeral: [u8; 32],
        shared: [u8; 32],
        timestamp: Timestamp,
    ) -> Vec<u8> {
        let mut message = vec![1, 0, 0, 0];
        message.extend((self.random.next() as u32).to_le_bytes());
        message.extend(ephemeral);
        let Prologue { chaining_key, hash } = Prologue::new(self.responder.as_bytes());
        let transcript = noise::hash([&hash, &ephemeral]);
        let [chaining_key] = noise::kdf(&chaining_key, &ephemeral).unwrap();
        let [chaining_key, key] = noise::kdf(&chaining_key, &shared).unwrap();
        let sealed = seal(key, &transcript, PublicKey::from(&self.private).as_bytes());
        let transcript = noise::hash([&transcript, &sealed]);
        message.extend(sealed);
        let static_shared = self.private.diffie_hellman(&self.responder);
        let [_, key] = noise::kdf(&chaining_key, static_shared.as_bytes()).unwrap();
        message.extend(seal(key, &transcript, &timestamp));
        message.extend(mac1(self.responder.as_bytes(), &message));
        message.resize(INITIATION_BYTES, 0);
        message
    }
}

pub fn mac1(responder: &[u8; 32], covered: &[u8]) -> [u8; 16] {
    noise::mac(&noise::hash([b"mac1----", responder]), [covered]).unwrap()
}

fn seal(key: [u8; 32], transcript: &[u8; 32], text: &[u8]) -> Vec<u8> {
    let mut sealed = text.to_vec();
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).unwrap());
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(transcript), &mut sealed).unwrap();
    sealed.extend(tag.as_ref());
    sealed
}
