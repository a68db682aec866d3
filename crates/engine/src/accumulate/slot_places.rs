//! Rows that are counted in every slot whose window covers them, in place of in cells.
//!
//! A slot at `t` with the window `w` covers events in `(t - w, t]`. Where few windows cover a row, adding it to each of
//! their slots takes less than to cut the key's time into cells, of which there are twice as many as slots, and to put
//! the windows together of these in the end. And what a slot holds then is all that its value is made of.

use std::ops::Range;

use super::found_rows::{Counted, FoundRows};
use super::last_cells::{LastCell, LastCells, NEVER};
use crate::beaten::TOLD_TOGETHER;
use crate::pages::Pages;
use crate::parallel;
use crate::prefetch::prefetch;
use crate::search::{NO_PLACE, Searched, TOGETHER, UpperBits};
use crate::source::TimedRows;
use crate::spine::SpineIndex;

/// Windows of a key that cover a slot's time, on average and at most, for counting rows in slots.
const FEW_WINDOWS: usize = 3;
const MOST_WINDOWS: usize = 16;

/// The slots of all keys for one length of windows.
#[derive(Debug)]
pub(super) struct SlotPlaces {
    window_us: i64,
    /// Where each slot is counted: by its time in a few parts, so that workers with rows of other times share little
    /// memory, and within a part key by key, so that slots with a row in common mostly lie side by side.
    places: Pages<u32>,
    levels: UpperBits,
}

/// Into how many parts all time is cut for each thread that counts.
const PARTS_PER_THREAD: usize = 4;

impl SlotPlaces {
    /// Places for all slots, unless too many windows cover a row.
    pub(super) fn new(index: &SpineIndex, window_us: i64, n_threads: usize) -> Option<Self> {
        if !are_few(index, window_us, n_threads) {
            return None;
        }
        let times = index.all_times();
        let are_wanted = vec![true; index.n_slots()];
        let (least, greatest) = times.ends();
        Some(Self {
            window_us,
            places: times.by_number(PARTS_PER_THREAD * n_threads.max(1), &are_wanted, n_threads),
            levels: UpperBits::between(least.saturating_sub(window_us), greatest, u16::BITS),
        })
    }

    /// How many slots there are.
    pub(super) fn n_places(&self) -> usize {
        self.places.len()
    }

    pub(super) fn memory(&self) -> usize {
        self.places.memory()
    }

    /// Where slots are counted; [`NO_PLACE`] for those that there are not.
    pub(super) fn places_of(&self, slots: &[u32]) -> Vec<u32> {
        let places: &[u32] = &self.places;
        let of_slots = slots.iter().map(|&slot| places.get(slot as usize));
        of_slots
            .map(|place| place.copied().unwrap_or(NO_PLACE))
            .collect()
    }

    /// The rows of a batch with the place of each slot whose window covers them. `numbers` are those of their keys.
    pub(super) fn find(
        &self,
        index: &SpineIndex,
        numbers: &[u32],
        rows: &TimedRows,
        last: &mut LastCells,
        found: &mut FoundRows,
    ) {
        let events = rows.event.values();
        let (times, places) = (index.all_times().searched(), &self.places[..]);
        let level_of = |time| self.level_of(time);
        found.clear();
        let (mut told, mut left) = ([Counted::default(); TOLD_TOGETHER], [0; TOLD_TOGETHER]);
        let (mut of_keys, mut covered) = ([(0, 0); TOGETHER], [(0, 0); TOGETHER]);
        for next in (0..numbers.len()).step_by(TOLD_TOGETHER) {
            let some = next..numbers.len().min(next + TOLD_TOGETHER);
            let (n_told, n_left) =
                last.tell(level_of, numbers, &rows.event, some, &mut told, &mut left);
            Run::unpack_all(&told[..n_told], found);
            for together in left[..n_left].chunks(TOGETHER) {
                let of_keys = &mut of_keys[..together.len()];
                let rows_of = together.iter().map(|row| *row as usize);
                rows.slots(index, numbers, rows_of, of_keys);
                times.ask(of_keys);
                for ((covered, &row), &of_key) in covered.iter_mut().zip(together).zip(&*of_keys) {
                    *covered = match of_key.0 < of_key.1 {
                        true => self.covered(times, of_key, events[row as usize]),
                        false => (0, 0),
                    };
                }
                // In loops of their own, since a search leaves little room to wait for many places.
                let of_rows = covered.iter().zip(together).zip(&*of_keys);
                let firsts = of_rows.clone().map(|((slots, _), _)| slots.0 as usize);
                firsts.for_each(|slot| prefetch(places, slot));
                for ((slots, &row), &of_key) in of_rows {
                    if of_key.0 == of_key.1 {
                        continue;
                    }
                    let slots = slots.0..slots.1;
                    let of_slots = &places[slots.start as usize..slots.end as usize];
                    let told = self.last_cell(times, of_key, slots, of_slots);
                    last.add(numbers[row as usize], told);
                    let room = found.room(of_slots.len()).iter_mut();
                    for (counted, &place) in room.zip(of_slots) {
                        *counted = Counted { place, row };
                    }
                    found.take(of_slots.len());
                }
            }
        }
    }

    /// The slots of a key whose windows cover an event: the first, and one after the last.
    #[inline]
    fn covered(&self, times: Searched<'_>, of_key: (u32, u32), event: i64) -> (u32, u32) {
        let first = times.first_from(of_key, event);
        let until = event.saturating_add(self.window_us - 1);
        let mut after = first;
        while after < of_key.1 && times.is_reached(after, until) {
            after += 1;
        }
        (first, after)
    }

    /// The events of a key that these slots cover and no others, as far as levels tell them. `places` are those of the
    /// slots.
    #[inline]
    fn last_cell(
        &self,
        times: Searched<'_>,
        (start, end): (u32, u32),
        slots: Range<u32>,
        places: &[u32],
    ) -> LastCell {
        let Some(place) = Run::packed(places) else {
            return LastCell::default();
        };
        // After the time of the slot before, and after the window of the last one began.
        let begun = [(slots.start, 0), (slots.end, self.window_us)];
        let begun = begun.iter().filter(|(slot, _)| *slot > start);
        let begun =
            begun.map(|(slot, us)| self.level_of(times.hardly_above(slot - 1).saturating_sub(*us)));
        // Before the time of the first one, and before the window of the next one begins.
        let ends = [(slots.start, 0), (slots.end, self.window_us)];
        let ends = ends.iter().filter(|(slot, _)| *slot < end);
        let ends =
            ends.map(|(slot, us)| self.level_of(times.hardly_below(*slot).saturating_sub(*us)));
        LastCell::between(begun.max(), ends.min().unwrap_or(NEVER), place)
    }

    #[inline]
    fn level_of(&self, time: i64) -> u16 {
        self.levels.of(time) as u16
    }
}

/// Places side by side, in one number: the first, and how many.
struct Run;

impl Run {
    /// Of the number of places. A spine has fewer slots than the other bits can number.
    const BITS: u32 = 3;
    /// One less than the bits can tell, so that no run is [`NO_PLACE`].
    const MOST_PLACES: usize = (1 << Self::BITS) - 2;

    /// [`NO_PLACE`] for no places; none for those that are not side by side, or too many.
    #[inline]
    fn packed(places: &[u32]) -> Option<u32> {
        let (Some(&first), Some(&last)) = (places.first(), places.last()) else {
            return Some(NO_PLACE);
        };
        let n_places = places.len();
        let are_few = n_places <= Self::MOST_PLACES && first >> (u32::BITS - Self::BITS) == 0;
        let is_run = are_few && last.wrapping_sub(first) as usize == n_places - 1;
        is_run.then_some(first << Self::BITS | n_places as u32)
    }

    /// Takes in rows with each of their places.
    fn unpack_all(told: &[Counted], found: &mut FoundRows) {
        let (room, mut n_found) = (found.room(told.len() * Self::MOST_PLACES), 0);
        for &Counted { place: run, row } in told {
            let (place, n_places) = (run >> Self::BITS, run as usize & ((1 << Self::BITS) - 1));
            let at = |n: usize| Counted {
                place: place + n as u32,
                row,
            };
            // Two are written at any rate, since it is hard to foretell how many there are.
            let room = &mut room[n_found..n_found + Self::MOST_PLACES];
            (room[0], room[1]) = (at(0), at(1));
            for (n, room) in room.iter_mut().enumerate().take(n_places).skip(2) {
                *room = at(n);
            }
            n_found += n_places;
        }
        found.take(n_found);
    }
}

/// Whether few windows of this length cover a slot's time, on average and at most.
fn are_few(index: &SpineIndex, window_us: i64, n_threads: usize) -> bool {
    let n_parts = parallel::n_parts(index.n_slots(), n_threads);
    let parts = parallel::group_ranges(index.starts(), n_parts);
    let counted = parallel::each(parts, |keys| {
        let (mut n_windows, mut most) = (0, 0);
        for key in keys {
            let times = index.times(index.slots(key as u32));
            let mut first = 0;
            for (slot, &time) in times.iter().enumerate() {
                while first < slot && times[first].abs_diff(time) >= window_us.unsigned_abs() {
                    first += 1;
                }
                n_windows += slot + 1 - first;
                most = most.max(slot + 1 - first);
            }
        }
        (n_windows, most)
    });
    let n_windows: usize = counted.iter().map(|(n_windows, _)| n_windows).sum();
    let most = counted.iter().map(|(_, most)| *most).max();
    n_windows <= FEW_WINDOWS * index.n_slots() && most.unwrap_or(0) <= MOST_WINDOWS
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
    use provender_core::ValueType;
    use provender_core::request::{KeyColumn, SourceRef, TimedSource};

    use super::*;
    use crate::source::{RowNumbers, RowReader};
    use crate::spine::{SpineRows, spine_schema};

    const DAY: i64 = 86_400_000_000;

    fn key() -> [KeyColumn; 1] {
        [KeyColumn {
            spine: "k".to_owned(),
            column: "k".to_owned(),
            value_type: ValueType::Int64,
        }]
    }

    /// Rows of keys and times, in the columns of a spine.
    fn batch(rows: &[(Option<i64>, Option<i64>)]) -> RecordBatch {
        let keys: Int64Array = rows.iter().map(|(key, _)| *key).collect();
        let times: TimestampMicrosecondArray = rows.iter().map(|(_, time)| *time).collect();
        let numbers = Int64Array::from_iter_values(0..rows.len() as i64);
        let times = times.with_timezone("UTC");
        let columns: Vec<arrow_array::ArrayRef> =
            vec![Arc::new(keys), Arc::new(times), Arc::new(numbers)];
        RecordBatch::try_new(spine_schema(&key()), columns).unwrap()
    }

    fn index(slots: &[(i64, i64)]) -> SpineIndex {
        let rows: Vec<_> = slots.iter().map(|&(k, t)| (Some(k), Some(t))).collect();
        let mut spine = SpineRows::default();
        spine.push(batch(&rows));
        SpineIndex::new(&key(), &spine, 2).unwrap()
    }

    /// The slots of each row by their places, in the order of rows and times.
    fn found(
        places: &SlotPlaces,
        index: &SpineIndex,
        batches: &[&[(Option<i64>, Option<i64>)]],
    ) -> Vec<Vec<(u32, u32)>> {
        let source = TimedSource {
            source: SourceRef::table("t"),
            timestamp: "__time".to_owned(),
            created_timestamp: None,
            tie_breakers: Vec::new(),
        };
        let reader = RowReader::new(&source, &key(), &spine_schema(&key())).unwrap();
        let mut last = LastCells::new(index.n_keys());
        let (mut numbers, mut found) = (Vec::new(), FoundRows::default());
        let batches = batches.iter().map(|rows| {
            let rows = reader.read(&batch(rows), RowNumbers::From(0)).unwrap();
            index.find_all(&rows.keys, &mut numbers);
            places.find(index, &numbers, &rows, &mut last, &mut found);
            let mut found: Vec<_> = found.iter().map(|one| (one.row, one.place)).collect();
            found.sort_unstable();
            found
        });
        batches.collect()
    }

    /// The same by looking at every slot.
    fn by_hand(
        places: &SlotPlaces,
        slots: &[(i64, i64)],
        numbers: &[u32],
        window_us: i64,
        rows: &[(Option<i64>, Option<i64>)],
    ) -> Vec<(u32, u32)> {
        let places = places.places_of(numbers);
        let mut all = Vec::new();
        for (row, &(key, event)) in (0..).zip(rows) {
            for (&(of, time), &place) in slots.iter().zip(&places) {
                let is_covered = event.is_some_and(|event| {
                    event <= time && i128::from(time) < i128::from(event) + i128::from(window_us)
                });
                if key == Some(of) && is_covered {
                    all.push((row, place));
                }
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn rows_are_found_for_all_slots_whose_windows_cover_them() {
        let spread = |key: i64, n: i64, step: i64| (0..n).map(move |at| (key, at * step + key));
        let mut slots: Vec<(i64, i64)> = Vec::new();
        slots.extend(spread(1, 40, 3 * DAY));
        slots.extend(spread(2, 60, 5 * DAY / 2));
        slots.extend(spread(3, 1, DAY));
        // More at once than a run can hold, and some a few microseconds apart.
        slots.extend(spread(4, 9, DAY / 3).chain(spread(4, 3, 500 * DAY)));
        slots.extend(spread(5, 4, 1).chain(spread(5, 5, 20 * DAY)));
        slots.sort_unstable();
        slots.dedup();
        let far = [(6, i64::MIN), (6, 0), (6, i64::MAX)];
        for (slots, n_threads) in [
            (slots.clone(), 1),
            (slots.clone(), 3),
            ([&slots[..], &far].concat(), 2),
        ] {
            let index = index(&slots);
            for window_us in [1, DAY, 5 * DAY, 7 * DAY] {
                let places = SlotPlaces::new(&index, window_us, n_threads).unwrap();
                let mut events: Vec<(Option<i64>, Option<i64>)> = Vec::new();
                for &(key, time) in &slots {
                    for by in [0, 1, window_us - 1, window_us, DAY / 7] {
                        events.push((Some(key), Some(time.saturating_sub(by))));
                        events.push((Some(key), Some(time.saturating_add(by))));
                    }
                    events.extend([
                        (Some(key), None),
                        (None, Some(time)),
                        (Some(99), Some(time)),
                    ]);
                }
                events.sort_unstable_by_key(|(_, time)| *time);
                let ascending = events.clone();
                events.reverse();
                let descending = events.clone();
                let n = events.len();
                let shuffled: Vec<_> = (0..n).map(|at| ascending[at * 7_919 % n]).collect();
                let batches = [
                    &ascending[..n / 3],
                    &ascending[n / 3..],
                    &descending,
                    &shuffled,
                ];
                // Keys are numbered as they come, and these come in order.
                let numbers: Vec<u32> = (0..slots.len() as u32).collect();
                let all = found(&places, &index, &batches);
                for (rows, found) in batches.iter().zip(&all) {
                    let wanted = by_hand(&places, &slots, &numbers, window_us, rows);
                    assert_eq!(*found, wanted, "{window_us} on {n_threads} threads");
                }
                assert!(all.iter().any(|found| found.len() > slots.len()));
            }
        }
    }

    #[test]
    fn each_slot_has_a_place_and_no_other_has_one() {
        let slots: Vec<_> = (0..500).map(|n| (n % 7, n * DAY)).collect();
        let mut slots_of_keys = slots.clone();
        slots_of_keys.sort_unstable();
        let places = SlotPlaces::new(&index(&slots_of_keys), DAY, 2).unwrap();
        let mut all = places.places_of(&(0..500).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<_>>());
        assert_eq!(places.n_places(), 500);
        assert_eq!(places.places_of(&[500, u32::MAX]), [NO_PLACE; 2]);
    }

    #[test]
    fn rows_that_many_windows_cover_are_not_counted_in_slots() {
        let daily: Vec<_> = (0..100).map(|n| (1, n * DAY)).collect();
        assert!(SlotPlaces::new(&index(&daily), 2 * DAY, 2).is_some());
        assert!(SlotPlaces::new(&index(&daily), 30 * DAY, 2).is_none());
        // Few on average, but not for one key.
        let mut heavy: Vec<_> = (0..5_000).map(|n| (n, 0)).collect();
        assert!(SlotPlaces::new(&index(&heavy), DAY, 2).is_some());
        heavy.extend((1..100).map(|n| (5_000, n)));
        heavy.sort_unstable();
        assert!(SlotPlaces::new(&index(&heavy), DAY, 2).is_none());
    }

    #[test]
    fn places_side_by_side_are_one_number() {
        let run = |places: &[u32]| {
            let packed = Run::packed(places)?;
            let mut found = FoundRows::default();
            if packed != NO_PLACE {
                Run::unpack_all(
                    &[Counted {
                        place: packed,
                        row: 3,
                    }; 2],
                    &mut found,
                );
            }
            let n = found.len() / 2;
            assert!(found.iter().all(|one| one.row == 3));
            assert!(
                found[..n]
                    .iter()
                    .zip(&found[n..])
                    .all(|(a, b)| a.place == b.place)
            );
            Some(found[..n].iter().map(|one| one.place).collect::<Vec<_>>())
        };
        let last = (1 << 29) - 1;
        for places in [
            vec![],
            vec![0],
            vec![5, 6],
            (9..15).collect(),
            vec![last],
            vec![last - 1, last],
        ] {
            assert_eq!(run(&places), Some(places));
        }
        for places in [vec![5, 7], vec![6, 5], vec![1 << 29], (9..16).collect()] {
            assert_eq!(run(&places), None, "{places:?}");
        }
    }
}
