//! Join keys as values that can be compared and hashed fast: two rows match exactly if theirs are equal.
//!
//! Decides how key columns are spelled for that: keys of at most 8 bytes of fixed width are one word,
//! of at most 16 two words, strings and all others bytes. Knows nothing of rows' times. How numbers
//! are given to keys is in [`table`].

mod bytes;
mod table;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_row::{RowConverter, SortField};
use foldhash::fast::FixedState;
use provender_core::request::KeyColumn;
use provender_core::{Error, Result, ValueType, codes};

pub(crate) use self::table::{KeyTable, NO_KEY};
use crate::cast::cast_value;
use crate::error;

/// Encodes key columns of the declared types.
#[derive(Debug)]
pub(crate) struct KeyEncoder {
    types: Vec<ValueType>,
    layout: Layout,
}

/// How keys of certain types are spelled.
#[derive(Debug)]
enum Layout {
    /// No columns: there is one key.
    Unit,
    /// Numbers of at most 64 bits in all.
    Word,
    /// Numbers of at most 128 bits in all.
    Wide,
    /// One column of strings or bytes, as it is.
    Bytes,
    /// Several columns, some of them strings or bytes: numbers and lengths in front of bytes.
    Packed,
    /// Types that have an encoding of rows alone.
    Rows(RowConverter),
}

/// The encoded keys of a batch.
pub(crate) struct EncodedKeys {
    pub(crate) values: KeyValues,
    /// Rows with a null in any part of their key.
    pub(crate) nulls: Option<NullBuffer>,
}

/// Keys of all rows, nulls aside.
pub(crate) enum KeyValues {
    Unit(usize),
    Words(ScalarBuffer<u64>),
    Wide(Vec<u128>),
    Bytes {
        bytes: Buffer,
        offsets: OffsetBuffer<i32>,
    },
}

impl KeyEncoder {
    pub(crate) fn new(keys: &[KeyColumn]) -> Result<Self> {
        let types: Vec<ValueType> = keys.iter().map(|key| key.value_type.clone()).collect();
        let is_bytes = |key: &ValueType| matches!(key, ValueType::String | ValueType::Binary);
        let widths: Option<Vec<u32>> = types.iter().map(width).collect();
        let layout = match widths {
            _ if types.is_empty() => Layout::Unit,
            Some(widths) if widths.iter().sum::<u32>() <= 8 => Layout::Word,
            Some(widths) if widths.iter().sum::<u32>() <= 16 => Layout::Wide,
            _ if types.len() == 1 && is_bytes(&types[0]) => Layout::Bytes,
            _ if types
                .iter()
                .all(|key| is_bytes(key) || width(key).is_some()) =>
            {
                Layout::Packed
            }
            _ => {
                let fields = types.iter().map(|key| SortField::new(key.to_arrow()));
                Layout::Rows(RowConverter::new(fields.collect()).map_err(error::arrow)?)
            }
        };
        Ok(Self { types, layout })
    }

    /// Whether encoding takes little more than the columns as they are, so that all batches can be encoded at once.
    pub(crate) fn is_cheap(&self) -> bool {
        matches!(self.layout, Layout::Word)
    }

    /// A table for the keys of some batches, and others.
    pub(crate) fn table_of(&self, batches: &[EncodedKeys]) -> KeyTable {
        let words = batches.iter().filter_map(|keys| match &keys.values {
            KeyValues::Words(words) => Some(&words[..]),
            _ => None,
        });
        match self.layout {
            Layout::Word => KeyTable::words_like(&words.collect::<Vec<_>>()),
            _ => self.table(),
        }
    }

    /// A table for keys of this encoding.
    pub(crate) fn table(&self) -> KeyTable {
        match self.layout {
            Layout::Unit => KeyTable::unit(),
            Layout::Word => KeyTable::words(),
            Layout::Wide => KeyTable::wide(),
            Layout::Bytes | Layout::Packed | Layout::Rows(_) => KeyTable::bytes(),
        }
    }

    /// Casts columns of `n_rows` rows to the declared types and encodes them.
    pub(crate) fn encode(
        &self,
        names: &[&str],
        columns: &[ArrayRef],
        n_rows: usize,
    ) -> Result<EncodedKeys> {
        let columns: Vec<ArrayRef> = columns
            .iter()
            .zip(&self.types)
            .zip(names)
            .map(|((column, value_type), name)| cast_key(column, value_type, name))
            .collect::<Result<_>>()?;
        let nulls = columns.iter().fold(None, |nulls, column| {
            NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
        });
        let values = match (&self.layout, columns.as_slice()) {
            (Layout::Unit, _) => KeyValues::Unit(n_rows),
            (Layout::Word, [one]) => KeyValues::Words(words(one, &self.types[0])?),
            (Layout::Word, _) => {
                let wide = self.wide(&columns, n_rows)?;
                KeyValues::Words(wide.into_iter().map(|key| key as u64).collect())
            }
            (Layout::Wide, _) => KeyValues::Wide(self.wide(&columns, n_rows)?),
            (Layout::Bytes, _) => plain_bytes(&columns[0])?,
            (Layout::Packed, _) => self.packed(&columns, n_rows)?,
            (Layout::Rows(converter), _) => {
                let rows = converter.convert_columns(&columns).map_err(error::arrow)?;
                concatenated(n_rows, |row, bytes| {
                    bytes.extend_from_slice(rows.row(row).data());
                })?
            }
        };
        Ok(EncodedKeys { values, nulls })
    }

    /// Numbers of all columns side by side, each in as many bits as its type has.
    fn wide(&self, columns: &[ArrayRef], n_rows: usize) -> Result<Vec<u128>> {
        let mut keys = vec![0_u128; n_rows];
        for (column, value_type) in columns.iter().zip(&self.types) {
            let bits = 8 * width(value_type).unwrap_or(8);
            let mask = if bits == 64 {
                u64::MAX
            } else {
                (1 << bits) - 1
            };
            for (key, word) in keys.iter_mut().zip(words(column, value_type)?.iter()) {
                *key = (*key << bits) | u128::from(word & mask);
            }
        }
        Ok(keys)
    }

    fn packed(&self, columns: &[ArrayRef], n_rows: usize) -> Result<KeyValues> {
        enum Part {
            Words(ScalarBuffer<u64>),
            Bytes(Buffer, OffsetBuffer<i32>),
        }
        let parts = columns
            .iter()
            .zip(&self.types)
            .map(|(column, value_type)| match width(value_type) {
                Some(_) => Ok(Part::Words(words(column, value_type)?)),
                None => match plain_bytes(column)? {
                    KeyValues::Bytes { bytes, offsets } => Ok(Part::Bytes(bytes, offsets)),
                    _ => Err(error::defect(format!(
                        "a key of type {value_type} is no bytes"
                    ))),
                },
            })
            .collect::<Result<Vec<_>>>()?;
        concatenated(n_rows, |row, packed| {
            for part in &parts {
                match part {
                    Part::Words(words) => packed.extend_from_slice(&words[row].to_le_bytes()),
                    Part::Bytes(bytes, offsets) => {
                        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                        // The length in front keeps ("a", "bc") and ("ab", "c") apart.
                        let length = end - start;
                        if length < 255 {
                            packed.push(length as u8);
                        } else {
                            packed.push(255);
                            packed.extend_from_slice(&(length as u32).to_le_bytes());
                        }
                        packed.extend_from_slice(&bytes[start..end]);
                    }
                }
            }
        })
    }
}

impl EncodedKeys {
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Spreads keys over partitions; `salt` makes each level of partitioning spread differently.
    /// `None` for a null key.
    pub(crate) fn partition(&self, row: usize, salt: u64, n_partitions: usize) -> Option<usize> {
        if self.is_null(row) {
            return None;
        }
        let hasher = FixedState::with_seed(0x9e37_79b9_7f4a_7c15 ^ salt);
        let hash = match &self.values {
            KeyValues::Unit(_) => 0,
            KeyValues::Words(words) => hasher.hash_one(words[row]),
            KeyValues::Wide(keys) => hasher.hash_one(keys[row]),
            KeyValues::Bytes { bytes, offsets } => {
                hasher.hash_one(&bytes[offsets[row] as usize..offsets[row + 1] as usize])
            }
        };
        // The upper bits are the better mixed ones.
        Some(((hash >> 32) as usize) % n_partitions)
    }
}

fn cast_key(column: &ArrayRef, value_type: &ValueType, name: &str) -> Result<ArrayRef> {
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
}

/// Bytes that a number of this type takes; `None` for what is no number here.
fn width(value_type: &ValueType) -> Option<u32> {
    Some(match value_type {
        ValueType::Bool | ValueType::Int8 | ValueType::UInt8 => 1,
        ValueType::Int16 | ValueType::UInt16 => 2,
        ValueType::Int32 | ValueType::UInt32 | ValueType::Date => 4,
        ValueType::Int64 | ValueType::UInt64 | ValueType::Timestamp => 8,
        _ => return None,
    })
}

/// A column of numbers as words, one for each row; what lies at nulls is arbitrary.
fn words(column: &ArrayRef, value_type: &ValueType) -> Result<ScalarBuffer<u64>> {
    macro_rules! narrow {
        ($kind:ty) => {{
            let values = column.as_primitive::<$kind>().values();
            values.iter().map(|&value| value as u64).collect()
        }};
    }
    // Words are the same bits as 64-bit numbers, so those are not copied.
    let same = |buffer: &Buffer, n_rows: usize| ScalarBuffer::new(buffer.clone(), 0, n_rows);
    Ok(match value_type {
        ValueType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            same(values.inner(), values.len())
        }
        ValueType::UInt64 => column.as_primitive::<UInt64Type>().values().clone(),
        ValueType::Timestamp => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            same(values.inner(), values.len())
        }
        ValueType::Int8 => narrow!(Int8Type),
        ValueType::Int16 => narrow!(Int16Type),
        ValueType::Int32 => narrow!(Int32Type),
        ValueType::UInt8 => narrow!(UInt8Type),
        ValueType::UInt16 => narrow!(UInt16Type),
        ValueType::UInt32 => narrow!(UInt32Type),
        ValueType::Date => narrow!(Date32Type),
        ValueType::Bool => column.as_boolean().values().iter().map(u64::from).collect(),
        other => return Err(error::defect(format!("a key of type {other} is no number"))),
    })
}

/// A column of strings or bytes.
fn plain_bytes(column: &ArrayRef) -> Result<KeyValues> {
    if let Some(strings) = column.as_string_opt::<i32>() {
        return Ok(KeyValues::Bytes {
            bytes: strings.values().clone(),
            offsets: strings.offsets().clone(),
        });
    }
    match column.as_binary_opt::<i32>() {
        Some(binary) => Ok(KeyValues::Bytes {
            bytes: binary.values().clone(),
            offsets: binary.offsets().clone(),
        }),
        None => Err(error::defect(format!(
            "a key of type {} is no bytes",
            column.data_type()
        ))),
    }
}

/// Bytes of one row after the other.
fn concatenated(n_rows: usize, mut add: impl FnMut(usize, &mut Vec<u8>)) -> Result<KeyValues> {
    let mut bytes = Vec::with_capacity(n_rows * 16);
    let mut ends = Vec::with_capacity(n_rows + 1);
    ends.push(0_i32);
    for row in 0..n_rows {
        add(row, &mut bytes);
        let end = i32::try_from(bytes.len()).map_err(|_| {
            error::defect("the keys of one batch take more than 2 GiB; read smaller batches")
        })?;
        ends.push(end);
    }
    Ok(KeyValues::Bytes {
        bytes: bytes.into(),
        offsets: OffsetBuffer::new(ends.into()),
    })
}
