//! A registry that counts and an online store that breaks its contract.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use provender_conformance::memory::{MemoryOnlineStore, MemoryRegistry};
use provender_core::provider::{
    Author, Change, Commit, Factory, Interval, Lease, OnlineCapabilities, OnlineReader,
    OnlineStore, Provider, ProviderInfo, Providers, Registry, RegistrySnapshot, Revision,
    ViewVersion,
};
use provender_core::request::{OnlineRows, OnlineStats, ReadPlan, ViewLayout, WriteSummary};
use provender_core::{BatchStream, Context, Result};
use provender_definitions::StoreBlock;
use provender_store::FeatureStore;

use crate::support::Project;

/// Counts every question.
#[derive(Debug)]
pub struct CountingRegistry {
    inner: Arc<MemoryRegistry>,
    pub n_asked: AtomicUsize,
    pub intervals_of: Mutex<Vec<String>>,
}

impl CountingRegistry {
    pub fn new(inner: Arc<MemoryRegistry>) -> Self {
        Self {
            inner,
            n_asked: AtomicUsize::new(0),
            intervals_of: Mutex::new(Vec::new()),
        }
    }

    fn asked(&self) -> &MemoryRegistry {
        self.n_asked.fetch_add(1, Ordering::SeqCst);
        &self.inner
    }

    pub fn count(&self) -> usize {
        self.n_asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Provider for CountingRegistry {
    fn info(&self) -> ProviderInfo {
        self.inner.info()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.asked().check(cx).await
    }
}

#[async_trait]
impl Registry for CountingRegistry {
    async fn revision(&self, cx: &Context) -> Result<Revision> {
        self.asked().revision(cx).await
    }

    async fn snapshot(&self, cx: &Context, at: Option<Revision>) -> Result<Arc<RegistrySnapshot>> {
        self.asked().snapshot(cx, at).await
    }

    async fn commit(
        &self,
        cx: &Context,
        base: Revision,
        changes: &[Change],
        by: &Author,
    ) -> Result<Revision> {
        self.asked().commit(cx, base, changes, by).await
    }

    async fn history(&self, cx: &Context, after: Revision, limit: usize) -> Result<Vec<Commit>> {
        self.asked().history(cx, after, limit).await
    }

    async fn record_interval(
        &self,
        cx: &Context,
        view: &ViewVersion,
        interval: Interval,
    ) -> Result<()> {
        self.asked().record_interval(cx, view, interval).await
    }

    async fn intervals(&self, cx: &Context, view: &ViewVersion) -> Result<Vec<Interval>> {
        let name = format!("{}@{}", view.view, view.version);
        self.intervals_of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name);
        self.asked().intervals(cx, view).await
    }

    async fn forget_intervals(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        self.asked().forget_intervals(cx, view).await
    }

    async fn acquire_lease(
        &self,
        cx: &Context,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        self.asked().acquire_lease(cx, name, holder, ttl).await
    }

    async fn renew_lease(&self, cx: &Context, lease: &Lease, ttl: Duration) -> Result<Lease> {
        self.asked().renew_lease(cx, lease, ttl).await
    }

    async fn release_lease(&self, cx: &Context, lease: &Lease) -> Result<()> {
        self.asked().release_lease(cx, lease).await
    }
}

/// What a store leaves out of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeavesOut {
    LastRow,
    LastView,
}

/// A store whose answers lack something.
#[derive(Debug)]
pub struct ShortStore {
    pub inner: MemoryOnlineStore,
    pub leaves_out: LeavesOut,
}

struct ShortReader {
    inner: Arc<dyn OnlineReader>,
    leaves_out: LeavesOut,
}

#[async_trait]
impl OnlineReader for ShortReader {
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows> {
        let mut answer = self.inner.read(cx, keys).await?;
        match self.leaves_out {
            LeavesOut::LastView => {
                answer.views.pop();
            }
            LeavesOut::LastRow => {
                for view in &mut answer.views {
                    view.event_times = view.event_times.slice(0, view.event_times.len() - 1);
                    for feature in &mut view.features {
                        *feature = feature.slice(0, feature.len() - 1);
                    }
                }
            }
        }
        Ok(answer)
    }
}

#[async_trait]
impl Provider for ShortStore {
    fn info(&self) -> ProviderInfo {
        self.inner.info()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.inner.check(cx).await
    }
}

#[async_trait]
impl OnlineStore for ShortStore {
    fn capabilities(&self) -> OnlineCapabilities {
        self.inner.capabilities()
    }

    async fn prepare(&self, cx: &Context, plan: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        let inner = self.inner.prepare(cx, plan).await?;
        let leaves_out = self.leaves_out;
        Ok(Arc::new(ShortReader { inner, leaves_out }))
    }

    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        self.inner.write(cx, view, rows).await
    }

    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()> {
        self.inner.delete(cx, view, keys).await
    }

    async fn views(&self, cx: &Context) -> Result<Vec<ViewVersion>> {
        self.inner.views(cx).await
    }

    async fn stats(&self, cx: &Context, view: &ViewVersion) -> Result<OnlineStats> {
        self.inner.stats(cx, view).await
    }

    async fn drop_view(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        self.inner.drop_view(cx, view).await
    }
}

#[derive(Clone)]
struct Kept {
    registry: Arc<dyn Registry>,
    online: Arc<dyn OnlineStore>,
}

static KEPT: Mutex<BTreeMap<String, Kept>> = Mutex::new(BTreeMap::new());
static N_KEPT: AtomicUsize = AtomicUsize::new(0);

fn kept(id: &serde_json::Value) -> Kept {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept[id.as_str().unwrap()].clone()
}

/// The same project over another registry and another online store.
pub async fn reopened(
    project: &Project,
    registry: Arc<dyn Registry>,
    online: Arc<dyn OnlineStore>,
) -> FeatureStore {
    let id = N_KEPT.fetch_add(1, Ordering::SeqCst).to_string();
    KEPT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(id.clone(), Kept { registry, online });
    let mut providers = Providers::default();
    providers.register(
        Factory::new("kept", "as tests made it", || serde_json::Value::Bool(true))
            .online(|_, config| async move { Ok(kept(&config.options["id"]).online) })
            .registry(|_, config| async move { Ok(kept(&config.options["id"]).registry) }),
    );
    let block = StoreBlock {
        scheme: "kept".to_owned(),
        options: serde_json::Map::from_iter([("id".to_owned(), id.into())]),
    };
    let mut config = project.store.config().clone();
    config.online_store = block.clone();
    config.registry = block;
    FeatureStore::open(&project.cx, config, providers)
        .await
        .unwrap()
}
