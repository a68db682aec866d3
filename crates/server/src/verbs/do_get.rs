//! DoGet: rows for a ticket.

use std::time::Instant;

use arrow_flight::FlightData;
use async_stream::try_stream;
use provender_core::model::Relation;
use provender_core::request::SqlSpine;
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_store::HistoricalRequest;

use super::{historical_request, rows};
use crate::answering::{Answer, Weigh};
use crate::command::{Command, OnlineCommand, ReadCommand, SpineSource};
use crate::incoming::parts;
use crate::inflight::Held;
use crate::metrics::Operation;
use crate::online::{MAX_ROWS, entity_batch, online_request, read_within};
use crate::read::view_rows;
use crate::state::{Call, State};
use crate::wire::Encoder;

/// What a byte of JSON takes at most once it is read.
const BYTES_PER_JSON: usize = 16;

/// Answers a ticket.
///
/// # Errors
/// `InvalidArgument` for a command that has no rows to answer, and what the store says.
pub(crate) async fn do_get(
    state: &State,
    call: &Call,
    command: Command,
) -> Result<Answer<FlightData>> {
    let max_bytes = state.limits.wire.max_sent_bytes;
    let cx = &call.cx;
    let (series, answer) = match command {
        Command::Online(command) => return online(state, call, &command).await,
        Command::Historical(command) => {
            let request = historical_request(&command)?;
            let series = state.historical_series(cx, &request).await?;
            let answer = historical(state, cx, request, command.spine).await?;
            (series, answer)
        }
        Command::Read(ReadCommand { view, start, end }) => {
            let answer = view_rows(state, cx, &view, start.as_ref(), end.as_ref()).await?;
            let (offline, _) = state.store.view_types(cx, &view).await?;
            (state.metrics.series(Operation::read, "", &offline), answer)
        }
        Command::Spine | Command::Push(_) => {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                "this command takes rows and answers none",
            )
            .help("send it with DoPut"));
        }
    };
    Ok(rows(cx.clone(), series, max_bytes, answer))
}

/// A request without rows is answered by a batch of none.
async fn online(state: &State, call: &Call, command: &OnlineCommand) -> Result<Answer<FlightData>> {
    let started = Instant::now();
    let request = online_request(command)?;
    let prepared = state.prepared.get(&state.store, &call.cx, &request).await?;
    let ready = prepared.ready();
    let entities = command.entities.as_ref();
    let keys = entity_batch(&ready.query, entities, command.request.as_ref())?;
    let (cx, timeout) = (call.cx.clone(), state.limits.read_timeout);
    let mut held = Held::none(&state.in_flight);
    let mut encoder = Encoder::new(state.limits.wire.max_sent_bytes);
    let mut took = started.elapsed();
    Ok(Box::pin(try_stream! {
        let mut n_bytes = 0;
        for (n, keys) in parts(&keys, MAX_ROWS).enumerate() {
            let started = Instant::now();
            let answer = read_within(&cx, timeout, &ready.declared, &keys).await?;
            held.set(answer.get_array_memory_size())?;
            took += started.elapsed();
            if n == 0 {
                // What goes wrong with most calls is told before anything is answered.
                yield ready.schema.clone();
            }
            let mut pieces = encoder.pieces(answer);
            while let Some(message) = encoder.next(&mut pieces)? {
                n_bytes += message.n_bytes();
                yield message;
            }
        }
        ready.series.answered(keys.num_rows(), n_bytes, took);
    }))
}

/// Counts what reading a large command takes.
///
/// # Errors
/// `ResourceExhausted` (`P701`).
pub(crate) fn weigh(call: &Call, command: &[u8]) -> Result<()> {
    call.received
        .add(command.len().saturating_mul(BYTES_PER_JSON))
}

async fn historical(
    state: &State,
    cx: &Context,
    request: HistoricalRequest,
    spine: Option<SpineSource>,
) -> Result<BatchStream> {
    let place = state.background.admit()?;
    let store = state.store.clone();
    let work_cx = place.context(cx);
    match spine {
        None => Err(Error::new(
            &codes::BAD_REQUEST,
            "the command \"historical\" has no field \"spine\"",
        )
        .help("name a spine (handle, sql or table), or stream its rows through DoExchange")),
        Some(SpineSource::Handle(handle)) => {
            // A mistake in the request leaves the spine for a better one.
            let columns = state.spines.schema(&handle)?;
            state
                .store
                .historical_schema(cx, &request, &columns)
                .await?;
            let spine = state.spines.take(&handle)?;
            let work = async move { store.historical(&work_cx, &request, spine).await };
            state.background.stream(cx, place, work).await
        }
        Some(source @ (SpineSource::Sql(_) | SpineSource::Table(_))) => {
            let relation = match source {
                SpineSource::Sql(sql) => Relation::Query(sql),
                SpineSource::Table(table) | SpineSource::Handle(table) => Relation::Table(table),
            };
            let spine = SqlSpine {
                relation,
                timestamp: String::new(),
            };
            let work = async move { store.historical_sql(&work_cx, &request, spine).await };
            state.background.stream(cx, place, work).await
        }
    }
}
