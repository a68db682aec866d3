//! How rows travel into a warehouse: as one JSON text that a parameter holds, whose cells the
//! statement turns into the columns' types. A list, map or struct is a JSON text of texts in turn. No value
//! is ever part of a statement's text.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use provender_core::time::format_instant;
use provender_core::{Error, Result, codes};
use provender_dialects::{Dialect, RowTexts, decimal_text, float_text, hex_text};

use super::statement::Statement;
use super::types::sql_type;

/// The columns of rows that travel: names, and types as Delta stores them.
#[derive(Clone, Debug)]
pub(crate) struct RowShape {
    columns: Vec<(String, DataType)>,
    /// Columns that the rows lack: they are null, whatever their type.
    lacking: Vec<bool>,
}

impl RowShape {
    /// The shape of rows of a schema, all of whose columns are there.
    ///
    /// # Errors
    /// `P507` that names a column whose values cannot travel as text.
    pub(crate) fn new(table: &str, schema: &Schema) -> Result<Self> {
        Self::lacking(table, schema, vec![false; schema.fields().len()])
    }

    /// The same, where rows lack some columns.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn lacking(table: &str, schema: &Schema, lacking: Vec<bool>) -> Result<Self> {
        let mut columns = Vec::new();
        for field in schema.fields() {
            let data_type = field.data_type();
            if sql_type(data_type).is_none() {
                return Err(Error::new(
                    &codes::OFFLINE_REQUEST,
                    format!(
                        "column {:?} for table {table:?} is {data_type}, which cannot be written",
                        field.name(),
                    ),
                )
                .help("write another type, or take the column apart")
                .context("table", table));
            }
            columns.push((field.name().clone(), data_type.clone()));
        }
        Ok(Self { columns, lacking })
    }

    /// Names and types, as in `CREATE TABLE`.
    pub(crate) fn definition(&self) -> Result<String> {
        let columns = self.columns.iter().map(|(name, data_type)| {
            Ok(format!(
                "{} {}",
                Dialect::Spark.quote(name)?,
                sql_type(data_type).unwrap_or_default()
            ))
        });
        Ok(columns.collect::<Result<Vec<_>>>()?.join(", "))
    }

    /// The columns' names, quoted.
    pub(crate) fn names(&self) -> Result<String> {
        let names = self
            .columns
            .iter()
            .map(|(name, _)| Dialect::Spark.quote(name));
        Ok(names.collect::<Result<Vec<_>>>()?.join(", "))
    }

    /// `SELECT` of the rows that the parameter `rows` holds, columns under their names.
    pub(crate) fn select(&self) -> Result<String> {
        let columns = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (name, data_type))| {
                let value = match self.lacking[at] {
                    true => format!("CAST(NULL AS {})", sql_type(data_type).unwrap_or_default()),
                    false => expression(data_type, &format!("f.r[{at}]"), 0)?,
                };
                Ok(format!("{value} AS {}", Dialect::Spark.quote(name)?))
            });
        Ok(format!(
            "SELECT {} FROM (SELECT EXPLODE(FROM_JSON(:rows, 'ARRAY<ARRAY<STRING>>')) AS r) AS f",
            columns.collect::<Result<Vec<_>>>()?.join(", ")
        ))
    }

    /// The statement that adds such rows to a table, given as SQL.
    pub(crate) fn insert(&self, table: &str, rows: String) -> Result<Statement> {
        Ok(Statement {
            sql: format!("INSERT INTO {table} ({}) {}", self.names()?, self.select()?),
            parameters: vec![("rows", rows)],
            is_repeatable: false,
        })
    }

    /// Adds a row of columns that are of the shape's types.
    pub(crate) fn push(&self, texts: &mut RowTexts, batch: &RecordBatch, row: usize) {
        texts.push(batch.columns().iter().map(|column| cell(column, row)));
    }
}

/// The expression that makes a value of a type of its text, inside of so many lists and maps.
fn expression(data_type: &DataType, text: &str, depth: usize) -> Result<String> {
    let each = |texts: String, item: &DataType| {
        let name = format!("x{depth}");
        let value = expression(item, &name, depth + 1)?;
        Ok::<_, Error>(format!("TRANSFORM({texts}, {name} -> {value})"))
    };
    Ok(match data_type {
        DataType::Utf8 => text.to_owned(),
        DataType::Binary => format!("UNHEX({text})"),
        DataType::Date32 => format!("DATE_ADD(DATE'1970-01-01', CAST({text} AS INT))"),
        DataType::Timestamp(_, Some(_)) => format!("TIMESTAMP_MICROS(CAST({text} AS BIGINT))"),
        DataType::List(item) => each(
            format!("FROM_JSON({text}, 'ARRAY<STRING>')"),
            item.data_type(),
        )?,
        DataType::Map(entries, _) => {
            let sides = match entries.data_type() {
                DataType::Struct(sides) => sides.iter().enumerate(),
                _ => return Err(Error::new(&codes::INTERNAL, "a map holds no pairs")),
            };
            let sides = sides.map(|(at, side)| {
                let texts = format!("FROM_JSON({text}, 'ARRAY<ARRAY<STRING>>')[{at}]");
                each(texts, side.data_type())
            });
            let sides = sides.collect::<Result<Vec<_>>>()?;
            format!("MAP_FROM_ARRAYS({})", sides.join(", "))
        }
        DataType::Struct(fields) => {
            let parts = fields.iter().enumerate().map(|(at, field)| {
                let text = format!("FROM_JSON({text}, 'ARRAY<STRING>')[{at}]");
                let value = expression(field.data_type(), &text, depth)?;
                Ok(format!("{}, {value}", Dialect::Spark.string(field.name())?))
            });
            let parts = parts.collect::<Result<Vec<_>>>()?;
            format!(
                "IF({text} IS NULL, NULL, NAMED_STRUCT({}))",
                parts.join(", ")
            )
        }
        other => format!("CAST({text} AS {})", sql_type(other).unwrap_or_default()),
    })
}

/// A value as text; `None` is null.
fn cell(array: &ArrayRef, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        // The shortest text of 32 bits reads back as the same 32 bits.
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            if value.is_finite() {
                format!("{value:e}")
            } else {
                float_text(value.into())
            }
        }
        DataType::Float64 => float_text(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            decimal_text(array.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Binary => hex_text(array.as_binary::<i32>().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Timestamp(_, zone) => {
            let us = array.as_primitive::<TimestampMicrosecondType>().value(row);
            match zone {
                Some(_) => us.to_string(),
                // A cast from an instant would take the session's zone.
                None => format_instant(us).replace('T', " ").replace('Z', ""),
            }
        }
        DataType::List(_) => json(&texts(&array.as_list::<i32>().value(row))),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            json(&[texts(entries.column(0)), texts(entries.column(1))])
        }
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter();
            json(&fields.map(|field| cell(field, row)).collect::<Vec<_>>())
        }
        // A shape has no other types.
        _ => return None,
    })
}

/// The texts of all values of an array.
fn texts(array: &ArrayRef) -> Vec<Option<String>> {
    (0..array.len()).map(|row| cell(array, row)).collect()
}

/// Texts inside of a text: a warehouse reads them as `ARRAY<STRING>`.
fn json(texts: &impl serde::Serialize) -> String {
    serde_json::to_string(texts).unwrap_or_default()
}
