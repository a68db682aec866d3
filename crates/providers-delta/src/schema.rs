//! Which types are answered by scans, and which are stored for rows that are written.
//!
//! Scans answer plain columns: text as Utf8, bytes as Binary, no views and no dictionaries, so that
//! `schema` and `scan` agree whatever files hold. Delta stores fewer types than Arrow has; a type
//! that it lacks is stored as one that holds every value, or refused by name.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use provender_core::time::instant_type;
use provender_core::{CastRule, Error, Result, ValueType, codes};

/// The schema that scans answer for columns of `schema`: plain types, all nullable, and of the
/// metadata only the names of extension types.
pub(crate) fn answered(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema
        .fields()
        .iter()
        .map(|field| answered_field(field).with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}

fn answered_field(field: &Field) -> Field {
    Field::new(
        field.name(),
        answered_type(field.data_type()),
        field.is_nullable(),
    )
    .with_metadata(extension(field))
}

fn extension(field: &Field) -> std::collections::HashMap<String, String> {
    field
        .metadata()
        .iter()
        .filter(|(key, _)| key.starts_with("ARROW:extension:"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn answered_type(data_type: &DataType) -> DataType {
    let item = |field: &FieldRef| Arc::new(answered_field(field));
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => answered_type(value),
        DataType::List(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(item(field), *size),
        DataType::Map(field, sorted) => DataType::Map(item(field), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        other => other.clone(),
    }
}

/// The schema of a new table for rows of `schema`.
///
/// # Errors
/// `P507` that names every column whose type Delta cannot hold, and columns of the same name.
pub(crate) fn stored(table: &str, schema: &Schema) -> Result<Schema> {
    let mut fields = Vec::new();
    let mut problems = Vec::new();
    for field in schema.fields() {
        match stored_type(field.data_type()) {
            Some(data_type) => fields.push(
                Field::new(field.name(), data_type, field.is_nullable())
                    .with_metadata(extension(field)),
            ),
            None => problems.push(format!(
                "column {:?} is {}",
                field.name(),
                field.data_type()
            )),
        }
    }
    if !problems.is_empty() {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!(
                "table {table:?} cannot hold these rows: {}",
                problems.join(", ")
            ),
        )
        .help("Delta tables have no such type; cast the column first, or leave it out")
        .context("table", table));
    }
    if fields.is_empty() {
        return Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!("table {table:?} cannot be made of rows without columns"),
        ));
    }
    Ok(Schema::new(fields))
}

/// What a Delta table stores a type as; `None` where it has nothing that holds all values.
fn stored_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        // Values of uint64 beyond int64 are found, and refused, when they come.
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(_, _) => instant_type(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s)
            if *s >= 0 =>
        {
            DataType::Decimal128(*p, *s)
        }
        DataType::Decimal256(p, s) if *p <= 38 && *s >= 0 => DataType::Decimal128(*p, *s),
        DataType::Dictionary(_, value) => stored_type(value)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(stored_field(item)?)
        }
        DataType::Struct(fields) if !fields.is_empty() => DataType::Struct(
            fields
                .iter()
                .map(stored_field)
                .collect::<Option<Fields>>()?,
        ),
        DataType::Map(entries, _) => DataType::Map(stored_field(entries)?, false),
        _ => return None,
    })
}

fn stored_field(field: &FieldRef) -> Option<FieldRef> {
    Some(Arc::new(Field::new(
        field.name(),
        stored_type(field.data_type())?,
        field.is_nullable(),
    )))
}

/// Whether a column of a table takes values of another type: each has an equal value of the table's
/// type, but for finer digits of timestamps, which are floored, and for uint64, which is checked.
pub(crate) fn takes(column: &DataType, found: &DataType) -> bool {
    if *found == DataType::Null {
        return true;
    }
    let (Some(stored), Some(to)) = (stored_type(found), ValueType::from_arrow(column)) else {
        return false;
    };
    // An embedding is stored as a list, and comes back to the list it made.
    to.cast_from(&stored) == CastRule::Lossless
        || matches!((&to, found), (ValueType::Int64, DataType::UInt64))
}

/// Whether two stored types hold the same values, whatever their nested fields are called.
pub(crate) fn same_type(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (
            DataType::Timestamp(TimeUnit::Microsecond, x),
            DataType::Timestamp(TimeUnit::Microsecond, y),
        ) => x.is_some() == y.is_some(),
        _ => {
            a == b
                || matches!((ValueType::from_arrow(a), ValueType::from_arrow(b)), (Some(x), Some(y)) if x == y)
        }
    }
}
