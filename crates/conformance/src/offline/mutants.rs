//! Stores that are wrong in one way each, for judging the kit itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use arrow_array::{Array, RecordBatch, UInt32Array, UInt64Array};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::take::take_record_batch;
use async_trait::async_trait;
use futures::StreamExt;
use provender_core::error::{Error, ErrorKind, Result, codes};
use provender_core::model::{Relation, SourceVersion};
use provender_core::provider::{
    OfflineCapabilities, OfflineStore, Provider, ProviderInfo, RowAccess,
};
use provender_core::request::{
    LatestPerKey, Maintenance, MaintenanceSummary, OfflineRequest, OfflineWrite, PointInTimeJoin,
    Scan, SourceRef, Spine, WindowsAt, WriteMode, WriteSummary,
};
use provender_core::{BatchStream, Context, ValueType};

use crate::Table;
use crate::generate::build;
use crate::memory::MemoryOfflineStore;
use crate::oracle::Value;

/// One way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    ScanLosesARow,
    ScanRepeatsARow,
    ColumnsInTableOrder,
    RangesLeaveOutTheirEnds,
    ScansTakeTurns,
    LongTextIsCut,
    MissingIsEmpty,
    EmptyTextIsNull,
    FloatIsCut,
    NamesAreLowered,
    AppendsReplace,
    OverwritesAppend,
    IdsAreIgnored,
    EmptyWritesAreForgotten,
    NewColumnsAreTaken,
    FailedWritesLeaveRows,
    ReadThenReplace,
    HandlesAreApart,
    ExtendReplaces,
    DeleteForgets,
    DeleteTakesOneColumn,
    DeleteTrims,
    VersionsAreTheNewest,
    UnknownVersionsAreTheNewest,
    RowsOfOtherNumbers,
    TtlIsIgnored,
    TiesAreIgnored,
    CreatedIsIgnored,
    WindowsHoldTheirStart,
    SpineIsTurned,
    OwnSpineLosesColumns,
    MisfitsAreNull,
    KeysAreCut,
    MoreThanIsDeclared,
    CancelIsIgnored,
    OptimiseLosesRows,
    IdentityMoves,
    ScansShareAPlace,
    DroppedStreamsBlock,
    FiltersAreIgnored,
    QueriesAreEmpty,
}

#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) inner: MemoryOfflineStore,
    pub(super) wrong: Wrong,
    n_calls: AtomicUsize,
    place: Mutex<Option<Scan>>,
    is_blocked: Arc<AtomicBool>,
}

/// Lets other calls of the same task go on.
async fn give_way() {
    let mut is_first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

impl Mutant {
    pub(super) fn new(inner: MemoryOfflineStore, wrong: Wrong) -> Self {
        Self {
            inner,
            wrong,
            n_calls: AtomicUsize::new(0),
            place: Mutex::default(),
            is_blocked: Arc::default(),
        }
    }

    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == wrong
    }

    fn context(&self, cx: &Context) -> Context {
        match self.wrong {
            Wrong::CancelIsIgnored => Context::new(cx.project()),
            _ => cx.clone(),
        }
    }

    fn source(&self, source: &mut SourceRef) {
        match (self.wrong, &source.version) {
            (Wrong::VersionsAreTheNewest, Some(_)) => source.version = None,
            (Wrong::UnknownVersionsAreTheNewest, Some(SourceVersion::Number(n))) if *n > 1_000 => {
                source.version = None;
            }
            _ => {}
        }
        if self.is(Wrong::FiltersAreIgnored) {
            source.filter = None;
        }
    }

    fn value(&self, value: Value) -> Value {
        match (self.wrong, value) {
            (Wrong::EmptyTextIsNull, Value::String(text)) if text.is_empty() => Value::Null,
            (Wrong::LongTextIsCut, Value::String(text)) if text.len() > 15_000 => {
                Value::String(text.chars().take(1_000).collect())
            }
            (Wrong::FloatIsCut, Value::Float64(value)) => Value::Float64(f64::from(value as f32)),
            (_, value) => value,
        }
    }

    fn changes_values(&self) -> bool {
        [
            Wrong::EmptyTextIsNull,
            Wrong::LongTextIsCut,
            Wrong::FloatIsCut,
        ]
        .contains(&self.wrong)
    }

    /// The streams of a scan, made wrong.
    fn spoiled(&self, mut tables: Vec<Table>, scan: &Scan) -> Vec<Table> {
        if self.changes_values() {
            for table in &mut tables {
                for batch in &mut table.batches {
                    *batch = each_value(batch, |value| self.value(value));
                }
            }
        }
        let n_call = self.n_calls.fetch_add(1, Ordering::Relaxed);
        let mut all = tables.iter_mut().flat_map(|table| &mut table.batches);
        let full = all.rfind(|batch| batch.num_rows() > 0);
        if let Some(batch) = full {
            match self.wrong {
                Wrong::ScanLosesARow => *batch = batch.slice(1, batch.num_rows() - 1),
                Wrong::ScanRepeatsARow => *batch = rows(batch, |n| (0..n).chain([0]).collect()),
                Wrong::ScansTakeTurns if n_call % 2 == 1 => {
                    *batch = rows(batch, |n| (0..n).rev().collect());
                }
                _ => {}
            }
        }
        if self.is(Wrong::RangesLeaveOutTheirEnds) {
            for table in &mut tables {
                for batch in &mut table.batches {
                    let is_end = |row: usize| {
                        scan.ranges.iter().any(|range| {
                            let column = batch.column_by_name(&range.column).unwrap();
                            let at = Value::read(column, row).unwrap().instant_us().unwrap();
                            at.is_some() && (at == range.min_us || at == range.max_us)
                        })
                    };
                    let kept: Vec<u32> = (0..batch.num_rows())
                        .filter(|&row| !is_end(row))
                        .map(|row| row as u32)
                        .collect();
                    *batch = rows(batch, |_| kept);
                }
            }
        }
        tables
    }
}

/// Some rows of a batch.
fn rows(batch: &RecordBatch, which: impl FnOnce(u32) -> Vec<u32>) -> RecordBatch {
    let which = UInt32Array::from(which(batch.num_rows() as u32));
    take_record_batch(batch, &which).unwrap()
}

fn each_value(batch: &RecordBatch, change: impl Fn(Value) -> Value) -> RecordBatch {
    let columns = batch.columns().iter().map(|column| {
        let values: Vec<Value> = (0..column.len())
            .map(|row| change(Value::read(column.as_ref(), row).unwrap()))
            .collect();
        build(column.data_type(), &values).unwrap()
    });
    RecordBatch::try_new(batch.schema(), columns.collect()).unwrap()
}

async fn table_of(stream: Result<BatchStream>) -> Result<Table> {
    Table::collect(stream?).await
}

#[async_trait]
impl Provider for Mutant {
    fn info(&self) -> ProviderInfo {
        let mut info = self.inner.info();
        if self.is(Wrong::IdentityMoves) {
            let n_calls = self.n_calls.fetch_add(1, Ordering::Relaxed);
            info.display_name = format!("call {n_calls}");
        }
        info
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.inner.check(cx).await
    }
}

#[async_trait]
impl OfflineStore for Mutant {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut capabilities = self.inner.capabilities();
        match self.wrong {
            Wrong::MoreThanIsDeclared => capabilities.latest = false,
            Wrong::FiltersAreIgnored | Wrong::QueriesAreEmpty => capabilities.sql_sources = true,
            _ => {}
        }
        capabilities
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        let mut source = source.clone();
        self.source(&mut source);
        self.inner.schema(&self.context(cx), &source).await
    }

    async fn scan(&self, cx: &Context, mut scan: Scan) -> Result<Vec<BatchStream>> {
        let cx = &self.context(cx);
        if self.is_blocked.load(Ordering::Relaxed) {
            return Err(Error::new(
                &codes::OFFLINE_UNAVAILABLE,
                "a stream was dropped",
            ));
        }
        self.source(&mut scan.source);
        if self.is(Wrong::QueriesAreEmpty) && matches!(scan.source.relation, Relation::Query(_)) {
            let schema = Schema::new(vec![ValueType::Int64.to_field("n")]);
            return Ok(vec![BatchStream::empty(schema)]);
        }
        if self.is(Wrong::ScansShareAPlace) {
            *self.place.lock().unwrap() = Some(scan);
            give_way().await;
            scan = self.place.lock().unwrap().clone().unwrap();
        }
        if self.is(Wrong::ColumnsInTableOrder)
            && let Some(columns) = &mut scan.columns
        {
            let schema = self.inner.schema(cx, &scan.source).await?;
            columns.sort_by_key(|name| schema.index_of(name).unwrap_or_default());
        }
        let streams = match self.inner.scan(cx, scan.clone()).await {
            Err(error) if self.is(Wrong::MissingIsEmpty) && error.kind() == ErrorKind::NotFound => {
                return Ok(vec![BatchStream::empty(Schema::empty())]);
            }
            streams => streams?,
        };
        let mut tables = Vec::new();
        for stream in streams {
            tables.push(Table::collect(stream).await?);
        }
        let streams = self.spoiled(tables, &scan).into_iter().map(|table| {
            let stream = table.stream();
            if self.is(Wrong::DroppedStreamsBlock) {
                let blocks = Blocks(Arc::clone(&self.is_blocked), false);
                let blocking = futures::stream::unfold((stream.batches, blocks), async |mut it| {
                    let next = it.0.next().await;
                    it.1.1 |= next.is_none();
                    next.map(|next| (next, it))
                });
                return BatchStream::new(stream.schema, blocking);
            }
            stream
        });
        Ok(streams.collect())
    }

    async fn open_rows(&self, cx: &Context, scan: Scan) -> Result<Option<Arc<dyn RowAccess>>> {
        let opened = self.inner.open_rows(cx, scan).await?;
        Ok(opened.map(|inner| match self.wrong {
            Wrong::RowsOfOtherNumbers => Arc::new(OtherRows(inner)) as Arc<dyn RowAccess>,
            _ => inner,
        }))
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        mut join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        let is_own = matches!(spine, Spine::Sql(_));
        for view in &mut join.views {
            match self.wrong {
                Wrong::TtlIsIgnored => view.ttl_us = None,
                Wrong::TiesAreIgnored => view.source.tie_breakers.clear(),
                Wrong::CreatedIsIgnored => view.source.created_timestamp = None,
                Wrong::WindowsHoldTheirStart => {
                    for aggregation in &mut view.aggregations {
                        aggregation.window_us = aggregation.window_us.saturating_add(1);
                    }
                }
                _ => {}
            }
        }
        if self.is(Wrong::CreatedIsIgnored) {
            join.as_known = false;
        }
        let fields: Vec<_> = join
            .views
            .iter()
            .flat_map(|view| &view.features)
            .map(|feature| feature.value_type.to_field(&feature.output))
            .collect();
        let found = table_of(self.inner.point_in_time_join(cx, join, spine).await).await;
        let mut table = match found {
            Err(error)
                if self.is(Wrong::MisfitsAreNull) && error.code() == codes::CHECKED_CAST.id =>
            {
                let schema = Arc::new(Schema::new(fields));
                let nulls = |field: &Arc<arrow_schema::Field>| {
                    arrow_array::new_null_array(field.data_type(), 1)
                };
                let columns = schema.fields().iter().map(nulls).collect();
                Table::of(RecordBatch::try_new(schema, columns).unwrap())
            }
            found => found?,
        };
        for batch in &mut table.batches {
            match self.wrong {
                Wrong::SpineIsTurned => *batch = rows(batch, |n| (0..n).rev().collect()),
                Wrong::OwnSpineLosesColumns if is_own => {
                    let kept: Vec<usize> = (2..batch.num_columns()).collect();
                    *batch = batch.project(&kept).unwrap();
                    table.schema = batch.schema();
                }
                Wrong::KeysAreCut if batch.num_rows() > 20 => {
                    *batch = rows(batch, |n| (0..n).map(|row| row.saturating_sub(1)).collect());
                }
                _ => {}
            }
        }
        Ok(table.stream())
    }

    async fn latest(&self, cx: &Context, mut latest: LatestPerKey) -> Result<BatchStream> {
        let mut columns = None;
        match self.wrong {
            Wrong::TtlIsIgnored => latest.ranges.clear(),
            Wrong::TiesAreIgnored if !latest.source.tie_breakers.is_empty() => {
                // The ties are answered, and do not decide.
                let mut answer = table_of(self.inner.latest(cx, latest.clone()).await).await?;
                latest.source.tie_breakers.clear();
                let other = table_of(self.inner.latest(cx, latest.clone()).await).await?;
                if let (Some(batch), Some(other)) =
                    (answer.batches.first_mut(), other.batches.first())
                    && batch.num_rows() == other.num_rows()
                {
                    let n = latest.features.len();
                    let mut columns = batch.columns().to_vec();
                    let at = columns.len() - n;
                    columns[at..].clone_from_slice(&other.columns()[other.num_columns() - n..]);
                    *batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
                }
                columns = Some(answer);
            }
            _ => {}
        }
        match columns {
            Some(answer) => Ok(answer.stream()),
            None => self.inner.latest(cx, latest).await,
        }
    }

    async fn windows(&self, cx: &Context, mut windows: WindowsAt) -> Result<BatchStream> {
        if self.is(Wrong::WindowsHoldTheirStart) {
            for aggregation in &mut windows.aggregations {
                aggregation.window_us = aggregation.window_us.saturating_add(1);
            }
        }
        self.inner.windows(cx, windows).await
    }

    async fn write(
        &self,
        cx: &Context,
        mut write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        let cx = &self.context(cx);
        let is_there = self.inner.tables().contains_key(&write.table);
        match self.wrong {
            Wrong::AppendsReplace => write.mode = WriteMode::Overwrite,
            Wrong::OverwritesAppend if is_there => write.mode = WriteMode::Append,
            Wrong::IdsAreIgnored => write.id = None,
            Wrong::NewColumnsAreTaken if write.mode == WriteMode::Append => {
                write.mode = WriteMode::Extend;
            }
            Wrong::ExtendReplaces if write.mode == WriteMode::Extend => {
                write.mode = WriteMode::Overwrite;
            }
            _ => {}
        }
        let BatchStream {
            schema,
            mut batches,
        } = rows;
        let mut table = Table::empty(schema.clone());
        while let Some(batch) = batches.next().await {
            match batch {
                Ok(batch) => table.batches.push(batch),
                Err(error) => {
                    if self.is(Wrong::FailedWritesLeaveRows) {
                        self.inner.write(cx, write, table.stream()).await?;
                    }
                    return Err(error);
                }
            }
        }
        match self.wrong {
            Wrong::EmptyWritesAreForgotten if table.n_rows() == 0 => {
                return Ok(WriteSummary::default());
            }
            Wrong::NamesAreLowered => {
                let fields = schema.fields().iter();
                let lowered = |field: &Arc<arrow_schema::Field>| {
                    field
                        .as_ref()
                        .clone()
                        .with_name(field.name().to_lowercase())
                };
                let schema = Arc::new(Schema::new(fields.map(lowered).collect::<Vec<_>>()));
                for batch in &mut table.batches {
                    let columns = batch.columns().to_vec();
                    *batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
                }
                table.schema = schema;
            }
            Wrong::ReadThenReplace if is_there && write.mode == WriteMode::Append => {
                let held = self.inner.tables().remove(&write.table).unwrap();
                give_way().await;
                let n_rows = table.n_rows() as u64;
                table.batches.splice(0..0, held.batches);
                write.mode = WriteMode::Overwrite;
                self.inner.write(cx, write, table.stream()).await?;
                return Ok(WriteSummary {
                    n_rows,
                    n_applied: n_rows,
                    version: None,
                });
            }
            _ => {}
        }
        self.inner.write(cx, write, table.stream()).await
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        let keys = match self.wrong {
            Wrong::DeleteForgets => return cx.check(),
            Wrong::DeleteTakesOneColumn => keys.project(&[0]).unwrap(),
            Wrong::DeleteTrims => each_value(&keys, |value| match value {
                Value::String(text) => Value::String(text.trim().to_owned()),
                value => value,
            }),
            _ => keys,
        };
        self.inner.delete(cx, source, keys).await
    }

    async fn maintain(&self, cx: &Context, work: Maintenance) -> Result<MaintenanceSummary> {
        let summary = self.inner.maintain(cx, work.clone()).await?;
        if self.is(Wrong::OptimiseLosesRows) && summary.n_added > 0 {
            let mut table = self.inner.tables().remove(&work.table).unwrap();
            table.batches[0] = table.batches[0].slice(1, table.batches[0].num_rows() - 1);
            let write = OfflineWrite {
                table: work.table,
                mode: WriteMode::Overwrite,
                partition_by: Vec::new(),
                id: None,
            };
            self.inner.write(cx, write, table.stream()).await?;
        }
        Ok(summary)
    }

    async fn explain(&self, cx: &Context, request: &OfflineRequest) -> Result<String> {
        self.inner.explain(cx, request).await
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        self.inner.pin(&self.context(cx), source).await
    }
}

/// Blocks the store if a stream is dropped before its end was read.
struct Blocks(Arc<AtomicBool>, bool);

impl Drop for Blocks {
    fn drop(&mut self) {
        if !self.1 {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Fetches the asked rows in another order.
#[derive(Debug)]
struct OtherRows(Arc<dyn RowAccess>);

#[async_trait]
impl RowAccess for OtherRows {
    fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }

    async fn scan(&self, cx: &Context, columns: &[String]) -> Result<Vec<BatchStream>> {
        self.0.scan(cx, columns).await
    }

    async fn fetch(
        &self,
        cx: &Context,
        columns: &[String],
        numbers: UInt64Array,
    ) -> Result<Vec<BatchStream>> {
        let mut answer = Vec::new();
        for stream in self.0.fetch(cx, columns, numbers).await? {
            let mut table = Table::collect(stream).await?;
            for batch in &mut table.batches {
                *batch = rows(batch, |n| (0..n).rev().collect());
            }
            answer.push(table.stream());
        }
        Ok(answer)
    }
}
