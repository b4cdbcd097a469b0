//! ChaCha20-Poly1305 (RFC 8439) for the packet path, under the names that boringtun calls in crates.io's `ring`.
//!
//! `ring` itself needs a C compiler for wasm32 and has no SIMD there, so `[patch.crates-io]` puts this crate in
//! its place. This file holds names only: [`aead`] is the API, [`capture`] what the real one lacks, `packet` the walk over one packet, `chacha20` and
//! `poly1305` the two algorithms, `lanes` the vector type that is `v128` in wasm and an array elsewhere.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod aead;
pub mod capture;
pub mod constant_time;
pub mod error;

mod chacha20;
mod lanes;
mod packet;
mod poly1305;

#[cfg(test)]
mod tests;
