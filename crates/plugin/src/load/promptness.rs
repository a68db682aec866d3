//! Whether a library that says it returns at once does so.
//!
//! Decides when a call may be made on a thread of the runtime. A call that took long inside is held
//! against its library for a while, and not for ever: a busy machine makes any call look so now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a call may be inside of a library that says it returns at once.
const PROMPT: Duration = Duration::from_millis(5);
/// How long a call that was longer inside is held against its library.
const HELD_AGAINST: Duration = Duration::from_secs(1);

/// What is known of one library.
pub(super) struct Promptness {
    loaded: Instant,
    /// Until when it is not trusted, in microseconds since `loaded`.
    until_us: AtomicU64,
}

impl Promptness {
    pub(super) fn new() -> Self {
        Self {
            loaded: Instant::now(),
            until_us: AtomicU64::new(0),
        }
    }

    /// Whether a call may be made where others wait.
    pub(super) fn is_trusted(&self) -> bool {
        // Mostly nothing was ever held against it, and the clock need not be asked.
        let until_us = self.until_us.load(Ordering::Relaxed);
        until_us == 0 || self.at(self.loaded.elapsed()) >= until_us
    }

    /// Takes note of how long a call was inside.
    pub(super) fn note(&self, took: Duration) {
        if took > PROMPT {
            let until = self.at(self.loaded.elapsed() + HELD_AGAINST);
            self.until_us.store(until, Ordering::Relaxed);
        }
    }

    fn at(&self, elapsed: Duration) -> u64 {
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_call_is_held_against_a_library_for_a_while() {
        let mut known = Promptness::new();
        known.note(PROMPT);
        assert!(known.is_trusted());
        known.note(PROMPT + Duration::from_micros(1));
        assert!(!known.is_trusted());
        // As if it had been loaded, and had been slow, long ago.
        known.loaded = Instant::now();
        known.until_us = AtomicU64::new(1);
        std::thread::sleep(Duration::from_micros(10));
        assert!(known.is_trusted());
    }
}
