//! How many bytes of messages all calls hold together: those taken in and not yet worked on, and
//! those that wait to be sent.
//!
//! Decides that what does not fit is refused at once. Rows that work holds on disk or within
//! `limits.memory` do not count here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use provender_core::{Error, Result, codes};

/// The bytes that are held, and how many may be.
#[derive(Debug)]
pub(crate) struct InFlight {
    used: AtomicUsize,
    max: usize,
}

impl InFlight {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// Bytes that are held now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, n_bytes: usize) -> Result<()> {
        let before = self.used.fetch_add(n_bytes, Ordering::Relaxed);
        if before.saturating_add(n_bytes) <= self.max {
            return Ok(());
        }
        self.give(n_bytes);
        Err(Error::new(
            &codes::CALL_LIMIT,
            format!(
                "calls hold {before} bytes of messages and {n_bytes} more would be beyond the limit of {} \
                 (server.max_bytes)",
                self.max
            ),
        )
        .help("try again a little later, or send smaller batches"))
    }

    fn give(&self, n_bytes: usize) {
        self.used.fetch_sub(n_bytes, Ordering::Relaxed);
    }
}

/// What one call, or one part of it, holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    of: Arc<InFlight>,
    n_bytes: AtomicUsize,
}

impl Held {
    pub(crate) fn none(of: &Arc<InFlight>) -> Self {
        Self {
            of: of.clone(),
            n_bytes: AtomicUsize::new(0),
        }
    }

    /// Holds more.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P701`).
    pub(crate) fn add(&self, n_bytes: usize) -> Result<()> {
        self.of.take(n_bytes)?;
        self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Holds less, down to nothing.
    pub(crate) fn release(&self, n_bytes: usize) {
        let held = self
            .n_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                Some(held.saturating_sub(n_bytes))
            })
            .unwrap_or_default();
        self.of.give(held.min(n_bytes));
    }

    /// Holds this much instead of what it held.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P701`); it then holds what it held.
    pub(crate) fn set(&mut self, n_bytes: usize) -> Result<()> {
        let held = *self.n_bytes.get_mut();
        if n_bytes > held {
            self.of.take(n_bytes - held)?;
        } else if n_bytes < held {
            self.of.give(held - n_bytes);
        }
        *self.n_bytes.get_mut() = n_bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.give(*self.n_bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_and_what_does_not_fit_is_refused() {
        let all = Arc::new(InFlight::new(100));
        let mut one = Held::none(&all);
        one.add(60).unwrap();
        let other = Held::none(&all);
        let error = other.add(50).unwrap_err();
        assert_eq!(error.code(), "P701");
        assert!(
            error.message().contains("limit of 100 (server.max_bytes)"),
            "{error}"
        );
        assert_eq!(all.used(), 60);
        one.set(10).unwrap();
        other.add(50).unwrap();
        other.release(70);
        assert_eq!(all.used(), 10);
        drop(one);
        assert_eq!(all.used(), 0);
    }
}
