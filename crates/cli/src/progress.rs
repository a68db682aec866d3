//! Progress of long work: rows, rate and, where the number of rows is known, time left.
//!
//! Shown on stderr and only on a terminal, so that logs and pipes stay clean.

use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use provender_core::BatchStream;

use crate::errors::colours;

/// A line on the terminal that counts rows. Vanishes when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts counting; `total` is the number of rows expected, if known.
    pub(crate) fn rows(what: &str, total: Option<u64>) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(5);
        let bar = match total {
            Some(total) => ProgressBar::with_draw_target(Some(total), target),
            None => ProgressBar::with_draw_target(None, target),
        };
        if !bar.is_hidden() {
            let template = match (total.is_some(), colours(true)) {
                (true, true) => {
                    "{msg} {bar:24.cyan} {human_pos}/{human_len} rows, {per_sec}, {eta} left"
                }
                (true, false) => {
                    "{msg} {bar:24} {human_pos}/{human_len} rows, {per_sec}, {eta} left"
                }
                (false, _) => "{spinner} {msg} {human_pos} rows, {per_sec}, {elapsed}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
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
