//! Tables read and written where they lie: Unity Catalog names the place and hands out keys for it,
//! and the Delta reader of this crate does the rest. No warehouse runs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datafusion::execution::object_store::DefaultObjectStoreRegistry;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionContext;
use object_store::ClientOptions;
use object_store::aws::resolve_bucket_region;
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::ProviderConfig;
use provender_core::request::{OfflineWrite, SourceRef};
use provender_core::{Context, Error, Result, codes};
use provender_engine::sql::{self, datafusion_error};

use super::catalog::{CatalogTable, TableKeys, UnityCatalog};
use super::tables::{Namespace, dotted};
use crate::error::OnTable;
use crate::location::{self, Location};
use crate::storage::{Cloud, Storage, StorageOptions, canonical};
use crate::store::DeltaOfflineStore;
use crate::tables::Tables;
use crate::target::refuse_special;

/// For so long a table is taken for as large as it was.
const SIZE_KNOWN_FOR: Duration = Duration::from_secs(60);

/// All tables that have been opened where they lie.
pub(crate) struct DirectTables {
    pub catalog: UnityCatalog,
    block: String,
    base: PathBuf,
    options: StorageOptions,
    session: SessionContext,
    memory_limit_bytes: u64,
    open: Mutex<HashMap<(String, bool), Arc<DirectTable>>>,
}

impl std::fmt::Debug for DirectTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectTables")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A table that has been opened where it lies.
#[derive(Debug)]
pub(crate) struct DirectTable {
    /// The store that knows this table alone, by its whole name.
    pub store: DeltaOfflineStore,
    /// The whole name.
    pub name: String,
    table_id: String,
    size: Mutex<Option<(Instant, Option<SourceVersion>, Size)>>,
}

/// How much a state of a table holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    pub n_bytes: u64,
    pub n_files: u64,
}

/// A table that can be read where it lies, or why it cannot.
pub(crate) enum Reach {
    Direct(Arc<DirectTable>),
    /// There is no such table, as far as the catalog tells.
    Missing,
    /// To be read after the table's name.
    Not(String),
}

impl DirectTables {
    pub(crate) fn new(
        catalog: UnityCatalog,
        options: StorageOptions,
        config: &ProviderConfig,
    ) -> Result<Self> {
        Ok(Self {
            catalog,
            block: config.block.clone(),
            base: config.base_path.clone(),
            options,
            session: sql::session(&config.resources)?,
            memory_limit_bytes: config.resources.memory_limit_bytes,
            open: Mutex::default(),
        })
    }

    /// The table of a name, for reading or for writing.
    ///
    /// # Errors
    /// `P120` for a name that cannot be read, and those of the catalog.
    pub(crate) async fn reach(
        &self,
        cx: &Context,
        namespace: &Namespace,
        name: &str,
        is_write: bool,
    ) -> Result<Reach> {
        let full_name = dotted(&namespace.full(name)?);
        let Some(known) = self.catalog.table(cx, &full_name).await? else {
            return Ok(Reach::Missing);
        };
        if let Some(why) = known.not_direct() {
            return Ok(Reach::Not(why));
        }
        if is_write && !known.is_external() {
            return Ok(Reach::Not(
                "is managed by Unity Catalog, which alone may write its files".to_owned(),
            ));
        }
        let key = (full_name.to_lowercase(), is_write);
        if let Some(open) = self.lock().get(&key)
            && open.table_id == known.table_id
        {
            return Ok(Reach::Direct(open.clone()));
        }
        let opened = Arc::new(self.make(full_name, &known, is_write).await?);
        self.lock().insert(key, opened.clone());
        Ok(Reach::Direct(opened))
    }

    async fn make(
        &self,
        full_name: String,
        known: &CatalogTable,
        is_write: bool,
    ) -> Result<DirectTable> {
        let url = known.storage_location.as_deref().unwrap_or_default();
        let base = Location::Local(self.base.clone());
        let at = location::of_table(&self.base, &base, url)?;
        let keys = TableKeys {
            http: self.catalog.http.clone(),
            table_id: known.table_id.clone(),
            full_name: full_name.clone(),
            is_write,
        };
        let options = self.with_region(url).await;
        let storage = Storage::with_keys(&self.block, options, Arc::new(keys));
        // Two tables of one bucket have keys of their own, so each has clients of its own; memory is
        // one limit for all.
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.session.runtime_env())
            .with_object_store_registry(Arc::new(DefaultObjectStoreRegistry::new()))
            .build_arc()
            .map_err(datafusion_error)?;
        let session = SessionContext::new_with_config_rt(self.session.copied_config(), runtime);
        Ok(DirectTable {
            store: DeltaOfflineStore {
                tables: Tables {
                    base: self.base.clone(),
                    location: at.clone(),
                    named: Some((full_name.clone(), at)),
                    storage,
                },
                session,
                memory_limit_bytes: self.memory_limit_bytes,
            },
            name: full_name,
            table_id: known.table_id.clone(),
            size: Mutex::default(),
        })
    }

    /// The storage's options, with the bucket's region where nobody has named one.
    async fn with_region(&self, url: &str) -> StorageOptions {
        let mut options = self.options.clone();
        let is_known = options.region.is_some()
            || options.endpoint.is_some()
            || [
                "AWS_REGION",
                "AWS_DEFAULT_REGION",
                "AWS_ENDPOINT_URL",
                "AWS_ENDPOINT",
            ]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
        if let Some((Cloud::S3, bucket)) = canonical(url)
            && !is_known
        {
            let bucket = bucket.host_str().unwrap_or_default().to_owned();
            let client = ClientOptions::new();
            let asked = resolve_bucket_region(&bucket, &client);
            match tokio::time::timeout(Duration::from_secs(10), asked).await {
                Ok(Ok(region)) => options.region = Some(region),
                _ => tracing::debug!(bucket, "the region of a bucket is not told"),
            }
        }
        options
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, bool), Arc<DirectTable>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DirectTable {
    /// A source of this table, as its own store names it.
    pub(crate) fn source(&self, source: &SourceRef) -> SourceRef {
        SourceRef {
            relation: Relation::Table(self.name.clone()),
            ..source.clone()
        }
    }

    /// How much the asked state of the table holds.
    ///
    /// # Errors
    /// As opening it: `P514` without a grant, `P801` for a table that this reader does not know.
    pub(crate) async fn size(&self, version: Option<&SourceVersion>) -> Result<Size> {
        let known = self
            .size
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((asked, of, size)) = known
            && asked.elapsed() < SIZE_KNOWN_FOR
            && of.as_ref() == version
        {
            return Ok(size);
        }
        let place = self.store.tables.find_existing(&self.name).await?;
        let table = self.store.tables.open(&place, version).await?;
        let state = table.snapshot().on_table(&self.name, "cannot be read")?;
        let mut size = Size::default();
        for file in state.log_data().iter() {
            size.n_bytes += u64::try_from(file.size()).unwrap_or(0);
            size.n_files += 1;
        }
        let entry = (Instant::now(), version.cloned(), size);
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        Ok(size)
    }

    /// Whether rows may be written into the table where it lies.
    ///
    /// # Errors
    /// `P531` without a grant; `P801` if it has features that this writer does not keep.
    pub(crate) async fn takes(&self, write: &OfflineWrite) -> Result<()> {
        let place = self.store.tables.find_existing(&self.name).await?;
        refuse_special(write, &self.store.tables.open(&place, None).await?)
    }

    /// The size is asked for anew.
    pub(crate) fn changed(&self) {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The answer to a name that no table has.
pub(crate) fn missing(namespace: &Namespace, name: &str, known: &[String]) -> Error {
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let hint = provender_core::names::did_you_mean(&last(name), known.iter().map(String::as_str));
    Error::new(
        &codes::MISSING_TABLE,
        format!(
            "Databricks has no table {name:?} in {}.{} that this login may see",
            namespace.catalog, namespace.schema
        ),
    )
    .help(if hint.is_empty() {
        "check the name and the grants".to_owned()
    } else {
        hint
    })
    .context("table", name)
}
