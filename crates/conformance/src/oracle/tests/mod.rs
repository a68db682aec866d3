//! Each rule of the semantics on rows written by hand.
#![allow(clippy::unwrap_used, clippy::panic)]

mod aggregates;
mod casts;
mod joins;
mod latest;
mod windows;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use provender_core::request::{
    FeatureColumn, KeyColumn, PointInTimeJoin, SourceRef, TimedSource, ViewJoin, WindowAggregate,
};
use provender_core::time::instant_type;

use super::{Expected, Value, point_in_time_join};
use crate::generate::build;
use crate::{SpineTable, Table, Tables};

/// Null, short enough for tables of rows.
const K: Value = Value::Null;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn int(value: i128) -> Value {
    Value::Int(value)
}

fn at(us: i64) -> Value {
    Value::Timestamp(us)
}

fn table(columns: &[(&str, DataType)], rows: &[&[Value]]) -> Table {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    let arrays = columns.iter().enumerate().map(|(column, (_, data_type))| {
        let values: Vec<Value> = rows.iter().map(|row| row[column].clone()).collect();
        build(data_type, &values).unwrap()
    });
    let arrays = arrays.collect();
    Table::of(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap())
}

/// A table `t` of key `k`, event time `ts`, created time `created` and whole number `v`.
fn rows(rows: &[[Value; 4]]) -> Tables {
    let columns = [
        ("k", DataType::Utf8),
        ("ts", instant_type()),
        ("created", instant_type()),
        ("v", DataType::Int64),
    ];
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    Tables::from([("t".to_owned(), table(&columns, &rows))])
}

/// The same of a value column of any type, all rows of key `a` and created at null.
fn values(data_type: DataType, rows: &[(i64, Value)]) -> Tables {
    let columns = [
        ("k", DataType::Utf8),
        ("ts", instant_type()),
        ("created", instant_type()),
        ("v", data_type),
    ];
    let rows: Vec<[Value; 4]> = rows
        .iter()
        .map(|(us, value)| [text("a"), at(*us), K, value.clone()])
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    Tables::from([("t".to_owned(), table(&columns, &rows))])
}

fn spine(rows: &[(Value, Value)]) -> SpineTable {
    let columns = [
        ("k", DataType::Utf8),
        ("time", instant_type()),
        ("row", DataType::Int64),
    ];
    let rows: Vec<[Value; 3]> = rows
        .iter()
        .enumerate()
        .map(|(row, (key, time))| [key.clone(), time.clone(), int(row as i128)])
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    SpineTable {
        table: table(&columns, &rows),
        timestamp: "time".to_owned(),
        row_number: "row".to_owned(),
    }
}

fn source() -> TimedSource {
    TimedSource {
        source: SourceRef::table("t"),
        timestamp: "ts".to_owned(),
        created_timestamp: Some("created".to_owned()),
        tie_breakers: Vec::new(),
    }
}

fn key() -> KeyColumn {
    KeyColumn {
        spine: "k".to_owned(),
        column: "k".to_owned(),
        value_type: ValueType::String,
    }
}

fn feature(column: &str, value_type: ValueType) -> FeatureColumn {
    FeatureColumn {
        column: column.to_owned(),
        output: column.to_owned(),
        value_type,
        checked: false,
    }
}

fn view() -> ViewJoin {
    ViewJoin {
        name: "view".to_owned(),
        source: source(),
        keys: vec![key()],
        ttl_us: None,
        features: vec![feature("v", ValueType::Int64)],
        aggregations: Vec::new(),
    }
}

fn join(view: ViewJoin) -> PointInTimeJoin {
    PointInTimeJoin {
        views: vec![view],
        as_known: false,
    }
}

/// What each spine row may get: the acceptable rows of features, as text.
fn features(join: &PointInTimeJoin, tables: &Tables, spine: &SpineTable) -> Vec<String> {
    let answers = point_in_time_join(join, tables, spine).unwrap();
    let texts = answers.iter().map(|views| {
        let rows: Vec<String> = views[0]
            .features
            .iter()
            .map(|row| {
                let cells: Vec<String> = row
                    .iter()
                    .map(|cell| match cell {
                        Ok(value) => format!("{value:?}"),
                        Err(why) => why.clone(),
                    })
                    .collect();
                cells.join("+")
            })
            .collect();
        rows.join(" or ")
    });
    texts.collect()
}

fn window(function: AggregateFunction, column: Option<&str>, window_us: i64) -> ViewJoin {
    let mut view = view();
    view.features.clear();
    view.aggregations = vec![WindowAggregate {
        function,
        column: column.map(str::to_owned),
        window_us,
        output: "w".to_owned(),
        value_type: ValueType::Int64,
    }];
    view
}

fn aggregated(view: ViewJoin, tables: &Tables, t: i64) -> String {
    let spine = spine(&[(text("a"), at(t))]);
    let answers = point_in_time_join(&join(view), tables, &spine).unwrap();
    match &answers[0][0].aggregations[0] {
        Expected::AnyOf(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            values.join(" or ")
        }
        Expected::Near { value, .. } => format!("near {value}"),
        Expected::Overflow => "overflow".to_owned(),
    }
}

fn over(function: AggregateFunction, data_type: DataType, values_: &[Value]) -> String {
    let rows: Vec<(i64, Value)> = values_
        .iter()
        .enumerate()
        .map(|(row, value)| (row as i64, value.clone()))
        .collect();
    let input = ValueType::from_arrow(&data_type);
    let mut view = window(function, Some("v"), 1_000);
    view.aggregations[0].value_type = function.result_type(input.as_ref()).unwrap();
    aggregated(view, &values(data_type, &rows), 100)
}
