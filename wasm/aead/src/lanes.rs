//! Four 32-bit words side by side: the vector that ChaCha20 works in.
//!
//! In wasm with SIMD128 it is one `v128`; elsewhere an array, so that the host's tests run the very same algorithm.
//! Word `i` of every lane belongs to block `i`. Bytes are little-endian, as ChaCha20 and wasm both have them.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use simd128::{ByteRotations, Lanes};

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) use portable::{ByteRotations, Lanes};

impl Lanes {
    #[inline(always)]
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.store(&mut bytes);
        bytes
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128 {
    use core::arch::wasm32::*;
    use core::hint::black_box;
    use core::ops::{Add, BitXor};

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(v128);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn splat(word: u32) -> Self {
            Self(u32x4_splat(word))
        }

        #[inline(always)]
        pub(crate) fn new([a, b, c, d]: [u32; 4]) -> Self {
            Self(u32x4(a, b, c, d))
        }

        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; 16]) -> Self {
            // SAFETY: the reference covers the 16 bytes read, and `v128_load` asks for no alignment.
            Self(unsafe { v128_load(bytes.as_ptr().cast()) })
        }

        #[inline(always)]
        pub(crate) fn store(self, bytes: &mut [u8; 16]) {
            // SAFETY: the exclusive reference covers the 16 bytes written, and `v128_store` asks for no alignment.
            unsafe { v128_store(bytes.as_mut_ptr().cast(), self.0) }
        }

        /// For whole bytes see [`ByteRotations`].
        #[inline(always)]
        pub(crate) fn rotate_left<const BITS: u32>(self) -> Self {
            Self(v128_or(u32x4_shl(self.0, BITS), u32x4_shr(self.0, 32 - BITS)))
        }

        /// Word `i` of the result is word `i + 1`, `i + 2` and `i + 3`, around the end.
        #[inline(always)]
        pub(crate) fn turn_1(self) -> Self {
            Self(u32x4_shuffle::<1, 2, 3, 0>(self.0, self.0))
        }

        #[inline(always)]
        pub(crate) fn turn_2(self) -> Self {
            Self(u32x4_shuffle::<2, 3, 0, 1>(self.0, self.0))
        }

        #[inline(always)]
        pub(crate) fn turn_3(self) -> Self {
            Self(u32x4_shuffle::<3, 0, 1, 2>(self.0, self.0))
        }

        /// Row `i` of the result holds word `i` of every row.
        #[inline(always)]
        pub(crate) fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let ab_low = u32x4_shuffle::<0, 4, 1, 5>(a.0, b.0);
            let ab_high = u32x4_shuffle::<2, 6, 3, 7>(a.0, b.0);
            let cd_low = u32x4_shuffle::<0, 4, 1, 5>(c.0, d.0);
            let cd_high = u32x4_shuffle::<2, 6, 3, 7>(c.0, d.0);
            [
                Self(u64x2_shuffle::<0, 2>(ab_low, cd_low)),
                Self(u64x2_shuffle::<1, 3>(ab_low, cd_low)),
                Self(u64x2_shuffle::<0, 2>(ab_high, cd_high)),
                Self(u64x2_shuffle::<1, 3>(ab_high, cd_high)),
            ]
        }
    }

    /// Rotation of every word by one byte or two, an instruction each where shifts take three.
    ///
    /// V8 loads the mask of a constant shuffle anew at each use, five instructions in all. So the masks are kept in
    /// registers, hidden from the compiler, which would make constant shuffles of them again; and the swizzle is the
    /// relaxed one, which need not check that indices are below 16: these are, so all engines agree on it.
    /// Callers that should be inlined are built with `target_feature(enable = "relaxed-simd")`; V8 has it since 11.4.
    #[derive(Clone, Copy)]
    pub(crate) struct ByteRotations {
        left_8: v128,
        left_16: v128,
    }

    impl ByteRotations {
        #[inline(always)]
        pub(crate) fn new() -> Self {
            Self {
                left_8: black_box(u8x16(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14)),
                left_16: black_box(u8x16(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)),
            }
        }

        #[inline(always)]
        pub(crate) fn left_8(self, lanes: Lanes) -> Lanes {
            Lanes(u8x16_relaxed_swizzle(lanes.0, self.left_8))
        }

        #[inline(always)]
        pub(crate) fn left_16(self, lanes: Lanes) -> Lanes {
            Lanes(u8x16_relaxed_swizzle(lanes.0, self.left_16))
        }
    }

    impl Add for Lanes {
        type Output = Self;
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(u32x4_add(self.0, other.0))
        }
    }

    impl BitXor for Lanes {
        type Output = Self;
        #[inline(always)]
        fn bitxor(self, other: Self) -> Self {
            Self(v128_xor(self.0, other.0))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod portable {
    use core::ops::{Add, BitXor};

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes([u32; 4]);

    impl Lanes {
        pub(crate) fn splat(word: u32) -> Self {
            Self([word; 4])
        }

        pub(crate) fn new(words: [u32; 4]) -> Self {
            Self(words)
        }

        pub(crate) fn load(bytes: &[u8; 16]) -> Self {
            let mut words = [0; 4];
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*bytes);
            }
            Self(words)
        }

        pub(crate) fn store(self, bytes: &mut [u8; 16]) {
            for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
                *bytes = word.to_le_bytes();
            }
        }

        pub(crate) fn rotate_left<const BITS: u32>(self) -> Self {
            Self(self.0.map(|word| word.rotate_left(BITS)))
        }

        /// Word `i` of the result is word `i + 1`, `i + 2` and `i + 3`, around the end.
        pub(crate) fn turn_1(self) -> Self {
            let [a, b, c, d] = self.0;
            Self([b, c, d, a])
        }

        pub(crate) fn turn_2(self) -> Self {
            let [a, b, c, d] = self.0;
            Self([c, d, a, b])
        }

        pub(crate) fn turn_3(self) -> Self {
            let [a, b, c, d] = self.0;
            Self([d, a, b, c])
        }

        /// Row `i` of the result holds word `i` of every row.
        pub(crate) fn transpose([a, b, c, d]: [Self; 4]) -> [Self; 4] {
            let mut rows = [Self::splat(0); 4];
            for ((((row, a), b), c), d) in rows.iter_mut().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
                *row = Self([a, b, c, d]);
            }
            rows
        }
    }

    /// Rotation of every word by one byte or two.
    #[derive(Clone, Copy)]
    pub(crate) struct ByteRotations;

    impl ByteRotations {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn left_8(self, lanes: Lanes) -> Lanes {
            lanes.rotate_left::<8>()
        }

        pub(crate) fn left_16(self, lanes: Lanes) -> Lanes {
            lanes.rotate_left::<16>()
        }
    }

    impl Add for Lanes {
        type Output = Self;
        fn add(self, Self([a, b, c, d]): Self) -> Self {
            let Self([p, q, r, s]) = self;
            Self([p.wrapping_add(a), q.wrapping_add(b), r.wrapping_add(c), s.wrapping_add(d)])
        }
    }

    impl BitXor for Lanes {
        type Output = Self;
        fn bitxor(self, Self([a, b, c, d]): Self) -> Self {
            let Self([p, q, r, s]) = self;
            Self([p ^ a, q ^ b, r ^ c, s ^ d])
        }
    }
}
