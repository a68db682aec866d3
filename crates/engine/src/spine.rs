//! The spine as the operators see it: distinct keys, and per key the distinct times in order (slots).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use provender_core::Result;
use provender_core::request::KeyColumn;
use provender_core::time::instant_type;

use crate::keys::{EncodedKeys, KeyEncoder, KeyTable, NO_KEY};
use crate::search::Ascending;
use crate::source::column;

/// Marks a spine row that nothing can match: a null key or time.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// Names of the columns that a spine has inside of the engine, after its keys.
pub(crate) const TIME: &str = "__time";
pub(crate) const ROW: &str = "__row";

/// Some consecutive rows of a spine, indexed.
#[derive(Debug)]
pub(crate) struct SpineIndex {
    keys: KeyTable,
    /// The first slot of each key, and at the end the number of slots.
    starts: Vec<u32>,
    /// The time of each slot, ascending within a key.
    times: Ascending,
    /// The slot of each spine row, or [`NO_SLOT`].
    row_slots: Vec<u32>,
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

impl SpineIndex {
    /// Indexes a batch of [`spine_schema`].
    pub(crate) fn new(keys: &[KeyColumn], rows: &RecordBatch) -> Result<Self> {
        let encoder = KeyEncoder::new(keys)?;
        let names: Vec<&str> = keys.iter().map(|key| key.spine.as_str()).collect();
        let columns: Vec<_> = names
            .iter()
            .map(|name| column(rows, name))
            .collect::<Result<_>>()?;
        let n_rows = rows.num_rows();
        let encoded = encoder.encode(&names, &columns, n_rows)?;
        let time_column = column(rows, TIME)?;
        let times = time_column.as_primitive::<TimestampMicrosecondType>();

        let mut table = encoder.table();
        let mut numbers = vec![NO_KEY; n_rows];
        let mut counts: Vec<u32> = Vec::new();
        for (row, number) in numbers.iter_mut().enumerate() {
            if times.is_null(row) {
                continue;
            }
            *number = table.find_or_insert(&encoded, row);
            if *number == NO_KEY {
                continue;
            }
            if *number as usize == counts.len() {
                counts.push(0);
            }
            counts[*number as usize] += 1;
        }

        // Rows are dealt to their keys, and then only those of one key are sorted.
        let mut ends = Vec::with_capacity(counts.len());
        let mut end = 0_u32;
        for count in counts {
            ends.push(end);
            end += count;
        }
        let mut order = vec![(0_i64, 0_u32); end as usize];
        for (row, &number) in numbers.iter().enumerate() {
            if number != NO_KEY {
                let place = &mut ends[number as usize];
                order[*place as usize] = (times.value(row), row as u32);
                *place += 1;
            }
        }

        let mut row_slots = numbers;
        let mut slot_times = Vec::with_capacity(order.len());
        let mut starts = Vec::with_capacity(ends.len() + 1);
        let mut first = 0;
        for end in ends {
            let of_key = &mut order[first..end as usize];
            first = end as usize;
            of_key.sort_unstable();
            starts.push(slot_times.len() as u32);
            let mut last = None;
            for &(time, row) in of_key.iter() {
                if last != Some(time) {
                    slot_times.push(time);
                    last = Some(time);
                }
                row_slots[row as usize] = slot_times.len() as u32 - 1;
            }
        }
        starts.push(slot_times.len() as u32);
        table.settle();
        Ok(Self {
            keys: table,
            starts,
            times: Ascending::new(slot_times),
            row_slots,
        })
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.row_slots.len()
    }

    pub(crate) fn n_slots(&self) -> usize {
        self.times.numbers().len()
    }

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

/// The row numbers of a batch of [`spine_schema`].
pub(crate) fn row_numbers(rows: &RecordBatch) -> Result<arrow_array::Int64Array> {
    Ok(column(rows, ROW)?.as_primitive::<Int64Type>().clone())
}
