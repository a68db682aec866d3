//! An online store in memory, and ways to make it fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Schema};
use async_trait::async_trait;
use futures::future::{Either, FutureExt, select};
use futures::{StreamExt, pin_mut};
use provender_core::error::{Error, Result, codes};
use provender_core::model::JoinKey;
use provender_core::provider::{
    OnlineCapabilities, OnlineReader, OnlineStore, Provider, ProviderInfo, ViewVersion,
};
use provender_core::request::{
    OnlineRows, OnlineStats, ReadPlan, ViewLayout, ViewRead, ViewRows, WriteSummary,
};
use provender_core::time::UTC;
use provender_core::{BatchStream, Context};

use crate::generate::build;
use crate::oracle::{LatestRows, OnlineRow, Value};
use crate::rules::sleep;

/// The latest rows of every key, as values. Clones share what they hold.
#[derive(Clone, Debug, Default)]
pub struct MemoryOnlineStore {
    state: Arc<Mutex<State>>,
}

/// Calls of an online store that tests count, delay and let fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnlineCall {
    /// `prepare`.
    Prepare,
    /// `read` of a prepared reader.
    Read,
    /// `write`, before its first batch.
    Write,
    /// One batch of a `write`, before its rows are held.
    WriteBatch,
    /// `delete`.
    Delete,
    /// `views`.
    Views,
    /// `stats`.
    Stats,
    /// `drop_view`.
    DropView,
    /// `checkpoint`.
    Checkpoint,
    /// `holds`.
    Holds,
}

type MakeError = Arc<dyn Fn() -> Error + Send + Sync>;

#[derive(Default)]
struct State {
    views: BTreeMap<ViewVersion, LatestRows>,
    /// Keys whose rows read as damaged, as text, with the reason.
    unreadable: BTreeMap<ViewVersion, BTreeMap<String, String>>,
    n_calls: BTreeMap<OnlineCall, u64>,
    delays: BTreeMap<OnlineCall, Duration>,
    faults: Vec<Fault>,
    /// Whether the store makes checkpoints.
    makes_checkpoints: bool,
    /// Of each view the checkpoint that its unbroken history began with, and the last.
    marks: BTreeMap<ViewVersion, (i64, i64)>,
    last_mark: i64,
}

struct Fault {
    call: OnlineCall,
    n_before: u64,
    n_failing: u64,
    error: MakeError,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("views", &self.views.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

static NAMED: Mutex<BTreeMap<String, MemoryOnlineStore>> = Mutex::new(BTreeMap::new());

impl MemoryOnlineStore {
    /// A store that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store that this process knows by a name, made when it is first asked for.
    pub fn named(name: &str) -> Self {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        named.entry(name.to_owned()).or_default().clone()
    }

    /// The rows held of a view's version, by key, tombstones included.
    pub fn rows(&self, view: &ViewVersion) -> Vec<OnlineRow> {
        let state = self.state();
        let rows = state.views.get(view).map(LatestRows::rows);
        rows.into_iter().flatten().cloned().collect()
    }

    /// Lets reads of these keys find unreadable bytes, until the key is written again.
    pub fn damage(&self, view: &ViewVersion, keys: &[Vec<Value>], reason: &str) {
        let mut state = self.state();
        let damaged = state.unreadable.entry(view.clone()).or_default();
        damaged.extend(keys.iter().map(|key| (text(key), reason.to_owned())));
    }

    /// Makes the store one that can lose what it acknowledged, and says so.
    pub fn make_checkpoints(&self) {
        self.state().makes_checkpoints = true;
    }

    /// Loses the rows of some keys of a view's version, or all with `None`, as a failover to a server that
    /// lacks the last writes does: the marks go with them.
    pub fn lose(&self, view: &ViewVersion, keys: Option<&[Vec<Value>]>) {
        let mut state = self.state();
        state.marks.remove(view);
        match (keys, state.views.get_mut(view)) {
            (Some(keys), Some(held)) => keys.iter().for_each(|key| held.delete(key)),
            (None, _) => drop(state.views.remove(view)),
            (Some(_), None) => {}
        }
    }

    /// Lets calls of one kind fail: after `n_before` more that work, the next `n_failing`.
    pub fn fail(
        &self,
        call: OnlineCall,
        n_before: u64,
        n_failing: u64,
        error: impl Fn() -> Error + Send + Sync + 'static,
    ) {
        self.state().faults.push(Fault {
            call,
            n_before,
            n_failing,
            error: Arc::new(error),
        });
    }

    /// Lets calls of one kind take at least so long, or until they are cancelled or late.
    pub fn delay(&self, call: OnlineCall, duration: Duration) {
        self.state().delays.insert(call, duration);
    }

    /// Ends all faults, delays and damage.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.delays.clear();
        state.unreadable.clear();
    }

    /// How many calls of one kind were made, those that failed included.
    pub fn n_calls(&self, call: OnlineCall) -> u64 {
        self.state().n_calls.get(&call).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each call does first: count, wait and fail as tests ask for.
    async fn begin(&self, cx: &Context, call: OnlineCall) -> Result<()> {
        cx.check()?;
        let (delay, fault) = {
            let mut state = self.state();
            *state.n_calls.entry(call).or_default() += 1;
            let mut error = None;
            for fault in state.faults.iter_mut().filter(|fault| fault.call == call) {
                if fault.n_before > 0 {
                    fault.n_before -= 1;
                } else if fault.n_failing > 0 && error.is_none() {
                    fault.n_failing -= 1;
                    error = Some(fault.error.clone());
                }
            }
            (state.delays.get(&call).copied(), error)
        };
        if let Some(delay) = delay {
            let wait = sleep(cx.remaining().map_or(delay, |left| delay.min(left))).boxed();
            let cancelled = cx.cancelled();
            pin_mut!(cancelled);
            if let Either::Right(_) = select(wait, cancelled).await {
                cx.check()?;
            }
            cx.check()?;
        }
        fault.map_or(Ok(()), |error| Err(error()))
    }
}

#[async_trait]
impl Provider for MemoryOnlineStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: "memory".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: "latest rows in memory".to_owned(),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        cx.check()?;
        Ok(Vec::new())
    }
}

#[async_trait]
impl OnlineStore for MemoryOnlineStore {
    fn capabilities(&self) -> OnlineCapabilities {
        let mut capabilities = OnlineCapabilities::default();
        capabilities.checkpoints = self.state().makes_checkpoints;
        capabilities
    }

    async fn prepare(&self, cx: &Context, plan: Arc<ReadPlan>) -> Result<Arc<dyn OnlineReader>> {
        self.begin(cx, OnlineCall::Prepare).await?;
        for view in &plan.views {
            check_view(&plan, view)?;
        }
        Ok(Arc::new(MemoryReader {
            store: self.clone(),
            plan,
        }))
    }

    async fn write(
        &self,
        cx: &Context,
        view: &ViewLayout,
        mut rows: BatchStream,
    ) -> Result<WriteSummary> {
        self.begin(cx, OnlineCall::Write).await?;
        let expected = view.write_schema();
        check_columns(view, &expected, &rows.schema)?;
        let mut summary = WriteSummary::default();
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            self.begin(cx, OnlineCall::WriteBatch).await?;
            check_columns(view, &expected, &batch.schema())?;
            let rows = OnlineRow::read_all(view, &batch).map_err(|why| refused(view, &why))?;
            let mut state = self.state();
            let State {
                views, unreadable, ..
            } = &mut *state;
            for row in rows {
                if let Some(damaged) = unreadable.get_mut(&view.view_version()) {
                    damaged.remove(&text(&row.key));
                }
                let held = views.entry(view.view_version()).or_default();
                summary.n_rows += 1;
                summary.n_applied += u64::from(held.write(row));
            }
        }
        Ok(summary)
    }

    async fn delete(&self, cx: &Context, view: &ViewLayout, keys: RecordBatch) -> Result<()> {
        self.begin(cx, OnlineCall::Delete).await?;
        check_columns(view, &view.key_schema(), &keys.schema())?;
        let mut state = self.state();
        if let Some(held) = state.views.get_mut(&view.view_version()) {
            for row in 0..keys.num_rows() {
                held.delete(&read_key(keys.columns(), row)?);
            }
        }
        Ok(())
    }

    async fn views(&self, cx: &Context) -> Result<Vec<ViewVersion>> {
        self.begin(cx, OnlineCall::Views).await?;
        let state = self.state();
        let held = state.views.iter().filter(|(_, rows)| rows.n_rows() > 0);
        let views = held.map(|(view, _)| view.clone());
        Ok(views.filter(|view| view.project == cx.project()).collect())
    }

    async fn stats(&self, cx: &Context, view: &ViewVersion) -> Result<OnlineStats> {
        self.begin(cx, OnlineCall::Stats).await?;
        let state = self.state();
        let n_rows = state.views.get(view).map_or(0, LatestRows::n_rows) as u64;
        Ok(OnlineStats {
            n_rows: Some(n_rows),
            n_bytes: (n_rows == 0).then_some(0),
        })
    }

    async fn drop_view(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        self.begin(cx, OnlineCall::DropView).await?;
        let mut state = self.state();
        state.views.remove(view);
        state.unreadable.remove(view);
        state.marks.remove(view);
        Ok(())
    }

    async fn checkpoint(
        &self,
        cx: &Context,
        view: &ViewVersion,
        since: Option<i64>,
    ) -> Result<Option<i64>> {
        self.begin(cx, OnlineCall::Checkpoint).await?;
        let mut state = self.state();
        if !state.makes_checkpoints {
            return Ok(None);
        }
        let number = state.last_mark + 1;
        let first = match (since, state.marks.get(view)) {
            (None, _) => number,
            (Some(since), Some(&(first, last))) if (first..=last).contains(&since) => first,
            (Some(_), _) => {
                let name = format!("{}@{}", view.view, view.version);
                let what = format!("rows of {name} that had been acknowledged were lost");
                return Err(Error::new(&codes::ONLINE_LOST, what).context("view", name));
            }
        };
        state.last_mark = number;
        state.marks.insert(view.clone(), (first, number));
        Ok(Some(number))
    }

    async fn holds(&self, cx: &Context, view: &ViewVersion, checkpoint: i64) -> Result<bool> {
        self.begin(cx, OnlineCall::Holds).await?;
        let state = self.state();
        let vouches = |(first, last): &(i64, i64)| (*first..=*last).contains(&checkpoint);
        Ok(!state.makes_checkpoints || state.marks.get(view).is_some_and(vouches))
    }
}

struct MemoryReader {
    store: MemoryOnlineStore,
    plan: Arc<ReadPlan>,
}

#[async_trait]
impl OnlineReader for MemoryReader {
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows> {
        self.store.begin(cx, OnlineCall::Read).await?;
        let found: Vec<&DataType> = keys.columns().iter().map(|key| key.data_type()).collect();
        let declared: Vec<DataType> = self.plan.keys.iter().map(key_type).collect();
        if !found.iter().copied().eq(&declared) {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!("expected keys of the types {declared:?}, got {found:?}"),
            ));
        }
        let state = self.store.state();
        let views = self.plan.views.iter();
        Ok(OnlineRows {
            views: views
                .map(|view| view_rows(&state, view, keys))
                .collect::<Result<_>>()?,
        })
    }
}

fn view_rows(state: &State, view: &ViewRead, keys: &RecordBatch) -> Result<ViewRows> {
    let version = view.layout.view_version();
    let columns: Vec<ArrayRef> = view
        .key_columns
        .iter()
        .map(|&column| keys.column(column).clone())
        .collect();
    let held = state.views.get(&version);
    let damaged = state.unreadable.get(&version);
    let mut unreadable = Vec::new();
    let mut rows: Vec<Option<&OnlineRow>> = Vec::new();
    for at in 0..keys.num_rows() {
        let key = read_key(&columns, at)?;
        let mut row = held.and_then(|held| held.get(&key));
        if let Some(reason) = damaged.and_then(|damaged| damaged.get(&text(&key))) {
            unreadable.push((at, reason.clone()));
            row = None;
        }
        rows.push(row);
    }
    let event_times = rows.iter().map(|row| row.map(|row| row.event_us));
    let mut features = Vec::new();
    for &feature in &view.features {
        let values: Vec<Value> = rows
            .iter()
            .map(|row| row.map_or(Value::Null, |row| row.features[feature].clone()))
            .collect();
        let data_type = view.layout.features[feature].1.to_arrow();
        let column = build(&data_type, &values).map_err(|why| internal(&why))?;
        features.push(column);
    }
    Ok(ViewRows {
        event_times: event_times
            .collect::<TimestampMicrosecondArray>()
            .with_timezone(UTC),
        features,
        unreadable,
    })
}

fn check_view(plan: &ReadPlan, view: &ViewRead) -> Result<()> {
    let layout = &view.layout;
    let keys: Option<Vec<&JoinKey>> = view
        .key_columns
        .iter()
        .map(|&column| plan.keys.get(column))
        .collect();
    let fit = keys.is_some_and(|keys| {
        keys.len() == layout.join_keys.len()
            && keys
                .iter()
                .zip(&layout.join_keys)
                .all(|(key, declared)| key.value_type == declared.value_type)
    });
    if !fit {
        return Err(refused(layout, "the plan's keys are not those of the view"));
    }
    if let Some(feature) = view
        .features
        .iter()
        .find(|&&feature| feature >= layout.features.len())
    {
        let why = format!("it has no feature of the number {feature}");
        return Err(refused(layout, &why));
    }
    Ok(())
}

fn check_columns(view: &ViewLayout, expected: &Schema, found: &Schema) -> Result<()> {
    let types = |schema: &Schema| -> Vec<DataType> {
        let fields = schema.fields().iter();
        fields.map(|field| field.data_type().clone()).collect()
    };
    let (expected, found) = (types(expected), types(found));
    if expected == found {
        return Ok(());
    }
    let why = format!("expected columns of the types {expected:?}, got {found:?}");
    Err(refused(view, &why))
}

fn refused(view: &ViewLayout, why: &str) -> Error {
    Error::new(
        &codes::BAD_REQUEST,
        format!("view {}@{}: {why}", view.view, view.version),
    )
}

fn internal(why: &str) -> Error {
    Error::new(&codes::INTERNAL, format!("rows in memory: {why}"))
}

fn key_type(key: &JoinKey) -> DataType {
    key.value_type.to_arrow()
}

fn read_key(columns: &[ArrayRef], row: usize) -> Result<Vec<Value>> {
    columns
        .iter()
        .map(|column| Value::read(column.as_ref(), row).map_err(|why| internal(&why)))
        .collect()
}

fn text(key: &[Value]) -> String {
    format!("{key:?}")
}
