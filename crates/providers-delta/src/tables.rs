//! From a table's name to a table: where it lies, what kind it is, and which of its states is meant.
//!
//! Deliberately knows nothing of columns, queries or writing.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::prelude::SessionContext;
use deltalake::kernel::Snapshot;
use deltalake::logstore::{StorageConfig, default_logstore};
use deltalake::{DeltaTable, DeltaTableBuilder};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use provender_core::model::SourceVersion;
use provender_core::names::nearest;
use provender_core::{Error, Result, codes};
use provender_engine::sql::datafusion_error;

use crate::error::{OnTable, remote_error};
use crate::kinds;
pub(crate) use crate::kinds::Kind;
use crate::location::{self, Location, object_path};
use crate::storage::{Storage, bucket_url};
use crate::versions::version_number;
use crate::widening;

pub(crate) const LOG_FOLDER: &str = "_delta_log";
/// How many tables of an object store are looked at together.
const LOOKED_AT_TOGETHER: usize = 16;

/// Where the tables of a store lie.
#[derive(Debug)]
pub(crate) struct Tables {
    /// What relative places start at.
    pub base: PathBuf,
    /// The folder of tables that are named by a name alone.
    pub location: Location,
    /// A table that lies elsewhere than its name says, for a store of this table alone.
    pub named: Option<(String, Location)>,
    /// How object stores are reached.
    pub storage: Storage,
}

/// A table's place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The name it was asked by.
    pub name: String,
    /// Its folder or file.
    pub at: Location,
    /// What lies there.
    pub kind: Kind,
}

impl Tables {
    /// Finds the table of a name: exactly, else by the only one whose name differs in case alone.
    pub(crate) async fn find(&self, name: &str) -> Result<Place> {
        if let Some((known, at)) = &self.named
            && known == name
        {
            return Ok(Place {
                name: name.to_owned(),
                at: at.clone(),
                kind: self.kind_of(at).await?,
            });
        }
        let mut at = location::of_table(&self.base, &self.location, name)?;
        let mut kind = self.kind_of(&at).await?;
        if kind == Kind::Missing
            && let Some(other) = self.other_case(name).await?
        {
            at = location::of_table(&self.base, &self.location, &other)?;
            kind = self.kind_of(&at).await?;
        }
        Ok(Place {
            name: name.to_owned(),
            at,
            kind,
        })
    }

    /// [`Self::find`] for reading.
    pub(crate) async fn find_existing(&self, name: &str) -> Result<Place> {
        let place = self.find(name).await?;
        if place.kind == Kind::Missing {
            return Err(self.missing(name).await);
        }
        Ok(place)
    }

    async fn kind_of(&self, at: &Location) -> Result<Kind> {
        match at {
            Location::Local(path) => Ok(kinds::local(path)),
            Location::Remote { url, .. } => {
                let client = self.storage.client(url)?;
                kinds::remote(client.as_ref(), &object_path(url)?).await
            }
        }
    }

    async fn other_case(&self, name: &str) -> Result<Option<String>> {
        if location::is_place(name) {
            return Ok(None);
        }
        let lower = name.to_lowercase();
        let names = match &self.location {
            Location::Local(_) => self.list().await.unwrap_or_default(),
            // What they are is looked at for the one that fits.
            Location::Remote { .. } => self.names().await?,
        };
        let mut same = names
            .into_iter()
            .filter(|known| known.to_lowercase() == lower);
        Ok(match (same.next(), same.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        })
    }

    async fn missing(&self, name: &str) -> Error {
        let message = if location::is_place(name) {
            format!("there is no table at {:?}", crate::storage::shown(name))
        } else {
            format!("there is no table {name:?} in {}", self.location)
        };
        let known = self.list().await.unwrap_or_default();
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
    /// `P903` if the folder cannot be read; of an object store, `P503`, `P513` or `P514`.
    pub(crate) async fn list(&self) -> Result<Vec<String>> {
        let mut tables: Vec<String> = futures::stream::iter(self.names().await?)
            .map(|name| async move {
                let at = location::of_table(&self.base, &self.location, &name)?;
                let is_table = self.kind_of(&at).await? != Kind::Missing;
                Ok::<_, Error>(is_table.then_some(name))
            })
            .buffer_unordered(LOOKED_AT_TOGETHER)
            .try_filter_map(|name| async move { Ok(name) })
            .try_collect()
            .await?;
        tables.sort();
        Ok(tables)
    }

    /// The names in the store's folder that could be tables.
    async fn names(&self) -> Result<Vec<String>> {
        let names = match &self.location {
            Location::Local(folder) => local_names(folder)?,
            Location::Remote { url, .. } => {
                let client = self.storage.client(url)?;
                let folder = object_path(url)?;
                let listed = client
                    .list_with_delimiter(Some(&folder))
                    .await
                    .map_err(|error| remote_error("the offline store", error))?;
                let files = listed.objects.into_iter().map(|object| object.location);
                let files = files.filter(|file| file.extension().is_some_and(|e| e == "parquet"));
                let folders = listed.common_prefixes.into_iter();
                let last = |path: ObjectPath| path.filename().map(str::to_owned);
                folders.chain(files).filter_map(last).collect()
            }
        };
        Ok(names
            .into_iter()
            .filter(|name| !name.starts_with('.'))
            .collect())
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
    ///
    /// # Errors
    /// `P507` for a path that the library for Delta tables does not find again.
    pub(crate) fn unloaded(&self, place: &Place) -> Result<DeltaTable> {
        let name = &place.name;
        if let Some(part) = place.at.escaped_part()? {
            return Err(Error::new(
                &codes::OFFLINE_REQUEST,
                format!(
                    "table {name:?} cannot lie at {}: Delta tables have no {part:?} in their path",
                    place.at
                ),
            )
            .help("choose a name and a folder without a percent sign before two hexadecimal digits")
            .context("table", name.clone()));
        }
        let folder = place.at.folder_url()?;
        let Location::Remote { url, .. } = &place.at else {
            return DeltaTableBuilder::from_url(folder)
                .and_then(DeltaTableBuilder::build)
                .on_table(name, "cannot be opened");
        };
        // The log is written by conditional puts, of which only one succeeds for each version.
        let client = self.storage.client(url)?;
        let config = StorageConfig::default();
        let in_table = config
            .decorate_store(client.clone(), &folder)
            .on_table(name, "cannot be opened")?;
        let log_store = default_logstore(Arc::new(in_table), client, &folder, &config);
        Ok(DeltaTable::new(log_store))
    }

    /// Lets a session read what lies at a place.
    pub(crate) fn register(&self, session: &SessionContext, place: &Place) -> Result<()> {
        if let Location::Remote { url, .. } = &place.at {
            session
                .runtime_env()
                .register_object_store(&bucket_url(url), self.storage.client(url)?);
        }
        Ok(())
    }

    /// A state of a Delta table whose files are not known yet, and the table that can list them.
    pub(crate) async fn snapshot(
        &self,
        place: &Place,
        version: Option<&SourceVersion>,
    ) -> Result<(DeltaTable, Snapshot)> {
        let name = &place.name;
        let table = self.unloaded(place)?;
        let (number, what) = match version {
            None => (None, "cannot be opened".to_owned()),
            Some(version) => {
                let number = version_number(&table, name, version).await?;
                (
                    Some(number),
                    format!("cannot be opened at version {number}"),
                )
            }
        };
        let snapshot = Snapshot::try_new(table.log_store().as_ref(), number)
            .await
            .on_table(name, &what)?;
        Ok((table, snapshot))
    }

    /// Something that queries can scan.
    pub(crate) async fn provider(
        &self,
        session: &SessionContext,
        place: &Place,
        version: Option<&SourceVersion>,
    ) -> Result<Arc<dyn TableProvider>> {
        self.register(session, place)?;
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
        // What is not loaded here is read while a scan is planned, and for its columns alone: a table
        // of very many files is not held in memory twice.
        let name = &place.name;
        let (table, snapshot) = self.snapshot(place, version).await?;
        if widening::is_widened(name, &snapshot)? {
            let table = self.open(place, version).await?;
            return widening::provider(name, &place.at.folder_url()?, &table);
        }
        table
            .table_provider()
            .with_snapshot(snapshot)
            .with_session(Arc::new(session.state()))
            .await
            .map_err(|error| datafusion_error(error).context("table", place.name.clone()))
    }
}

fn local_names(folder: &std::path::Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::new(
                &codes::IO,
                format!("the folder {} cannot be read", folder.display()),
            )
            .source(error));
        }
    };
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect())
}

/// Parquet files under one schema; folders named `key=value` become string columns.
async fn parquet_files(session: &SessionContext, place: &Place) -> Result<Arc<dyn TableProvider>> {
    let failed = |error| datafusion_error(error).context("table", place.name.clone());
    // Only what does not exist as it is written is a pattern.
    let url = match &place.at {
        Location::Local(path) if path.is_dir() => {
            ListingTableUrl::try_new(place.at.folder_url()?, None)
        }
        Location::Local(path) if path.is_file() => {
            ListingTableUrl::try_new(place.at.file_url()?, None)
        }
        Location::Local(path) => ListingTableUrl::parse(path.to_string_lossy()),
        Location::Remote { url, .. } if is_object(session, url).await => {
            ListingTableUrl::try_new(place.at.file_url()?, None)
        }
        Location::Remote { .. } => ListingTableUrl::try_new(place.at.folder_url()?, None),
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

/// Whether a URL names an object, and not a folder of some.
async fn is_object(session: &SessionContext, url: &url::Url) -> bool {
    let bucket = ListingTableUrl::try_new(bucket_url(url), None);
    let store = bucket.and_then(|bucket| session.runtime_env().object_store(bucket));
    let Ok(store) = store else { return false };
    match object_path(url) {
        Ok(path) => store.head(&path).await.is_ok(),
        Err(_) => false,
    }
}
