//! From the rows of a statement's result to the columns that were asked for.
//!
//! Decides which column of the result is which of the answer's, and checks that rows of a spine come
//! in its order. Features come as the source holds them; how they are cast, and how a misfit is told,
//! is the caller's.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use provender_core::ValueType;
use provender_core::error::{Error, Result, codes};

use crate::{Answer, AnswerColumn, Encoding};

/// Makes a source's column the type of an output; the last argument says whether values may be met
/// that do not fit.
pub type Cast<'a> = &'a dyn Fn(&AnswerColumn, &ArrayRef, &ValueType, bool) -> Result<ArrayRef>;

/// Reads the batches of one result, one after the other.
#[derive(Clone, Debug)]
pub struct Decoder {
    columns: Vec<AnswerColumn>,
    schema: SchemaRef,
    next_row: i64,
}

impl Decoder {
    /// A decoder for the answer's result, whose columns are those of `result`.
    ///
    /// # Errors
    /// `P802` if the result has other columns than the statement asked for.
    pub fn new(answer: &Answer, result: &Schema) -> Result<Self> {
        let n_columns: usize = answer.columns.iter().map(AnswerColumn::n_columns).sum();
        // A scan of no columns is answered with one that only counts rows.
        if n_columns > 0 && n_columns != result.fields().len() {
            return Err(contract(format!(
                "a statement of {n_columns} columns is answered with {}",
                result.fields().len()
            )));
        }
        Ok(Self {
            columns: answer.columns.clone(),
            schema: schema_of(answer, result),
            next_row: 0,
        })
    }

    /// The asked columns: of their value types, else as the result has them.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The next rows as the asked columns; row numbers are checked and taken out.
    ///
    /// # Errors
    /// `P802` for rows of a spine that are out of order, those of [`AnswerColumn::decode`] and of `cast`.
    pub fn decode(&mut self, batch: &RecordBatch, cast: Cast<'_>) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        let mut at = 0;
        for column in &self.columns {
            let found = &batch.columns()[at..at + column.n_columns()];
            at += column.n_columns();
            arrays.push(match (&column.encoding, &column.value_type, found) {
                (Encoding::RowNumber, ..) => {
                    check_rows(&column.decode(found)?, &mut self.next_row)?;
                    continue;
                }
                (Encoding::Source { checked, .. }, Some(to), [array]) => {
                    cast(column, array, to, *checked)?
                }
                _ => column.decode(found)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(|error| {
            Error::new(
                &codes::INTERNAL,
                "an answer's columns are not of the types that were said",
            )
            .source(error)
        })
    }
}

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
        format!("the warehouse answers otherwise than it was asked: {what}"),
    )
}
