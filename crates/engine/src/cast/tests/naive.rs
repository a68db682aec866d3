//! The cast of single values by way of their decimal text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_schema::{DataType, TimeUnit};
use provender_core::ValueType;
use provender_core::time::DAY_US;

/// One value, whatever array it was in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Whole(i128),
    F32(u32),
    F64(u64),
    /// Digits as text with the point in its place.
    Decimal(String),
    Text(String),
    Bytes(Vec<u8>),
    Date(i32),
    /// Floored, of any size.
    Us(i128),
    TimeNs(i64),
    List(Vec<Scalar>),
    Struct(Vec<Scalar>),
    Map(Vec<(Scalar, Scalar)>),
}

fn decimal_text(value: i128, scale: i8) -> String {
    let scale = scale as usize;
    let digits = format!("{:0>1$}", value.unsigned_abs(), scale + 1);
    let sign = if value < 0 { "-" } else { "" };
    let split = digits.len() - scale;
    match scale {
        0 => format!("{sign}{digits}"),
        _ => format!("{sign}{}.{}", &digits[..split], &digits[split..]),
    }
}

fn list(values: &ArrayRef) -> Scalar {
    Scalar::List((0..values.len()).map(|row| scalar(values, row)).collect())
}

pub(super) fn scalar(array: &ArrayRef, row: usize) -> Scalar {
    macro_rules! value {
        ($t:ty) => {
            array.as_primitive::<$t>().value(row)
        };
    }
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Scalar::Null;
    }
    match array.data_type() {
        DataType::Boolean => Scalar::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Scalar::Whole(value!(Int8Type).into()),
        DataType::Int16 => Scalar::Whole(value!(Int16Type).into()),
        DataType::Int32 => Scalar::Whole(value!(Int32Type).into()),
        DataType::Int64 => Scalar::Whole(value!(Int64Type).into()),
        DataType::UInt8 => Scalar::Whole(value!(UInt8Type).into()),
        DataType::UInt16 => Scalar::Whole(value!(UInt16Type).into()),
        DataType::UInt32 => Scalar::Whole(value!(UInt32Type).into()),
        DataType::UInt64 => Scalar::Whole(value!(UInt64Type).into()),
        DataType::Float16 => Scalar::F32(value!(Float16Type).to_f32().to_bits()),
        DataType::Float32 => Scalar::F32(value!(Float32Type).to_bits()),
        DataType::Float64 => Scalar::F64(value!(Float64Type).to_bits()),
        DataType::Decimal32(_, s) => {
            Scalar::Decimal(decimal_text(value!(Decimal32Type).into(), *s))
        }
        DataType::Decimal64(_, s) => {
            Scalar::Decimal(decimal_text(value!(Decimal64Type).into(), *s))
        }
        DataType::Decimal128(_, s) => Scalar::Decimal(decimal_text(value!(Decimal128Type), *s)),
        DataType::Decimal256(_, s) => {
            let value = value!(Decimal256Type).to_i128().unwrap();
            Scalar::Decimal(decimal_text(value, *s))
        }
        DataType::Date32 => Scalar::Date(value!(Date32Type)),
        DataType::Date64 => Scalar::Us(i128::from(value!(Date64Type)) * 1_000),
        DataType::Time32(_) => Scalar::TimeNs(i64::from(value!(Time32SecondType)) * 1_000_000_000),
        DataType::Time64(_) => Scalar::TimeNs(value!(Time64NanosecondType)),
        DataType::Timestamp(TimeUnit::Second, _) => {
            Scalar::Us(i128::from(value!(TimestampSecondType)) * 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Scalar::Us(i128::from(value!(TimestampMillisecondType)) * 1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Scalar::Us(value!(TimestampMicrosecondType).into())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Scalar::Us(i128::from(value!(TimestampNanosecondType)).div_euclid(1_000))
        }
        DataType::Utf8 => Scalar::Text(array.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => Scalar::Text(array.as_string::<i64>().value(row).into()),
        DataType::Utf8View => Scalar::Text(array.as_string_view().value(row).into()),
        DataType::Binary => Scalar::Bytes(array.as_binary::<i32>().value(row).into()),
        DataType::LargeBinary => Scalar::Bytes(array.as_binary::<i64>().value(row).into()),
        DataType::BinaryView => Scalar::Bytes(array.as_binary_view().value(row).into()),
        DataType::FixedSizeBinary(_) => {
            Scalar::Bytes(array.as_fixed_size_binary().value(row).into())
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            scalar(dictionary.values(), dictionary.normalized_keys()[row])
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::ListView(_) => list(&array.as_list_view::<i32>().value(row)),
        DataType::FixedSizeList(_, _) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            Scalar::Struct(columns.iter().map(|column| scalar(column, row)).collect())
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let pair = |at| (scalar(entries.column(0), at), scalar(entries.column(1), at));
            Scalar::Map((0..entries.len()).map(pair).collect())
        }
        other => panic!("no reader for {other}"),
    }
}

/// The nearest decimal text of `scale` digits after the point, without a sign before zero.
fn nearest(float: impl std::fmt::Display, scale: i8) -> String {
    let text = format!("{float:.*}", scale as usize);
    match text.strip_prefix('-') {
        Some(zero) if zero.chars().all(|c| c == '0' || c == '.') => zero.to_owned(),
        _ => text,
    }
}

/// The cast of one value, by way of text; `None` if it does not fit.
pub(super) fn naive(value: &Scalar, to: &ValueType) -> Option<Scalar> {
    let f32 = |bits: &u32| f32::from_bits(*bits);
    let f64 = |bits: &u64| f64::from_bits(*bits);
    let whole = |text: &str| {
        let value: i128 = match text.split_once('.') {
            Some((whole, zeros)) if zeros.chars().all(|c| c == '0') => whole.parse().ok()?,
            Some(_) => return None,
            None => text.parse().ok()?,
        };
        let (low, high): (i128, i128) = match to {
            ValueType::Int8 => (i8::MIN.into(), i8::MAX.into()),
            ValueType::Int16 => (i16::MIN.into(), i16::MAX.into()),
            ValueType::Int32 => (i32::MIN.into(), i32::MAX.into()),
            ValueType::Int64 => (i64::MIN.into(), i64::MAX.into()),
            ValueType::UInt8 => (0, u8::MAX.into()),
            ValueType::UInt16 => (0, u16::MAX.into()),
            ValueType::UInt32 => (0, u32::MAX.into()),
            ValueType::UInt64 => (0, u64::MAX.into()),
            _ => return None,
        };
        (low <= value && value <= high).then_some(Scalar::Whole(value))
    };
    Some(match (value, to) {
        (Scalar::Null, _) => Scalar::Null,
        (Scalar::Bool(_), ValueType::Bool)
        | (Scalar::F32(_), ValueType::Float32)
        | (Scalar::F64(_), ValueType::Float64)
        | (Scalar::Text(_), ValueType::String | ValueType::Json)
        | (Scalar::Bytes(_), ValueType::Binary)
        | (Scalar::Date(_), ValueType::Date) => value.clone(),
        (Scalar::F32(bits), ValueType::Float64) => Scalar::F64(f64::from(f32(bits)).to_bits()),
        (Scalar::F64(bits), ValueType::Float32) => {
            let (from, to) = (f64(bits), f64(bits) as f32);
            (from.is_nan() || f64::from(to) == from).then_some(Scalar::F32(to.to_bits()))?
        }
        (Scalar::Whole(from), ValueType::Float64) => {
            let to: f64 = from.to_string().parse().unwrap();
            (nearest(to, 0) == from.to_string()).then_some(Scalar::F64(to.to_bits()))?
        }
        (Scalar::Whole(from), ValueType::Float32) => {
            let to: f32 = from.to_string().parse().unwrap();
            (nearest(to, 0) == from.to_string()).then_some(Scalar::F32(to.to_bits()))?
        }
        (Scalar::Decimal(from), ValueType::Float64) => {
            let scale = from.split_once('.').map_or(0, |(_, digits)| digits.len());
            let to: f64 = from.parse().unwrap();
            (nearest(to, scale as i8) == *from).then_some(Scalar::F64(to.to_bits()))?
        }
        (Scalar::Decimal(from), ValueType::Float32) => {
            let scale = from.split_once('.').map_or(0, |(_, digits)| digits.len());
            let to: f32 = from.parse().unwrap();
            (nearest(to, scale as i8) == *from).then_some(Scalar::F32(to.to_bits()))?
        }
        (from, ValueType::Decimal(precision, scale)) => {
            let text = match from {
                Scalar::Whole(from) => from.to_string(),
                Scalar::Decimal(from) => from.clone(),
                Scalar::F64(bits) => {
                    let text = nearest(f64(bits), *scale);
                    (f64(bits).is_finite() && text.parse() == Ok(f64(bits))).then_some(text)?
                }
                Scalar::F32(bits) => {
                    let text = nearest(f32(bits), *scale);
                    (f32(bits).is_finite() && text.parse() == Ok(f32(bits))).then_some(text)?
                }
                _ => return None,
            };
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let kept: String = fraction
                .chars()
                .chain("0".repeat(40).chars())
                .take(*scale as usize)
                .collect();
            if fraction.chars().skip(*scale as usize).any(|c| c != '0') {
                return None;
            }
            let point = if *scale > 0 { "." } else { "" };
            let text = format!("{whole}{point}{kept}");
            let digits = text.replace(['.', '-'], "");
            let digits = digits.trim_start_matches('0');
            let zero = if digits.is_empty() {
                text.replace('-', "")
            } else {
                text.clone()
            };
            (digits.len() <= usize::from(*precision)).then_some(Scalar::Decimal(zero))?
        }
        (Scalar::Whole(from), _) => whole(&from.to_string())?,
        (Scalar::Decimal(from), _) => whole(from)?,
        (Scalar::F64(bits), _) => {
            let text = nearest(f64(bits), 0);
            whole(&text).filter(|_| text.parse() == Ok(f64(bits)))?
        }
        (Scalar::F32(bits), _) => {
            let text = nearest(f32(bits), 0);
            whole(&text).filter(|_| text.parse() == Ok(f32(bits)))?
        }
        (Scalar::Us(us), ValueType::Timestamp) => {
            i64::try_from(*us).ok()?;
            Scalar::Us(*us)
        }
        (Scalar::Date(days), ValueType::Timestamp) => {
            let us = i128::from(*days) * i128::from(DAY_US);
            i64::try_from(us).ok()?;
            Scalar::Us(us)
        }
        (Scalar::Us(us), ValueType::Date) => {
            i64::try_from(*us).ok()?;
            let day = i128::from(DAY_US);
            (us % day == 0).then_some(Scalar::Date(i32::try_from(us / day).ok()?))?
        }
        (Scalar::TimeNs(ns), ValueType::String) => {
            let seconds = ns / 1_000_000_000;
            if *ns < 0 || seconds >= 86_400 {
                return None;
            }
            let clock = format!(
                "{:02}:{:02}:{:02}",
                seconds / 3_600,
                seconds / 60 % 60,
                seconds % 60
            );
            let digits = format!("{:09}", ns % 1_000_000_000);
            let kept = match digits.trim_end_matches('0').len() {
                0 => String::new(),
                1..=3 => format!(".{}", &digits[..3]),
                4..=6 => format!(".{}", &digits[..6]),
                _ => format!(".{digits}"),
            };
            Scalar::Text(format!("{clock}{kept}"))
        }
        (Scalar::List(items), ValueType::List(item)) => Scalar::List(
            items
                .iter()
                .map(|value| naive(value, item))
                .collect::<Option<_>>()?,
        ),
        (Scalar::List(items), ValueType::Embedding(size)) => {
            if items.len() != *size as usize {
                return None;
            }
            let float = |value| naive(value, &ValueType::Float32);
            Scalar::List(items.iter().map(float).collect::<Option<_>>()?)
        }
        (Scalar::Struct(values), ValueType::Struct(fields)) => Scalar::Struct(
            values
                .iter()
                .zip(fields)
                .map(|(value, (_, to))| naive(value, to))
                .collect::<Option<_>>()?,
        ),
        (Scalar::Map(pairs), ValueType::Map(key, to)) => Scalar::Map(
            pairs
                .iter()
                .map(|(name, value)| Some((naive(name, key)?, naive(value, to)?)))
                .collect::<Option<_>>()?,
        ),
        (value, to) => panic!("no naive cast of {value:?} to {to}"),
    })
}
