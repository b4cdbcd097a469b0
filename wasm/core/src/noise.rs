//! How an initiation opens: its static key says who sent it, its timestamp when. Of Noise_IKpsk2 this is the
//! receiving half of the first message and no more; the handshake itself is boringtun's, which opens the message
//! once more. Named as in WireGuard paper §5.4.2: `C` is the chaining key, `H` the hash.

use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use hmac::SimpleHmac;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use crate::message::InitiationFields;

/// TAI64N, big-endian: byte order is order in time.
pub type Timestamp = [u8; 12];

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

pub fn hash(parts: [&[u8]; 2]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    for part in parts {
        Digest::update(&mut hash, part);
    }
    hash.finalize().into()
}

/// BLAKE2s-128 of the parts, keyed: mac1, mac2 and cookies. `None` for a key that is empty or too long, which no
/// caller has.
pub fn mac<const N: usize>(key: &[u8], parts: [&[u8]; N]) -> Option<[u8; 16]> {
    let mut mac = Blake2sMac::<blake2::digest::consts::U16>::new_from_slice(key).ok()?;
    for part in parts {
        Update::update(&mut mac, part);
    }
    Some(mac.finalize_fixed().into())
}

/// What every initiation to one public key begins with, made once.
pub struct Prologue {
    pub(crate) chaining_key: [u8; 32],
    pub(crate) hash: [u8; 32],
}

impl Prologue {
    pub fn new(responder: &[u8; 32]) -> Self {
        let chaining_key = hash([CONSTRUCTION, &[]]);
        let identified = hash([&chaining_key, IDENTIFIER]);
        Prologue { chaining_key, hash: hash([&identified, responder]) }
    }

    /// Opens the static key. `ephemeral_shared` is DH(responder's private key, ephemeral). `None` if the tag does not
    /// verify: whoever sent it did not mean us, or bent it.
    pub fn open_static(
        &self,
        initiation: &InitiationFields<'_>,
        ephemeral_shared: &[u8; 32],
    ) -> Option<OpenedStatic> {
        let transcript = hash([&self.hash, initiation.ephemeral]);
        let [chaining_key] = kdf(&self.chaining_key, initiation.ephemeral)?;
        let [chaining_key, mut key] = kdf(&chaining_key, ephemeral_shared)?;
        let mut sealed = *initiation.sealed_static;
        let opened = open(&key, &transcript, &mut sealed).and_then(|text| text.first_chunk()).copied();
        key.zeroize();
        Some(OpenedStatic {
            key: opened?,
            chaining_key,
            transcript: hash([&transcript, initiation.sealed_static]),
        })
    }
}

/// An initiation whose static key is known. Anyone can make one in another's name: only the timestamp proves it.
pub struct OpenedStatic {
    pub key: [u8; 32],
    chaining_key: [u8; 32],
    transcript: [u8; 32],
}

impl OpenedStatic {
    /// Opens the timestamp. `static_shared` is DH(responder's private key, initiator's static key): only the two of
    /// them have it, so what opens is authentic.
    pub fn open_timestamp(
        &self,
        initiation: &InitiationFields<'_>,
        static_shared: &[u8; 32],
    ) -> Option<Timestamp> {
        let [_, mut key] = kdf(&self.chaining_key, static_shared)?;
        let mut sealed = *initiation.sealed_timestamp;
        let opened = open(&key, &self.transcript, &mut sealed).and_then(|text| text.first_chunk()).copied();
        key.zeroize();
        opened
    }
}

impl Drop for OpenedStatic {
    fn drop(&mut self) {
        self.chaining_key.zeroize();
    }
}

fn hmac<const N: usize>(key: &[u8; 32], parts: [&[u8]; N]) -> Option<[u8; 32]> {
    let mut hmac = SimpleHmac::<Blake2s256>::new_from_slice(key).ok()?;
    for part in parts {
        Update::update(&mut hmac, part);
    }
    Some(hmac.finalize_fixed().into())
}

/// HKDF as the paper's KDF₁ and KDF₂.
pub(crate) fn kdf<const N: usize>(chaining_key: &[u8; 32], input: &[u8; 32]) -> Option<[[u8; 32]; N]> {
    let mut secret = hmac(chaining_key, [input])?;
    let mut outputs = [[0; 32]; N];
    let mut last: &[u8] = &[];
    for (number, output) in outputs.iter_mut().enumerate() {
        *output = hmac(&secret, [last, &[number as u8 + 1]])?;
        last = output;
    }
    secret.zeroize();
    Some(outputs)
}

/// Opens in place with nonce 0: each key of a handshake seals one text.
fn open<'a>(key: &[u8; 32], transcript: &[u8; 32], sealed: &'a mut [u8]) -> Option<&'a [u8]> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?);
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    key.open_in_place(nonce, Aad::from(transcript), sealed).ok().map(|text| &*text)
}
