//! One file per verb of Arrow Flight: what each takes and answers.

pub(crate) mod do_action;
pub(crate) mod do_exchange;
pub(crate) mod do_get;
pub(crate) mod do_put;
pub(crate) mod info;

use std::time::Instant;

use arrow_flight::FlightData;
use async_stream::try_stream;
use futures::StreamExt;
use provender_core::{BatchStream, Context};
use provender_store::HistoricalRequest;

use crate::answering::{Answer, Weigh};
use crate::command::HistoricalCommand;
use crate::metrics::Series;
use crate::wire::Encoder;

/// Rows as messages of at most `max_bytes`: the schema first, then batches, each written once the
/// transport asks for it.
pub(crate) fn rows(
    cx: Context,
    series: Series,
    max_bytes: usize,
    mut answer: BatchStream,
) -> Answer<FlightData> {
    Box::pin(try_stream! {
        let mut encoder = Encoder::new(max_bytes);
        yield encoder.schema(&answer.schema);
        loop {
            let started = Instant::now();
            let Some(batch) = answer.batches.next().await else { break };
            cx.check()?;
            let took = started.elapsed();
            let batch = batch?;
            let (n_rows, mut n_bytes) = (batch.num_rows(), 0);
            let mut pieces = encoder.pieces(batch);
            while let Some(message) = encoder.next(&mut pieces)? {
                n_bytes += message.n_bytes();
                yield message;
            }
            series.answered(n_rows, n_bytes, took);
        }
    })
}

/// What a command asks the store.
///
/// # Errors
/// `InvalidArgument` (`P406`) for neither a service nor features.
pub(crate) fn historical_request(
    command: &HistoricalCommand,
) -> provender_core::Result<HistoricalRequest> {
    let mut request = HistoricalRequest::new(command.selection()?);
    request.timestamp = command.timestamp.clone();
    request.as_known = command.as_known;
    request.full_feature_names = command.full_feature_names;
    Ok(request)
}
