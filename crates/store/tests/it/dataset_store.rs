//! A project over a store in memory that names past states of its tables, and can lose them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use provender_conformance::memory::{MemoryOfflineStore, MemoryOnlineStore, MemoryRegistry};
use provender_conformance::{Table, Tables};
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::{
    Author, Factory, OfflineCapabilities, OfflineStore, OnlineStore, Provider, ProviderInfo,
    Providers, Registry, Resources, unsupported,
};
use provender_core::request::{
    LatestPerKey, OfflineRequest, OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt,
    WriteMode, WriteSummary,
};
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_definitions::{ProjectConfig, ServerConfig, StoreBlock};
use provender_store::FeatureStore;

use crate::support::load;

/// All states of each table; `None` for one whose files are gone.
type States = BTreeMap<String, Vec<Option<Table>>>;

/// Tables with numbered states. Scans deal batches backwards to two streams, as a store may.
#[derive(Debug, Default)]
pub struct VersionedStore {
    states: Mutex<States>,
    /// Tables whose states have no name.
    pub unpinned: Mutex<Vec<String>>,
    /// The table whose next write never ends.
    pub hangs_at: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VersionedStore {
    pub fn add(&self, table: &str, rows: Table) {
        let mut states = lock(&self.states);
        states.entry(table.to_owned()).or_default().push(Some(rows));
    }

    /// The newest state.
    pub fn newest(&self, table: &str) -> Option<Table> {
        lock(&self.states).get(table)?.last().cloned().flatten()
    }

    pub fn n_states(&self, table: &str) -> usize {
        lock(&self.states).get(table).map_or(0, Vec::len)
    }

    /// Appends rows, which is a new state.
    pub fn append(&self, table: &str, rows: RecordBatch) {
        let mut state = self.newest(table).unwrap();
        state.batches.push(rows);
        self.add(table, state);
    }

    /// Removes the files of a state.
    pub fn vacuum(&self, table: &str, version: usize) {
        lock(&self.states).get_mut(table).unwrap()[version] = None;
    }

    fn state(&self, source: &SourceRef) -> Result<(Table, u64)> {
        let Relation::Table(name) = &source.relation else {
            return Err(unsupported(&self.info(), "queries"));
        };
        let states = lock(&self.states);
        let known = states.get(name).ok_or_else(|| {
            Error::new(&codes::MISSING_TABLE, format!("there is no table {name:?}"))
        })?;
        let version = match source.version {
            None => known.len() - 1,
            Some(SourceVersion::Number(number)) => usize::try_from(number).unwrap(),
            _ => return Err(unsupported(&self.info(), "times")),
        };
        match known.get(version).cloned().flatten() {
            Some(table) => Ok((table, version as u64)),
            None => Err(Error::new(
                &codes::VERSION_GONE,
                format!("table {name:?} has lost the files of version {version}"),
            )),
        }
    }
}

#[async_trait]
impl Provider for VersionedStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: "versioned".to_owned(),
            version: "0".to_owned(),
            display_name: "versioned tables".to_owned(),
        }
    }

    async fn check(&self, _cx: &Context) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl OfflineStore for VersionedStore {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut capabilities = OfflineCapabilities::default();
        capabilities.write = true;
        capabilities.versions = true;
        capabilities
    }

    async fn schema(&self, _cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        Ok(self.state(source)?.0.schema)
    }

    async fn scan(&self, cx: &Context, mut scan: Scan) -> Result<Vec<BatchStream>> {
        let (table, _) = self.state(&scan.source)?;
        let memory = MemoryOfflineStore::new(Tables::from_iter([(
            "t".to_owned(),
            Table {
                batches: table.batches.into_iter().rev().collect(),
                ..table
            },
        )]));
        scan.source = SourceRef::table("t");
        memory.scan(cx, scan).await
    }

    async fn point_in_time_join(
        &self,
        _: &Context,
        _: PointInTimeJoin,
        _: Spine,
    ) -> Result<BatchStream> {
        Err(unsupported(&self.info(), "joins"))
    }

    async fn latest(&self, _: &Context, _: LatestPerKey) -> Result<BatchStream> {
        Err(unsupported(&self.info(), "latest rows"))
    }

    async fn windows(&self, _: &Context, _: WindowsAt) -> Result<BatchStream> {
        Err(unsupported(&self.info(), "windows"))
    }

    async fn write(
        &self,
        _cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        assert_eq!(write.mode, WriteMode::Overwrite);
        let hangs = lock(&self.hangs_at)
            .take_if(|at| write.table.ends_with(at.as_str()))
            .is_some();
        let table = Table::collect(rows).await?;
        if hangs {
            std::future::pending::<()>().await;
        }
        let n_rows = table.n_rows() as u64;
        self.add(&write.table, table);
        Ok(WriteSummary {
            n_rows,
            n_applied: n_rows,
            version: Some(SourceVersion::Number(
                self.n_states(&write.table) as u64 - 1,
            )),
        })
    }

    async fn delete(&self, _: &Context, _: &SourceRef, _: RecordBatch) -> Result<()> {
        Err(unsupported(&self.info(), "deleting"))
    }

    async fn explain(&self, _: &Context, _: &OfflineRequest) -> Result<String> {
        Err(unsupported(&self.info(), "explaining"))
    }

    async fn pin(&self, _cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        if let Relation::Table(name) = &source.relation
            && lock(&self.unpinned).contains(name)
        {
            return Err(unsupported(&self.info(), "versions of that table"));
        }
        Ok(SourceVersion::Number(self.state(source)?.1))
    }
}

type Opened = BTreeMap<String, (Arc<VersionedStore>, Arc<MemoryRegistry>)>;
static OPENED: Mutex<Opened> = Mutex::new(BTreeMap::new());
static N_PROJECTS: AtomicUsize = AtomicUsize::new(0);

fn opened(id: &serde_json::Value) -> (Arc<VersionedStore>, Arc<MemoryRegistry>) {
    lock(&OPENED)[id.as_str().unwrap()].clone()
}

fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.register(
        Factory::new("versioned", "versioned tables", || {
            serde_json::Value::Bool(true)
        })
        .offline(|_, config| async move {
            let store: Arc<dyn OfflineStore> = opened(&config.options["id"]).0;
            Ok(store)
        })
        .online(|_, _| async move {
            let store: Arc<dyn OnlineStore> = Arc::new(MemoryOnlineStore::new());
            Ok(store)
        })
        .registry(|_, config| async move {
            let registry: Arc<dyn Registry> = opened(&config.options["id"]).1;
            Ok(registry)
        }),
    );
    providers
}

/// A project over versioned tables.
pub struct Project {
    pub cx: Context,
    pub store: FeatureStore,
    pub offline: Arc<VersionedStore>,
}

impl Project {
    /// With these definitions applied.
    pub async fn new(tables: Tables, definitions: &str) -> Self {
        let id = N_PROJECTS.fetch_add(1, Ordering::SeqCst).to_string();
        let offline = Arc::new(VersionedStore::default());
        for (name, table) in tables {
            offline.add(&name, table);
        }
        let registry = Arc::new(MemoryRegistry::new());
        lock(&OPENED).insert(id.clone(), (offline.clone(), registry));
        let block = StoreBlock {
            scheme: "versioned".to_owned(),
            options: serde_json::Map::from_iter([("id".to_owned(), id.into())]),
        };
        let config = ProjectConfig {
            project: "flights".to_owned(),
            base_path: PathBuf::from("."),
            offline_store: block.clone(),
            offline_stores: BTreeMap::new(),
            online_store: block.clone(),
            online_stores: BTreeMap::new(),
            registry: block,
            plugins: Vec::new(),
            server: ServerConfig::default(),
            limits: Resources {
                n_threads: 2,
                ..Resources::default()
            },
        };
        let cx = Context::new("flights").with_identity("ann");
        let store = FeatureStore::open(&cx, config, providers()).await.unwrap();
        let project = Self { cx, store, offline };
        project.apply(definitions).await;
        project
    }

    pub async fn apply(&self, definitions: &str) {
        let plan = self.store.plan(&self.cx, &load(definitions)).await.unwrap();
        let author = Author::default();
        self.store.apply(&self.cx, &plan, &author).await.unwrap();
    }
}
