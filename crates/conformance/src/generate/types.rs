//! Declared types, the types that sources may hold them in, and values that are hard to get right.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use provender_core::ValueType;
use rand::Rng;
use rand::seq::IndexedRandom;

use crate::oracle::{Value, cast};

/// A declared type, how a source holds it, and the few values that a column of it takes.
#[derive(Clone, Debug)]
pub(crate) struct ColumnKind {
    pub(crate) declared: ValueType,
    pub(crate) checked: bool,
    pub(crate) found: DataType,
    pub(crate) pool: Vec<Value>,
    /// Whether floats are small enough that their sums do not depend on the order of additions.
    pub(crate) is_moderate: bool,
}

const ZONES: [Option<&str>; 5] = [
    None,
    Some("UTC"),
    Some("+05:30"),
    Some("America/New_York"),
    Some("-11:00"),
];

/// One of a list's items. The lists of this module are never empty.
pub(crate) fn pick<'a, T>(rng: &mut impl Rng, items: &'a [T]) -> &'a T {
    items.choose(rng).unwrap_or(&items[0])
}

/// A feature's column: mostly the declared type itself, else one that holds it without loss, and
/// seldom one that needs a checked cast.
pub(crate) fn feature_kind(rng: &mut impl Rng) -> ColumnKind {
    let declared = declared_type(rng, 0);
    let is_moderate = rng.random_bool(0.6);
    let checked = rng.random_bool(0.1);
    let found = if checked {
        checked_type(rng, &declared)
    } else {
        None
    };
    let checked = found.is_some();
    // A column of nulls alone can be declared as anything.
    let is_null = !checked && rng.random_bool(0.02);
    let found = found.unwrap_or_else(|| found_type(rng, &declared));
    let found = if is_null { DataType::Null } else { found };
    let may_misfit = checked && rng.random_bool(0.15);
    let n_values = rng.random_range(1..=5);
    let mut pool = Vec::new();
    while pool.len() < n_values {
        let value = if declared == ValueType::Json {
            Value::String((*pick(rng, &JSON)).to_owned())
        } else if is_date_held_as_time(&declared, &found) && !rng.random_bool(0.1) {
            Value::Date(rng.random_range(-40_000..40_000))
        } else {
            value_of(rng, &found, is_moderate)
        };
        if !checked || may_misfit || cast(&seen_as(&value), &declared).is_ok() {
            pool.push(value);
        }
    }
    ColumnKind {
        declared,
        checked,
        found,
        pool,
        is_moderate,
    }
}

/// A join key's column of the declared type: values few and alike, so that keys collide.
pub(crate) fn key_type(rng: &mut impl Rng) -> ValueType {
    let types = [
        ValueType::Int8,
        ValueType::Int16,
        ValueType::Int32,
        ValueType::Int64,
        ValueType::Int64,
        ValueType::UInt8,
        ValueType::UInt16,
        ValueType::UInt32,
        ValueType::UInt64,
        ValueType::String,
        ValueType::String,
        ValueType::String,
        ValueType::Binary,
        ValueType::Bool,
        ValueType::Date,
        ValueType::Timestamp,
    ];
    pick(rng, &types).clone()
}

/// Some values of a key's declared type.
pub(crate) fn key_pool(rng: &mut impl Rng, declared: &ValueType) -> Vec<Value> {
    let n_values = rng.random_range(1..=4);
    (0..n_values)
        .map(|_| {
            let is_moderate = rng.random_bool(0.8);
            value_of(rng, &declared.to_arrow(), is_moderate)
        })
        .collect()
}

/// How a source holds a key: the declared type, or one that is cast to it without loss (or, for
/// decimals without digits after the point, by the cast that is implied).
pub(crate) fn key_found_type(rng: &mut impl Rng, declared: &ValueType) -> DataType {
    if declared.is_integer() && rng.random_bool(0.1) {
        return DataType::Decimal128(38, 0);
    }
    if *declared == ValueType::Binary && rng.random_bool(0.2) {
        return DataType::FixedSizeBinary(2);
    }
    found_type(rng, declared)
}

/// A type for a column of event or created times.
pub(crate) fn time_type(rng: &mut impl Rng) -> DataType {
    match rng.random_range(0..10) {
        0 => DataType::Date32,
        1 => DataType::Date64,
        2 => DataType::Timestamp(TimeUnit::Second, zone(rng)),
        3 | 4 => DataType::Timestamp(TimeUnit::Millisecond, zone(rng)),
        5 | 6 => DataType::Timestamp(TimeUnit::Nanosecond, zone(rng)),
        _ => DataType::Timestamp(TimeUnit::Microsecond, zone(rng)),
    }
}

pub(crate) fn declared_type(rng: &mut impl Rng, depth: usize) -> ValueType {
    let n_kinds = if depth < 2 { 23 } else { 18 };
    match rng.random_range(0..n_kinds) {
        0 => ValueType::Bool,
        1 => ValueType::Int8,
        2 => ValueType::Int16,
        3 => ValueType::Int32,
        4 => ValueType::Int64,
        5 => ValueType::UInt8,
        6 => ValueType::UInt16,
        7 => ValueType::UInt32,
        8 => ValueType::UInt64,
        9 => ValueType::Float32,
        10 | 11 => ValueType::Float64,
        12 => {
            let decimals = [(1, 0), (10, 2), (18, 18), (38, 0), (38, 10)];
            let (precision, scale) = *pick(rng, &decimals);
            ValueType::Decimal(precision, scale)
        }
        13 | 14 => ValueType::String,
        15 => ValueType::Binary,
        16 => ValueType::Date,
        17 => ValueType::Timestamp,
        18 if depth == 0 => ValueType::Json,
        18 | 19 => ValueType::List(Box::new(declared_type(rng, depth + 1))),
        20 => ValueType::Struct(vec![
            ("a".to_owned(), declared_type(rng, depth + 1)),
            ("ä b".to_owned(), declared_type(rng, depth + 1)),
        ]),
        21 => {
            let keys = [ValueType::String, ValueType::Int64, ValueType::Date];
            ValueType::Map(
                Box::new(pick(rng, &keys).clone()),
                Box::new(declared_type(rng, depth + 1)),
            )
        }
        _ => ValueType::Embedding(rng.random_range(1..=4)),
    }
}

/// A type that can be cast to the declared one without loss; half of the time the type itself.
pub(crate) fn found_type(rng: &mut impl Rng, declared: &ValueType) -> DataType {
    if rng.random_bool(0.5) {
        return declared.to_arrow();
    }
    match declared {
        ValueType::Int16 => pick(rng, &[DataType::Int8, DataType::UInt8]).clone(),
        ValueType::Int32 => pick(rng, &[DataType::Int16, DataType::UInt16]).clone(),
        ValueType::Int64 => {
            let dictionary =
                DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Int64));
            pick(
                rng,
                &[
                    DataType::Int32,
                    DataType::UInt32,
                    DataType::Int8,
                    dictionary,
                ],
            )
            .clone()
        }
        ValueType::UInt16 => DataType::UInt8,
        ValueType::UInt32 => DataType::UInt16,
        ValueType::UInt64 => pick(rng, &[DataType::UInt32, DataType::UInt8]).clone(),
        ValueType::Float32 => pick(rng, &[DataType::Float16, DataType::Int16]).clone(),
        ValueType::Float64 => pick(
            rng,
            &[DataType::Float32, DataType::Int32, DataType::Float16],
        )
        .clone(),
        ValueType::Decimal(precision, scale) => {
            let (p, s) = (*precision, *scale);
            let mut types = vec![DataType::Decimal256(p, s)];
            if p <= 9 {
                types.push(DataType::Decimal32(p, s));
            }
            if p <= 18 {
                types.push(DataType::Decimal64(p, s));
            }
            if s >= 2 && p - s as u8 >= 3 {
                types.push(DataType::Decimal128(5, 2));
                types.push(DataType::Int8);
            }
            pick(rng, &types).clone()
        }
        ValueType::String | ValueType::Json => pick(
            rng,
            &[
                DataType::Utf8View,
                DataType::LargeUtf8,
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
                DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8)),
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::LargeUtf8)),
            ],
        )
        .clone(),
        ValueType::Binary => pick(
            rng,
            &[
                DataType::LargeBinary,
                DataType::BinaryView,
                DataType::FixedSizeBinary(3),
            ],
        )
        .clone(),
        ValueType::Timestamp => match rng.random_range(0..6) {
            0 => DataType::Date32,
            1 => DataType::Date64,
            2 => DataType::Timestamp(TimeUnit::Second, zone(rng)),
            3 => DataType::Timestamp(TimeUnit::Millisecond, zone(rng)),
            4 => DataType::Timestamp(TimeUnit::Microsecond, zone(rng)),
            _ => DataType::Timestamp(TimeUnit::Nanosecond, zone(rng)),
        },
        ValueType::List(item) => {
            let inner = found_type(rng, item);
            let name = *pick(rng, &["item", "element", "x"]);
            let field = Arc::new(Field::new(name, inner, true));
            match rng.random_range(0..5) {
                0 => DataType::LargeList(field),
                1 => DataType::ListView(field),
                2 => DataType::LargeListView(field),
                3 if **item != ValueType::Float32 => DataType::FixedSizeList(field, 2),
                _ => DataType::List(field),
            }
        }
        ValueType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|(name, value_type)| Field::new(name, found_type(rng, value_type), true))
                .collect::<Fields>(),
        ),
        ValueType::Map(key, value) => {
            let names = [
                ("entries", "keys", "values"),
                ("key_value", "key", "value"),
                ("entries", "key", "value"),
            ];
            let (entries, keys, values) = *pick(rng, &names);
            let fields = Fields::from(vec![
                Field::new(keys, key.to_arrow(), false),
                Field::new(values, found_type(rng, value), true),
            ]);
            DataType::Map(
                Arc::new(Field::new(entries, DataType::Struct(fields), false)),
                false,
            )
        }
        ValueType::Embedding(size) => {
            let is_nullable = rng.random_bool(0.5);
            DataType::FixedSizeList(
                Arc::new(Field::new("element", DataType::Float32, is_nullable)),
                *size,
            )
        }
        _ => declared.to_arrow(),
    }
}

/// A type that needs a checked cast to the declared one, if there is such a type.
fn checked_type(rng: &mut impl Rng, declared: &ValueType) -> Option<DataType> {
    let types = match declared {
        declared if declared.is_integer() => {
            let mut types = vec![
                DataType::Float64,
                DataType::Decimal128(38, 0),
                DataType::Decimal128(12, 2),
            ];
            if *declared != ValueType::Int64 {
                types.push(DataType::Int64);
            }
            if *declared != ValueType::UInt64 {
                types.push(DataType::UInt64);
            }
            types
        }
        ValueType::Float32 => vec![DataType::Float64, DataType::Int64],
        ValueType::Float64 => vec![DataType::Int64, DataType::UInt64],
        ValueType::Decimal(10, 2) => {
            vec![
                DataType::Decimal128(38, 2),
                DataType::Decimal128(12, 3),
                DataType::Int64,
            ]
        }
        ValueType::Date => vec![DataType::Timestamp(TimeUnit::Millisecond, zone(rng))],
        ValueType::Embedding(_) => vec![DataType::new_list(DataType::Float32, true)],
        _ => return None,
    };
    Some(pick(rng, &types).clone())
}

fn is_date_held_as_time(declared: &ValueType, found: &DataType) -> bool {
    *declared == ValueType::Date && matches!(found, DataType::Timestamp(_, _))
}

/// A date that is put into a timestamp column is read as a timestamp.
fn seen_as(value: &Value) -> Value {
    match value {
        Value::Date(_) => Value::Null,
        other => other.clone(),
    }
}

fn zone(rng: &mut impl Rng) -> Option<Arc<str>> {
    pick(rng, &ZONES).map(Arc::from)
}

const JSON: [&str; 5] = [
    "{}",
    "{\"a\": [1, 2.50, null]}",
    "null",
    "\"é\"",
    "{\"b\":1,\"a\":{}}",
];

const TEXTS: [&str; 14] = [
    "",
    "a",
    "A",
    "ab",
    "abc",
    "a\0",
    "é",
    "e\u{301}",
    "ß",
    "日本",
    "💡",
    " a",
    "twelve bytes",
    "a text that is longer than a view can hold inline",
];

const BYTES: [&[u8]; 8] = [
    b"",
    b"\0",
    b"\0\0",
    b"ab",
    b"abc",
    b"\xff\xfe",
    b"\xff\xfe\xfd",
    b"more than twelve bytes of it",
];

/// A value of a declared type, often one at the type's edges; never null.
pub(crate) fn declared_value(rng: &mut impl Rng, declared: &ValueType) -> Value {
    if *declared == ValueType::Json {
        return Value::String((*pick(rng, &JSON)).to_owned());
    }
    let is_moderate = rng.random();
    value_of(rng, &declared.to_arrow(), is_moderate)
}

/// A value of a declared type that no store has trouble with; never null.
pub(crate) fn moderate_value(rng: &mut impl Rng, declared: &ValueType) -> Value {
    match declared {
        ValueType::Json => Value::String("{\"a\": 1}".to_owned()),
        _ => value_of(rng, &declared.to_arrow(), true),
    }
}

/// A value of an Arrow type, often one at the type's edges.
pub(crate) fn value_of(rng: &mut impl Rng, data_type: &DataType, is_moderate: bool) -> Value {
    match data_type {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(rng.random()),
        DataType::Int8 => integer(rng, i8::MIN.into(), i8::MAX.into(), is_moderate),
        DataType::Int16 => integer(rng, i16::MIN.into(), i16::MAX.into(), is_moderate),
        DataType::Int32 => integer(rng, i32::MIN.into(), i32::MAX.into(), is_moderate),
        DataType::Int64 => integer(rng, i64::MIN.into(), i64::MAX.into(), is_moderate),
        DataType::UInt8 => integer(rng, 0, u8::MAX.into(), is_moderate),
        DataType::UInt16 => integer(rng, 0, u16::MAX.into(), is_moderate),
        DataType::UInt32 => integer(rng, 0, u32::MAX.into(), is_moderate),
        DataType::UInt64 => integer(rng, 0, u64::MAX.into(), is_moderate),
        DataType::Float16 => Value::Float32(*pick(
            rng,
            &[0.0, -0.0, 1.5, -2.25, f32::NAN, f32::INFINITY, 1000.0],
        )),
        DataType::Float32 => {
            let moderate = [
                0.0,
                -0.0,
                1.5,
                -2.25,
                0.1,
                f32::NAN,
                -f32::NAN,
                f32::NEG_INFINITY,
                1_000_000.0,
                1_000_001.0,
            ];
            let extreme = [f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45];
            Value::Float32(if is_moderate || rng.random() {
                *pick(rng, &moderate)
            } else {
                *pick(rng, &extreme)
            })
        }
        DataType::Float64 => {
            let moderate = [
                0.0,
                -0.0,
                1.5,
                -2.25,
                3.0,
                -7.0,
                0.1,
                f64::NAN,
                -f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                1_000_000.0,
                1_000_001.0,
            ];
            let extreme = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e300];
            Value::Float64(if is_moderate || rng.random() {
                *pick(rng, &moderate)
            } else {
                *pick(rng, &extreme)
            })
        }
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            let greatest = 10_i128
                .checked_pow((*p).into())
                .map_or(0, |limit| limit - 1);
            let one = 10_i128.checked_pow((*s).max(0) as u32).unwrap_or(1);
            let choices = [0, 1, -1, one, -3 * one, 7 * one, greatest, -greatest];
            let n_choices = if is_moderate || rng.random() { 6 } else { 8 };
            let unscaled = *pick(rng, &choices[..n_choices]);
            Value::Decimal(unscaled.clamp(-greatest, greatest), *s)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Value::String((*pick(rng, &TEXTS)).to_owned())
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            Value::Binary(pick(rng, &BYTES).to_vec())
        }
        DataType::FixedSizeBinary(size) => {
            Value::Binary((0..*size).map(|_| *pick(rng, &[0, b'a', 0xff])).collect())
        }
        DataType::Date32 | DataType::Date64 => Value::Date(rng.random_range(-90_000..80_000)),
        DataType::Timestamp(unit, _) => {
            let us = rng.random_range(-8_000_000_000_000_000..7_200_000_000_000_000);
            Value::Timestamp(match unit {
                TimeUnit::Nanosecond => us,
                _ if rng.random_bool(0.2) => *pick(rng, &[0, -1, 1, -1_000, -999_999]),
                _ => us,
            })
        }
        DataType::Dictionary(_, value) => value_of(rng, value, is_moderate),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            let n_items = rng.random_range(0..=4);
            items(rng, item, n_items, is_moderate)
        }
        DataType::FixedSizeList(item, size) => items(rng, item, *size as usize, is_moderate),
        DataType::Struct(fields) => Value::Struct(
            fields
                .iter()
                .map(|field| (field.name().clone(), item_of(rng, field, is_moderate)))
                .collect(),
        ),
        DataType::Map(entries, _) => {
            let mut pairs: Vec<(Value, Value)> = Vec::new();
            if let DataType::Struct(fields) = entries.data_type() {
                for _ in 0..rng.random_range(0..=3) {
                    let key = value_of(rng, fields[0].data_type(), is_moderate);
                    if !pairs.iter().any(|(other, _)| other.is_identical(&key)) {
                        pairs.push((key, item_of(rng, &fields[1], is_moderate)));
                    }
                }
            }
            Value::Map(pairs)
        }
        _ => Value::Null,
    }
}

fn items(rng: &mut impl Rng, item: &Field, n_items: usize, is_moderate: bool) -> Value {
    Value::List(
        (0..n_items)
            .map(|_| item_of(rng, item, is_moderate))
            .collect(),
    )
}

fn item_of(rng: &mut impl Rng, field: &Field, is_moderate: bool) -> Value {
    if field.is_nullable() && rng.random_bool(0.15) {
        return Value::Null;
    }
    value_of(rng, field.data_type(), is_moderate)
}

fn integer(rng: &mut impl Rng, min: i128, max: i128, is_moderate: bool) -> Value {
    let value = match rng.random_range(0..12) {
        0 if !is_moderate => min,
        1 if !is_moderate => max,
        2 if !is_moderate => max - 1,
        3 => -1,
        _ => rng.random_range(-3..=100),
    };
    Value::Int(value.clamp(min, max))
}

#[cfg(test)]
mod tests {
    use provender_core::CastRule;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn found_types_cast_as_the_case_says() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..5_000 {
            let kind = feature_kind(&mut rng);
            let rule = kind.declared.cast_from(&kind.found);
            let expected = if kind.checked {
                CastRule::Checked
            } else {
                CastRule::Lossless
            };
            assert_eq!(rule, expected, "{} to {}", kind.found, kind.declared);
        }
    }
}
