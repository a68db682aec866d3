//! Layouts, fingerprints, and batches that do not fit.

use std::collections::HashSet;

use arrow_array::{ArrayRef, RecordBatch};
use provender_conformance::generate::build;
use provender_conformance::oracle::Value;
use provender_core::ValueType;
use provender_core::request::ViewLayout;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::generate::{layout, layout_of, rows_of};
use crate::{RowFormat, encode};

fn fingerprint(features: &[(&str, &str)]) -> u32 {
    RowFormat::new(&layout_of(features)).unwrap().fingerprint()
}

#[test]
fn fingerprints_tell_names_types_and_order_apart() {
    let schemas: [&[(&str, &str)]; 12] = [
        &[],
        &[("a", "int64")],
        &[("b", "int64")],
        &[("a", "int32")],
        &[("a", "int64"), ("b", "int64")],
        &[("b", "int64"), ("a", "int64")],
        &[("a", "string")],
        &[("a", "json")],
        &[("a", "decimal(10,2)")],
        &[("a", "decimal(10,3)")],
        &[("a", "struct<a: int64>")],
        &[("a", "struct<b: int64>")],
    ];
    let found: HashSet<u32> = schemas.iter().map(|schema| fingerprint(schema)).collect();
    assert_eq!(found.len(), schemas.len());
    for seed in 0..200 {
        let first = layout(&mut StdRng::seed_from_u64(seed));
        let mut other = first.clone();
        other.view = "other".to_owned();
        other.version = 9;
        other.join_keys.clear();
        other.tie_breakers.clear();
        other.ttl_us = Some(1);
        let of = |layout: &ViewLayout| RowFormat::new(layout).unwrap().fingerprint();
        assert_eq!(of(&first), of(&other));
        other.features.push(("more".to_owned(), ValueType::Bool));
        assert_ne!(of(&first), of(&other));
    }
}

#[test]
fn types_that_rows_cannot_hold_are_refused() {
    let mut deep = ValueType::Int8;
    for _ in 0..100 {
        deep = ValueType::List(Box::new(deep));
    }
    for (value_type, why) in [
        (ValueType::Struct(Vec::new()), "a struct has no fields"),
        (ValueType::Embedding(0), "an embedding has no numbers"),
        (
            ValueType::List(Box::new(ValueType::Embedding(-1))),
            "an embedding has no numbers",
        ),
        (
            ValueType::Embedding(i32::MAX),
            "one value of it takes more than 4 GiB",
        ),
        (
            ValueType::Decimal(39, 0),
            "a decimal's precision is 1 to 38 and its scale 0 to the precision",
        ),
        (deep, "it is nested too deeply"),
    ] {
        let mut layout = layout_of(&[]);
        layout.features = vec![("f".to_owned(), value_type)];
        let error = RowFormat::new(&layout).unwrap_err();
        assert_eq!(error.code(), "P109");
        assert_eq!(
            error.message(),
            format!("feature \"f\" of view \"v\" has a type that online rows cannot hold: {why}")
        );
    }
}

/// What is said of a batch whose column was replaced.
fn refused(at: usize, column: ArrayRef) -> String {
    let mut layout = layout_of(&[("a", "decimal(10,2)"), ("b", "embedding<2>")]);
    layout.tie_breakers = vec![ValueType::Int8];
    let format = RowFormat::new(&layout).unwrap();
    let schema = layout.write_schema();
    let columns = schema.fields().iter().enumerate().map(|(index, field)| {
        let values = match index {
            0 => [Value::Int(1), Value::Int(2)],
            1 => [Value::Timestamp(1), Value::Timestamp(2)],
            _ => [Value::Null, Value::Null],
        };
        let built = build(field.data_type(), &values).unwrap();
        let column = if index == at { column.clone() } else { built };
        (field.name().clone(), column, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    match format.encoder(&batch) {
        Ok(_) => panic!("bound"),
        Err(error) => {
            assert_eq!(error.code(), "P406");
            error.message().to_owned()
        }
    }
}

#[test]
fn batches_that_do_not_fit_are_refused_by_column() {
    let of = |value_type: &str, values: &[Value]| {
        let value_type: ValueType = value_type.parse().unwrap();
        build(&value_type.to_arrow(), values).unwrap()
    };
    let null = Value::Null;
    let nulls = [null.clone(), null.clone()];
    for (at, column, said) in [
        (
            0,
            of("int64", &[Value::Int(1), null.clone()]),
            "rows for view \"v\" are refused: join key \"id\" is null in row 1",
        ),
        (
            0,
            of("int32", &nulls),
            "rows for view \"v\": join key \"id\" is declared int64, but its column is Int32",
        ),
        (
            1,
            of("timestamp", &[null.clone(), Value::Timestamp(1)]),
            "rows for view \"v\" are refused: the event time is null in row 0",
        ),
        (
            2,
            of("int64", &nulls),
            "rows for view \"v\" are refused: the created time is Int64, not a timestamp in \
             microseconds",
        ),
        (
            3,
            of("int64", &nulls),
            "rows for view \"v\" are refused: whether a row is a tombstone is Int64, not a bool",
        ),
        (
            4,
            of("int64", &nulls),
            "rows for view \"v\" are refused: tie breaker 0 is declared int8, but its column is \
             Int64",
        ),
        (
            5,
            of("decimal(10,3)", &nulls),
            "rows for view \"v\" are refused: feature \"a\" is declared decimal(10,2), but its \
             column is Decimal128(10, 3)",
        ),
    ] {
        assert_eq!(refused(at, column), said);
    }
    let embedding = refused(6, of("embedding<3>", &nulls));
    assert!(
        embedding.contains("feature \"b\" is declared embedding<2>, but its column is"),
        "{embedding}"
    );
}

#[test]
fn batches_of_other_width_and_rows_beyond_are_refused() {
    let layout = layout_of(&[("a", "int8")]);
    let format = RowFormat::new(&layout).unwrap();
    let batch = rows_of(&layout_of(&[]), &[]);
    let Err(error) = format.encoder(&batch) else {
        panic!("bound");
    };
    assert_eq!(
        error.message(),
        "rows for view \"v\" are refused: they have 4 columns instead of 5 (join keys, event time, \
         created time, tombstone, tie breakers, features)"
    );
    let batch = rows_of(&layout, &[vec![Value::Int(1)]]);
    let encoder = format.encoder(&batch).unwrap();
    let mut out = Vec::new();
    let error = encoder.append(1, &mut out).unwrap_err();
    assert_eq!(error.message(), "row 1 was asked of 1 rows for view \"v\"");
    encoder.append_key(1, &mut out);
    assert!(out.is_empty());
    let error = format.decoder(&[0, 1]).unwrap_err();
    assert_eq!(
        error.message(),
        "feature number 1 was asked of view \"v\", which has 1"
    );
}

#[test]
fn heaps_end_within_what_a_slot_holds() {
    assert_eq!(encode::heap_end(0), Some(0));
    assert_eq!(encode::heap_end(u32::MAX as usize), Some(u32::MAX));
    assert_eq!(encode::heap_end(u32::MAX as usize + 1), None);
}
