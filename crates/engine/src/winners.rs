//! Winning rows: per slot the greatest candidate so far.
//!
//! Feature rows stream by once, in any order. A row goes to the first slot at or after the time from
//! which it counts; when all have passed, winners are carried forward along each key. What a slot
//! holds of its winner is its times and number, in flat arrays. Where a source can be asked for rows
//! by number, values are fetched when all winners are known. Where it cannot, values of rows that win
//! are copied out of their batch and compacted now and then, so that memory follows the number of
//! slots and not of feature rows.

use std::cmp::Ordering;
use std::ops::Range;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use arrow_select::take::take;
use provender_core::Result;

use crate::error;
use crate::matches::Matches;
use crate::pages::Pages;
use crate::parallel;
use crate::source::{RowTime, TimedRows, column, compare};
use crate::spine::{NO_SLOT, SpineIndex};
use crate::values::{NOWHERE, Place, Values};

/// Marks a slot whose winner is in the batch being read.
const CURRENT: u32 = u32::MAX - 1;
/// Dead rows that are tolerated before values are compacted, beside as many as there are live ones.
const COMPACT_AFTER: usize = 1 << 14;

/// Where more rows than one for so many slots, and a few, are of the same time as others, what decides between them
/// is read of all rows.
const SLOTS_PER_TIE: usize = 8;
const LEAST_TIES: usize = 16;

/// The greatest row per slot.
#[derive(Debug)]
pub(crate) struct Winners {
    held: Pages<RowTime>,
    ties: Option<Vec<Box<[u8]>>>,
    kept: Option<Kept>,
    tied: Option<Tied>,
}

/// Rows whose events are those of winners of the same slots, where more than that was not read of them.
#[derive(Debug)]
struct Tied {
    /// The slots, and the rows that are not held.
    rows: Vec<(u32, RowTime)>,
    /// Where there are more than this, all are of no use.
    most: usize,
}

/// Values of winning rows.
#[derive(Debug)]
struct Kept {
    values: Values,
    places: Vec<Place>,
    n_kept: usize,
    n_live: usize,
    memory: usize,
    touched: Vec<u32>,
}

impl Winners {
    /// Winners whose values are fetched in the end.
    pub(crate) fn numbered(n_slots: usize, with_ties: bool) -> Self {
        Self {
            held: Pages::zeroed(n_slots),
            ties: with_ties.then(|| vec![Box::default(); n_slots]),
            kept: None,
            tied: None,
        }
    }

    /// Winners whose values are fetched in the end, as is what decides between rows of one time: [`Self::tied`].
    pub(crate) fn by_event(n_slots: usize) -> Self {
        Self {
            tied: Some(Tied {
                rows: Vec::new(),
                most: n_slots / SLOTS_PER_TIE + LEAST_TIES,
            }),
            ..Self::numbered(n_slots, false)
        }
    }

    /// Winners whose values are copied. `types` are those of `columns` in the source.
    pub(crate) fn copied(
        n_slots: usize,
        columns: Vec<String>,
        types: Vec<DataType>,
        with_ties: bool,
    ) -> Self {
        Self {
            kept: Some(Kept {
                values: Values::new(columns, types),
                places: vec![NOWHERE; n_slots],
                n_kept: 0,
                n_live: 0,
                memory: 0,
                touched: Vec::new(),
            }),
            ..Self::numbered(n_slots, with_ties)
        }
    }

    pub(crate) fn memory(&self) -> usize {
        let ties: usize = match &self.ties {
            None => 0,
            Some(ties) => ties.iter().map(|tie| tie.len() + 16).sum(),
        };
        let kept = self.kept.as_ref().map_or(0, |kept| {
            kept.places.capacity() * size_of::<Place>() + kept.memory
        });
        let tied = self.tied.as_ref();
        let tied = tied.map_or(0, |tied| tied.rows.capacity() * size_of::<(u32, RowTime)>());
        self.held.memory() + ties + kept + tied
    }

    /// Makes room for slots up to `n_slots`.
    pub(crate) fn grow(&mut self, n_slots: usize) {
        if n_slots > self.held.len() {
            self.held.grow(n_slots);
            if let Some(ties) = &mut self.ties {
                ties.resize(n_slots, Box::default());
            }
            if let Some(kept) = &mut self.kept {
                kept.places.resize(n_slots, NOWHERE);
            }
        }
    }

    /// Offers all matches of a batch whose value of `only_where`, if given, is not null.
    pub(crate) fn offer_all(
        &mut self,
        matches: &Matches,
        rows: &TimedRows,
        batch: &RecordBatch,
        only_where: Option<&NullBuffer>,
    ) -> Result<()> {
        if self.ties.is_none() && self.kept.is_none() && only_where.is_none() {
            let held: &mut [RowTime] = &mut self.held;
            for found in matches.rows() {
                let (held, time) = (
                    &mut held[found.first as usize],
                    rows.time_at(found.row as usize),
                );
                if let Some(tied) = &mut self.tied {
                    tied.note(found.first, *held, time);
                }
                *held = (*held).max(time);
            }
            return Ok(());
        }
        for found in matches.rows() {
            let row = found.row as usize;
            if only_where.is_none_or(|values| values.is_valid(row)) {
                self.offer(found.first as usize, rows.time_at(row), rows.ties(row), row);
            }
        }
        self.keep(batch)
    }

    /// Offers a row of the current batch to a slot.
    pub(crate) fn offer(&mut self, slot: usize, time: RowTime, ties: &[u8], row: usize) {
        let held: &[u8] = self.ties.as_ref().map_or(&[], |ties| &ties[slot]);
        if compare((time, ties), (self.held[slot], held)) != Ordering::Greater {
            return;
        }
        self.held[slot] = time;
        if let Some(held) = &mut self.ties {
            held[slot] = ties.into();
        }
        if let Some(kept) = &mut self.kept {
            let place = &mut kept.places[slot];
            if place.0 != CURRENT {
                kept.touched.push(slot as u32);
                kept.n_live -= usize::from(*place != NOWHERE);
            }
            *place = (CURRENT, row as u32);
        }
    }

    /// Copies the values of the batch's winners, which ends the batch.
    pub(crate) fn keep(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(kept) = &mut self.kept else {
            return Ok(());
        };
        if kept.touched.is_empty() {
            return Ok(());
        }
        let touched = std::mem::take(&mut kept.touched);
        let rows: UInt32Array = touched
            .iter()
            .map(|&slot| Some(kept.places[slot as usize].1))
            .collect();
        let mut values = Vec::with_capacity(kept.values.columns.len());
        for name in &kept.values.columns {
            values.push(take(&column(batch, name)?, &rows, None).map_err(error::arrow)?);
        }
        let number = kept.values.chunks.len() as u32;
        for (row, &slot) in touched.iter().enumerate() {
            kept.places[slot as usize] = (number, row as u32);
        }
        kept.memory += memory_of(&values);
        kept.values.chunks.push(values);
        kept.n_kept += touched.len();
        kept.n_live += touched.len();
        if kept.n_kept > 2 * kept.n_live + COMPACT_AFTER || kept.values.chunks.len() > 4_096 {
            kept.compact()?;
        }
        Ok(())
    }

    /// Takes in what another worker found for the same slots.
    pub(crate) fn merge(&mut self, other: Self, n_threads: usize) {
        if self.ties.is_none() && self.kept.is_none() {
            let n_slots = self.held.len();
            let n_together = n_slots
                .div_ceil(parallel::n_parts(n_slots, n_threads))
                .max(1);
            let firsts = (0..).step_by(n_together);
            let parts = firsts.zip(self.held.chunks_mut(n_together));
            let parts = parts.zip(other.held.chunks(n_together)).collect();
            let most_tied = self.tied.as_ref().map_or(0, |tied| tied.most + 1);
            let tied = parallel::each(parts, |((first, ours), theirs)| {
                merge_times(first, ours, theirs, most_tied)
            });
            if let (Some(ours), Some(theirs)) = (&mut self.tied, other.tied) {
                ours.rows.extend(theirs.rows);
                ours.rows.extend(tied.into_iter().flatten());
            }
            return;
        }
        let mut shift = 0;
        let mut their_places = Vec::new();
        if let (Some(ours), Some(theirs)) = (&mut self.kept, other.kept) {
            shift = ours.values.chunks.len() as u32;
            ours.values.chunks.extend(theirs.values.chunks);
            ours.memory += theirs.memory;
            ours.n_kept += theirs.n_kept;
            their_places = theirs.places;
        }
        for (slot, &theirs) in other.held.iter().enumerate() {
            let our_ties: &[u8] = self.ties.as_ref().map_or(&[], |ties| &ties[slot]);
            let their_ties: &[u8] = other.ties.as_ref().map_or(&[], |ties| &ties[slot]);
            if compare((theirs, their_ties), (self.held[slot], our_ties)) != Ordering::Greater {
                continue;
            }
            self.held[slot] = theirs;
            if let Some(ties) = &mut self.ties {
                ties[slot] = their_ties.into();
            }
            if let Some(kept) = &mut self.kept {
                let (chunk, row) = their_places[slot];
                kept.places[slot] = (chunk + shift, row);
            }
        }
    }

    /// Carries winners forward along each key, then drops those older than `ttl_us` at their slot.
    /// Answers, for each slot, the slot whose own winner is its winner, or [`NO_SLOT`].
    pub(crate) fn carry(
        &self,
        index: &SpineIndex,
        ttl_us: Option<i64>,
        n_threads: usize,
    ) -> Vec<u32> {
        let n_parts = parallel::n_parts(self.held.len(), n_threads);
        let mut sources = vec![0; index.n_slots()];
        let mut rest = sources.as_mut_slice();
        let mut parts = Vec::with_capacity(n_parts);
        for keys in parallel::group_ranges(index.starts(), n_parts) {
            let of_keys;
            (of_keys, rest) = std::mem::take(&mut rest).split_at_mut(index.slots_of(&keys).len());
            parts.push((keys, of_keys));
        }
        parallel::each(parts, |(keys, sources)| {
            self.carry_keys(index, keys, ttl_us, sources);
        });
        sources
    }

    /// [`Self::carry`] of some keys.
    fn carry_keys(
        &self,
        index: &SpineIndex,
        keys: Range<usize>,
        ttl_us: Option<i64>,
        sources: &mut [u32],
    ) {
        let held: &[RowTime] = &self.held;
        let mut sources = sources.iter_mut();
        for key in keys.start as u32..keys.end as u32 {
            let mut best = NO_SLOT;
            let slots = index.slots(key);
            let times = index.times(slots.clone());
            for ((slot, &time), source) in slots.zip(times).zip(&mut sources) {
                if held[slot] != RowTime::NONE
                    && (best == NO_SLOT
                        || self.compare_slots(slot, best as usize) == Ordering::Greater)
                {
                    best = slot as u32;
                }
                let is_alive = best != NO_SLOT
                    && ttl_us
                        .is_none_or(|ttl| held[best as usize].event() >= time.saturating_sub(ttl));
                *source = if is_alive { best } else { NO_SLOT };
            }
        }
    }

    /// Whether there are too many rows of the same time to look at each: what is held is then of no use.
    pub(crate) fn has_many_ties(&self) -> bool {
        self.tied.as_ref().is_some_and(Tied::are_many)
    }

    /// The slots that hold one of several rows of the same time, and the numbers of all of these, each once.
    pub(crate) fn tied(&self) -> Vec<(u32, u64)> {
        let tied = self.tied.iter().flat_map(|tied| &tied.rows);
        let of_held = tied.filter(|(slot, time)| time.is_as_late_as(self.held[*slot as usize]));
        let mut rows: Vec<(u32, u64)> = of_held
            .flat_map(|&(slot, time)| [(slot, time.number()), (slot, self.number(slot))])
            .collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Has a slot hold another row of the same time.
    pub(crate) fn settle(&mut self, slot: u32, number: u64) {
        let held = &mut self.held[slot as usize];
        *held = held.with_number(number);
    }

    /// The number of the row that a slot holds.
    pub(crate) fn number(&self, slot: u32) -> u64 {
        self.held[slot as usize].number()
    }

    /// The values that were copied, and where those of each slot's own winner are.
    pub(crate) fn into_values(self) -> (Values, Vec<Place>) {
        match self.kept {
            Some(kept) => (kept.values, kept.places),
            None => (Values::new(Vec::new(), Vec::new()), Vec::new()),
        }
    }

    fn compare_slots(&self, a: usize, b: usize) -> Ordering {
        let ties = |slot: usize| self.ties.as_ref().map_or(&[] as &[u8], |ties| &ties[slot]);
        compare((self.held[a], ties(a)), (self.held[b], ties(b)))
    }
}

/// Has each slot from `first` on hold the later of two rows. Answers at most so many of those that are of the same
/// time as others.
fn merge_times(
    first: u32,
    ours: &mut [RowTime],
    theirs: &[RowTime],
    most_tied: usize,
) -> Vec<(u32, RowTime)> {
    let mut tied = Vec::new();
    for ((slot, ours), &theirs) in (first..).zip(ours).zip(theirs) {
        if ours.is_as_late_as(theirs) && tied.len() < most_tied {
            tied.push((slot, theirs.min(*ours)));
        }
        *ours = (*ours).max(theirs);
    }
    tied
}

impl Tied {
    /// Takes in a row of a slot that holds another, or none.
    #[inline]
    fn note(&mut self, slot: u32, held: RowTime, time: RowTime) {
        if held.is_as_late_as(time) && !self.are_many() {
            self.rows.push((slot, held.min(time)));
        }
    }

    fn are_many(&self) -> bool {
        self.rows.len() > self.most
    }
}

impl Kept {
    fn compact(&mut self) -> Result<()> {
        let live: Vec<usize> = (0..self.places.len())
            .filter(|&slot| self.places[slot] != NOWHERE)
            .collect();
        let places: Vec<Place> = live.iter().map(|&slot| self.places[slot]).collect();
        let values = self.values.gather(&places)?;
        for (row, &slot) in live.iter().enumerate() {
            self.places[slot] = (0, row as u32);
        }
        self.memory = memory_of(&values);
        self.values.chunks = vec![values];
        self.n_kept = live.len();
        self.n_live = live.len();
        Ok(())
    }
}

fn memory_of(values: &[ArrayRef]) -> usize {
    values
        .iter()
        .map(|array| array.get_array_memory_size())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_event(rows: &[Option<(i64, u64)>]) -> Winners {
        let mut winners = Winners::by_event(rows.len());
        for (held, row) in winners.held.iter_mut().zip(rows) {
            if let Some((event, number)) = row {
                *held = RowTime::new(*event, None, *number);
            }
        }
        winners
    }

    #[test]
    fn rows_of_two_workers_tie_where_their_times_are_the_same() {
        let mut ours = by_event(&[Some((5, 0)), Some((5, 1)), None, Some((5, 3)), None]);
        let theirs = by_event(&[Some((5, 10)), Some((6, 11)), Some((5, 12)), None, None]);
        ours.merge(theirs, 2);
        assert_eq!(ours.tied(), [(0, 0), (0, 10)]);
        assert!(!ours.has_many_ties());
        ours.settle(0, 10);
        let held = [0, 1, 2, 3].map(|slot| ours.number(slot));
        assert_eq!(held, [10, 11, 12, 3]);
    }

    #[test]
    fn ties_of_two_workers_may_be_too_many_for_both() {
        let n_slots = 100_000;
        let rows = |first: u64| -> Vec<_> { (0..n_slots).map(|n| Some((5, first + n))).collect() };
        let mut ours = by_event(&rows(0));
        let most = ours.memory() + n_slots as usize * size_of::<(u32, RowTime)>();
        ours.merge(by_event(&rows(n_slots)), 2);
        assert!(ours.has_many_ties());
        assert!(ours.memory() < most);
        // Nobody asks for them where all was read that decides.
        let mut all = Winners::numbered(2, false);
        all.merge(Winners::numbered(2, false), 2);
        assert!(all.tied().is_empty() && !all.has_many_ties());
    }
}
