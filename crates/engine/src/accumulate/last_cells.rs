//! In which cell of its key a row lies, told by that of the key's row before it.
//!
//! Sources mostly grow with time, and are read from one end to the other. So the next row of a key mostly lies in the
//! same cell, and then two numbers tell it without a search. What is told is true in whatever order rows come; in another
//! order it is less, and then not asked for any more.

use std::hint::black_box;
use std::ops::Range;

use arrow_array::{Array, TimestampMicrosecondArray};

use super::segments::Counted;
use crate::beaten::TOLD_TOGETHER;
use crate::keys::NO_KEY;
use crate::search::{NO_PLACE, Searched};
use crate::source::latest_first;
use crate::worth::Worth;

/// Rows for which what is held of their keys is read together: it should fit the first cache.
const TOUCHED_TOGETHER: usize = 256;

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

impl LastCell {
    /// Bytes of each key.
    pub(super) const BYTES: u64 = size_of::<Self>() as u64;

    /// The cell that ends with a cut of a key's `(start, end)`; behind the last one for `end`.
    #[inline]
    fn new(cuts: Searched<'_>, (start, end): (u32, u32), cell: u32, place: u32) -> Self {
        // Times of the same level as a cut are left to be compared whole.
        let least = match cell > start {
            true => cuts.level_at(cell - 1).saturating_add(1),
            false => 0,
        };
        let after = match cell < end {
            true => cuts.level_at(cell),
            false => u16::MAX,
        };
        Self {
            least,
            n: after.saturating_sub(least),
            place,
        }
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

    /// Takes in the cell that a row of a key was found in; [`NO_PLACE`] if none is to be counted in.
    #[inline]
    pub(super) fn add(
        &mut self,
        key: u32,
        cuts: Searched<'_>,
        of_key: (u32, u32),
        cell: u32,
        place: u32,
    ) {
        if let Some(last) = self.of_keys.get_mut(key as usize) {
            *last = LastCell::new(cuts, of_key, cell, place);
        }
    }

    /// Adds those of some rows to `found` that lie in the same cell as the last row of their key, if it is to be
    /// counted in. Writes those that may lie in another to the front of `left`, and answers how many of both there are.
    /// `numbers` are those of the batch's keys, `found` has room for all rows, and `places` are at most
    /// [`TOLD_TOGETHER`] as for [`latest_first`].
    pub(super) fn tell(
        &mut self,
        cuts: Searched<'_>,
        numbers: &[u32],
        events: &TimestampMicrosecondArray,
        places: Range<usize>,
        found: &mut [Counted],
        left: &mut [u32; TOLD_TOGETHER],
    ) -> (usize, usize) {
        let (nulls, times) = (events.nulls(), events.values());
        let (mut n_found, mut n_left, mut n_of_keys) = (0, 0, 0);
        for first in places.clone().step_by(TOUCHED_TOGETHER) {
            let some = first..places.end.min(first + TOUCHED_TOGETHER);
            self.touch(numbers, latest_first(events, some.clone()));
            for row in latest_first(events, some) {
                let number = numbers[row];
                let last = self.of_keys.get(number as usize);
                let LastCell { least, n, place } = last.copied().unwrap_or_default();
                let is_within = cuts.level_of(times[row]).wrapping_sub(least) < n;
                let is_told = is_within & nulls.is_none_or(|nulls| nulls.is_valid(row));
                let row = row as u32;
                found[n_found] = Counted { place, row };
                n_found += usize::from(is_told & (place != NO_PLACE));
                left[n_left] = row;
                n_left += usize::from((number != NO_KEY) & !is_told);
                n_of_keys += usize::from(number != NO_KEY);
            }
        }
        let n_told = n_of_keys - n_left;
        if !self.worth.count(n_of_keys, n_told, self.of_keys.len()) {
            self.of_keys = Vec::new();
        }
        (n_found, n_left)
    }

    /// Reads what is held for the keys of some rows, so that it is at hand.
    fn touch(&self, numbers: &[u32], rows: impl Iterator<Item = usize>) {
        let mut all = 0;
        for row in rows {
            all ^= self
                .of_keys
                .get(numbers[row] as usize)
                .map_or(0, |last| last.place);
        }
        black_box(all);
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
                last.add(0, ascending, (1, n + 1), cell, place);
                let (mut found, mut left) = (vec![ROOM; numbers.len()], [0; TOLD_TOGETHER]);
                let some = 0..numbers.len();
                let (n_found, n_left) =
                    last.tell(ascending, &numbers, &of_batch, some, &mut found, &mut left);
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
