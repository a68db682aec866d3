//! Columns of any Arrow type from values.

use std::sync::Arc;

use arrow_array::types::Float16Type;
use arrow_array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array,
    Decimal64Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray, FixedSizeListArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeBinaryArray,
    LargeListArray, LargeListViewArray, LargeStringArray, ListArray, ListViewArray, MapArray,
    NullArray, PrimitiveArray, StringArray, StringViewArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use provender_core::time::DAY_US;

use crate::oracle::Value;

/// A column of the given type. A value that the type cannot hold becomes null; times are floored to
/// the type's unit, and nanoseconds get digits below the microsecond that differ from row to row.
///
/// # Errors
/// A text for an Arrow type that no value type holds, and for nulls where a nested field forbids them.
pub fn build(data_type: &DataType, values: &[Value]) -> Result<ArrayRef, String> {
    build_array(data_type, values).map_err(|error| format!("{data_type}: {error}"))
}

macro_rules! integers {
    ($array:ty, $native:ty, $values:expr) => {
        Arc::new(
            $values
                .iter()
                .map(|value| match value {
                    Value::Int(int) => <$native>::try_from(*int).ok(),
                    _ => None,
                })
                .collect::<$array>(),
        )
    };
}

macro_rules! texts {
    ($array:ty, $variant:path, $values:expr) => {
        Arc::new(
            $values
                .iter()
                .map(|value| match value {
                    $variant(text) => Some(text.as_slice_or_text()),
                    _ => None,
                })
                .collect::<$array>(),
        )
    };
}

trait AsSliceOrText {
    type Text: ?Sized;
    fn as_slice_or_text(&self) -> &Self::Text;
}

impl AsSliceOrText for String {
    type Text = str;
    fn as_slice_or_text(&self) -> &str {
        self
    }
}

impl AsSliceOrText for Vec<u8> {
    type Text = [u8];
    fn as_slice_or_text(&self) -> &[u8] {
        self
    }
}

fn build_array(data_type: &DataType, values: &[Value]) -> Result<ArrayRef, ArrowError> {
    Ok(match data_type {
        DataType::Null => Arc::new(NullArray::new(values.len())),
        DataType::Boolean => Arc::new(
            values
                .iter()
                .map(|value| match value {
                    Value::Bool(value) => Some(*value),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        DataType::Int8 => integers!(Int8Array, i8, values),
        DataType::Int16 => integers!(Int16Array, i16, values),
        DataType::Int32 => integers!(Int32Array, i32, values),
        DataType::Int64 => integers!(Int64Array, i64, values),
        DataType::UInt8 => integers!(UInt8Array, u8, values),
        DataType::UInt16 => integers!(UInt16Array, u16, values),
        DataType::UInt32 => integers!(UInt32Array, u32, values),
        DataType::UInt64 => integers!(UInt64Array, u64, values),
        DataType::Float16 => {
            let floats = float32s(values);
            Arc::new(floats.unary::<_, Float16Type>(|float| {
                <Float16Type as arrow_array::ArrowPrimitiveType>::Native::from_f32(float)
            }))
        }
        DataType::Float32 => Arc::new(float32s(values)),
        DataType::Float64 => Arc::new(
            values
                .iter()
                .map(|value| match value {
                    Value::Float64(float) => Some(*float),
                    Value::Float32(float) => Some(f64::from(*float)),
                    _ => None,
                })
                .collect::<Float64Array>(),
        ),
        DataType::Decimal32(p, s) => Arc::new(
            decimals(values, *p, *s)
                .map(|unscaled| unscaled.and_then(|unscaled| i32::try_from(unscaled).ok()))
                .collect::<Decimal32Array>()
                .with_precision_and_scale(*p, *s)?,
        ),
        DataType::Decimal64(p, s) => Arc::new(
            decimals(values, *p, *s)
                .map(|unscaled| unscaled.and_then(|unscaled| i64::try_from(unscaled).ok()))
                .collect::<Decimal64Array>()
                .with_precision_and_scale(*p, *s)?,
        ),
        DataType::Decimal128(p, s) => Arc::new(
            decimals(values, *p, *s)
                .collect::<Decimal128Array>()
                .with_precision_and_scale(*p, *s)?,
        ),
        DataType::Decimal256(p, s) => Arc::new(
            decimals(values, *p, *s)
                .map(|unscaled| unscaled.map(i256::from_i128))
                .collect::<Decimal256Array>()
                .with_precision_and_scale(*p, *s)?,
        ),
        DataType::Utf8 => texts!(StringArray, Value::String, values),
        DataType::LargeUtf8 => texts!(LargeStringArray, Value::String, values),
        DataType::Utf8View => texts!(StringViewArray, Value::String, values),
        DataType::Binary => texts!(BinaryArray, Value::Binary, values),
        DataType::LargeBinary => texts!(LargeBinaryArray, Value::Binary, values),
        DataType::BinaryView => texts!(BinaryViewArray, Value::Binary, values),
        DataType::FixedSizeBinary(size) => {
            let width = usize::try_from(*size).unwrap_or_default();
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                values.iter().map(|value| match value {
                    Value::Binary(bytes) if bytes.len() == width => Some(bytes),
                    _ => None,
                }),
                *size,
            )?)
        }
        DataType::Date32 => Arc::new(
            instants(values)
                .map(|us| us.and_then(|us| i32::try_from(us.div_euclid(DAY_US)).ok()))
                .collect::<Date32Array>(),
        ),
        DataType::Date64 => Arc::new(
            instants(values)
                .map(|us| us.map(|us| us.div_euclid(DAY_US) * (DAY_US / 1_000)))
                .collect::<Date64Array>(),
        ),
        DataType::Timestamp(unit, zone) => timestamps(*unit, zone.clone(), values),
        DataType::Dictionary(_, value) => {
            let plain = build_array(value, values)?;
            arrow_cast::cast(&plain, data_type)?
        }
        DataType::List(item) => {
            let (lengths, items, nulls) = lists(values);
            Arc::new(ListArray::try_new(
                item.clone(),
                OffsetBuffer::from_lengths(lengths),
                build_array(item.data_type(), &items)?,
                nulls,
            )?)
        }
        DataType::LargeList(item) => {
            let (lengths, items, nulls) = lists(values);
            Arc::new(LargeListArray::try_new(
                item.clone(),
                OffsetBuffer::from_lengths(lengths),
                build_array(item.data_type(), &items)?,
                nulls,
            )?)
        }
        DataType::ListView(item) => {
            let (lengths, items, nulls) = lists(values);
            let sizes = lengths.iter().map(|length| *length as i32).collect();
            Arc::new(ListViewArray::try_new(
                item.clone(),
                starts(&lengths).map(|start| start as i32).collect(),
                sizes,
                build_array(item.data_type(), &items)?,
                nulls,
            )?)
        }
        DataType::LargeListView(item) => {
            let (lengths, items, nulls) = lists(values);
            let sizes: ScalarBuffer<i64> = lengths.iter().map(|length| *length as i64).collect();
            Arc::new(LargeListViewArray::try_new(
                item.clone(),
                starts(&lengths).map(|start| start as i64).collect(),
                sizes,
                build_array(item.data_type(), &items)?,
                nulls,
            )?)
        }
        DataType::FixedSizeList(item, size) => {
            let width = usize::try_from(*size).unwrap_or_default();
            let mut items = Vec::new();
            let mut present = Vec::new();
            for value in values {
                match value {
                    Value::List(values) if values.len() == width => {
                        items.extend(values.iter().cloned());
                        present.push(true);
                    }
                    _ => {
                        items.extend(std::iter::repeat_n(padding(item.data_type()), width));
                        present.push(false);
                    }
                }
            }
            Arc::new(FixedSizeListArray::try_new(
                item.clone(),
                *size,
                build_array(item.data_type(), &items)?,
                Some(NullBuffer::from(present)),
            )?)
        }
        DataType::Struct(fields) => {
            let mut columns = Vec::new();
            for (at, field) in fields.iter().enumerate() {
                let children: Vec<Value> = values
                    .iter()
                    .map(|value| match value {
                        Value::Struct(children) => children[at].1.clone(),
                        _ => Value::Null,
                    })
                    .collect();
                columns.push(build_array(field.data_type(), &children)?);
            }
            let present: Vec<bool> = values.iter().map(|value| !value.is_null()).collect();
            Arc::new(StructArray::try_new(
                fields.clone(),
                columns,
                Some(NullBuffer::from(present)),
            )?)
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError("a map of no struct".to_owned()));
            };
            let (mut keys, mut items, mut lengths, mut present) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for value in values {
                let pairs: &[(Value, Value)] = match value {
                    Value::Map(pairs) => pairs,
                    _ => &[],
                };
                lengths.push(pairs.len());
                present.push(!value.is_null());
                for (key, item) in pairs {
                    keys.push(key.clone());
                    items.push(item.clone());
                }
            }
            let columns = vec![
                build_array(fields[0].data_type(), &keys)?,
                build_array(fields[1].data_type(), &items)?,
            ];
            Arc::new(MapArray::try_new(
                entries.clone(),
                OffsetBuffer::from_lengths(lengths),
                StructArray::try_new(fields.clone(), columns, None)?,
                Some(NullBuffer::from(present)),
                *sorted,
            )?)
        }
        other => {
            return Err(ArrowError::NotYetImplemented(format!(
                "no values of the type {other}"
            )));
        }
    })
}

fn float32s(values: &[Value]) -> Float32Array {
    values
        .iter()
        .map(|value| match value {
            Value::Float32(float) => Some(*float),
            Value::Float64(float) => Some(*float as f32),
            _ => None,
        })
        .collect()
}

fn decimals(values: &[Value], precision: u8, scale: i8) -> impl Iterator<Item = Option<i128>> {
    let limit = 10_i128.checked_pow(precision.into()).unwrap_or(i128::MAX);
    values.iter().map(move |value| {
        let unscaled = match value {
            Value::Decimal(unscaled, from) if *from == scale => *unscaled,
            Value::Int(int) => int.checked_mul(10_i128.checked_pow(u32::try_from(scale).ok()?)?)?,
            _ => return None,
        };
        (unscaled.abs() < limit).then_some(unscaled)
    })
}

fn instants(values: &[Value]) -> impl Iterator<Item = Option<i64>> {
    values.iter().map(|value| value.instant_us().ok().flatten())
}

fn timestamps(unit: TimeUnit, zone: Option<Arc<str>>, values: &[Value]) -> ArrayRef {
    fn zoned<T: arrow_array::types::ArrowTimestampType>(
        array: PrimitiveArray<T>,
        zone: Option<Arc<str>>,
    ) -> ArrayRef {
        Arc::new(array.with_timezone_opt(zone))
    }
    let instants = instants(values);
    match unit {
        TimeUnit::Second => zoned(
            instants
                .map(|us| us.map(|us| us.div_euclid(1_000_000)))
                .collect::<TimestampSecondArray>(),
            zone,
        ),
        TimeUnit::Millisecond => zoned(
            instants
                .map(|us| us.map(|us| us.div_euclid(1_000)))
                .collect::<TimestampMillisecondArray>(),
            zone,
        ),
        TimeUnit::Microsecond => zoned(instants.collect::<TimestampMicrosecondArray>(), zone),
        TimeUnit::Nanosecond => zoned(
            instants
                .enumerate()
                .map(|(row, us)| {
                    us?.checked_mul(1_000)?
                        .checked_add((row * 37 % 1_000) as i64)
                })
                .collect::<TimestampNanosecondArray>(),
            zone,
        ),
    }
}

/// Lengths and items of lists laid one after the other, and which lists are there.
fn lists(values: &[Value]) -> (Vec<usize>, Vec<Value>, Option<NullBuffer>) {
    let (mut lengths, mut items, mut present) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        match value {
            Value::List(values) => {
                lengths.push(values.len());
                items.extend(values.iter().cloned());
                present.push(true);
            }
            _ => {
                lengths.push(0);
                present.push(false);
            }
        }
    }
    (lengths, items, Some(NullBuffer::from(present)))
}

fn starts(lengths: &[usize]) -> impl Iterator<Item = usize> {
    lengths.iter().scan(0, |end, length| {
        let start = *end;
        *end += length;
        Some(start)
    })
}

/// What stands under a null list of fixed size, whose items may not be null themselves.
fn padding(data_type: &DataType) -> Value {
    match data_type {
        DataType::Float32 => Value::Float32(0.0),
        DataType::Float64 => Value::Float64(0.0),
        _ => Value::Null,
    }
}
