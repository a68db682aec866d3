//! How rows travel into a warehouse: as one JSON text that a parameter holds, whose cells the
//! statement turns into the columns' types. No value is ever part of a statement's text.

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
        for (field, is_lacking) in schema.fields().iter().zip(&lacking) {
            let data_type = field.data_type();
            let has_text = !data_type.is_nested() || *is_lacking;
            if !has_text || sql_type(data_type).is_none() {
                return Err(Error::new(
                    &codes::OFFLINE_REQUEST,
                    format!(
                        "column {:?} for table {table:?} is {data_type}, which cannot be written by a warehouse",
                        field.name(),
                    ),
                )
                .help("lists, structs and maps are written directly to external tables: set location, and an execution other than warehouse")
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
                    false => expression(data_type, at),
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

/// The expression that makes the column's value of the text at a place of the row.
fn expression(data_type: &DataType, at: usize) -> String {
    let text = format!("f.r[{at}]");
    match data_type {
        DataType::Utf8 => text,
        DataType::Binary => format!("UNHEX({text})"),
        DataType::Date32 => format!("DATE_ADD(DATE'1970-01-01', CAST({text} AS INT))"),
        DataType::Timestamp(_, Some(_)) => format!("TIMESTAMP_MICROS(CAST({text} AS BIGINT))"),
        other => format!("CAST({text} AS {})", sql_type(other).unwrap_or_default()),
    }
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
        // A shape has no other types.
        _ => return None,
    })
}
