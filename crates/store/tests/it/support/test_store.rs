//! A store in memory that can be watched, disturbed and made to do wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::future::BoxFuture;
use provender_conformance::memory::MemoryOfflineStore;
use provender_conformance::{Table, Tables};
use provender_core::model::SourceVersion;
use provender_core::provider::{
    OfflineCapabilities, OfflineStore, Provider, ProviderInfo, Resources,
};
use provender_core::request::{
    LatestPerKey, OfflineRequest, OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt,
    WriteSummary,
};
use provender_core::{BatchStream, Context, Error, Result, codes};

/// A store in memory that counts what it is asked and can claim and do more than scan.
#[derive(Debug)]
pub struct TestStore {
    pub inner: MemoryOfflineStore,
    pub capabilities: OfflineCapabilities,
    pub n_schemas: AtomicUsize,
    pub n_joins: AtomicUsize,
    pub joins: Mutex<Vec<PointInTimeJoin>>,
    /// What it does wrong.
    pub defect: Option<Defect>,
    /// What happens before each scan.
    pub before_scan: Hook,
}

type BeforeScan = dyn Fn(&Scan) -> BoxFuture<'static, Result<()>> + Send + Sync;

/// Something that happens in the middle of other work, and may make it fail.
#[derive(Default)]
pub struct Hook(Mutex<Option<Arc<BeforeScan>>>);

impl Hook {
    pub fn set(
        &self,
        hook: impl Fn(&Scan) -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
    ) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn run(&self, scan: &Scan) -> Result<()> {
        let hook = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match hook {
            Some(hook) => hook(scan).await,
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// A breach of the provider's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    DropsLastRow,
    AddsRow,
    RenamesColumn,
}

impl TestStore {
    pub fn new(tables: Tables) -> Self {
        let inner = MemoryOfflineStore::new(tables);
        Self {
            capabilities: inner.capabilities(),
            inner,
            n_schemas: AtomicUsize::new(0),
            n_joins: AtomicUsize::new(0),
            joins: Mutex::new(Vec::new()),
            defect: None,
            before_scan: Hook::default(),
        }
    }

    /// Claims point-in-time joins and spines of its own.
    pub fn joining(tables: Tables) -> Self {
        let mut store = Self::new(tables);
        store.capabilities.point_in_time_join = true;
        store.capabilities.sql_spine = true;
        store
    }

    /// The answer, with the defect if there is one.
    async fn spoilt(&self, answer: BatchStream) -> Result<BatchStream> {
        let Some(defect) = self.defect else {
            return Ok(answer);
        };
        let schema = answer.schema.clone();
        let all = Table::collect(answer).await?.one_batch().unwrap();
        let n_rows = all.num_rows();
        Ok(match defect {
            Defect::DropsLastRow => {
                BatchStream::from_batches(schema, vec![all.slice(0, n_rows - 1)])
            }
            Defect::AddsRow => {
                BatchStream::from_batches(schema, vec![all.clone(), all.slice(0, 1)])
            }
            Defect::RenamesColumn => {
                let columns = all.columns().iter().cloned();
                let renamed = RecordBatch::try_from_iter(
                    columns
                        .enumerate()
                        .map(|(at, column)| (format!("x{at}"), column)),
                )
                .unwrap();
                BatchStream::from_batches(renamed.schema(), vec![renamed])
            }
        })
    }
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
        self.capabilities.clone()
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        self.n_schemas.fetch_add(1, Ordering::SeqCst);
        self.inner.schema(cx, source).await
    }

    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        self.before_scan.run(&scan).await?;
        self.inner.scan(cx, scan).await
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        self.n_joins.fetch_add(1, Ordering::SeqCst);
        self.joins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(join.clone());
        let scanned = Arc::new(MemoryOfflineStore::new(self.inner.tables()));
        let resources = Resources::default();
        let answer = match spine {
            Spine::Rows(rows) => {
                provender_engine::point_in_time_join(cx, &resources, scanned, join, rows).await?
            }
            Spine::Sql(spine) => sql_join(cx, scanned, join, &spine).await?,
        };
        self.spoilt(answer).await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        if !self.capabilities.latest {
            return self.inner.latest(cx, latest).await;
        }
        let scanned = Arc::new(MemoryOfflineStore::new(self.inner.tables()));
        let resources = Resources::default();
        let answer = provender_engine::latest(cx, &resources, scanned, latest).await?;
        self.spoilt(answer).await
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        if !self.capabilities.windows {
            return self.inner.windows(cx, windows).await;
        }
        let scanned = Arc::new(MemoryOfflineStore::new(self.inner.tables()));
        let resources = Resources::default();
        let answer = provender_engine::windows(cx, &resources, scanned, windows).await?;
        self.spoilt(answer).await
    }

    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        self.inner.write(cx, write, rows).await
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        self.inner.delete(cx, source, keys).await
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        match request {
            OfflineRequest::Scan(scan) => Ok(format!(
                "scan of {} for {}",
                scan.source.describe(),
                scan.columns.clone().unwrap_or_default().join(", ")
            )),
            other => self.inner.explain(cx, other).await,
        }
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        self.inner.pin(cx, source).await
    }
}

/// A join over a spine of the store itself, answered in reverse order of rows, as is allowed.
async fn sql_join(
    cx: &Context,
    store: Arc<MemoryOfflineStore>,
    join: PointInTimeJoin,
    spine: &provender_core::request::SqlSpine,
) -> Result<BatchStream> {
    use provender_core::model::Relation;
    use provender_core::request::SpineRows;
    let Relation::Table(table) = &spine.relation else {
        return Err(Error::new(&codes::UNSUPPORTED, "no SQL here"));
    };
    let rows = store.tables()[table].one_batch().unwrap();
    let backwards = Int64Array::from_iter_values((0..rows.num_rows() as i64).rev());
    let rows = arrow_select::take::take_record_batch(&rows, &backwards).unwrap();
    let mut given: Vec<(String, ArrayRef)> = Vec::new();
    let schema = rows.schema();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        given.push((field.name().clone(), column.clone()));
    }
    let n_rows = rows.num_rows() as i64;
    given.push((
        "row".into(),
        Arc::new(Int64Array::from_iter_values(0..n_rows)),
    ));
    let given = RecordBatch::try_from_iter(given).unwrap();
    let spine = SpineRows {
        rows: BatchStream::from_batches(given.schema(), vec![given]),
        timestamp: spine.timestamp.clone(),
        row_number: "row".to_owned(),
    };
    let resources = Resources::default();
    let answer = provender_engine::point_in_time_join(cx, &resources, store, join, spine).await?;
    let answer = Table::collect(answer).await?.one_batch().unwrap();
    let mut fields = schema.fields().to_vec();
    fields.extend(answer.schema().fields().iter().cloned());
    let schema = Arc::new(arrow_schema::Schema::new(fields));
    let mut columns = rows.columns().to_vec();
    columns.extend(answer.columns().iter().cloned());
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    Ok(BatchStream::from_batches(schema, vec![batch]))
}
