//! The offline store: what it offers, and which module does it.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::{
    OfflineCapabilities, OfflineStore, Provider, ProviderConfig, ProviderInfo, Resources,
    unsupported,
};
use provender_core::request::{
    LatestPerKey, OfflineRequest, OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt,
    WriteSummary,
};
use provender_core::time::parse_instant;
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_dialects::Sources;

use crate::client::SnowflakeClient;
use crate::config::SnowflakeConfig;
use crate::results::Limits;
use crate::session::Settings;
use crate::tables::{self, Found, Tables};
use crate::{delete, pushdown, write};

/// Tables of a Snowflake account, where everything heavy runs. Cheap to clone; clones share their
/// session.
#[derive(Clone)]
pub struct SnowflakeOfflineStore {
    pub(crate) client: SnowflakeClient,
    pub(crate) tables: Arc<Tables>,
    pub(crate) resources: Resources,
    pub(crate) inline_rows: usize,
    pub(crate) insert_bytes: usize,
    has_time_travel: bool,
}

impl fmt::Debug for SnowflakeOfflineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnowflakeOfflineStore")
            .field("account", &self.client.settings().account)
            .field("database", &self.tables.database)
            .field("schema", &self.tables.schema)
            .finish_non_exhaustive()
    }
}

impl SnowflakeOfflineStore {
    /// Opens a store. Nothing is sent: the login happens with the first statement.
    ///
    /// # Errors
    /// `P203` for options that contradict each other or cannot be read.
    pub fn open(options: &SnowflakeConfig, config: &ProviderConfig) -> Result<Self> {
        let settings = Settings::new(options, &config.block, &config.base_path)?;
        let limits = Limits {
            // What is downloaded is held beside what is being worked on.
            memory_bytes: config.resources.memory_limit_bytes / 4,
            n_downloads: options.parallel_downloads,
            n_streams: config.resources.n_threads,
        };
        Ok(Self {
            client: SnowflakeClient::new(settings, limits)?,
            tables: Arc::new(Tables::new(&options.database, &options.schema)),
            resources: config.resources.clone(),
            inline_rows: options.inline_rows,
            insert_bytes: options.insert_bytes,
            has_time_travel: options.time_travel,
        })
    }

    /// Finds a source's table and columns.
    pub(crate) async fn find(&self, cx: &Context, source: &SourceRef) -> Result<Found> {
        tables::find(&self.tables, cx, &self.client, source, self.has_time_travel).await
    }

    /// Finds the tables and columns of several sources at once.
    pub(crate) async fn sources<'a>(
        &self,
        cx: &Context,
        sources: impl IntoIterator<Item = &'a SourceRef> + Send,
    ) -> Result<Sources> {
        let sources: Vec<&SourceRef> = sources.into_iter().collect();
        tables::find_all(
            &self.tables,
            cx,
            &self.client,
            sources,
            self.has_time_travel,
        )
        .await
    }
}

#[async_trait]
impl Provider for SnowflakeOfflineStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: crate::SCHEME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: format!(
                "Snowflake account {}, {}.{}",
                self.client.settings().account,
                self.tables.database,
                self.tables.schema
            ),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        let settings = self.client.settings();
        let n_tables = self.tables.count(cx, &self.client).await?;
        let tables = if n_tables == 1 { "table" } else { "tables" };
        let mut findings = vec![format!(
            "{n_tables} {tables} that the role may see in {}.{}",
            self.tables.database, self.tables.schema
        )];
        if settings.warehouse.is_none() {
            findings
                .push("no warehouse is set: statements run in the user's default one".to_owned());
        }
        if settings.role.is_none() {
            findings.push("no role is set: statements run with the user's default one".to_owned());
        }
        Ok(findings)
    }
}

#[async_trait]
impl OfflineStore for SnowflakeOfflineStore {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut capabilities = OfflineCapabilities::default();
        capabilities.sql_sources = true;
        capabilities.point_in_time_join = true;
        capabilities.point_in_time_windows = true;
        capabilities.sql_spine = true;
        capabilities.latest = true;
        capabilities.windows = true;
        capabilities.write = true;
        capabilities.delete = true;
        capabilities.versions = self.has_time_travel;
        capabilities
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        Ok(self.find(cx, source).await?.columns.answered)
    }

    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        pushdown::scan(self, cx, scan).await
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        pushdown::join(self, cx, join, spine).await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        pushdown::latest(self, cx, latest).await
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        pushdown::windows(self, cx, windows).await
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

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        pushdown::explain(self, cx, request).await
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        if !self.has_time_travel {
            return Err(unsupported(
                &self.info(),
                "past states, since time_travel is off",
            ));
        }
        if let Relation::Query(_) = &source.relation {
            return Err(unsupported(
                &self.info(),
                "past states of a query (name those of its tables inside of it, with AT)",
            ));
        }
        if let Some(version) = &source.version {
            return Ok(version.clone());
        }
        // Snowflake's own clock decides what is past.
        let sql = "SELECT CURRENT_TIMESTAMP()::TIMESTAMP_NTZ AS \"NOW\"".to_owned();
        let rows = self.client.texts(cx, sql).await?;
        let now = rows.into_iter().flatten().flatten().next();
        let now = now.as_deref().map(parse_instant).transpose()?;
        now.map(SourceVersion::TimestampUs)
            .ok_or_else(|| Error::new(&codes::OFFLINE_DATA, "Snowflake does not tell the time"))
    }
}
