//! Values in JSON as columns of declared types.
//!
//! Decides how each type is spelled: whole numbers and decimals as number or string, so that 64 bits
//! survive clients that read numbers as floats; floats also as "NaN", "Infinity" and "-Infinity";
//! timestamps as RFC 3339 or whole microseconds; dates as ISO; binary as base64; null anywhere.

use std::str::FromStr;
use std::sync::Arc;

use arrow_array::types::Decimal128Type;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, FixedSizeListArray,
    Float32Array, ListArray, MapArray, PrimitiveArray, StringArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::parse::parse_decimal;
use arrow_schema::DataType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use provender_core::time::{UTC, parse_instant};
use provender_core::{Error, Result, ValueType, codes};
use serde_json::Value;

/// The column of some values. `field` is the field's path, for messages.
///
/// # Errors
/// `InvalidArgument` (`P406`) that names the field, the row, the value and what was expected.
pub fn column(value_type: &ValueType, values: &[&Value], field: &str) -> Result<ArrayRef> {
    let reader = Reader { value_type, field };
    Ok(match value_type {
        ValueType::Bool => Arc::new(
            reader
                .scalars(values, Value::as_bool)?
                .into_iter()
                .collect::<BooleanArray>(),
        ),
        ValueType::Int8 => reader.whole::<Int8Type>(values)?,
        ValueType::Int16 => reader.whole::<Int16Type>(values)?,
        ValueType::Int32 => reader.whole::<Int32Type>(values)?,
        ValueType::Int64 => reader.whole::<Int64Type>(values)?,
        ValueType::UInt8 => reader.whole::<UInt8Type>(values)?,
        ValueType::UInt16 => reader.whole::<UInt16Type>(values)?,
        ValueType::UInt32 => reader.whole::<UInt32Type>(values)?,
        ValueType::UInt64 => reader.whole::<UInt64Type>(values)?,
        ValueType::Float32 => Arc::new(PrimitiveArray::<Float32Type>::from(
            reader.scalars(values, |value| float(value).map(|value| value as f32))?,
        )),
        ValueType::Float64 => Arc::new(PrimitiveArray::<Float64Type>::from(
            reader.scalars(values, float)?,
        )),
        ValueType::Decimal(precision, scale) => {
            let digits = reader.scalars(values, |value| decimal(value, *precision, *scale))?;
            let array = Decimal128Array::from(digits);
            Arc::new(
                array
                    .with_precision_and_scale(*precision, *scale)
                    .map_err(|error| reader.defect(error))?,
            )
        }
        ValueType::String => Arc::new(StringArray::from(
            reader.scalars(values, |value| value.as_str())?,
        )),
        ValueType::Json => {
            // JSON within JSON is the value itself, or the text that a string holds.
            let texts = reader.scalars(values, |value| {
                Some(
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned),
                )
            })?;
            Arc::new(StringArray::from(texts))
        }
        ValueType::Binary => {
            let bytes = reader.scalars(values, |value| STANDARD.decode(value.as_str()?).ok())?;
            Arc::new(bytes.into_iter().collect::<BinaryArray>())
        }
        ValueType::Date => Arc::new(PrimitiveArray::<Date32Type>::from(
            reader.scalars(values, date)?,
        )),
        ValueType::Timestamp => {
            let instants = reader.scalars(values, instant)?;
            Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(instants).with_timezone(UTC))
        }
        ValueType::List(item) => {
            let lists = reader.scalars(values, Value::as_array)?;
            let (offsets, nulls, items) = flatten(&lists);
            let items = column(item, &items, field)?;
            let item = Arc::new(item.to_field("item"));
            Arc::new(
                ListArray::try_new(item, offsets, items, nulls)
                    .map_err(|error| reader.defect(error))?,
            )
        }
        ValueType::Embedding(size) => {
            let lists = reader.scalars(values, |value| {
                value
                    .as_array()
                    .filter(|list| i32::try_from(list.len()) == Ok(*size))
            })?;
            let n_numbers = usize::try_from(*size).unwrap_or_default();
            let absent = vec![Value::Null; n_numbers];
            let numbers: Vec<&Value> = lists
                .iter()
                .flat_map(|list| list.map_or(absent.as_slice(), Vec::as_slice))
                .collect();
            let numbers = Reader {
                value_type: &ValueType::Float32,
                field,
            }
            .scalars(&numbers, |value| float(value).map(|value| value as f32))?;
            let nulls = NullBuffer::from_iter(lists.iter().map(Option::is_some));
            let DataType::FixedSizeList(item, _) = value_type.to_arrow() else {
                return Err(reader.defect("an embedding is a fixed-size list"));
            };
            let numbers = Arc::new(Float32Array::from(numbers));
            Arc::new(
                FixedSizeListArray::try_new(item, *size, numbers, Some(nulls))
                    .map_err(|error| reader.defect(error))?,
            )
        }
        ValueType::Struct(fields) => {
            let objects = reader.scalars(values, Value::as_object)?;
            for object in objects.iter().flatten() {
                if let Some(name) = object
                    .keys()
                    .find(|name| !fields.iter().any(|(known, _)| known == *name))
                {
                    return Err(bad(format!("{field} has the unknown field {name:?}"))
                        .help(format!("expected is {value_type}")));
                }
            }
            let columns = fields
                .iter()
                .map(|(name, value_type)| {
                    let members: Vec<&Value> = objects
                        .iter()
                        .map(|object| {
                            object
                                .and_then(|object| object.get(name))
                                .unwrap_or(&Value::Null)
                        })
                        .collect();
                    column(value_type, &members, &format!("{field}.{name}"))
                })
                .collect::<Result<Vec<_>>>()?;
            let DataType::Struct(arrow_fields) = value_type.to_arrow() else {
                return Err(reader.defect("a struct is a struct"));
            };
            let nulls = NullBuffer::from_iter(objects.iter().map(Option::is_some));
            Arc::new(
                StructArray::try_new_with_length(arrow_fields, columns, Some(nulls), values.len())
                    .map_err(|error| reader.defect(error))?,
            )
        }
        ValueType::Map(key, item) => reader.map(values, key, item)?,
        other => {
            return Err(Error::new(
                &codes::UNSUPPORTED,
                format!("{field} is {other}, which JSON commands cannot carry"),
            ));
        }
    })
}

/// Reads values of one type for one field.
struct Reader<'a> {
    value_type: &'a ValueType,
    field: &'a str,
}

impl Reader<'_> {
    /// Each value read by `read`, null where it is null.
    fn scalars<'v, T>(
        &self,
        values: &[&'v Value],
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Vec<Option<T>>> {
        let mut found = Vec::with_capacity(values.len());
        for (row, value) in values.iter().enumerate() {
            found.push(match value {
                Value::Null => None,
                value => Some(read(value).ok_or_else(|| self.misfit(row, value))?),
            });
        }
        Ok(found)
    }

    fn whole<T: ArrowPrimitiveType>(&self, values: &[&Value]) -> Result<ArrayRef>
    where
        T::Native: FromStr + TryFrom<i64> + TryFrom<u64>,
    {
        let numbers = self.scalars(values, |value| match value {
            // 1.0 and 1e3 are not taken for whole numbers.
            Value::Number(number) => match number.as_i64() {
                Some(number) => number.try_into().ok(),
                None => number.as_u64()?.try_into().ok(),
            },
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        })?;
        let mut builder = PrimitiveArray::<T>::builder(numbers.len());
        numbers
            .into_iter()
            .for_each(|number| builder.append_option(number));
        Ok(Arc::new(builder.finish()))
    }

    /// An object (string keys) or a list of `[key, value]` pairs.
    fn map(&self, values: &[&Value], key: &ValueType, item: &ValueType) -> Result<ArrayRef> {
        let mut keys: Vec<Value> = Vec::new();
        let mut items: Vec<&Value> = Vec::new();
        let mut lengths = Vec::with_capacity(values.len());
        for (row, value) in values.iter().enumerate() {
            let before = keys.len();
            match value {
                Value::Null => {}
                Value::Object(object) => {
                    for (name, value) in object {
                        keys.push(Value::from(name.as_str()));
                        items.push(value);
                    }
                }
                Value::Array(pairs) => {
                    for pair in pairs {
                        let Some([key, value]) = pair.as_array().map(Vec::as_slice) else {
                            return Err(self.misfit(row, pair));
                        };
                        keys.push(key.clone());
                        items.push(value);
                    }
                }
                other => return Err(self.misfit(row, other)),
            }
            lengths.push(keys.len() - before);
        }
        let keys: Vec<&Value> = keys.iter().collect();
        let keys = column(key, &keys, self.field)?;
        let items = column(item, &items, self.field)?;
        let DataType::Map(entries_field, _) = self.value_type.to_arrow() else {
            return Err(self.defect("a map is a map"));
        };
        let DataType::Struct(fields) = entries_field.data_type().clone() else {
            return Err(self.defect("entries are a struct"));
        };
        let entries = StructArray::try_new(fields, vec![keys, items], None)
            .map_err(|_| bad(format!("{} has a map with a null key", self.field)))?;
        let nulls = NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let map = MapArray::try_new(entries_field, offsets, entries, Some(nulls), false)
            .map_err(|error| self.defect(error))?;
        Ok(Arc::new(map))
    }

    fn misfit(&self, row: usize, value: &Value) -> Error {
        let mut text = value.to_string();
        if text.len() > 60 {
            text = text.chars().take(57).chain("...".chars()).collect();
        }
        let error = bad(format!(
            "{} has {text} in row {row}, and {} was expected",
            self.field,
            spelling(self.value_type)
        ));
        match self.value_type {
            ValueType::List(_) | ValueType::Embedding(_) => {
                error.help("send an array that has one list for each row")
            }
            _ => error,
        }
    }

    fn defect(&self, error: impl std::fmt::Display) -> Error {
        Error::new(
            &codes::INTERNAL,
            format!(
                "{} cannot be made a column of {}: {error}",
                self.field, self.value_type
            ),
        )
    }
}

/// Offsets, nulls and all items of lists.
fn flatten<'v>(
    lists: &[Option<&'v Vec<Value>>],
) -> (OffsetBuffer<i32>, Option<NullBuffer>, Vec<&'v Value>) {
    let lengths = lists.iter().map(|list| list.map_or(0, Vec::len));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = NullBuffer::from_iter(lists.iter().map(Option::is_some));
    let items = lists
        .iter()
        .flatten()
        .flat_map(|list| list.iter())
        .collect();
    (offsets, Some(nulls), items)
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn decimal(value: &Value, precision: u8, scale: i8) -> Option<i128> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    // More digits than the scale would be rounded, which loses what was sent.
    let digits_after = text
        .split_once('.')
        .map_or(0, |(_, digits)| digits.trim_end_matches('0').len());
    if text.contains(['e', 'E']) || i8::try_from(digits_after).map_or(true, |found| found > scale) {
        return None;
    }
    parse_decimal::<Decimal128Type>(&text, precision, scale).ok()
}

fn date(value: &Value) -> Option<i32> {
    let text = value.as_str()?;
    // A date alone: a time of day would be dropped.
    if text.len() != "2026-01-01".len() {
        return None;
    }
    let midnight_us = parse_instant(text).ok()?;
    i32::try_from(midnight_us.div_euclid(provender_core::time::DAY_US)).ok()
}

fn instant(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => parse_instant(text).ok(),
        _ => None,
    }
}

/// How a type is spelled, for messages.
fn spelling(value_type: &ValueType) -> String {
    match value_type {
        ValueType::Timestamp => "RFC 3339 or whole microseconds".to_owned(),
        ValueType::Date => "a date such as \"2026-01-31\"".to_owned(),
        ValueType::Binary => "base64".to_owned(),
        ValueType::Float32 | ValueType::Float64 => {
            format!("{value_type} (a number, \"NaN\", \"Infinity\" or \"-Infinity\")")
        }
        other if other.is_integer() => format!("{other} (a whole number, or a string of one)"),
        other => other.to_string(),
    }
}

fn bad(message: String) -> Error {
    Error::new(&codes::BAD_REQUEST, message)
}
