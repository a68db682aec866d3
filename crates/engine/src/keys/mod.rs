//! Join keys as bytes: two rows match exactly if their bytes are equal.

use std::hash::BuildHasher;

use arrow_array::{Array, ArrayRef};
use arrow_row::{RowConverter, Rows, SortField};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use provender_core::request::KeyColumn;
use provender_core::{Error, Result, ValueType, codes};

use crate::cast::cast_value;
use crate::error;

/// Encodes key columns of the declared types.
#[derive(Debug)]
pub(crate) struct KeyEncoder {
    types: Vec<ValueType>,
    converter: RowConverter,
}

/// The encoded keys of a batch.
pub(crate) struct EncodedKeys {
    rows: Option<Rows>,
    columns: Vec<ArrayRef>,
}

impl KeyEncoder {
    pub(crate) fn new(keys: &[KeyColumn]) -> Result<Self> {
        let types: Vec<ValueType> = keys.iter().map(|key| key.value_type.clone()).collect();
        let fields = types
            .iter()
            .map(|key| SortField::new(key.to_arrow()))
            .collect();
        Ok(Self {
            types,
            converter: RowConverter::new(fields).map_err(error::arrow)?,
        })
    }

    /// Casts columns to the declared types and encodes them.
    pub(crate) fn encode(&self, names: &[&str], columns: &[ArrayRef]) -> Result<EncodedKeys> {
        let columns: Vec<ArrayRef> = columns
            .iter()
            .zip(&self.types)
            .zip(names)
            .map(|((column, value_type), name)| {
                let checked = value_type.implies_checked(column.data_type());
                cast_value(column, value_type, checked).map_err(|failure| {
                    Error::new(
                        &codes::CHECKED_CAST,
                        format!(
                            "the value {} of key column {name:?} does not fit the declared type {value_type}",
                            failure.value
                        ),
                    )
                })
            })
            .collect::<Result<_>>()?;
        let rows = if columns.is_empty() {
            None
        } else {
            Some(
                self.converter
                    .convert_columns(&columns)
                    .map_err(error::arrow)?,
            )
        };
        Ok(EncodedKeys { rows, columns })
    }
}

impl EncodedKeys {
    /// The bytes of a row's key; `None` if any part is null. A view without keys has one key, of no bytes.
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        match &self.rows {
            None => Some(&[]),
            Some(_) if self.columns.iter().any(|column| column.is_null(row)) => None,
            Some(rows) => Some(rows.row(row).data()),
        }
    }
}

/// Numbers keys 0, 1, 2, ... in the order in which they first came.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    hasher: FixedState,
    table: HashTable<u32>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyTable {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8 + self.table.capacity() * 6
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.table
            .find(hash, |&id| key_at(&self.bytes, &self.ends, id) == key)
            .copied()
    }

    pub(crate) fn find_or_insert(&mut self, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(key);
        let (bytes, ends, hasher) = (&mut self.bytes, &mut self.ends, &self.hasher);
        if let Some(id) = self.table.find(hash, |&id| key_at(bytes, ends, id) == key) {
            return *id;
        }
        let id = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(key);
        ends.push(bytes.len());
        self.table
            .insert_unique(hash, id, |&id| hasher.hash_one(key_at(bytes, ends, id)));
        id
    }
}

fn key_at<'a>(bytes: &'a [u8], ends: &[usize], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &bytes[start..ends[id]]
}

/// Spreads keys over partitions; `salt` makes each level of partitioning spread differently.
pub(crate) fn partition_of(key: &[u8], salt: u64, n_partitions: usize) -> usize {
    let hash = FixedState::with_seed(0x9e37_79b9_7f4a_7c15 ^ salt).hash_one(key);
    // The upper bits are the better mixed ones.
    ((hash >> 32) as usize) % n_partitions
}
