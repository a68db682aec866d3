//! DoExchange: rows in, rows out over one stream.

use std::sync::Arc;

use arrow_flight::FlightData;
use provender_core::{BatchStream, Error, Result, codes};

use super::{historical_request, rows};
use crate::answering::Answer;
use crate::command::{Command, HistoricalCommand, OnlineCommand};
use crate::incoming::{Messages, SPINE_ROWS, rows_of};
use crate::online::{exchange, online_request};
use crate::state::{Call, State};

/// Answers a stream whose first message carries the command.
///
/// # Errors
/// `InvalidArgument` for a command that is no exchange, and what the store says.
pub(crate) async fn do_exchange(
    state: &Arc<State>,
    call: &Call,
    command: Command,
    incoming: Messages,
) -> Result<Answer<FlightData>> {
    match command {
        Command::Online(command) => online(state, call, &command, incoming).await,
        Command::Historical(command) => historical(state, call, &command, incoming).await,
        Command::Spine | Command::Push(_) | Command::Read(_) => Err(Error::new(
            &codes::BAD_REQUEST,
            "DoExchange takes the commands \"online\" and \"historical\"",
        )
        .help("send \"spine\" and \"push\" with DoPut, and \"read\" with DoGet")),
    }
}

async fn online(
    state: &Arc<State>,
    call: &Call,
    command: &OnlineCommand,
    incoming: Messages,
) -> Result<Answer<FlightData>> {
    for (field, is_there) in [
        ("entities", command.entities.is_some()),
        ("request", command.request.is_some()),
    ] {
        if is_there {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!("the field {field:?} does not go with DoExchange"),
            )
            .help("send keys and request values as columns of the stream"));
        }
    }
    let request = online_request(command)?;
    let prepared = state.prepared.get(&state.store, &call.cx, &request).await?;
    let (cx, limits) = (call.cx.clone(), state.limits.clone());
    Ok(Box::pin(exchange(cx, limits, prepared, incoming)))
}

/// The schema follows the spine's; rows follow once the spine has come whole, which does not wait for
/// the client to read.
async fn historical(
    state: &Arc<State>,
    call: &Call,
    command: &HistoricalCommand,
    incoming: Messages,
) -> Result<Answer<FlightData>> {
    if command.spine.is_some() {
        return Err(Error::new(
            &codes::BAD_REQUEST,
            "the field \"spine\" does not go with DoExchange, which streams it",
        )
        .help("leave it out, or send the command with DoGet"));
    }
    let request = historical_request(command)?;
    let series = state.historical_series(&call.cx, &request).await?;
    let spine = rows_of(incoming, state.limits.wire, SPINE_ROWS).await?;
    let place = state.background.admit()?;
    let (store, cx) = (state.store.clone(), place.context(&call.cx));
    let work = async move { store.historical(&cx, &request, spine).await };
    let answer: BatchStream = state.background.stream(&call.cx, place, work).await?;
    let max_bytes = state.limits.wire.max_sent_bytes;
    Ok(rows(call.cx.clone(), series, max_bytes, answer))
}
