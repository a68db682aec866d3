//! Which Arrow type a Snowflake column is answered as, and which Snowflake type holds an Arrow one.
//!
//! Decides types only; how values travel is [`crate::results`]'s and [`crate::rows`]'s.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use provender_core::time::{UTC, instant_type};
use provender_core::{Error, Result, ValueType, codes};

use crate::names::shown_columns;
use crate::session::protocol::RowType;

/// The columns of a result: as they are answered, and as the dialect sees them.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// What answers have: names as Provender shows them, and times as microseconds in UTC, whatever the column's own
    /// digits and zone.
    pub answered: SchemaRef,
    /// What statements must know: names as Snowflake has them, digits finer than microseconds, and whether there is
    /// a zone.
    pub stored: SchemaRef,
    /// The description itself.
    pub rowtype: Vec<RowType>,
}

impl Columns {
    /// The columns of a result's description.
    pub(crate) fn new(rowtype: Vec<RowType>) -> Self {
        let stored = Schema::new(rowtype.iter().map(stored).collect::<Vec<_>>());
        let shown = shown_columns(&stored).into_iter();
        let answered = rowtype.iter().map(answered).zip(shown);
        let answered = answered.map(|(field, name)| field.with_name(name));
        Self {
            answered: Arc::new(Schema::new(answered.collect::<Vec<_>>())),
            stored: Arc::new(stored),
            rowtype,
        }
    }
}

fn answered(column: &RowType) -> Field {
    let name = column.name.as_str();
    let data_type = match column.type_name.to_ascii_lowercase().as_str() {
        "fixed" => DataType::Decimal128(precision(column), scale(column)),
        "real" => DataType::Float64,
        "boolean" => DataType::Boolean,
        "date" => DataType::Date32,
        "binary" => DataType::Binary,
        "timestamp_ntz" | "timestamp_ltz" | "timestamp_tz" => instant_type(),
        "variant" | "object" | "array" | "map" => return ValueType::Json.to_field(name),
        "vector" => vector_type(column),
        // Text, times of day, and whatever is shown as text.
        _ => DataType::Utf8,
    };
    Field::new(name, data_type, true)
}

fn stored(column: &RowType) -> Field {
    let unit = match column.scale {
        Some(digits) if digits > 6 => TimeUnit::Nanosecond,
        _ => TimeUnit::Microsecond,
    };
    match column.type_name.to_ascii_lowercase().as_str() {
        "timestamp_ntz" => Field::new(&column.name, DataType::Timestamp(unit, None), true),
        "timestamp_ltz" | "timestamp_tz" => Field::new(
            &column.name,
            DataType::Timestamp(unit, Some(Arc::from(UTC))),
            true,
        ),
        _ => answered(column),
    }
}

fn precision(column: &RowType) -> u8 {
    column
        .precision
        .and_then(|precision| u8::try_from(precision).ok())
        .filter(|precision| (1..=38).contains(precision))
        .unwrap_or(38)
}

fn scale(column: &RowType) -> i8 {
    column
        .scale
        .and_then(|scale| i8::try_from(scale).ok())
        .filter(|scale| (0..=precision(column) as i8).contains(scale))
        .unwrap_or(0)
}

fn vector_type(column: &RowType) -> DataType {
    let item = column.fields.as_ref().and_then(|fields| fields.first());
    let item = match item {
        Some(item) if item.type_name.eq_ignore_ascii_case("fixed") => DataType::Int32,
        _ => DataType::Float32,
    };
    let size = column
        .vector_dimension
        .and_then(|size| i32::try_from(size).ok());
    DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), size.unwrap_or(0))
}

/// Whether a field is JSON text.
pub(crate) fn is_json(metadata: &HashMap<String, String>) -> bool {
    metadata
        .get("ARROW:extension:name")
        .is_some_and(|name| name == "arrow.json")
}

/// The Snowflake type of a new table's column; `None` where Snowflake has nothing that holds every value.
pub(crate) fn column_type(field: &Field) -> Option<String> {
    if is_json(field.metadata()) {
        return Some("VARIANT".to_owned());
    }
    Some(match field.data_type() {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "NUMBER(3,0)".to_owned(),
        DataType::UInt8 => "NUMBER(3,0)".to_owned(),
        DataType::Int16 | DataType::UInt16 => "NUMBER(5,0)".to_owned(),
        DataType::Int32 | DataType::UInt32 => "NUMBER(10,0)".to_owned(),
        DataType::Int64 => "NUMBER(19,0)".to_owned(),
        DataType::UInt64 => "NUMBER(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "FLOAT".to_owned(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s)
            if *p <= 38 && (0..=*p as i8).contains(s) =>
        {
            format!("NUMBER({p},{s})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "BINARY".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(_, _) | DataType::Date64 => "TIMESTAMP_NTZ(6)".to_owned(),
        DataType::FixedSizeList(item, size)
            if *item.data_type() == DataType::Float32 && (1..=4096).contains(size) =>
        {
            format!("VECTOR(FLOAT, {size})")
        }
        DataType::Dictionary(_, value) => {
            return column_type(&Field::new("", value.as_ref().clone(), true));
        }
        _ => return None,
    })
}

/// The Snowflake types of a new table's columns, in order.
///
/// # Errors
/// `P507` that names every column which Snowflake cannot hold.
pub(crate) fn column_types(table: &str, schema: &Schema) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut types = Vec::new();
    for field in schema.fields() {
        match column_type(field) {
            Some(found) => types.push(found),
            None => problems.push(format!(
                "column {:?} is {}",
                field.name(),
                field.data_type()
            )),
        }
    }
    if problems.is_empty() {
        return Ok(types);
    }
    Err(Error::new(
        &codes::OFFLINE_REQUEST,
        format!(
            "table {table:?} cannot hold these rows: {}",
            problems.join(", ")
        ),
    )
    .help("write lists, structs and maps as json text, or leave the column out")
    .context("table", table))
}
