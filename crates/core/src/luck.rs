//! Whether to wait without sleeping.

use std::sync::atomic::{AtomicU32, Ordering};

/// After waits in vain, so many do not try: as many more with each of them, up to this.
const MOST_PASSED: u32 = 1 << 10;

/// How it went to wait without sleeping, on one connection.
///
/// Falling asleep and being woken takes some ten microseconds, as long as much of a call. Looking again and again
/// instead pays off if what is waited for comes soon, and costs a processor's time if it does not. So whoever waits
/// asks here first and tells afterwards how it went: where it is in vain, it is tried ever more seldom, one time
/// in 1,025 at last; where it is not, always.
#[derive(Debug, Default)]
pub struct Luck {
    /// Waits that are still to pass without a try.
    n_to_pass: AtomicU32,
    /// How many pass after the next that is in vain.
    n_next: AtomicU32,
}

impl Luck {
    /// Whether the next wait should try. Counts as a wait.
    pub fn is_worth_a_try(&self) -> bool {
        let passed = self
            .n_to_pass
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        passed.is_err()
    }

    /// Whether a try has found what it waited for.
    pub fn tell(&self, is_found: bool) {
        if is_found {
            self.n_next.store(0, Ordering::Relaxed);
            return;
        }
        let n = self.n_next.load(Ordering::Relaxed);
        self.n_to_pass.store(n, Ordering::Relaxed);
        let next = (n * 2 + 1).min(MOST_PASSED);
        self.n_next.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(luck: &Luck) -> usize {
        let tries = std::iter::from_fn(|| Some(luck.is_worth_a_try()));
        tries.take_while(|is_tried| !is_tried).count()
    }

    #[test]
    fn after_waits_in_vain_more_and_more_pass() {
        let luck = Luck::default();
        let mut all = Vec::new();
        for _ in 0..13 {
            luck.tell(false);
            all.push(passed(&luck));
        }
        assert_eq!(all[..4], [0, 1, 3, 7]);
        assert_eq!(all[10..], [1_023, 1_024, 1_024]);
    }

    #[test]
    fn after_luck_every_wait_tries() {
        let luck = Luck::default();
        luck.tell(false);
        luck.tell(false);
        luck.tell(true);
        assert_eq!(passed(&luck), 1, "what was decided before");
        assert_eq!(passed(&luck), 0);
        luck.tell(false);
        assert_eq!(passed(&luck), 0, "it begins anew");
    }
}
