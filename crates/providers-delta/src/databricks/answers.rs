//! From results to the columns that were asked for: features are cast, and a misfit is told by name.

use std::sync::Arc;

use futures::StreamExt;
use provender_core::request::ViewJoin;
use provender_core::{BatchStream, Error, Result, codes};
use provender_dialects::{Answer, Decoder};
use provender_engine::cast::cast_value;

/// How messages call an output.
pub(crate) type Names = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// An output by its own name.
pub(crate) fn plain() -> Names {
    Arc::new(|output| format!("{output:?}"))
}

/// An output by its view and feature.
pub(crate) fn of_views(views: &[ViewJoin]) -> Names {
    let known: Vec<(String, String)> = views
        .iter()
        .flat_map(|view| {
            view.features.iter().map(|feature| {
                let text = format!("feature {:?} of view {:?}", feature.column, view.name);
                (feature.output.clone(), text)
            })
        })
        .collect();
    Arc::new(move |output| {
        let found = known.iter().find(|(name, _)| name == output);
        found.map_or_else(|| format!("{output:?}"), |(_, text)| text.clone())
    })
}

/// The rows of a statement's result as the asked columns.
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
