//! The `Instant` that boringtun sees under its feature `mock-instant`.
//!
//! wasm32 has no clock of its own, and reading one per packet would be a call out of the core. So the
//! host sets the time once per batch, and everything inside one batch happens at that instant.
//! Not for use by anything but boringtun; the core keeps its own milliseconds.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    // One core instance is one thread; natively (tests) each test thread gets a clock of its own.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Moves the clock to `now`, counted from any fixed origin. A time before the last one is ignored:
/// boringtun subtracts without looking and would panic if its clock went back.
pub fn set_now(now: Duration) {
    NOW.with(|cell| {
        if now > cell.get() {
            cell.set(now);
        }
    });
}

/// An instant of the host's clock, as last set by [`set_now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    pub fn now() -> Self {
        Instant(NOW.with(Cell::get))
    }

    /// Time since `earlier`, or zero if that lies ahead.
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn elapsed(&self) -> Duration {
        Instant::now().duration_since(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        set_now(Duration::from_secs(10));
        let start = Instant::now();
        set_now(Duration::from_secs(4));
        assert_eq!(start.elapsed(), Duration::ZERO);
        set_now(Duration::from_secs(13));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        assert_eq!(start.duration_since(Instant::now()), Duration::ZERO);
    }
}
