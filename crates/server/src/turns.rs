//! Whose turn it is in each call of a connection: the server's, which works on what came, or the client's, whose
//! next message is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The turns of all calls of a connection.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    n_ours: AtomicUsize,
    n_ended: AtomicUsize,
}

/// The turn of one call, which is the server's at first. Dropped when the call has ended.
#[derive(Debug)]
pub(crate) struct Turn {
    of: Arc<Turns>,
    is_ours: AtomicBool,
}

impl Turns {
    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Turn {
        self.n_ours.fetch_add(1, Ordering::Relaxed);
        Turn {
            of: self.clone(),
            is_ours: AtomicBool::new(true),
        }
    }

    /// Whether the server has nothing to work on.
    pub(crate) fn are_all_theirs(&self) -> bool {
        self.n_ours.load(Ordering::Relaxed) == 0
    }

    /// How many turns of the server have ended, ever.
    pub(crate) fn n_ended(&self) -> usize {
        self.n_ended.load(Ordering::Relaxed)
    }
}

impl Turn {
    /// Something came.
    pub(crate) fn is_ours(&self) {
        if !self.is_ours.swap(true, Ordering::Relaxed) {
            self.of.n_ours.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What came was worked on, and nothing else is there.
    pub(crate) fn is_theirs(&self) {
        if self.is_ours.swap(false, Ordering::Relaxed) {
            self.of.n_ended.fetch_add(1, Ordering::Relaxed);
            self.of.n_ours.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.is_theirs();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_once() {
        let turns = Arc::new(Turns::default());
        assert!(turns.are_all_theirs());
        let (first, second) = (turns.begin(), turns.begin());
        first.is_ours();
        first.is_theirs();
        first.is_theirs();
        assert!(!turns.are_all_theirs());
        assert_eq!(turns.n_ended(), 1);
        drop(second);
        assert!(turns.are_all_theirs());
        first.is_ours();
        assert!(!turns.are_all_theirs());
        drop(first);
        assert!(turns.are_all_theirs());
        assert_eq!(turns.n_ended(), 3);
    }
}
