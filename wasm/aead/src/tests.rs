//! What the crate claims, against three witnesses: RFC 8439, Project Wycheproof, and a slow reference.
//!
//! A test may stop at the first surprise, so the lints that keep traps out of the core do not hold here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod reference;
mod rfc8439;
mod wycheproof;

extern crate std;

use std::vec::Vec;

use crate::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use crate::constant_time::verify_slices_are_equal;
use crate::error::Unspecified;

/// Past four steps of the walk, so every length of every piece occurs with every number of pieces before it.
const LENGTHS: core::ops::Range<usize> = 0..1100;

/// Ciphertext and tag.
fn seal(key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
    let mut sealed = text.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut sealed).unwrap();
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

/// The verdict on `sealed`, and what its buffer holds afterwards.
fn open(key: &[u8], nonce: &[u8; 12], aad: &[u8], sealed: &[u8]) -> (Result<Vec<u8>, Unspecified>, Vec<u8>) {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
    let mut buffer = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let verdict = key.open_in_place(nonce, Aad::from(aad), &mut buffer).map(|text| text.to_vec());
    (verdict, buffer)
}

/// Asserts that `sealed` is refused and that nothing of its text is left.
fn assert_refused(key: &[u8], nonce: &[u8; 12], aad: &[u8], sealed: &[u8]) {
    let (verdict, buffer) = open(key, nonce, aad, sealed);
    assert_eq!(verdict, Err(Unspecified), "length {}", sealed.len());
    let (text, tag) = buffer.split_at(sealed.len() - 16);
    assert!(text.iter().all(|byte| *byte == 0), "length {}", sealed.len());
    assert_eq!(tag, &sealed[text.len()..], "length {}", sealed.len());
}

/// Bytes that differ from length to length and from call to call; no test needs them to be random.
fn bytes(seed: usize, length: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(step).collect()
}

/// Key, nonce, additional data (of every length up to 40) and text for one length of text.
fn case(length: usize) -> (Vec<u8>, [u8; 12], Vec<u8>, Vec<u8>) {
    let nonce = bytes(length + 20_000, 12).try_into().unwrap();
    (bytes(length + 10_000, 32), nonce, bytes(length + 30_000, length % 41), bytes(length, length))
}

#[test]
fn every_length_agrees_with_the_reference_and_opens_again() {
    for length in LENGTHS {
        let (key, nonce, aad, text) = case(length);
        let sealed = seal(&key, &nonce, &aad, &text);
        assert_eq!(sealed, reference::seal(&key, &nonce, &aad, &text), "length {length}");
        assert_eq!(open(&key, &nonce, &aad, &sealed).0, Ok(text), "length {length}");
    }
}

#[test]
fn every_flipped_bit_of_a_tag_is_refused() {
    for length in LENGTHS {
        let (key, nonce, aad, text) = case(length);
        let mut sealed = seal(&key, &nonce, &aad, &text);
        // Every bit for short texts; for each longer one a bit of every byte, another bit for the next length.
        let (first, step) = if length < 80 { (0, 1) } else { (length % 8, 8) };
        for bit in (first..128).step_by(step) {
            sealed[length + bit / 8] ^= 1 << (bit % 8);
            assert_refused(&key, &nonce, &aad, &sealed);
            sealed[length + bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_else_is_refused() {
    for length in [1, 15, 16, 17, 64, 191, 192, 193, 448, 449, 700] {
        let (key, nonce, aad, text) = case(length);
        let sealed = seal(&key, &nonce, &aad, &text);
        for bit in 0..length * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_refused(&key, &nonce, &aad, &forged);
        }
        for bit in 0..aad.len() * 8 {
            let mut forged = aad.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_refused(&key, &nonce, &forged, &sealed);
        }
        for bit in 0..96 {
            let mut forged = nonce;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_refused(&key, &forged, &aad, &sealed);
        }
    }
}

#[test]
fn a_text_cut_short_or_extended_is_refused() {
    let (key, nonce, aad, text) = case(300);
    let sealed = seal(&key, &nonce, &aad, &text);
    for length in 16..sealed.len() {
        assert_refused(&key, &nonce, &aad, &sealed[..length]);
    }
    for length in 0..16 {
        assert_eq!(open(&key, &nonce, &aad, &sealed[..length]).0, Err(Unspecified), "length {length}");
    }
    // Zeros that padding would add anyway: only the length block tells them apart.
    let mut extended = seal(&key, &nonce, &aad, &text);
    extended.splice(300..300, [0; 4]);
    assert_refused(&key, &nonce, &aad, &extended);
    let mut padded = aad.clone();
    padded.push(0);
    assert_refused(&key, &nonce, &padded, &sealed);
}

#[test]
fn slices_are_compared_whole() {
    for length in 0..40 {
        let a = bytes(length, length);
        assert_eq!(verify_slices_are_equal(&a, &a.clone()), Ok(()));
        for index in 0..length {
            let mut b = a.clone();
            b[index] ^= 0x80;
            assert_eq!(verify_slices_are_equal(&a, &b), Err(Unspecified));
            assert_eq!(verify_slices_are_equal(&a, &a[..index]), Err(Unspecified));
        }
    }
}
