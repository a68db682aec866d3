//! DoPut: rows for the server to keep (a spine) or for a view's stores (a push).
//!
//! Decides when rows that are pushed to the offline store are committed: together until 64 MiB or one
//! second have come, each batch with its own id where a push has one, so that a retry finds the same
//! commits whatever the timing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_flight::PutResult;
use arrow_schema::SchemaRef;
use async_stream::try_stream;
use bytes::Bytes;
use futures::StreamExt;
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_store::spill::SpillBuffer;
use provender_store::{FeatureStore, Push, PushTarget};

use crate::answering::Answer;
use crate::command::{Command, PushCommand};
use crate::incoming::{Messages, SPINE_ROWS, parts, rows_of};
use crate::inflight::Held;
use crate::metrics::{Operation, Series};
use crate::spines::Spines;
use crate::state::{Call, State};

/// Rows of one commit of the offline store, in bytes.
const COMMIT_BYTES: usize = 64 << 20;
/// How long rows wait for others to be committed with.
const COMMIT_AFTER: Duration = Duration::from_secs(1);
/// Rows that are cast at once, however many came in one message.
const MAX_ROWS: usize = 1 << 16;
/// What a spine that waits for its call holds in memory; the rest lies on disk.
const SPINE_MEMORY: u64 = 128 << 10;

/// Takes in a stream of rows.
///
/// # Errors
/// `InvalidArgument` for a command that takes no rows, and `P701` if no place is free.
pub(crate) async fn do_put(
    state: &Arc<State>,
    call: &Arc<Call>,
    command: Command,
    incoming: Messages,
) -> Result<Answer<PutResult>> {
    match command {
        Command::Spine => spine(state, call, incoming).await,
        Command::Push(command) => {
            if command.to != crate::command::Target::Online {
                // Told now rather than once rows have come.
                drop(state.background.admit()?);
            }
            Ok(push(state.clone(), call.clone(), &command, incoming))
        }
        Command::Online(_) | Command::Historical(_) | Command::Read(_) => Err(Error::new(
            &codes::BAD_REQUEST,
            "DoPut takes the commands \"push\" and \"spine\"",
        )
        .help("send others with DoGet or DoExchange")),
    }
}

/// Spills the rows and answers their handle: `{"handle":"...","rows":n}`.
async fn spine(
    state: &Arc<State>,
    call: &Arc<Call>,
    incoming: Messages,
) -> Result<Answer<PutResult>> {
    let started = Instant::now();
    let place = state.background.admit()?;
    let rows = rows_of(incoming, state.limits.wire, SPINE_ROWS).await?;
    let spines = state.clone();
    let cx = call.cx.clone();
    let work = async move { keep(&cx, &spines.store, &spines.spines, rows).await };
    let (handle, n_rows, n_bytes) = state.background.run(&call.cx, Some(place), work).await?;
    let series = state.metrics.series(Operation::spine, "", "");
    series.answered(n_rows as usize, n_bytes, started.elapsed());
    let answer = PutResult {
        app_metadata: Bytes::from(format!("{{\"handle\":\"{handle}\",\"rows\":{n_rows}}}")),
    };
    Ok(Box::pin(futures::stream::once(async move { Ok(answer) })))
}

async fn keep(
    cx: &Context,
    store: &FeatureStore,
    spines: &Spines,
    mut rows: BatchStream,
) -> Result<(String, u64, usize)> {
    let resources = &store.config().limits;
    let mut buffer = SpillBuffer::with_memory(resources, rows.schema.clone(), SPINE_MEMORY);
    let mut n_bytes = 0;
    while let Some(batch) = rows.batches.next().await {
        cx.check()?;
        let batch = batch?;
        n_bytes += batch.get_array_memory_size();
        buffer.push(batch).await?;
    }
    // Nobody learns the handle of a call that is gone.
    cx.check()?;
    let n_rows = buffer.n_rows();
    let handle = spines.put(buffer.finish()?)?;
    Ok((handle, n_rows, n_bytes))
}

fn push(
    state: Arc<State>,
    call: Arc<Call>,
    command: &PushCommand,
    incoming: Messages,
) -> Answer<PutResult> {
    let mut pending = Pending::new(command, Held::none(&state.in_flight));
    Box::pin(try_stream! {
        let mut series = None;
        // Each batch as it came, since each is acknowledged by itself.
        let mut rows = rows_of(incoming, state.limits.wire, usize::MAX).await?;
        let schema = rows.schema.clone();
        let mut is_open = true;
        while is_open {
            let next = tokio::time::timeout(pending.patience(), rows.batches.next()).await;
            let mut ended: Result<()> = Ok(());
            match next {
                Ok(Some(Ok(batch))) => pending.add(batch)?,
                // What came before the error is written and acknowledged first.
                Ok(Some(Err(error))) => {
                    ended = Err(error);
                    is_open = false;
                }
                Ok(None) => is_open = false,
                Err(_) => {}
            }
            if pending.is_due(is_open) {
                for n_rows in commit(&state, &call, &mut series, &schema, &mut pending).await? {
                    yield PutResult {
                        app_metadata: Bytes::from(format!("{{\"rows\":{n_rows}}}")),
                    };
                }
            }
            ended?;
        }
    })
}

/// Writes what is pending, and answers how many rows each of its batches had.
async fn commit(
    state: &State,
    call: &Call,
    series: &mut Option<Series>,
    schema: &SchemaRef,
    pending: &mut Pending,
) -> Result<Vec<usize>> {
    let started = Instant::now();
    let n_bytes = pending.n_bytes;
    let (push, batches) = pending.take();
    let (view, to) = (push.view.clone(), push.to);
    let n_rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    let in_parts = batches
        .iter()
        .flat_map(|batch| parts(batch, MAX_ROWS))
        .collect();
    drop(batches);
    let rows = BatchStream::from_batches(schema.clone(), in_parts);
    // Online writes are short; the others share their places with historical work.
    let place = match push.to {
        PushTarget::Online => None,
        PushTarget::Offline | PushTarget::Both => Some(state.background.place().await?),
    };
    let cx = match &place {
        Some(place) => place.context(&call.cx),
        None => call.cx.clone(),
    };
    let store = state.store.clone();
    let work = async move { store.push(&cx, &push, rows).await };
    state.background.run(&call.cx, place, work).await?;
    pending.held.set(0)?;
    let took = started.elapsed();
    if series.is_none() {
        // The rows are durable, whatever is known of their stores.
        *series = push_series(state, &call.cx, &view, to).await.ok();
    }
    if let Some(series) = series {
        series.answered(n_rows.iter().sum(), n_bytes, took);
    }
    Ok(n_rows)
}

async fn push_series(state: &State, cx: &Context, view: &str, to: PushTarget) -> Result<Series> {
    let (offline, online) = state.store.view_types(cx, view).await?;
    let stores = match to {
        PushTarget::Online => online,
        PushTarget::Offline => offline,
        PushTarget::Both => format!("{offline},{online}"),
    };
    Ok(state.metrics.series(Operation::push, "", &stores))
}

/// Batches that came and are not committed yet.
struct Pending {
    push: Push,
    batches: Vec<RecordBatch>,
    n_bytes: usize,
    since: Option<Instant>,
    n_committed: u64,
    held: Held,
}

impl Pending {
    fn new(command: &PushCommand, held: Held) -> Self {
        Self {
            push: Push {
                view: command.view.clone(),
                to: command.to.into(),
                id: command.id.clone(),
            },
            batches: Vec::new(),
            n_bytes: 0,
            since: None,
            n_committed: 0,
            held,
        }
    }

    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        self.n_bytes += batch.get_array_memory_size();
        self.held.set(self.n_bytes)?;
        self.since.get_or_insert_with(Instant::now);
        self.batches.push(batch);
        Ok(())
    }

    /// How long the next batch may be waited for.
    fn patience(&self) -> Duration {
        match self.since {
            None => Duration::from_secs(3_600),
            Some(since) => COMMIT_AFTER.saturating_sub(since.elapsed()),
        }
    }

    /// Whether what came is written now: online at once, offline together with what follows soon, and
    /// with an id batch by batch.
    fn is_due(&self, is_open: bool) -> bool {
        let Some(since) = self.since else {
            return false;
        };
        !is_open
            || self.push.to == PushTarget::Online
            || self.push.id.is_some()
            || self.n_bytes >= COMMIT_BYTES
            || since.elapsed() >= COMMIT_AFTER
    }

    fn take(&mut self) -> (Push, Vec<RecordBatch>) {
        let mut push = self.push.clone();
        if let Some(id) = &mut push.id {
            id.push_str(&format!("#{}", self.n_committed));
        }
        self.n_committed += 1;
        self.n_bytes = 0;
        self.since = None;
        (push, std::mem::take(&mut self.batches))
    }
}
