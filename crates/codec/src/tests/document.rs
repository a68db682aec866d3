//! The worked examples of `docs/online-rows.md` are what the code writes.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use provender_conformance::generate::build;
use provender_conformance::oracle::Value;
use provender_core::ValueType;
use provender_core::model::JoinKey;
use provender_core::request::ViewLayout;

use crate::RowFormat;

const DOCUMENT: &str = include_str!("../../../../docs/online-rows.md");

/// The bytes of the document's blocks of hex, in which `#` starts a comment.
fn examples() -> Vec<Vec<u8>> {
    let blocks = DOCUMENT.split("```hex\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default());
    blocks
        .map(|block| {
            block
                .lines()
                .flat_map(|line| {
                    line.split('#')
                        .next()
                        .unwrap_or_default()
                        .split_whitespace()
                })
                .map(|byte| u8::from_str_radix(byte, 16).unwrap())
                .collect()
        })
        .collect()
}

struct Example {
    keys: Vec<(&'static str, &'static str, Value)>,
    created_us: Option<i64>,
    ties: Vec<(&'static str, Value)>,
    features: Vec<(&'static str, &'static str, Value)>,
}

/// 2013-01-01T06:00:00Z
const EVENT_US: i64 = 1_357_020_000_000_000;

impl Example {
    /// The row's key and the row itself, and what the row is read back as.
    fn bytes(self) -> (Vec<u8>, Vec<u8>) {
        let parse = |text: &str| text.parse::<ValueType>().unwrap();
        let layout = ViewLayout {
            project: "p".to_owned(),
            view: "v".to_owned(),
            version: 1,
            join_keys: self
                .keys
                .iter()
                .map(|(name, value_type, _)| JoinKey {
                    name: (*name).to_owned(),
                    value_type: parse(value_type),
                })
                .collect(),
            features: self
                .features
                .iter()
                .map(|(name, value_type, _)| ((*name).to_owned(), parse(value_type)))
                .collect(),
            tie_breakers: self.ties.iter().map(|(tie, _)| parse(tie)).collect(),
            ttl_us: None,
        };
        let mut values: Vec<Value> = self.keys.into_iter().map(|(_, _, value)| value).collect();
        values.push(Value::Timestamp(EVENT_US));
        values.push(self.created_us.map_or(Value::Null, Value::Timestamp));
        values.push(Value::Null);
        values.extend(self.ties.into_iter().map(|(_, value)| value));
        let features: Vec<Value> = self.features.into_iter().map(|(_, _, v)| v).collect();
        values.extend(features.iter().cloned());
        let schema = layout.write_schema();
        let columns = schema.fields().iter().zip(&values);
        let columns: Vec<ArrayRef> = columns
            .map(|(field, value)| build(field.data_type(), std::slice::from_ref(value)).unwrap())
            .collect();
        let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let format = RowFormat::new(&layout).unwrap();
        let encoder = format.encoder(&batch).unwrap();
        let (mut key, mut row) = (Vec::new(), Vec::new());
        encoder.append_key(0, &mut key);
        encoder.append(0, &mut row).unwrap();

        let all: Vec<usize> = (0..features.len()).collect();
        let answer = format.decoder(&all).unwrap().decode(&[Some(&row)]).unwrap();
        assert_eq!(answer.unreadable, []);
        for (column, expected) in answer.features.iter().zip(&features) {
            let found = Value::read(column.as_ref(), 0).unwrap();
            assert!(found.is_identical(expected), "{found:?}, not {expected:?}");
        }
        (key, row)
    }
}

#[test]
fn worked_examples_are_what_is_written() {
    let text = |text: &str| Value::String(text.to_owned());
    let weather = Example {
        keys: vec![("origin", "string", text("JFK"))],
        created_us: None,
        ties: vec![],
        features: vec![
            ("temp", "float64", Value::Float64(39.02)),
            ("wind_dir", "int32", Value::Null),
            ("sky", "string", text("overcast")),
        ],
    };
    let visitor = Example {
        keys: vec![
            ("visitor", "string", text("a\0b")),
            ("shard", "int16", Value::Int(-2)),
        ],
        created_us: Some(EVENT_US + 1_500_000),
        ties: vec![("int64", Value::Int(5)), ("string", text("x"))],
        features: vec![
            (
                "tags",
                "list<string>",
                Value::List(vec![text("new"), Value::Null, text("")]),
            ),
            (
                "place",
                "struct<city: string, floor: int8>",
                Value::Struct(vec![
                    ("city".to_owned(), Value::Null),
                    ("floor".to_owned(), Value::Int(-1)),
                ]),
            ),
            (
                "scores",
                "map<string, float32>",
                Value::Map(vec![(text("a"), Value::Float32(0.5))]),
            ),
            ("price", "decimal(10,2)", Value::Decimal(1234, 2)),
            (
                "vector",
                "embedding<2>",
                Value::List(vec![Value::Float32(1.0), Value::Float32(-0.0)]),
            ),
        ],
    };
    let found = examples();
    let (weather_key, weather_row) = weather.bytes();
    let (visitor_key, visitor_row) = visitor.bytes();
    let expected = [weather_key, weather_row, visitor_key, visitor_row];
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "written: {expected:02x?}");
    }
    assert_eq!(found.len(), expected.len());
}
