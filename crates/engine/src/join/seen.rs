//! What is known of a spine that has been read once: it decides which rows of a source are of no use.

use arrow_array::{Array, ArrayRef, TimestampMicrosecondArray};
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
        if times.null_count() == times.len() {
            return Ok(());
        }
        // Nothing else is done meanwhile, so that it should not take long.
        let ends = |(least, greatest): (i64, i64), time: i64| (least.min(time), greatest.max(time));
        let own = self.times.unwrap_or((i64::MAX, i64::MIN));
        self.times = Some(match times.null_count() {
            0 => times.values().iter().copied().fold(own, ends),
            _ => times.iter().flatten().fold(own, ends),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_span_all_that_are_not_null() -> Result<()> {
        let mut seen = Seen::new(&[]);
        for (times, span) in [
            (vec![], None),
            (vec![None, None], None),
            (vec![None, Some(5)], Some((5, 5))),
            (vec![Some(7), Some(-3)], Some((-3, 7))),
            (vec![Some(0), None, Some(8)], Some((-3, 8))),
            (vec![None], Some((-3, 8))),
        ] {
            seen.push(&[], &times.into())?;
            assert_eq!(seen.times, span);
        }
        Ok(())
    }
}
