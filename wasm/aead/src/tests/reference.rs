//! RFC 8439 read aloud: one block, one bit at a time. Slow, and obvious enough to be believed.

extern crate std;

use std::vec::Vec;

/// Ciphertext and tag. RFC 8439 §2.8.
pub(super) fn seal(key: &[u8], nonce: &[u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let one_time_key = block(key, 0, nonce);
    let mut sealed = text.to_vec();
    for (index, chunk) in sealed.chunks_mut(64).enumerate() {
        let keystream = block(key, index as u32 + 1, nonce);
        chunk.iter_mut().zip(keystream).for_each(|(byte, mask)| *byte ^= mask);
    }
    let mut message = aad.to_vec();
    message.resize(message.len().next_multiple_of(16), 0);
    message.extend_from_slice(&sealed);
    message.resize(message.len().next_multiple_of(16), 0);
    message.extend_from_slice(&(aad.len() as u64).to_le_bytes());
    message.extend_from_slice(&(text.len() as u64).to_le_bytes());
    sealed.extend_from_slice(&tag(&one_time_key[..32], &message));
    sealed
}

/// One ChaCha20 block. RFC 8439 §2.3.
pub(super) fn block(key: &[u8], counter: u32, nonce: &[u8; 12]) -> [u8; 64] {
    let mut start = [0; 16];
    let head = b"expand 32-byte k".iter().chain(key).copied();
    let bytes: Vec<u8> = head.chain(counter.to_le_bytes()).chain(*nonce).collect();
    for (word, bytes) in start.iter_mut().zip(bytes.chunks(4)) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap());
    }
    let mut state = start;
    let mut quarter_round = |a: usize, b: usize, c: usize, d: usize| {
        for (x, y, z, bits) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[x] = u32::wrapping_add(state[x], state[y]);
            state[z] = (state[z] ^ state[x]).rotate_left(bits);
        }
    };
    for _ in 0..10 {
        for i in 0..4 {
            quarter_round(i, i + 4, i + 8, i + 12);
        }
        for i in 0..4 {
            quarter_round(i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12);
        }
    }
    let mut block = [0; 64];
    for ((bytes, word), from) in block.chunks_mut(4).zip(state).zip(start) {
        bytes.copy_from_slice(&word.wrapping_add(from).to_le_bytes());
    }
    block
}

/// A number below `p = 2^130 - 5`: the low 128 bits and what is above them.
type Residue = (u128, u8);

/// Poly1305, its multiplication by doubling and adding. RFC 8439 §2.5.
pub(super) fn tag(key: &[u8], message: &[u8]) -> [u8; 16] {
    let r = u128::from_le_bytes(key[..16].try_into().unwrap()) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    let s = u128::from_le_bytes(key[16..].try_into().unwrap());
    let mut sum: Residue = (0, 0);
    for chunk in message.chunks(16) {
        let mut bytes = [0; 17];
        bytes[..chunk.len()].copy_from_slice(chunk);
        bytes[chunk.len()] = 1;
        let (low, high) = bytes.split_at(16);
        sum = add(sum, (u128::from_le_bytes(low.try_into().unwrap()), high[0]));
        let mut product = (0, 0);
        for bit in (0..128).rev() {
            product = add(product, product);
            if r >> bit & 1 == 1 {
                product = add(product, sum);
            }
        }
        sum = product;
    }
    sum.0.wrapping_add(s).to_le_bytes()
}

fn add(a: Residue, b: Residue) -> Residue {
    let (low, carry) = a.0.overflowing_add(b.0);
    let high = a.1 + b.1 + u8::from(carry);
    // Below 2p, so p is subtracted at most once: add 5 and drop bit 130.
    let (reduced, carry) = low.overflowing_add(5);
    let above = high + u8::from(carry);
    if above >= 4 { (reduced, above - 4) } else { (low, high) }
}
