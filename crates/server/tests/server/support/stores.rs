//! Stores in memory that tests can hold up, replace and look into, and how a configuration finds them.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::future::BoxFuture;

use provender_conformance::memory::{MemoryOfflineStore, MemoryOnlineStore, MemoryRegistry};
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::{
    Factory, OfflineCapabilities, OfflineStore, OnlineStore, Provider, ProviderInfo, Providers,
    Registry,
};
use provender_core::request::{
    LatestPerKey, OfflineRequest, OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt,
    WriteSummary,
};
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_definitions::StoreBlock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Hook = dyn Fn(Scan) -> BoxFuture<'static, Result<Option<Vec<BatchStream>>>> + Send + Sync;

/// A store in memory whose scans tests can replace, and which takes `SELECT * FROM t` for a table.
#[derive(Debug)]
pub struct TestStore {
    pub inner: MemoryOfflineStore,
    pub on_scan: OnScan,
    pub write_delay: Mutex<Duration>,
    pub n_writes: AtomicUsize,
    /// What each call of a scan or write was allowed to hold.
    pub memory: Mutex<Vec<u64>>,
}

#[derive(Default)]
pub struct OnScan(Mutex<Option<Arc<Hook>>>);

impl std::fmt::Debug for OnScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnScan")
    }
}

impl OnScan {
    pub fn set<F>(&self, hook: F)
    where
        F: Fn(Scan) -> BoxFuture<'static, Result<Option<Vec<BatchStream>>>> + Send + Sync + 'static,
    {
        *self.0.lock().unwrap() = Some(Arc::new(hook));
    }
}

fn as_table(source: &SourceRef) -> SourceRef {
    let mut source = source.clone();
    if let Relation::Query(sql) = &source.relation
        && let Some(table) = sql.strip_prefix("SELECT * FROM ")
    {
        source.relation = Relation::Table(table.to_owned());
    }
    source
}

#[async_trait]
impl Provider for TestStore {
    fn info(&self) -> ProviderInfo {
        self.inner.info()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.inner.check(cx).await
    }
}

#[async_trait]
impl OfflineStore for TestStore {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.sql_sources = true;
        capabilities
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        self.inner.schema(cx, &as_table(source)).await
    }

    async fn scan(&self, cx: &Context, mut scan: Scan) -> Result<Vec<BatchStream>> {
        self.memory.lock().unwrap().push(cx.memory_within(u64::MAX));
        let hook = self.on_scan.0.lock().unwrap().clone();
        if let Some(hook) = hook
            && let Some(answer) = hook(scan.clone()).await?
        {
            return Ok(answer);
        }
        scan.source = as_table(&scan.source);
        self.inner.scan(cx, scan).await
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        self.inner.point_in_time_join(cx, join, spine).await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        self.inner.latest(cx, latest).await
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        self.inner.windows(cx, windows).await
    }

    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        self.memory.lock().unwrap().push(cx.memory_within(u64::MAX));
        let delay = *self.write_delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let written = self.inner.write(cx, write, rows).await?;
        self.n_writes.fetch_add(1, Ordering::SeqCst);
        Ok(written)
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        self.inner.delete(cx, source, keys).await
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        self.inner.explain(cx, request).await
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        self.inner.pin(cx, source).await
    }
}

pub(super) type Opened<T> = Mutex<BTreeMap<String, Arc<T>>>;
pub(super) static ONLINE: Opened<MemoryOnlineStore> = Mutex::new(BTreeMap::new());
pub(super) static STORES: Opened<TestStore> = Mutex::new(BTreeMap::new());
pub(super) static REGISTRIES: Opened<MemoryRegistry> = Mutex::new(BTreeMap::new());
pub(super) static N_SERVERS: AtomicUsize = AtomicUsize::new(0);

fn opened<T>(all: &Opened<T>, id: &Value) -> Result<Arc<T>> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(id.as_str().unwrap_or_default())
        .cloned()
        .ok_or_else(|| Error::new(&codes::OFFLINE_UNAVAILABLE, "the store is not there"))
}

pub(super) fn keep<T>(all: &Opened<T>, id: &str, value: &Arc<T>) -> StoreBlock {
    all.lock().unwrap().insert(id.to_owned(), value.clone());
    StoreBlock {
        scheme: "memory".to_owned(),
        options: serde_json::Map::from_iter([("id".to_owned(), id.into())]),
    }
}

pub(super) fn providers() -> Providers {
    let mut providers = Providers::default();
    providers.register(
        Factory::new("memory", "in memory", || Value::Bool(true))
            .offline(|_, config| async move {
                let store: Arc<dyn OfflineStore> = opened(&STORES, &config.options["id"])?;
                Ok(store)
            })
            .online(|_, config| async move {
                let store: Arc<dyn OnlineStore> = opened(&ONLINE, &config.options["id"])?;
                Ok(store)
            })
            .registry(|_, config| async move {
                let registry: Arc<dyn Registry> = opened(&REGISTRIES, &config.options["id"])?;
                Ok(registry)
            }),
    );
    providers
}
