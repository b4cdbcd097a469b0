//! Which counters of a session have been received. A ring of bits as in RFC 6479: moving on clears whole words, and no
//! bit is ever shifted.

/// Words of 64 bits. One is always partly ahead, so the window is a word shorter than the ring.
const WORDS: u64 = 128;
/// How far behind the greatest a counter may be: 8,128, as in Linux `drivers/net/wireguard/messages.h`.
const WINDOW: u64 = (WORDS - 1) * 64;

pub struct ReplayWindow {
    /// The greatest counter received, plus one.
    next: u64,
    /// Bit c mod 64 of word c / 64 mod `WORDS` tells whether c was received.
    received: [u64; WORDS as usize],
}

impl ReplayWindow {
    pub fn new() -> Self {
        ReplayWindow { next: 0, received: [0; WORDS as usize] }
    }

    /// Whether `counter` was not received yet and is not too old to tell.
    pub fn accepts(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        let word = self.received.get((counter / 64 % WORDS) as usize);
        self.next - counter <= WINDOW && word.is_some_and(|word| word & bit(counter) == 0)
    }

    /// Takes a counter that was accepted, once its message has proved authentic.
    pub fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            let (newest, word) = (self.next.saturating_sub(1) / 64, counter / 64);
            // What the ring held there is too old by now.
            for passed in newest + 1..=word.min(newest + WORDS) {
                self.write(passed, |_| 0);
            }
            self.next = counter.saturating_add(1);
        }
        self.write(counter / 64, |word| word | bit(counter));
    }

    fn write(&mut self, word: u64, change: impl Fn(u64) -> u64) {
        if let Some(place) = self.received.get_mut((word % WORDS) as usize) {
            *place = change(*place);
        }
    }
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::message::REJECT_AFTER_MESSAGES;
    use crate::test_random::Random;

    fn take(window: &mut ReplayWindow, counter: u64) -> bool {
        let accepted = window.accepts(counter);
        if accepted {
            window.mark(counter);
        }
        accepted
    }

    /// Rows after those of the kernel's `selftest/counter.c`: counter, and whether it passes.
    #[test]
    fn agrees_with_the_table() {
        let steps: &[&[(u64, bool)]] = &[
            &[(0, true), (0, false), (1, true), (1, false), (9, true), (8, true), (7, true), (7, false)],
            &[(WINDOW, true), (WINDOW - 1, true), (WINDOW - 1, false), (1, true), (0, false)],
            &[(WINDOW + 1, true), (1, false), (2, true), (2, false), (0, false)],
            &[(WINDOW + 63, true), (62, false), (63, false), (64, true), (64, false)],
            &[(5 * WINDOW, true), (4 * WINDOW - 1, false), (4 * WINDOW, false), (4 * WINDOW + 1, true)],
            &[(u64::from(u32::MAX) - 3, true), (0, false), (1 << 32, true), ((1 << 32) - 1, true)],
            &[(REJECT_AFTER_MESSAGES - 1, true), (REJECT_AFTER_MESSAGES - 1, false), (0, false)],
        ];
        for steps in steps {
            let mut window = ReplayWindow::new();
            for &(counter, passes) in *steps {
                assert_eq!(take(&mut window, counter), passes, "{counter} of {steps:?}");
            }
        }
    }

    #[test]
    fn each_passes_once_backwards_over_the_whole_window_at_every_boundary() {
        for top in [WINDOW - 1, 1 << 31, 1 << 32, 1 << 53, 1 << 63, REJECT_AFTER_MESSAGES - 1] {
            let mut window = ReplayWindow::new();
            for counter in (top + 1 - WINDOW..=top).rev() {
                assert!(take(&mut window, counter), "{counter} below {top}");
            }
            for counter in top.saturating_sub(2 * WINDOW)..=top {
                assert!(!take(&mut window, counter), "{counter} again, below {top}");
            }
        }
    }

    /// Against a set that remembers everything.
    #[test]
    fn agrees_with_a_slow_reference_on_random_walks() {
        let mut random = Random(0x6479_0000_0000_0001);
        for start in [0, 1 << 31, 1 << 53, 1 << 63] {
            let (mut window, mut seen, mut greatest) = (ReplayWindow::new(), HashSet::new(), None::<u64>);
            let mut middle = start;
            for _ in 0..40_000 {
                let jump = [3, 70, 700, 9_000, 20_000][(random.next() % 5) as usize];
                let counter = (middle + random.next() % jump).saturating_sub(random.next() % jump);
                let fresh = greatest.is_none_or(|greatest| counter > greatest || greatest - counter < WINDOW);
                assert_eq!(take(&mut window, counter), fresh && !seen.contains(&counter), "{counter}");
                if fresh {
                    seen.insert(counter);
                    greatest = greatest.max(Some(counter));
                }
                middle += random.next() % 8;
            }
        }
    }
}
