//! Which slots of a spine the rows of a batch count for: looked up once, for all views of a source.

use arrow_array::Array;

use crate::keys::NO_KEY;
use crate::source::TimedRows;
use crate::spine::SpineIndex;

/// The rows of a batch that may count for a slot, and for each its first slot and the end of its key's.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    pub(crate) rows: Vec<Match>,
    numbers: Vec<u32>,
}

/// A row with a slot at or after the time from which it counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Match {
    /// The row in its batch.
    pub(crate) row: u32,
    /// The first slot that it counts for.
    pub(crate) first: u32,
    /// The first slot of its key.
    pub(crate) start: u32,
    /// One after the last slot of its key.
    pub(crate) end: u32,
}

impl Matches {
    /// Finds the matches of a batch. `reach_us` is how long after its event time a row can count at
    /// most, the end included; rows that are older at their first slot are left out, since they are
    /// older still at all later ones.
    pub(crate) fn find(
        &mut self,
        index: &SpineIndex,
        rows: &TimedRows,
        as_known: bool,
        reach_us: Option<i64>,
    ) {
        index.find_all(&rows.keys, &mut self.numbers);
        let events = rows.event.values();
        let event_nulls = rows.event.nulls();
        let reach_us = reach_us.unwrap_or(i64::MAX);
        // Whether a row matches is hard to foretell, so every row is written and those that match are
        // counted: a wrong guess would cost more than the writing.
        self.rows.resize(self.numbers.len(), Match::default());
        let mut n_matches = 0;
        for (row, &number) in self.numbers.iter().enumerate() {
            if number == NO_KEY || event_nulls.is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let event = events[row];
            let mut from = event;
            if as_known {
                match rows.created(row) {
                    Some(created) => from = from.max(created),
                    None => continue,
                }
            }
            let slots = index.slots(number);
            let times = index.times(slots.clone());
            let first = times.partition_point(|&time| time < from);
            let reached = times[first.min(times.len() - 1)];
            self.rows[n_matches] = Match {
                row: row as u32,
                first: (slots.start + first) as u32,
                start: slots.start as u32,
                end: slots.end as u32,
            };
            let is_match = (first < times.len()) & (event.saturating_add(reach_us) >= reached);
            n_matches += usize::from(is_match);
        }
        self.rows.truncate(n_matches);
    }
}
