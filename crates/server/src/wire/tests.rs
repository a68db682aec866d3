#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, StructArray,
};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_schema::{DataType, Field, Fields, Schema};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use provender_core::ErrorKind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const LARGE: usize = 4 << 20;

fn numbers(n_rows: usize, n_columns: usize) -> RecordBatch {
    let columns = (0..n_columns).map(|c| {
        let values = (0..n_rows).map(|r| (r % 7 != 3).then_some((r * 31 + c) as f64));
        let column: ArrayRef = Arc::new(values.collect::<Float64Array>());
        (format!("f{c}"), column)
    });
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn mixed(n_rows: usize) -> RecordBatch {
    let words: StringArray = (0..n_rows)
        .map(|row| (row % 5 != 0).then(|| "wörd ".repeat(row % 9)))
        .collect();
    let codes: DictionaryArray<Int32Type> = (0..n_rows)
        .map(|row| ["a", "b", "c"].get(row % 4).copied())
        .collect();
    let inner: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..n_rows).map(|row| (row % 2 == 0).then_some(row as i64)),
    ));
    let fields = Fields::from(vec![Field::new("n", DataType::Int64, true)]);
    let nested = StructArray::new(fields, vec![inner], None);
    RecordBatch::try_from_iter_with_nullable([
        ("word", Arc::new(words) as ArrayRef, true),
        ("code", Arc::new(codes), true),
        ("nested", Arc::new(nested), true),
    ])
    .unwrap()
}

fn sent(batches: &[RecordBatch], max_bytes: usize) -> Vec<FlightData> {
    let mut encoder = Encoder::new(max_bytes);
    let mut messages = vec![encoder.schema(&batches[0].schema())];
    for batch in batches {
        messages.extend(encoder.batch(batch).unwrap());
    }
    messages
}

fn received(messages: &[FlightData]) -> Vec<RecordBatch> {
    let mut decoder = Decoder::new(WireLimits::default());
    let mut batches = Vec::new();
    for message in messages {
        if let Incoming::Batch(batch) = decoder.accept(message).unwrap() {
            batches.push(batch);
        }
    }
    batches
}

fn together(batches: &[RecordBatch]) -> RecordBatch {
    let schema = batches[0].schema();
    arrow_select::concat::concat_batches(&schema, batches).unwrap()
}

#[tokio::test]
async fn what_is_sent_the_stock_decoder_reads() {
    for batch in [
        numbers(0, 3),
        numbers(1, 10),
        numbers(500, 2),
        mixed(0),
        mixed(300),
    ] {
        let messages = sent(
            &[batch.clone(), batch.slice(0, batch.num_rows() / 2)],
            LARGE,
        );
        let stream = futures::stream::iter(messages.into_iter().map(Ok));
        let read: Vec<RecordBatch> = FlightRecordBatchStream::new_from_flight_data(stream)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(read.len(), 2, "a batch of zero rows is a message too");
        assert_eq!(read[0], batch);
        assert_eq!(read[1], batch.slice(0, batch.num_rows() / 2));
    }
}

#[tokio::test]
async fn what_the_stock_encoder_sends_is_read() {
    for batch in [numbers(100, 10), mixed(77)] {
        let stream = futures::stream::iter([Ok(batch.clone()), Ok(batch.slice(3, 20))]);
        let messages: Vec<FlightData> = FlightDataEncoderBuilder::new()
            .with_schema(batch.schema())
            .build(stream)
            .map(Result::unwrap)
            .collect()
            .await;
        let read = received(&messages);
        assert_eq!(
            read.iter().map(RecordBatch::num_rows).sum::<usize>(),
            batch.num_rows() + 20
        );
    }
}

#[test]
fn large_batches_are_split_and_keep_their_rows() {
    let batch = mixed(5_000);
    for max_bytes in [40 << 10, 100 << 10, LARGE] {
        let messages = sent(std::slice::from_ref(&batch), max_bytes);
        for message in &messages {
            assert!(message.data_header.len() + message.data_body.len() <= max_bytes);
        }
        let read = received(&messages);
        assert_eq!(read.len() > 1, max_bytes < LARGE);
        assert_eq!(together(&read), batch);
    }
}

#[test]
fn slices_of_a_large_batch_are_not_split_for_what_they_leave_out() {
    let batch = numbers(100_000, 10);
    let messages = sent(&[batch.slice(50_000, 100)], 256 << 10);
    assert_eq!(messages.len(), 2);
    assert_eq!(received(&messages), [batch.slice(50_000, 100)]);
}

#[test]
fn a_row_too_large_for_a_message_names_the_setting() {
    let words: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(100_000)]));
    let batch = RecordBatch::try_from_iter([("word", words)]).unwrap();
    let error = Encoder::new(64 << 10).batch(&batch).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(
        error
            .help_text()
            .unwrap()
            .contains("server.max_message_bytes")
    );
}

#[test]
fn batches_without_columns_keep_their_rows() {
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let batch =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let read = received(&sent(&[batch], LARGE));
    assert_eq!(read[0].num_rows(), 3);
}

fn header(bytes: &[u8]) -> FlightData {
    FlightData {
        data_header: Bytes::copy_from_slice(bytes),
        ..FlightData::default()
    }
}

#[test]
fn eight_bytes_are_no_message() {
    let mut decoder = Decoder::new(WireLimits::default());
    for bytes in [
        [0_u8; 8],
        [255; 8],
        [4, 0, 0, 0, 0, 0, 0, 0],
        [8, 0, 0, 0, 4, 0, 4, 0],
    ] {
        let error = decoder.accept(&header(&bytes)).unwrap_err();
        assert_eq!(error.code(), "P702", "{error}");
    }
}

#[test]
fn a_schema_without_fields_is_refused() {
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let schema = arrow_ipc::SchemaBuilder::new(&mut builder).finish();
    let mut message = arrow_ipc::MessageBuilder::new(&mut builder);
    message.add_version(arrow_ipc::MetadataVersion::V5);
    message.add_header_type(arrow_ipc::MessageHeader::Schema);
    message.add_header(schema.as_union_value());
    let message = message.finish();
    builder.finish(message, None);
    let error = Decoder::new(WireLimits::default())
        .accept(&header(builder.finished_data()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("no list of fields"), "{error}");
}

#[test]
fn rows_before_the_schema_and_a_second_schema_are_refused() {
    let messages = sent(&[numbers(3, 1)], LARGE);
    let mut decoder = Decoder::new(WireLimits::default());
    assert_eq!(decoder.accept(&messages[1]).unwrap_err().code(), "P702");
    decoder.accept(&messages[0]).unwrap();
    let error = decoder.accept(&messages[0]).unwrap_err();
    assert!(error.message().contains("second schema"), "{error}");
}

#[test]
fn buffers_outside_of_the_body_are_refused() {
    let mut messages = sent(&[numbers(100, 2)], LARGE);
    messages[1].data_body = messages[1].data_body.slice(0..100);
    let mut decoder = Decoder::new(WireLimits::default());
    decoder.accept(&messages[0]).unwrap();
    let error = decoder.accept(&messages[1]).unwrap_err();
    assert!(error.message().contains("outside of its body"), "{error}");
}

#[test]
fn messages_larger_than_the_limit_are_refused_before_they_are_read() {
    let messages = sent(&[numbers(1_000, 2)], LARGE);
    let limits = WireLimits {
        max_decoded_bytes: 1_000,
        ..WireLimits::default()
    };
    let mut decoder = Decoder::new(limits);
    decoder.accept(&messages[0]).unwrap();
    let error = decoder.accept(&messages[1]).unwrap_err();
    assert_eq!(error.code(), "P703");
}

/// Whatever bytes come, the answer is rows or an error of the client's.
#[test]
fn mutated_messages_are_rows_or_refused() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut rng = StdRng::seed_from_u64(7);
    let originals = [sent(&[numbers(20, 3)], LARGE), sent(&[mixed(30)], LARGE)];
    let mut outcomes: HashMap<bool, usize> = HashMap::new();
    for round in 0..20_000 {
        let mut messages = originals[round % 2].clone();
        let at = rng.random_range(0..messages.len());
        let message = &mut messages[at];
        let part = if rng.random_bool(0.7) || message.data_body.is_empty() {
            &mut message.data_header
        } else {
            &mut message.data_body
        };
        let mut bytes = part.to_vec();
        for _ in 0..rng.random_range(1..4) {
            let place = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[place] = rng.random(),
                1 => bytes[place] ^= 1 << rng.random_range(0..8),
                2 => bytes.truncate(place.max(1)),
                _ => bytes[place] = [0, 1, 127, 128, 255][rng.random_range(0..5)],
            }
        }
        *part = Bytes::from(bytes);
        let mut decoder = Decoder::new(WireLimits::default());
        let mut is_read = true;
        for message in &messages {
            if let Err(error) = decoder.accept(message) {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::InvalidArgument | ErrorKind::ResourceExhausted
                    ),
                    "{error}"
                );
                is_read = false;
            }
        }
        *outcomes.entry(is_read).or_default() += 1;
    }
    let _ = std::panic::take_hook();
    assert!(
        outcomes[&true] > 500 && outcomes[&false] > 500,
        "{outcomes:?}"
    );
}
