//! The offline store: what it offers, and which module does it.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::prelude::SessionContext;
use object_store::{ObjectStoreExt, PutPayload};
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::{
    OfflineCapabilities, OfflineStore, Provider, ProviderConfig, ProviderInfo, RowAccess,
    WantedKeys, unsupported,
};
use provender_core::request::{
    LatestPerKey, Maintenance, MaintenanceSummary, OfflineRequest, OfflineWrite, PointInTimeJoin,
    Scan, SourceRef, Spine, WindowsAt, WriteSummary,
};
use provender_core::time::now_us;
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_engine::sql;

use crate::config::DeltaConfig;
use crate::error::{remote_error, write_error};
use crate::location::Location;
use crate::making::unique;
use crate::storage::Storage;
use crate::tables::{Kind, Tables};
use crate::{delete, location, maintain, scan, write};

/// Delta tables, and Parquet files, in a folder of this machine or in object stores. Cheap to keep; all
/// calls share one memory limit.
pub struct DeltaOfflineStore {
    pub(crate) tables: Tables,
    pub(crate) session: SessionContext,
    pub(crate) memory_limit_bytes: u64,
}

impl fmt::Debug for DeltaOfflineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaOfflineStore")
            .field("location", &self.tables.location.to_string())
            .finish_non_exhaustive()
    }
}

impl DeltaOfflineStore {
    /// Opens a store. Nothing is read or made: the folder may come into being with the first write.
    ///
    /// # Errors
    /// `P203` for a location of an unknown kind, or options that contradict themselves; `P902` if the folder for spilled rows
    /// cannot be made.
    pub fn open(options: &DeltaConfig, config: &ProviderConfig) -> Result<Self> {
        let base = std::path::absolute(&config.base_path)
            .map_err(|error| write_error(&config.base_path, error))?;
        let location = location::configured(&config.block, &base, &options.location)?;
        let storage = Storage::new(&config.block, options.storage.clone());
        if let Location::Remote { url, .. } = &location {
            storage.client(url)?;
        }
        Ok(Self {
            tables: Tables {
                base,
                location,
                named: None,
                storage,
            },
            session: sql::session(&config.resources)?,
            memory_limit_bytes: config.resources.memory_limit_bytes,
        })
    }

    /// The names of the tables in the store's folder, sorted.
    ///
    /// # Errors
    /// `P903` if the folder cannot be read.
    pub async fn list_tables(&self) -> Result<Vec<String>> {
        self.tables.list().await
    }
}

#[async_trait]
impl Provider for DeltaOfflineStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: crate::SCHEME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: format!("Delta tables in {}", self.tables.location),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        cx.check()?;
        let location = &self.tables.location;
        if location.local().is_some_and(|folder| !folder.exists()) {
            return Ok(vec![format!(
                "the folder {location} does not exist yet; the first import makes it"
            )]);
        }
        let n_tables = self.tables.list().await?.len();
        match location {
            Location::Local(folder) => {
                let probe = folder.join(unique(".provender"));
                std::fs::write(&probe, b"").map_err(|error| write_error(folder, error))?;
                std::fs::remove_file(&probe).map_err(|error| write_error(folder, error))?;
            }
            Location::Remote { url, .. } => {
                let client = self.tables.storage.client(url)?;
                let probe = location::object_path(url)?.join(unique(".provender"));
                let failed = |error| remote_error("the offline store", error);
                let put = client.put(&probe, PutPayload::from_static(b"")).await;
                put.map_err(failed)?;
                client.delete(&probe).await.map_err(failed)?;
            }
        }
        let tables = if n_tables == 1 { "table" } else { "tables" };
        Ok(vec![format!("{n_tables} {tables} in {location}")])
    }
}

#[async_trait]
impl OfflineStore for DeltaOfflineStore {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut capabilities = OfflineCapabilities::default();
        capabilities.sql_sources = true;
        capabilities.write = true;
        capabilities.delete = true;
        capabilities.versions = true;
        capabilities.row_access = true;
        capabilities.new_columns = true;
        capabilities.maintenance = true;
        capabilities
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        let frame = scan::frame(self, cx, source).await?;
        Ok(scan::schema_of(&frame))
    }

    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        scan::scan(self, cx, &scan).await
    }

    async fn open_rows(&self, cx: &Context, scan: Scan) -> Result<Option<Arc<dyn RowAccess>>> {
        scan::open_rows(self, cx, &scan, &[]).await
    }

    async fn open_rows_of(
        &self,
        cx: &Context,
        scan: Scan,
        keys: Vec<WantedKeys>,
    ) -> Result<Option<Arc<dyn RowAccess>>> {
        scan::open_rows(self, cx, &scan, &keys).await
    }

    async fn point_in_time_join(
        &self,
        _: &Context,
        _: PointInTimeJoin,
        _: Spine,
    ) -> Result<BatchStream> {
        Err(unsupported(&self.info(), "point-in-time joins of its own"))
    }

    async fn latest(&self, _: &Context, _: LatestPerKey) -> Result<BatchStream> {
        Err(unsupported(&self.info(), "latest rows of its own"))
    }

    async fn windows(&self, _: &Context, _: WindowsAt) -> Result<BatchStream> {
        Err(unsupported(&self.info(), "windows of its own"))
    }

    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        write::write(self, cx, write, rows).await
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        delete::delete(self, cx, source, &keys).await
    }

    async fn maintain(&self, cx: &Context, work: Maintenance) -> Result<MaintenanceSummary> {
        maintain::maintain(self, cx, &work).await
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        match request {
            OfflineRequest::Scan(scan) => sql::explain(scan::plan(self, cx, scan).await?.df).await,
            _ => Err(unsupported(&self.info(), "explaining anything but scans")),
        }
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        cx.check()?;
        match &source.relation {
            // Each table of a query has versions of its own; a time names all of them.
            Relation::Query(_) => Ok(source
                .version
                .clone()
                .unwrap_or(SourceVersion::TimestampUs(now_us()))),
            Relation::Table(name) => {
                let place = self.tables.find_existing(name).await?;
                if place.kind == Kind::Parquet {
                    return Err(unsupported(&self.info(), "versions of Parquet files")
                        .context("table", name.clone()));
                }
                let table = self.tables.open(&place, source.version.as_ref()).await?;
                table.version().map(SourceVersion::Number).ok_or_else(|| {
                    Error::new(
                        &codes::OFFLINE_DATA,
                        format!("table {name:?} holds no version"),
                    )
                })
            }
        }
    }
}
