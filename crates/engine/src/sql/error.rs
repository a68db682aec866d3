//! The one place where failures of DataFusion and of what lies below it become the product's errors.

use std::error::Error as StdError;
use std::io;

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::object_store;
use datafusion::parquet::errors::ParquetError;
use provender_core::{Error, codes};

/// What a failure of DataFusion means.
///
/// The product's own errors, which sources of rows put in, come out as they were. A memory limit is
/// `P904`, a full disk `P901`, a missing or damaged file `P504`, a refused path `P902`; whatever is
/// wrong with the query itself, be it in planning or in running it, is `P123`.
pub fn datafusion_error(error: DataFusionError) -> Error {
    let error = match take_own(error) {
        Ok(own) => return own,
        Err(error) => error,
    };
    if let Some(known) = storage_error(&error) {
        return known.source(error);
    }
    let root = error.find_root();
    let message = root.strip_backtrace();
    let (code, message) = match root {
        DataFusionError::Plan(_)
        | DataFusionError::SchemaError(_, _)
        | DataFusionError::SQL(_, _)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Diagnostic(_, _)
        | DataFusionError::Collection(_)
        | DataFusionError::Configuration(_) => (
            &codes::BAD_QUERY,
            format!("the query cannot be planned: {}", bare(&message)),
        ),
        DataFusionError::Execution(_) | DataFusionError::ArrowError(_, _) => (
            &codes::BAD_QUERY,
            format!("the query fails on its rows: {}", bare(&message)),
        ),
        // Tables put in what their own storage says.
        DataFusionError::External(_) => (
            &codes::OFFLINE_DATA,
            format!("a table cannot be read: {}", bare(&message)),
        ),
        _ => (
            &codes::INTERNAL,
            format!("a query failed inside: {}", bare(&message)),
        ),
    };
    Error::new(code, message).source(error)
}

/// What a failure means if storage or a limit is its cause: searches an error and the causes below
/// it for a full disk, a missing or damaged file, a refused path, a reached memory limit, or one of
/// the product's own errors. `None` if nothing of that kind is there.
pub fn storage_error(error: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = classify(cause) {
            return Some(found);
        }
        // `io::Error::source` skips the error that it wraps itself.
        next = match cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => cause.source(),
        };
    }
    None
}

fn classify(cause: &(dyn StdError + 'static)) -> Option<Error> {
    if let Some(own) = cause.downcast_ref::<Error>() {
        return Some(copy(own));
    }
    if let Some(DataFusionError::ResourcesExhausted(message)) = cause.downcast_ref() {
        return Some(
            Error::new(
                &codes::MEMORY_LIMIT,
                format!("the memory limit is reached: {}", bare(message)),
            )
            .help("raise `limits.memory` in provender.yaml, or ask for less at a time"),
        );
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return io_error(error);
    }
    if let Some(error) = cause.downcast_ref::<object_store::Error>() {
        return match error {
            object_store::Error::NotFound { path, .. } => Some(missing_file(path)),
            object_store::Error::PermissionDenied { path, .. } => Some(refused(path)),
            // Others wrap the operating system's error, which the search meets next.
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<ParquetError>() {
        return match error {
            ParquetError::External(_) | ParquetError::ArrowError(_) => None,
            other => Some(unreadable(&other.to_string())),
        };
    }
    match cause.downcast_ref::<ArrowError>() {
        Some(ArrowError::IoError(_, error)) => io_error(error),
        // Where Arrow's reader of Parquet meets damage it passes on the text alone.
        Some(ArrowError::ParquetError(message)) => Some(unreadable(message)),
        _ => None,
    }
}

fn unreadable(message: &str) -> Error {
    Error::new(
        &codes::OFFLINE_DATA,
        format!("a Parquet file cannot be read: {}", bare(message)),
    )
}

fn io_error(error: &io::Error) -> Option<Error> {
    Some(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::new(
                &codes::NO_SPACE,
                format!("a file could not be written: {error}"),
            )
            .help("free space, or point the path elsewhere")
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory => Error::new(
            &codes::NOT_WRITABLE,
            format!("a file or folder is refused by the operating system: {error}"),
        )
        .help("check who may read and write it"),
        io::ErrorKind::NotFound => Error::new(
            &codes::OFFLINE_DATA,
            format!("a file of the offline store is missing: {error}"),
        ),
        // It may wrap an error that says more; if it does not, it is the system's own.
        _ if error.get_ref().is_some() => return None,
        _ => Error::new(
            &codes::IO,
            format!("a file could not be read or written: {error}"),
        ),
    })
}

fn missing_file(path: &str) -> Error {
    Error::new(
        &codes::OFFLINE_DATA,
        format!("the file {path} of the offline store is missing"),
    )
    .help("restore it, or read an older version of the table")
}

fn refused(path: &str) -> Error {
    Error::new(
        &codes::NOT_WRITABLE,
        format!("{path} is refused by the operating system"),
    )
    .help("check who may read and write it")
}

/// Takes out the product's own error, if it can be had as it was, cause and all.
fn take_own(error: DataFusionError) -> Result<Error, DataFusionError> {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => Ok(*own),
            Err(inner) => match inner.downcast::<DataFusionError>() {
                Ok(inner) => take_own(*inner),
                Err(inner) => Err(DataFusionError::External(inner)),
            },
        },
        DataFusionError::Context(text, inner) => {
            take_own(*inner).map_err(|inner| DataFusionError::Context(text, Box::new(inner)))
        }
        DataFusionError::ArrowError(inner, backtrace) => match *inner {
            ArrowError::ExternalError(inner) => take_own(DataFusionError::External(inner)),
            inner => Err(DataFusionError::ArrowError(Box::new(inner), backtrace)),
        },
        DataFusionError::Shared(inner) => match std::sync::Arc::try_unwrap(inner) {
            Ok(inner) => take_own(inner),
            Err(inner) => Err(DataFusionError::Shared(inner)),
        },
        other => Err(other),
    }
}

/// An equal error, for one that is shared and cannot be moved out. Its cause stays behind.
fn copy(own: &Error) -> Error {
    let mut copy = match codes::find(own.code()) {
        Some(code) => Error::new(code, own.message()),
        None => Error::foreign(own.code(), own.kind(), own.message()),
    }
    .with_kind(own.kind())
    .retryable(own.is_retryable());
    if let Some(help) = own.help_text() {
        copy = copy.help(help);
    }
    for (key, value) in own.context_pairs() {
        copy = copy.context(key.clone(), value.clone());
    }
    copy
}

/// A message as our sentences carry it: without DataFusion's own prefix and a trailing period.
fn bare(message: &str) -> String {
    const PREFIXES: [&str; 10] = [
        "External error: ",
        "Kernel error: ",
        "Error during planning: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "Parquet error: ",
        "SQL error: ",
        "This feature is not implemented: ",
        "Resources exhausted: ",
    ];
    let mut text = message.trim();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_of_a_parquet_file_is_lost_data_however_it_is_wrapped() {
        let damage = || ParquetError::General("corrupt page".to_owned());
        for error in [
            DataFusionError::ParquetError(Box::new(damage())),
            DataFusionError::ArrowError(Box::new(ArrowError::from(damage())), None),
            DataFusionError::ArrowError(
                Box::new(ArrowError::ExternalError(Box::new(damage()))),
                None,
            ),
        ] {
            let error = datafusion_error(error);
            assert_eq!(error.code(), "P504", "{error}");
            assert!(error.message().contains("corrupt page"), "{error}");
        }
    }
}
