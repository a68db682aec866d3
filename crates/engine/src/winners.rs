//! Winning rows: per slot the greatest candidate so far, and the values of those rows alone.
//!
//! Feature rows stream by once, in any order. A row goes to the first slot at or after the time from
//! which it counts; when all have passed, winners are carried forward along each key. Values of rows
//! that win are copied out of their batch and compacted now and then, so that memory follows the
//! number of slots and not of feature rows.

use std::cmp::Ordering;

use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use provender_core::Result;

use crate::error;
use crate::source::{RowTime, TimedRows, column, compare};
use crate::spine::{NO_SLOT, SpineIndex};

/// Marks a slot without a winner.
const NOBODY: u32 = u32::MAX;
/// Marks a slot whose winner is in the batch being read.
const CURRENT: u32 = u32::MAX - 1;
/// Dead rows that are tolerated before values are compacted, beside as many as there are live ones.
const COMPACT_AFTER: usize = 1 << 14;

#[derive(Clone, Copy, Debug)]
struct Winner {
    time: RowTime,
    batch: u32,
    row: u32,
}

const NONE: Winner = Winner {
    time: RowTime {
        event: i64::MIN,
        created: None,
        position: u64::MAX,
    },
    batch: NOBODY,
    row: 0,
};

/// The greatest row per slot, with the values of `columns`.
#[derive(Debug)]
pub(crate) struct Winners {
    columns: Vec<String>,
    types: Vec<DataType>,
    slots: Vec<Winner>,
    ties: Option<Vec<Box<[u8]>>>,
    kept: Vec<Vec<ArrayRef>>,
    n_kept: usize,
    n_live: usize,
    memory: usize,
    touched: Vec<u32>,
}

impl Winners {
    /// `types` are those of `columns` in the source.
    pub(crate) fn new(
        n_slots: usize,
        columns: Vec<String>,
        types: Vec<DataType>,
        with_ties: bool,
    ) -> Self {
        Self {
            columns,
            types,
            slots: vec![NONE; n_slots],
            ties: with_ties.then(|| vec![Box::default(); n_slots]),
            kept: Vec::new(),
            n_kept: 0,
            n_live: 0,
            memory: 0,
            touched: Vec::new(),
        }
    }

    pub(crate) fn memory(&self) -> usize {
        let ties: usize = match &self.ties {
            None => 0,
            Some(ties) => ties.iter().map(|tie| tie.len() + 16).sum(),
        };
        self.slots.capacity() * size_of::<Winner>() + ties + self.memory
    }

    /// Makes room for slots up to `n_slots`.
    pub(crate) fn grow(&mut self, n_slots: usize) {
        if n_slots > self.slots.len() {
            self.slots.resize(n_slots, NONE);
            if let Some(ties) = &mut self.ties {
                ties.resize(n_slots, Box::default());
            }
        }
    }

    /// Offers a row of the current batch to a slot.
    pub(crate) fn offer(&mut self, slot: usize, time: RowTime, ties: &[u8], row: usize) {
        let winner = &mut self.slots[slot];
        if winner.batch != NOBODY {
            let held: &[u8] = self.ties.as_ref().map_or(&[], |ties| &ties[slot]);
            if compare((time, ties), (winner.time, held)) != Ordering::Greater {
                return;
            }
        }
        if winner.batch != CURRENT {
            self.touched.push(slot as u32);
            if winner.batch != NOBODY {
                self.n_live -= 1;
            }
        }
        *winner = Winner {
            time,
            batch: CURRENT,
            row: row as u32,
        };
        if let Some(held) = &mut self.ties {
            held[slot] = ties.into();
        }
    }

    /// Copies the values of the batch's winners, which ends the batch.
    pub(crate) fn keep(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.touched.is_empty() {
            return Ok(());
        }
        let touched = std::mem::take(&mut self.touched);
        let rows: UInt32Array = touched
            .iter()
            .map(|&slot| Some(self.slots[slot as usize].row))
            .collect();
        let mut values = Vec::with_capacity(self.columns.len());
        for name in &self.columns {
            values.push(take(&column(batch, name)?, &rows, None).map_err(error::arrow)?);
        }
        let number = self.kept.len() as u32;
        for (row, &slot) in touched.iter().enumerate() {
            let winner = &mut self.slots[slot as usize];
            (winner.batch, winner.row) = (number, row as u32);
        }
        self.memory += values
            .iter()
            .map(|array| array.get_array_memory_size())
            .sum::<usize>();
        self.kept.push(values);
        self.n_kept += touched.len();
        self.n_live += touched.len();
        if self.n_kept > 2 * self.n_live + COMPACT_AFTER || self.kept.len() > 4_096 {
            self.compact()?;
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        let live: Vec<usize> = (0..self.slots.len())
            .filter(|&slot| self.slots[slot].batch != NOBODY)
            .collect();
        let places: Vec<(u32, u32)> = live
            .iter()
            .map(|&slot| (self.slots[slot].batch, self.slots[slot].row))
            .collect();
        let values = self.gather(places.iter().map(|&place| Some(place)))?;
        for (row, &slot) in live.iter().enumerate() {
            (self.slots[slot].batch, self.slots[slot].row) = (0, row as u32);
        }
        self.memory = values
            .iter()
            .map(|array| array.get_array_memory_size())
            .sum();
        self.kept = vec![values];
        self.n_kept = live.len();
        self.n_live = live.len();
        Ok(())
    }

    /// Takes in what another worker found for the same slots.
    pub(crate) fn merge(&mut self, other: Self) {
        let shift = self.kept.len() as u32;
        self.kept.extend(other.kept);
        self.memory += other.memory;
        self.n_kept += other.n_kept;
        for (slot, theirs) in other.slots.into_iter().enumerate() {
            if theirs.batch == NOBODY {
                continue;
            }
            let ours = self.slots[slot];
            let our_ties: &[u8] = self.ties.as_ref().map_or(&[], |ties| &ties[slot]);
            let their_ties: &[u8] = other.ties.as_ref().map_or(&[], |ties| &ties[slot]);
            if ours.batch == NOBODY
                || compare((theirs.time, their_ties), (ours.time, our_ties)) == Ordering::Greater
            {
                self.slots[slot] = Winner {
                    batch: theirs.batch + shift,
                    ..theirs
                };
                if let Some(ties) = &mut self.ties {
                    ties[slot] = their_ties.into();
                }
            }
        }
    }

    /// Carries winners forward along each key, then drops those older than `ttl_us` at their slot.
    /// Answers the place of each slot's winner.
    pub(crate) fn carry(&self, index: &SpineIndex, ttl_us: Option<i64>) -> Vec<Option<(u32, u32)>> {
        let mut places = Vec::with_capacity(self.slots.len());
        for key in 0..index.n_keys() as u32 {
            let mut best: Option<usize> = None;
            let slots = index.slots(key);
            for (slot, &time) in slots.clone().zip(index.times(slots)) {
                if self.slots[slot].batch != NOBODY
                    && best.is_none_or(|best| self.compare_slots(slot, best) == Ordering::Greater)
                {
                    best = Some(slot);
                }
                places.push(best.map(|best| self.slots[best]).and_then(|winner| {
                    let alive =
                        ttl_us.is_none_or(|ttl| winner.time.event >= time.saturating_sub(ttl));
                    alive.then_some((winner.batch, winner.row))
                }));
            }
        }
        places
    }

    /// The place and times of each slot's own winner.
    pub(crate) fn places(&self) -> impl Iterator<Item = (RowTime, (u32, u32))> {
        self.slots
            .iter()
            .filter(|winner| winner.batch != NOBODY)
            .map(|winner| (winner.time, (winner.batch, winner.row)))
    }

    fn compare_slots(&self, a: usize, b: usize) -> Ordering {
        let ties = |slot: usize| self.ties.as_ref().map_or(&[] as &[u8], |ties| &ties[slot]);
        compare((self.slots[a].time, ties(a)), (self.slots[b].time, ties(b)))
    }

    /// One of the columns that [`Self::gather`] answered.
    pub(crate) fn value_of<'a>(&self, values: &'a [ArrayRef], name: &str) -> Result<&'a ArrayRef> {
        let place = self.columns.iter().position(|column| column == name);
        place.and_then(|place| values.get(place)).ok_or_else(|| {
            error::defect(format!(
                "column {name:?} was not kept with the winning rows"
            ))
        })
    }

    /// Values at places, null where there is none.
    pub(crate) fn gather(
        &self,
        places: impl Iterator<Item = Option<(u32, u32)>> + Clone,
    ) -> Result<Vec<ArrayRef>> {
        let indices: Vec<(usize, usize)> = places
            .map(|place| match place {
                Some((batch, row)) => (batch as usize + 1, row as usize),
                None => (0, 0),
            })
            .collect();
        (0..self.columns.len())
            .map(|i| {
                let null = new_null_array(&self.types[i], 1);
                let kept = self.kept.iter().map(|values| values[i].as_ref());
                let arrays: Vec<&dyn Array> = std::iter::once(null.as_ref()).chain(kept).collect();
                interleave(&arrays, &indices).map_err(error::arrow)
            })
            .collect()
    }
}

/// Gives every row of a batch to the first slot at or after the time from which it counts.
pub(crate) fn offer_batch(
    winners: &mut Winners,
    index: &SpineIndex,
    rows: &TimedRows,
    batch: &RecordBatch,
    as_known: bool,
    ttl_us: Option<i64>,
    only_where: Option<&NullBuffer>,
) -> Result<()> {
    for row in 0..rows.len() {
        if only_where.is_some_and(|values| values.is_null(row)) {
            continue;
        }
        let Some(time) = rows.time(row) else { continue };
        let Some(from) = TimedRows::known_from(time, as_known) else {
            continue;
        };
        let Some(key) = rows.keys.get(row).and_then(|key| index.find(key)) else {
            continue;
        };
        let slots = index.slots(key);
        let first = slots.start + index.times(slots.clone()).partition_point(|&t| t < from);
        // A row that is too old at its first slot is too old at all later ones: it is no candidate,
        // and need not be held.
        let alive = |slot: usize| {
            ttl_us.is_none_or(|ttl| time.event.saturating_add(ttl) >= index.time(slot))
        };
        if first < slots.end && alive(first) {
            winners.offer(first, time, rows.ties(row), row);
        }
    }
    winners.keep(batch)
}

/// The place of each spine row, from the places of slots.
pub(crate) fn row_places<'a>(
    row_slots: &'a [u32],
    places: &'a [Option<(u32, u32)>],
) -> impl Iterator<Item = Option<(u32, u32)>> + Clone + 'a {
    row_slots.iter().map(|&slot| {
        if slot == NO_SLOT {
            None
        } else {
            places[slot as usize]
        }
    })
}
