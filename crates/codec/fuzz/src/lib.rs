//! Layouts and values from fuzzed bytes: every input means one, and small changes of an input are
//! small changes of what it means.

use provender_conformance::oracle::Value;
use provender_core::ValueType;
use provender_core::request::{ViewLayout, ViewRows};

/// Bytes that are read one after the other; zeros follow the last one.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads these bytes.
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// The next byte, below a limit.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// A layout without keys of up to eight features and two tie breakers.
pub fn layout(input: &mut Input<'_>) -> ViewLayout {
    let n_features = input.below(9);
    let n_ties = input.below(3);
    ViewLayout {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
        join_keys: Vec::new(),
        features: (0..n_features)
            .map(|index| (format!("f{index}"), value_type(input, 0)))
            .collect(),
        tie_breakers: (0..n_ties).map(|_| value_type(input, 3)).collect(),
        ttl_us: None,
    }
}

/// A type, nested at most three deep.
pub fn value_type(input: &mut Input<'_>, depth: usize) -> ValueType {
    let inner = |input: &mut Input<'_>| Box::new(value_type(input, depth + 1));
    match input.below(if depth < 3 { 21 } else { 17 }) {
        0 => ValueType::Float64,
        1 => ValueType::String,
        2 => ValueType::Bool,
        3 => ValueType::Int8,
        4 => ValueType::Int16,
        5 => ValueType::Int32,
        6 => ValueType::Int64,
        7 => ValueType::UInt8,
        8 => ValueType::UInt16,
        9 => ValueType::UInt32,
        10 => ValueType::UInt64,
        11 => ValueType::Float32,
        12 => ValueType::Decimal(20, 2),
        13 => ValueType::Binary,
        14 => ValueType::Date,
        15 => ValueType::Timestamp,
        16 => ValueType::Json,
        17 => ValueType::List(inner(input)),
        18 => ValueType::Map(inner(input), inner(input)),
        19 => ValueType::Struct(
            (0..=input.below(9))
                .map(|index| (format!("s{index}"), *inner(input)))
                .collect(),
        ),
        _ => ValueType::Embedding(1 + i32::from(input.byte() % 40)),
    }
}

/// A value of the type, seldom null.
pub fn nullable(input: &mut Input<'_>, value_type: &ValueType) -> Value {
    match input.below(5) {
        1 => Value::Null,
        _ => value(input, value_type),
    }
}

/// A value of the type, which is not null.
pub fn value(input: &mut Input<'_>, value_type: &ValueType) -> Value {
    match value_type {
        ValueType::Bool => Value::Bool(input.byte() & 1 == 1),
        ValueType::Int8 => Value::Int(i8::from_le_bytes(input.bytes()).into()),
        ValueType::Int16 => Value::Int(i16::from_le_bytes(input.bytes()).into()),
        ValueType::Int32 => Value::Int(i32::from_le_bytes(input.bytes()).into()),
        ValueType::Int64 => Value::Int(i64::from_le_bytes(input.bytes()).into()),
        ValueType::UInt8 => Value::Int(input.byte().into()),
        ValueType::UInt16 => Value::Int(u16::from_le_bytes(input.bytes()).into()),
        ValueType::UInt32 => Value::Int(u32::from_le_bytes(input.bytes()).into()),
        ValueType::UInt64 => Value::Int(u64::from_le_bytes(input.bytes()).into()),
        ValueType::Float32 => Value::Float32(f32::from_le_bytes(input.bytes())),
        ValueType::Float64 => Value::Float64(f64::from_le_bytes(input.bytes())),
        ValueType::Decimal(_, scale) => {
            Value::Decimal(i64::from_le_bytes(input.bytes()).into(), *scale)
        }
        ValueType::Binary => Value::Binary(text(input)),
        // The kit counts dates in microseconds, which fewer days reach than 32 bits hold.
        ValueType::Date => Value::Date(i32::from_le_bytes(input.bytes()) % 100_000_000),
        ValueType::Timestamp => Value::Timestamp(i64::from_le_bytes(input.bytes())),
        ValueType::List(item) => Value::List(
            (0..input.below(10))
                .map(|_| nullable(input, item))
                .collect(),
        ),
        ValueType::Map(key, item) => Value::Map(
            (0..input.below(10))
                .map(|_| (value(input, key), nullable(input, item)))
                .collect(),
        ),
        ValueType::Struct(fields) => Value::Struct(
            fields
                .iter()
                .map(|(name, field)| (name.clone(), nullable(input, field)))
                .collect(),
        ),
        ValueType::Embedding(size) => Value::List(
            (0..*size)
                .map(|_| nullable(input, &ValueType::Float32))
                .collect(),
        ),
        _ => Value::String(String::from_utf8_lossy(&text(input)).into_owned()),
    }
}

fn text(input: &mut Input<'_>) -> Vec<u8> {
    (0..input.below(20)).map(|_| input.byte()).collect()
}

/// Makes a row one of this schema, with the checksum of its bytes as they are.
pub fn seal(row: &mut [u8], fingerprint: u32) {
    if row.len() < 10 {
        return;
    }
    row[0] = 1;
    row[2..6].copy_from_slice(&fingerprint.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&row[..6]), &row[10..]);
    row[6..10].copy_from_slice(&checksum.to_le_bytes());
}

/// Asserts what holds of every answer to one row.
pub fn check(answer: &ViewRows, n_features: usize) {
    assert_eq!(answer.event_times.len(), 1);
    assert_eq!(answer.features.len(), n_features);
    assert!(answer.unreadable.len() <= 1);
    for column in &answer.features {
        assert_eq!(column.len(), 1);
        assert!(answer.unreadable.is_empty() || column.is_null(0));
        // Whatever the bytes, the array is one that Arrow accepts.
        column.to_data().validate_full().expect("a valid array");
    }
}
