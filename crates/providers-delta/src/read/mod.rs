//! Reading Parquet files without a query engine in between: rows by number, for joins that read the
//! columns that decide first and the others of few rows later.
//!
//! Decides which tables can be read so (plain ones: no filter, no query, no partitions, no mapped
//! columns, no deletion vectors), which files, row groups and pages a range of time and a few keys
//! leave, and in which pieces the rest is read. Whatever it declines is read through plans
//! (`scan.rs`). It knows nothing of joins.

mod bytes;
mod file;
mod keys;
mod pages;
mod pick;
mod pieces;
mod prune;
mod rows;
mod runs;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use deltalake::DeltaTable;
use deltalake::kernel::Snapshot;
use futures::StreamExt;
use provender_core::model::SourceVersion;
use provender_core::provider::{RowAccess, WantedKeys};
use provender_core::request::{ColumnRange, Scan};
use provender_core::{Context, Error, Result, codes};
use provender_engine::sql::storage_error;

use self::bytes::Origin;
use self::file::{DataFile, Listed};
use self::keys::KeySet;
use self::rows::FileRows;
use crate::error::OnTable;
use crate::schema::answered;

/// How many files' footers are read at a time.
const FOOTERS_AT_ONCE: usize = 16;
/// Bytes of footers that are held, and files that are held open, few enough for what most systems allow a
/// process. Beyond that they are read and opened again when their rows are read.
const HELD_BYTES: usize = 64 << 20;
const HELD_FILES: usize = 256;

/// A Delta table at some state; `None` if its files alone do not say what its rows are.
pub(crate) async fn delta_table(
    cx: &Context,
    name: &str,
    table: &DeltaTable,
    snapshot: &Snapshot,
    scan: &Scan,
    keys: &[WantedKeys],
) -> Result<Option<Arc<dyn RowAccess>>> {
    let settings = snapshot.metadata().configuration();
    let is_mapped = settings
        .get("delta.columnMapping.mode")
        .is_some_and(|mode| mode != "none");
    if is_mapped || !snapshot.metadata().partition_columns().is_empty() {
        return Ok(None);
    }
    let hints = Hints::new(&scan.ranges, keys);
    let schema = answered(&snapshot.arrow_schema());
    let root = table.table_url().to_file_path().ok();
    let log_store = table.log_store();
    let store = log_store.object_store(None);
    let mut files = Vec::new();
    // One after the other, so that what a table's log says of all its files is never held at once.
    let mut views = snapshot.file_views(log_store.as_ref(), None);
    while let Some(view) = views.next().await {
        cx.check()?;
        let view = view.on_table(name, "cannot be read")?;
        let path = view.path();
        if view.deletion_vector_descriptor().is_some() || path.contains("://") {
            return Ok(None);
        }
        if !hints.are_none() && prune::is_outside(view.stats().as_deref(), &schema, &hints) {
            continue;
        }
        let local = root.as_ref().map(|root| root.join(path.as_ref()));
        let origin = match local.filter(|path| path.is_file()) {
            Some(path) => Origin::Local(path),
            None => Origin::Object(store.clone(), view.object_store_path()),
        };
        files.push(Listed {
            name: path.to_string(),
            origin,
            size: u64::try_from(view.size()).unwrap_or_default(),
        });
    }
    // Rows are numbered by file, so the files' order must be the same on every run.
    files.sort_by(|a, b| a.name.cmp(&b.name));
    open(cx, name, files, Some(schema), scan, hints).await
}

/// One Parquet file of this machine; `None` if its rows cannot be read one by one.
pub(crate) async fn parquet_file(
    cx: &Context,
    name: &str,
    path: &Path,
    scan: &Scan,
    keys: &[WantedKeys],
) -> Result<Option<Arc<dyn RowAccess>>> {
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(None);
    };
    let file = Listed {
        name: name.to_owned(),
        origin: Origin::Local(path.to_owned()),
        size: metadata.len(),
    };
    let hints = Hints::new(&scan.ranges, keys);
    open(cx, name, vec![file], None, scan, hints).await
}

/// Whether a scan asks for rows of a table as they lie there.
pub(crate) fn is_plain(scan: &Scan) -> bool {
    scan.source.filter.is_none() && !matches!(scan.source.version, Some(SourceVersion::Token(_)))
}

/// Reads the footers, and what they leave of the hints. Without a `schema` it is that of the files.
async fn open(
    cx: &Context,
    name: &str,
    files: Vec<Listed>,
    schema: Option<SchemaRef>,
    scan: &Scan,
    hints: Hints,
) -> Result<Option<Arc<dyn RowAccess>>> {
    let is_delta = schema.is_some();
    cx.check()?;
    let opening: Vec<_> = files
        .into_iter()
        .map(|file| file.open(is_delta, &hints))
        .collect();
    let mut opening = futures::stream::iter(opening).buffered(FOOTERS_AT_ONCE);
    let mut opened: Vec<DataFile> = Vec::new();
    let mut n_held = 0;
    while let Some(file) = opening.next().await {
        let file = file.map_err(|error| error.context("table", name.to_owned()))?;
        let Some(mut file) = file else {
            return Ok(None);
        };
        if let Some(last) = opened.last() {
            file.share_schema(last);
        }
        n_held += file.held_bytes();
        // A Delta table's files do not change, so that they can be opened again by their names.
        if is_delta && (n_held > HELD_BYTES || opened.len() >= HELD_FILES) {
            file.let_go();
        }
        opened.push(file);
    }
    let whole = match (schema, opened.first()) {
        (Some(schema), _) => schema,
        (None, Some(first)) => answered(first.schema()),
        (None, None) => return Ok(None),
    };
    let schema = match &scan.columns {
        Some(columns) => asked(&whole, columns),
        None => Some(whole),
    };
    let Some(schema) = schema else {
        return Ok(None);
    };
    if !opened.iter().all(|file| file.can_answer(&schema)) {
        return Ok(None);
    }
    Ok(Some(Arc::new(FileRows::new(name, schema, opened))))
}

/// The asked columns by their exact names; `None` if one is spelled otherwise or is not unique, which
/// plans sort out.
fn asked(schema: &Schema, columns: &[String]) -> Option<SchemaRef> {
    let fields = columns.iter().map(|name| {
        let mut same = schema.fields().iter().filter(|field| field.name() == name);
        match (same.next(), same.next()) {
            (Some(field), None) => Some(field.clone()),
            _ => None,
        }
    });
    Some(Arc::new(Schema::new(fields.collect::<Option<Vec<_>>>()?)))
}

/// What a failure to read a file means.
fn unreadable(name: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let what = format!("the file {name:?} cannot be read");
    let mapped = match storage_error(&error) {
        Some(known) => {
            let code = codes::find(known.code()).unwrap_or(&codes::IO);
            Error::new(code, format!("{what}: {}", known.message()))
        }
        None => Error::new(&codes::OFFLINE_DATA, format!("{what}: {error}")),
    };
    mapped
        .help("check whether the file is there and whole; one that was removed since its table was opened reads so")
        .context("file", name)
        .source(error)
}

/// What rows a caller will use at most.
#[derive(Debug)]
pub(crate) struct Hints {
    ranges: Vec<ColumnRange>,
    keys: Vec<KeySet>,
}

impl Hints {
    fn new(ranges: &[ColumnRange], keys: &[WantedKeys]) -> Self {
        Self {
            ranges: ranges.to_vec(),
            keys: keys.iter().filter_map(KeySet::new).collect(),
        }
    }

    fn are_none(&self) -> bool {
        self.ranges.is_empty() && self.keys.is_empty()
    }
}
