//! In which cell of its key a row lies, told by that of the key's row before it.
//!
//! Sources mostly grow with time, and are read from one end to the other. So the next row of a key mostly lies in the
//! same cell, and then two numbers tell it without a search. What is told is true in whatever order rows come; in another
//! order it is less, and then not asked for any more.

use std::ops::Range;

use arrow_array::{Array, TimestampMicrosecondArray};

use super::found_rows::Counted;
use crate::beaten::TOLD_TOGETHER;
use crate::keys::NO_KEY;
use crate::prefetch::prefetch;
use crate::search::{NO_PLACE, Searched};
use crate::source::latest_first;
use crate::worth::Worth;

/// How many rows before its own what is held for a key is asked for.
const ASKED_AHEAD: usize = 32;

/// The cell of each key in which a row was found last.
#[derive(Debug)]
pub(super) struct LastCells {
    /// None where nothing is told.
    of_keys: Vec<LastCell>,
    worth: Worth,
}

/// A cell by the levels of the times that surely lie in it, the least and how many there are, and its place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastCell {
    least: u16,
    n: u16,
    place: u32,
}

/// The level of no time that is told.
const NEVER: u16 = u16::MAX;

impl LastCell {
    /// Bytes of each key.
    pub(super) const BYTES: u64 = size_of::<Self>() as u64;

    /// Times between two levels, of which those that have one of both are left to be compared whole.
    #[inline]
    fn between(after: Option<u16>, before: u16, place: u32) -> Self {
        let least = after.map_or(0, |after| after.saturating_add(1));
        Self {
            least,
            n: before.saturating_sub(least),
            place,
        }
    }

    /// The cell that ends with a cut of a key's `(start, end)`; behind the last one for `end`.
    #[inline]
    pub(super) fn of_cuts(
        cuts: Searched<'_>,
        (start, end): (u32, u32),
        cell: u32,
        place: u32,
    ) -> Self {
        let after = (cell > start).then(|| cuts.level_at(cell - 1));
        let before = match cell < end {
            true => cuts.level_at(cell),
            false => NEVER,
        };
        Self::between(after, before, place)
    }
}

impl LastCells {
    pub(super) fn new(n_keys: usize) -> Self {
        Self {
            of_keys: vec![LastCell::default(); n_keys],
            worth: Worth::default(),
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(self.of_keys.as_slice())
    }

    /// Takes in the cell that a row of a key was found in; with [`NO_PLACE`] if it is not to be counted.
    #[inline]
    pub(super) fn add(&mut self, key: u32, cell: LastCell) {
        if let Some(last) = self.of_keys.get_mut(key as usize) {
            *last = cell;
        }
    }

    /// Adds those of some rows to `found` that lie in the same cell as the last row of their key, if it is to be
    /// counted in. Writes those that may lie in another to the front of `left`, and answers how many of both there are.
    /// `level_of` answers that of a time, `numbers` are those of the batch's keys, `found` has room for all rows, and
    /// `places` are at most [`TOLD_TOGETHER`] as for [`latest_first`].
    pub(super) fn tell(
        &mut self,
        level_of: impl Fn(i64) -> u16,
        numbers: &[u32],
        events: &TimestampMicrosecondArray,
        places: Range<usize>,
        found: &mut [Counted],
        left: &mut [u32; TOLD_TOGETHER],
    ) -> (usize, usize) {
        let (nulls, times) = (events.nulls(), events.values());
        let (mut n_found, mut n_left, mut n_of_keys) = (0, 0, 0);
        let mut later = latest_first(events, places.clone());
        let of_keys = self.of_keys.as_slice();
        let mut ask = |row: usize| prefetch(of_keys, numbers[row] as usize);
        later.by_ref().take(ASKED_AHEAD).for_each(&mut ask);
        for row in latest_first(events, places) {
            later.next().into_iter().for_each(&mut ask);
            let number = numbers[row];
            let last = of_keys.get(number as usize);
            let LastCell { least, n, place } = last.copied().unwrap_or_default();
            let is_within = level_of(times[row]).wrapping_sub(least) < n;
            let is_told = is_within & nulls.is_none_or(|nulls| nulls.is_valid(row));
            let row = row as u32;
            found[n_found] = Counted { place, row };
            n_found += usize::from(is_told & (place != NO_PLACE));
            left[n_left] = row;
            n_left += usize::from((number != NO_KEY) & !is_told);
            n_of_keys += usize::from(number != NO_KEY);
        }
        let n_told = n_of_keys - n_left;
        if !self.worth.count(n_of_keys, n_told, self.of_keys.len()) {
            self.of_keys = Vec::new();
        }
        (n_found, n_left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Ascending;

    const ROOM: Counted = Counted { place: 0, row: 0 };

    #[test]
    fn a_row_is_told_only_where_a_search_would_find_the_same_cell() {
        const DAY: i64 = 86_400_000_000;
        let of_key: [Vec<i64>; 4] = [
            vec![0, 10 * DAY, 10 * DAY, 11 * DAY, 400 * DAY],
            vec![5],
            vec![i64::MIN, -1, 0, 3, i64::MAX],
            (0..50).map(|n| n * DAY / 20).collect(),
        ];
        for cuts in of_key {
            // Another key's cuts are earlier and later.
            let far = [cuts[0].saturating_sub(3 * DAY), 500 * DAY];
            let n = cuts.len() as u32;
            let all = far[..1].iter().chain(&cuts).chain(&far[1..]).copied();
            let ascending = Ascending::new(all.collect::<Vec<_>>(), 1);
            let ascending = ascending.searched();
            let mut times = vec![i64::MIN, i64::MAX];
            for by in [0, 1, 3_000_000, DAY / 3, 30 * DAY] {
                times.extend(cuts.iter().map(|cut| cut.saturating_sub(by)));
                times.extend(cuts.iter().map(|cut| cut.saturating_add(by)));
            }
            let of_batch = times.iter().copied().map(Some).chain([None]);
            let of_batch: TimestampMicrosecondArray = of_batch.collect();
            let numbers = vec![0; of_batch.len()];
            let mut n_told = 0;
            for &time in &times {
                let cell = ascending.first_from((1, n + 1), time);
                let place = if cell <= n { cell } else { NO_PLACE };
                let mut last = LastCells::new(1);
                last.add(0, LastCell::of_cuts(ascending, (1, n + 1), cell, place));
                let (mut found, mut left) = (vec![ROOM; numbers.len()], [0; TOLD_TOGETHER]);
                let some = 0..numbers.len();
                let level_of = |time| ascending.level_of(time);
                let (n_found, n_left) =
                    last.tell(level_of, &numbers, &of_batch, some, &mut found, &mut left);
                n_told += numbers.len() - n_left;
                for (row, &other) in times.iter().enumerate() {
                    let is_left = left[..n_left].contains(&(row as u32));
                    let is_same = ascending.first_from((1, n + 1), other) == cell;
                    assert!(is_left || is_same, "{other} by {time} of {cuts:?}");
                    let is_found = found[..n_found].iter().any(|one| one.row == row as u32);
                    assert_eq!(is_found, !is_left && cell <= n);
                }
                assert!(left[..n_left].contains(&(times.len() as u32)), "null");
                assert!(found[..n_found].iter().all(|one| one.place == cell));
            }
            assert!(n_told > 0 || cuts[0] == i64::MIN, "{cuts:?}");
        }
    }
}
