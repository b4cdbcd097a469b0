//! ChaCha20 (RFC 8439 §2.3), four blocks at a time.
//!
//! Lane `i` of every state word belongs to block `counter + i`, so a quarter round works on four blocks at once and
//! needs no shuffles between rounds. One block alone would take as long: the rounds are a chain, and the four lanes
//! only fill its gaps. So there is no narrower path, and short texts use what is left of the first four blocks.

use crate::lanes::Lanes;

/// Four blocks of keystream, in the order of their bytes, 16 at a time.
pub(crate) type Keystream = [Lanes; 16];

/// "expand 32-byte k" as little-endian words.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Rounds in a block; the callback of [`ChaCha20::four_blocks`] is called after each.
pub(crate) const ROUNDS: usize = 20;

/// The state that the next four blocks start from.
pub(crate) struct ChaCha20 {
    start: [Lanes; 16],
}

impl ChaCha20 {
    /// A stream that begins at block 0.
    #[inline(always)]
    pub(crate) fn new(key: &[u32; 8], nonce: &[u8; 12]) -> Self {
        let [c0, c1, c2, c3] = CONSTANTS.map(Lanes::splat);
        let [k0, k1, k2, k3, k4, k5, k6, k7] = key.map(Lanes::splat);
        let [a0, a1, a2, a3, b0, b1, b2, b3, d0, d1, d2, d3] = *nonce;
        let [n0, n1, n2] = [[a0, a1, a2, a3], [b0, b1, b2, b3], [d0, d1, d2, d3]]
            .map(|n| Lanes::splat(u32::from_le_bytes(n)));
        let counter = Lanes::new([0, 1, 2, 3]);
        Self { start: [c0, c1, c2, c3, k0, k1, k2, k3, k4, k5, k6, k7, counter, n0, n1, n2] }
    }

    /// The next four blocks. `between_rounds` is called after each of the 20 rounds: work put there that needs no
    /// vector unit runs beside the rounds instead of after them.
    #[inline(always)]
    pub(crate) fn four_blocks(&mut self, mut between_rounds: impl FnMut()) -> Keystream {
        let [mut a0, mut a1, mut a2, mut a3, mut b0, mut b1, mut b2, mut b3, ..] = self.start;
        let [.., mut c0, mut c1, mut c2, mut c3, mut d0, mut d1, mut d2, mut d3] = self.start;
        for _ in 0..ROUNDS / 2 {
            quarter_round(&mut a0, &mut b0, &mut c0, &mut d0);
            quarter_round(&mut a1, &mut b1, &mut c1, &mut d1);
            quarter_round(&mut a2, &mut b2, &mut c2, &mut d2);
            quarter_round(&mut a3, &mut b3, &mut c3, &mut d3);
            between_rounds();
            quarter_round(&mut a0, &mut b1, &mut c2, &mut d3);
            quarter_round(&mut a1, &mut b2, &mut c3, &mut d0);
            quarter_round(&mut a2, &mut b3, &mut c0, &mut d1);
            quarter_round(&mut a3, &mut b0, &mut c1, &mut d2);
            between_rounds();
        }
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15] = self.start;
        // Lanes of one call that go past the last block wrap and are not used: the text has a limit.
        self.start = [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12 + Lanes::splat(4), s13, s14, s15];

        // A column per block, 16 bytes down a row.
        let [p0, p1, p2, p3] = Lanes::transpose([a0 + s0, a1 + s1, a2 + s2, a3 + s3]);
        let [q0, q1, q2, q3] = Lanes::transpose([b0 + s4, b1 + s5, b2 + s6, b3 + s7]);
        let [t0, t1, t2, t3] = Lanes::transpose([c0 + s8, c1 + s9, c2 + s10, c3 + s11]);
        let [u0, u1, u2, u3] = Lanes::transpose([d0 + s12, d1 + s13, d2 + s14, d3 + s15]);
        [p0, q0, t0, u0, p1, q1, t1, u1, p2, q2, t2, u2, p3, q3, t3, u3]
    }
}

/// RFC 8439 §2.1, on four blocks.
#[inline(always)]
fn quarter_round(a: &mut Lanes, b: &mut Lanes, c: &mut Lanes, d: &mut Lanes) {
    *a = *a + *b;
    *d = (*d ^ *a).rotate_left::<16>();
    *c = *c + *d;
    *b = (*b ^ *c).rotate_left::<12>();
    *a = *a + *b;
    *d = (*d ^ *a).rotate_left::<8>();
    *c = *c + *d;
    *b = (*b ^ *c).rotate_left::<7>();
}
