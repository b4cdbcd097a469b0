//! The part of `ring::aead` that boringtun calls: keys, nonces and the two verbs, with every check a caller can fail.
//!
//! Owns lengths, key lifetime and the verdict on a tag. Knows nothing of blocks or lanes; those are in `packet`.

use zeroize::Zeroize;

use crate::constant_time::verify_slices_are_equal;
use crate::error::Unspecified;
use crate::packet;

/// Length of a key. RFC 8439 §2.8.
const KEY_LENGTH: usize = 32;
/// Length of a nonce. RFC 8439 §2.8.
pub const NONCE_LEN: usize = 12;
/// Length of a tag. RFC 8439 §2.8.
const TAG_LENGTH: usize = 16;
/// Longest text: the block counter has 32 bits and block 0 makes the Poly1305 key. RFC 8439 §2.8.
const MAX_TEXT_LENGTH: u64 = ((1 << 32) - 1) * 64;

/// An AEAD algorithm. There is one; the type is here because `ring` lets callers choose.
#[derive(Debug, PartialEq, Eq)]
pub struct Algorithm(());

/// ChaCha20-Poly1305 as in RFC 8439.
pub static CHACHA20_POLY1305: Algorithm = Algorithm(());

/// A key not yet bound to a use. Wiped when dropped.
pub struct UnboundKey {
    words: [u32; 8],
}

impl UnboundKey {
    /// Takes a key of exactly 32 bytes; any other length is [`Unspecified`].
    pub fn new(_algorithm: &'static Algorithm, key: &[u8]) -> Result<Self, Unspecified> {
        let bytes: &[u8; KEY_LENGTH] = key.try_into().map_err(|_| Unspecified)?;
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Ok(Self { words })
    }

    pub(crate) fn duplicate(&self) -> Box<Self> {
        Box::new(Self { words: self.words })
    }
}

impl Drop for UnboundKey {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

/// A key that seals and opens with nonces its owner keeps apart. Wiped when dropped.
///
/// INVARIANT: no two texts are sealed under one key and nonce. boringtun upholds it with a 64-bit counter per session.
pub struct LessSafeKey {
    /// In a place of its own: whoever moves this leaves no copy of the key behind.
    pub(crate) key: Box<UnboundKey>,
}

impl LessSafeKey {
    pub fn new(key: UnboundKey) -> Self {
        crate::capture::bound(&key);
        Self { key: Box::new(key) }
    }

    /// Encrypts `text` in place and returns the tag over `aad` and the ciphertext.
    /// A text longer than 2³⁸ − 64 bytes is [`Unspecified`] and left alone.
    pub fn seal_in_place_separate_tag<A: AsRef<[u8]>>(
        &self,
        nonce: Nonce,
        aad: Aad<A>,
        text: &mut [u8],
    ) -> Result<Tag, Unspecified> {
        refuse_beyond_limit(text.len())?;
        Ok(Tag(packet::seal(&self.key.words, &nonce.0, aad.0.as_ref(), text)))
    }

    /// Opens `sealed`, ciphertext followed by the tag, in place and returns the plaintext: all but the last 16 bytes.
    ///
    /// [`Unspecified`] means that `sealed` is shorter than a tag or longer than RFC 8439 allows, and then it is
    /// untouched, or that it is not authentic, and then zeros are in the place of its text.
    ///
    /// Decryption runs beside authentication because that takes a third less time on the packets that matter, the
    /// authentic ones. So a forged text stands in clear until its tag is known. It is wiped instead of encrypted
    /// again: zeros cost no keystream, and nobody has a use for a ciphertext that is not authentic.
    pub fn open_in_place<'a, A: AsRef<[u8]>>(
        &self,
        nonce: Nonce,
        aad: Aad<A>,
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unspecified> {
        let (text, received) = sealed.split_last_chunk_mut::<TAG_LENGTH>().ok_or(Unspecified)?;
        refuse_beyond_limit(text.len())?;
        let computed = packet::open(&self.key.words, &nonce.0, aad.0.as_ref(), text);
        if verify_slices_are_equal(&computed, received).is_err() {
            text.fill(0);
            return Err(Unspecified);
        }
        Ok(text)
    }
}

fn refuse_beyond_limit(text_length: usize) -> Result<(), Unspecified> {
    // Compared in 64 bits: on wasm32 no text can be too long, on a 64-bit host one can.
    if text_length as u64 > MAX_TEXT_LENGTH { Err(Unspecified) } else { Ok(()) }
}

/// A nonce, used up by the call it is given to.
pub struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// The caller promises that this nonce was never used with the key it goes to.
    pub fn assume_unique_for_key(value: [u8; NONCE_LEN]) -> Self {
        Self(value)
    }
}

/// Data that is authenticated but not encrypted.
#[derive(Clone, Copy)]
pub struct Aad<A: AsRef<[u8]>>(A);

impl<A: AsRef<[u8]>> Aad<A> {
    pub fn from(aad: A) -> Self {
        Self(aad)
    }
}

/// The authentication tag of a sealed text.
#[derive(Clone, Copy)]
pub struct Tag([u8; TAG_LENGTH]);

impl AsRef<[u8]> for Tag {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_texts_the_block_counter_cannot_number() {
        assert!(refuse_beyond_limit(274_877_906_880).is_ok());
        assert!(refuse_beyond_limit(274_877_906_881).is_err());
    }

    #[test]
    fn refuses_keys_of_any_other_length() {
        for length in 0..100 {
            let key = UnboundKey::new(&CHACHA20_POLY1305, [0; 100].get(..length).unwrap_or(&[]));
            assert_eq!(key.is_ok(), length == 32, "{length}");
        }
    }
}
