//! See `wireguard::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wireguard::fuzz::filter(data));
