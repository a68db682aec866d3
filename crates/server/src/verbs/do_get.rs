//! DoGet: rows for a ticket.

use std::time::Instant;

use arrow_flight::FlightData;
use async_stream::try_stream;
use provender_core::model::Relation;
use provender_core::request::SqlSpine;
use provender_core::{BatchStream, Context, Error, Result, codes};

use super::{historical_request, rows};
use crate::answering::{Answer, Weigh};
use crate::command::{Command, HistoricalCommand, OnlineCommand, ReadCommand, SpineSource};
use crate::incoming::parts;
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
            let service = command.service.clone().unwrap_or_default();
            let answer = historical(state, cx, command).await?;
            (
                state.offline_series(Operation::historical, &service),
                answer,
            )
        }
        Command::Read(ReadCommand { view, start, end }) => {
            let answer = view_rows(state, cx, &view, start.as_ref(), end.as_ref()).await?;
            (state.offline_series(Operation::read, ""), answer)
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
    let query = prepared.query();
    let entities = command.entities.as_ref();
    let keys = entity_batch(&query, entities, command.request.as_ref())?;
    let bound = query.bind(query.input_schema())?;
    let mut batches = Vec::with_capacity(1);
    for keys in parts(&keys, MAX_ROWS) {
        let answer = read_within(&call.cx, state.limits.read_timeout, &bound, &keys).await?;
        call.received.add(answer.get_array_memory_size())?;
        batches.push(answer);
    }
    let service = command.service.as_deref().unwrap_or_default();
    let stores = query.stores().join(",");
    let series = state.metrics.series(Operation::online, service, &stores);
    let mut encoder = Encoder::new(state.limits.wire.max_sent_bytes);
    let schema = query.schema().clone();
    Ok(Box::pin(try_stream! {
        yield encoder.schema(&schema);
        let (mut n_rows, mut n_bytes) = (0, 0);
        for batch in batches {
            n_rows += batch.num_rows();
            let mut pieces = encoder.pieces(batch);
            while let Some(message) = encoder.next(&mut pieces)? {
                n_bytes += message.n_bytes();
                yield message;
            }
        }
        series.answered(n_rows, n_bytes, started.elapsed());
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
    command: HistoricalCommand,
) -> Result<BatchStream> {
    let request = historical_request(&command)?;
    let place = state.background.admit()?;
    let store = place.store(&state.store);
    let work_cx = cx.clone();
    match command.spine {
        None => Err(Error::new(
            &codes::BAD_REQUEST,
            "the command \"historical\" has no field \"spine\"",
        )
        .help("name a spine (handle, sql or table), or stream its rows through DoExchange")),
        Some(SpineSource::Handle(handle)) => {
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
