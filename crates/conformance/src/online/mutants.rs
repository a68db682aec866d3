//! Stores that are wrong in one way each, for judging the kit itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use async_trait::async_trait;
use provender_core::error::Result;
use provender_core::provider::{
    OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderInfo, ViewVersion,
};
use provender_core::request::{
    OnlineRows, OnlineStats, ReadPlan, ViewLayout, ViewRows, WriteSummary,
};
use provender_core::{BatchStream, Context, ValueType};

use crate::generate::{build, key_batch, write_batch};
use crate::memory::MemoryOnlineStore;
use crate::oracle::{OnlineRow, Value};

/// One way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    LastWriteWins,
    MillisecondTimes,
    NullCreatedIsHighest,
    CreatedIsIgnored,
    TiesAreIgnored,
    FirstOfTiedStays,
    TombstoneIsIgnored,
    TombstoneIsADelete,
    DuplicatesAreDropped,
    RowsAreSorted,
    NullIsEmpty,
    VersionsMix,
    ProjectsMix,
    DeleteForgets,
    DeleteTakesNull,
    DropForgets,
    ReadersKeepWhatTheySaw,
    FloatIsCut,
    EmptyTextIsNull,
    FeaturesInDeclaredOrder,
    KeysAreJoined,
    KeysAreCut,
    OnlyFirstBatch,
    CheckThenWrite,
    HandlesAreApart,
    NullKeysAreTaken,
    CancelIsIgnored,
    RowsErrorIsSwallowed,
    StatsLeaveOutTombstones,
    AllRowsAreApplied,
    FreshTombstonesExpire,
    CheckpointsAreAlwaysHeld,
    LostCheckpointsGoOn,
}

#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) inner: MemoryOnlineStore,
    pub(super) wrong: Wrong,
}

struct MutantReader {
    inner: Arc<dyn OnlineReader>,
    plan: Arc<ReadPlan>,
    wrong: Wrong,
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
    fn layout(&self, view: &ViewLayout) -> ViewLayout {
        let version = self.version(&view.view_version());
        ViewLayout {
            project: version.project,
            version: version.version,
            ..view.clone()
        }
    }

    fn version(&self, view: &ViewVersion) -> ViewVersion {
        let mut view = view.clone();
        match self.wrong {
            Wrong::VersionsMix => view.version = 1,
            Wrong::ProjectsMix => "p".clone_into(&mut view.project),
            _ => {}
        }
        view
    }

    /// A key as this store sees it, in the place of the first key column.
    fn key(&self, key: &mut [Value]) {
        match (self.wrong, key) {
            (Wrong::KeysAreJoined, [Value::String(a), Value::String(b)]) => {
                a.push_str(b);
                b.clear();
            }
            (Wrong::KeysAreCut, [Value::String(a)]) if a.len() > 512 && a.is_ascii() => {
                a.truncate(512);
            }
            _ => {}
        }
    }

    async fn write_rows(
        &self,
        cx: &Context,
        view: &ViewLayout,
        rows: &[OnlineRow],
    ) -> Result<WriteSummary> {
        let batch = write_batch(view, rows).unwrap();
        let rows = BatchStream::from_batches(batch.schema(), vec![batch]);
        self.inner.write(cx, view, rows).await
    }

    async fn force(
        &self,
        cx: &Context,
        view: &ViewLayout,
        row: &OnlineRow,
    ) -> Result<WriteSummary> {
        let key = key_batch(&view.join_keys, std::slice::from_ref(&row.key)).unwrap();
        self.inner.delete(cx, view, key).await?;
        self.write_rows(cx, view, std::slice::from_ref(row)).await
    }

    fn held(&self, view: &ViewLayout, row: &OnlineRow) -> Option<OnlineRow> {
        let held = self.inner.rows(&view.view_version()).into_iter();
        let same = |a: &OnlineRow| crate::generate::is_same_key(&a.key, &row.key);
        held.into_iter().find(same)
    }

    async fn write_one(
        &self,
        cx: &Context,
        view: &ViewLayout,
        mut row: OnlineRow,
    ) -> Result<WriteSummary> {
        self.key(&mut row.key);
        match self.wrong {
            Wrong::LastWriteWins => return self.force(cx, view, &row).await,
            Wrong::MillisecondTimes => row.event_us = row.event_us / 1_000 * 1_000,
            Wrong::NullCreatedIsHighest => row.created_us = row.created_us.or(Some(i64::MAX)),
            Wrong::CreatedIsIgnored => row.created_us = None,
            Wrong::TiesAreIgnored => row.ties.fill(Value::Null),
            Wrong::FirstOfTiedStays => {
                let held = self.held(view, &row);
                if held.is_some_and(|held| row.newness(&held).is_eq()) {
                    return Ok(one(0));
                }
            }
            Wrong::TombstoneIsIgnored => row.is_tombstone = false,
            Wrong::TombstoneIsADelete | Wrong::FreshTombstonesExpire if row.is_tombstone => {
                let stays = self.wrong == Wrong::FreshTombstonesExpire && view.ttl_us.is_none();
                let held = self.held(view, &row);
                if !stays && held.is_none_or(|held| row.newness(&held).is_ge()) {
                    self.force(cx, view, &row).await?;
                    let key = key_batch(&view.join_keys, &[row.key]).unwrap();
                    self.inner.delete(cx, view, key).await?;
                    return Ok(one(1));
                }
            }
            Wrong::CheckThenWrite => {
                let held = self.held(view, &row);
                give_way().await;
                if held.is_none_or(|held| row.newness(&held).is_ge()) {
                    return self.force(cx, view, &row).await;
                }
                return Ok(one(0));
            }
            _ => {}
        }
        self.write_rows(cx, view, &[row]).await
    }
}

fn one(n_applied: u64) -> WriteSummary {
    WriteSummary {
        n_rows: 1,
        n_applied,
        version: None,
    }
}

#[async_trait]
impl Provider for Mutant {
    fn info(&self) -> ProviderInfo {
        self.inner.info()
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        self.inner.check(cx).await
    }
}

#[async_trait]
impl OnlineStore for Mutant {
    fn capabilities(&self) -> OnlineCapabilities {
        self.inner.capabilities()
    }

    async fn checkpoint(
        &self,
        cx: &Context,
        view: &ViewVersion,
        since: Option<i64>,
    ) -> Result<Option<i64>> {
        let marked = self.inner.checkpoint(cx, view, since).await;
        match marked {
            Err(_) if self.wrong == Wrong::LostCheckpointsGoOn => {
                self.inner.checkpoint(cx, view, None).await
            }
            marked => marked,
        }
    }

    async fn holds(&self, cx: &Context, view: &ViewVersion, checkpoint: i64) -> Result<bool> {
        let is_held = self.inner.holds(cx, view, checkpoint).await?;
        Ok(is_held || self.wrong == Wrong::CheckpointsAreAlwaysHeld)
    }

    async fn prepare(&self, cx: &Context, plan: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        let mut changed = (*plan).clone();
        for view in &mut changed.views {
            view.layout = Arc::new(self.layout(&view.layout));
            if self.wrong == Wrong::FeaturesInDeclaredOrder {
                view.features.sort_unstable();
            }
        }
        let inner = if self.wrong == Wrong::ReadersKeepWhatTheySaw {
            // A reader of a copy of what is held now.
            let copy = MemoryOnlineStore::new();
            for view in &changed.views {
                let layout = &view.layout;
                let rows: Vec<OnlineRow> = self.inner.rows(&layout.view_version());
                let mut layout = (**layout).clone();
                layout.tie_breakers.clear();
                let rows: Vec<OnlineRow> = rows
                    .into_iter()
                    .map(|row| OnlineRow {
                        ties: Vec::new(),
                        ..row
                    })
                    .collect();
                let batch = write_batch(&layout, &rows).unwrap();
                let stream = BatchStream::from_batches(batch.schema(), vec![batch]);
                copy.write(cx, &layout, stream).await?;
            }
            copy.prepare(cx, Arc::new(changed)).await?
        } else {
            self.inner.prepare(cx, Arc::new(changed)).await?
        };
        Ok(Arc::new(MutantReader {
            inner,
            plan,
            wrong: self.wrong,
        }))
    }

    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        let cx = &match self.wrong {
            Wrong::CancelIsIgnored => Context::new(cx.project()),
            _ => cx.clone(),
        };
        cx.check()?;
        let view = &self.layout(view);
        let schema = rows.schema.clone();
        let mut batches = match rows.collect().await {
            Err(_) if self.wrong == Wrong::RowsErrorIsSwallowed => Vec::new(),
            batches => batches?,
        };
        if self.wrong == Wrong::OnlyFirstBatch {
            batches.truncate(1);
        }
        let mut summary = WriteSummary::default();
        for batch in batches {
            let n_rows = batch.num_rows() as u64;
            let is_whole = schema.fields().len() == view.write_schema().fields().len();
            let rows = match OnlineRow::read_all(view, &batch) {
                Ok(rows) if is_whole => rows,
                _ if self.wrong == Wrong::NullKeysAreTaken => Vec::new(),
                _ => {
                    let rows = BatchStream::from_batches(schema.clone(), vec![batch]);
                    return self.inner.write(cx, view, rows).await;
                }
            };
            summary.n_rows += n_rows;
            for row in rows {
                let one = self.write_one(cx, view, row).await?;
                let is_counted = self.wrong == Wrong::AllRowsAreApplied;
                summary.n_applied += if is_counted { 1 } else { one.n_applied };
            }
        }
        Ok(summary)
    }

    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()> {
        let view = &self.layout(view);
        match self.wrong {
            Wrong::DeleteForgets => return cx.check(),
            Wrong::DeleteTakesNull => {
                let keys = without_nulls(&keys);
                return self.inner.delete(cx, view, keys).await;
            }
            _ => {}
        }
        self.inner.delete(cx, view, keys).await
    }

    async fn views(&self, cx: &Context) -> Result<Vec<ViewVersion>> {
        self.inner.views(cx).await
    }

    async fn stats(&self, cx: &Context, view: &ViewVersion) -> Result<OnlineStats> {
        let mut stats = self.inner.stats(cx, view).await?;
        if self.wrong == Wrong::StatsLeaveOutTombstones {
            let rows = self.inner.rows(view).into_iter();
            stats.n_rows = Some(rows.filter(|row| !row.is_tombstone).count() as u64);
        }
        Ok(stats)
    }

    async fn drop_view(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        if self.wrong == Wrong::DropForgets {
            return cx.check();
        }
        self.inner.drop_view(cx, &self.version(view)).await
    }
}

/// Nulls as the values that they are laid over.
fn without_nulls(keys: &RecordBatch) -> RecordBatch {
    let columns = keys.columns().iter().map(|column| {
        let zero = match ValueType::from_arrow(column.data_type()) {
            Some(ValueType::String) => Value::String(String::new()),
            Some(ValueType::Binary) => Value::Binary(Vec::new()),
            Some(ValueType::Bool) => Value::Bool(false),
            Some(ValueType::Date) => Value::Date(0),
            Some(ValueType::Timestamp) => Value::Timestamp(0),
            _ => Value::Int(0),
        };
        let values: Vec<Value> = (0..column.len())
            .map(|row| match Value::read(column.as_ref(), row).unwrap() {
                Value::Null => zero.clone(),
                value => value,
            })
            .collect();
        build(column.data_type(), &values).unwrap()
    });
    RecordBatch::try_new(keys.schema(), columns.collect()).unwrap()
}

#[async_trait]
impl OnlineReader for MutantReader {
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows> {
        let keys = &match self.wrong {
            Wrong::NullIsEmpty => without_nulls(keys),
            Wrong::KeysAreJoined | Wrong::KeysAreCut => {
                let mutant = Mutant {
                    inner: MemoryOnlineStore::new(),
                    wrong: self.wrong,
                };
                let rows: Vec<Vec<Value>> = (0..keys.num_rows())
                    .map(|row| {
                        let cells = keys.columns().iter();
                        let mut key: Vec<Value> = cells
                            .map(|column| Value::read(column.as_ref(), row).unwrap())
                            .collect();
                        mutant.key(&mut key);
                        key
                    })
                    .collect();
                key_batch(&self.plan.keys, &rows).unwrap()
            }
            Wrong::DuplicatesAreDropped => {
                let mut seen = BTreeSet::new();
                let mut kept = Vec::new();
                for row in 0..keys.num_rows() {
                    let cells = keys.columns().iter();
                    let key: Vec<Value> = cells
                        .map(|column| Value::read(column.as_ref(), row).unwrap())
                        .collect();
                    if seen.insert(format!("{key:?}")) {
                        kept.push(keys.slice(row, 1));
                    }
                }
                concat_batches(&keys.schema(), &kept).unwrap()
            }
            _ => keys.clone(),
        };
        let mut rows = self.inner.read(cx, keys).await?;
        for (view, asked) in rows.views.iter_mut().zip(&self.plan.views) {
            match self.wrong {
                Wrong::RowsAreSorted => sort(view),
                Wrong::FloatIsCut => {
                    each_value(view, |value| match value {
                        Value::Float64(value) => Value::Float64(f64::from(value as f32)),
                        value => value,
                    });
                }
                Wrong::EmptyTextIsNull => {
                    each_value(view, |value| match value {
                        Value::String(text) if text.is_empty() => Value::Null,
                        value => value,
                    });
                }
                _ => {}
            }
            assert_eq!(view.features.len(), asked.features.len());
        }
        Ok(rows)
    }
}

/// Rows by event time.
fn sort(view: &mut ViewRows) {
    let mut order: Vec<u32> = (0..view.event_times.len() as u32).collect();
    order.sort_by_key(|&row| view.event_times.iter().nth(row as usize).flatten());
    let order = arrow_array::UInt32Array::from(order);
    let times: ArrayRef = take(&view.event_times, &order, None).unwrap();
    let times = times.as_any().downcast_ref::<TimestampMicrosecondArray>();
    view.event_times = times.unwrap().clone();
    for column in &mut view.features {
        *column = take(column, &order, None).unwrap();
    }
}

fn each_value(view: &mut ViewRows, change: impl Fn(Value) -> Value) {
    for column in &mut view.features {
        let values: Vec<Value> = (0..column.len())
            .map(|row| change(Value::read(column.as_ref(), row).unwrap()))
            .collect();
        *column = build(column.data_type(), &values).unwrap();
    }
}
