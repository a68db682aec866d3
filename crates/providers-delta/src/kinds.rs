//! What lies at a place: a Delta table, Parquet files, or nothing yet.

use std::path::Path;

use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};
use provender_core::Result;

use crate::error::remote_error;
use crate::tables::LOG_FOLDER;

/// How many objects of a folder are looked at for a Parquet file.
const MAX_LOOKED_AT: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder with a Delta log.
    Delta,
    /// A Parquet file, a folder of such files, or a pattern of their names.
    Parquet,
    /// Nothing yet.
    Missing,
}

/// What lies at a path of an object store.
///
/// # Errors
/// What [`remote_error`] makes of the store's.
pub(crate) async fn remote(store: &dyn ObjectStore, path: &ObjectPath) -> Result<Kind> {
    let failed = |error| remote_error("the offline store", error);
    let log = path.clone().join(LOG_FOLDER);
    let mut entries = store.list(Some(&log));
    let mut has_log = false;
    while let Some(entry) = entries.try_next().await.map_err(failed)? {
        has_log = true;
        if entry.location.filename().is_some_and(is_commit) {
            return Ok(Kind::Delta);
        }
    }
    // A log without commits is that of a table in the making: its files are not rows yet.
    if has_log {
        return Ok(Kind::Missing);
    }
    let is_parquet = |path: &ObjectPath| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
    };
    if is_parquet(path) {
        match store.head(path).await {
            Ok(_) => return Ok(Kind::Parquet),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let mut entries = store.list(Some(path));
    for _ in 0..MAX_LOOKED_AT {
        let Some(entry) = entries.try_next().await.map_err(failed)? else {
            break;
        };
        if !is_parquet(&entry.location) {
            continue;
        }
        let mut inside: Vec<_> = entry
            .location
            .prefix_match(path)
            .into_iter()
            .flatten()
            .collect();
        inside.pop();
        if inside.iter().all(|folder| folder.as_ref().contains('=')) {
            return Ok(Kind::Parquet);
        }
    }
    Ok(Kind::Missing)
}

fn is_commit(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
        && (name.ends_with(".json") || name.ends_with(".parquet"))
}

/// What lies at a path of this machine.
pub(crate) fn local(path: &Path) -> Kind {
    let log = path.join(LOG_FOLDER);
    if log.is_dir() {
        // A log without commits is that of a table in the making: its files are not rows yet.
        let has_commit = std::fs::read_dir(log).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| is_commit(&entry.file_name().to_string_lossy()))
            })
        });
        return if has_commit {
            Kind::Delta
        } else {
            Kind::Missing
        };
    }
    let text = path.to_string_lossy();
    let is_pattern = !path.exists() && text.contains(['*', '?', '[']);
    if is_pattern || (path.is_file() && is_parquet(path)) || holds_parquet(path, 0) {
        return Kind::Parquet;
    }
    Kind::Missing
}

fn is_parquet(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
}

/// Whether a folder, or a `key=value` folder in it, holds a Parquet file.
fn holds_parquet(folder: &Path, depth: usize) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.filter_map(Result::ok).any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            let is_partition = entry.file_name().to_string_lossy().contains('=');
            return is_partition && depth < 8 && holds_parquet(&path, depth + 1);
        }
        is_parquet(&path)
    })
}
