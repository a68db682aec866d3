//! Random layouts and rows, each decided by its seed.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use provender_conformance::generate::build;
use provender_conformance::oracle::Value;
use provender_core::ValueType;
use provender_core::model::JoinKey;
use provender_core::request::ViewLayout;
use rand::Rng;
use rand::rngs::StdRng;

use crate::RowFormat;

/// A layout and rows of it.
pub(super) struct Case {
    pub(super) layout: ViewLayout,
    pub(super) format: RowFormat,
    pub(super) batch: RecordBatch,
}

impl Case {
    /// Up to 12 rows of a random layout, in a batch that is a slice of a longer one.
    pub(super) fn random(rng: &mut StdRng) -> Self {
        let layout = layout(rng);
        let n_rows = rng.random_range(1..=12);
        let batch = batch(rng, &layout, n_rows);
        Self {
            format: RowFormat::new(&layout).unwrap(),
            layout,
            batch,
        }
    }

    /// Every row packed, tombstones included.
    pub(super) fn packed(&self) -> Vec<Vec<u8>> {
        pack(&self.format, &self.batch)
    }

    /// The cell of a feature.
    pub(super) fn value(&self, row: usize, feature: usize) -> Value {
        let before = self.layout.join_keys.len() + 3 + self.layout.tie_breakers.len();
        Value::read(self.batch.column(before + feature).as_ref(), row).unwrap()
    }

    pub(super) fn event_us(&self, row: usize) -> i64 {
        let column = self.batch.column(self.layout.join_keys.len());
        let value = Value::read(column.as_ref(), row).unwrap();
        value.instant_us().unwrap().unwrap()
    }

    pub(super) fn created_us(&self, row: usize) -> Option<i64> {
        let column = self.batch.column(self.layout.join_keys.len() + 1);
        let value = Value::read(column.as_ref(), row).unwrap();
        value.instant_us().unwrap()
    }

    pub(super) fn is_tombstone(&self, row: usize) -> bool {
        let column = self.batch.column(self.layout.join_keys.len() + 2);
        matches!(Value::read(column.as_ref(), row), Ok(Value::Bool(true)))
    }
}

/// Every row of a batch packed.
pub(super) fn pack(format: &RowFormat, batch: &RecordBatch) -> Vec<Vec<u8>> {
    let encoder = format.encoder(batch).unwrap();
    (0..encoder.n_rows())
        .map(|row| {
            let mut out = Vec::new();
            encoder.append(row, &mut out).unwrap();
            out
        })
        .collect()
}

/// A layout of a view `v` with these features, one key `id` and no tie breakers.
pub(super) fn layout_of(features: &[(&str, &str)]) -> ViewLayout {
    ViewLayout {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
        join_keys: vec![JoinKey {
            name: "id".to_owned(),
            value_type: ValueType::Int64,
        }],
        features: features
            .iter()
            .map(|(name, value_type)| ((*name).to_owned(), value_type.parse().unwrap()))
            .collect(),
        tie_breakers: Vec::new(),
        ttl_us: None,
    }
}

/// Rows of [`layout_of`]: row i has key and event time i, and the features' cells.
pub(super) fn rows_of(layout: &ViewLayout, features: &[Vec<Value>]) -> RecordBatch {
    let n_rows = features.first().map_or(1, Vec::len);
    let schema = layout.write_schema();
    let columns = schema.fields().iter().enumerate().map(|(index, field)| {
        let values: Vec<Value> = match index {
            0 => (0..n_rows).map(|row| Value::Int(row as i128)).collect(),
            1 => (0..n_rows)
                .map(|row| Value::Timestamp(row as i64))
                .collect(),
            2 | 3 => vec![Value::Null; n_rows],
            index => features[index - 4].clone(),
        };
        build(field.data_type(), &values).unwrap()
    });
    let columns: Vec<ArrayRef> = columns.collect();
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

pub(super) fn layout(rng: &mut StdRng) -> ViewLayout {
    ViewLayout {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
        join_keys: (0..rng.random_range(0..4))
            .map(|index| JoinKey {
                name: format!("k{index}"),
                value_type: key_type(rng),
            })
            .collect(),
        features: (0..rng.random_range(0..20))
            .map(|index| (format!("f{index}"), value_type(rng, 0)))
            .collect(),
        tie_breakers: (0..rng.random_range(0..4))
            .map(|_| value_type(rng, 2))
            .collect(),
        ttl_us: None,
    }
}

fn batch(rng: &mut StdRng, layout: &ViewLayout, n_rows: usize) -> RecordBatch {
    let (before, after) = (rng.random_range(0..10), rng.random_range(0..3));
    let n_all = before + n_rows + after;
    let n_keys = layout.join_keys.len();
    let schema = layout.write_schema();
    let mut types: Vec<ValueType> = Vec::new();
    types.extend(layout.join_keys.iter().map(|key| key.value_type.clone()));
    types.extend([ValueType::Timestamp, ValueType::Timestamp, ValueType::Bool]);
    types.extend(layout.tie_breakers.iter().cloned());
    types.extend(layout.features.iter().map(|(_, feature)| feature.clone()));
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (index, (field, value_type)) in schema.fields().iter().zip(&types).enumerate() {
        let nulls = match index {
            index if index <= n_keys => 0.0,
            index if index == n_keys + 2 => 0.7,
            _ => [0.0, 0.0, 0.3, 1.0][rng.random_range(0..4)],
        };
        let values: Vec<Value> = (0..n_all)
            .map(|_| match rng.random_bool(nulls) {
                true => Value::Null,
                false => value(rng, value_type),
            })
            .collect();
        columns.push(build(field.data_type(), &values).unwrap());
    }
    let batch = RecordBatch::try_new_with_options(
        Arc::new(schema),
        columns,
        &arrow_array::RecordBatchOptions::new().with_row_count(Some(n_all)),
    );
    batch.unwrap().slice(before, n_rows)
}

pub(super) fn key_type(rng: &mut StdRng) -> ValueType {
    let types = [
        ValueType::Bool,
        ValueType::Int8,
        ValueType::Int16,
        ValueType::Int32,
        ValueType::Int64,
        ValueType::UInt8,
        ValueType::UInt16,
        ValueType::UInt32,
        ValueType::UInt64,
        ValueType::String,
        ValueType::Binary,
        ValueType::Date,
        ValueType::Timestamp,
    ];
    types[rng.random_range(0..types.len())].clone()
}

/// A type of any kind, nested up to three deep.
pub(super) fn value_type(rng: &mut StdRng, depth: usize) -> ValueType {
    let inner = |rng: &mut StdRng| value_type(rng, depth + 1);
    match rng.random_range(0..if depth < 3 { 12 } else { 6 }) {
        0 => ValueType::Float32,
        1 => ValueType::Float64,
        2 => {
            let precision = rng.random_range(1..=38);
            ValueType::Decimal(precision, rng.random_range(0..=precision as i8))
        }
        3 => ValueType::Json,
        4 | 5 => key_type(rng),
        6 | 7 => ValueType::List(Box::new(inner(rng))),
        8 => ValueType::Map(Box::new(inner(rng)), Box::new(inner(rng))),
        9 | 10 => ValueType::Struct(
            (0..rng.random_range(1..=10))
                .map(|index| (format!("s{index}"), value_type(rng, depth + 2)))
                .collect(),
        ),
        _ => ValueType::Embedding(rng.random_range(1..=40)),
    }
}

/// A value that is not null; what it holds may be.
pub(super) fn value(rng: &mut StdRng, value_type: &ValueType) -> Value {
    match value_type {
        ValueType::Bool => Value::Bool(rng.random()),
        ValueType::Int8 => Value::Int(edge(rng, i8::MIN.into(), i8::MAX.into())),
        ValueType::Int16 => Value::Int(edge(rng, i16::MIN.into(), i16::MAX.into())),
        ValueType::Int32 => Value::Int(edge(rng, i32::MIN.into(), i32::MAX.into())),
        ValueType::Int64 => Value::Int(edge(rng, i64::MIN.into(), i64::MAX.into())),
        ValueType::UInt8 => Value::Int(edge(rng, 0, u8::MAX.into())),
        ValueType::UInt16 => Value::Int(edge(rng, 0, u16::MAX.into())),
        ValueType::UInt32 => Value::Int(edge(rng, 0, u32::MAX.into())),
        ValueType::UInt64 => Value::Int(edge(rng, 0, u64::MAX.into())),
        ValueType::Float32 => Value::Float32(float32(rng)),
        ValueType::Float64 => Value::Float64(float64(rng)),
        ValueType::Decimal(precision, scale) => {
            let limit = 10_i128.pow((*precision).into());
            Value::Decimal(edge(rng, 1 - limit, limit - 1), *scale)
        }
        ValueType::String | ValueType::Json => Value::String(text(rng)),
        ValueType::Binary => Value::Binary(match rng.random_range(0..3) {
            0 => text(rng).into_bytes(),
            1 => vec![[0, 0xFF][rng.random_range(0..2)]; rng.random_range(0..4)],
            _ => (0..rng.random_range(0..20)).map(|_| rng.random()).collect(),
        }),
        ValueType::Date => Value::Date(rng.random_range(-100_000..100_000)),
        ValueType::Timestamp => {
            Value::Timestamp(edge(rng, i64::MIN.into(), i64::MAX.into()) as i64)
        }
        ValueType::List(item) => {
            let nulls = nulls(rng);
            Value::List((0..n_items(rng)).map(|_| maybe(rng, item, nulls)).collect())
        }
        ValueType::Map(key, item) => {
            let nulls = nulls(rng);
            Value::Map(
                (0..n_items(rng))
                    .map(|_| (value(rng, key), maybe(rng, item, nulls)))
                    .collect(),
            )
        }
        ValueType::Struct(fields) => {
            let nulls = nulls(rng);
            Value::Struct(
                fields
                    .iter()
                    .map(|(name, field)| (name.clone(), maybe(rng, field, nulls)))
                    .collect(),
            )
        }
        ValueType::Embedding(size) => {
            let nulls = nulls(rng);
            Value::List(
                (0..*size)
                    .map(|_| maybe(rng, &ValueType::Float32, nulls))
                    .collect(),
            )
        }
        other => panic!("no values of {other}"),
    }
}

pub(super) fn maybe(rng: &mut StdRng, value_type: &ValueType, nulls: f64) -> Value {
    match rng.random_bool(nulls) {
        true => Value::Null,
        false => value(rng, value_type),
    }
}

fn nulls(rng: &mut StdRng) -> f64 {
    [0.0, 0.0, 0.3, 1.0][rng.random_range(0..4)]
}

fn n_items(rng: &mut StdRng) -> usize {
    [0, 1, 2, 7, 8, 9, 17][rng.random_range(0..7)]
}

fn edge(rng: &mut StdRng, low: i128, high: i128) -> i128 {
    match rng.random_range(0..6) {
        0 => low,
        1 => high,
        2 => rng.random_range(-3..=3).clamp(low, high),
        _ => rng.random_range(low..=high),
    }
}

pub(super) fn float64(rng: &mut StdRng) -> f64 {
    let edges = [
        0.0,
        -0.0,
        1.5,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE / 2.0,
        f64::from_bits(0x7FF8_0000_DEAD_BEEF),
        f64::from_bits(0xFFF8_0000_0000_0001),
        f64::from_bits(0x7FF0_0000_0000_0001),
    ];
    match rng.random() {
        true => edges[rng.random_range(0..edges.len())],
        false => f64::from_bits(rng.random()),
    }
}

pub(super) fn float32(rng: &mut StdRng) -> f32 {
    let edges = [
        0.0,
        -0.0,
        -1.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::from_bits(0x7FC0_BEEF),
        f32::from_bits(0xFFC0_0001),
        f32::from_bits(0x7F80_0001),
    ];
    match rng.random() {
        true => edges[rng.random_range(0..edges.len())],
        false => f32::from_bits(rng.random()),
    }
}

fn text(rng: &mut StdRng) -> String {
    let parts = ["", "a", "ab", "\0", "\0\0", "é", "日本", "\u{10FFFF}", "{}"];
    (0..rng.random_range(0..4))
        .map(|_| parts[rng.random_range(0..parts.len())])
        .collect()
}
