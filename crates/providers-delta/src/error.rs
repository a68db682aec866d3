//! The one place where failures of the deltalake crate become the product's errors.

use std::panic::AssertUnwindSafe;

use deltalake::kernel::transaction::TransactionError;
use deltalake::{DeltaTableError, ObjectStoreError};
use futures::FutureExt;
use provender_core::{Error, Result, codes};
use provender_engine::sql::storage_error;

/// What a failure on a table means: `what` is the half sentence that says what was tried, such as
/// `table "weather" cannot be read`.
pub(crate) fn delta_error(what: &str, error: DeltaTableError) -> Error {
    if let Some(known) = storage_error(&error) {
        let code = codes::find(known.code()).unwrap_or(&codes::IO);
        let mut mapped = Error::new(code, format!("{what}: {}", known.message()));
        if let Some(help) = known.help_text() {
            mapped = mapped.help(help);
        }
        return mapped.retryable(known.is_retryable()).source(error);
    }
    let code = match &error {
        DeltaTableError::NotATable(_)
        | DeltaTableError::InvalidJsonLog { .. }
        | DeltaTableError::InvalidStatsJson { .. }
        | DeltaTableError::KernelError(_)
        | DeltaTableError::Kernel { .. }
        | DeltaTableError::MetadataError(_)
        | DeltaTableError::NoSchema => &codes::OFFLINE_DATA,
        DeltaTableError::Transaction {
            source: TransactionError::UnsupportedTableFeatures(_),
        }
        | DeltaTableError::UnsupportedColumnMapping { .. } => &codes::UNSUPPORTED,
        DeltaTableError::Transaction {
            source: TransactionError::DeltaTableAppendOnly,
        } => &codes::OFFLINE_REQUEST,
        DeltaTableError::SchemaMismatch { .. } => &codes::TABLE_EXISTS,
        DeltaTableError::ObjectStore {
            source: ObjectStoreError::AlreadyExists { .. },
        } => &codes::OFFLINE_UNAVAILABLE,
        _ if is_conflict(&error) => &codes::OFFLINE_UNAVAILABLE,
        _ => &codes::OFFLINE_REQUEST,
    };
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    Error::new(code, format!("{what}: {}", message.trim_end_matches('.'))).source(error)
}

/// Whether another writer was first, so that the same work may succeed over the newer state.
pub(crate) fn is_conflict(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(_)
                    | TransactionError::MaxCommitAttempts(_)
                    | TransactionError::VersionAlreadyExists(_)
            }
    )
}

/// Work of the deltalake crate, of which some panics over values that other programs have written: that
/// is an error of the call. `what` is a half sentence as in [`delta_error`], without the table.
///
/// # Errors
/// `P801` for a panic.
pub(crate) async fn fenced<T>(name: &str, what: &str, work: impl Future<Output = T>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Error::new(
            &codes::UNSUPPORTED,
            format!(
                "table {name:?} {what}: the library for Delta tables broke off: {}",
                text.unwrap_or("without a text")
            ),
        )
        .help("the table may hold a value that it cannot handle, such as a time of a far year; reading works")
        .context("table", name)
    })
}

/// What a failure of an object store means; clients tell in the product's words already.
pub(crate) fn remote_error(what: &str, error: ObjectStoreError) -> Error {
    if let Some(known) = storage_error(&error) {
        let code = codes::find(known.code()).unwrap_or(&codes::OFFLINE_UNAVAILABLE);
        // A place where nothing is was asked for by somebody who named it.
        let code = match &error {
            ObjectStoreError::NotFound { .. } => &codes::MISSING_TABLE,
            _ => code,
        };
        let mut mapped = Error::new(code, format!("{what}: {}", known.message()));
        if let Some(help) = known.help_text() {
            mapped = mapped.help(help);
        }
        return mapped.retryable(known.is_retryable()).source(error);
    }
    Error::new(&codes::OFFLINE_UNAVAILABLE, format!("{what}: {error}")).source(error)
}

/// What a failure of the operating system on `path` means for a writer.
pub(crate) fn write_error(path: &std::path::Path, error: std::io::Error) -> Error {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull
        | std::io::ErrorKind::QuotaExceeded
        | std::io::ErrorKind::FileTooLarge => &codes::NO_SPACE,
        _ => &codes::NOT_WRITABLE,
    };
    Error::new(code, format!("cannot write to {}: {error}", path.display()))
        .help("check the path, the disk's space and who may write there, or set another location")
        .source(error)
}

/// Says on which table an error happened.
pub(crate) trait OnTable<T> {
    /// Maps the error with the table's name.
    fn on_table(self, name: &str, what: &str) -> Result<T>;
}

impl<T> OnTable<T> for Result<T, DeltaTableError> {
    fn on_table(self, name: &str, what: &str) -> Result<T> {
        self.map_err(|error| {
            delta_error(&format!("table {name:?} {what}"), error).context("table", name)
        })
    }
}
