//! Every pair of types that `cast_from` allows, against a cast that goes value by value through
//! decimal text, and single cases that matter by themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::builder::{Decimal128Builder, Int32Builder, StringDictionaryBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use provender_core::time::{DAY_US, UTC};
use provender_core::{CastRule, ValueType};

use super::{CastFailure, cast_value};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    fn nulls(&mut self, n: usize) -> Option<NullBuffer> {
        (self.below(3) > 0).then(|| (0..n).map(|_| self.below(4) > 0).collect())
    }

    fn whole(&mut self) -> i128 {
        let random = i128::from(self.next() as i64);
        let small = self.below(2_000) as i128 - 1_000;
        self.pick(&[
            small,
            small,
            random,
            0,
            (1 << 24) + 1,
            (1 << 53) + 1,
            i64::MIN.into(),
            i64::MAX.into(),
            u64::MAX.into(),
            127,
            128,
            -129,
            65_536,
        ])
    }

    fn float(&mut self) -> f64 {
        let whole = self.whole() as f64;
        let digits = self.below(4) as i32;
        let decimal = (self.below(200_000) as f64 - 100_000.0) / 10_f64.powi(digits);
        let bits = f64::from_bits(self.next());
        self.pick(&[
            whole,
            decimal,
            decimal,
            bits,
            0.0,
            -0.0,
            3.5,
            0.1,
            0.125,
            f64::NAN,
            f64::from_bits(0x7ff8_0000_0000_1234),
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e300,
            5e-324,
            f64::from(f32::MAX),
        ])
    }

    fn decimal(&mut self, precision: u8) -> i128 {
        let limit = 10_i128.pow(precision.min(38).into());
        let random = (i128::from(self.next()) << 60) ^ i128::from(self.next());
        let power = 10_i128.pow(self.below(usize::from(precision.min(38))) as u32);
        let whole = self.whole();
        self.pick(&[random, whole, whole, power, -power, 7 * power, limit - 1, 0]) % limit
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

fn primitive<T: ArrowPrimitiveType>(
    random: &mut Random,
    n: usize,
    mut value: impl FnMut(&mut Random) -> T::Native,
) -> PrimitiveArray<T> {
    let values: Vec<T::Native> = (0..n).map(|_| value(random)).collect();
    let nulls = random.nulls(n);
    PrimitiveArray::new(values.into(), nulls)
}

fn instants<T: ArrowTimestampType>(
    random: &mut Random,
    n: usize,
    zone: &Option<Arc<str>>,
) -> ArrayRef {
    let per_day = match T::UNIT {
        TimeUnit::Second => 86_400,
        TimeUnit::Millisecond => 86_400_000,
        TimeUnit::Microsecond => DAY_US,
        TimeUnit::Nanosecond => DAY_US * 1_000,
    };
    let array = primitive::<T>(random, n, |random| {
        let midnight = (random.below(20_000) as i64 - 10_000) * per_day;
        let any = midnight + random.below(1_000_000_000) as i64;
        random.pick(&[
            midnight,
            midnight,
            midnight + 1,
            any,
            0,
            -1,
            i64::MIN,
            i64::MAX,
        ])
    });
    Arc::new(array.with_timezone_opt(zone.clone()))
}

fn text(random: &mut Random) -> String {
    random
        .pick(&[
            "",
            "a",
            "é",
            "a text that is longer than twelve bytes",
            "{}",
        ])
        .to_owned()
}

/// A random column; null rows hide values that may fit nothing.
fn column(random: &mut Random, data_type: &DataType, n: usize) -> ArrayRef {
    macro_rules! whole {
        ($t:ty) => {
            Arc::new(primitive::<$t>(random, n, |random| random.whole() as _))
        };
    }
    match data_type {
        DataType::Null => Arc::new(NullArray::new(n)),
        DataType::Boolean => {
            let values = (0..n).map(|_| random.below(2) == 0).collect();
            Arc::new(BooleanArray::new(values, random.nulls(n)))
        }
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::UInt64 => whole!(UInt64Type),
        DataType::Float16 => Arc::new(primitive::<Float16Type>(random, n, |random| {
            <Float16Type as ArrowPrimitiveType>::Native::from_f64(random.float())
        })),
        DataType::Float32 => Arc::new(primitive::<Float32Type>(random, n, |random| {
            random.float() as f32
        })),
        DataType::Float64 => Arc::new(primitive::<Float64Type>(random, n, Random::float)),
        DataType::Decimal32(p, s) => {
            let array = primitive::<Decimal32Type>(random, n, |random| random.decimal(*p) as i32);
            Arc::new(array.with_precision_and_scale(*p, *s).unwrap())
        }
        DataType::Decimal64(p, s) => {
            let array = primitive::<Decimal64Type>(random, n, |random| random.decimal(*p) as i64);
            Arc::new(array.with_precision_and_scale(*p, *s).unwrap())
        }
        DataType::Decimal128(p, s) => {
            let array = primitive::<Decimal128Type>(random, n, |random| random.decimal(*p));
            Arc::new(array.with_precision_and_scale(*p, *s).unwrap())
        }
        DataType::Decimal256(p, s) => {
            let array = primitive::<Decimal256Type>(random, n, |random| {
                i256::from_i128(random.decimal(*p))
            });
            Arc::new(array.with_precision_and_scale(*p, *s).unwrap())
        }
        DataType::Date32 => Arc::new(primitive::<Date32Type>(random, n, |random| {
            let day = random.below(100_000) as i32 - 50_000;
            random.pick(&[day, day, day, 0, -1, i32::MIN, i32::MAX])
        })),
        DataType::Date64 => Arc::new(primitive::<Date64Type>(random, n, |random| {
            let day = (random.below(100_000) as i64 - 50_000) * 86_400_000;
            random.pick(&[day, day, day + 1, -1, i64::MAX])
        })),
        DataType::Time32(TimeUnit::Second) => {
            Arc::new(primitive::<Time32SecondType>(random, n, |random| {
                random.below(86_401) as i32
            }))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            Arc::new(primitive::<Time64NanosecondType>(random, n, |random| {
                let seconds = random.below(86_400) as i64 * 1_000_000_000;
                seconds + random.pick(&[0, 1, 1_000, 1_000_000, -1])
            }))
        }
        DataType::Timestamp(TimeUnit::Second, zone) => {
            instants::<TimestampSecondType>(random, n, zone)
        }
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            instants::<TimestampMillisecondType>(random, n, zone)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            instants::<TimestampMicrosecondType>(random, n, zone)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            instants::<TimestampNanosecondType>(random, n, zone)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let nulls = random.nulls(n);
            let texts = (0..n).map(|row| {
                let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                valid.then(|| text(random))
            });
            match data_type {
                DataType::Utf8 => Arc::new(texts.collect::<StringArray>()),
                DataType::LargeUtf8 => Arc::new(texts.collect::<LargeStringArray>()),
                _ => Arc::new(texts.collect::<StringViewArray>()),
            }
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let values = (0..n).map(|_| {
                let length = random.below(20);
                (random.below(4) > 0).then(|| random.bytes(length))
            });
            match data_type {
                DataType::Binary => Arc::new(values.collect::<BinaryArray>()),
                DataType::LargeBinary => Arc::new(values.collect::<LargeBinaryArray>()),
                _ => Arc::new(values.collect::<BinaryViewArray>()),
            }
        }
        DataType::FixedSizeBinary(size) => {
            let bytes = random.bytes(n * *size as usize);
            let nulls = random.nulls(n);
            Arc::new(FixedSizeBinaryArray::new(
                *size,
                Buffer::from_vec(bytes),
                nulls,
            ))
        }
        DataType::Dictionary(_, value) => {
            let values = column(random, value, 5);
            let keys = primitive::<Int16Type>(random, n, |random| random.below(5) as i16);
            Arc::new(DictionaryArray::new(keys, values))
        }
        DataType::List(item) => {
            let (lengths, total) = lengths(random, n);
            let values = column(random, item.data_type(), total);
            let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
            Arc::new(ListArray::new(
                item.clone(),
                offsets,
                values,
                random.nulls(n),
            ))
        }
        DataType::LargeList(item) => {
            let (lengths, total) = lengths(random, n);
            let values = column(random, item.data_type(), total);
            let offsets = OffsetBuffer::<i64>::from_lengths(lengths);
            Arc::new(LargeListArray::new(
                item.clone(),
                offsets,
                values,
                random.nulls(n),
            ))
        }
        DataType::ListView(item) => {
            let values = column(random, item.data_type(), 10);
            let sizes: Vec<i32> = (0..n).map(|_| random.below(4) as i32).collect();
            let offsets: Vec<i32> = (0..n).map(|_| random.below(7) as i32).collect();
            let (offsets, sizes) = (ScalarBuffer::from(offsets), ScalarBuffer::from(sizes));
            Arc::new(ListViewArray::new(
                item.clone(),
                offsets,
                sizes,
                values,
                random.nulls(n),
            ))
        }
        DataType::FixedSizeList(item, size) => {
            let values = column(random, item.data_type(), n * *size as usize);
            Arc::new(FixedSizeListArray::new(
                item.clone(),
                *size,
                values,
                random.nulls(n),
            ))
        }
        DataType::Struct(fields) => {
            let columns = fields
                .iter()
                .map(|field| column(random, field.data_type(), n))
                .collect();
            Arc::new(StructArray::new(fields.clone(), columns, random.nulls(n)))
        }
        DataType::Map(entries, _) => {
            let (lengths, total) = lengths(random, n);
            let DataType::Struct(fields) = entries.data_type() else {
                panic!("no entries")
            };
            let keys: ArrayRef = Arc::new(
                (0..total)
                    .map(|i| Some(i.to_string()))
                    .collect::<StringArray>(),
            );
            let keys = arrow_cast::cast(&keys, fields[0].data_type()).unwrap();
            let values = column(random, fields[1].data_type(), total);
            let pairs = StructArray::new(fields.clone(), vec![keys, values], None);
            let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
            Arc::new(MapArray::new(
                entries.clone(),
                offsets,
                pairs,
                random.nulls(n),
                false,
            ))
        }
        other => panic!("no generator for {other}"),
    }
}

fn lengths(random: &mut Random, n: usize) -> (Vec<usize>, usize) {
    let lengths: Vec<usize> = (0..n).map(|_| random.below(4)).collect();
    let total = lengths.iter().sum();
    (lengths, total)
}

/// One value, whatever array it was in.
#[derive(Clone, Debug, PartialEq)]
enum Scalar {
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

fn scalar(array: &ArrayRef, row: usize) -> Scalar {
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
fn naive(value: &Scalar, to: &ValueType) -> Option<Scalar> {
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
            if items.len() != *size as usize || items.contains(&Scalar::Null) {
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

fn leaves() -> Vec<DataType> {
    let zone = |name: &str| Some(Arc::from(name));
    vec![
        DataType::Null,
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal32(5, 2),
        DataType::Decimal64(18, 0),
        DataType::Decimal64(12, 12),
        DataType::Decimal128(38, 0),
        DataType::Decimal128(10, 2),
        DataType::Decimal128(38, 30),
        DataType::Decimal256(38, 5),
        DataType::Date32,
        DataType::Date64,
        DataType::Time32(TimeUnit::Second),
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Millisecond, zone("Europe/Berlin")),
        DataType::Timestamp(TimeUnit::Microsecond, zone("+02:00")),
        DataType::Timestamp(TimeUnit::Microsecond, zone(UTC)),
        DataType::Timestamp(TimeUnit::Nanosecond, zone(UTC)),
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::FixedSizeBinary(3),
    ]
}

fn targets() -> Vec<ValueType> {
    use ValueType::*;
    vec![
        Bool,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Decimal(38, 0),
        Decimal(12, 2),
        Decimal(38, 30),
        Decimal(3, 3),
        String,
        Binary,
        Date,
        Timestamp,
        Json,
    ]
}

/// Casts random columns of one type and compares with the naive cast, value by value.
fn compare(random: &mut Random, from: &DataType, to: &ValueType, rounds: usize) {
    let rule = to.cast_from(from);
    for _ in 0..rounds {
        let n = random.below(10);
        let whole = column(random, from, n + 2);
        let source = whole.slice(random.below(3), n);
        let result = cast_value(&source, to, true);
        if rule == CastRule::Never {
            assert!(result.is_err(), "{from} to {to}");
            continue;
        }
        let expected: Vec<Option<Scalar>> =
            (0..n).map(|row| naive(&scalar(&source, row), to)).collect();
        match (expected.iter().position(Option::is_none), result) {
            (None, Ok(cast)) => {
                assert_eq!(*cast.data_type(), to.to_arrow(), "{from} to {to}");
                cast.to_data().validate_full().unwrap();
                let found: Vec<_> = (0..n).map(|row| Some(scalar(&cast, row))).collect();
                assert_eq!(found, expected, "{from} to {to} of {source:?}");
                let unchecked = cast_value(&source, to, false);
                let same = *from == to.to_arrow();
                if rule == CastRule::Lossless || same || to.implies_checked(from) {
                    assert_eq!(unchecked.unwrap().as_ref(), cast.as_ref());
                } else {
                    assert!(unchecked.is_err(), "{from} to {to}");
                }
            }
            (Some(row), Err(failure)) => {
                assert_eq!(failure.row, row, "{from} to {to}: {failure} of {source:?}");
                assert!(!failure.value.is_empty(), "{from} to {to}: {failure}");
            }
            (expected, found) => panic!("{from} to {to}: {expected:?} but {found:?} of {source:?}"),
        }
    }
}

#[test]
fn every_pair_of_plain_types_casts_as_value_by_value() {
    let mut random = Random(0x5eed);
    for from in leaves() {
        for to in targets() {
            compare(&mut random, &from, &to, 25);
            let dictionary =
                DataType::Dictionary(Box::new(DataType::Int16), Box::new(from.clone()));
            compare(&mut random, &dictionary, &to, 8);
        }
    }
}

#[test]
fn every_pair_of_nested_types_casts_as_value_by_value() {
    let mut random = Random(0xbeef);
    let nested_types = |leaf: &DataType| {
        let item = Arc::new(Field::new("element", leaf.clone(), true));
        let fields = |name: &str| {
            Fields::from(vec![
                Field::new(name, DataType::LargeUtf8, false),
                Field::new("v", leaf.clone(), true),
            ])
        };
        let entries = Field::new("pairs", DataType::Struct(fields("k")), false);
        let text = Field::new("a", DataType::Utf8View, true);
        let leaf = Field::new("b", leaf.clone(), true);
        [
            DataType::List(item.clone()),
            DataType::LargeList(item.clone()),
            DataType::ListView(item.clone()),
            DataType::FixedSizeList(item.clone(), 2),
            DataType::Struct(vec![text, leaf].into()),
            DataType::Map(Arc::new(entries), false),
            DataType::List(Arc::new(Field::new(
                "element",
                DataType::LargeList(item),
                true,
            ))),
        ]
    };
    for from in leaves().iter().flat_map(nested_types) {
        for leaf in targets() {
            let list = ValueType::List(Box::new(leaf.clone()));
            let texts = ("a".to_owned(), ValueType::String);
            for to in [
                ValueType::List(Box::new(list.clone())),
                list,
                ValueType::Struct(vec![texts, ("b".to_owned(), leaf.clone())]),
                ValueType::Map(Box::new(ValueType::String), Box::new(leaf.clone())),
                ValueType::Embedding(2),
            ] {
                if to.cast_from(&from) != CastRule::Never {
                    // Equal float32 lists of two keep nulls inside: nothing is checked there.
                    let embedding = matches!(to, ValueType::Embedding(_));
                    if !(embedding && to.cast_from(&from) == CastRule::Lossless) {
                        compare(&mut random, &from, &to, 6);
                    }
                }
            }
        }
    }
}

fn failure(column: impl Array + 'static, to: &ValueType) -> CastFailure {
    let column: ArrayRef = Arc::new(column);
    cast_value(&column, to, true).unwrap_err()
}

#[test]
fn the_first_row_of_any_field_is_the_one_named() {
    let a: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 1_000]));
    let b: ArrayRef = Arc::new(Int64Array::from(vec![1, 2_000, 3]));
    let field = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
    let structs = StructArray::from(vec![(field("a"), a), (field("b"), b)]);
    let to = ValueType::Struct(vec![
        ("a".to_owned(), ValueType::Int8),
        ("b".to_owned(), ValueType::Int8),
    ]);
    assert_eq!(
        failure(structs, &to).to_string(),
        "row 1: 2000 in field \"b\" does not fit int8"
    );
}

#[test]
fn equal_types_return_the_same_array() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![
        f64::from_bits(0x7ff0_0000_0000_0001),
        -0.0,
    ]));
    let cast = cast_value(&column, &ValueType::Float64, false).unwrap();
    assert!(Arc::ptr_eq(&column, &cast));
}

#[test]
fn misfits_name_their_row_and_value() {
    let message = |failure: CastFailure| failure.to_string();
    let whole = Int64Array::from(vec![Some(1), None, Some((1 << 53) + 1)]);
    assert_eq!(
        message(failure(whole, &ValueType::Float64)),
        "row 2: 9007199254740993 does not fit float64"
    );
    assert_eq!(
        message(failure(
            Float64Array::from(vec![3.0, 3.5]),
            &ValueType::Int64
        )),
        "row 1: 3.5 does not fit int64"
    );
    assert_eq!(
        message(failure(
            Float64Array::from(vec![f64::NAN]),
            &ValueType::Int8
        )),
        "row 0: NaN does not fit int8"
    );
    let decimal = Decimal128Array::from(vec![1_250, -1_251]).with_precision_and_scale(10, 3);
    assert_eq!(
        message(failure(decimal.unwrap(), &ValueType::Decimal(10, 2))),
        "row 1: -1.251 does not fit decimal(10,2)"
    );
    assert_eq!(
        message(failure(
            TimestampNanosecondArray::from(vec![999, 1_000]),
            &ValueType::Date
        )),
        "row 1: 1970-01-01T00:00:00.000001Z is not midnight, so it does not fit date"
    );
    assert_eq!(
        message(failure(
            TimestampSecondArray::from(vec![0, i64::MAX]),
            &ValueType::Timestamp
        )),
        "row 1: 9223372036854775807 is beyond the range of microseconds in 64 bits"
    );
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1)]),
        None,
        Some(vec![Some(2), Some(300)]),
    ]);
    assert_eq!(
        message(failure(lists, &ValueType::List(Box::new(ValueType::Int8)))),
        "row 2: 300 in a list does not fit int8"
    );
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([
        Some(vec![Some(1.0), Some(2.0)]),
        Some(vec![Some(1.0)]),
    ]);
    assert_eq!(
        message(failure(lists, &ValueType::Embedding(2))),
        "row 1: a list of length 1 does not fit embedding<2>"
    );
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.0), None])]);
    assert_eq!(
        message(failure(lists, &ValueType::Embedding(2))),
        "row 0: a list with a null inside does not fit embedding<2>"
    );
}

#[test]
fn casts_that_are_not_allowed_name_both_types() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let message =
        |to: &ValueType, checked| cast_value(&column, to, checked).unwrap_err().to_string();
    assert_eq!(
        message(&ValueType::String, true),
        "Int64 cannot become string"
    );
    assert_eq!(
        message(&ValueType::Int8, false),
        "Int64 can only become int8 by a checked cast"
    );
}

#[test]
fn instants_of_every_unit_and_zone_are_floored() {
    let ns =
        TimestampNanosecondArray::from(vec![Some(-1), Some(1_999), None]).with_timezone("+05:30");
    let column: ArrayRef = Arc::new(ns);
    let cast = cast_value(&column, &ValueType::Timestamp, false).unwrap();
    assert_eq!(*cast.data_type(), ValueType::Timestamp.to_arrow());
    let us: Vec<_> = cast
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .collect();
    assert_eq!(us, [Some(-1), Some(1), None]);
}

#[test]
fn values_that_no_key_of_a_dictionary_names_do_not_matter() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 1_000]));
    let keys = Int8Array::from(vec![Some(0), None, Some(0)]);
    let column: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
    let cast = cast_value(&column, &ValueType::Int8, true).unwrap();
    assert_eq!(
        cast.as_ref(),
        &Int8Array::from(vec![Some(1), None, Some(1)]) as &dyn Array
    );
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    words.append_null();
    let column: ArrayRef = Arc::new(words.finish());
    let cast = cast_value(&column, &ValueType::String, false).unwrap();
    assert_eq!((cast.len(), cast.null_count()), (1, 1));
}

#[test]
fn decimals_at_the_limits_do_not_overflow() {
    let mut builder = Decimal128Builder::new();
    builder.append_value(10_i128.pow(38) - 1);
    let column: ArrayRef = Arc::new(builder.finish().with_precision_and_scale(38, 0).unwrap());
    let to = ValueType::Decimal(38, 1);
    let failure = cast_value(&column, &to, true).unwrap_err();
    assert_eq!(failure.reason, "does not fit decimal(38,1)");
    let wide = Decimal256Array::from(vec![i256::MAX])
        .with_precision_and_scale(38, 2)
        .unwrap();
    let column: ArrayRef = Arc::new(wide);
    for to in targets() {
        assert!(cast_value(&column, &to, true).is_err(), "{to}");
    }
    let mut whole = Int32Builder::new();
    whole.append_value(i32::MIN);
    let column: ArrayRef = Arc::new(whole.finish());
    assert!(cast_value(&column, &ValueType::Decimal(9, 0), true).is_err());
}
