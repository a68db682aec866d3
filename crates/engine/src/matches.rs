//! Which keys the rows of a batch have, and which slots of a spine they count for: looked up once, for
//! all views of a source.

use crate::beaten::{Beaten, TOLD_TOGETHER};
use crate::search::TOGETHER;
use crate::source::{TimedRows, latest_first};
use crate::spine::SpineIndex;

/// The rows of a batch that may count for a slot, and for each its first slot and the end of its key's.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    /// The number of each row's key in the spine, [`NO_KEY`](crate::keys::NO_KEY) where the spine has none such.
    pub(crate) numbers: Vec<u32>,
    /// Room for a match of each row, of which the first `n_found` are there.
    found: Vec<Match>,
    n_found: usize,
    /// Rows that need no search.
    beaten: Beaten,
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
    /// No matches yet, of rows that matter only where they are the winner of a slot: of others some are left out.
    /// `reach_us` as for [`Self::find`].
    pub(crate) fn of_winners(index: &SpineIndex, reach_us: Option<i64>) -> Self {
        Self {
            beaten: Beaten::new(index, reach_us),
            ..Self::default()
        }
    }

    /// Bytes that are held for the keys of the spine.
    pub(crate) fn memory(&self) -> usize {
        self.beaten.memory()
    }

    /// The matches that were found.
    pub(crate) fn rows(&self) -> &[Match] {
        &self.found[..self.n_found]
    }

    /// Finds the keys of a batch, and no matches yet.
    pub(crate) fn look_up(&mut self, index: &SpineIndex, rows: &TimedRows) {
        index.find_all(&rows.keys, &mut self.numbers);
        self.n_found = 0;
    }

    /// Finds the matches of a batch whose keys were looked up. `reach_us` is how long after its event
    /// time a row can count at most, the end included; rows that are older at their first slot are left
    /// out, since they are older still at all later ones.
    pub(crate) fn find(
        &mut self,
        index: &SpineIndex,
        rows: &TimedRows,
        as_known: bool,
        reach_us: Option<i64>,
    ) {
        let events = rows.event.values();
        let times = index.all_times().searched();
        // Whether a row matches is hard to foretell, so every row is written and those that match are
        // counted: a wrong guess would cost more than the writing.
        if self.found.len() < self.numbers.len() {
            self.found.resize(self.numbers.len(), Match::default());
        }
        let mut n_found = 0;
        let n_rows = self.numbers.len();
        let mut slots = [(0, 0); TOGETHER];
        let mut left = [0; TOLD_TOGETHER];
        for next in (0..n_rows).step_by(TOLD_TOGETHER) {
            let told = latest_first(&rows.event, next..n_rows.min(next + TOLD_TOGETHER));
            let n_left = self
                .beaten
                .remaining(&self.numbers, events, told, &mut left);
            for together in left[..n_left].chunks(TOGETHER) {
                let slots = &mut slots[..together.len()];
                let together = together.iter().map(|row| *row as usize);
                rows.slots(index, &self.numbers, together.clone(), slots);
                times.ask(slots);
                for (row, &(start, end)) in together.zip(slots.iter()) {
                    if start == end {
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
                    let first = times.first_from((start, end), from);
                    self.found[n_found] = Match {
                        row: row as u32,
                        first,
                        start,
                        end,
                    };
                    let until = reach_us.map_or(i64::MAX, |reach| event.saturating_add(reach));
                    let is_match = (first < end) & times.is_reached(first.min(end - 1), until);
                    n_found += usize::from(is_match);
                    let key = self.numbers[row];
                    self.beaten.add(key, times, (start, end), first, event);
                }
            }
        }
        self.n_found = n_found;
    }
}
