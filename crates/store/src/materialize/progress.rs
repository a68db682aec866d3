//! Telling how far a run is, often enough for people and not more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use provender_core::model::SourceVersion;
use provender_core::provider::{
    OfflineCapabilities, OfflineStore, Provider, ProviderInfo, ViewVersion,
};
use provender_core::request::{
    LatestPerKey, OfflineRequest, OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt,
    WriteSummary,
};
use provender_core::{BatchStream, Context, Result};

use super::{MaterializedView, Progress, ProgressFn};

/// Time between two reports of one view.
const EVERY: Duration = Duration::from_millis(100);

/// Reports on one view.
pub(super) struct Reporter {
    view: ViewVersion,
    on_progress: ProgressFn,
    since: Instant,
    /// When the next report is due, in milliseconds of `since`.
    due_ms: AtomicU64,
    n_read: AtomicU64,
}

impl Reporter {
    pub(super) fn new(view: ViewVersion, on_progress: ProgressFn) -> Self {
        Self {
            view,
            on_progress,
            since: Instant::now(),
            due_ms: AtomicU64::new(millis(EVERY)),
            n_read: AtomicU64::new(0),
        }
    }

    /// Counts rows that were read, and says how many if it is time to.
    pub(super) fn read(&self, n_rows: usize) {
        let n_rows = n_rows as u64;
        let n_rows = self.n_read.fetch_add(n_rows, Ordering::Relaxed) + n_rows;
        if self.is_due() {
            self.reading(n_rows);
        }
    }

    /// Says how many rows were read.
    pub(super) fn read_all(&self) {
        self.reading(self.n_read.load(Ordering::Relaxed));
    }

    /// Says how many rows are written, if it is time to or all are.
    pub(super) fn written(&self, n_rows: u64, n_total: u64) {
        if self.is_due() || n_rows == n_total {
            let view = self.view.clone();
            (self.on_progress)(Progress::Writing {
                view,
                n_rows,
                n_total,
            });
        }
    }

    /// Says that the view is done.
    pub(super) fn done(&self, done: &MaterializedView) {
        (self.on_progress)(Progress::Done(done.clone()));
    }

    fn reading(&self, n_rows: u64) {
        let view = self.view.clone();
        (self.on_progress)(Progress::Reading { view, n_rows });
    }

    /// Whether it is time to report. Of several threads that ask at once one is told so.
    fn is_due(&self) -> bool {
        let now_ms = millis(self.since.elapsed());
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        let next_ms = now_ms + millis(EVERY);
        now_ms >= due_ms
            && self
                .due_ms
                .compare_exchange(due_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An offline store whose scans are counted. All else it only passes on.
pub(super) struct Counted {
    pub(super) store: Arc<dyn OfflineStore>,
    pub(super) reporter: Arc<Reporter>,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl Provider for Counted {
    fn info(&self) -> ProviderInfo {
        self.store.info()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.store.check(cx).await
    }
}

#[async_trait]
impl OfflineStore for Counted {
    fn capabilities(&self) -> OfflineCapabilities {
        self.store.capabilities()
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        self.store.schema(cx, source).await
    }

    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        let partitions = self.store.scan(cx, scan).await?;
        let counted = partitions.into_iter().map(|partition| {
            let reporter = self.reporter.clone();
            let batches = partition.batches.inspect(move |batch| {
                if let Ok(batch) = batch {
                    reporter.read(batch.num_rows());
                }
            });
            BatchStream::new(partition.schema, batches)
        });
        Ok(counted.collect())
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        self.store.point_in_time_join(cx, join, spine).await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        self.store.latest(cx, latest).await
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        self.store.windows(cx, windows).await
    }

    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        self.store.write(cx, write, rows).await
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        self.store.delete(cx, source, keys).await
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        self.store.explain(cx, request).await
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        self.store.pin(cx, source).await
    }
}
