//! From the result of a dialect's statement to the columns that were asked for.
//!
//! The dialect says how each column travels; features come as the source holds them and are cast
//! here, so that a misfit is told by name.

use std::sync::Arc;

use futures::StreamExt;
use provender_core::{BatchStream, Error, Result, codes};
use provender_dialects::{Answer, Decoder};
use provender_engine::cast::cast_value;

/// What an answer's rows are told of a misfit in messages: output to view and feature.
pub(crate) type Names = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The rows of a statement's result as the asked columns; row numbers are checked and taken out.
///
/// # Errors
/// `P802` if the result has other columns than the dialect said.
pub(crate) fn decode(answer: &Answer, result: BatchStream, names: Names) -> Result<BatchStream> {
    let mut decoder = Decoder::new(answer, &result.schema)?;
    let schema = decoder.schema();
    let batches = result.batches.map(move |batch| {
        decoder.decode(&batch?, &|column, array, to, checked| {
            cast_value(array, to, checked).map_err(|failure| {
                let what = names(&column.name);
                Error::new(
                    &codes::CHECKED_CAST,
                    format!("{what}: the value {} {}", failure.value, failure.reason),
                )
                .help("declare a wider type, or mend the data")
                .context("row", failure.row.to_string())
            })
        })
    });
    Ok(BatchStream::new(schema, batches))
}
