//! A panic in any method of an offline store or a registry is an error of that call. (Those of an online
//! store have a file of their own.)

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use provender_core::model::SourceVersion;
use provender_core::provider::{
    Author, Change, Commit, Factory, Interval, Lease, OfflineCapabilities, OfflineStore, Provider,
    ProviderInfo, Registry, RegistrySnapshot, Revision, ViewVersion,
};
use provender_core::request::{
    LatestPerKey, Maintenance, MaintenanceSummary, MaintenanceWork, OfflineRequest, OfflineWrite,
    PointInTimeJoin, Scan, SourceRef, Spine, SpineRows, TimedSource, Vacuum, WindowsAt, WriteMode,
    WriteSummary,
};
use provender_core::{BatchStream, Context, Result};
use serde_json::json;

use crate::doubles::{config, library};

/// Panics in every method but those that opening asks.
#[derive(Debug)]
struct Panicking;

fn at<T>(place: &str) -> Result<T> {
    panic!("as asked in {place}")
}

#[async_trait]
impl Provider for Panicking {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: "panicking".to_owned(),
            version: "0".to_owned(),
            display_name: "a store that panics".to_owned(),
        }
    }

    async fn check(&self, _: &Context) -> Result<Vec<String>> {
        at("check")
    }
}

#[async_trait]
impl OfflineStore for Panicking {
    fn capabilities(&self) -> OfflineCapabilities {
        OfflineCapabilities::default()
    }

    async fn schema(&self, _: &Context, _: &SourceRef) -> Result<SchemaRef> {
        at("schema")
    }

    async fn scan(&self, _: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        if scan.columns.is_none() {
            return at("scan");
        }
        let rows = futures::stream::iter([1]).map(|_| at("a stream of scan"));
        Ok(vec![BatchStream::new(Arc::new(Schema::empty()), rows)])
    }

    async fn point_in_time_join(
        &self,
        _: &Context,
        _: PointInTimeJoin,
        _: Spine,
    ) -> Result<BatchStream> {
        at("point_in_time_join")
    }

    async fn latest(&self, _: &Context, _: LatestPerKey) -> Result<BatchStream> {
        at("latest")
    }

    async fn windows(&self, _: &Context, _: WindowsAt) -> Result<BatchStream> {
        at("windows")
    }

    async fn write(&self, _: &Context, _: OfflineWrite, _: BatchStream) -> Result<WriteSummary> {
        at("write")
    }

    async fn delete(&self, _: &Context, _: &SourceRef, _: RecordBatch) -> Result<()> {
        at("delete")
    }

    async fn maintain(&self, _: &Context, _: Maintenance) -> Result<MaintenanceSummary> {
        at("maintain")
    }

    async fn explain(&self, _: &Context, _: &OfflineRequest) -> Result<String> {
        at("explain")
    }

    async fn pin(&self, _: &Context, _: &SourceRef) -> Result<SourceVersion> {
        at("pin")
    }
}

#[async_trait]
impl Registry for Panicking {
    async fn revision(&self, _: &Context) -> Result<Revision> {
        at("revision")
    }

    async fn snapshot(&self, _: &Context, _: Option<Revision>) -> Result<Arc<RegistrySnapshot>> {
        at("snapshot")
    }

    async fn commit(&self, _: &Context, _: Revision, _: &[Change], _: &Author) -> Result<Revision> {
        at("commit")
    }

    async fn history(&self, _: &Context, _: Revision, _: usize) -> Result<Vec<Commit>> {
        at("history")
    }

    async fn record_interval(&self, _: &Context, _: &ViewVersion, _: Interval) -> Result<()> {
        at("record_interval")
    }

    async fn intervals(&self, _: &Context, _: &ViewVersion) -> Result<Vec<Interval>> {
        at("intervals")
    }

    async fn forget_intervals(&self, _: &Context, _: &ViewVersion) -> Result<()> {
        at("forget_intervals")
    }

    async fn acquire_lease(&self, _: &Context, _: &str, _: &str, _: Duration) -> Result<Lease> {
        at("acquire_lease")
    }

    async fn renew_lease(&self, _: &Context, _: &Lease, _: Duration) -> Result<Lease> {
        at("renew_lease")
    }

    async fn release_lease(&self, _: &Context, _: &Lease) -> Result<()> {
        at("release_lease")
    }
}

fn factory() -> Factory {
    Factory::new("panicking", "Panics", || json!({}))
        .offline(|_, _| async { Ok(Arc::new(Panicking) as Arc<dyn OfflineStore>) })
        .registry(|_, _| async { Ok(Arc::new(Panicking) as Arc<dyn Registry>) })
}

/// A call of a fresh library, since one that panicked is not called again.
async fn panics<S: ?Sized>(
    name: &str,
    open: impl AsyncFn() -> Arc<S>,
    call: impl for<'a> Fn(&'a S) -> LocalBoxFuture<'a, Result<()>>,
) {
    let store = open().await;
    let error = call(&store).await.expect_err(name);
    assert_eq!(error.code(), "P803", "{name}: {error:?}");
    let told = format!("plug-in panicking: the plug-in panicked: as asked in {name}");
    assert_eq!(error.message(), told);
    let after = call(&store).await.expect_err(name);
    assert!(
        after.message().ends_with("is not called any more"),
        "{name}: {after}"
    );
}

async fn offline() -> Arc<dyn OfflineStore> {
    let library = library("panicking", vec![factory()]);
    let config = config("panicking", "offline_store", json!({}));
    library
        .open_offline(&Context::new("p"), config)
        .await
        .unwrap()
}

async fn registry() -> Arc<dyn Registry> {
    let library = library("panicking", vec![factory()]);
    let config = config("panicking", "registry", json!({}));
    library
        .open_registry(&Context::new("p"), config)
        .await
        .unwrap()
}

fn scan(columns: Option<Vec<String>>) -> Scan {
    Scan {
        source: SourceRef::table("t"),
        columns,
        ranges: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_in_any_method_of_an_offline_store_is_an_error_of_the_call() {
    fn cx() -> Context {
        Context::new("p")
    }
    fn rows() -> BatchStream {
        BatchStream::empty(Schema::empty())
    }
    fn write() -> OfflineWrite {
        OfflineWrite {
            table: "t".to_owned(),
            mode: WriteMode::Append,
            partition_by: Vec::new(),
            id: None,
        }
    }
    fn source() -> TimedSource {
        TimedSource {
            source: SourceRef::table("t"),
            timestamp: "at".to_owned(),
            created_timestamp: None,
            tie_breakers: Vec::new(),
        }
    }
    type Store = dyn OfflineStore;
    panics::<Store>("check", offline, |s| {
        Box::pin(async { s.check(&cx()).await.map(drop) })
    })
    .await;
    panics::<Store>("schema", offline, |s| {
        Box::pin(async { s.schema(&cx(), &SourceRef::table("t")).await.map(drop) })
    })
    .await;
    panics::<Store>("scan", offline, |s| {
        Box::pin(async { s.scan(&cx(), scan(None)).await.map(drop) })
    })
    .await;
    panics::<Store>("point_in_time_join", offline, |s| {
        let join = PointInTimeJoin {
            views: Vec::new(),
            as_known: false,
        };
        let spine = Spine::Rows(SpineRows {
            rows: rows(),
            timestamp: "at".to_owned(),
            row_number: "row".to_owned(),
        });
        Box::pin(async { s.point_in_time_join(&cx(), join, spine).await.map(drop) })
    })
    .await;
    panics::<Store>("latest", offline, |s| {
        let latest = LatestPerKey {
            source: source(),
            keys: Vec::new(),
            features: Vec::new(),
            ranges: Vec::new(),
        };
        Box::pin(async { s.latest(&cx(), latest).await.map(drop) })
    })
    .await;
    panics::<Store>("windows", offline, |s| {
        let windows = WindowsAt {
            source: source(),
            keys: Vec::new(),
            aggregations: Vec::new(),
            at_us: 2,
            active_after_us: 1,
        };
        Box::pin(async { s.windows(&cx(), windows).await.map(drop) })
    })
    .await;
    panics::<Store>("write", offline, |s| {
        Box::pin(async { s.write(&cx(), write(), rows()).await.map(drop) })
    })
    .await;
    panics::<Store>("delete", offline, |s| {
        let keys = RecordBatch::new_empty(Arc::new(Schema::empty()));
        Box::pin(async { s.delete(&cx(), &SourceRef::table("t"), keys).await })
    })
    .await;
    panics::<Store>("maintain", offline, |s| {
        let work = Maintenance {
            table: "t".to_owned(),
            work: MaintenanceWork::Vacuum(Vacuum::default()),
        };
        Box::pin(async { s.maintain(&cx(), work).await.map(drop) })
    })
    .await;
    panics::<Store>("explain", offline, |s| {
        let request = OfflineRequest::Scan(scan(None));
        Box::pin(async move { s.explain(&cx(), &request).await.map(drop) })
    })
    .await;
    panics::<Store>("pin", offline, |s| {
        Box::pin(async { s.pin(&cx(), &SourceRef::table("t")).await.map(drop) })
    })
    .await;
    // In a stream that was answered the call is over, and the reader hears of it.
    let store = offline().await;
    let mut streams = store.scan(&cx(), scan(Some(Vec::new()))).await.unwrap();
    let error = streams[0].batches.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), "P803", "{error:?}");
    assert!(
        error.message().contains("as asked in a stream of scan"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_in_any_method_of_a_registry_is_an_error_of_the_call() {
    fn cx() -> Context {
        Context::new("p")
    }
    fn view() -> ViewVersion {
        ViewVersion {
            project: "p".to_owned(),
            view: "v".to_owned(),
            version: 1,
        }
    }
    fn lease() -> Lease {
        Lease {
            project: "p".to_owned(),
            name: "l".to_owned(),
            holder: "h".to_owned(),
            token: 1,
            expires_us: 1,
        }
    }
    const TTL: Duration = Duration::from_secs(1);
    type Store = dyn Registry;
    panics::<Store>("check", registry, |s| {
        Box::pin(async { s.check(&cx()).await.map(drop) })
    })
    .await;
    panics::<Store>("revision", registry, |s| {
        Box::pin(async { s.revision(&cx()).await.map(drop) })
    })
    .await;
    panics::<Store>("snapshot", registry, |s| {
        Box::pin(async { s.snapshot(&cx(), None).await.map(drop) })
    })
    .await;
    panics::<Store>("commit", registry, |s| {
        Box::pin(async {
            let by = Author {
                name: "ann".to_owned(),
                message: String::new(),
            };
            s.commit(&cx(), Revision(0), &[], &by).await.map(drop)
        })
    })
    .await;
    panics::<Store>("history", registry, |s| {
        Box::pin(async { s.history(&cx(), Revision(0), 1).await.map(drop) })
    })
    .await;
    panics::<Store>("intervals", registry, |s| {
        Box::pin(async { s.intervals(&cx(), &view()).await.map(drop) })
    })
    .await;
    panics::<Store>("record_interval", registry, |s| {
        let interval = Interval {
            start_us: None,
            end_us: 2,
        };
        Box::pin(async move { s.record_interval(&cx(), &view(), interval).await })
    })
    .await;
    panics::<Store>("forget_intervals", registry, |s| {
        Box::pin(async { s.forget_intervals(&cx(), &view()).await })
    })
    .await;
    panics::<Store>("acquire_lease", registry, |s| {
        Box::pin(async { s.acquire_lease(&cx(), "l", "h", TTL).await.map(drop) })
    })
    .await;
    panics::<Store>("renew_lease", registry, |s| {
        Box::pin(async { s.renew_lease(&cx(), &lease(), TTL).await.map(drop) })
    })
    .await;
    panics::<Store>("release_lease", registry, |s| {
        Box::pin(async { s.release_lease(&cx(), &lease()).await })
    })
    .await;
}
