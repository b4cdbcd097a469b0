//! One walk over one packet: ChaCha20 makes keystream while Poly1305 reads ciphertext that is there already.
//!
//! ```text
//!   step            0             1              2              3
//!   blocks          1…4 and 0     5…8            9…12           …       of keystream; block 0 is the key (RFC 8439 §2.6)
//!   text            └─ 256 bytes  └─ 256 bytes   └─ 256 bytes   …       the piece they are for
//!   read meanwhile  (no key yet)  piece 0        piece 1        …       when sealing
//!                   (no key yet)  piece 1        piece 2        …       when opening; piece 0 before
//! ```
//!
//! Sealing reads a piece in the step after the one that encrypts it, opening in the step that decrypts it. A text of one or two
//! blocks goes another way: its blocks and the key's are made side by side, with fewer instructions than four would take.

use crate::chacha20::{ChaCha20, Keystream, Rows};
use crate::lanes::Lanes;
use crate::poly1305::Poly1305;

/// Of one block of keystream.
const BLOCK_LENGTH: usize = 64;
/// Four blocks.
const PIECE_LENGTH: usize = 256;

/// Encrypts `text` in place and returns the tag. RFC 8439 §2.8.
pub(crate) fn seal(key: &[u32; 8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    walk::<true>(key, nonce, aad, text)
}

/// Decrypts `text` in place and returns the tag its ciphertext should have. RFC 8439 §2.8.
/// The caller compares tags, and must not let `text` out unless they are equal.
pub(crate) fn open(key: &[u32; 8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    walk::<false>(key, nonce, aad, text)
}

// The feature is for `ByteRotations`, which says why.
#[cfg_attr(all(target_arch = "wasm32", target_feature = "simd128"), target_feature(enable = "relaxed-simd"))]
fn walk<const SEALS: bool>(key: &[u32; 8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    if text.len() <= BLOCK_LENGTH {
        let [poly_key, block] = Rows::blocks::<2>(key, nonce);
        return short::<SEALS>(poly_key, &block, aad, text);
    }
    if text.len() <= 2 * BLOCK_LENGTH {
        let [poly_key, [a, b, c, d], [e, f, g, h]] = Rows::blocks::<3>(key, nonce);
        return short::<SEALS>(poly_key, &[a, b, c, d, e, f, g, h], aad, text);
    }
    long::<SEALS>(key, nonce, aad, text)
}

/// A text that is no longer than `keystream`.
#[inline(always)]
fn short<const SEALS: bool>(
    [r, s, ..]: [Lanes; 4],
    keystream: &[Lanes],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    let mut mac = Poly1305::new(&r.to_bytes(), &s.to_bytes());
    absorb_padded(&mut mac, aad);
    if SEALS {
        apply(keystream, text);
        absorb_padded(&mut mac, text);
    } else {
        absorb_padded(&mut mac, text);
        apply(keystream, text);
    }
    finish(mac, aad, text)
}

#[inline(always)]
fn long<const SEALS: bool>(key: &[u32; 8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let mut stream = ChaCha20::new(key, nonce);
    let (turn, start) = (stream.rotations(), Rows::new(key, nonce, 0));
    let mut rows = start;
    let first_keystream = stream.four_blocks(|round| rows.round(turn, round));
    // The rest of block 0 is not used: RFC 8439 §2.6.
    let [r, s, ..] = rows.finish(start);
    let mut mac = Poly1305::new(&r.to_bytes(), &s.to_bytes());
    absorb_padded(&mut mac, aad);

    let text_length = text.len();
    let (mut previous, rest) = text.split_at_mut(PIECE_LENGTH.min(text_length));
    if !SEALS {
        absorb_padded(&mut mac, previous);
    }
    apply_to_piece(first_keystream, previous);
    for piece in rest.chunks_mut(PIECE_LENGTH) {
        let ciphertext = if SEALS { &*previous } else { &*piece };
        let (blocks, cut) = ciphertext.as_chunks::<16>();
        // A piece has at most 16 blocks, so the 20 rounds see all of them.
        let mut blocks = blocks.iter();
        let keystream = stream.four_blocks(|_| {
            if let Some(block) = blocks.next() {
                mac.block(block);
            }
        });
        if !SEALS {
            absorb_padded(&mut mac, cut);
        }
        apply_to_piece(keystream, piece);
        previous = piece;
    }
    if SEALS {
        absorb_padded(&mut mac, previous);
    }

    finish(mac, aad, text)
}

#[inline(always)]
fn finish(mut mac: Poly1305, aad: &[u8], text: &[u8]) -> [u8; 16] {
    let lengths = aad.len() as u128 | (text.len() as u128) << 64;
    mac.block(&lengths.to_le_bytes());
    mac.finish()
}

/// Adds `bytes` to the message, then zeros up to a whole block.
// Inlined, or the address of `mac` would escape and the rounds would store its sum in memory after every block.
#[inline(always)]
fn absorb_padded(mac: &mut Poly1305, bytes: &[u8]) {
    let (blocks, rest) = bytes.as_chunks::<16>();
    blocks.iter().for_each(|block| mac.block(block));
    if !rest.is_empty() {
        let mut last = [0; 16];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        mac.block(&last);
    }
}

/// Combines a piece with its keystream, which for a whole piece never leaves the registers.
#[inline(always)]
fn apply_to_piece(keystream: Keystream, piece: &mut [u8]) {
    if let Ok(whole) = <&mut [u8; PIECE_LENGTH]>::try_from(&mut *piece) {
        for (block, lanes) in whole.as_chunks_mut::<16>().0.iter_mut().zip(keystream) {
            (Lanes::load(block) ^ lanes).store(block);
        }
    } else {
        let stored = keystream;
        apply(&stored, piece);
    }
}

/// Combines `text` with as much keystream as it is long, at most all of it.
fn apply(keystream: &[Lanes], text: &mut [u8]) {
    let (blocks, rest) = text.as_chunks_mut::<16>();
    let mut keystream = keystream.iter();
    for (block, lanes) in blocks.iter_mut().zip(&mut keystream) {
        (Lanes::load(block) ^ *lanes).store(block);
    }
    if let Some(lanes) = keystream.next() {
        rest.iter_mut().zip(lanes.to_bytes()).for_each(|(byte, mask)| *byte ^= mask);
    }
}
