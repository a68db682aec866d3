//! Join keys as bytes: unique per key, the same in every process, in the keys' own order.
//!
//! Decides the bytes of the keys alone. What stands before them (project, view, version) is the
//! store's.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use provender_core::model::JoinKey;
use provender_core::{Error, Result, ValueType, codes};

use crate::encode::{Column, Values};
use crate::scalar::append_terminated;

/// How the join keys of a layout or a plan become bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyFormat {
    keys: Arc<[(String, ValueType)]>,
}

impl KeyFormat {
    /// The format of these keys, in this order. No keys at all are the one row of a global view,
    /// whose key has no bytes.
    ///
    /// # Errors
    /// `InvalidArgument` (`P109`) for a type that join keys cannot have.
    pub fn new(keys: &[JoinKey]) -> Result<Self> {
        for key in keys {
            if !key.value_type.is_key_type() {
                return Err(Error::new(
                    &codes::BAD_TYPE,
                    format!(
                        "join key {:?} cannot have type {}",
                        key.name, key.value_type
                    ),
                )
                .help("join keys are whole numbers, string, binary, bool, date or timestamp"));
            }
        }
        let keys = keys
            .iter()
            .map(|key| (key.name.clone(), key.value_type.clone()))
            .collect();
        Ok(Self { keys })
    }

    /// Binds the columns of one batch, one per key in the format's order, each of `n_rows` rows.
    /// Without keys every row has the same, empty key.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for another number of columns or rows, or another type than
    /// declared.
    pub fn bind<'a>(&self, columns: &'a [ArrayRef], n_rows: usize) -> Result<BoundKeys<'a>> {
        if columns.len() != self.keys.len() {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "expected {} join key columns, found {}",
                    self.keys.len(),
                    columns.len()
                ),
            ));
        }
        let columns = self
            .keys
            .iter()
            .zip(columns)
            .map(|((name, value_type), array)| {
                if array.len() != n_rows {
                    return Err(Error::new(
                        &codes::BAD_REQUEST,
                        format!(
                            "join key {name:?} has {} rows instead of {n_rows}",
                            array.len()
                        ),
                    ));
                }
                Column::bind(array.as_ref(), value_type).ok_or_else(|| {
                    Error::new(
                        &codes::BAD_REQUEST,
                        format!(
                            "join key {name:?} is declared {value_type}, but its column is {}",
                            array.data_type()
                        ),
                    )
                })
            })
            .collect::<Result<_>>()?;
        Ok(BoundKeys { columns, n_rows })
    }

    /// The name of a key.
    pub(crate) fn name(&self, index: usize) -> &str {
        self.keys.get(index).map_or("", |(name, _)| name)
    }
}

/// The join key columns of one batch, ready to be read row by row.
pub struct BoundKeys<'a> {
    columns: Vec<Column<'a>>,
    n_rows: usize,
}

impl BoundKeys<'_> {
    /// How many rows the batch has.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Appends the bytes of one row's key. False, and nothing is appended, if a join key is null or
    /// there is no such row.
    pub fn append(&self, row: usize, out: &mut Vec<u8>) -> bool {
        if row >= self.n_rows || !self.columns.iter().all(|column| column.is_valid(row)) {
            return false;
        }
        for (index, column) in self.columns.iter().enumerate() {
            match &column.values {
                Values::Bool(bits) => out.push(bits.value(row).into()),
                Values::Numbers(numbers) => numbers.append_ordered(row, out),
                // The last key's end is the end of all, so it needs no mark.
                Values::Bytes(bytes) if index + 1 == self.columns.len() => {
                    out.extend_from_slice(bytes.get(row));
                }
                Values::Bytes(bytes) => append_terminated(bytes.get(row), out),
                _ => {}
            }
        }
        true
    }

    /// The first key with a null, and its first row with one.
    pub(crate) fn first_null(&self) -> Option<(usize, usize)> {
        self.columns.iter().enumerate().find_map(|(key, column)| {
            column.nulls?;
            let row = (0..self.n_rows).find(|row| !column.is_valid(*row))?;
            Some((key, row))
        })
    }
}
