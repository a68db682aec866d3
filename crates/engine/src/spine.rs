//! The spine as the operators see it: distinct keys, and per key the distinct times in order (slots).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use provender_core::Result;
use provender_core::request::KeyColumn;
use provender_core::time::instant_type;

use crate::keys::{KeyEncoder, KeyTable};
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
    times: Vec<i64>,
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
        let encoded = encoder.encode(&names, &columns)?;
        let time_column = column(rows, TIME)?;
        let times = time_column.as_primitive::<TimestampMicrosecondType>();

        let mut table = KeyTable::default();
        let mut order: Vec<(u32, i64, u32)> = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            if times.is_null(row) {
                continue;
            }
            if let Some(key) = encoded.get(row) {
                order.push((table.find_or_insert(key), times.value(row), row as u32));
            }
        }
        order.sort_unstable();

        let mut row_slots = vec![NO_SLOT; rows.num_rows()];
        let mut slot_times = Vec::new();
        let mut starts = Vec::with_capacity(table.len() + 1);
        let mut last = None;
        for (key, time, row) in order {
            if last != Some((key, time)) {
                if last.is_none_or(|(last_key, _)| last_key != key) {
                    starts.push(slot_times.len() as u32);
                }
                slot_times.push(time);
                last = Some((key, time));
            }
            row_slots[row as usize] = slot_times.len() as u32 - 1;
        }
        starts.push(slot_times.len() as u32);
        Ok(Self {
            keys: table,
            starts,
            times: slot_times,
            row_slots,
        })
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.row_slots.len()
    }

    pub(crate) fn n_slots(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn n_keys(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn row_slots(&self) -> &[u32] {
        &self.row_slots
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        self.keys.find(key)
    }

    /// The slots of a key: first, and one after the last.
    pub(crate) fn slots(&self, key: u32) -> std::ops::Range<usize> {
        self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize
    }

    pub(crate) fn times(&self, slots: std::ops::Range<usize>) -> &[i64] {
        &self.times[slots]
    }

    pub(crate) fn time(&self, slot: usize) -> i64 {
        self.times[slot]
    }

    pub(crate) fn memory(&self) -> usize {
        self.keys.memory() + self.starts.len() * 4 + self.times.len() * 8 + self.row_slots.len() * 4
    }
}

/// The row numbers of a batch of [`spine_schema`].
pub(crate) fn row_numbers(rows: &RecordBatch) -> Result<arrow_array::Int64Array> {
    Ok(column(rows, ROW)?.as_primitive::<Int64Type>().clone())
}
