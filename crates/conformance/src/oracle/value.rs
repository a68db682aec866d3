//! One cell, owned.

use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use provender_core::time::DAY_US;

/// One cell, whatever encoding its column has. Whole numbers of all widths are [`Value::Int`];
/// strings, dictionaries and views of strings are [`Value::String`]; lists of all kinds are
/// [`Value::List`].
#[derive(Clone)]
#[allow(missing_docs)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float32(f32),
    Float64(f64),
    /// The unscaled number and its scale.
    Decimal(i128, i8),
    String(String),
    Binary(Vec<u8>),
    /// Days since the epoch.
    Date(i32),
    /// Microseconds since the epoch, floored.
    Timestamp(i64),
    List(Vec<Value>),
    Struct(Vec<(String, Value)>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// Reads one cell of a column of any encoding that a value type can have.
    ///
    /// # Errors
    /// A text that names the column's type if no value type holds it, or a time beyond microseconds.
    pub fn read(column: &dyn Array, row: usize) -> Result<Self, String> {
        if let DataType::Dictionary(_, _) = column.data_type() {
            let dictionary = column.as_any_dictionary();
            return match Self::read(dictionary.keys(), row)? {
                Self::Int(key) => Self::read(dictionary.values().as_ref(), key as usize),
                _ => Ok(Self::Null),
            };
        }
        if *column.data_type() == DataType::Null || column.is_null(row) {
            return Ok(Self::Null);
        }
        Ok(match column.data_type() {
            DataType::Boolean => Self::Bool(column.as_boolean().value(row)),
            DataType::Int8 => Self::Int(column.as_primitive::<Int8Type>().value(row).into()),
            DataType::Int16 => Self::Int(column.as_primitive::<Int16Type>().value(row).into()),
            DataType::Int32 => Self::Int(column.as_primitive::<Int32Type>().value(row).into()),
            DataType::Int64 => Self::Int(column.as_primitive::<Int64Type>().value(row).into()),
            DataType::UInt8 => Self::Int(column.as_primitive::<UInt8Type>().value(row).into()),
            DataType::UInt16 => Self::Int(column.as_primitive::<UInt16Type>().value(row).into()),
            DataType::UInt32 => Self::Int(column.as_primitive::<UInt32Type>().value(row).into()),
            DataType::UInt64 => Self::Int(column.as_primitive::<UInt64Type>().value(row).into()),
            DataType::Float16 => {
                Self::Float32(column.as_primitive::<Float16Type>().value(row).to_f32())
            }
            DataType::Float32 => Self::Float32(column.as_primitive::<Float32Type>().value(row)),
            DataType::Float64 => Self::Float64(column.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal32(_, scale) => Self::Decimal(
                column.as_primitive::<Decimal32Type>().value(row).into(),
                *scale,
            ),
            DataType::Decimal64(_, scale) => Self::Decimal(
                column.as_primitive::<Decimal64Type>().value(row).into(),
                *scale,
            ),
            DataType::Decimal128(_, scale) => {
                Self::Decimal(column.as_primitive::<Decimal128Type>().value(row), *scale)
            }
            DataType::Decimal256(_, scale) => {
                let wide = column.as_primitive::<Decimal256Type>().value(row);
                let unscaled = wide
                    .to_i128()
                    .ok_or_else(|| format!("the decimal {wide} does not fit 128 bits"))?;
                Self::Decimal(unscaled, *scale)
            }
            DataType::Utf8 => Self::String(column.as_string::<i32>().value(row).to_owned()),
            DataType::LargeUtf8 => Self::String(column.as_string::<i64>().value(row).to_owned()),
            DataType::Utf8View => Self::String(column.as_string_view().value(row).to_owned()),
            DataType::Binary => Self::Binary(column.as_binary::<i32>().value(row).to_owned()),
            DataType::LargeBinary => Self::Binary(column.as_binary::<i64>().value(row).to_owned()),
            DataType::BinaryView => Self::Binary(column.as_binary_view().value(row).to_owned()),
            DataType::FixedSizeBinary(_) => {
                Self::Binary(column.as_fixed_size_binary().value(row).to_owned())
            }
            DataType::Date32 => Self::Date(column.as_primitive::<Date32Type>().value(row)),
            DataType::Date64 => scaled(column.as_primitive::<Date64Type>().value(row), 1_000)?,
            DataType::Timestamp(unit, _) => read_timestamp(column, *unit, row)?,
            DataType::List(_) => list(&column.as_list::<i32>().value(row))?,
            DataType::LargeList(_) => list(&column.as_list::<i64>().value(row))?,
            DataType::ListView(_) => list(&column.as_list_view::<i32>().value(row))?,
            DataType::LargeListView(_) => list(&column.as_list_view::<i64>().value(row))?,
            DataType::FixedSizeList(_, _) => list(&column.as_fixed_size_list().value(row))?,
            DataType::Struct(fields) => {
                let columns = column.as_struct().columns();
                let mut values = Vec::new();
                for (field, column) in fields.iter().zip(columns) {
                    values.push((field.name().clone(), Self::read(column.as_ref(), row)?));
                }
                Self::Struct(values)
            }
            DataType::Map(_, _) => {
                let entries = column.as_map().value(row);
                let mut values = Vec::new();
                for entry in 0..entries.len() {
                    values.push((
                        Self::read(entries.column(0).as_ref(), entry)?,
                        Self::read(entries.column(1).as_ref(), entry)?,
                    ));
                }
                Self::Map(values)
            }
            other => return Err(format!("no value type holds the Arrow type {other}")),
        })
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether two cells are the same bit for bit: 0.0 is not -0.0, and a NaN only itself.
    pub fn is_identical(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float32(a), Self::Float32(b)) => a.to_bits() == b.to_bits(),
            (Self::Float64(a), Self::Float64(b)) => a.to_bits() == b.to_bits(),
            (Self::Decimal(a, a_scale), Self::Decimal(b, b_scale)) => a == b && a_scale == b_scale,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Binary(a), Self::Binary(b)) => a == b,
            (Self::Date(a), Self::Date(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_identical(b))
            }
            (Self::Struct(a), Self::Struct(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|((a_name, a), (b_name, b))| a_name == b_name && a.is_identical(b))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|((a_key, a), (b_key, b))| {
                        a_key.is_identical(b_key) && a.is_identical(b)
                    })
            }
            _ => false,
        }
    }

    /// The instant of a timestamp or of a date's midnight, in microseconds; `None` for null.
    ///
    /// # Errors
    /// A text if this is no time, or a date beyond what 64 bits of microseconds hold.
    pub fn instant_us(&self) -> Result<Option<i64>, String> {
        match self {
            Self::Null => Ok(None),
            Self::Timestamp(us) => Ok(Some(*us)),
            Self::Date(days) => i64::from(*days)
                .checked_mul(DAY_US)
                .map(Some)
                .ok_or_else(|| format!("day {days} is beyond the range of microseconds")),
            other => Err(format!("{other:?} is no time")),
        }
    }
}

fn read_timestamp(column: &dyn Array, unit: TimeUnit, row: usize) -> Result<Value, String> {
    match unit {
        TimeUnit::Second => scaled(
            column.as_primitive::<TimestampSecondType>().value(row),
            1_000_000,
        ),
        TimeUnit::Millisecond => scaled(
            column.as_primitive::<TimestampMillisecondType>().value(row),
            1_000,
        ),
        TimeUnit::Microsecond => Ok(Value::Timestamp(
            column.as_primitive::<TimestampMicrosecondType>().value(row),
        )),
        TimeUnit::Nanosecond => Ok(Value::Timestamp(
            column
                .as_primitive::<TimestampNanosecondType>()
                .value(row)
                .div_euclid(1_000),
        )),
    }
}

fn scaled(value: i64, factor: i64) -> Result<Value, String> {
    value
        .checked_mul(factor)
        .map(Value::Timestamp)
        .ok_or_else(|| format!("the time {value} (x {factor} us) is beyond microseconds"))
}

fn list(items: &ArrayRef) -> Result<Value, String> {
    (0..items.len())
        .map(|item| Value::read(items.as_ref(), item))
        .collect::<Result<_, _>>()
        .map(Value::List)
}

/// Values for messages: floats with their sign, so that -0.0 and NaNs can be told apart.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float32(value) if value.is_nan() => write!(f, "NaN({:#x})", value.to_bits()),
            Self::Float64(value) if value.is_nan() => write!(f, "NaN({:#x})", value.to_bits()),
            Self::Float32(value) => write!(f, "{value:?}f32"),
            Self::Float64(value) => write!(f, "{value:?}f64"),
            Self::Decimal(unscaled, scale) => write!(f, "decimal {unscaled}e-{scale}"),
            Self::String(value) => write!(f, "{value:?}"),
            Self::Binary(value) => write!(f, "b\"{}\"", value.escape_ascii()),
            Self::Date(days) => write!(f, "day {days}"),
            Self::Timestamp(us) => write!(f, "{us}us"),
            Self::List(items) => f.debug_list().entries(items).finish(),
            Self::Struct(fields) => f
                .debug_map()
                .entries(fields.iter().map(|(name, value)| (name, value)))
                .finish(),
            Self::Map(entries) => f
                .debug_map()
                .entries(entries.iter().map(|(key, value)| (key, value)))
                .finish(),
        }
    }
}
