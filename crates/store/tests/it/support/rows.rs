//! Short ways to write tables down, and to read them as text.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use provender_conformance::{Table, Tables};

/// Microseconds in an hour.
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

/// Hours since the epoch, as timestamps.
pub fn hours(values: &[i64]) -> ArrayRef {
    let us = values.iter().map(|hours| hours * HOUR);
    Arc::new(TimestampMicrosecondArray::from_iter_values(us).with_timezone("UTC"))
}

pub fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().cloned()).unwrap()
}

pub fn tables(all: &[(&str, RecordBatch)]) -> Tables {
    all.iter()
        .map(|(name, rows)| ((*name).to_owned(), Table::of(rows.clone())))
        .collect()
}

/// A column as text, `-` for null.
pub fn text(rows: &RecordBatch, column: &str) -> Vec<String> {
    let column = rows.column_by_name(column).unwrap_or_else(|| {
        panic!("no column {column} in {:?}", names(rows));
    });
    let column = arrow_cast::cast(column, &arrow_schema::DataType::Utf8).unwrap();
    let column = column.as_any().downcast_ref::<StringArray>().unwrap();
    column
        .iter()
        .map(|value| value.unwrap_or("-").to_owned())
        .collect()
}

pub fn names(rows: &RecordBatch) -> Vec<String> {
    let schema = rows.schema();
    schema.fields().iter().map(|f| f.name().clone()).collect()
}
