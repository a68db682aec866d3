//! How calls are counted: one after the other, for a while, after a fifth of that while uncounted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;

/// Calls that are made even if they take longer than there is time.
const MIN_CALLS: usize = 5;

/// Collects how long calls take.
pub(crate) struct Calls {
    counts_from: Instant,
    ends: Instant,
    before: Instant,
    started: Option<Instant>,
    calls_us: Vec<f64>,
    n_before: usize,
}

impl Calls {
    /// Counts calls for `seconds`.
    pub(crate) fn new(seconds: f64) -> Self {
        let now = Instant::now();
        let counts_from = now + Duration::from_secs_f64(seconds / 5.0);
        Self {
            counts_from,
            ends: counts_from + Duration::from_secs_f64(seconds),
            before: now,
            started: None,
            calls_us: Vec::new(),
            n_before: 0,
        }
    }

    /// The number of the call that is made next, or none if it is enough.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let is_over = self.before >= self.ends && self.calls_us.len() >= MIN_CALLS;
        (!is_over).then(|| self.n_before + self.calls_us.len())
    }

    /// A call has ended.
    pub(crate) fn done(&mut self) {
        let now = Instant::now();
        if self.started.is_some() {
            self.calls_us
                .push((now - self.before).as_secs_f64() * 1_000_000.0);
        } else {
            self.n_before += 1;
            if now >= self.counts_from {
                self.started = Some(now);
            }
        }
        self.before = now;
    }

    /// What the driver of the benchmark wants to know.
    pub(crate) fn answer(&self) -> Outcome<Value> {
        let started = self.started.ok_or("no call was counted")?;
        let mut sorted = self.calls_us.clone();
        sorted.sort_by(f64::total_cmp);
        Ok(json!({
            "seconds": (self.before - started).as_secs_f64(),
            "n_calls": sorted.len(),
            "p50_us": sorted[sorted.len() / 2],
            // Of few calls it would be the slowest, which says something else.
            "p99_us": (sorted.len() >= 100).then(|| sorted[sorted.len() * 99 / 100]),
        }))
    }
}
