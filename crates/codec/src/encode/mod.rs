//! Rows of Arrow columns become packed rows.
//!
//! Columns are bound, and checked, once per batch; a row then costs no allocation beyond the
//! caller's buffer.

mod column;
mod nested;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, BooleanArray, RecordBatch, TimestampMicrosecondArray};
pub(crate) use column::{Column, Values};
use nested::NullMapKey;
use provender_core::{Error, Result, ValueType, codes};

use crate::format::{RowLayout, Slot};
use crate::header::{self, HAS_CREATED, HAS_TIES, TOMBSTONE};
use crate::key::BoundKeys;
use crate::tie::TieColumn;

/// A batch bound to a format, ready to be packed row by row, in any order.
pub struct RowEncoder<'a> {
    layout: Arc<RowLayout>,
    n_rows: usize,
    keys: BoundKeys<'a>,
    events: &'a TimestampMicrosecondArray,
    created: &'a TimestampMicrosecondArray,
    tombstones: &'a BooleanArray,
    ties: Vec<TieColumn<'a>>,
    features: Vec<Column<'a>>,
}

impl<'a> RowEncoder<'a> {
    pub(crate) fn bind(layout: Arc<RowLayout>, batch: &'a RecordBatch) -> Result<Self> {
        let view = &layout.view;
        let refused = |problem: String| {
            Error::new(
                &codes::BAD_REQUEST,
                format!("rows for view {view:?} are refused: {problem}"),
            )
        };
        let n_expected = layout.n_keys + 3 + layout.tie_breakers.len() + layout.features.len();
        if batch.num_columns() != n_expected {
            return Err(refused(format!(
                "they have {} columns instead of {n_expected} (join keys, event time, created \
                 time, tombstone, tie breakers, features)",
                batch.num_columns()
            )));
        }
        let n_rows = batch.num_rows();
        let (keys, rest) = batch.columns().split_at(layout.n_keys);
        let (times, rest) = rest.split_at(3);
        let (ties, features) = rest.split_at(layout.tie_breakers.len());

        let keys = layout
            .keys
            .bind(keys, n_rows)
            .map_err(|error| error.prefixed(format_args!("rows for view {view:?}: ")))?;
        if let Some((key, row)) = keys.first_null() {
            return Err(refused(format!(
                "join key {:?} is null in row {row}",
                layout.keys.name(key)
            )));
        }
        let instants = |array: &'a dyn Array, what: &str| {
            array
                .as_primitive_opt::<TimestampMicrosecondType>()
                .ok_or_else(|| {
                    refused(format!(
                        "the {what} is {}, not a timestamp in microseconds",
                        array.data_type()
                    ))
                })
        };
        let events = instants(times[0].as_ref(), "event time")?;
        if let Some(row) = (0..n_rows).find(|row| events.is_null(*row)) {
            return Err(refused(format!("the event time is null in row {row}")));
        }
        let created = instants(times[1].as_ref(), "created time")?;
        let tombstones = times[2].as_boolean_opt().ok_or_else(|| {
            refused(format!(
                "whether a row is a tombstone is {}, not a bool",
                times[2].data_type()
            ))
        })?;
        let other_type = |what: String, value_type: &ValueType, array: &dyn Array| {
            refused(format!(
                "{what} is declared {value_type}, but its column is {}",
                array.data_type()
            ))
        };
        let ties = layout
            .tie_breakers
            .iter()
            .zip(ties)
            .enumerate()
            .map(|(index, (value_type, array))| {
                Column::bind(array.as_ref(), value_type)
                    .map(|column| TieColumn::new(value_type, column))
                    .ok_or_else(|| {
                        other_type(format!("tie breaker {index}"), value_type, array.as_ref())
                    })
            })
            .collect::<Result<_>>()?;
        let features = layout
            .features
            .iter()
            .zip(features)
            .map(|(slot, array)| {
                Column::bind(array.as_ref(), &slot.value_type).ok_or_else(|| {
                    other_type(
                        format!("feature {:?}", slot.name),
                        &slot.value_type,
                        array.as_ref(),
                    )
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            n_rows,
            keys,
            events,
            created,
            tombstones,
            ties,
            features,
            layout,
        })
    }

    /// How many rows the batch has.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Appends the bytes of one row's key; nothing if there is no such row.
    pub fn append_key(&self, row: usize, out: &mut Vec<u8>) {
        self.keys.append(row, out);
    }

    /// Appends one packed row. After an error `out` is as it was.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P608`) if the values of the row take more than 4 GiB, or its tie breakers
    /// more than 65,535 bytes; `InvalidArgument` (`P406`) for a null key in a map and for a row that
    /// the batch does not have.
    pub fn append(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if row >= self.n_rows {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "row {row} was asked of {} rows for view {:?}",
                    self.n_rows, self.layout.view
                ),
            ));
        }
        let start = out.len();
        let packed = self.pack(row, out);
        match packed {
            Ok(()) => header::seal(&mut out[start..]),
            Err(_) => out.truncate(start),
        }
        packed
    }

    fn pack(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let is_tombstone = self.tombstones.is_valid(row) && self.tombstones.value(row);
        let created_us = self.created.is_valid(row).then(|| self.created.value(row));
        let mut flags = 0;
        if created_us.is_some() {
            flags |= HAS_CREATED;
        }
        if is_tombstone {
            flags |= TOMBSTONE;
        }
        if !self.ties.is_empty() {
            flags |= HAS_TIES;
        }
        let event_us = self.events.value(row);
        header::begin(out, flags, self.layout.fingerprint, event_us, created_us);
        if !self.ties.is_empty() {
            self.append_ties(row, out)?;
        }
        if !is_tombstone {
            self.append_features(row, out)?;
        }
        Ok(())
    }

    fn append_ties(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let len_at = out.len();
        out.extend_from_slice(&[0; 2]);
        for (index, tie) in self.ties.iter().enumerate() {
            tie.append(row, out);
            if u16::try_from(out.len() - len_at - 2).is_err() {
                return Err(Error::new(
                    &codes::ROW_TOO_LARGE,
                    format!(
                        "row {row} for view {:?} has tie breakers of more than 65535 bytes: number \
                         {index} goes beyond",
                        self.layout.view
                    ),
                )
                .help("break ties by a number or a short text"));
            }
        }
        let len = (out.len() - len_at - 2) as u16;
        out[len_at..len_at + 2].copy_from_slice(&len.to_le_bytes());
        Ok(())
    }

    fn append_features(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let payload = out.len();
        let heap = payload + self.layout.head_len;
        out.resize(heap, 0);
        for (slot, column) in self.layout.features.iter().zip(&self.features) {
            let is_valid = column.is_valid(row);
            if is_valid {
                out[payload + slot.index / 8] |= 1 << (slot.index % 8);
            }
            let at = payload + slot.at;
            if let Some(width) = slot.width {
                if is_valid {
                    column.write_slot(row, &mut out[at..at + width]);
                }
                continue;
            }
            if is_valid {
                column
                    .append_heap(row, out)
                    .map_err(|NullMapKey| self.null_map_key(row, slot))?;
            }
            let end = heap_end(out.len() - heap).ok_or_else(|| self.too_large(row, slot))?;
            out[at..at + 4].copy_from_slice(&end.to_le_bytes());
        }
        Ok(())
    }

    fn null_map_key(&self, row: usize, slot: &Slot) -> Error {
        Error::new(
            &codes::BAD_REQUEST,
            format!(
                "feature {:?} of view {:?} has a map with a null key in row {row}",
                slot.name, self.layout.view
            ),
        )
        .help("keys of maps cannot be null; mend the source")
    }

    fn too_large(&self, row: usize, slot: &Slot) -> Error {
        Error::new(
            &codes::ROW_TOO_LARGE,
            format!(
                "row {row} for view {:?} has values of more than 4 GiB: feature {:?} goes beyond",
                self.layout.view, slot.name
            ),
        )
        .help("keep large values elsewhere and a reference to them in the feature")
    }
}

/// Where a value ends in the heap, as a slot holds it; `None` beyond what a slot can hold.
pub(crate) fn heap_end(len: usize) -> Option<u32> {
    u32::try_from(len).ok()
}
