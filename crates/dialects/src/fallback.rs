//! What a warehouse is asked at all: requests that a dialect does not answer exactly are left to the
//! engine, and relations whose columns cannot be told apart are refused.

use arrow_schema::Schema;
use provender_core::request::{PointInTimeJoin, SourceRef};
use provender_core::{Error, ErrorKind, Result, codes};

/// The sources that a join reads, view by view.
pub fn sources_of(join: &PointInTimeJoin) -> impl Iterator<Item = &SourceRef> {
    join.views.iter().map(|view| &view.source.source)
}

/// Whether the engine has to compute a join over scans, by what [`supports`](crate::supports) says.
///
/// # Errors
/// Those that are not about support.
pub fn is_for_the_engine(supported: Result<()>) -> Result<bool> {
    match supported {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            tracing::debug!(reason = error.message(), "a join is computed over scans");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// A statement for people, or why there is none and the engine computes the answer over scans.
///
/// # Errors
/// Those that are not about support.
pub fn explained(statement: Result<String>) -> Result<String> {
    match statement {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(format!(
            "-- computed by Provender over scans: {}",
            error.message()
        )),
        statement => statement,
    }
}

/// Refuses a relation that answers two columns of one name.
///
/// # Errors
/// `P123` that names the column.
pub fn refuse_equal_names(schema: &Schema, source: &SourceRef) -> Result<()> {
    let mut names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::new(
            &codes::BAD_QUERY,
            format!(
                "{} answers two columns named {:?}",
                source.describe(),
                pair[0]
            ),
        )
        .help("rename one with AS")),
    }
}
