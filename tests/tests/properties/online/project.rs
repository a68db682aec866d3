//! A project of a history: its feature store over the embedded online store, and a second handle to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use provender_conformance::memory::{MemoryOfflineStore, MemoryRegistry};
use provender_conformance::{Table, Tables};
use provender_core::provider::{
    Author, Factory, OfflineStore, OnlineReader, OnlineStore, Providers, Registry, Resources,
};
use provender_core::request::{OfflineWrite, ReadPlan, ViewLayout, ViewRead, WriteMode};
use provender_core::{BatchStream, Context, Error, codes};
use provender_definitions::{Loaded, ProjectConfig, ServerConfig, StoreBlock};
use provender_providers_local::LocalOnlineStore;
use provender_store::{FeatureStore, Materialize, MaterializeRange};

use super::world::History;
use crate::delta;
use crate::runner::{context, resources};

/// A project whose rows arrive bit by bit.
pub struct Project {
    pub cx: Context,
    pub store: FeatureStore,
    /// Another handle to the online store.
    pub online: LocalOnlineStore,
    /// The rows so far, as they were brought.
    pub arrived: Tables,
    offline: Arc<dyn OfflineStore>,
    _folder: tempfile::TempDir,
}

/// A view as it is applied, and a reader of all its features.
pub struct HeldView {
    pub layout: ViewLayout,
    pub reader: Arc<dyn OnlineReader>,
}

/// Stores in memory that were made for a project which is about to open them, by the project's name.
static OFFLINE: Mutex<BTreeMap<String, Arc<MemoryOfflineStore>>> = Mutex::new(BTreeMap::new());

fn made() -> MutexGuard<'static, BTreeMap<String, Arc<MemoryOfflineStore>>> {
    OFFLINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.register(provender_providers_local::factory());
    providers.register(provender_providers_delta::factory());
    providers.register(provender_providers_registry::sqlite_factory());
    providers.register(
        Factory::new("memory", "in memory", || serde_json::Value::Bool(true))
            .offline(|cx, _| async move {
                let store = made().remove(cx.project());
                let store = store.ok_or_else(|| Error::new(&codes::INTERNAL, "opened twice"))?;
                Ok(store as Arc<dyn OfflineStore>)
            })
            .registry(|_, _| async { Ok(Arc::new(MemoryRegistry::new()) as Arc<dyn Registry>) }),
    );
    providers
}

fn block(scheme: &str) -> StoreBlock {
    StoreBlock {
        scheme: scheme.to_owned(),
        options: serde_json::Map::new(),
    }
}

impl Project {
    /// A project with empty tables and nothing applied.
    pub async fn open(history: &History) -> Self {
        let folder = tempfile::tempdir().unwrap();
        static N_PROJECTS: AtomicU64 = AtomicU64::new(0);
        let number = N_PROJECTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("p{}_{number}", history.seed);
        let cx = context_of(&name);
        let offline: Arc<dyn OfflineStore> = if history.is_delta {
            delta::open(folder.path()).await
        } else {
            let store = MemoryOfflineStore::new(Tables::new()).with_scan_shape(history.scan);
            let store = Arc::new(store);
            made().insert(name.clone(), store.clone());
            store
        };
        let config = ProjectConfig {
            project: name,
            base_path: folder.path().to_owned(),
            offline_store: block(if history.is_delta { "delta" } else { "memory" }),
            offline_stores: BTreeMap::new(),
            online_store: block("local"),
            online_stores: BTreeMap::new(),
            registry: block(if history.has_sqlite {
                "sqlite"
            } else {
                "memory"
            }),
            plugins: Vec::new(),
            server: ServerConfig::default(),
            limits: Resources {
                // Views of one project are materialised at once, or one after the other.
                n_threads: 1 + (history.seed % 3) as usize,
                ..resources(None)
            },
        };
        let online = LocalOnlineStore::at(&online_path(folder.path()), None).unwrap();
        Self {
            store: FeatureStore::open(&cx, config, providers()).await.unwrap(),
            cx,
            online,
            arrived: Tables::new(),
            offline,
            _folder: folder,
        }
    }

    /// Adds rows to the tables; makes those that are not there.
    pub async fn bring(&mut self, arrivals: &Tables) {
        for (name, rows) in arrivals {
            let held = self.arrived.get_mut(name);
            if held.is_some() && rows.batches.is_empty() {
                continue;
            }
            let write = OfflineWrite {
                table: name.clone(),
                mode: WriteMode::Append,
                partition_by: Vec::new(),
                id: None,
            };
            let stream = BatchStream::from_batches(rows.schema.clone(), rows.batches.clone());
            let written = self.offline.write(&self.cx, write, stream).await;
            let written = written.unwrap_or_else(|error| panic!("writing {name:?}: {error:?}"));
            assert_eq!(written.n_applied, rows.n_rows() as u64, "rows of {name:?}");
            let held = self.arrived.entry(name.clone());
            let held = held.or_insert_with(|| Table::empty(rows.schema.clone()));
            held.batches.extend(rows.batches.iter().cloned());
        }
    }

    /// Applies the definitions, and opens a reader for each view.
    pub async fn apply(&self, history: &History) -> Result<Vec<HeldView>, String> {
        let loaded = Loaded {
            definitions: history.definitions(),
            ..Loaded::default()
        };
        let plan = self.store.plan(&self.cx, &loaded).await;
        let plan = plan.map_err(|errors| format!("not planned: {errors:?}"))?;
        let author = Author {
            name: "ann".to_owned(),
            message: String::new(),
        };
        let applied = self.store.apply(&self.cx, &plan, &author).await;
        applied.map_err(|error| format!("not applied: {error:?}"))?;
        let catalog = self.store.catalog(&self.cx).await;
        let catalog = catalog.map_err(|error| format!("no catalog: {error:?}"))?;
        let mut views = Vec::new();
        for view in &history.views {
            let found = catalog.feature_view(&view.name, None);
            let (version, found) = found.map_err(|error| format!("{error:?}"))?;
            let layout = ViewLayout::of(self.cx.project(), version, &found)
                .map_err(|error| format!("{error:?}"))?;
            let plan = ReadPlan {
                keys: layout.join_keys.clone(),
                views: vec![ViewRead {
                    key_columns: (0..layout.join_keys.len()).collect(),
                    features: (0..layout.features.len()).collect(),
                    layout: Arc::new(layout.clone()),
                }],
            };
            let reader = self.online.prepare(&self.cx, Arc::new(plan)).await;
            views.push(HeldView {
                reader: reader.map_err(|error| format!("not prepared: {error:?}"))?,
                layout,
            });
        }
        Ok(views)
    }

    /// Materialises views; answers the error if one of them fails.
    pub async fn materialize(
        &self,
        views: Vec<String>,
        range: MaterializeRange,
    ) -> provender_core::Result<()> {
        let request = Materialize {
            views: Some(views),
            range,
        };
        let done = self
            .store
            .materialize(&self.cx, &request, Arc::new(|_| {}))
            .await;
        done.map(|_| ())
    }

    /// Reads a batch of keys through a prepared request for all features of the service.
    pub async fn serve(
        &self,
        request: &provender_store::OnlineRequest,
        keys: impl FnOnce(&arrow_schema::Schema) -> Result<RecordBatch, String>,
    ) -> Result<RecordBatch, String> {
        let text = |error: Error| format!("{error:?}");
        let query = self.store.prepare_online(&self.cx, request).await;
        let query = query.map_err(text)?;
        let keys = keys(query.input_schema())?;
        let call = query.bind(&keys.schema()).map_err(text)?;
        let answer = call.read(&self.cx, &keys).await.map_err(text)?;
        assert_eq!(answer.schema(), *query.schema());
        Ok(answer)
    }
}

fn context_of(project: &str) -> Context {
    let limits = context();
    let context = Context::new(project);
    match limits.deadline() {
        Some(deadline) => context.with_deadline(deadline),
        None => context,
    }
}

/// Where `type: local` keeps its rows unless told otherwise.
fn online_path(project: &Path) -> std::path::PathBuf {
    project.join(".provender/online")
}
