//! From a table's name to a table: where it lies, what kind it is, and which of its states is meant.
//!
//! Deliberately knows nothing of columns, queries or writing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::prelude::SessionContext;
use deltalake::{DeltaTable, DeltaTableBuilder};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use provender_core::model::SourceVersion;
use provender_core::names::nearest;
use provender_core::time::format_instant;
use provender_core::{Error, Result, codes};
use provender_engine::sql::datafusion_error;

use crate::error::OnTable;
use crate::location;

pub(crate) const LOG_FOLDER: &str = "_delta_log";

/// Where the tables of a store lie.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    /// What relative places start at.
    pub base: PathBuf,
    /// The folder of tables that are named by a name alone.
    pub location: PathBuf,
    /// Options for the storage.
    pub storage_options: HashMap<String, String>,
}

/// A table's place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The name it was asked by.
    pub name: String,
    /// Its folder or file.
    pub path: PathBuf,
    /// What lies there.
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder with a Delta log.
    Delta,
    /// A Parquet file, a folder of such files, or a pattern of their names.
    Parquet,
    /// Nothing yet.
    Missing,
}

impl Tables {
    /// Finds the table of a name: exactly, else by the only one whose name differs in case alone.
    pub(crate) fn find(&self, name: &str) -> Result<Place> {
        let path = location::of_table(&self.base, &self.location, name)?;
        let kind = kind_of(&path);
        let (path, kind) = if kind == Kind::Missing {
            match self.other_case(name) {
                Some(path) => {
                    let kind = kind_of(&path);
                    (path, kind)
                }
                None => (path, kind),
            }
        } else {
            (path, kind)
        };
        Ok(Place {
            name: name.to_owned(),
            path,
            kind,
        })
    }

    /// [`Self::find`] for reading.
    pub(crate) fn find_existing(&self, name: &str) -> Result<Place> {
        let place = self.find(name)?;
        if place.kind == Kind::Missing {
            return Err(self.missing(name));
        }
        Ok(place)
    }

    fn other_case(&self, name: &str) -> Option<PathBuf> {
        if location::is_place(name) {
            return None;
        }
        let lower = name.to_lowercase();
        let names = self.list().ok()?;
        let mut same = names.iter().filter(|known| known.to_lowercase() == lower);
        match (same.next(), same.next()) {
            (Some(only), None) => Some(self.location.join(only)),
            _ => None,
        }
    }

    fn missing(&self, name: &str) -> Error {
        let message = if location::is_place(name) {
            format!("there is no table at {name:?}")
        } else {
            format!("there is no table {name:?} in {}", self.location.display())
        };
        let known = self.list().unwrap_or_default();
        let import = format!("`provender import {name} FILE` makes it");
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near:?}? {import}"),
            None => import,
        };
        Error::new(&codes::MISSING_TABLE, message)
            .help(help)
            .context("table", name)
    }

    /// The names of the tables in the store's folder, sorted. A folder that does not exist has none.
    ///
    /// # Errors
    /// `P903` if the folder cannot be read.
    pub(crate) fn list(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.location) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Error::new(
                    &codes::IO,
                    format!("the folder {} cannot be read", self.location.display()),
                )
                .source(error));
            }
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok()?;
                let is_table = !name.starts_with('.') && kind_of(&entry.path()) != Kind::Missing;
                is_table.then_some(name)
            })
            .collect();
        names.sort();
        Ok(names)
    }

    /// A Delta table at its newest state, or the asked one.
    pub(crate) async fn open(
        &self,
        place: &Place,
        version: Option<&SourceVersion>,
    ) -> Result<DeltaTable> {
        let name = &place.name;
        let mut table = self.unloaded(place)?;
        match version {
            None => table.load().await.on_table(name, "cannot be opened")?,
            Some(version) => {
                let number = version_number(&table, name, version).await?;
                table
                    .load_version(number)
                    .await
                    .on_table(name, &format!("cannot be opened at version {number}"))?;
            }
        }
        Ok(table)
    }

    /// A Delta table of which nothing has been read; it may not exist.
    pub(crate) fn unloaded(&self, place: &Place) -> Result<DeltaTable> {
        DeltaTableBuilder::from_url(location::folder_url(&place.path)?)
            .map(|builder| builder.with_storage_options(self.storage_options.clone()))
            .and_then(DeltaTableBuilder::build)
            .on_table(&place.name, "cannot be opened")
    }

    /// Something that queries can scan.
    pub(crate) async fn provider(
        &self,
        session: &SessionContext,
        place: &Place,
        version: Option<&SourceVersion>,
    ) -> Result<Arc<dyn TableProvider>> {
        if place.kind == Kind::Parquet {
            if version.is_some() {
                return Err(Error::new(
                    &codes::OFFLINE_REQUEST,
                    format!(
                        "{:?} holds Parquet files, of which there is one state only",
                        place.name
                    ),
                )
                .help("leave the version out, or import the files as a Delta table"));
            }
            return parquet_files(session, place).await;
        }
        let table = self.open(place, version).await?;
        table
            .table_provider()
            .with_session(Arc::new(session.state()))
            .await
            .map_err(|error| datafusion_error(error).context("table", place.name.clone()))
    }
}

fn kind_of(path: &Path) -> Kind {
    let log = path.join(LOG_FOLDER);
    if log.is_dir() {
        // A log without commits is that of a table in the making: its files are not rows yet.
        let has_commit = std::fs::read_dir(log).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| {
                    let name = entry.file_name();
                    let name = name.to_string_lossy();
                    name.starts_with(|c: char| c.is_ascii_digit())
                        && (name.ends_with(".json") || name.ends_with(".parquet"))
                })
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

/// The version that a request means.
async fn version_number(table: &DeltaTable, name: &str, version: &SourceVersion) -> Result<u64> {
    let commits = commits(table, name).await?;
    let (Some(oldest), Some(newest)) = (commits.first(), commits.last()) else {
        return Err(gone(name, "holds no version".to_owned()));
    };
    match version {
        SourceVersion::Number(number) => {
            if commits.iter().any(|commit| commit.version == *number) {
                return Ok(*number);
            }
            Err(gone(
                name,
                format!(
                    "has no version {number}: there are versions {} to {}",
                    oldest.version, newest.version
                ),
            ))
        }
        SourceVersion::TimestampUs(instant_us) => commits
            .iter()
            .rev()
            .find(|commit| commit.at_us <= *instant_us)
            .map(|commit| commit.version)
            .ok_or_else(|| {
                gone(
                    name,
                    format!(
                        "has no version of {}: there are versions {} ({}) to {} ({})",
                        format_instant(*instant_us),
                        oldest.version,
                        format_instant(oldest.at_us),
                        newest.version,
                        format_instant(newest.at_us),
                    ),
                )
            }),
        SourceVersion::Token(token) => Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!("table {name:?} cannot be read at {token:?}"),
        )
        .help("versions of Delta tables are numbers or times")),
    }
}

fn gone(name: &str, what: String) -> Error {
    Error::new(&codes::VERSION_GONE, format!("table {name:?} {what}")).context("table", name)
}

struct LoggedCommit {
    version: u64,
    at_us: i64,
}

/// The versions that can be read, oldest first, with the times at which they were committed: those
/// from version 0, or else from the first checkpoint, on. A commit's time is that of its file, as the
/// Delta protocol has it; a file that is older than its predecessor counts as made right after it.
async fn commits(table: &DeltaTable, name: &str) -> Result<Vec<LoggedCommit>> {
    let log_store = table.log_store();
    let store = log_store.object_store(None);
    let files: Vec<object_store::ObjectMeta> = store
        .list(Some(&ObjectPath::from(LOG_FOLDER)))
        .try_collect()
        .await
        .map_err(deltalake::DeltaTableError::from)
        .on_table(name, "cannot be listed")?;
    let mut commits = Vec::new();
    let mut first_checkpoint: Option<u64> = None;
    for file in files {
        let Some((number, rest)) = file.location.filename().and_then(|f| f.split_once('.')) else {
            continue;
        };
        let Ok(version) = number.parse::<u64>() else {
            continue;
        };
        if rest == "json" {
            commits.push(LoggedCommit {
                version,
                at_us: file.last_modified.timestamp_micros(),
            });
        } else if rest.starts_with("checkpoint") {
            first_checkpoint = Some(first_checkpoint.map_or(version, |first| first.min(version)));
        }
    }
    commits.sort_by_key(|commit| commit.version);
    if commits.first().is_some_and(|commit| commit.version > 0) {
        commits.retain(|commit| first_checkpoint.is_some_and(|first| commit.version >= first));
    }
    let mut last_us = i64::MIN;
    for commit in &mut commits {
        commit.at_us = commit.at_us.max(last_us.saturating_add(1));
        last_us = commit.at_us;
    }
    Ok(commits)
}

/// Parquet files under one schema; folders named `key=value` become string columns.
async fn parquet_files(session: &SessionContext, place: &Place) -> Result<Arc<dyn TableProvider>> {
    let failed = |error| datafusion_error(error).context("table", place.name.clone());
    // Only what does not exist as it is written is a pattern.
    let url = if place.path.is_dir() {
        ListingTableUrl::try_new(location::folder_url(&place.path)?, None)
    } else if place.path.is_file() {
        ListingTableUrl::try_new(location::file_url(&place.path)?, None)
    } else {
        ListingTableUrl::parse(place.path.to_string_lossy())
    }
    .map_err(failed)?;
    // A single file may have any suffix case; in folders only Parquet files count.
    let suffix = if url.is_collection() { ".parquet" } else { "" };
    let options =
        ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(suffix);
    let state = session.state();
    let store = state.runtime_env().object_store(&url).map_err(failed)?;
    let first = url
        .list_all_files(&state, store.as_ref(), suffix)
        .await
        .map_err(failed)?
        .try_next()
        .await
        .map_err(failed)?;
    if first.is_none() {
        return Err(Error::new(
            &codes::MISSING_TABLE,
            format!("there is no Parquet file at {:?}", place.name),
        )
        .help("check the path")
        .context("table", place.name.clone()));
    }
    let config = ListingTableConfig::new(url).with_listing_options(options);
    let config = config
        .infer_partitions_from_path(&state)
        .await
        .map_err(failed)?
        .infer_schema(&state)
        .await
        .map_err(|error| {
            let error = datafusion_error(error);
            if error.code() == codes::OFFLINE_DATA.id {
                return error.context("table", place.name.clone());
            }
            Error::new(
                &codes::OFFLINE_DATA,
                format!(
                    "the Parquet files of {:?} cannot be read as one table: {}",
                    place.name,
                    error.message()
                ),
            )
            .context("table", place.name.clone())
            .source(error)
        })?;
    Ok(Arc::new(ListingTable::try_new(config).map_err(failed)?))
}
