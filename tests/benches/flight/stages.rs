//! The parts of an answer, each in this process alone: what Arrow's messages take to read and write,
//! the floor's way and the server's. What the transport takes is in none of them.

use std::hint::black_box;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use futures::{StreamExt, TryStreamExt};
use provender_server::wire::{Decoder, Encoder, WireLimits};
use serde_json::{Value, json};

use crate::Outcome;

/// Batches of one stream whose time is taken together.
const N_BATCHES: usize = 200;

/// Medians in us for one batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stages {
    pub(crate) stock_decode_us: f64,
    pub(crate) stock_encode_us: f64,
    pub(crate) our_decode_us: f64,
    pub(crate) our_encode_us: f64,
}

impl Stages {
    /// Measures for about `seconds`.
    pub(crate) async fn measure(
        keys: &RecordBatch,
        answer: &RecordBatch,
        seconds: f64,
    ) -> Outcome<Self> {
        let messages = stock_messages(keys, 1).await?;
        let [schema, batch] = &messages[..] else {
            return Err("keys are not one message".into());
        };
        let mut columns: [Vec<f64>; 4] = Default::default();
        let started = Instant::now();
        while started.elapsed().as_secs_f64() < seconds || columns[0].is_empty() {
            for (column, seconds) in columns.iter_mut().zip([
                stock_decode(schema, batch).await?,
                stock_encode(answer).await?,
                our_decode(schema, batch)?,
                our_encode(answer)?,
            ]) {
                column.push(seconds * 1e6 / N_BATCHES as f64);
            }
        }
        let [
            stock_decode_us,
            stock_encode_us,
            our_decode_us,
            our_encode_us,
        ] = columns.map(|mut column| {
            column.sort_by(f64::total_cmp);
            column[column.len() / 2]
        });
        Ok(Self {
            stock_decode_us,
            stock_encode_us,
            our_decode_us,
            our_encode_us,
        })
    }

    /// By how much the server's messages are above the floor's.
    pub(crate) fn above_us(&self) -> f64 {
        self.our_decode_us + self.our_encode_us - self.stock_decode_us - self.stock_encode_us
    }

    pub(crate) fn to_json(self) -> Value {
        json!({
            "stock_decode_us": self.stock_decode_us,
            "stock_encode_us": self.stock_encode_us,
            "our_decode_us": self.our_decode_us,
            "our_encode_us": self.our_encode_us,
        })
    }
}

async fn stock_messages(batch: &RecordBatch, n: usize) -> Outcome<Vec<FlightData>> {
    let batches = futures::stream::iter(std::iter::repeat_n(batch.clone(), n).map(Ok));
    let encoder = FlightDataEncoderBuilder::new().with_schema(batch.schema());
    Ok(encoder.build(batches).try_collect().await?)
}

async fn stock_decode(schema: &FlightData, batch: &FlightData) -> Outcome<f64> {
    let mut messages = vec![Ok(schema.clone())];
    messages.extend(std::iter::repeat_n(batch.clone(), N_BATCHES).map(Ok));
    let messages = futures::stream::iter(messages);
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    let started = Instant::now();
    while let Some(batch) = batches.next().await {
        black_box(batch?);
    }
    Ok(started.elapsed().as_secs_f64())
}

async fn stock_encode(answer: &RecordBatch) -> Outcome<f64> {
    let batches = futures::stream::iter(std::iter::repeat_n(answer.clone(), N_BATCHES).map(Ok));
    let encoder = FlightDataEncoderBuilder::new().with_schema(answer.schema());
    let mut messages = encoder.build(batches);
    // The schema, which is sent once.
    black_box(messages.next().await);
    let started = Instant::now();
    while let Some(message) = messages.next().await {
        black_box(message?);
    }
    Ok(started.elapsed().as_secs_f64())
}

fn our_decode(schema: &FlightData, batch: &FlightData) -> Outcome<f64> {
    let mut decoder = Decoder::new(WireLimits::default());
    decoder.accept(schema)?;
    let started = Instant::now();
    for _ in 0..N_BATCHES {
        black_box(decoder.accept(black_box(batch))?);
    }
    Ok(started.elapsed().as_secs_f64())
}

fn our_encode(answer: &RecordBatch) -> Outcome<f64> {
    let mut encoder = Encoder::new(WireLimits::default().max_sent_bytes);
    encoder.schema(&answer.schema());
    let started = Instant::now();
    for _ in 0..N_BATCHES {
        let mut pieces = encoder.pieces(answer.clone());
        while let Some(message) = encoder.next(&mut pieces)? {
            black_box(message);
        }
    }
    Ok(started.elapsed().as_secs_f64())
}
