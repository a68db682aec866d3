//! Online reads over the wire: one call with keys in JSON, and the open stream that is the hot path.

mod entities;
mod exchange;
mod prepared;

pub(crate) use entities::entity_batch;
pub(crate) use exchange::exchange;
pub(crate) use prepared::{Prepared, PreparedQueries};

use std::task::Poll;
use std::time::Duration;

use arrow_array::RecordBatch;
use provender_core::{Context, Error, Result, codes};
use provender_store::{OnlineCall, OnlineRequest};

use crate::command::OnlineCommand;

/// Keys that are read at once, however many come in one batch.
pub(crate) const MAX_ROWS: usize = 1 << 16;

/// Reads within the call's own deadline and the server's, whether or not the store keeps them.
///
/// # Errors
/// `DeadlineExceeded` (`P905`), and what the store says.
pub(crate) async fn read_within(
    cx: &Context,
    timeout: Duration,
    call: &OnlineCall,
    keys: &RecordBatch,
) -> Result<RecordBatch> {
    let cx = cx.clone().with_timeout(timeout);
    let Some(deadline) = cx.deadline() else {
        return call.read(&cx, keys).await;
    };
    let mut read = std::pin::pin!(call.read(&cx, keys));
    // A store that answers at once needs no timer.
    if let Poll::Ready(answer) = futures::poll!(read.as_mut()) {
        return answer;
    }
    match tokio::time::timeout_at(deadline.into(), read).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::new(
            &codes::DEADLINE,
            "the online store did not answer within the time that is left for the call",
        )),
    }
}

/// What a command asks the store.
///
/// # Errors
/// `InvalidArgument` (`P406`) for neither a service nor features.
pub(crate) fn online_request(command: &OnlineCommand) -> Result<OnlineRequest> {
    let mut request = OnlineRequest::new(command.selection()?);
    request.full_feature_names = command.full_feature_names;
    request.status = command.status;
    Ok(request)
}
