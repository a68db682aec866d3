//! From the result of a dialect's statement to the columns that were asked for.
//!
//! The dialect says how each column travels; features come as the source holds them and are cast
//! here, so that a misfit is told by name.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use futures::StreamExt;
use provender_core::{BatchStream, Error, Result, codes};
use provender_dialects::{Answer, AnswerColumn, Encoding};
use provender_engine::cast::cast_value;

use crate::error::internal;

/// What an answer's rows are told of a misfit in messages: output to view and feature.
pub(crate) type Names = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The rows of a statement's result as the asked columns; row numbers are checked and taken out.
///
/// # Errors
/// `P802` if the result has other columns than the dialect said.
pub(crate) fn decode(answer: &Answer, result: BatchStream, names: Names) -> Result<BatchStream> {
    let n_columns: usize = answer.columns.iter().map(AnswerColumn::n_columns).sum();
    // A scan of no columns is answered with one that only counts rows.
    if n_columns > 0 && n_columns != result.schema.fields().len() {
        return Err(contract(format!(
            "a statement of {n_columns} columns is answered with {}",
            result.schema.fields().len()
        )));
    }
    let schema = schema_of(answer, &result.schema);
    let columns = answer.columns.clone();
    let answered = schema.clone();
    let mut next_row = 0_i64;
    let batches = result.batches.map(move |batch| {
        let batch = batch?;
        let mut arrays = Vec::with_capacity(columns.len());
        let mut at = 0;
        for column in &columns {
            let found = &batch.columns()[at..at + column.n_columns()];
            at += column.n_columns();
            if column.encoding == Encoding::RowNumber {
                check_rows(&column.decode(found)?, &mut next_row)?;
                continue;
            }
            arrays.push(decode_column(column, found, &names)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(answered.clone(), arrays, &options).map_err(|error| {
            internal(
                "an answer's columns are not of the types that were said",
                error,
            )
        })
    });
    Ok(BatchStream::new(schema, batches))
}

/// The asked columns: of their value types, else as the result has them.
fn schema_of(answer: &Answer, result: &Schema) -> SchemaRef {
    let mut fields = Vec::new();
    let mut at = 0;
    for column in &answer.columns {
        let found = result.field(at);
        at += column.n_columns();
        if column.encoding == Encoding::RowNumber {
            continue;
        }
        fields.push(match &column.value_type {
            Some(value_type) => value_type.to_field(&column.name),
            None => Field::clone(found).with_name(&column.name),
        });
    }
    Arc::new(Schema::new(fields))
}

fn decode_column(column: &AnswerColumn, found: &[ArrayRef], names: &Names) -> Result<ArrayRef> {
    let (Encoding::Source { checked, .. }, [array]) = (&column.encoding, found) else {
        return column.decode(found);
    };
    let Some(value_type) = &column.value_type else {
        return Ok(array.clone());
    };
    cast_value(array, value_type, *checked).map_err(|failure| {
        let what = names(&column.name);
        Error::new(
            &codes::CHECKED_CAST,
            format!("{what}: the value {} {}", failure.value, failure.reason),
        )
        .help("declare a wider type, or mend the data")
        .context("row", failure.row.to_string())
    })
}

/// Rows of a spine come in its order, none twice and none left out.
fn check_rows(numbers: &ArrayRef, next: &mut i64) -> Result<()> {
    let Some(numbers) = numbers.as_primitive_opt::<Int64Type>() else {
        return Err(contract("row numbers are no whole numbers".to_owned()));
    };
    for number in numbers.iter() {
        if number != Some(*next) {
            return Err(contract(format!(
                "row {next} of the spine is answered as {number:?}"
            )));
        }
        *next += 1;
    }
    Ok(())
}

fn contract(what: String) -> Error {
    Error::new(
        &codes::PROVIDER_CONTRACT,
        format!("Snowflake answers otherwise than it was asked: {what}"),
    )
}
