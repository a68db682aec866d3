//! Rows that are counted in every slot whose window covers them, in place of in cells.
//!
//! A slot at `t` with the window `w` covers events in `(t - w, t]`. Where few windows cover a row, adding it to each of
//! their slots takes less than to cut the key's time into cells, of which there are twice as many as slots, and to put
//! the windows together of these in the end. And what a slot holds then is all that its value is made of.

use std::ops::Range;

use arrow_array::Array;

use super::found_rows::{Counted, FoundRows};
use super::levels::MOST_SLOTS;
use super::reach::{Reach, n_reached_together};
use super::reached::{Asked, AtHand, ROWS, Reached};
use crate::keys::NO_KEY;
use crate::prefetch::prefetch;
use crate::search::{NO_PLACE, Searched, TOGETHER};
use crate::source::TimedRows;
use crate::spine::SpineIndex;
use crate::vector::{self, Loop};

/// Slots that a row reaches that reaches any, on average and at most, for counting rows in slots.
const FEW_REACHED: usize = 3;
const MOST_REACHED: usize = 16;
/// Keys that are looked at for the average, and slots of each.
const SAMPLED_KEYS: usize = 1 << 12;
const SAMPLED_SLOTS: usize = 1 << 8;

/// The slots of all keys for one length of windows.
#[derive(Debug)]
pub(super) struct SlotPlaces {
    window_us: i64,
    reach: Reach,
}

impl SlotPlaces {
    /// Places for all slots, unless too many windows cover a row, or they cannot be told fast.
    pub(super) fn new(index: &SpineIndex, window_us: i64, n_threads: usize) -> Option<Self> {
        if !are_few(index, window_us) {
            return None;
        }
        let slots = Self::of_any(index, window_us, n_threads)?;
        let are_few = slots.reach.most_reached() <= MOST_REACHED;
        (are_few && slots.reach.is_mostly_told()).then_some(slots)
    }

    /// The same whatever covers a row.
    fn of_any(index: &SpineIndex, window_us: i64, n_threads: usize) -> Option<Self> {
        let reach = Reach::new(index, window_us, n_threads)?;
        Some(Self { window_us, reach })
    }

    /// How many slots there are.
    pub(super) fn n_places(&self) -> usize {
        self.reach.n_places()
    }

    pub(super) fn memory(&self) -> usize {
        self.reach.memory()
    }

    /// Where slots are counted; [`NO_PLACE`] for those that there are not.
    pub(super) fn places_of(&self, slots: &[u32]) -> Vec<u32> {
        let places = self.reach.places();
        let of_slots = slots.iter().map(|&slot| places.get(slot as usize));
        of_slots
            .map(|place| place.copied().unwrap_or(NO_PLACE))
            .collect()
    }

    /// The rows of a batch with the place of each slot whose window covers them. `numbers` are those of their keys. `ask`
    /// is told what was found some time before all is.
    pub(super) fn find(
        &self,
        index: &SpineIndex,
        numbers: &[u32],
        rows: &TimedRows,
        found: &mut FoundRows,
        ask: impl Fn(&[Counted]),
    ) {
        found.clear();
        vector::widest(Find {
            places: self,
            index,
            numbers,
            rows,
            found,
            ask,
        });
    }

    /// The same of at most [`TOGETHER`] rows that are not null, among the times of all slots.
    fn search(
        &self,
        index: &SpineIndex,
        numbers: &[u32],
        rows: &TimedRows,
        together: &[u32],
        found: &mut FoundRows,
    ) {
        let (times, places) = (index.all_times().searched(), self.reach.places());
        let mut of_keys = [(0, 0); TOGETHER];
        let of_keys = &mut of_keys[..together.len()];
        let rows_of = together.iter().map(|row| *row as usize);
        rows.slots(index, numbers, rows_of, of_keys);
        times.ask(of_keys);
        for &(start, end) in &*of_keys {
            prefetch(places, start as usize);
            prefetch(places, (end as usize).wrapping_sub(1));
        }
        for (&row, &of_key) in together.iter().zip(&*of_keys) {
            let covered = self.covered(times, of_key, rows.event.value(row as usize));
            let of_slots = &places[covered];
            let room = found.room(of_slots.len()).iter_mut();
            for (counted, &place) in room.zip(of_slots) {
                *counted = Counted { place, row };
            }
            found.take(of_slots.len());
        }
    }

    /// The slots of a key whose windows cover an event.
    #[inline]
    fn covered(&self, times: Searched<'_>, of_key: (u32, u32), event: i64) -> Range<usize> {
        let first = times.first_from(of_key, event);
        let until = event.saturating_add(self.window_us - 1);
        let mut after = first;
        while after < of_key.1 && times.is_reached(after, until) {
            after += 1;
        }
        first as usize..after as usize
    }
}

/// The loop over the rows of a batch.
struct Find<'a, A> {
    places: &'a SlotPlaces,
    index: &'a SpineIndex,
    numbers: &'a [u32],
    rows: &'a TimedRows,
    found: &'a mut FoundRows,
    ask: A,
}

impl<A: Fn(&[Counted])> Find<'_, A> {
    /// The numbers and times of some rows from one on. Of null rows, and after the last, keys are not known.
    #[inline(always)]
    fn some(&self, first: usize) -> ([u32; ROWS], [i64; ROWS]) {
        let (mut numbers, mut events) = ([NO_KEY; ROWS], [0; ROWS]);
        let event = &self.rows.event;
        let some = first..self.numbers.len();
        let (of_rows, times) = (&self.numbers[some.clone()], &event.values()[some.clone()]);
        match (of_rows.first_chunk(), times.first_chunk()) {
            (Some(all), Some(times)) => (numbers, events) = (*all, *times),
            _ => {
                numbers[..of_rows.len()].copy_from_slice(of_rows);
                events[..times.len()].copy_from_slice(times);
            }
        }
        if let Some(nulls) = event.nulls().filter(|nulls| nulls.null_count() > 0) {
            for (row, number) in some.zip(&mut numbers) {
                if nulls.is_null(row) {
                    *number = NO_KEY;
                }
            }
        }
        (numbers, events)
    }

    /// Asks for what some rows from one on reach, if there are any.
    #[inline(always)]
    fn ask_for(&self, first: usize, reach: AtHand<'_>, asked: &mut Asked) {
        if first < self.numbers.len() {
            let (numbers, events) = self.some(first);
            reach.ask(&numbers, &events, asked);
        }
    }

    fn search(&mut self, left: &[u32]) {
        let (places, index) = (self.places, self.index);
        places.search(index, self.numbers, self.rows, left, self.found);
    }
}

impl<A: Fn(&[Counted])> Loop for Find<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let reach = self.places.reach.at_hand();
        let (mut asked, mut reached) = ([(); 2].map(|()| Asked::default()), Reached::default());
        let [asked, next] = &mut asked;
        let (mut asked, mut next) = (asked, next);
        let (mut left, mut n_left) = ([0; TOGETHER + ROWS], 0);
        self.ask_for(0, reach, next);
        for first in (0..self.numbers.len()).step_by(ROWS) {
            std::mem::swap(&mut asked, &mut next);
            // What the next rows need is asked for before those at hand are looked at.
            self.ask_for(first + ROWS, reach, next);
            reach.reached(asked, &mut reached);
            let (room, mut n_found) = (self.found.room(ROWS * MOST_SLOTS), 0);
            for at in 0..ROWS {
                let row = (first + at) as u32;
                // Two are written at any rate, since it is hard to foretell how many there are.
                let room = &mut room[n_found..n_found + MOST_SLOTS];
                for (room, places) in room.iter_mut().zip(&reached.places) {
                    let place = places[at];
                    *room = Counted { place, row };
                }
                let n = reached.n[at] as usize;
                for (slot, room) in room.iter_mut().enumerate().take(n).skip(2) {
                    let place = reach.place(asked, &reached, at, slot);
                    *room = Counted { place, row };
                }
                n_found += n;
                left[n_left] = row;
                n_left += reached.is_left[at] as usize;
            }
            (self.ask)(&room[..n_found]);
            self.found.take(n_found);
            if n_left >= TOGETHER {
                self.search(&left[..TOGETHER]);
                left.copy_within(TOGETHER..n_left, 0);
                n_left -= TOGETHER;
            }
        }
        self.search(&left[..n_left]);
    }
}

/// Whether rows that reach any slots reach few on average, as far as some slots of some keys tell. Where these are unlike
/// the others, rows still reach few: levels tell no more than [`MOST_SLOTS`].
fn are_few(index: &SpineIndex, window_us: i64) -> bool {
    let (mut n_reached, mut n_slots) = (0, 0);
    let each = index.n_keys().div_ceil(SAMPLED_KEYS).max(1);
    for key in (0..index.n_keys()).step_by(each) {
        let times = index.times(index.slots(key as u32));
        let times = &times[..times.len().min(SAMPLED_SLOTS)];
        n_reached += n_reached_together(times, window_us).sum::<usize>();
        n_slots += times.len();
    }
    n_reached <= FEW_REACHED * n_slots
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
        let (mut numbers, mut found) = (Vec::new(), FoundRows::default());
        let batches = batches.iter().map(|rows| {
            let rows = reader.read(&batch(rows), RowNumbers::From(0)).unwrap();
            index.find_all(&rows.keys, &mut numbers);
            places.find(index, &numbers, &rows, &mut found, |_| {});
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
        // More at once than levels can tell, and some a few microseconds apart.
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
                let places = SlotPlaces::of_any(&index, window_us, n_threads).unwrap();
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
}
