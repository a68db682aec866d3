//! The offline store: what it offers, and which module does it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::{
    OfflineCapabilities, OfflineStore, Provider, ProviderConfig, ProviderInfo, Resources,
    RowAccess, WantedKeys, unsupported,
};
use provender_core::request::{
    LatestPerKey, Maintenance, MaintenanceSummary, OfflineRequest, OfflineWrite, PointInTimeJoin,
    Scan, SourceRef, Spine, WindowsAt, WriteSummary,
};
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_dialects::Dialect;
use provender_engine::parts::PartLimits;
use url::Url;

use super::auth::Login;
use super::catalog::UnityCatalog;
use super::config::{DatabricksConfig, Execution, bad};
use super::direct::{self, DirectTables, Reach};
use super::http::Http;
use super::results::Client;
use super::route::{direct_table, route};
use super::scratch::{self, Scratch};
use super::statement::Warehouse;
use super::tables::{self, Namespace, dotted};
use super::{delete, pushdown, write};
use crate::location;

/// For so long tables that were left behind are looked for.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Tables of a Databricks workspace. Cheap to clone; clones share what they know and their logins.
#[derive(Clone)]
pub struct DatabricksOfflineStore {
    client: Option<Client>,
    pub(crate) direct: Arc<DirectTables>,
    pub(crate) namespace: Namespace,
    pub(crate) execution: Execution,
    pub(crate) direct_limit_bytes: u64,
    pub(crate) resources: Resources,
    pub(crate) inline_rows: usize,
    pub(crate) insert_bytes: usize,
    /// The URL under which new tables are made, without a slash at its end.
    pub(crate) location: Option<String>,
    /// Whether tables that were left behind have been looked for.
    has_swept: Arc<AtomicBool>,
    host: String,
    login: &'static str,
}

impl fmt::Debug for DatabricksOfflineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabricksOfflineStore")
            .field("host", &self.host)
            .field("namespace", &self.namespace)
            .field("execution", &self.execution)
            .finish_non_exhaustive()
    }
}

impl DatabricksOfflineStore {
    /// Opens a store. Nothing is sent: the first request logs in.
    ///
    /// # Errors
    /// `P203` for options that contradict each other or cannot be read; `P902` if the folder for
    /// spilled rows cannot be made.
    pub fn open(options: &DatabricksConfig, config: &ProviderConfig) -> Result<Self> {
        let block = config.block.as_str();
        let base = base_url(options, block)?;
        let host = base.host_str().unwrap_or_default().to_owned();
        let login = Login::new(options, block)?;
        let what = login.what();
        for (name, text) in [("catalog", &options.catalog), ("schema", &options.schema)] {
            if text.trim().is_empty() {
                return Err(bad(block, format!("{name} is empty")));
            }
        }
        let warehouse_id = options.warehouse_id.as_deref().map(str::trim);
        let warehouse_id = warehouse_id.filter(|id| !id.is_empty());
        if let Some(id) = warehouse_id
            && !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        {
            return Err(bad(
                block,
                format!("warehouse_id {id:?} is no id of a warehouse"),
            )
            .help("write the id alone, as the end of the warehouse's HTTP path shows it"));
        }
        if warehouse_id.is_none() && options.execution == Execution::Warehouse {
            return Err(
                bad(block, "execution is warehouse, and no warehouse_id is set")
                    .help("set warehouse_id"),
            );
        }
        if options.storage.has_credentials() {
            return Err(bad(
                block,
                "storage holds credentials, which Unity Catalog hands out",
            )
            .help("leave them out of storage"));
        }
        let location = match &options.location {
            None => None,
            Some(text) => {
                location::configured(block, &config.base_path, text)?;
                Some(text.trim_end_matches('/').to_owned())
            }
        };
        let http = Http::new(base, login)?;
        let limits = PartLimits {
            // What is downloaded is held beside what is being worked on.
            memory_bytes: config.resources.memory_limit_bytes / 4,
            n_downloads: options.parallel_downloads,
            n_streams: config.resources.n_threads,
        };
        let client = match warehouse_id {
            None => None,
            Some(id) => {
                let warehouse = Warehouse::new(http.clone(), id, &options.catalog, &options.schema);
                Some(Client::new(warehouse, limits)?)
            }
        };
        Ok(Self {
            client,
            direct: Arc::new(DirectTables::new(
                UnityCatalog::new(http),
                options.storage.clone(),
                config,
            )?),
            namespace: Namespace {
                catalog: options.catalog.clone(),
                schema: options.schema.clone(),
            },
            execution: options.execution,
            direct_limit_bytes: options.direct_limit_bytes(block)?,
            resources: config.resources.clone(),
            inline_rows: options.inline_rows,
            insert_bytes: options.insert_bytes,
            location,
            has_swept: Arc::default(),
            host,
            login: what,
        })
    }

    /// The same, with every request answered in one place.
    pub(crate) fn fixed(mut self, execution: Execution) -> Self {
        self.execution = execution;
        self
    }

    pub(crate) fn has_warehouse(&self) -> bool {
        self.client.is_some()
    }

    /// Whether requests may be answered in the warehouse.
    fn may_push(&self) -> bool {
        self.has_warehouse() && self.execution != Execution::Direct
    }

    /// # Errors
    /// `P801` if all that this store does is to scan.
    fn pushes(&self, what: &str) -> Result<()> {
        match self.may_push() {
            true => Ok(()),
            false => Err(unsupported(&self.info(), what)),
        }
    }

    /// The warehouse.
    ///
    /// # Errors
    /// `P801` if none is configured.
    pub(crate) fn client(&self) -> Result<&Client> {
        self.client.as_ref().ok_or_else(|| {
            Error::new(
                &codes::UNSUPPORTED,
                "this needs a SQL warehouse, and no warehouse_id is set",
            )
            .help("set warehouse_id")
        })
    }

    /// A table of the store's own for one piece of work.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(crate) fn scratch(&self) -> Result<Scratch> {
        let client = self.client()?;
        let Namespace { catalog, schema } = &self.namespace;
        let mut scratch = Scratch::new(client, catalog, schema)?;
        // What killed processes left behind is looked for once, beside the work.
        if !self.has_swept.swap(true, Ordering::Relaxed) {
            let (client, store) = (client.clone(), self.clone());
            scratch.sweeping = Some(tokio::spawn(async move {
                let cx = Context::new("provender").with_timeout(SWEEP_TIMEOUT);
                match store.direct.catalog.names(&cx, &store.namespace).await {
                    Ok(names) => scratch::drop_left(&client, &store.namespace, &names).await,
                    Err(error) => tracing::debug!(%error, "tables are not listed"),
                }
            }));
        }
        Ok(scratch)
    }

    /// The answer to a name that no table has.
    pub(crate) async fn missing(&self, cx: &Context, name: &str) -> Error {
        let mut namespace = self.namespace.clone();
        if let Ok(full) = self.namespace.full(name)
            && let [catalog, schema, _] = full.parts()
        {
            namespace.catalog.clone_from(catalog);
            namespace.schema.clone_from(schema);
        }
        let known = self.direct.catalog.names(cx, &namespace).await;
        direct::missing(&namespace, name, &known.unwrap_or_default())
    }
}

fn base_url(options: &DatabricksConfig, block: &str) -> Result<Url> {
    let variable = std::env::var("DATABRICKS_HOST").ok();
    let given = options.endpoint.as_ref().or(options.host.as_ref());
    let text = given.or(variable.as_ref()).map(|text| text.trim());
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Err(bad(block, "there is no host").help(
            "set host, for example host: dbc-1234.cloud.databricks.com, or DATABRICKS_HOST",
        ));
    };
    let text = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    let wrong = |why: &str| {
        bad(block, format!("host or endpoint {why}")).help("write a host name or an https:// URL")
    };
    let mut url = Url::parse(&text).map_err(|_| wrong("is no address"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("is no address of a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "holds a user or password, which belong into options of their own",
        ));
    }
    if url.scheme() == "http" && options.endpoint.is_none() {
        return Err(wrong("is without TLS; only endpoint may be, for tests"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

#[async_trait]
impl Provider for DatabricksOfflineStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: super::SCHEME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: format!(
                "Databricks at {}, {}.{}",
                self.host, self.namespace.catalog, self.namespace.schema
            ),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        cx.check()?;
        let names = self.direct.catalog.names(cx, &self.namespace).await?;
        let tables = if names.len() == 1 { "table" } else { "tables" };
        let mut findings = vec![format!(
            "{} {tables} that the {} may see in {}.{}",
            names.len(),
            self.login,
            self.namespace.catalog,
            self.namespace.schema
        )];
        let left = names
            .iter()
            .filter(|name| name.starts_with(scratch::PREFIX));
        let n_left = left.count();
        if n_left > 0 {
            findings.push(format!(
                "{n_left} tables named {}* are there: of work that goes on, or of processes that were killed; the next join or write drops those of this machine, and all after a week",
                scratch::PREFIX
            ));
        }
        match &self.client {
            Some(client) => {
                let state = client.warehouse.state(cx).await?;
                findings.push(format!(
                    "SQL warehouse {} is {}",
                    client.warehouse.id(),
                    state.to_lowercase()
                ));
            }
            None => findings.push(
                "no warehouse_id is set: tables are read directly, and queries and filters are not answered"
                    .to_owned(),
            ),
        }
        Ok(findings)
    }
}

#[async_trait]
impl OfflineStore for DatabricksOfflineStore {
    fn capabilities(&self) -> OfflineCapabilities {
        let may_run = self.may_push();
        let mut capabilities = OfflineCapabilities::default();
        capabilities.sql_sources = may_run;
        capabilities.point_in_time_join = may_run;
        capabilities.point_in_time_windows = may_run;
        capabilities.sql_spine = may_run;
        capabilities.latest = may_run;
        capabilities.windows = may_run;
        capabilities.write = true;
        capabilities.delete = true;
        capabilities.versions = true;
        capabilities.row_access = self.execution != Execution::Warehouse;
        capabilities
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        cx.check()?;
        if route(self, cx, [source]).await?.is_direct {
            let table = direct_table(self, cx, source).await?;
            return table.store.schema(cx, &table.source(source)).await;
        }
        Ok(tables::find(self, self.client()?, cx, source).await?.0)
    }

    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        cx.check()?;
        pushdown::scan(self, cx, scan).await
    }

    async fn open_rows(&self, cx: &Context, scan: Scan) -> Result<Option<Arc<dyn RowAccess>>> {
        self.open_rows_of(cx, scan, Vec::new()).await
    }

    async fn open_rows_of(
        &self,
        cx: &Context,
        mut scan: Scan,
        keys: Vec<WantedKeys>,
    ) -> Result<Option<Arc<dyn RowAccess>>> {
        cx.check()?;
        if !route(self, cx, [&scan.source]).await?.is_direct {
            return Ok(None);
        }
        let table = direct_table(self, cx, &scan.source).await?;
        scan.source = table.source(&scan.source);
        table.store.open_rows_of(cx, scan, keys).await
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        cx.check()?;
        self.pushes("point-in-time joins of its own")?;
        pushdown::join(self, cx, join, spine).await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        cx.check()?;
        self.pushes("latest rows of its own")?;
        pushdown::latest(self, cx, latest).await
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        cx.check()?;
        self.pushes("windows of its own")?;
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
        cx.check()?;
        delete::delete(self, cx, source, keys).await
    }

    async fn maintain(&self, _: &Context, _: Maintenance) -> Result<MaintenanceSummary> {
        Err(unsupported(&self.info(), "looking after tables").help(
            "Databricks does it itself: predictive optimisation, or OPTIMIZE and VACUUM in a warehouse",
        ))
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        cx.check()?;
        pushdown::explain(self, cx, request).await
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        cx.check()?;
        if let Some(version) = &source.version {
            return Ok(version.clone());
        }
        let Relation::Table(name) = &source.relation else {
            return Err(unsupported(&self.info(), "past states of a query")
                .help("name VERSION AS OF inside of it"));
        };
        if self.execution != Execution::Warehouse
            && let Reach::Direct(table) =
                self.direct.reach(cx, &self.namespace, name, false).await?
        {
            let pinned = table
                .store
                .pin(cx, &SourceRef::table(table.name.clone()))
                .await;
            match pinned {
                Ok(version) => return Ok(version),
                Err(error) if !self.has_warehouse() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "a table's version is asked of the warehouse");
                }
            }
        }
        let full = self.namespace.full(name)?;
        let client = self.client()?;
        let sql = format!(
            "SELECT MAX(version) AS v FROM (DESCRIBE HISTORY {}) AS h",
            full.sql(Dialect::Spark)?
        );
        let rows = client.texts(cx, &sql).await.map_err(|error| {
            if super::error::is_missing(&error) {
                return Error::new(
                    &codes::MISSING_TABLE,
                    format!(
                        "Databricks has no table {:?} that this login may see",
                        dotted(&full)
                    ),
                );
            }
            unsupported(&self.info(), "past states of this table").source(error)
        })?;
        let version = rows.into_iter().flatten().flatten().next();
        let version = version.and_then(|text| text.parse().ok());
        version
            .map(SourceVersion::Number)
            .ok_or_else(|| unsupported(&self.info(), "past states of this table"))
    }
}
