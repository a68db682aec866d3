//! The open stream: batches of keys in, answers out. The hot path.
//!
//! Decides that nothing is looked up, locked or parsed per batch: the query is prepared, the columns of
//! the stream are bound once, and answers are written as messages directly.

use std::sync::Arc;
use std::time::Instant;

use arrow_flight::FlightData;
use arrow_schema::SchemaRef;
use async_stream::try_stream;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use provender_core::{Context, Error, Result, codes};
use provender_store::OnlineCall;

use super::{MAX_ROWS, Prepared, read_within};
use crate::answering::Weigh;
use crate::incoming::{Messages, parts};
use crate::options::Limits;
use crate::wire::{Decoder, Encoder, Incoming};

/// What a stream reads with: a query, bound to the columns of the stream's schema.
struct Bound {
    generation: u64,
    schema: SchemaRef,
    call: OnlineCall,
}

/// Answers each batch of keys by one or more messages, the last of which says so in its metadata:
/// `{"seq":n,"rows":N}`. The schema is sent before any input is needed.
pub(crate) fn exchange(
    cx: Context,
    limits: Limits,
    prepared: Arc<Prepared>,
    mut incoming: Messages,
) -> impl Stream<Item = Result<FlightData>> + Send {
    try_stream! {
        let mut encoder = Encoder::new(limits.wire.max_sent_bytes);
        let mut decoder = Decoder::new(limits.wire);
        let generation = prepared.generation();
        let first = prepared.ready();
        let schema = first.query.schema().clone();
        yield first.schema.clone();

        let mut bound: Option<Bound> = None;
        let mut n_answered = 0_u64;
        while let Some(message) = incoming.next().await {
            match decoder.accept(&message?)? {
                Incoming::Nothing => {}
                Incoming::Schema(columns) => {
                    let call = first.query.bind(&columns)?;
                    bound = Some(Bound { generation, schema: columns, call });
                }
                Incoming::Batch(keys) => {
                    let started = Instant::now();
                    let bound = bound.as_mut().ok_or_else(no_schema)?;
                    if bound.generation != prepared.generation() {
                        renew(bound, &prepared, &schema);
                    }
                    let n_rows = keys.num_rows();
                    let mut n_bytes = 0;
                    let mut last: Option<FlightData> = None;
                    for keys in parts(&keys, MAX_ROWS) {
                        let answer = read_within(&cx, limits.read_timeout, &bound.call, &keys).await?;
                        let mut pieces = encoder.pieces(answer);
                        while let Some(message) = encoder.next(&mut pieces)? {
                            n_bytes += message.n_bytes();
                            if let Some(before) = last.replace(message) {
                                yield before;
                            }
                        }
                    }
                    if let Some(mut last) = last {
                        last.app_metadata = sequence(n_answered, n_rows);
                        n_answered += 1;
                        first.series.answered(n_rows, n_bytes, started.elapsed());
                        yield last;
                    }
                }
            }
        }
    }
}

/// Goes over to the renewed query, unless its answers have other columns: then this stream keeps what
/// it began with, since its schema is sent.
fn renew(bound: &mut Bound, prepared: &Prepared, schema: &SchemaRef) {
    bound.generation = prepared.generation();
    let ready = prepared.ready();
    if ready.query.schema() == schema
        && let Ok(call) = ready.query.bind(&bound.schema)
    {
        bound.call = call;
    }
}

fn no_schema() -> Error {
    Error::new(&codes::BAD_MESSAGE, "keys come before the schema")
}

/// `{"seq":n,"rows":N}`
fn sequence(n_answered: u64, n_rows: usize) -> Bytes {
    let mut text = Vec::with_capacity(48);
    text.extend_from_slice(b"{\"seq\":");
    push_decimal(&mut text, n_answered);
    text.extend_from_slice(b",\"rows\":");
    push_decimal(&mut text, n_rows as u64);
    text.push(b'}');
    Bytes::from(text)
}

fn push_decimal(text: &mut Vec<u8>, mut n: u64) {
    let start = text.len();
    loop {
        text.push(b'0' + (n % 10) as u8);
        n /= 10;
        if n == 0 {
            break;
        }
    }
    text[start..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_is_json_of_its_numbers() {
        for n in [0, 7, 10, 4_096, u64::MAX] {
            let expected = format!("{{\"seq\":{n},\"rows\":109}}");
            assert_eq!(sequence(n, 109), expected.as_bytes());
        }
    }
}
