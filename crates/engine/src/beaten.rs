//! Which rows cannot win any more, told by key and time alone.
//!
//! A row that was offered to a slot beats all older rows of its key down to the slot before; one that is too old
//! for its first slot is followed by older ones that are so as well. So two numbers for each key tell most rows of
//! a source that is read from its latest rows on: of a key with ten slots, ten rows are offered and the others need
//! no search. What is told is true in whatever order rows come; in another order it is less, and then not asked for
//! any more.

use crate::keys::NO_KEY;
use crate::search::{Searched, UpperBits};
use crate::spine::SpineIndex;
use crate::worth::Worth;

/// Rows that are told together. Those of one key among them are not told by each other.
pub(crate) const TOLD_TOGETHER: usize = 1_024;
/// How long before a spine's first slot rows are told apart that count for it however old they are: four years.
const LOOK_BACK_US: u64 = 4 * 365 * 86_400 * 1_000_000;

/// Rows of each key of a spine that can win no more.
#[derive(Debug, Default)]
pub(crate) struct Beaten {
    levels: Levels,
    /// None where nothing is told.
    of_keys: Vec<Range>,
    worth: Worth,
}

/// Times in so few bits that what there is of all keys fits the caches. Half of the levels are for a spine's times and
/// as long a time before its first slot, and half for what counts of the four years before it.
#[derive(Clone, Copy, Debug, Default)]
struct Levels {
    old: UpperBits,
    /// The latest time that is old.
    middle: i64,
    new: UpperBits,
}

impl Levels {
    const BITS: u32 = u16::BITS - 1;

    /// Of times that are at most so long before the first of some numbers.
    fn new((least, greatest): (i64, i64), reach_us: Option<i64>) -> Self {
        let reach_us = reach_us.map_or(u64::MAX, |reach| reach.max(0).unsigned_abs());
        let distance = greatest.abs_diff(least);
        let first = least.saturating_sub_unsigned(distance.max(LOOK_BACK_US).min(reach_us));
        let middle = least.saturating_sub_unsigned(distance.min(reach_us));
        Self {
            old: UpperBits::between(first, middle, Self::BITS),
            middle,
            new: UpperBits::between(middle, greatest, Self::BITS),
        }
    }

    /// Does not descend where times ascend.
    #[inline]
    fn of(self, time: i64) -> u16 {
        let (old, new) = (self.old.of(time) as u16, self.new.of(time) as u16);
        if time > self.middle {
            new | (1 << Self::BITS)
        } else {
            old
        }
    }
}

/// By the levels of their times, the least, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    least: u16,
    n: u16,
}

impl Beaten {
    /// None yet. `reach_us` is how old a row may be at its slot.
    pub(crate) fn new(index: &SpineIndex, reach_us: Option<i64>) -> Self {
        Self {
            levels: Levels::new(index.all_times().ends(), reach_us),
            of_keys: vec![Range::default(); index.n_keys()],
            ..Self::default()
        }
    }

    /// Bytes that are held.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(self.of_keys.as_slice())
    }

    /// Takes in a row that was offered to the first slot at or after its time, or that is later than all slots of
    /// its key, or too old for its first one. `slots` are those of its key.
    #[inline]
    pub(crate) fn add(
        &mut self,
        key: u32,
        times: Searched<'_>,
        slots: (u32, u32),
        first: u32,
        time: i64,
    ) {
        let Some(range) = self.of_keys.get_mut(key as usize) else {
            return;
        };
        let (start, end) = slots;
        // Rows of the same level as the slot before or the row itself are left to be looked at.
        let least = match first > start {
            true => self
                .levels
                .of(times.hardly_above(first - 1))
                .saturating_add(1),
            false => 0,
        };
        let end = match first < end {
            true => self.levels.of(time),
            false => u16::MAX,
        };
        *range = Range {
            least,
            n: end.saturating_sub(least),
        };
    }

    /// Writes those of some rows of a batch that may win to the front of `left`, and answers how many there are.
    /// `numbers` are those of the batch's keys.
    pub(crate) fn remaining(
        &mut self,
        numbers: &[u32],
        events: &[i64],
        rows: impl Iterator<Item = usize>,
        left: &mut [u32; TOLD_TOGETHER],
    ) -> usize {
        let (mut n, mut n_of_keys) = (0, 0);
        for row in rows.take(TOLD_TOGETHER) {
            let number = numbers[row];
            let range = self.of_keys.get(number as usize);
            let Range { least, n: n_beaten } = range.copied().unwrap_or_default();
            let is_beaten = self.levels.of(events[row]).wrapping_sub(least) < n_beaten;
            left[n] = row as u32;
            n += usize::from((number != NO_KEY) & !is_beaten);
            n_of_keys += usize::from(number != NO_KEY);
        }
        if !self
            .worth
            .count(n_of_keys, n_of_keys - n, self.of_keys.len())
        {
            self.of_keys = Vec::new();
        }
        n
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
    use provender_core::ValueType;
    use provender_core::request::KeyColumn;

    use super::*;
    use crate::spine::{SpineRows, spine_schema};
    use crate::worth::SEEN_AFTER;

    /// One key with slots at some times.
    fn index(slots: &[i64]) -> SpineIndex {
        let keys = [KeyColumn {
            spine: "k".to_owned(),
            column: "k".to_owned(),
            value_type: ValueType::Int64,
        }];
        let n = slots.len() as i64;
        let batch = RecordBatch::try_new(
            spine_schema(&keys),
            vec![
                Arc::new(Int64Array::from(vec![7; slots.len()])),
                Arc::new(TimestampMicrosecondArray::from(slots.to_vec()).with_timezone("UTC")),
                Arc::new(Int64Array::from_iter_values(0..n)),
            ],
        );
        let mut rows = SpineRows::default();
        rows.push(batch.unwrap());
        SpineIndex::new(&keys, &rows, 1).unwrap()
    }

    #[test]
    fn a_row_is_beaten_only_by_a_later_one_for_the_same_slot() {
        const DAY: i64 = 86_400_000_000;
        for slots in [
            vec![0, 10 * DAY, 11 * DAY, 400 * DAY],
            vec![5],
            vec![i64::MIN, -1, 0, 3, i64::MAX],
            (0..50).map(|n| n * 3).collect(),
            (0..50).map(|n| n * DAY / 20).collect(),
        ] {
            let index = index(&slots);
            let last = *slots.last().unwrap();
            let mut times: Vec<i64> = slots.clone();
            for by in [1, 3_000_000, DAY, 30 * DAY, 2_000 * DAY] {
                times.extend(slots.iter().map(|slot| slot.saturating_sub(by)));
                times.push(last.saturating_add(by));
            }
            times.sort_unstable();
            for reach in [None, Some(DAY)] {
                let mut n_told = 0;
                for &offered in &times {
                    let first = slots.partition_point(|&slot| slot < offered);
                    let mut beaten = Beaten::new(&index, reach);
                    let searched = index.all_times().searched();
                    let of_key = (0, slots.len() as u32);
                    beaten.add(0, searched, of_key, first as u32, offered);
                    let mut left = [0; TOLD_TOGETHER];
                    let numbers = vec![0; times.len()];
                    let n_left = beaten.remaining(&numbers, &times, 0..times.len(), &mut left);
                    n_told += times.len() - n_left;
                    for (row, &time) in times.iter().enumerate() {
                        let is_beaten = !left[..n_left].contains(&(row as u32));
                        let its_first = slots.partition_point(|&slot| slot < time);
                        let may_be = its_first == first && (time < offered || first == slots.len());
                        assert!(!is_beaten || may_be, "{time} by {offered} of {slots:?}");
                    }
                }
                // Levels of all times that there are say little.
                assert!(n_told > 0 || slots[0] == i64::MIN, "{slots:?}");
            }
        }
    }

    #[test]
    fn telling_ends_where_it_tells_little() {
        let index = index(&[5]);
        let mut left = [0; TOLD_TOGETHER];
        let (numbers, times) = ([0; TOLD_TOGETHER], [-86_400_000_000; TOLD_TOGETHER]);
        let n_rounds = SEEN_AFTER as usize / TOLD_TOGETHER;
        for (offered, goes_on) in [(5, true), (-86_400_000_000, false)] {
            let mut beaten = Beaten::new(&index, None);
            beaten.add(0, index.all_times().searched(), (0, 1), 0, offered);
            for _ in 0..3 * n_rounds {
                let rows = 0..TOLD_TOGETHER;
                let n_left = beaten.remaining(&numbers, &times, rows, &mut left);
                assert_eq!(n_left, if goes_on { 0 } else { TOLD_TOGETHER });
            }
            assert_eq!(beaten.memory() > 0, goes_on);
        }
    }

    #[test]
    fn keys_that_the_spine_does_not_have_are_left_out() {
        let mut beaten = Beaten::new(&index(&[5]), None);
        let mut left = [0; TOLD_TOGETHER];
        let n_left = beaten.remaining(&[0, NO_KEY, 0], &[1, 2, 3], 0..3, &mut left);
        assert_eq!(left[..n_left], [0, 2]);
    }
}
