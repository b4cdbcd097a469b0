//! Poly1305 (RFC 8439 §2.5) in four limbs of 32 bits, for a machine whose widest product is 64 bits.
//!
//! The usual 26-bit limbs spend 25 products on a block and unpack every message word. But the key is clamped: each
//! 32-bit word of `r` is below 2²⁸, and `r1`, `r2`, `r3` are multiples of four, so `2¹²⁸·r_i = 2¹³⁰·r_i/4 ≡ 5/4·r_i`
//! is a whole number too. Words of the message go in as they are, 16 products do, and one carry runs through them:
//!
//! ```text
//!           2^96        2^64        2^32         2^0
//!   sum      h3          h2          h1          h0       h3 has 34 bits: 130 in all
//!   below   4·2³²       1·2³²       1·2³²      2¼·2³²     what a block leaves behind
//! ```

const MASK_32: u64 = (1 << 32) - 1;
const MASK_34: u64 = (1 << 34) - 1;

/// The bit that RFC 8439 puts above each block, 2¹²⁸, as limb 3 sees it.
const MARKER: u64 = 1 << 32;

/// One message under a one-time key.
pub(crate) struct Poly1305 {
    /// The clamped key `r`, 32 bits a limb.
    r: [u64; 4],
    /// `5/4·r1`, `5/4·r2`, `5/4·r3`: what products that reach 2¹²⁸ come back with.
    wrapped: [u64; 3],
    sum: [u64; 4],
    pad: u128,
}

impl Poly1305 {
    /// Takes the one-time key: `r`, to be clamped, then `s`.
    #[inline(always)]
    pub(crate) fn new(r: &[u8; 16], s: &[u8; 16]) -> Self {
        let clamped = u128::from_le_bytes(*r) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let r @ [_, r1, r2, r3] = limbs(&clamped.to_le_bytes());
        Self { r, wrapped: [r1 / 4 * 5, r2 / 4 * 5, r3 / 4 * 5], sum: [0; 4], pad: u128::from_le_bytes(*s) }
    }

    /// Adds 16 bytes of message. In the AEAD every block is whole, padded with zeros.
    #[inline(always)]
    pub(crate) fn block(&mut self, block: &[u8; 16]) {
        self.add_and_multiply(block, MARKER);
    }

    /// `sum = (sum + block + marker)·r mod p`, partly reduced.
    ///
    /// INVARIANT: no column reaches 2⁶⁴. In units of 2³² the limbs of `sum` are within the limits of the file head
    /// and a message word is at most 1, so s0..s3 are below 3¼, 2, 2 and 6; in units of 2²⁸ limbs of `r` are below 1
    /// and wrapped ones below 1¼. So the largest column is x0 < (3¼ + 1¼·(2 + 2 + 6))·2⁶⁰ = 15¾·2⁶⁰, and what is
    /// left to 2⁶⁴ holds any carry. Then 5·(x3 >> 34) is below 5·2³⁰ = 1¼·2³², and the limits hold again.
    #[inline(always)]
    fn add_and_multiply(&mut self, block: &[u8; 16], marker: u64) {
        let [r0, r1, r2, r3] = self.r;
        let [w1, w2, w3] = self.wrapped;
        let [h0, h1, h2, h3] = self.sum;
        let [m0, m1, m2, m3] = limbs(block);
        let (s0, s1, s2, s3) = (h0 + m0, h1 + m1, h2 + m2, h3 + m3 + marker);

        let x0 = s0 * r0 + s1 * w3 + s2 * w2 + s3 * w1;
        let x1 = s0 * r1 + s1 * r0 + s2 * w3 + s3 * w2 + (x0 >> 32);
        let x2 = s0 * r2 + s1 * r1 + s2 * r0 + s3 * w3 + (x1 >> 32);
        let x3 = s0 * r3 + s1 * r2 + s2 * r1 + s3 * r0 + (x2 >> 32);
        self.sum = [(x0 & MASK_32) + (x3 >> 34) * 5, x1 & MASK_32, x2 & MASK_32, x3 & MASK_34];
    }

    /// The tag.
    #[inline(always)]
    pub(crate) fn finish(self) -> [u8; 16] {
        let [mut h0, mut h1, mut h2, mut h3] = self.sum;
        // The first pass leaves less than 2¹³⁰ + 2³, so the second leaves less than 2¹³⁰.
        for _ in 0..2 {
            h1 += h0 >> 32;
            h2 += h1 >> 32;
            h3 += h2 >> 32;
            h0 = (h0 & MASK_32) + (h3 >> 34) * 5;
            h1 &= MASK_32;
            h2 &= MASK_32;
            h3 &= MASK_34;
        }
        let low = u128::from(h0)
            + (u128::from(h1) << 32)
            + (u128::from(h2) << 64)
            + (u128::from(h3 & MASK_32) << 96);
        // sum ≥ p exactly if sum + 5 reaches 2¹³⁰; chosen by a mask, for the sum is secret.
        let (reduced, carry) = low.overflowing_add(5);
        let reaches = ((h3 >> 32) + u64::from(carry)) >> 2;
        let mask = u128::from(reaches).wrapping_neg();
        ((reduced & mask) | (low & !mask)).wrapping_add(self.pad).to_le_bytes()
    }
}

/// Four 32-bit words, each with room above for carries.
#[inline(always)]
fn limbs(bytes: &[u8; 16]) -> [u64; 4] {
    // Written out, this is four loads that extend; by way of `u128` it would be two loads and their parts.
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = *bytes;
    [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]]
        .map(|word| u64::from(u32::from_le_bytes(word)))
}

#[cfg(test)]
impl Poly1305 {
    /// The tag of any message, for the vectors of Poly1305 alone: there the last block may be cut.
    pub(crate) fn tag(key: &[u8; 32], message: &[u8]) -> [u8; 16] {
        let ([r, s], _) = key.as_chunks::<16>() else { return [0; 16] };
        let mut poly = Self::new(r, s);
        let (blocks, rest) = message.as_chunks::<16>();
        blocks.iter().for_each(|block| poly.block(block));
        if !rest.is_empty() {
            // The marking bit stands inside the last block, so none is added above it.
            let mut last = [0; 16];
            rest.iter().chain(&[1]).zip(&mut last).for_each(|(from, to)| *to = *from);
            poly.add_and_multiply(&last, 0);
        }
        poly.finish()
    }
}
