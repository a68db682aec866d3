//! Progress of long work: rows, rate and, where the number of rows is known, time left.
//!
//! Shown on stderr and only on a terminal, so that logs and pipes stay clean.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use provender_core::BatchStream;

use crate::errors::{colours, say};

/// How often bars are drawn, in a second.
const DRAW_HZ: u8 = 5;

/// A line on the terminal that counts rows. Vanishes when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts counting; `total` is the number of rows expected, if known.
    pub(crate) fn rows(what: &str, total: Option<u64>) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(DRAW_HZ);
        let bar = match total {
            Some(total) => ProgressBar::with_draw_target(Some(total), target),
            None => ProgressBar::with_draw_target(None, target),
        };
        if !bar.is_hidden() {
            style(&bar, total.is_some());
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(tick());
        }
        Self { bar }
    }

    /// The same stream, counted as it is read.
    pub(crate) fn watch(&self, stream: BatchStream) -> BatchStream {
        let bar = self.bar.clone();
        BatchStream::new(
            stream.schema,
            stream.batches.inspect(move |batch| {
                if let Ok(batch) = batch {
                    bar.inc(batch.num_rows() as u64);
                }
            }),
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Lines on the terminal for several pieces of work at once, each counting rows. Vanish when dropped.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Default for Bars {
    fn default() -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(DRAW_HZ);
        Self {
            all: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
        }
    }
}

impl Bars {
    /// Shows that `what` is in a phase and has come to `n_rows` of `total`, where that is known.
    pub(crate) fn rows(&self, what: &str, phase: &str, n_rows: u64, total: Option<u64>) {
        if self.all.is_hidden() {
            return;
        }
        let message = format!("{what}: {phase}");
        let mut bars = self.bars();
        let bar = bars.entry(what.to_owned()).or_insert_with(|| {
            let bar = ProgressBar::no_length().with_message(message.clone());
            style(&bar, total.is_some());
            let bar = self.all.add(bar);
            bar.enable_steady_tick(tick());
            bar
        });
        if bar.message() != message {
            // Another phase counts from the beginning, and so does its rate.
            bar.reset();
            style(bar, total.is_some());
            bar.set_message(message);
        }
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(n_rows);
    }

    /// Takes the line of `what` away and leaves a sentence in its place, terminal or not.
    pub(crate) fn done(&self, what: &str, sentence: &str) {
        if let Some(bar) = self.bars().remove(what) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.all.suspend(|| say(sentence));
    }

    fn bars(&self) -> MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.bars().values() {
            bar.finish_and_clear();
        }
    }
}

fn tick() -> Duration {
    Duration::from_millis(200)
}

fn style(bar: &ProgressBar, has_total: bool) {
    let template = match (has_total, colours(true)) {
        (true, true) => "{msg} {bar:24.cyan} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
        (true, false) => "{msg} {bar:24} {human_pos}/{human_len} rows, {per_sec}, {eta} left",
        (false, _) => "{spinner} {msg} {human_pos} rows, {per_sec}, {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// A number with commas between thousands, for people.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`, `336,776 rows`.
pub(crate) fn plural(n: u64, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (336_776, "336,776"),
        ] {
            assert_eq!(count(n), text);
        }
        assert_eq!(plural(1, "row"), "1 row");
    }
}
