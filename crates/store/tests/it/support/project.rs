//! Projects over stores in memory, and what they are given and asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use provender_conformance::memory::{MemoryOnlineStore, MemoryRegistry};
use provender_conformance::{Table, Tables};
use provender_core::provider::{
    Author, Factory, OfflineStore, OnlineStore, Providers, Resources, Revision, ViewVersion,
};
use provender_core::{Context, Error, Result, codes};
use provender_definitions::{Loaded, ProjectConfig, ServerConfig, StoreBlock, parse_definitions};
use provender_store::{Applied, FeatureStore, HistoricalRequest, Plan, Selection};

use super::test_store::TestStore;

/// A project whose stores tests can reach into.
pub struct Project {
    pub cx: Context,
    pub store: FeatureStore,
    pub registry: Arc<MemoryRegistry>,
    /// The project's offline store, and one named `other`.
    pub offline: Arc<TestStore>,
    pub other: Arc<TestStore>,
    /// The project's online store, and one named `other`. Clones share what they hold.
    pub online: MemoryOnlineStore,
    pub other_online: MemoryOnlineStore,
}

type Opened<T> = Mutex<BTreeMap<String, Arc<T>>>;
static ONLINE: Opened<MemoryOnlineStore> = Mutex::new(BTreeMap::new());
static STORES: Opened<TestStore> = Mutex::new(BTreeMap::new());
static REGISTRIES: Opened<MemoryRegistry> = Mutex::new(BTreeMap::new());
static N_PROJECTS: AtomicUsize = AtomicUsize::new(0);

fn opened<T>(all: &Opened<T>, id: &serde_json::Value) -> Result<Arc<T>> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(id.as_str().unwrap_or_default())
        .cloned()
        .ok_or_else(|| Error::new(&codes::OFFLINE_UNAVAILABLE, "the store is not there"))
}

fn keep<T>(all: &Opened<T>, id: &str, value: &Arc<T>) -> StoreBlock {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(id.to_owned(), value.clone());
    StoreBlock {
        scheme: "memory".to_owned(),
        options: serde_json::Map::from_iter([("id".to_owned(), id.into())]),
    }
}

fn keep_online(id: &str, store: &MemoryOnlineStore) -> StoreBlock {
    keep(&ONLINE, id, &Arc::new(store.clone()))
}

fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.register(
        Factory::new("memory", "in memory", || serde_json::Value::Bool(true))
            .offline(|_, config| async move {
                let store: Arc<dyn OfflineStore> = opened(&STORES, &config.options["id"])?;
                Ok(store)
            })
            .online(|_, config| async move {
                let store: Arc<dyn OnlineStore> = opened(&ONLINE, &config.options["id"])?;
                Ok(store)
            })
            .registry(|_, config| async move {
                let registry: Arc<dyn provender_core::provider::Registry> =
                    opened(&REGISTRIES, &config.options["id"])?;
                Ok(registry)
            }),
    );
    providers
}

impl Project {
    pub async fn new(tables: Tables) -> Self {
        Self::over(TestStore::new(tables), TestStore::new(Tables::new())).await
    }

    pub async fn over(offline: TestStore, other: TestStore) -> Self {
        let number = N_PROJECTS.fetch_add(1, Ordering::SeqCst);
        let (offline, other) = (Arc::new(offline), Arc::new(other));
        let registry = Arc::new(MemoryRegistry::new());
        let other_block = keep(&STORES, &format!("other{number}"), &other);
        let (online, other_online) = (MemoryOnlineStore::new(), MemoryOnlineStore::new());
        let online_block = keep_online(&format!("online{number}"), &online);
        let other_online_block = keep_online(&format!("other_online{number}"), &other_online);
        let missing = StoreBlock {
            scheme: "memory".to_owned(),
            options: serde_json::Map::from_iter([("id".to_owned(), "nowhere".into())]),
        };
        let config = ProjectConfig {
            project: "flights".to_owned(),
            base_path: PathBuf::from("."),
            offline_store: keep(&STORES, &format!("main{number}"), &offline),
            offline_stores: BTreeMap::from([
                ("other".to_owned(), other_block),
                ("broken".to_owned(), missing.clone()),
            ]),
            online_store: online_block,
            online_stores: BTreeMap::from([
                ("other".to_owned(), other_online_block),
                ("broken".to_owned(), missing),
            ]),
            registry: keep(&REGISTRIES, &format!("registry{number}"), &registry),
            plugins: Vec::new(),
            server: ServerConfig::default(),
            limits: Resources {
                n_threads: 4,
                ..Resources::default()
            },
        };
        let cx = Context::new("flights");
        let store = FeatureStore::open(&cx, config, providers()).await.unwrap();
        Self {
            cx,
            store,
            registry,
            offline,
            other,
            online,
            other_online,
        }
    }

    /// A view's version of this project.
    pub fn view(&self, view: &str, version: u32) -> ViewVersion {
        ViewVersion {
            project: "flights".to_owned(),
            view: view.to_owned(),
            version,
        }
    }

    pub async fn plan(&self, definitions: &str) -> Plan {
        self.store.plan(&self.cx, &load(definitions)).await.unwrap()
    }

    pub async fn plan_errors(&self, definitions: &str) -> Vec<Error> {
        self.store
            .plan(&self.cx, &load(definitions))
            .await
            .unwrap_err()
    }

    /// Plans and applies.
    pub async fn apply(&self, definitions: &str) -> Plan {
        let plan = self.plan(definitions).await;
        self.commit(&plan).await.unwrap();
        plan
    }

    pub async fn commit(&self, plan: &Plan) -> Result<Revision> {
        Ok(self.apply_plan(plan).await?.revision)
    }

    /// Applies a plan, and answers what was cleaned up as well.
    pub async fn apply_plan(&self, plan: &Plan) -> Result<Applied> {
        let author = Author {
            name: "ann".to_owned(),
            message: "a test".to_owned(),
        };
        self.store.apply(&self.cx, plan, &author).await
    }

    pub async fn historical(
        &self,
        request: &HistoricalRequest,
        spine: &RecordBatch,
    ) -> Result<RecordBatch> {
        let spine = Table::of(spine.clone()).stream();
        let answer = self.store.historical(&self.cx, request, spine).await?;
        let schema = answer.schema.clone();
        let batches = answer.collect().await?;
        Ok(arrow_select::concat::concat_batches(&schema, &batches).unwrap())
    }
}

pub fn load(definitions: &str) -> Loaded {
    parse_definitions(&[("features/all.yaml", definitions)]).unwrap()
}

pub fn request(features: &str) -> HistoricalRequest {
    HistoricalRequest::new(Selection::features(features).unwrap())
}

pub fn service(name: &str) -> HistoricalRequest {
    HistoricalRequest::new(Selection::service(name).unwrap())
}
