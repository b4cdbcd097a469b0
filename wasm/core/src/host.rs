//! What the core gets from its host: time and randomness. Nothing below this file reads a clock.

use std::cell::Cell;
use std::time::Duration;

/// Milliseconds of the host's clock, which counts through suspend and never goes back.
pub type Millis = u64;

thread_local! {
    static NOW: Cell<Millis> = const { Cell::new(0) };
}

/// Timestamps in handshakes are cut to this grid, so that they tell no one our exact clock and so that a peer
/// sends at most about 60 a second. Linux `drivers/net/wireguard/noise.c`.
const TIMESTAMP_GRID_NANOS: u32 = 1 << 24;

/// Sets the time for everything until the next call. NaN, negative and earlier times change nothing.
pub fn set_time(now_ms: f64) {
    let now = now_ms as Millis; // saturates, and NaN is 0
    if now < NOW.with(Cell::get) {
        return;
    }
    NOW.with(|cell| cell.set(now));
    let exact = Duration::from_millis(now);
    let cut = exact.subsec_nanos() / TIMESTAMP_GRID_NANOS * TIMESTAMP_GRID_NANOS;
    mock_instant::set_now(Duration::new(exact.as_secs(), cut));
}

pub fn now() -> Millis {
    NOW.with(Cell::get)
}

/// Microseconds of a clock that goes on while the core works, for how long a piece of work took. About a third of a
/// microsecond per call, so once per handshake, never per packet.
#[cfg(target_arch = "wasm32")]
pub fn stopwatch() -> i64 {
    thread_local! {
        static ORIGIN: std::time::Instant = std::time::Instant::now();
    }
    ORIGIN.with(std::time::Instant::elapsed).as_micros() as i64
}

/// In tests it stands still, so that what they see does not depend on the machine.
#[cfg(not(target_arch = "wasm32"))]
pub fn stopwatch() -> i64 {
    0
}

/// Random bytes, or `None` when the host has none to give.
pub fn random_bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::getrandom(&mut bytes).ok()?;
    Some(bytes)
}

/// A random number, or `None` when the host has no randomness to give.
pub fn random_u32() -> Option<u32> {
    random_bytes().map(u32::from_le_bytes)
}
