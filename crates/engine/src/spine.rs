//! The spine as the operators see it: distinct keys, and per key the distinct times in order (slots).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use provender_core::Result;
use provender_core::request::KeyColumn;
use provender_core::time::instant_type;

use crate::keys::{EncodedKeys, KeyEncoder, KeyTable, NO_KEY};
use crate::pages::Pages;
use crate::search::Ascending;
use crate::source::column;
use crate::{error, parallel};

/// Marks a spine row that nothing can match: a null key or time.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// Names of the columns that a spine has inside of the engine, after its keys.
pub(crate) const TIME: &str = "__time";
pub(crate) const ROW: &str = "__row";

/// Some consecutive rows of a spine, in batches of [`spine_schema`].
#[derive(Clone, Debug, Default)]
pub(crate) struct SpineRows {
    batches: Vec<RecordBatch>,
    n_rows: usize,
}

/// Some consecutive rows of a spine, indexed.
#[derive(Debug)]
pub(crate) struct SpineIndex {
    keys: KeyTable,
    /// The first slot of each key, and at the end the number of slots. A key may have none.
    starts: Vec<u32>,
    /// The time of each slot, ascending within a key.
    times: Ascending,
    /// The slot of each spine row, or [`NO_SLOT`].
    row_slots: Vec<u32>,
}

/// What is known of all rows, in their order.
#[derive(Clone, Copy)]
struct Numbered<'a> {
    /// The number of each row's key.
    keys: &'a [u32],
    /// Batch by batch.
    times: &'a [TimestampMicrosecondArray],
}

/// Room for the rows of some consecutive keys.
struct SpinePart<'a> {
    first_key: u32,
    /// The first row of each key, and at the end one after the last.
    starts: &'a [u32],
    /// For each row's time, key by key.
    times: &'a mut [i64],
    /// For each row's place in the spine.
    rows: &'a mut [u32],
}

/// The rows of some consecutive keys, sorted.
struct SortedPart<'a> {
    rows: &'a [u32],
    /// Whether a row begins a slot. The times of slots lie where the first rows' did.
    is_first: Vec<bool>,
    n_slots: usize,
    /// The first slot of each key.
    starts: Vec<u32>,
}

/// Rows of which those of one part are picked out together.
const DEALT_TOGETHER: usize = 1 << 10;

impl<'a> SpinePart<'a> {
    /// Deals the rows of the part's keys to these, out of all rows.
    fn deal(&mut self, all: Numbered<'_>) {
        let before = self.starts[0];
        let mut next: Vec<u32> = self.starts.iter().map(|start| start - before).collect();
        next.pop();
        let (mut own, mut first) = ([0; DEALT_TOGETHER], 0);
        for times in all.times {
            let keys = &all.keys[first..first + times.len()];
            let together = keys.chunks(DEALT_TOGETHER);
            for (keys, times) in together.zip(times.values().chunks(DEALT_TOGETHER)) {
                // Whose row it is cannot be foretold, so all are written and some of them kept.
                let mut n_own = 0;
                for (row, key) in (0..).zip(keys) {
                    own[n_own] = row;
                    n_own += usize::from((key.wrapping_sub(self.first_key) as usize) < next.len());
                }
                for &row in &own[..n_own] {
                    let next = &mut next[(keys[row] - self.first_key) as usize];
                    self.times[*next as usize] = times[row];
                    self.rows[*next as usize] = (first + row) as u32;
                    *next += 1;
                }
                first += keys.len();
            }
        }
    }

    fn sort(self) -> SortedPart<'a> {
        let mut starts = Vec::with_capacity(self.starts.len());
        let mut is_first = Vec::with_capacity(self.rows.len());
        let (before, mut n_slots) = (self.starts[0], 0);
        let mut of_key: Vec<(i64, u32)> = Vec::new();
        for range in self.starts.windows(2) {
            let range = (range[0] - before) as usize..(range[1] - before) as usize;
            of_key.clear();
            let times = self.times[range.clone()].iter().copied();
            of_key.extend(times.zip(self.rows[range.clone()].iter().copied()));
            of_key.sort_unstable();
            starts.push(n_slots as u32);
            let mut last = None;
            for (place, &(time, row)) in self.rows[range].iter_mut().zip(&of_key) {
                *place = row;
                is_first.push(last != Some(time));
                if last != Some(time) {
                    last = Some(time);
                    self.times[n_slots] = time;
                    n_slots += 1;
                }
            }
        }
        SortedPart {
            rows: self.rows,
            is_first,
            n_slots,
            starts,
        }
    }
}

/// The schema of a spine inside of the engine.
pub(crate) fn spine_schema(keys: &[KeyColumn]) -> SchemaRef {
    let keys = keys
        .iter()
        .map(|key| Field::new(&key.spine, key.value_type.to_arrow(), true));
    let own = [
        Field::new(TIME, instant_type(), true),
        Field::new(ROW, DataType::Int64, false),
    ];
    Arc::new(Schema::new(keys.chain(own).collect::<Vec<_>>()))
}

impl SpineRows {
    pub(crate) fn push(&mut self, batch: RecordBatch) {
        self.n_rows += batch.num_rows();
        self.batches.push(batch);
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// At most so many rows from one on.
    pub(crate) fn slice(&self, from: usize, n_rows: usize) -> Self {
        let mut slice = Self::default();
        let (mut first, end) = (0, from.saturating_add(n_rows).min(self.n_rows));
        for batch in &self.batches {
            let rows = from.clamp(first, first + batch.num_rows())
                ..end.clamp(first, first + batch.num_rows());
            if !rows.is_empty() {
                slice.push(batch.slice(rows.start - first, rows.len()));
            }
            first += batch.num_rows();
        }
        slice
    }

    /// The first columns alone, as many as there are keys.
    pub(crate) fn keys(&self, n_keys: usize) -> Result<Self> {
        let keys: Vec<usize> = (0..n_keys).collect();
        let batches = self.batches.iter().map(|batch| batch.project(&keys));
        Ok(Self {
            batches: batches.collect::<Result<_, _>>().map_err(error::arrow)?,
            n_rows: self.n_rows,
        })
    }

    /// The columns of the batch that a row is in, and its place there.
    pub(crate) fn row(&self, row: usize) -> (&[ArrayRef], usize) {
        let mut at = row;
        for batch in &self.batches {
            if at < batch.num_rows() {
                return (batch.columns(), at);
            }
            at -= batch.num_rows();
        }
        (&[], 0)
    }

    /// The rows' numbers.
    pub(crate) fn numbers(&self) -> Result<Int64Array> {
        let mut numbers = Vec::with_capacity(self.n_rows);
        for batch in &self.batches {
            numbers.extend_from_slice(column(batch, ROW)?.as_primitive::<Int64Type>().values());
        }
        Ok(numbers.into())
    }
}

impl SpineIndex {
    /// Indexes rows on so many threads.
    pub(crate) fn new(keys: &[KeyColumn], rows: &SpineRows, n_threads: usize) -> Result<Self> {
        let encoder = KeyEncoder::new(keys)?;
        let names: Vec<&str> = keys.iter().map(|key| key.spine.as_str()).collect();
        let encode = |batch: &RecordBatch| {
            let columns = names.iter().map(|name| column(batch, name));
            let columns: Vec<_> = columns.collect::<Result<_>>()?;
            encoder.encode(&names, &columns, batch.num_rows())
        };
        let sooner = rows.batches.iter().filter(|_| encoder.is_cheap());
        let sooner: Vec<EncodedKeys> = sooner.map(encode).collect::<Result<_>>()?;
        let mut table = encoder.table_of(&sooner);
        let mut sooner = sooner.into_iter();
        let mut numbers = vec![NO_KEY; rows.n_rows()];
        let mut rest = numbers.as_mut_slice();
        let mut times_of = Vec::with_capacity(rows.batches.len());
        for batch in &rows.batches {
            let encoded = match sooner.next() {
                Some(encoded) => encoded,
                None => encode(batch)?,
            };
            let of_batch = column(batch, TIME)?;
            let of_batch = of_batch.as_primitive::<TimestampMicrosecondType>().clone();
            let numbers;
            (numbers, rest) = std::mem::take(&mut rest).split_at_mut(batch.num_rows());
            table.number_all(&encoded, |row| of_batch.is_valid(row), numbers);
            times_of.push(of_batch);
        }

        // Rows are dealt to their keys, and then only those of one key are sorted.
        let mut starts = vec![0_u32; table.len() + 1];
        for &number in numbers.iter().filter(|number| **number != NO_KEY) {
            starts[number as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let n_dealt = starts[table.len()] as usize;
        let mut times = Pages::<i64>::zeroed(n_dealt);
        let mut dealt = Pages::<u32>::zeroed(n_dealt);
        let n_parts = parallel::n_parts(n_dealt, n_threads);
        let (mut times_left, mut rows_left) = (&mut times[..], &mut dealt[..]);
        let mut parts = Vec::with_capacity(n_parts);
        for keys in parallel::group_ranges(&starts, n_parts) {
            let n_rows = (starts[keys.end] - starts[keys.start]) as usize;
            let (times, rows);
            (times, times_left) = std::mem::take(&mut times_left).split_at_mut(n_rows);
            (rows, rows_left) = std::mem::take(&mut rows_left).split_at_mut(n_rows);
            parts.push(SpinePart {
                first_key: keys.start as u32,
                starts: &starts[keys.start..=keys.end],
                times,
                rows,
            });
        }
        let all = Numbered {
            keys: &numbers,
            times: &times_of,
        };
        let sorted = parallel::each(parts, |mut part| {
            part.deal(all);
            part.sort()
        });
        let row_slots: Vec<AtomicU32> = numbers.iter().map(|_| NO_SLOT.into()).collect();
        let mut n_slots = 0;
        let mut slot_starts = Vec::with_capacity(starts.len());
        let (mut lengths, mut dealt) = (Vec::with_capacity(n_parts), Vec::with_capacity(n_parts));
        for part in sorted {
            let first = n_slots as u32;
            slot_starts.extend(part.starts.iter().map(|start| first + start));
            lengths.push((part.rows.len(), part.n_slots));
            n_slots += part.n_slots;
            dealt.push((part, first));
        }
        slot_starts.push(n_slots as u32);
        parallel::each(dealt, |(part, mut n_begun)| {
            for (&row, &is_first) in part.rows.iter().zip(&part.is_first) {
                n_begun += u32::from(is_first);
                row_slots[row as usize].store(n_begun - 1, Ordering::Relaxed);
            }
        });
        let (mut from, mut to) = (0, 0);
        for (n_rows, n_slots) in lengths {
            // Where all rows before begin a slot, they lie there already.
            times.copy_within(from..from + n_slots, to);
            (from, to) = (from + n_rows, to + n_slots);
        }
        times.truncate(n_slots);
        let row_slots = row_slots.into_iter().map(AtomicU32::into_inner).collect();
        table.settle();
        Ok(Self {
            keys: table,
            starts: slot_starts,
            times: Ascending::new(times, n_threads),
            row_slots,
        })
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.row_slots.len()
    }

    pub(crate) fn n_slots(&self) -> usize {
        self.times.numbers().len()
    }

    /// How many numbers of keys there are; see [`KeyTable::len`].
    pub(crate) fn n_keys(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn row_slots(&self) -> &[u32] {
        &self.row_slots
    }

    /// The number of each row's key, [`NO_KEY`] where the spine has none such.
    pub(crate) fn find_all(&self, keys: &EncodedKeys, found: &mut Vec<u32>) {
        self.keys.find_all(keys, found);
    }

    /// The slots of a key: first, and one after the last.
    pub(crate) fn slots(&self, key: u32) -> std::ops::Range<usize> {
        self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize
    }

    /// The slots of some consecutive keys.
    pub(crate) fn slots_of(&self, keys: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.starts[keys.start] as usize..self.starts[keys.end] as usize
    }

    /// The first slot of each key, and at the end the number of slots.
    pub(crate) fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// The time of each slot, ascending within a key.
    pub(crate) fn all_times(&self) -> &Ascending {
        &self.times
    }

    pub(crate) fn times(&self, slots: std::ops::Range<usize>) -> &[i64] {
        &self.times.numbers()[slots]
    }

    pub(crate) fn memory(&self) -> usize {
        self.keys.memory() + self.starts.len() * 4 + self.times.memory() + self.row_slots.len() * 4
    }
}
