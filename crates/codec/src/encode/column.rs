//! A column bound for encoding: its Arrow type is looked at once, not per value.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, TimeUnit};
use provender_core::ValueType;

use crate::scalar::{Numbers, Scalar, match_fixed};
use crate::shape::{embedding_size, null_width};

/// A column of any value type.
pub(crate) struct Column<'a> {
    /// `None` if no value is null.
    pub(crate) nulls: Option<&'a NullBuffer>,
    pub(crate) values: Values<'a>,
    /// The zero bytes that stand for a null inside a nested value.
    pub(crate) null_width: usize,
}

/// The values of a column; what stands under a null is not looked at.
pub(crate) enum Values<'a> {
    Bool(&'a BooleanBuffer),
    Numbers(Numbers<'a>),
    Bytes(Bytes<'a>),
    List {
        offsets: &'a [i32],
        items: Box<Column<'a>>,
    },
    Map {
        offsets: &'a [i32],
        keys: Box<Column<'a>>,
        values: Box<Column<'a>>,
    },
    Struct(Vec<Column<'a>>),
    Embedding {
        size: usize,
        numbers: &'a [f32],
        nulls: Option<&'a NullBuffer>,
    },
}

/// Strings or binary.
pub(crate) struct Bytes<'a> {
    offsets: &'a [i32],
    data: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// The bytes of one row.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> &'a [u8] {
        &self.data[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

impl<'a> Column<'a> {
    /// Binds a column of exactly the Arrow type that holds the value type, but for the names of
    /// nested fields and the zone of instants. `None` for any other type.
    pub(crate) fn bind(array: &'a dyn Array, value_type: &ValueType) -> Option<Self> {
        let values = match_fixed!(value_type, T => {
            if !is_same_number(value_type, array.data_type()) {
                return None;
            }
            Values::Numbers(Scalar::borrow(array.as_primitive_opt::<T>()?.values()))
        },
            ValueType::Bool => Values::Bool(array.as_boolean_opt()?.values()),
            ValueType::String | ValueType::Json => {
                let array = array.as_string_opt::<i32>()?;
                Values::Bytes(Bytes { offsets: array.value_offsets(), data: array.value_data() })
            }
            ValueType::Binary => {
                let array = array.as_binary_opt::<i32>()?;
                Values::Bytes(Bytes { offsets: array.value_offsets(), data: array.value_data() })
            }
            ValueType::List(item) => {
                let array = array.as_list_opt::<i32>()?;
                Values::List {
                    offsets: array.value_offsets(),
                    items: Box::new(Self::bind(array.values().as_ref(), item)?),
                }
            }
            ValueType::Map(key, value) => {
                let array = array.as_map_opt()?;
                Values::Map {
                    offsets: array.value_offsets(),
                    keys: Box::new(Self::bind(array.keys().as_ref(), key)?),
                    values: Box::new(Self::bind(array.values().as_ref(), value)?),
                }
            }
            ValueType::Struct(fields) => {
                let array = array.as_struct_opt()?;
                if array.num_columns() != fields.len() {
                    return None;
                }
                let columns = fields.iter().zip(array.columns());
                Values::Struct(
                    columns
                        .map(|((_, field), column)| Self::bind(column.as_ref(), field))
                        .collect::<Option<_>>()?,
                )
            }
            ValueType::Embedding(size) => {
                let array = array.as_fixed_size_list_opt()?;
                if array.value_length() != *size {
                    return None;
                }
                let numbers = array.values().as_primitive_opt::<Float32Type>()?;
                Values::Embedding {
                    size: embedding_size(*size),
                    numbers: numbers.values(),
                    nulls: numbers.nulls().filter(|nulls| nulls.null_count() > 0),
                }
            }
            _ => return None,
        );
        Some(Self {
            nulls: array.nulls().filter(|nulls| nulls.null_count() > 0),
            values,
            null_width: null_width(value_type),
        })
    }

    /// Whether a row is not null.
    #[inline]
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.nulls.is_none_or(|nulls| nulls.is_valid(row))
    }

    /// Writes one value of fixed width, which is not null, into its slot.
    #[inline]
    pub(crate) fn write_slot(&self, row: usize, slot: &mut [u8]) {
        match &self.values {
            Values::Numbers(numbers) => numbers.write(row, slot),
            Values::Bool(bits) => slot.fill(bits.value(row).into()),
            _ => {}
        }
    }
}

/// Whether the Arrow type is the one of the numbers, where several value types share a width.
fn is_same_number(value_type: &ValueType, found: &DataType) -> bool {
    match (value_type, found) {
        (ValueType::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, _)) => true,
        (value_type, found) => *found == value_type.to_arrow(),
    }
}
