//! Rows, columns and definitions that the tests share.

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use provender_conformance::{Table, Tables};
use serde_json::{Value, json};
use std::sync::Arc;

pub const HOUR: i64 = 3_600_000_000;

pub fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

pub fn now_us() -> i64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_micros() as i64
}

pub fn instants(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

/// Hours before now, as timestamps.
pub fn hours_ago(values: &[i64]) -> ArrayRef {
    let now = now_us();
    instants(values.iter().map(|hours| now - hours * HOUR))
}

pub fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().cloned()).unwrap()
}

pub fn names(rows: &RecordBatch) -> Vec<String> {
    let schema = rows.schema();
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// A column as text, `-` for null.
pub fn text(rows: &RecordBatch, column: &str) -> Vec<String> {
    let column = rows
        .column_by_name(column)
        .unwrap_or_else(|| panic!("no column {column} in {:?}", names(rows)));
    let options = arrow_cast::display::FormatOptions::default().with_null("-");
    let shown = arrow_cast::display::ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
    (0..column.len())
        .map(|row| shown.value(row).to_string())
        .collect()
}

pub fn together(batches: &[RecordBatch]) -> RecordBatch {
    arrow_select::concat::concat_batches(&batches[0].schema(), batches).unwrap()
}

pub fn keys(values: &[&str]) -> RecordBatch {
    batch(&[("origin", strings(values))])
}

/// A spine of `n` rows that go through three airports.
pub fn spine(n: usize) -> RecordBatch {
    let airports = ["JFK", "LGA", "EWR"];
    let origin: StringArray = (0..n).map(|row| Some(airports[row % 3])).collect();
    let now = now_us();
    batch(&[
        ("label", ints(&(0..n as i64).collect::<Vec<_>>())),
        ("origin", Arc::new(origin)),
        (
            "time_hour",
            instants((0..n as i64).map(|row| now - (row % 7) * HOUR / 7)),
        ),
    ])
}

pub fn all_tables() -> Tables {
    let weather = batch(&[
        ("origin", strings(&["JFK", "JFK", "LGA"])),
        ("time", hours_ago(&[2, 1, 1])),
        ("temp", floats(&[10.0, 20.0, 25.0])),
        ("wind", ints(&[1, 2, 3])),
    ]);
    let airports = batch(&[
        ("faa", strings(&["JFK", "LGA", "EWR"])),
        ("known_at", hours_ago(&[99, 99, 99])),
        ("alt", ints(&[13, 21, 18])),
    ]);
    let season = batch(&[("since", hours_ago(&[50])), ("name", strings(&["autumn"]))]);
    let labels = batch(&[
        ("origin", strings(&["LGA", "JFK"])),
        ("event_timestamp", hours_ago(&[0, 0])),
    ]);
    [
        ("weather", weather),
        ("airports", airports),
        ("season", season),
        ("labels", labels),
    ]
    .into_iter()
    .map(|(name, rows)| (name.to_owned(), Table::of(rows)))
    .collect()
}

pub const DEFINITIONS: &str = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
sources:
  - {name: weather, table: weather, timestamp: time}
  - {name: airports, table: airports, timestamp: known_at, columns: {origin: faa}}
  - {name: season, table: season, timestamp: since}
feature_views:
  - name: airport_weather
    entities: [airport]
    source: weather
    ttl: 3h
    features: [{name: temp, type: float64}, {name: wind, type: int64}]
  - name: airport_facts
    entities: [airport]
    source: airports
    features: [{name: alt, type: int64}]
  - name: season
    source: season
    features: [{name: name, type: string}]
on_demand_feature_views:
  - name: feel
    inputs: [airport_weather]
    request: [{name: humidity, type: float64}]
    features: [{name: mugginess, type: float64, sql: temp * humidity}]
feature_services:
  - name: model
    features: [airport_weather, airport_facts, feel]
  - name: plain
    features: [airport_weather, airport_facts]
  - name: global
    features: [season]
  - name: both_ends
    features:
      - airport_facts
      - {view: airport_facts, as: dest_facts, join_keys: {origin: dest}}
";

/// The command of an online read.
pub fn online(service: &str, entities: Value) -> Value {
    json!({"op": "online", "service": service, "entities": entities})
}
