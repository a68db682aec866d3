//! A few keys against what a file says of its columns: least and greatest values, and Bloom filters.
//!
//! Decides for whole numbers and strings alone, and only where the file's values all fit the declared
//! type: a value that does not is an error, which is told whatever keys are asked for.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::Type as PhysicalType;
use parquet::bloom_filter::Sbbf;
use provender_core::provider::WantedKeys;
use provender_core::{CastRule, ValueType};

/// With more keys than this a Bloom filter is likely to know one of them, or to think so.
const MOST_FILTERED: usize = 64;

/// The values of a key column that are asked for.
#[derive(Debug)]
pub(super) struct KeySet {
    column: String,
    declared: ValueType,
    values: Values,
}

/// Ascending.
#[derive(Debug)]
enum Values {
    Numbers(Vec<i128>),
    Texts(Vec<String>),
}

impl KeySet {
    /// `None` for keys of other types.
    pub(super) fn new(keys: &WantedKeys) -> Option<Self> {
        let array = &keys.values;
        let declared = ValueType::from_arrow(array.data_type())?;
        let rows = 0..array.len();
        let values = match array.data_type() {
            DataType::Utf8 => {
                let texts = rows.map(|row| text(array, row).map(str::to_owned));
                let mut texts = texts.collect::<Option<Vec<String>>>()?;
                texts.sort_unstable();
                Values::Texts(texts)
            }
            _ => {
                let mut numbers = rows
                    .map(|row| number(array, row))
                    .collect::<Option<Vec<_>>>()?;
                numbers.sort_unstable();
                Values::Numbers(numbers)
            }
        };
        Some(Self {
            column: keys.column.clone(),
            declared,
            values,
        })
    }

    pub(super) fn column(&self) -> &str {
        &self.column
    }

    /// Whether Bloom filters are worth being read.
    pub(super) fn are_few(&self) -> bool {
        match &self.values {
            Values::Numbers(values) => values.len() <= MOST_FILTERED,
            Values::Texts(values) => values.len() <= MOST_FILTERED,
        }
    }

    /// Whether none of the keys lies between the least and the greatest value, row `row` of arrays. If
    /// either is not known or of another kind, some key may.
    pub(super) fn misses(
        &self,
        min: Option<&ArrayRef>,
        max: Option<&ArrayRef>,
        row: usize,
    ) -> bool {
        let (Some(min), Some(max)) = (min, max) else {
            return false;
        };
        if !self.is_held(min.data_type()) {
            return false;
        }
        fn are_apart<T: PartialOrd>(values: &[T], min: &T, max: &T) -> bool {
            let first = values.partition_point(|value| value < min);
            values.get(first).is_none_or(|value| value > max)
        }
        match &self.values {
            Values::Numbers(values) => match (number(min, row), number(max, row)) {
                (Some(min), Some(max)) => are_apart(values, &min, &max),
                _ => false,
            },
            Values::Texts(values) => match (text(min, row), text(max, row)) {
                (Some(min), Some(max)) => {
                    let first = values.partition_point(|value| value.as_str() < min);
                    values.get(first).is_none_or(|value| value.as_str() > max)
                }
                _ => false,
            },
        }
    }

    /// The keys' column of a file, if it is of their kind.
    pub(super) fn leaf(&self, metadata: &ArrowReaderMetadata) -> Option<usize> {
        let field = metadata.schema().field_with_name(&self.column).ok()?;
        let is_held = self.is_held(field.data_type());
        let converter = StatisticsConverter::try_new(
            &self.column,
            metadata.schema(),
            metadata.parquet_schema(),
        );
        converter.ok().filter(|_| is_held)?.parquet_column_index()
    }

    /// Whether values of a type of the file are of the keys' kind and fit their declared type.
    fn is_held(&self, found: &DataType) -> bool {
        let is_alike = match self.values {
            Values::Numbers(_) => found.is_integer(),
            Values::Texts(_) => matches!(
                found,
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
            ),
        };
        is_alike && self.declared.cast_from(found) == CastRule::Lossless
    }

    /// Whether a filter of a column of this physical type may know one of the keys.
    pub(super) fn may_be_in(&self, filter: &Sbbf, physical: PhysicalType) -> bool {
        match (&self.values, physical) {
            // Numbers without a sign are spelled as those with one of the same bits. A key that does
            // not fit is not there.
            (Values::Numbers(values), PhysicalType::INT32) => values.iter().any(|&value| {
                let fits = i32::try_from(value).ok();
                fits.or_else(|| u32::try_from(value).ok().map(|value| value as i32))
                    .is_some_and(|value| filter.check(&value))
            }),
            (Values::Numbers(values), PhysicalType::INT64) => values.iter().any(|&value| {
                let fits = i64::try_from(value).ok();
                fits.or_else(|| u64::try_from(value).ok().map(|value| value as i64))
                    .is_some_and(|value| filter.check(&value))
            }),
            (Values::Texts(values), PhysicalType::BYTE_ARRAY) => {
                values.iter().any(|value| filter.check(value.as_str()))
            }
            _ => true,
        }
    }
}

/// A whole number; `None` if it is null or no whole number.
fn number(array: &ArrayRef, row: usize) -> Option<i128> {
    fn of<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &ArrayRef, row: usize) -> i128 {
        array.as_primitive::<T>().value(row).into()
    }
    if row >= array.len() || array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Int8 => of::<Int8Type>(array, row),
        DataType::Int16 => of::<Int16Type>(array, row),
        DataType::Int32 => of::<Int32Type>(array, row),
        DataType::Int64 => of::<Int64Type>(array, row),
        DataType::UInt8 => of::<UInt8Type>(array, row),
        DataType::UInt16 => of::<UInt16Type>(array, row),
        DataType::UInt32 => of::<UInt32Type>(array, row),
        DataType::UInt64 => of::<UInt64Type>(array, row),
        _ => return None,
    })
}

/// A string; `None` if it is null or no string.
fn text(array: &ArrayRef, row: usize) -> Option<&str> {
    if row >= array.len() || array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8View => array.as_string_view().value(row),
        _ => return None,
    })
}
