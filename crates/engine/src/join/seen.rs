//! What is known of a spine that has been read once: it decides which rows of a source are of no use.

use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use provender_core::Result;
use provender_core::request::KeyColumn;

use super::few::FewValues;

/// The span of a spine's times, and the values of each key column as long as they are few.
#[derive(Debug)]
pub(super) struct Seen {
    /// The least and the greatest, in microseconds; `None` where all times are null.
    pub(super) times: Option<(i64, i64)>,
    pub(super) keys: Vec<FewValues>,
}

impl Seen {
    /// Nothing yet of these keys.
    pub(super) fn new(keys: &[KeyColumn]) -> Self {
        Self {
            times: None,
            keys: keys.iter().map(|_| FewValues::default()).collect(),
        }
    }

    /// Takes in some rows.
    pub(super) fn push(
        &mut self,
        keys: &[ArrayRef],
        times: &TimestampMicrosecondArray,
    ) -> Result<()> {
        for (few, values) in self.keys.iter_mut().zip(keys) {
            few.push(values)?;
        }
        for time in times.iter().flatten() {
            let (least, greatest) = self.times.unwrap_or((time, time));
            self.times = Some((least.min(time), greatest.max(time)));
        }
        Ok(())
    }
}
