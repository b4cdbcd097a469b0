//! One walk over one packet: ChaCha20 makes keystream while Poly1305 reads the ciphertext of the step before.
//!
//! ```text
//!   step      0             1              2              3
//!   blocks    key,1,2,3     4,5,6,7        8,9,10,11      …       of keystream, four a step
//!   text      └─ 192 bytes  └─ 256 bytes   └─ 256 bytes   …       the piece they encrypt
//!   Poly1305  (no key yet)  piece 0        piece 1        …       authenticated meanwhile
//! ```
//!
//! Block 0 is the Poly1305 key (RFC 8439 §2.6); the other three blocks of step 0 are all a packet of up to 192 bytes
//! needs. Sealing encrypts a piece before the step that authenticates it, opening decrypts it after.

use crate::chacha20::{ChaCha20, Keystream};
use crate::lanes::Lanes;
use crate::poly1305::Poly1305;

/// What step 0 leaves for text after the Poly1305 key.
const FIRST_PIECE_LENGTH: usize = 192;
/// Four blocks.
const PIECE_LENGTH: usize = 256;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Seal,
    Open,
}

/// Encrypts or decrypts `text` in place and returns the tag of its ciphertext. RFC 8439 §2.8.
/// When opening, the caller compares the tag, and must not let `text` out unless it is right.
pub(crate) fn run(
    direction: Direction,
    key: &[u32; 8],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    match direction {
        Direction::Seal => walk::<true>(key, nonce, aad, text),
        Direction::Open => walk::<false>(key, nonce, aad, text),
    }
}

fn walk<const SEALS: bool>(key: &[u32; 8], nonce: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let text_length = text.len();
    let mut stream = ChaCha20::new(key, nonce);
    // The rest of block 0 is not used: RFC 8439 §2.6.
    let [r, s, _, _, k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11] = stream.four_blocks(|| ());
    let mut mac = Poly1305::new(&r.to_bytes(), &s.to_bytes());
    absorb_padded(&mut mac, aad);

    // `ready` encrypts `piece`; what is made meanwhile encrypts the next.
    let mut ready = [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, r, r, r, r];
    let (mut piece, rest) = text.split_at_mut(FIRST_PIECE_LENGTH.min(text_length));
    for next_piece in rest.chunks_mut(PIECE_LENGTH) {
        if SEALS {
            apply(&ready, piece);
        }
        let mut blocks = piece.as_chunks::<16>().0.iter();
        let next = stream.four_blocks(|| {
            if let Some(block) = blocks.next() {
                mac.block(block);
            }
        });
        if !SEALS {
            apply(&ready, piece);
        }
        (ready, piece) = (next, next_piece);
    }
    if SEALS {
        apply(&ready, piece);
    }
    absorb_padded(&mut mac, piece);
    if !SEALS {
        apply(&ready, piece);
    }

    let lengths = aad.len() as u128 | (text_length as u128) << 64;
    mac.block(&lengths.to_le_bytes());
    mac.finish()
}

/// Adds `bytes` to the message, then zeros up to a whole block.
fn absorb_padded(mac: &mut Poly1305, bytes: &[u8]) {
    let (blocks, rest) = bytes.as_chunks::<16>();
    blocks.iter().for_each(|block| mac.block(block));
    if !rest.is_empty() {
        let mut last = [0; 16];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        mac.block(&last);
    }
}

/// Combines `text` with as much keystream as it is long, at most all of it.
fn apply(keystream: &Keystream, text: &mut [u8]) {
    let (blocks, rest) = text.as_chunks_mut::<16>();
    let mut keystream = keystream.iter();
    for (block, lanes) in blocks.iter_mut().zip(&mut keystream) {
        (Lanes::load(block) ^ *lanes).store(block);
    }
    if let Some(lanes) = keystream.next() {
        rest.iter_mut().zip(lanes.to_bytes()).for_each(|(byte, mask)| *byte ^= mask);
    }
}
