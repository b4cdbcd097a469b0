//! ChaCha20 (RFC 8439 §2.3), in two ways.
//!
//! [`ChaCha20`] makes four blocks at a time. Lane `i` of every state word belongs to block `counter + i`, so a quarter round
//! works on four blocks at once and needs no shuffles between rounds.
//!
//! [`Rows`] makes one block, a row of its state in each vector. That takes a quarter of the instructions, but a chain as long:
//! it is for the few blocks of a short text, and for the block of the key beside the first four of the text.

use crate::lanes::{ByteRotations, Lanes};

/// Four blocks of keystream, in the order of their bytes, 16 at a time.
pub(crate) type Keystream = [Lanes; 16];

/// "expand 32-byte k" as little-endian words.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Pairs of a column round and a diagonal round.
const DOUBLE_ROUNDS: usize = 10;

/// One block under way, or several side by side: a row of the state is a vector.
#[derive(Clone, Copy)]
pub(crate) struct Rows([Lanes; 4]);

impl Rows {
    /// The state that block `counter` starts from.
    #[inline(always)]
    pub(crate) fn new(key: &[u32; 8], nonce: &[u8; 12], counter: u32) -> Self {
        let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
        let [n0, n1, n2] = nonce_words(nonce);
        Self([
            Lanes::new(CONSTANTS),
            Lanes::new([k0, k1, k2, k3]),
            Lanes::new([k4, k5, k6, k7]),
            Lanes::new([counter, n0, n1, n2]),
        ])
    }

    #[inline(always)]
    pub(crate) fn round(&mut self, turn: ByteRotations, round: Round) {
        let Self([a, b, c, d]) = self;
        quarter_round(turn, a, b, c, d);
        // Turned so that the next round's columns are this one's diagonals, and back.
        match round {
            Round::Columns => (*b, *c, *d) = (b.turn_1(), c.turn_2(), d.turn_3()),
            Round::Diagonals => (*b, *c, *d) = (b.turn_3(), c.turn_2(), d.turn_1()),
        }
    }

    /// The block, after 20 rounds from `start`: 64 bytes of keystream.
    #[inline(always)]
    pub(crate) fn finish(self, start: Self) -> [Lanes; 4] {
        let (Self([a, b, c, d]), Self([a0, b0, c0, d0])) = (self, start);
        [a + a0, b + b0, c + c0, d + d0]
    }

    /// Blocks 0 to `COUNT` − 1.
    #[inline(always)]
    pub(crate) fn blocks<const COUNT: usize>(key: &[u32; 8], nonce: &[u8; 12]) -> [[Lanes; 4]; COUNT] {
        let turn = ByteRotations::new();
        let start: [Rows; COUNT] = core::array::from_fn(|counter| Rows::new(key, nonce, counter as u32));
        let mut rows = start;
        for _ in 0..DOUBLE_ROUNDS {
            rows.iter_mut().for_each(|rows| rows.round(turn, Round::Columns));
            rows.iter_mut().for_each(|rows| rows.round(turn, Round::Diagonals));
        }
        let mut start = start.iter();
        rows.map(|rows| rows.finish(*start.next().unwrap_or(&rows)))
    }
}

/// Which of the two kinds of round.
#[derive(Clone, Copy)]
pub(crate) enum Round {
    Columns,
    Diagonals,
}

#[inline(always)]
fn nonce_words(nonce: &[u8; 12]) -> [u32; 3] {
    let [n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11] = *nonce;
    [[n0, n1, n2, n3], [n4, n5, n6, n7], [n8, n9, n10, n11]].map(u32::from_le_bytes)
}

/// The state that the next four blocks start from.
pub(crate) struct ChaCha20 {
    start: [Lanes; 16],
    /// Columns 1, 2 and 3 after the first round. Only column 0 holds the counter, so these are the same in every
    /// call: three quarter rounds of eighty are done once a packet.
    columns: [[Lanes; 4]; 3],
    rotations: ByteRotations,
}

impl ChaCha20 {
    /// A stream that begins at block 1, for block 0 is the key of Poly1305.
    #[inline(always)]
    pub(crate) fn new(key: &[u32; 8], nonce: &[u8; 12]) -> Self {
        let rotations = ByteRotations::new();
        let [c0, c1, c2, c3] = CONSTANTS.map(Lanes::splat);
        let [k0, k1, k2, k3, k4, k5, k6, k7] = key.map(Lanes::splat);
        let [n0, n1, n2] = nonce_words(nonce).map(Lanes::splat);
        let counter = Lanes::new([1, 2, 3, 4]);

        let mut columns = [[c1, k1, k5, n0], [c2, k2, k6, n1], [c3, k3, k7, n2]];
        for [a, b, c, d] in &mut columns {
            quarter_round(rotations, a, b, c, d);
        }
        let start = [c0, c1, c2, c3, k0, k1, k2, k3, k4, k5, k6, k7, counter, n0, n1, n2];
        Self { start, columns, rotations }
    }

    pub(crate) fn rotations(&self) -> ByteRotations {
        self.rotations
    }

    /// The next four blocks. `between_rounds` is called after each of the 20 rounds: work put there that needs no
    /// vector unit runs beside the rounds instead of after them.
    #[inline(always)]
    pub(crate) fn four_blocks(&mut self, mut between_rounds: impl FnMut(Round)) -> Keystream {
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15] = self.start;
        let [[a1, b1, c1, d1], [a2, b2, c2, d2], [a3, b3, c3, d3]] = self.columns;
        let mut state =
            State { a: [s0, a1, a2, a3], b: [s4, b1, b2, b3], c: [s8, c1, c2, c3], d: [s12, d1, d2, d3] };
        state.first_column(self.rotations);
        between_rounds(Round::Columns);
        state.diagonals(self.rotations);
        between_rounds(Round::Diagonals);
        for _ in 1..DOUBLE_ROUNDS {
            state.columns(self.rotations);
            between_rounds(Round::Columns);
            state.diagonals(self.rotations);
            between_rounds(Round::Diagonals);
        }
        let State { a: [a0, a1, a2, a3], b: [b0, b1, b2, b3], c: [c0, c1, c2, c3], d: [d0, d1, d2, d3] } =
            state;

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

/// The four rows of the state.
struct State {
    a: [Lanes; 4],
    b: [Lanes; 4],
    c: [Lanes; 4],
    d: [Lanes; 4],
}

impl State {
    #[inline(always)]
    fn first_column(&mut self, turn: ByteRotations) {
        let Self { a: [a0, ..], b: [b0, ..], c: [c0, ..], d: [d0, ..] } = self;
        quarter_round(turn, a0, b0, c0, d0);
    }

    #[inline(always)]
    fn columns(&mut self, turn: ByteRotations) {
        let Self { a: [a0, a1, a2, a3], b: [b0, b1, b2, b3], c: [c0, c1, c2, c3], d: [d0, d1, d2, d3] } =
            self;
        quarter_round(turn, a0, b0, c0, d0);
        quarter_round(turn, a1, b1, c1, d1);
        quarter_round(turn, a2, b2, c2, d2);
        quarter_round(turn, a3, b3, c3, d3);
    }

    #[inline(always)]
    fn diagonals(&mut self, turn: ByteRotations) {
        let Self { a: [a0, a1, a2, a3], b: [b0, b1, b2, b3], c: [c0, c1, c2, c3], d: [d0, d1, d2, d3] } =
            self;
        quarter_round(turn, a0, b1, c2, d3);
        quarter_round(turn, a1, b2, c3, d0);
        quarter_round(turn, a2, b3, c0, d1);
        quarter_round(turn, a3, b0, c1, d2);
    }
}

/// RFC 8439 §2.1, on four blocks.
#[inline(always)]
fn quarter_round(turn: ByteRotations, a: &mut Lanes, b: &mut Lanes, c: &mut Lanes, d: &mut Lanes) {
    *a = *a + *b;
    *d = turn.left_16(*d ^ *a);
    *c = *c + *d;
    *b = (*b ^ *c).rotate_left::<12>();
    *a = *a + *b;
    *d = turn.left_8(*d ^ *a);
    *c = *c + *d;
    *b = (*b ^ *c).rotate_left::<7>();
}
